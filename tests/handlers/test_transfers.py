"""Bodies that come and go in blocks, on their way between a device and the handlers (RFC 7959)."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.coap import Block, Message, Option, Peer, decode_block, encode, encode_block, encode_uint, limits
from gateway.handlers import (
    App,
    Changed,
    Code,
    Content,
    Created,
    Device,
    Reject,
    Request,
    Response,
    RouteError,
    TestClient,
    Transfers,
    UploadAborted,
)
from gateway.handlers.limits import STREAMS_OF_ONE
from gateway.model import AuthKind, Principal

ALICE = Principal(Device("alice"), AuthKind.PSK, "c1")
BLOCK1, BLOCK2, SIZE1, SIZE2, ETAG = 27, 23, 60, 28, 4
BODY = bytes(n * 31 & 0xFF for n in range(5000))


class Wire:
    """One device that sends messages of its own making."""

    def __init__(self, app: App, *, block_size: int = 1024, peer: Peer | None = None, **bounds: Any) -> None:
        self.transfers = Transfers(app, block_size=block_size, **bounds)
        self.peer = peer or Peer()
        self.now = 0.0

    def request(self, code: Code, path: str, payload: bytes = b"", *options: tuple[int, bytes]) -> Request:
        own = [(int(Option.URI_PATH), part.encode()) for part in path.strip("/").split("/")]
        return Request(Message(0, code, 1, b"tt", sorted([*own, *options], key=lambda o: o[0]), payload), ALICE)

    def start(self, request: Request) -> Response | Coroutine[Any, Any, Response]:
        return self.transfers.dispatch(self.peer, request, self.now)

    def ask(self, code: Code, path: str, payload: bytes = b"", *options: tuple[int, bytes]) -> Response:
        request = self.request(code, path, payload, *options)
        answer = self.start(request)
        assert isinstance(answer, Response)
        return self.finish(request, answer)

    async def aask(self, code: Code, path: str, payload: bytes = b"", *options: tuple[int, bytes]) -> Response:
        request = self.request(code, path, payload, *options)
        answer = self.start(request)
        return self.finish(request, answer if isinstance(answer, Response) else await answer)

    def finish(self, request: Request, answer: Response) -> Response:
        response = self.transfers.finish(self.peer, request, answer, self.now)
        size = len(encode(Message(2, response.code, 1, b"tt", response.options, response.payload)))
        assert size <= self.peer.max_message
        return response


def block1(number: int, more: bool, szx: int = 6) -> tuple[int, bytes]:
    return BLOCK1, encode_block(Block(number, more, szx))


def block2(number: int, szx: int = 6) -> tuple[int, bytes]:
    return BLOCK2, encode_block(Block(number, False, szx))


def piece(number: int, szx: int = 6, body: bytes = BODY) -> bytes:
    size = 16 << szx
    return body[number * size : (number + 1) * size]


def told(response: Response, option: int) -> Block | None:
    value = response.option(option)
    return None if value is None else decode_block(value)


class Store:
    """An app that keeps what it is sent and gives it back.

    Attributes:
        bodies: What came, one for each call of the handler.
    """

    def __init__(self, *, max_body: int = 10_000) -> None:
        self.app = App()
        self.bodies = list[bytes]()
        self.body = BODY

        @self.app.post("/up", max_body=max_body)
        def up(request: Request) -> Changed:
            self.bodies.append(request.payload)
            return Changed(b"seen")

        @self.app.get("/down")
        def down(request: Request) -> Content:
            self.bodies.append(b"")
            return Content(self.body)

        @self.app.get("/named")
        def named(request: Request) -> Content:
            self.bodies.append(b"")
            return Content(self.body, etag=b"v1", max_age=7)

        @self.app.route("/swap", methods=["POST", "FETCH"])
        def swap(request: Request) -> Response:
            self.bodies.append(request.payload)
            return Content(request.payload[::-1])


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def wire(store: Store) -> Wire:
    return Wire(store.app)


# --- bodies that come ----------------------------------------------------------------------------------------------


def test_a_handler_gets_the_whole_body_once(store: Store, wire: Wire) -> None:
    for number in range(4):
        response = wire.ask(Code.POST, "/up", piece(number), block1(number, True))
        assert (response.code, told(response, BLOCK1)) == (Code.CONTINUE, Block(number, True, 6))
        assert store.bodies == []
        assert wire.transfers.uploads == 1
    response = wire.ask(Code.POST, "/up", piece(4), block1(4, False))
    assert (response.code, response.payload, told(response, BLOCK1)) == (Code.CHANGED, b"seen", Block(4, False, 6))
    assert store.bodies == [BODY]
    assert wire.transfers.uploads == 0


def test_the_server_asks_for_smaller_blocks(store: Store) -> None:
    # Section 2.3 figure 8: the answer to 0/1/1024 is 0/1/256, and byte 1024 is then block 4.
    wire = Wire(store.app, block_size=256)
    response = wire.ask(Code.POST, "/up", piece(0), block1(0, True))
    assert told(response, BLOCK1) == Block(0, True, 4)
    response = wire.ask(Code.POST, "/up", piece(4, 4), block1(4, True, 4))
    assert told(response, BLOCK1) == Block(4, True, 4)
    # A client that does not care is served all the same, and one that likes them smaller still.
    wire.ask(Code.POST, "/up", piece(20, 2), block1(20, True, 2))
    response = wire.ask(Code.POST, "/up", piece(21, 2), block1(21, False, 2))
    assert (response.code, told(response, BLOCK1)) == (Code.CHANGED, Block(21, False, 2))
    assert store.bodies == [BODY[:1408]]


@pytest.mark.parametrize(
    ("options", "payload", "code"),
    [
        ([block1(1, True)], bytes(1024), Code.REQUEST_ENTITY_INCOMPLETE),
        ([block1(0, True)], bytes(1000), Code.BAD_REQUEST),
        # Section 2.2: size 7 is reserved.
        ([(BLOCK1, b"\x0f")], bytes(2048), Code.BAD_REQUEST),
        ([(BLOCK2, b"\x07")], b"", Code.BAD_REQUEST),
        ([block1(0, True), (SIZE1, encode_uint(10_001))], bytes(1024), Code.REQUEST_ENTITY_TOO_LARGE),
    ],
)
def test_refusals(store: Store, wire: Wire, options: list[tuple[int, bytes]], payload: bytes, code: Code) -> None:
    response = wire.ask(Code.POST, "/up", payload, *options)
    assert response.code == code
    assert store.bodies == []
    if code == Code.REQUEST_ENTITY_TOO_LARGE:
        assert response.option(SIZE1) == encode_uint(10_000)
        # Section 2.9.3: a Block1 in it would ask for smaller blocks.
        assert response.option(BLOCK1) is None


@pytest.mark.parametrize(("path", "code"), [("/nowhere", Code.NOT_FOUND), ("/down", Code.METHOD_NOT_ALLOWED)])
def test_where_there_is_no_handler_the_first_block_says_so(wire: Wire, path: str, code: Code) -> None:
    assert wire.ask(Code.POST, path, bytes(1024), block1(0, True)).code == code
    assert wire.transfers.uploads == 0


def test_a_body_over_the_bound_is_4_13_however_it_comes() -> None:
    store = Store(max_body=1500)
    wire = Wire(store.app)
    assert wire.ask(Code.POST, "/up", bytes(1024), block1(0, True)).code == Code.CONTINUE
    response = wire.ask(Code.POST, "/up", bytes(1024), block1(1, False))
    assert (response.code, response.option(SIZE1)) == (Code.REQUEST_ENTITY_TOO_LARGE, encode_uint(1500))
    response = wire.ask(Code.POST, "/up", bytes(1501))
    assert (response.code, response.option(SIZE1)) == (Code.REQUEST_ENTITY_TOO_LARGE, encode_uint(1500))
    assert wire.ask(Code.POST, "/up", bytes(1500)).code == Code.CHANGED
    assert [len(body) for body in store.bodies] == [1500]


def test_the_bound_of_the_configuration_holds_where_a_route_has_none(store: Store) -> None:
    # The largest of all bounds is what the message layer is to let through.
    assert store.app.limit_bodies(500) == 10_000
    wire = Wire(store.app)
    response = wire.ask(Code.POST, "/swap", bytes(501))
    assert (response.code, response.option(SIZE1)) == (Code.REQUEST_ENTITY_TOO_LARGE, encode_uint(500))
    assert wire.ask(Code.POST, "/swap", bytes(500)).code == Code.CONTENT
    assert wire.ask(Code.POST, "/up", bytes(1001)).code == Code.CHANGED
    assert wire.ask(Code.POST, "/swap", bytes(512), block1(0, True, 5)).code == Code.REQUEST_ENTITY_TOO_LARGE
    assert store.app.limit_bodies(20_000) == 20_000
    assert wire.ask(Code.POST, "/swap", bytes(501)).code == Code.CONTENT


def test_a_session_that_is_gone_leaves_nothing_behind(wire: Wire) -> None:
    wire.ask(Code.POST, "/up", piece(0), block1(0, True))
    wire.ask(Code.GET, "/down")
    assert (wire.transfers.uploads, wire.transfers.downloads) == (1, 1)
    wire.transfers.forget(wire.peer)
    assert (wire.transfers.uploads, wire.transfers.downloads, wire.transfers.next_expiry()) == (0, 0, None)


def test_a_transfer_that_nobody_goes_on_with_expires(wire: Wire) -> None:
    wire.ask(Code.GET, "/down")
    wire.now = 100.0
    wire.ask(Code.POST, "/up", piece(0), block1(0, True))
    # EXCHANGE_LIFETIME, RFC 7252 section 4.8.2.
    assert wire.transfers.next_expiry() == 247.0
    wire.transfers.expire(247.0)
    assert (wire.transfers.uploads, wire.transfers.downloads) == (1, 0)
    wire.transfers.expire(347.0)
    assert (wire.transfers.uploads, wire.transfers.next_expiry()) == (0, None)


# --- bodies that go ------------------------------------------------------------------------------------------------


def fetch(wire: Wire, path: str, szx: int, code: Code = Code.GET) -> bytes:
    body = b""
    while True:
        response = wire.ask(code, path, b"", block2(len(body) >> szx + 4, szx))
        assert response.code == Code.CONTENT
        block = told(response, BLOCK2)
        assert block is not None
        assert (block.offset, block.szx) == (len(body), szx)
        body += response.payload
        if not block.more:
            return body


@pytest.mark.parametrize("szx", range(7))
@pytest.mark.parametrize("path", ["/down", "/named"])
def test_every_block_size(store: Store, wire: Wire, path: str, szx: int) -> None:
    assert fetch(wire, path, szx) == BODY
    # With an ETag each block is made again; without one the first answer was kept.
    assert (len(store.bodies) == 1) == (path == "/down")
    assert wire.transfers.downloads == (path == "/down")


def test_blocks_of_one_body_have_one_etag_and_all_options(store: Store, wire: Wire) -> None:
    first = wire.ask(Code.GET, "/down", b"", block2(0))
    second = wire.ask(Code.GET, "/down", b"", block2(1))
    assert first.etag is not None
    assert first.etag == second.etag
    assert first.content_format == second.content_format == 42
    assert (first.option(SIZE2), second.option(SIZE2)) == (encode_uint(5000), None)
    assert wire.ask(Code.GET, "/down", b"", block2(1), (SIZE2, b"")).option(SIZE2) == encode_uint(5000)
    # Another body has another one, so that a client can tell the two apart (section 2.4).
    store.body = BODY[::-1]
    assert wire.ask(Code.GET, "/down", b"", block2(0)).etag != first.etag


def test_a_body_that_changes_on_the_way_is_the_first_one_to_its_end(store: Store, wire: Wire) -> None:
    wire.ask(Code.GET, "/down", b"", block2(0))
    store.body = b"new" * 2000
    assert wire.ask(Code.GET, "/down", b"", block2(1)).payload == piece(1)


def test_any_block_can_be_asked_for_first(store: Store, wire: Wire) -> None:
    """After a restart of the gateway nothing is kept, and a download goes on where it was."""
    for path in ("/named", "/down"):
        response = wire.ask(Code.GET, path, b"", block2(3))
        assert (response.code, response.payload) == (Code.CONTENT, piece(3))
        assert response.etag is not None
    assert wire.transfers.downloads == 0


def test_the_second_block_of_what_must_not_run_twice(store: Store, wire: Wire) -> None:
    response = wire.ask(Code.POST, "/swap", b"", block2(1))
    assert response.code == Code.REQUEST_ENTITY_INCOMPLETE
    assert store.bodies == []


@pytest.mark.parametrize("number", [5, 6, 1000, 0xFFFFF])
@pytest.mark.parametrize("path", ["/down", "/named"])
def test_a_block_beyond_the_end_is_4_00(wire: Wire, path: str, number: int) -> None:
    assert wire.ask(Code.GET, path, b"", block2(number)).code == Code.BAD_REQUEST
    wire.ask(Code.GET, path, b"", block2(0))
    assert wire.ask(Code.GET, path, b"", block2(number)).code == Code.BAD_REQUEST


def test_an_early_wish_for_smaller_blocks_is_granted_and_a_late_one_too(wire: Wire) -> None:
    # Section 2.4 figures 3 and 4.
    assert told(wire.ask(Code.GET, "/named", b"", block2(0, 2)), BLOCK2) == Block(0, True, 2)
    first = wire.ask(Code.GET, "/named")
    assert told(first, BLOCK2) == Block(0, True, 6)
    late = wire.ask(Code.GET, "/named", b"", block2(16, 2))
    assert (told(late, BLOCK2), late.payload) == (Block(16, True, 2), piece(16, 2))


def test_the_server_likes_smaller_blocks(store: Store) -> None:
    wire = Wire(store.app, block_size=64)
    assert told(wire.ask(Code.GET, "/down"), BLOCK2) == Block(0, True, 2)
    response = wire.ask(Code.GET, "/down", b"", block2(1, 6))
    assert (told(response, BLOCK2), response.payload) == (Block(16, True, 2), piece(16, 2))


def test_a_small_answer_has_no_block_unless_it_is_asked_for(store: Store, wire: Wire) -> None:
    store.body = b"small"
    assert told(wire.ask(Code.GET, "/down"), BLOCK2) is None
    response = wire.ask(Code.GET, "/down", b"", block2(0))
    assert (told(response, BLOCK2), response.payload) == (Block(0, False, 6), b"small")
    assert wire.transfers.downloads == 0


def test_a_client_that_asks_for_the_size_is_told_even_where_all_of_it_comes(store: Store, wire: Wire) -> None:
    # RFC 7959 section 4: a Size2 in a request asks for the size of what would be answered.
    store.body = b"small"
    for path in ("/down", "/named"):
        response = wire.ask(Code.GET, path, b"", (SIZE2, b""))
        assert (response.payload, response.option(SIZE2), told(response, BLOCK2)) == (b"small", b"\x05", None)
    assert wire.ask(Code.GET, "/nowhere", b"", (SIZE2, b"")).options == []


def test_an_error_is_no_block(wire: Wire) -> None:
    response = wire.ask(Code.GET, "/nowhere", b"", block2(3))
    assert (response.code, response.options) == (Code.NOT_FOUND, [])


class SmallPeer(Peer):
    """A device with small records (RFC 8449)."""

    @property
    def max_message(self) -> int:
        return 100


def test_blocks_fit_the_records_of_the_device(store: Store) -> None:
    wire = Wire(store.app, peer=SmallPeer())
    assert told(wire.ask(Code.GET, "/down"), BLOCK2) == Block(0, True, 2)
    assert fetch(wire, "/down", 2) == BODY


def test_a_body_in_both_directions(store: Store, wire: Wire) -> None:
    """Section 3.3 figure 12: the answer's first block comes with the acknowledgement of the request's last."""
    for number in range(4):
        wire.ask(Code.POST, "/swap", piece(number), block1(number, True))
    response = wire.ask(Code.POST, "/swap", piece(4), block1(4, False), block2(0, 4))
    assert (told(response, BLOCK1), told(response, BLOCK2)) == (Block(4, False, 6), Block(0, True, 4))
    body = response.payload
    while len(body) < len(BODY):
        response = wire.ask(Code.POST, "/swap", b"", block2(len(body) // 256, 4))
        assert told(response, BLOCK1) is None
        body += response.payload
    assert body == BODY[::-1]
    assert store.bodies == [BODY]


def test_a_fetch_is_answered_by_its_payload(store: Store, wire: Wire) -> None:
    question = BODY[:1000]
    store.app.get("/x")(lambda request: None)
    first = wire.ask(Code.FETCH, "/swap", question, block2(0, 4))
    for repeated in (question, b""):
        following = wire.ask(Code.FETCH, "/swap", repeated, block2(1, 4))
        assert (following.payload, following.etag) == (question[::-1][256:512], first.etag)
    assert store.bodies == [question]
    # Another question is another body (RFC 8132 section 2).
    other = wire.ask(Code.FETCH, "/swap", b"another" * 100, block2(1, 4))
    assert other.payload == (b"another" * 100)[::-1][256:512]


def test_a_get_that_is_too_large_to_be_kept_is_made_again(store: Store, wire: Wire) -> None:
    store.body = bytes(limits.BODY_BYTES_OF_ONE) + b"end"
    last = len(store.body) // 1024
    assert wire.ask(Code.GET, "/down").code == Code.CONTENT
    assert wire.transfers.downloads == 0
    assert wire.ask(Code.GET, "/down", b"", block2(last)).payload == b"end"
    assert len(store.bodies) == 2


def test_what_is_too_large_to_be_kept_and_must_not_run_twice_cannot_be_sent() -> None:
    app = App()
    app.post("/")(lambda request: Created("/7", bytes(limits.BODY_BYTES_OF_ONE)))
    wire = Wire(app)
    request = wire.request(Code.POST, "")
    answer = wire.start(Request(Message(0, Code.POST, 1, b"tt"), ALICE))
    assert isinstance(answer, Response)
    with pytest.raises(ValueError, match="too large to be kept"):
        wire.finish(request, answer)


def test_a_location_comes_with_each_block_and_no_etag_that_is_none() -> None:
    app = App()
    app.post("/new")(lambda request: Created("/things/7", BODY))
    wire = Wire(app)
    first = wire.ask(Code.POST, "/new")
    second = wire.ask(Code.POST, "/new", b"", block2(1))
    # The ETag of a 2.01 would be that of the new resource (RFC 7252 section 5.10.6.1).
    assert (first.code, first.location, first.etag) == (Code.CREATED, "/things/7", None)
    assert (second.code, second.location, second.payload) == (Code.CREATED, "/things/7", piece(1))


# --- streams -------------------------------------------------------------------------------------------------------


class Streaming:
    """An app that takes bodies block by block.

    Attributes:
        taken: The blocks that the handler has taken.
        go: Lets it take the next one.
        events: What happened to it.
    """

    def __init__(self) -> None:
        self.app = App()
        self.taken = list[bytes]()
        self.go = asyncio.Semaphore(0)
        self.events = list[str]()

        @self.app.post("/up", stream=True, max_body=100_000)
        async def up(request: Request) -> Changed:
            self.events.append(f"begin {request.payload!r}")
            try:
                blocks = request.blocks()
                while True:
                    await self.go.acquire()
                    try:
                        self.taken.append(await anext(blocks))
                    except StopAsyncIteration:
                        break
            except UploadAborted:
                self.events.append("aborted")
                raise
            except asyncio.CancelledError:
                self.events.append("cancelled")
                raise
            self.events.append("end")
            return Changed(str(sum(map(len, self.taken))))

        @self.app.post("/refuse", stream=True)
        async def refuse(request: Request) -> Changed:
            async for _ in request.blocks():
                raise Reject(Code.FORBIDDEN, "no more of this")
            return Changed()


async def settled() -> None:
    """Everything that can run has run."""
    for _ in range(20):
        await asyncio.sleep(0)


def streaming(test: Callable[[Streaming, Wire], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test on a loop, and see to it that no handler is left."""

    def run() -> None:
        async def body() -> None:
            app = Streaming()
            wire = Wire(app.app)
            await test(app, wire)
            await wire.transfers.close()
            assert asyncio.all_tasks() == {asyncio.current_task()}

        asyncio.run(body())

    return run


