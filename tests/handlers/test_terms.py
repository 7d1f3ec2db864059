"""What a route can ask of a request: conditions, formats, freshness, bounds; and the routes that declare it."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import cbor2
import pytest

from gateway.coap import Block, encode_block, encode_uint
from gateway.handlers import (
    App,
    Changed,
    Code,
    Content,
    ContentFormat,
    Reject,
    Request,
    Response,
    RouteError,
    TestClient,
)
from gateway.handlers.freshness import Freshness
from gateway.model import Device

IF_MATCH, ETAG, IF_NONE_MATCH, SIZE1, ECHO, BLOCK1, HOP_LIMIT = 1, 4, 5, 60, 252, 27, 16
KINDS = ("plain", "async", "thread")


class Resource:
    """One resource whose version a test sets.

    Attributes:
        version: Its ETag; None while it does not exist.
        calls: Methods of the requests that came to a handler.
    """

    def __init__(self, kind: str, etag: str = "plain") -> None:
        self.app = App()
        self.version: bytes | None = b"v1"
        self.calls = list[int]()

        def handle(request: Request) -> Response:
            self.calls.append(request.method)
            if request.method == Code.GET:
                return Content("body", etag=self.version)
            return Changed()

        async def later(request: Request) -> Response:
            return handle(request)

        def current(request: Request) -> bytes | None:
            return self.version

        async def current_later(request: Request) -> bytes | None:
            return self.version

        def handed_on(request: Request) -> Awaitable[bytes | None]:
            return current_later(request)

        tell: Any = {"plain": current, "async": current_later, "handed on": handed_on}[etag]
        handler: Callable[..., Any] = later if kind == "async" else handle
        every = ["GET", "PUT", "POST", "DELETE", "PATCH", "IPATCH"]
        self.app.route("/r", methods=every, thread=kind == "thread", etag=tell)(handler)
        self.app.route("/plain", methods=every, thread=kind == "thread")(handler)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("etag", ["plain", "async"])
@pytest.mark.parametrize(
    ("version", "options", "code"),
    [
        # RFC 7252 section 5.10.8.1: fulfilled by any of the ETags, or by existence for an empty one.
        (b"v1", [(IF_MATCH, b"v1")], Code.CHANGED),
        (b"v1", [(IF_MATCH, b"v0"), (IF_MATCH, b"v1")], Code.CHANGED),
        (b"v1", [(IF_MATCH, b"")], Code.CHANGED),
        (b"v1", [(IF_MATCH, b"v0")], Code.PRECONDITION_FAILED),
        (None, [(IF_MATCH, b"v1")], Code.PRECONDITION_FAILED),
        (None, [(IF_MATCH, b"")], Code.PRECONDITION_FAILED),
        # Section 5.10.8.2.
        (None, [(IF_NONE_MATCH, b"")], Code.CHANGED),
        (b"v1", [(IF_NONE_MATCH, b"")], Code.PRECONDITION_FAILED),
        (b"v1", [(IF_MATCH, b"v1"), (IF_NONE_MATCH, b"")], Code.PRECONDITION_FAILED),
        (b"v1", [], Code.CHANGED),
        (None, [], Code.CHANGED),
        # An ETag means something in a GET or FETCH only (section 5.10.6.2).
        (b"v1", [(ETAG, b"v1")], Code.CHANGED),
    ],
)
def test_conditions(kind: str, etag: str, version: bytes | None, options: list[tuple[int, bytes]], code: Code) -> None:
    resource = Resource(kind, etag)
    resource.version = version
    response = TestClient(resource.app).put("/r", "new", options=options)
    assert (response.code, response.payload) == (code, b"")
    assert resource.calls == ([Code.PUT] if code == Code.CHANGED else [])


@pytest.mark.parametrize("etag", ["plain", "async", "handed on"])
@pytest.mark.parametrize("kind", ["plain", "async"])
def test_who_has_the_newest_version_gets_2_03_and_no_handler_runs(kind: str, etag: str) -> None:
    resource = Resource(kind, etag)
    client = TestClient(resource.app)
    response = client.get("/r", options=[(ETAG, b"v0"), (ETAG, b"v1")])
    assert (response.code, response.etag, response.payload) == (Code.VALID, b"v1", b"")
    assert resource.calls == []
    assert client.get("/r", options=[(ETAG, b"v0")]).text() == "body"


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_with_an_etag_becomes_2_03_by_itself(kind: str) -> None:
    resource = Resource(kind)
    client = TestClient(resource.app)
    response = client.get("/plain", options=[(ETAG, b"v1")])
    assert (response.code, response.etag, response.payload) == (Code.VALID, b"v1", b"")
    assert client.get("/plain", options=[(ETAG, b"v2")]).code == Code.CONTENT


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("option", "name"),
    [((IF_MATCH, b"v1"), "If-Match"), ((IF_MATCH, b""), "If-Match"), ((IF_NONE_MATCH, b""), "If-None-Match")],
)
def test_a_condition_where_no_etag_is_declared_is_4_02(kind: str, option: tuple[int, bytes], name: str) -> None:
    # RFC 7252 section 5.4.1: it must not be done unconditionally.
    resource = Resource(kind)
    response = TestClient(resource.app).put("/plain", "new", options=[option])
    assert response.code == Code.BAD_OPTION
    assert name in response.text()
    assert resource.calls == []


def test_a_condition_holds_for_the_first_block_too() -> None:
    resource = Resource("plain")
    response = TestClient(resource.app).put("/plain", bytes(3000), options=[(IF_MATCH, b"v1")])
    assert response.code == Code.BAD_OPTION
    assert TestClient(resource.app).put("/r", bytes(3000), options=[(IF_MATCH, b"v1")]).code == Code.CHANGED
    assert TestClient(resource.app).put("/r", bytes(3000), options=[(IF_MATCH, b"v2")]).code == Code.PRECONDITION_FAILED


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("etag", ["plain", "async"])
def test_an_etag_that_cannot_be_told_is_a_failure(kind: str, etag: str) -> None:
    app, failures = App(), list[str]()

    def broken(request: Request) -> bytes:
        raise OSError("no database")

    async def broken_later(request: Request) -> bytes:
        raise OSError("no database")

    async def later(request: Request) -> None:
        """Never runs."""

    app.on_error(lambda request, error: failures.append(str(error)))
    handler: Any = later if kind == "async" else lambda request: None
    app.get("/", thread=kind == "thread", etag=broken if etag == "plain" else broken_later)(handler)
    assert TestClient(app).get("/").code == Code.INTERNAL_SERVER_ERROR
    assert failures == ["no database"]


def test_an_etag_function_may_refuse() -> None:
    app = App()

    def gone(request: Request) -> bytes:
        raise Reject(Code.NOT_FOUND, "no such thing")

    app.get("/", etag=gone)(lambda request: "never")
    assert TestClient(app).get("/").text() == "no such thing"


# --- formats -------------------------------------------------------------------------------------------------------


def formats() -> tuple[App, list[str]]:
    app, calls = App(), list[str]()

    @app.fetch("/x", consumes=[ContentFormat.CBOR, "application/json"], produces=["application/cbor", 0])
    def fetch(request: Request) -> Response:
        calls.append(str(request.accept))
        return Content([1, 2], content_format=ContentFormat.CBOR)

    return app, calls


def test_another_format_than_is_taken_is_4_15_before_the_handler_runs() -> None:
    app, calls = formats()
    client = TestClient(app)
    for content_format in (None, ContentFormat.TEXT, 65000):
        response = client.fetch("/x", b"{}", content_format=content_format)
        assert (response.code, response.text()) == (
            Code.UNSUPPORTED_CONTENT_FORMAT, "this takes content format 60 or 50",
        )  # fmt: skip
    assert calls == []
    assert client.fetch("/x", b"\xa0", content_format=60).ok
    assert client.fetch("/x", {}, content_format="application/json").ok


def test_another_format_than_can_be_given_is_4_06_before_the_handler_runs() -> None:
    # RFC 7252 section 5.10.4.
    app, calls = formats()
    client = TestClient(app)
    response = client.fetch("/x", b"\xa0", content_format=60, accept=ContentFormat.JSON)
    assert (response.code, response.text()) == (Code.NOT_ACCEPTABLE, "available as content format 60 or 0")
    assert calls == []
    assert cbor2.loads(client.fetch("/x", b"\xa0", content_format=60, accept=60).payload) == [1, 2]


def test_the_first_block_of_a_body_in_another_format_is_refused() -> None:
    app, _ = formats()
    response = TestClient(app).fetch(
        "/x", bytes(1024), content_format=0, options=[(BLOCK1, encode_block(Block(0, True, 6)))]
    )
    assert response.code == Code.UNSUPPORTED_CONTENT_FORMAT


# --- freshness -----------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def unlock(clock: Clock, fresh: float | timedelta = 10) -> tuple[App, list[bytes]]:
    app, done = App(), list[bytes]()
    app._freshness = Freshness(bytes(32), clock)

    @app.post("/unlock", fresh=fresh, max_body=10_000)
    def run(request: Request) -> None:
        done.append(request.payload)

    return app, done


@pytest.mark.parametrize("fresh", [10, 10.0, timedelta(seconds=10)])
def test_a_request_of_unknown_age_is_asked_for_again_with_an_echo(fresh: float | timedelta) -> None:
    # RFC 9175 section 2.3.
    clock = Clock()
    app, done = unlock(clock, fresh)
    client = TestClient(app)
    challenge = client.post("/unlock", b"now")
    echo = challenge.option(ECHO)
    assert challenge.code == Code.UNAUTHORIZED
    assert echo is not None
    assert 1 <= len(echo) <= 40  # section 2.2.1
    assert done == []
    clock.now += 10
    assert client.post("/unlock", b"now", options=[(ECHO, echo)]).code == Code.CHANGED
    # It is no password for one use: the age counts, and for ten seconds it is young enough.
    assert client.post("/unlock", b"again", options=[(ECHO, echo)]).code == Code.CHANGED
    clock.now += 0.01
    stale = client.post("/unlock", b"late", options=[(ECHO, echo)])
    assert stale.code == Code.UNAUTHORIZED
    assert stale.option(ECHO) not in (None, echo)
    assert done == [b"now", b"again"]


def test_an_echo_of_another_device_or_of_nobody_proves_nothing() -> None:
    app, done = unlock(Clock())
    echo = TestClient(app, device="dev1").post("/unlock").option(ECHO)
    assert echo is not None
    forged = [
        echo[:-1] + bytes([echo[-1] ^ 1]),
        b"\0" * 14,
        b"\xff" * 6 + echo[6:],
        echo + b"\0",
        echo[:-1],
        b"",
        b"x" * 40,
    ]
    for value in forged:
        assert TestClient(app, device="dev1").post("/unlock", options=[(ECHO, value)]).code == Code.UNAUTHORIZED
    other = Device("dev1", tenant_id="other")
    for device in ("dev2", other):
        assert TestClient(app, device=device).post("/unlock", options=[(ECHO, echo)]).code == Code.UNAUTHORIZED
    assert done == []
    assert TestClient(app, device="dev1").post("/unlock", options=[(ECHO, echo)]).ok


def test_two_devices_whose_names_run_together_have_different_echoes() -> None:
    freshness = Freshness(bytes(32), Clock())
    one, two = Device("b", tenant_id="a"), Device("", tenant_id="ab")
    assert freshness.is_fresh(freshness.challenge(one), one, 1)
    assert not freshness.is_fresh(freshness.challenge(one), two, 1)


def test_an_echo_of_another_process_is_asked_for_again() -> None:
    clock = Clock()
    device = Device("dev1")
    assert not Freshness(clock=clock).is_fresh(Freshness(clock=clock).challenge(device), device, 100)


def test_a_body_in_blocks_is_as_fresh_as_its_first_one() -> None:
    clock = Clock()
    app, done = unlock(clock)
    client = TestClient(app)
    challenge = client.post("/unlock", bytes(3000))
    echo = challenge.option(ECHO)
    assert (challenge.code, done) == (Code.UNAUTHORIZED, [])
    assert echo is not None
    assert client.post("/unlock", bytes(3000), options=[(ECHO, echo)]).code == Code.CHANGED
    first = [(ECHO, echo), (BLOCK1, encode_block(Block(0, True, 6)))]
    assert client.post("/unlock", bytes(1024), options=first).code == Code.CONTINUE
    clock.now += 60
    last = [(BLOCK1, encode_block(Block(1, False, 6)))]
    assert client.post("/unlock", b"end", options=last).code == Code.CHANGED
    assert [len(body) for body in done] == [3000, 1027]


# --- what is declared ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_body": -1}, "max_body is 0 to 16777216 bytes, not -1; a larger one is taken with stream=True"),
        ({"max_body": 1 << 25}, "with stream=True"),
        ({"fresh": -1}, "fresh is a number of seconds"),
        ({"produces": []}, "produces is one content format or more"),
        ({"produces": [70_000]}, "a number from 0 to 65535"),
        ({"consumes": ["application/nonsense"]}, "no content format is named 'application/nonsense'"),
        ({"consumes": 60}, "consumes is a list of content formats by number or media type, not 60"),
        ({"max_body": "10k"}, "max_body is a number of bytes, such as 10_000, not '10k'"),
        ({"fresh": "10s"}, "fresh is a number of seconds or a timedelta, not '10s'"),
        ({"etag": b"v1"}, "etag is a function of the request that returns the ETag, not b'v1'"),
        ({"rt": ["a", "b"]}, r"the attribute rt is a text, not \['a', 'b'\]"),
        ({"rt": 'a"b'}, "without quotes"),
        ({"title": "a\nb"}, "must be printable"),
        ({"tread": True}, "there is no route option 'tread'; there are thread, "),
    ],
)
def test_wrong_options_are_refused_where_they_are_written(options: dict[str, Any], says: str) -> None:
    with pytest.raises(RouteError, match=says):
        App().post("/", **options)


def test_a_stream_may_be_larger_than_memory() -> None:
    app = App()

    @app.post("/", stream=True, max_body=1 << 30)
    async def stream(request: Request) -> None:
        """Never runs."""

    with pytest.raises(RouteError, match="max_body is 0 to 1073741824"):
        app.put("/", stream=True, max_body=1 + (1 << 30))


def test_an_included_app_keeps_its_terms() -> None:
    inner, app = App(), App()
    inner.post("/x", max_body=10, produces="application/json")(lambda request: {})
    app.include(inner, "/inner")
    assert TestClient(app).post("/inner/x", bytes(11)).option(SIZE1) == encode_uint(10)
    assert TestClient(app).post("/inner/x", accept=60).code == Code.NOT_ACCEPTABLE


def test_an_included_stream_is_still_one() -> None:
    inner, app = App(), App()

    @inner.post("/x", stream=True)
    async def stream(request: Request) -> str:
        return str([len(block) async for block in request.blocks()])

    app.include(inner, "/inner")
    assert TestClient(app).post("/inner/x", bytes(2000)).text() == "[1024, 976]"


def test_hop_limit_is_no_business_of_a_server() -> None:
    # RFC 8768 section 3: elective; "a CoAP proxy" decrements it, and nobody else looks at it.
    app = App()
    app.get("/")(lambda request: "here")
    for value in (b"", b"\x01", b"\xff", b"\x01\x02"):
        assert TestClient(app).get("/", options=[(HOP_LIMIT, value)]).text() == "here"


@pytest.mark.parametrize("method", ["fetch", "patch", "ipatch"])
def test_the_methods_of_rfc_8132(method: str) -> None:
    app = App()
    getattr(app, method)("/x")(lambda request: Content(request.payload, content_format=None))
    client = TestClient(app)
    response = getattr(client, method)("/x", b"question")
    assert (response.code, response.payload) == (Code.CONTENT, b"question")
    assert client.get("/x").code == Code.METHOD_NOT_ALLOWED
