"""From a request to a response, and what happens when a handler fails."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.coap import Message
from gateway.handlers import (
    App,
    Changed,
    Code,
    Content,
    ContentFormat,
    Device,
    Reject,
    Request,
    Response,
    RouteError,
    StartupError,
    TestClient,
)
from gateway.handlers.lines import LineWriter
from gateway.model import AuthKind, Principal

ALICE = Principal(Device("alice", tenant_id="acme"), AuthKind.PSK, "c1")


def request(code: int, *segments: str, payload: bytes = b"") -> Request:
    return Request(Message(0, code, 1, b"t", [(11, segment.encode()) for segment in segments], payload), ALICE)


def answering(value: object) -> App:
    """An app whose every method of / returns this value, from a plain and from an async function (/async)."""
    app = App()
    every = ["GET", "POST", "PUT", "DELETE", "FETCH", "PATCH", "IPATCH"]

    @app.route("/async", methods=every)
    async def later(request: Request) -> object:
        return value

    app.route("/", methods=every)(lambda request: value)
    return app


@pytest.mark.parametrize("path", ["/", "/async"])
@pytest.mark.parametrize(
    ("method", "code"),
    [
        # RFC 7252 section 5.8 and RFC 8132: what a success of each method is called.
        (Code.GET, Code.CONTENT),
        (Code.FETCH, Code.CONTENT),
        (Code.POST, Code.CHANGED),
        (Code.PUT, Code.CHANGED),
        (Code.PATCH, Code.CHANGED),
        (Code.IPATCH, Code.CHANGED),
        (Code.DELETE, Code.DELETED),
    ],
)
@pytest.mark.parametrize(
    ("value", "payload", "content_format"),
    [
        (None, b"", None),
        ("", b"", None),
        ("21.5 \N{DEGREE SIGN}C", b"21.5 \xc2\xb0C", ContentFormat.TEXT),
        (b"\x00\xff", b"\x00\xff", ContentFormat.OCTET_STREAM),
        (b"", b"", None),
        ({"a": [1, None]}, b'{"a":[1,null]}', ContentFormat.JSON),
        ({}, b"{}", ContentFormat.JSON),
        ([], b"[]", ContentFormat.JSON),
    ],
)
def test_bare_values(
    path: str, method: Code, code: Code, value: object, payload: bytes, content_format: int | None
) -> None:
    response = TestClient(answering(value)).request(method, path)
    assert (response.code, response.payload, response.content_format) == (code, payload, content_format)


@pytest.mark.parametrize("path", ["/", "/async"])
@pytest.mark.parametrize(
    "value", [42, 1.5, True, object(), ("a", "b"), {1, 2}, {"a": float("nan")}, {"a": b""}, "\ud800"]
)
def test_value_that_is_no_answer_is_a_failure(path: str, value: object) -> None:
    with capture_logs() as logs:
        response = TestClient(answering(value)).get(path)
    assert (response.code, response.payload) == (Code.INTERNAL_SERVER_ERROR, b"")
    assert [entry["event"] for entry in logs] == ["handler.failed"]


def test_wrong_type_says_what_would_be_right() -> None:
    with capture_logs() as logs:
        TestClient(answering(42)).get("/")
    assert "returned int; a handler returns Response, str, bytes, dict, list or None" in str(logs[0]["exc_info"])


@pytest.mark.parametrize("path", ["/", "/async"])
def test_response_and_returned_reject_pass_through(path: str) -> None:
    assert TestClient(answering(Content("x", max_age=5))).post(path).max_age == 5
    assert TestClient(answering(Changed())).get(path).code == Code.CHANGED
    refused = TestClient(answering(Reject(Code.CONFLICT, "no"))).get(path)
    assert (refused.code, refused.text()) == (Code.CONFLICT, "no")


def test_unknown_path_and_unknown_method() -> None:
    app = App()
    app.get("/a")(lambda request: None)
    for code, path, expected in [
        (Code.GET, ("b",), Code.NOT_FOUND),
        (Code.GET, (), Code.NOT_FOUND),
        (Code.POST, ("a",), Code.METHOD_NOT_ALLOWED),
        (31, ("a",), Code.METHOD_NOT_ALLOWED),  # RFC 7252 section 5.8: an unrecognized method is 4.05
        (31, ("b",), Code.NOT_FOUND),
    ]:
        asked = request(code, *path)
        response = app.dispatch(asked)
        assert isinstance(response, Response)
        assert (response.code, response.payload, asked.route) == (expected, b"", None)


def test_plain_function_is_answered_at_once_and_an_async_one_by_a_coroutine() -> None:
    app = App()
    ran: list[str] = []

    @app.get("/plain")
    def plain(request: Request) -> None:
        ran.append("plain")

    @app.get("/async")
    async def later(request: Request) -> None:
        ran.append("async")

    assert isinstance(app.dispatch(request(Code.GET, "plain")), Response)
    assert ran == ["plain"]
    pending = app.dispatch(request(Code.GET, "async"))
    assert isinstance(pending, Coroutine)
    assert ran == ["plain"]
    assert asyncio.run(pending).code == Code.CONTENT
    assert ran == ["plain", "async"]


def test_plain_function_that_returns_a_coroutine_is_awaited() -> None:
    async def ask() -> str:
        return "answer"

    app = App()
    app.get("/")(lambda request: ask())
    assert TestClient(app).get("/").text() == "answer"


def test_thread_handler_runs_in_another_thread() -> None:
    app = App()
    app.get("/{name}", thread=True)(lambda request, name: f"{name} {threading.get_ident()}")
    name, ident = TestClient(app).get("/x").text().split()
    assert name == "x"
    assert int(ident) != threading.get_ident()


def fail(request: Request) -> None:
    raise KeyError("password is hunter2")


async def fail_later(request: Request) -> None:
    fail(request)


@pytest.mark.parametrize(("handler", "thread"), [(fail, False), (fail, True), (fail_later, False)])
def test_exception_is_5_00_without_detail_and_goes_to_the_log_and_the_hooks(handler: Any, thread: bool) -> None:
    app = App()
    app.post("/jobs/{job}", thread=thread)(handler)
    seen: list[tuple[str, Exception]] = []
    app.on_error(lambda request, error: seen.append((request.path, error)))
    with capture_logs() as logs:
        response = TestClient(app, device=ALICE).post("/jobs/7")
    assert (response.code, response.payload, response.options) == (Code.INTERNAL_SERVER_ERROR, b"", [])
    [(path, error)] = seen
    assert (path, repr(error)) == ("/jobs/7", "KeyError('password is hunter2')")
    [entry] = logs
    assert entry.pop("exc_info") is error
    assert f"test_dispatch.{handler.__name__}, line" in entry.pop("handler")
    assert entry == {
        "event": "handler.failed",
        "log_level": "error",
        "route": "/jobs/{job}",
        "method": "POST",
        "tenant": "acme",
        "device": "alice",
    }


def test_failing_error_hook_is_logged_and_changes_nothing() -> None:
    app = App()
    app.get("/")(fail)
    seen: list[str] = []

    @app.on_error
    def broken(request: Request, error: Exception) -> None:
        raise RuntimeError("hook")

    app.on_error(lambda request, error: seen.append("second"))
    with capture_logs() as logs:
        assert TestClient(app).get("/").code == Code.INTERNAL_SERVER_ERROR
    assert [entry["event"] for entry in logs] == ["handler.failed", "handler.error_hook_failed"]
    assert seen == ["second"]


def test_async_error_hook_is_refused() -> None:
    async def hook(request: Request, error: Exception) -> None:
        """Never runs."""

    with pytest.raises(RouteError, match="write def, not async def"):
        App().on_error(hook)  # type: ignore[type-var]


def test_reject_is_its_code_and_diagnostic_and_no_failure() -> None:
    app = App()

    @app.put("/clock")
    def set_clock(request: Request) -> None:
        raise Reject(Code.FORBIDDEN, "not yours")

    @app.put("/slow")
    async def busy(request: Request) -> None:
        raise Reject(Code.SERVICE_UNAVAILABLE, max_age=30)

    with capture_logs() as logs:
        refused = TestClient(app).put("/clock")
        later = TestClient(app).put("/slow")
    # RFC 7252 section 5.5.2: a diagnostic payload has no Content-Format.
    assert (refused.code, refused.text(), refused.content_format) == (Code.FORBIDDEN, "not yours", None)
    assert (later.code, later.payload, later.max_age) == (Code.SERVICE_UNAVAILABLE, b"", 30)
    assert logs == []


def test_cancelling_an_async_handler_is_not_swallowed() -> None:
    app = App()
    waiting = asyncio.Event()

    @app.get("/")
    async def wait(request: Request) -> None:
        waiting.set()
        await asyncio.Event().wait()

    async def cancel() -> None:
        pending = app.dispatch(request(Code.GET))
        assert isinstance(pending, Coroutine)
        task = asyncio.create_task(pending)
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())


def test_cancelled_work_inside_a_handler_is_its_failure() -> None:
    app = App()

    @app.get("/")
    async def wait(request: Request) -> None:
        job = asyncio.create_task(asyncio.Event().wait())
        job.cancel()
        await job

    with capture_logs() as logs:
        assert TestClient(app).get("/").code == Code.INTERNAL_SERVER_ERROR
    [entry] = logs
    assert isinstance(entry["exc_info"].__cause__, asyncio.CancelledError)


@pytest.mark.parametrize("path", ["/", "/async"])
@pytest.mark.parametrize(
    ("value", "accept", "code"),
    [
        ("text", ContentFormat.TEXT, Code.CONTENT),
        ("text", ContentFormat.JSON, Code.NOT_ACCEPTABLE),
        ({"a": 1}, ContentFormat.JSON, Code.CONTENT),
        ({"a": 1}, ContentFormat.CBOR, Code.NOT_ACCEPTABLE),
        (Content({"a": 1}), ContentFormat.TEXT, Code.NOT_ACCEPTABLE),
        (Content(b"x", content_format=None, max_age=1), ContentFormat.TEXT, Code.CONTENT),
        (None, ContentFormat.JSON, Code.CONTENT),
        (Response(b"{}", Code.CONFLICT, content_format=50), ContentFormat.TEXT, Code.CONFLICT),
    ],
)
def test_accept(path: str, value: object, accept: int, code: Code) -> None:
    """RFC 7252 section 5.10.4: 4.06 when the format cannot be given, unless another error takes precedence."""
    assert TestClient(answering(value)).get(path, accept=accept).code == code


def test_hooks_run_in_order_and_back_and_those_of_included_apps_too() -> None:
    ran: list[str] = []
    app, inner = App(), App()

    @app.on_startup
    def first() -> None:
        ran.append("first")

    @inner.on_startup
    async def second() -> None:
        ran.append("second")

    @app.on_shutdown
    async def last() -> None:
        ran.append("last")

    @inner.on_shutdown
    def last_but_one() -> None:
        ran.append("last but one")

    app.include(inner, "/inner")

    async def live() -> None:
        await app.startup()
        await app.shutdown()

    asyncio.run(live())
    assert ran == ["first", "second", "last but one", "last"]


def test_failing_start_is_raised_and_a_failing_stop_is_logged() -> None:
    app = App()
    ran: list[str] = []

    @app.on_startup
    def no_database() -> None:
        raise OSError("no database")

    app.on_startup(lambda: ran.append("started"))
    app.on_shutdown(lambda: ran.append("stopped"))

    @app.on_shutdown
    def broken() -> None:
        raise OSError("cannot close")

    with pytest.raises(StartupError) as caught:
        asyncio.run(app.startup())
    line = str(caught.value)
    assert "no_database" in line
    assert f"({__name__})" in line
    assert "OSError: no database" in line
    assert "test_dispatch.py:" in line
    assert isinstance(caught.value.__cause__, OSError)
    with capture_logs() as logs:
        asyncio.run(app.shutdown())
    assert ran == ["stopped"]
    assert [entry["event"] for entry in logs] == ["handler.shutdown_failed"]


def test_error_hooks_and_sinks_of_an_included_app_are_taken_over() -> None:
    app, inner = App(), App()
    seen: list[str] = []
    inner.get("/x")(fail)
    inner.on_error(lambda request, error: seen.append(request.path))
    inner.sinks["mine"] = LineWriter(None)
    app.include(inner, "/inner")
    assert app.sinks == inner.sinks
    with capture_logs():
        assert TestClient(app).get("/inner/x").code == Code.INTERNAL_SERVER_ERROR
    assert seen == ["/inner/x"]