async def send(wire: Wire, number: int, more: bool, path: str = "/up") -> Response:
    return await wire.aask(Code.POST, path, piece(number), block1(number, more))


async def _back_pressure(app: Streaming, wire: Wire) -> None:
    for number in range(3):
        sending = asyncio.create_task(send(wire, number, True))
        await settled()
        # The handler has not taken it, so the device is not told to continue.
        assert not sending.done()
        app.go.release()
        response = await sending
        assert (response.code, told(response, BLOCK1)) == (Code.CONTINUE, Block(number, True, 6))
        assert app.taken == [piece(n) for n in range(number + 1)]
    last = asyncio.create_task(send(wire, 3, False))
    await settled()
    app.go.release()
    await settled()
    # It has the last block, and the answer is what it makes of it.
    assert not last.done()
    app.go.release()
    response = await last
    assert (response.code, response.payload, told(response, BLOCK1)) == (Code.CHANGED, b"4096", Block(3, False, 6))
    assert app.events == ["begin b''", "end"]
    assert wire.transfers.uploads == 0


async def _one_message(app: Streaming, wire: Wire) -> None:
    app.go.release()
    app.go.release()
    response = await wire.aask(Code.POST, "/up", b"all at once")
    assert (response.code, response.payload, app.taken) == (Code.CHANGED, b"11", [b"all at once"])


