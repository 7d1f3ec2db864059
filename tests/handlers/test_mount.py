"""aiocoap resources, written for aiocoap and served unchanged."""

from typing import Any

import aiocoap  # type: ignore[import-untyped]
import pytest
from aiocoap import error, resource
from structlog.testing import capture_logs

from gateway.handlers import App, Code, Device, Principal, RouteError, TestClient
from gateway.handlers.mount import DeviceRemote
from gateway.model import AuthKind


class Light(resource.Resource):  # type: ignore[misc]
    """As in aiocoap's guide: one resource with a state."""

    def __init__(self) -> None:
        super().__init__()
        self.state = b"off"
        self.requests: list[Any] = []

    async def render_get(self, request: Any) -> Any:
        self.requests.append(request)
        response = aiocoap.Message(payload=self.state, content_format=0, max_age=3)
        resource.hashing_etag(request, response)
        return response

    async def render_put(self, request: Any) -> Any:
        self.requests.append(request)
        if request.payload not in (b"on", b"off"):
            raise error.BadRequest("on or off")
        self.state = request.payload
        return aiocoap.Message(code=aiocoap.CHANGED)

    async def render_delete(self, request: Any) -> Any:
        return aiocoap.Message()

    async def render_post(self, request: Any) -> Any:
        raise error.Unauthorized()

    async def render_fetch(self, request: Any) -> Any:
        return None

    async def render_patch(self, request: Any) -> Any:
        raise RuntimeError("secret")


class Observed(resource.ObservableResource):  # type: ignore[misc]
    async def render_get(self, request: Any) -> Any:
        return aiocoap.Message(payload=b"now")


class Everything(resource.Resource, resource.PathCapable):  # type: ignore[misc]
    async def render(self, request: Any) -> Any:
        assert request.opt.uri_query == ("q=1",)
        return aiocoap.Message(code=aiocoap.CONTENT, payload="|".join(request.opt.uri_path).encode())


@pytest.fixture
def light() -> Light:
    return Light()


@pytest.fixture
def client(light: Light) -> TestClient:
    app = App()
    app.mount("/lights/{room}", light)
    return TestClient(app, device=Device("dev1", tenant_id="acme"))


def test_methods_and_options_pass_both_ways(client: TestClient, light: Light) -> None:
    response = client.get("/lights/hall")
    assert (response.code, response.payload, response.content_format) == (Code.CONTENT, b"off", 0)
    assert response.max_age == 3
    assert response.etag is not None
    cached = client.get("/lights/hall", options=[(4, response.etag)])
    assert (cached.code, cached.payload, cached.etag) == (Code.VALID, b"", response.etag)
    assert client.put("/lights/hall", "on").code == Code.CHANGED
    assert light.state == b"on"
    assert client.delete("/lights/hall").code == Code.DELETED


def test_resource_sees_what_aiocoap_would_show_it(client: TestClient, light: Light) -> None:
    client.put("/lights/hall?unit=c", "on", query={"x": "1"}, options=[(2048, b"private")])
    [request] = light.requests
    assert (request.code, request.mtype, request.payload) == (aiocoap.PUT, aiocoap.CON, b"on")
    assert request.opt.uri_path == ()
    assert request.opt.uri_query == ("unit=c", "x=1")
    assert request.opt.content_format == 0
    assert [option.encode() for option in request.opt.get_option(2048)] == [b"private"]
    assert request.get_request_uri() == "coaps://gateway/?unit=c&x=1"


def test_remote_stands_for_the_device(client: TestClient, light: Light) -> None:
    client.get("/lights/hall")
    client.get("/lights/hall", device="dev2")
    first, second = (request.remote for request in light.requests)
    assert first.device == Device("dev1", tenant_id="acme")
    assert [claim.device.id for claim in first.authenticated_claims] == ["dev1"]
    assert first.hostinfo == "dev1"
    assert (first.is_multicast, first.is_multicast_locally) == (False, False)
    same = DeviceRemote(Principal(Device("dev1", tenant_id="acme"), AuthKind.PSK, "test:dev1"))
    assert (first == same, hash(first) == hash(same), first == second) == (True, True, False)
    assert first.blockwise_key == same.blockwise_key != second.blockwise_key
    with pytest.raises(error.AnonymousHost):
        assert first.uri_base
    assert first.uri_base_local == "coaps://gateway"
    assert repr(first) == "<DeviceRemote acme/dev1>"


