"""/.well-known/core (RFC 6690)."""

import aiocoap.util.linkformat as oracle  # type: ignore[import-untyped]
import pytest

from gateway.handlers import App, Code, ContentFormat, Request, TestClient

CORE = "/.well-known/core"


def app() -> App:
    app = App()

    @app.get("/sensors/temp", rt="temperature-c", interface="sensor", produces=[0, 50], title="Kitchen")
    def temperature(request: Request) -> str:
        return "21.5"

    @app.get("/sensors/light", rt="light-lux core.s", interface="sensor", produces=["application/cbor"])
    def light(request: Request) -> bytes:
        return b"\x01"

    @app.route("/a b/\N{LATIN SMALL LETTER E WITH ACUTE}", methods=["POST", "PUT"])
    def odd(request: Request) -> None:
        """Nothing."""

    @app.post("/sensors/light", title="second of its path")
    def set_light(request: Request) -> None:
        """Nothing."""

    app.get("/", title="root")(lambda request: "root")
    app.get("/hidden", listed=False)(lambda request: "hidden")
    app.get("/rooms/{room}", rt="room")(lambda request, room: room)
    return app


ALL = ["/sensors/temp", "/sensors/light", "/a%20b/%C3%A9", "/"]


def found(query: str) -> list[str]:
    response = TestClient(app()).get(CORE + query)
    assert response.code == Code.CONTENT
    assert response.content_format == (ContentFormat.LINK_FORMAT if response.payload else None)
    # Read by aiocoap's parser, which knows nothing of ours.
    return [link.href for link in oracle.parse(response.text()).links] if response.payload else []


def test_everything_that_is_a_resource() -> None:
    assert found("") == ALL
    text = TestClient(app()).get(CORE).text()
    assert text == (
        '</sensors/temp>;rt="temperature-c";if="sensor";title="Kitchen";ct="0 50",'
        '</sensors/light>;rt="light-lux core.s";if="sensor";ct=60;title="second of its path",'
        '</a%20b/%C3%A9>,</>;title="root"'
    )


@pytest.mark.parametrize(
    ("query", "paths"),
    [
        # RFC 6690 section 4.1.
        ("?rt=temperature-c", ["/sensors/temp"]),
        ("?rt=light-lux", ["/sensors/light"]),
        ("?rt=core.s", ["/sensors/light"]),
        ("?rt=core", []),
        ("?rt=core*", ["/sensors/light"]),
        ("?rt=*", ["/sensors/temp", "/sensors/light"]),
        ("?rt=light-lux%20core.s", []),
        ("?if=sensor", ["/sensors/temp", "/sensors/light"]),
        ("?if=s*", ["/sensors/temp", "/sensors/light"]),
        ("?ct=50", ["/sensors/temp"]),
        ("?ct=6*", ["/sensors/light"]),
        ("?ct=5", []),
        ("?href=/sensors/temp", ["/sensors/temp"]),
        ("?href=/sensors*", ["/sensors/temp", "/sensors/light"]),
        ("?href=/a%2520b/*", ["/a%20b/%C3%A9"]),
        ("?href=*", ALL),
        ("?title=Kitchen", ["/sensors/temp"]),
        ("?title=Kit", []),
        ("?if=sensor&ct=60", ["/sensors/light"]),
        ("?foo=bar", []),
        ("?rt", []),
        ("?*=*", []),
    ],
)
def test_filters(query: str, paths: list[str]) -> None:
    assert found(query) == paths


def test_a_large_list_comes_in_blocks() -> None:
    app = App()
    for number in range(200):
        app.get(f"/resource/{number}", rt="x" * 20)(lambda request: None)
    assert TestClient(app).get(CORE).text().count("</resource/") == 200


def test_other_methods_and_other_formats() -> None:
    assert TestClient(app()).post(CORE).code == Code.METHOD_NOT_ALLOWED
    assert TestClient(app()).get(CORE, accept=ContentFormat.LINK_FORMAT).code == Code.CONTENT
    assert TestClient(app()).get(CORE, accept=ContentFormat.JSON).code == Code.NOT_ACCEPTABLE


def test_an_app_may_answer_itself() -> None:
    own = App()
    own.get(CORE)(lambda request: "mine")
    assert TestClient(own).get(CORE).text() == "mine"


def test_it_is_no_route_of_the_app() -> None:
    assert CORE not in [route.template for route in app().routes]
    outer = App()
    outer.include(app(), "/v1")
    assert TestClient(outer).get(CORE).text().startswith("</v1/sensors/temp>")


def test_what_can_be_observed_is_marked() -> None:
    """RFC 7641 section 6."""
    app = App()
    app.get("/state", observable=True, title="state")(lambda request: "on")
    app.put("/state")(lambda request: None)
    app.get("/name")(lambda request: "lamp")
    client = TestClient(app)
    assert client.get(CORE).text() == '</state>;title="state";obs,</name>'
    assert client.get(CORE, query=["obs"]).text() == '</state>;title="state";obs'
    (state, _) = oracle.parse(client.get(CORE).text()).links
    assert ["obs", None] in [list(pair) for pair in state.attr_pairs]