async def _nothing(app: Streaming, wire: Wire) -> None:
    app.go.release()
    response = await wire.aask(Code.POST, "/up")
    assert (response.payload, app.taken) == (b"0", [])


async def _ends_with_an_empty_block(app: Streaming, wire: Wire) -> None:
    app.go.release()
    await send(wire, 0, True)
    app.go.release()
    response = await wire.aask(Code.POST, "/up", b"", block1(1, False))
    assert (response.payload, app.taken) == (b"1024", [piece(0)])


async def _repeated_block(app: Streaming, wire: Wire) -> None:
    """With another message id, so that the message layer cannot know it; the first acknowledgement was lost."""
    app.go.release()
    await send(wire, 0, True)
    assert (await send(wire, 0, True)).code == Code.CONTINUE
    one = asyncio.create_task(send(wire, 1, False))
    await settled()
    two = asyncio.create_task(send(wire, 1, False))
    await settled()
    app.go.release()
    app.go.release()
    assert [(await each).payload for each in (one, two)] == [b"2048", b"2048"]
    assert app.taken == [piece(0), piece(1)]
    assert len(app.events) == 2


async def _refuses_early(app: Streaming, wire: Wire) -> None:
    response = await send(wire, 0, True, "/refuse")
    # It has taken the block, which is when the device is told to go on; the next one is answered by the refusal.
    if response.code == Code.CONTINUE:
        response = await send(wire, 1, True, "/refuse")
    assert (response.code, response.text()) == (Code.FORBIDDEN, "no more of this")
    assert wire.transfers.uploads == 0
    assert (await send(wire, 2, True, "/refuse")).code == Code.REQUEST_ENTITY_INCOMPLETE


