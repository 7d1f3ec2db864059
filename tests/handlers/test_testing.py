"""The test client itself."""

import asyncio
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from gateway.coap import DecodeError, limits
from gateway.handlers import (
    App,
    Code,
    Content,
    ContentFormat,
    Device,
    Principal,
    Reject,
    Request,
    Response,
    StartupError,
    TestClient,
)
from gateway.model import AuthKind


def mirror() -> App:
    """An app that tells what it was sent."""
    app = App()

    @app.route("/{rest:path}", methods=["GET", "POST", "PUT", "DELETE"])
    async def tell(request: Request) -> Any:
        return {
            "method": int(request.method),
            "segments": request.segments,
            "query": request.message.uri_query,
            "payload": request.payload.decode(),
            "content_format": request.content_format,
            "device": request.device.id,
        }

    return app


@pytest.mark.parametrize("name", ["get", "post", "put", "delete"])
def test_methods_plain_and_async(name: str) -> None:
    client = TestClient(mirror())
    expected = int(Code[name.upper()])
    assert getattr(client, name)("/a").json()["method"] == expected
    assert client.request(name, "/a").json()["method"] == expected

    async def main() -> Response:
        response: Response = await getattr(client, "a" + name)("/a", device="dev9")
        return response

    told = asyncio.run(main()).json()
    assert (told["method"], told["device"]) == (expected, "dev9")


@pytest.mark.parametrize(
    ("payload", "arguments", "text", "content_format"),
    [
        (b"raw", {}, "raw", None),
        ("text", {}, "text", ContentFormat.TEXT),
        ({"a": 1}, {}, '{"a":1}', ContentFormat.JSON),
        ([1], {}, "[1]", ContentFormat.JSON),
        (b"raw", {"content_format": 60}, "raw", 60),
        ("text", {"content_format": None}, "text", None),
        (b"", {}, "", None),
    ],
)
def test_payload(payload: Any, arguments: dict[str, Any], text: str, content_format: int | None) -> None:
    told = TestClient(mirror()).post("/a", payload, **arguments).json()
    assert (told["payload"], told["content_format"]) == (text, content_format)


def test_path_and_query_are_split_first_and_decoded_then() -> None:
    client = TestClient(mirror())
    told = client.get("/a%2Fb/c%3Fd/?x=%26&flag", query={"y": "2"}).json()
    assert (told["segments"], told["query"]) == (["a/b", "c?d", ""], ["x=&", "flag", "y=2"])
    assert client.get("/a", query=["raw", "k=v"]).json()["query"] == ["raw", "k=v"]
    with pytest.raises(ValueError, match="must start with a slash"):
        client.get("a")


def test_device_by_name_value_or_principal() -> None:
    app = App()
    seen: list[Principal] = []
    app.get("/")(lambda request: seen.append(request.principal))
    principal = Principal(Device("c", tenant_id="t"), AuthKind.X509, "cred")
    TestClient(app).get("/")
    TestClient(app, device="a").get("/")
    TestClient(app, device=Device("b", tenant_id="t")).get("/")
    TestClient(app, device="a").get("/", device=principal)
    assert [(p.device.tenant_id, p.device.id) for p in seen] == [
        ("default", "test-device"),
        ("default", "a"),
        ("t", "b"),
        ("t", "c"),
    ]
    assert seen[3] is principal


def test_plain_method_inside_a_loop_says_what_to_write() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"await client\.apost"):
            TestClient(mirror()).post("/a")

    asyncio.run(main())


def test_what_an_async_handler_raises_has_no_false_cause() -> None:
    app, errors = App(), list[Exception]()

    @app.get("/")
    async def fail(request: Request) -> None:
        raise ValueError("broken")

    app.on_error(lambda request, error: errors.append(error))
    with capture_logs():
        assert TestClient(app).get("/").code == Code.INTERNAL_SERVER_ERROR
        with TestClient(app) as client:
            assert client.get("/").code == Code.INTERNAL_SERVER_ERROR
    assert [(str(error), error.__context__) for error in errors] == [("broken", None)] * 2


def test_what_is_no_app_is_refused_with_what_to_write() -> None:
    module: Any = ModuleType("thermostats")
    with pytest.raises(TypeError, match=r"not a module: write TestClient\(thermostats\.app\)$"):
        TestClient(module)
    module.rooms = App()
    with pytest.raises(TypeError, match=r"write TestClient\(thermostats\.rooms\)$"):
        TestClient(module)
    spec: Any = "thermostats:app"
    with pytest.raises(TypeError, match=r"^TestClient takes an App, not str$"):
        TestClient(spec)
    with pytest.raises(TypeError, match=r"^TestClient takes an App, not a module"):
        TestClient(App(), devices={"dev2": module})