@pytest.mark.parametrize(
    ("method", "payload", "code", "diagnostic"),
    [
        (Code.PUT, "dim", Code.BAD_REQUEST, b"on or off"),
        (Code.POST, "", Code.UNAUTHORIZED, b""),
        (Code.IPATCH, "", Code.METHOD_NOT_ALLOWED, b"Error: Method not allowed!"),
    ],
)
def test_aiocoap_errors_become_their_codes(
    client: TestClient, method: Code, payload: str, code: Code, diagnostic: bytes
) -> None:
    response = client.request(method, "/lights/hall", payload)
    assert (response.code, response.payload) == (code, diagnostic)


@pytest.mark.parametrize("method", [Code.FETCH, Code.PATCH])
def test_resource_that_fails_is_5_00(client: TestClient, method: Code) -> None:
    with capture_logs() as logs:
        response = client.request(method, "/lights/hall")
    assert (response.code, response.payload) == (Code.INTERNAL_SERVER_ERROR, b"")
    assert [(entry["event"], entry["route"]) for entry in logs] == [("handler.failed", "/lights/{room}")]


def test_plain_resource_answers_no_path_below_it(client: TestClient) -> None:
    assert client.get("/lights/hall/lamp").code == Code.NOT_FOUND


def test_site_dispatches_below_its_path(light: Light) -> None:
    site = resource.Site()
    site.add_resource(["light"], light)
    site.add_resource([], Observed())
    site.add_resource(["deep", "light"], light)
    site.add_resource([".well-known", "core"], resource.WKCResource(site.get_resources_as_linkheader))
    inner, app = App(), App()
    inner.mount("/site/", site)
    app.include(inner, "/v1")
    app.get("/v1/site/own")(lambda request: "own")
    client = TestClient(app)
    assert client.get("/v1/site/light").text() == "off"
    assert client.get("/v1/site/deep/light").text() == "off"
    assert client.get("/v1/site").text() == "now"
    assert client.get("/v1/site/").text() == "now"
    assert client.get("/v1/site/own").text() == "own"
    assert client.get("/v1/site/none").code == Code.NOT_FOUND
    assert "</deep/light>" in client.get("/v1/site/.well-known/core").text()


def test_site_at_the_root() -> None:
    app = App()
    app.mount("/", Everything())
    client = TestClient(app)
    assert client.get("/?q=1").text() == ""
    assert client.get("/a%2Fb/c?q=1").text() == "a/b|c"


def test_request_to_observe_is_answered_once() -> None:
    app = App()
    app.mount("/now", Observed())
    response = TestClient(app).get("/now", options=[(6, b"")])
    assert (response.code, response.payload, response.option(6)) == (Code.CONTENT, b"now", None)


def test_no_response_stays_off_the_wire(client: TestClient) -> None:
    """RFC 7967: an option of requests; aiocoap copies it to the response for its own transport."""
    assert client.get("/lights/hall", options=[(258, b"\x02")]).option(258) is None


@pytest.mark.parametrize(
    ("path", "what", "complaint"),
    [
        ("/x", Light, "instantiate the class"),
        ("/x", lambda request: None, "Resource or Site"),
        ("x", Light(), "start with a slash"),
        ("/x/{rest:path}", Light(), "catch-all"),
    ],
)
def test_what_cannot_be_mounted_is_refused(path: str, what: object, complaint: str) -> None:
    with pytest.raises(RouteError, match=complaint):
        App().mount(path, what)


def test_mount_conflicts_like_any_route() -> None:
    app = App()
    app.post("/x")(lambda request: None)
    with pytest.raises(RouteError, match="conflicts"):
        app.mount("/x", Light())


def test_bodies_of_any_size_go_through_a_resource_whole() -> None:
    seen = list[list[int]]()

    class Mirror(resource.Resource):  # type: ignore[misc]
        async def render_post(self, request: Any) -> Any:
            seen.append([int(option.number) for option in request.opt.option_list()])
            return aiocoap.Message(code=aiocoap.CHANGED, payload=request.payload[::-1])

    app = App()
    app.mount("/mirror", Mirror())
    body = bytes(n * 31 & 0xFF for n in range(5000))
    assert TestClient(app).post("/mirror", body).payload == body[::-1]
    # It has the body once, and nothing in it about blocks.
    assert seen == [[]]