async def _gap(app: Streaming, wire: Wire) -> None:
    app.go.release()
    await send(wire, 0, True)
    assert (await send(wire, 2, True)).code == Code.REQUEST_ENTITY_INCOMPLETE
    app.go.release()
    assert (await send(wire, 1, True)).code == Code.CONTINUE
    assert app.taken == [piece(0), piece(1)]


async def _begins_anew(app: Streaming, wire: Wire) -> None:
    app.go.release()
    app.go.release()
    await send(wire, 0, True)
    await send(wire, 1, True)
    app.go.release()
    app.go.release()
    response = await wire.aask(Code.POST, "/up", piece(3), block1(0, True))
    assert response.code == Code.CONTINUE
    await settled()
    assert app.events == ["begin b''", "aborted", "begin b''"]
    assert app.taken == [piece(0), piece(1), piece(3)]


async def _device_gone(app: Streaming, wire: Wire) -> None:
    app.go.release()
    await send(wire, 0, True)
    wire.transfers.forget(wire.peer)
    app.go.release()
    await settled()
    assert app.events == ["begin b''", "aborted"]


async def _expires(app: Streaming, wire: Wire) -> None:
    app.go.release()
    await send(wire, 0, True)
    wire.transfers.expire(247.0)
    app.go.release()
    await settled()
    assert app.events == ["begin b''", "aborted"]


