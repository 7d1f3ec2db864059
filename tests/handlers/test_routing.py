"""Templates, conflicts and precedence."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.handlers import App, Code, Request, RouteError, TestClient


def handler(request: Request) -> None:
    """Answer anything."""


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("telemetry", "must start with a slash"),
        ("", "must start with a slash"),
        ("/a//b", "empty segment"),
        ("//", "empty segment"),
        ("/a?b=c", "query"),
        ("/a#b", "fragment"),
        ("/a/{b", "whole segment"),
        ("/a/b}", "whole segment"),
        ("/a/x{b}", "whole segment"),
        ("/a/{b}{c}", "whole segment"),
        ("/a/{}", "identifier"),
        ("/a/{b-c}", "identifier"),
        ("/a/{class}", "identifier"),
        ("/a/{b:int}", "only kind of parameter"),
        ("/a/{b}/{b}", "twice"),
        ("/a/{b:path}/c", "must come last"),
        ("/" + "x" * 256, "255 bytes"),
        ("/" + "\N{GREEK SMALL LETTER OMEGA}" * 128, "255 bytes"),
    ],
)
def test_invalid_template_is_refused_when_registered(path: str, complaint: str) -> None:
    with pytest.raises(RouteError, match=complaint):
        App().get(path)(handler)


def test_a_decorator_without_parentheses_says_what_to_write() -> None:
    app: Any = App()
    for decorate in (app.get, app.post, app.route):
        with pytest.raises(TypeError, match=r'^write @app\.get\("/path"\) .*; \'handler\' is no path$'):
            decorate(handler)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("/a", "/a"),
        ("/", "/"),
        ("/a/{b}", "/a/{c}"),
        ("/{a}/b", "/{c}/b"),
        ("/a/{b:path}", "/a/{c:path}"),
    ],
)
def test_same_method_of_the_same_paths_conflicts_and_both_places_are_named(first: str, second: str) -> None:
    app = App()
    app.get(first)(handler)
    app.post(second)(handler)  # another method is none
    with pytest.raises(RouteError, match="conflicts with") as caught:
        app.get(second)(lambda request: "other")
    assert f"GET {first} (tests.handlers.test_routing.handler, line " in str(caught.value)
    assert f"GET {second} (tests.handlers.test_routing.test_same" in str(caught.value)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/", "root"),
        ("/a", "/a"),
        ("/a/", "/a/"),
        ("/a/b", "/a/b"),
        ("/a/x", "/a/{p} x"),
        ("/a/x%2Fy", "/a/{p} x/y"),
        ("/a/x/c", "/a/{p}/c x"),
        ("/a/b/c", "/a/b/{p} c"),
        ("/a/x/y", "/a/{rest} x/y"),
        ("/a/x/", "/a/{rest} x/"),
        ("/a/b/c/d", "/a/{rest} b/c/d"),
        ("/z/b", "/{p}/b z"),
        ("/a%7Bp%7D", None),
        ("/z", None),
        ("/z/c", None),
        ("/A", None),
    ],
)
def test_most_specific_template_wins(path: str, answer: str | None) -> None:
    app = App()
    app.get("/")(lambda request: "root")
    app.get("/a")(lambda request: "/a")
    app.get("/a/")(lambda request: "/a/")
    app.get("/a/{rest:path}")(lambda request, rest: f"/a/{{rest}} {rest}")
    app.get("/a/{p}")(lambda request, p: f"/a/{{p}} {p}")
    app.get("/a/{p}/c")(lambda request, p: f"/a/{{p}}/c {p}")
    app.get("/a/b/{p}")(lambda request, p: f"/a/b/{{p}} {p}")
    app.get("/a/b")(lambda request: "/a/b")
    app.get("/{p}/b")(lambda request, p: f"/{{p}}/b {p}")
    response = TestClient(app).get(path)
    assert (response.text() if response.ok else None) == answer


def test_one_empty_segment_is_the_root() -> None:
    """RFC 7252 section 6.5: a single empty Uri-Path composes to the same URI as none."""
    app = App()
    app.get("/")(lambda request: "root")
    assert TestClient(app).get("/", options=[(11, b"")]).text() == "root"


def test_empty_segment_is_no_parameter() -> None:
    app = App()
    app.get("/a/{p}")(lambda request, p: p)
    app.get("/b/{p}/c")(lambda request, p: p)
    assert TestClient(app).get("/a/").code == Code.NOT_FOUND
    assert TestClient(app).get("/b//c").code == Code.NOT_FOUND


def test_segments_that_look_like_templates_are_values() -> None:
    app = App()
    app.get("/{a}/{b}")(lambda request, a, b: f"{a} {b}")
    app.get("/x/{a}/{rest:path}")(lambda request, a, rest: f"{a} {rest}")
    client = TestClient(app)
    assert client.get("/%7B%7D/%7B%7D").text() == "{} {}"
    assert client.get("/x/%7B%7D/%7B:path%7D").text() == "{} {:path}"
    assert client.get("/%7B:path%7D").code == Code.NOT_FOUND


def test_path_is_resolved_before_the_method() -> None:
    app = App()
    app.get("/telemetry/latest")(lambda request: "latest")
    app.post("/telemetry/{stream}")(lambda request, stream: stream)
    assert TestClient(app).post("/telemetry/latest").code == Code.METHOD_NOT_ALLOWED
    assert TestClient(app).post("/telemetry/other").text() == "other"


def test_match_gives_the_template_as_label() -> None:
    app = App()
    app.post("/telemetry/{stream}")(handler)
    route = app.match(Code.POST, ("telemetry", "temperature"))
    assert route is not None
    assert (route.template, route.method) == ("/telemetry/{stream}", Code.POST)
    assert app.match(Code.GET, ("telemetry", "temperature")) is None
    assert app.match(Code.POST, ("elsewhere",)) is None


SEGMENTS = st.sampled_from(["a", "b", "c"])
TEMPLATES = st.sets(
    st.tuples(
        st.lists(st.sampled_from(["a", "b", "{}"]), max_size=3).map(tuple), st.sampled_from([(), ("{:path}",)])
    ).map(lambda parts: parts[0] + parts[1]),
    max_size=8,
)
RANK = {"{}": 1, "{:path}": 2}


def named(shape: tuple[str, ...]) -> str:
    parts = [part.replace("{", "{" + "pqrs"[i]) if part in RANK else part for i, part in enumerate(shape)]
    return "/" + "/".join(parts)


def model_matches(shape: tuple[str, ...], path: tuple[str, ...]) -> bool:
    if shape and shape[-1] == "{:path}":
        return len(path) >= len(shape) and model_matches(shape[:-1], path[: len(shape) - 1])
    return len(shape) == len(path) and all(part in ("{}", segment) for part, segment in zip(shape, path, strict=True))


@given(shapes=TEMPLATES, path=st.lists(SEGMENTS, max_size=5).map(tuple))
def test_router_agrees_with_trying_every_template(shapes: set[tuple[str, ...]], path: tuple[str, ...]) -> None:
    app = App()
    for shape in sorted(shapes):
        app.get(named(shape))(handler)
    candidates = [shape for shape in shapes if model_matches(shape, path)]
    best = min(candidates, key=lambda shape: [RANK.get(part, 0) for part in shape], default=None)
    route = app.match(Code.GET, path)
    assert (route and route.template) == (None if best is None else named(best))


@pytest.mark.parametrize("method", ["get", "POST", Code.PUT, Code.IPATCH, "fetch", "Patch"])
def test_methods_by_name_or_code(method: str | Code) -> None:
    app = App()
    app.route("/a", methods=[method])(lambda request: request.method.to_bytes())
    code = Code[method.upper()] if isinstance(method, str) else method
    assert TestClient(app).request(code, "/a").payload == code.to_bytes()


@pytest.mark.parametrize("method", ["BREW", Code.CONTENT, Code.EMPTY])
def test_unknown_method_is_refused(method: str | Code) -> None:
    with pytest.raises(RouteError, match="is no CoAP method; the methods are GET, POST"):
        App().route("/a", methods=[method])


def test_route_without_a_method_is_refused() -> None:
    with pytest.raises(RouteError, match="at least one method"):
        App().route("/a", methods=[])


def test_included_app_answers_behind_its_prefix() -> None:
    inner = App()
    inner.get("/")(lambda request: "inner root")
    inner.get("/items/{item}")(lambda request, item: item)
    app = App()
    app.include(inner, "/v1")
    app.include(inner, "/tenants/{tenant}/")
    client = TestClient(app)
    assert client.get("/v1").text() == "inner root"
    assert client.get("/v1/items/x").text() == "x"
    assert client.get("/tenants/t/items/y").text() == "y"
    assert client.get("/items/x").code == Code.NOT_FOUND


def test_included_app_takes_no_more_routes() -> None:
    inner, app = App(), App()
    app.include(inner, "/v1")
    with pytest.raises(RouteError, match="already included at '/v1'"):
        inner.get("/late")(handler)


def test_include_refuses_conflicts_wrong_prefixes_and_itself() -> None:
    inner, app = App(), App()
    inner.get("/a")(handler)
    app.get("/v1/a")(handler)
    with pytest.raises(RouteError, match="conflicts"):
        app.include(inner, "/v1")
    with pytest.raises(RouteError, match="must start with a slash"):
        app.include(inner, "v2")
    with pytest.raises(RouteError, match="cannot include itself"):
        app.include(app)
