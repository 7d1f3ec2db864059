"""Try an app in-process: no network, no DTLS, the same dispatch and the same codec as on the wire."""

import asyncio
import sys
from collections.abc import Coroutine, Generator, Iterable, Mapping
from types import ModuleType, TracebackType
from typing import Any, Final, NamedTuple, Self, TypeAlias

import structlog

from gateway.coap import (
    MAX_BLOCK_BYTES,
    MAX_SZX,
    Block,
    Code,
    Message,
    MessageType,
    Option,
    Peer,
    decode,
    encode,
    encode_block,
    encode_options,
    encode_uint,
    find_block,
)
from gateway.handlers.app import App
from gateway.handlers.request import Request
from gateway.handlers.response import AUTO, Payload, Response, encode_payload
from gateway.handlers.routing import METHODS
from gateway.handlers.testing_devices import TestDevices, TestObservation
from gateway.handlers.transfers import Transfers
from gateway.handlers.uri import uri_options
from gateway.model import AuthKind, Device, Principal

_TOKEN: Final = b"test"
_CODES: Final = frozenset(map(int, Code))
_BLOCK1: Final = int(Option.BLOCK1)
_BLOCK2: Final = int(Option.BLOCK2)

_Exchange: TypeAlias = Generator[Coroutine[Any, Any, Response], Response, Message]