async def _too_slow(app: Streaming, wire: Wire) -> None:
    """The dispatcher's time limit cancels what waits for the handler."""
    sending = asyncio.create_task(send(wire, 0, True))
    await settled()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await settled()
    assert app.events == ["begin b''", "cancelled"]
    assert wire.transfers.uploads == 0


async def _shut_down(app: Streaming, wire: Wire) -> None:
    app.go.release()
    await send(wire, 0, True)
    await wire.transfers.close()
    assert app.events == ["begin b''", "cancelled"]


async def _too_large(app: Streaming, wire: Wire) -> None:
    response = await wire.aask(Code.POST, "/up", piece(0), block1(0, True), (SIZE1, encode_uint(100_001)))
    assert (response.code, response.option(SIZE1)) == (Code.REQUEST_ENTITY_TOO_LARGE, encode_uint(100_000))
    assert app.events == []
    for _ in range(98):
        app.go.release()
    codes = [(await wire.aask(Code.POST, "/up", bytes(1024), block1(n, True))).code for n in range(98)]
    assert codes == [Code.CONTINUE] * 97 + [Code.REQUEST_ENTITY_TOO_LARGE]
    await settled()
    assert app.events[-1] == "aborted"


async def _bounded_in_all(app: Streaming, wire: Wire) -> None:
    wire = Wire(Deaf().app, max_streams=2)
    peers = [Peer(), Peer(), Peer()]
    answers = []
    for wire.peer in peers:
        answers.append(await send(wire, 0, True))
    assert [answer.code for answer in answers] == [Code.CONTINUE] * 2 + [Code.SERVICE_UNAVAILABLE]
    assert answers[2].max_age == 5
    # Nothing of the last one is left.
    assert (wire.transfers.streams, wire.transfers.uploads) == (2, 2)
    wire.transfers.forget(peers[0])
    await wire.transfers.close()
    assert wire.transfers.streams == 0