def test_context_keeps_one_loop() -> None:
    app = App()
    loops: list[asyncio.AbstractEventLoop] = []

    async def note(*_: Any) -> None:
        loops.append(asyncio.get_running_loop())

    app.on_startup(note)
    app.get("/")(note)
    app.on_shutdown(note)
    with TestClient(app) as client:
        client.get("/")
        client.get("/")
    assert len(loops) == 4
    assert len(set(map(id, loops))) == 1


def test_async_context_runs_the_hooks() -> None:
    app = App()
    ran: list[str] = []
    app.on_startup(lambda: ran.append("up"))
    app.on_shutdown(lambda: ran.append("down"))
    app.get("/")(lambda request: ran.append("request"))

    async def main() -> None:
        async with TestClient(app) as client:
            await client.aget("/")

    asyncio.run(main())
    assert ran == ["up", "request", "down"]


def test_failed_start_still_shuts_down() -> None:
    app = App()
    ran: list[str] = []

    @app.on_startup
    def fail() -> None:
        raise OSError("no database")

    app.on_shutdown(lambda: ran.append("down"))
    with pytest.raises(StartupError, match="no database"), TestClient(app):
        pass

    async def main() -> None:
        async with TestClient(app):
            pass

    with pytest.raises(StartupError, match="no database"):
        asyncio.run(main())
    assert ran == ["down", "down"]


def test_response_went_through_the_codec() -> None:
    """What the wire cannot carry fails in the test, not in the field."""
    app = App()
    app.get("/")(lambda request: Content("x", options=[(70_000, b"")]))
    with pytest.raises((ValueError, DecodeError)):
        TestClient(app).get("/")


def test_an_answer_that_fits_no_datagram_comes_in_blocks() -> None:
    """RFC 7252 section 4.6: a message of 1152 bytes. Ours has 4 of header, 4 of token, 2 of option and 1 of marker."""
    app = App()
    asked = list[str]()

    def fits(request: Request) -> Content:
        asked.append("fits")
        return Content(b"x" * (1152 - 11))

    def too_large(request: Request) -> Content:
        asked.append("too large")
        return Content(b"x" * (1152 - 10), etag=b"v1")

    app.get("/fits")(fits)
    app.get("/too-large")(too_large)

    @app.get("/later")
    async def later(request: Request) -> bytes:
        return b"x" * 1200

    client = TestClient(app)
    assert [len(client.get(path).payload) for path in ("/fits", "/too-large", "/later")] == [1141, 1142, 1200]
    # With an ETag nothing is kept, and the handler makes the body again for the second block.
    assert asked == ["fits", "too large", "too large"]


def test_an_answer_that_a_device_would_not_get() -> None:
    app = App()
    app.post("/")(lambda request: bytes(limits.BODY_BYTES_OF_ONE + 1))
    with capture_logs() as logs:
        answer = TestClient(app).post("/")
    assert (answer.code, answer.payload) == (Code.INTERNAL_SERVER_ERROR, b"")
    assert [(entry["event"], entry["route"]) for entry in logs] == [("handler.failed", "/")]


def test_a_code_is_readable() -> None:
    app = App()

    @app.get("/")
    def refuse(request: Request) -> None:
        raise Reject(Code.UNPROCESSABLE_ENTITY)

    response = TestClient(app).get("/")
    assert response.code_text == "4.22"
    assert response.code is Code.UNPROCESSABLE_ENTITY
    assert str(response) == "<Response 4.22 0 bytes>"


def test_a_traceback_shows_no_local_variables_when_logging_is_not_configured() -> None:
    """In a process of its own: the configuration of structlog is the process's."""
    script = """
from gateway.handlers import App, TestClient
app = App()
@app.post("/")
def fail(request):
    payload = request.payload
    raise ValueError("broken")
TestClient(app).post("/", b"secret-of-the-device")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    shown = done.stdout + done.stderr
    assert "Traceback (most recent call last)" in shown
    assert "ValueError: broken" in shown
    assert "secret-of-the-device" not in shown


def test_logging_that_is_configured_stays_as_it_is() -> None:
    structlog.reset_defaults()
    structlog.configure(processors=[structlog.processors.JSONRenderer()])
    try:
        before = structlog.get_config()["processors"]
        TestClient(App())
        assert structlog.get_config()["processors"] is before
    finally:
        structlog.reset_defaults()