class TestClient:
    """A device that sends requests to an app.

        client = TestClient(app, device="dev1")
        assert client.post("/telemetry/temperature", {"celsius": 21.5}).code == Code.CHANGED

    Bodies that are larger than a block go and come in blocks, as with a device; the response has the whole.

    Handlers that are async work from plain tests; in an async test use `aget`, `apost` and so on. As a context manager
    (`with` or `async with`) it runs the app's start-up and shut-down hooks, and keeps one event loop in between.
    """

    __test__ = False  # pytest: not a test class

    def __init__(
        self,
        app: App,
        *,
        device: str | Device | Principal = "test-device",
        devices: Mapping[str, App] | None = None,
    ) -> None:
        """Make a client.

        Args:
            app: The app to test.
            device: Who sends: a device's id, a device, or a principal; each request may name another.
            devices: Id -> an app that plays this device when the app under test asks it something.

        Raises:
            TypeError: One of the apps is none.
        """
        for given in (app, *(devices or {}).values()):
            if not isinstance(given, App):
                raise TypeError(_no_app(given))
        _keep_locals_out_of_tracebacks()
        self._app = app
        self._devices = TestDevices(app.dispatch, devices or {})
        app.serve_with(self._devices)
        self._transfers = Transfers(app)
        self._peers: dict[Principal, Peer] = {}
        self._principal = _principal(device)
        self._runner: asyncio.Runner | None = None
        self._message_id = 0

    def request(
        self,
        method: str | Code,
        path: str,
        payload: Payload = b"",
        *,
        content_format: int | str | None = AUTO,
        accept: int | None = None,
        query: Mapping[str, str] | Iterable[str] = (),
        options: Iterable[tuple[int, bytes]] = (),
        device: str | Device | Principal | None = None,
    ) -> Response:
        """Send a request and return the response.

        Args:
            method: A name such as "POST", or a member of `Code`.
            path: As a URI writes it, query included: `/telemetry/room%201?unit=c`.
            payload: str is sent as text, dict and list as JSON, bytes without a content format.
            content_format: A number or media type instead of the payload's own; None for none.
            accept: The only content format that the device takes.
            query: More of the query: names and values, or raw arguments.
            options: Further options, as pairs of number and encoded value.
            device: Who sends, instead of the client's device.

        Raises:
            RuntimeError: The handler is async and an event loop is running: use the method with an "a" before its name.
        """
        exchange = self._exchange(
            method, path, payload, content_format=content_format, accept=accept, query=query, options=options,
            device=device,
        )  # fmt: skip
        try:
            waiting = next(exchange)
        except StopIteration as done:
            return _as_response(done.value)
        return self._run(exchange, waiting)

    async def arequest(self, method: str | Code, path: str, payload: Payload = b"", **arguments: Any) -> Response:
        """Send a request from async code and return the response. See `request`."""
        exchange = self._exchange(method, path, payload, **arguments)
        try:
            waiting = next(exchange)
        except StopIteration as done:
            return _as_response(done.value)
        return await _drive(exchange, waiting)

    def observe(self, path: str, **arguments: Any) -> TestObservation:
        """Observe a resource (RFC 7641): its `states` grow when the app notifies. See `request` for the arguments."""
        options = [*arguments.pop("options", ()), (int(Option.OBSERVE), b"")]
        first = self.get(path, options=options, **arguments)
        link, _ = self._link(Code.GET, path, b"", options=options, **arguments)
        message = Message(MessageType.CON, Code.GET, self._message_id, _TOKEN, link.options)
        request = Request(decode(encode(message)), link.principal)
        self._app.locate(request)
        return self._devices.register(request, first)

    def get(self, path: str, payload: Payload = b"", **arguments: Any) -> Response:
        """Send a GET. See `request`."""
        return self.request(Code.GET, path, payload, **arguments)

    def post(self, path: str, payload: Payload = b"", **arguments: Any) -> Response:
        """Send a POST. See `request`."""
        return self.request(Code.POST, path, payload, **arguments)

    def put(self, path: str, payload: Payload = b"", **arguments: Any) -> Response:
        """Send a PUT. See `request`."""
        return self.request(Code.PUT, path, payload, **arguments)

    def delete(self, path: str, payload: Payload = b"", **arguments: Any) -> Response:
        """Send a DELETE. See `request`."""
        return self.request(Code.DELETE, path, payload, **arguments)

    def fetch(self, path: str, payload: Payload = b"", **arguments: Any) -> Response:
        """Send a FETCH. See `request`."""
        return self.request(Code.FETCH, path, payload, **arguments)

    def patch(self, path: str, payload: Payload = b"", **arguments: Any) -> Response:
        """Send a PATCH. See `request`."""
        return self.request(Code.PATCH, path, payload, **arguments)

    def ipatch(self, path: str, payload: Payload = b"", **arguments: Any) -> Response:
        """Send an iPATCH. See `request`."""
        return self.request(Code.IPATCH, path, payload, **arguments)

    async def aget(self, path: str, payload: Payload = b"", **arguments: Any) -> Response:
        """Send a GET from async code. See `request`."""
        return await self.arequest(Code.GET, path, payload, **arguments)

    async def apost(self, path: str, payload: Payload = b"", **arguments: Any) -> Response:
        """Send a POST from async code. See `request`."""
        return await self.arequest(Code.POST, path, payload, **arguments)

    async def aput(self, path: str, payload: Payload = b"", **arguments: Any) -> Response:
        """Send a PUT from async code. See `request`."""
        return await self.arequest(Code.PUT, path, payload, **arguments)

    async def adelete(self, path: str, payload: Payload = b"", **arguments: Any) -> Response:
        """Send a DELETE from async code. See `request`."""
        return await self.arequest(Code.DELETE, path, payload, **arguments)

    def __enter__(self) -> Self:
        self._runner = asyncio.Runner()
        try:
            self._runner.run(self._app.startup())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._runner is None:
            return
        try:
            self._runner.run(self._app.shutdown())
        finally:
            self._runner.close()
            self._runner = None

    async def __aenter__(self) -> Self:
        try:
            await self._app.startup()
        except BaseException:
            await self._app.shutdown()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._app.shutdown()

    def _run(self, exchange: _Exchange, waiting: Coroutine[Any, Any, Response]) -> Response:
        if _loop_is_running():
            waiting.close()
            raise RuntimeError("an event loop is running: await client.apost(...) instead of client.post(...)")
        rest = _drive(exchange, waiting)
        return asyncio.run(rest) if self._runner is None else self._runner.run(rest)

    def _exchange(self, method: str | Code, path: str, payload: Payload, **arguments: Any) -> _Exchange:
        """One request from its first block to the last of its answer; hands out what is to be awaited."""
        link, data = self._link(method, path, payload, **arguments)
        response = yield from self._send(link, data)
        return (yield from self._receive_rest(link, data, response))

    def _link(
        self,
        method: str | Code,
        path: str,
        payload: Payload,
        *,
        content_format: int | str | None = AUTO,
        accept: int | None = None,
        query: Mapping[str, str] | Iterable[str] = (),
        options: Iterable[tuple[int, bytes]] = (),
        device: str | Device | Principal | None = None,
    ) -> tuple["_Link", bytes]:
        """What an exchange begins with, and the body to send."""
        code = METHODS[method.upper()] if isinstance(method, str) else method
        if content_format == AUTO and isinstance(payload, bytes):
            content_format = None
        data, encoded = encode_payload(payload, code, content_format)
        encoded += uri_options(path, query)
        if accept is not None:
            encoded.append((int(Option.ACCEPT), encode_uint(accept)))
        encoded += options
        principal = self._principal if device is None else _principal(device)
        encoded.sort(key=lambda option: option[0])
        return _Link(self._peers.setdefault(principal, Peer()), principal, code, encoded), data

    def _send(self, link: "_Link", data: bytes) -> _Exchange:
        """Send a body, in blocks if it is larger than one (RFC 7959 section 2.5)."""
        if len(data) <= MAX_BLOCK_BYTES or link.has(_BLOCK1):
            return (yield from self._ask(link, [], data))
        start, szx = 0, MAX_SZX
        while True:
            size = 16 << szx
            block = Block(start // size, start + size < len(data), szx)
            own = [(_BLOCK1, encode_block(block))]
            if start == 0:
                own.append((int(Option.SIZE1), encode_uint(len(data))))
            response = yield from self._ask(link, own, data[start : start + size])
            if not block.more or response.code != Code.CONTINUE:
                return response
            start += size
            told = find_block(response, _BLOCK1)
            szx = szx if told is None else min(szx, told.szx)

    def _receive_rest(self, link: "_Link", data: bytes, response: Message) -> _Exchange:
        """Fetch the blocks of an answer that follow the first one (RFC 7959 section 2.4)."""
        block = find_block(response, _BLOCK2)
        if block is None or link.has(_BLOCK2):
            return response
        # RFC 8132 section 2: what a FETCH asks for is its payload too.
        again = data if link.code == Code.FETCH and len(data) <= MAX_BLOCK_BYTES else b""
        body = response.payload
        while block.more:
            following = Block(block.number + 1, False, block.szx)
            response = yield from self._ask(link, [(_BLOCK2, encode_block(following))], again)
            found = find_block(response, _BLOCK2)
            if found is None or found.offset != len(body):
                return response
            block, body = found, body + response.payload
        response.payload = body
        return response

    def _ask(self, link: "_Link", own: list[tuple[int, bytes]], payload: bytes) -> _Exchange:
        """Send one message and return the one that the device gets for it."""
        self._message_id = (self._message_id + 1) & 0xFFFF
        options = sorted([*link.options, *own], key=lambda option: option[0])
        message = Message(MessageType.CON, link.code, self._message_id, _TOKEN, options, payload)
        request = Request(decode(encode(message)), link.principal)
        answer = self._transfers.dispatch(link.peer, request, 0.0)
        if not isinstance(answer, Response):
            answer = yield answer
        return _received(request, self._finished(link.peer, request, answer))

    def _finished(self, peer: Peer, request: Request, response: Response) -> Response:
        """The answer as the server sends it; 5.00 where it would not.

        Raises:
            ValueError: CoAP cannot express one of its options.
        """
        encode_options(response.options)
        try:
            return self._transfers.finish(peer, request, response, 0.0)
        except ValueError as error:
            structlog.get_logger("gateway.handlers").error(
                "handler.failed",
                route=None if request.route is None else request.route.template,
                device=request.device.id,
                tenant=request.device.tenant_id,
                error=str(error),
            )
            return Response(code=Code.INTERNAL_SERVER_ERROR)


class _Link(NamedTuple):
    """What all messages of one exchange have in common."""

    peer: Peer
    principal: Principal
    code: int
    options: list[tuple[int, bytes]]

    def has(self, number: int) -> bool:
        """Whether the test gives this option itself."""
        return any(have == number for have, _ in self.options)


def _loop_is_running() -> bool:
    # By itself, so that what is raised later was not raised while this was being handled.
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _drive(exchange: _Exchange, waiting: Coroutine[Any, Any, Response]) -> Response:
    while True:
        answer = await waiting
        try:
            waiting = exchange.send(answer)
        except StopIteration as done:
            return _as_response(done.value)


def _received(request: Request, response: Response) -> Message:
    """The response as the device gets it: through the codec."""
    message = request.message
    answer = Message(
        MessageType.ACK, response.code, message.message_id, message.token, response.options, response.payload
    )
    return decode(encode(answer))


def _as_response(message: Message) -> Response:
    # As a member where there is one, so that a failed comparison shows names.
    code = Code(message.code) if message.code in _CODES else message.code
    return Response(message.payload, code, content_format=None, options=message.options)


def _keep_locals_out_of_tracebacks() -> None:
    """Have plain tracebacks while nobody has configured structlog: by default its boxes show locals, payloads too."""
    if structlog.is_configured():
        return
    *chain, _ = structlog.get_config()["processors"]
    renderer = structlog.dev.ConsoleRenderer(
        colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
    structlog.configure(processors=[*chain, renderer])


def _no_app(given: object) -> str:
    if isinstance(given, ModuleType):
        names = [name for name, value in vars(given).items() if isinstance(value, App)] or ["app"]
        return f"TestClient takes an App, not a module: write TestClient({given.__name__}.{names[0]})"
    return f"TestClient takes an App, not {type(given).__name__}"


def _principal(device: str | Device | Principal) -> Principal:
    if isinstance(device, Principal):
        return device
    known = device if isinstance(device, Device) else Device(device)
    return Principal(known, AuthKind.PSK, credential_id=f"test:{known.id}")