class OneOfSeveral(Peer):
    """A session of a device that has others."""

    @property
    def owner(self) -> str:
        return "alice"


class Deaf:
    """An app whose handler takes one block of its stream, and then waits for something else."""

    def __init__(self) -> None:
        self.app = App()
        self.cancelled = 0

        @self.app.post("/up", stream=True)
        async def up(request: Request) -> None:
            await anext(request.blocks())
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise


async def _bounded_for_a_device_with_those_that_linger(app: Streaming, wire: Wire) -> None:
    wire, codes = Wire(Deaf().app), []
    for number in range(6):  # begun anew each time
        codes.append((await wire.aask(Code.POST, "/up", bytes([number]) * 1024, block1(0, True))).code)
    assert codes == [Code.CONTINUE] * STREAMS_OF_ONE + [Code.SERVICE_UNAVAILABLE] * 2
    assert wire.transfers.streams == STREAMS_OF_ONE
    await wire.transfers.close()


async def _bounded_for_all_sessions_of_a_device(app: Streaming, wire: Wire) -> None:
    wire, codes = Wire(Deaf().app), []
    for number in range(6):
        wire.peer = OneOfSeveral()
        codes.append((await wire.aask(Code.POST, "/up", bytes([number]) * 1024, block1(0, True))).code)
    assert codes == [Code.CONTINUE] * STREAMS_OF_ONE + [Code.SERVICE_UNAVAILABLE] * 2
    assert wire.transfers.streams == STREAMS_OF_ONE
    # Another device has its own.
    wire.peer = Peer()
    assert (await wire.aask(Code.POST, "/up", bytes(1024), block1(0, True))).code == Code.CONTINUE
    await wire.transfers.close()


async def _ended_when_it_does_not_notice(app: Streaming, wire: Wire) -> None:
    deaf = Deaf()
    wire = Wire(deaf.app, stream_grace_s=0.0)
    await send(wire, 0, True)
    assert wire.transfers.streams == 1
    wire.transfers.forget(wire.peer)
    await settled()
    assert (wire.transfers.streams, deaf.cancelled) == (0, 1)


SCENES = [
    _back_pressure,
    _one_message,
    _nothing,
    _ends_with_an_empty_block,
    _repeated_block,
    _refuses_early,
    _gap,
    _begins_anew,
    _device_gone,
    _expires,
    _too_slow,
    _shut_down,
    _too_large,
    _bounded_in_all,
    _bounded_for_a_device_with_those_that_linger,
    _bounded_for_all_sessions_of_a_device,
    _ended_when_it_does_not_notice,
]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_streams(scene: Callable[[Streaming, Wire], Coroutine[Any, Any, None]]) -> None:
    with capture_logs() as logs:
        streaming(scene)()
    # None of this is a failure of the handler.
    assert logs == []


def test_a_stream_that_fails_is_5_00_and_one_log_line() -> None:
    app = App()

    @app.post("/", stream=True)
    async def broken(request: Request) -> None:
        async for _ in request.blocks():
            pass
        raise ZeroDivisionError

    with capture_logs() as logs:
        assert TestClient(app).post("/", bytes(3000)).code == Code.INTERNAL_SERVER_ERROR
    assert [entry["event"] for entry in logs] == ["handler.failed"]


def test_a_stream_needs_an_async_function() -> None:
    with pytest.raises(RouteError, match="must be async def"):
        App().post("/", stream=True)(lambda request: None)


def test_blocks_of_a_route_that_is_no_stream_are_one() -> None:
    app = App()

    @app.post("/")
    async def gather(request: Request) -> str:
        return str([len(block) async for block in request.blocks()])

    assert TestClient(app).post("/", BODY).text() == "[5000]"
    assert TestClient(app).post("/").text() == "[]"


# --- the test client -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 1024, 1025, 2048, 5000, 50_000])
def test_the_test_client_sends_and_gets_bodies_of_any_size(size: int) -> None:
    app = App()
    messages = list[int]()

    @app.route("/plain", methods=["POST", "FETCH"])
    def plain(request: Request) -> Response:
        messages.append(len(request.payload))
        return Content(request.payload)

    @app.post("/async", stream=True)
    async def stream(request: Request) -> bytes:
        return b"".join([block async for block in request.blocks()])

    body = (BODY * 11)[:size]
    client = TestClient(app)
    assert client.post("/plain", body).payload == body
    assert client.fetch("/plain", body).payload == body
    assert client.post("/async", body).payload == body
    assert messages[0] == size

    async def inside() -> None:
        # A plain handler is answered where a loop runs already, whatever the number of blocks.
        assert client.post("/plain", body).payload == body
        assert (await client.apost("/async", body)).payload == body

    asyncio.run(inside())


def test_the_test_client_heeds_a_refusal_in_the_middle() -> None:
    store = Store(max_body=2000)
    response = TestClient(store.app).post("/up", BODY)
    assert (response.code, response.option(SIZE1)) == (Code.REQUEST_ENTITY_TOO_LARGE, encode_uint(2000))


def test_the_test_client_takes_blocks_as_they_are_when_a_test_names_one(store: Store) -> None:
    response = TestClient(store.app).get("/named", options=[block2(2)])
    assert (told(response, BLOCK2), response.payload) == (Block(2, True, 6), piece(2))


def test_the_test_client_gives_up_where_the_body_ends_early() -> None:
    """A handler whose body gets shorter between two blocks: what the device gets for the second one is an error."""
    app = App()
    bodies = [BODY[:2000], BODY[:100]]
    app.get("/")(lambda request: Content(bodies.pop(0), etag=bytes([len(bodies) + 1])))
    assert TestClient(app).get("/").code == Code.BAD_REQUEST
