"""Try an app in-process: no network, no DTLS, the same dispatch and the same codec as on the wire."""

import asyncio
import sys
from collections.abc import Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self

import structlog

from gateway.coap import Code, Message, MessageType, Option, decode, encode, encode_uint
from gateway.handlers.app import App
from gateway.handlers.limits import MAX_RESPONSE_BYTES
from gateway.handlers.request import Request
from gateway.handlers.response import AUTO, Payload, Response, encode_payload
from gateway.handlers.routing import METHODS
from gateway.handlers.testing_devices import TestDevices, TestObservation
from gateway.handlers.uri import uri_options
from gateway.model import AuthKind, Device, Principal

_TOKEN: Final = b"test"
_CODES: Final = frozenset(map(int, Code))


class TestClient:
    """A device that sends requests to an app.

        client = TestClient(app, device="dev1")
        assert client.post("/telemetry/temperature", {"celsius": 21.5}).code == Code.CHANGED

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
        """
        _keep_locals_out_of_tracebacks()
        self._app = app
        self._devices = TestDevices(app.dispatch, devices or {})
        app.serve_with(self._devices)
        self._principal = _principal(device)
        self._runner: asyncio.Runner | None = None
        self._message_id = 0

    def request(
        self,
        method: str | Code,
        path: str,
        payload: Payload = b"",
        *,
        content_format: int | None = AUTO,
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
            content_format: A number instead of the payload's own; None for none.
            accept: The only content format that the device takes.
            query: More of the query: names and values, or raw arguments.
            options: Further options, as pairs of number and encoded value.
            device: Who sends, instead of the client's device.

        Raises:
            RuntimeError: The handler is async and an event loop is running: use the method with an "a" before its name.
        """
        request = self._request(
            method, path, payload, content_format=content_format, accept=accept, query=query, options=options,
            device=device,
        )  # fmt: skip
        answer = self._app.dispatch(request)
        return _received(request, answer if isinstance(answer, Response) else self._run(answer))

    async def arequest(self, method: str | Code, path: str, payload: Payload = b"", **arguments: Any) -> Response:
        """Send a request from async code and return the response. See `request`."""
        request = self._request(method, path, payload, **arguments)
        answer = self._app.dispatch(request)
        return _received(request, answer if isinstance(answer, Response) else await answer)

    def observe(self, path: str, **arguments: Any) -> TestObservation:
        """Observe a resource (RFC 7641): its `states` grow when the app notifies. See `request` for the arguments."""
        options = [*arguments.pop("options", ()), (int(Option.OBSERVE), b"")]
        request = self._request(Code.GET, path, b"", options=options, **arguments)
        answer = self._app.dispatch(request)
        first = _received(request, answer if isinstance(answer, Response) else self._run(answer))
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

    def _run(self, answer: Coroutine[Any, Any, Response]) -> Response:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(answer) if self._runner is None else self._runner.run(answer)
        answer.close()
        raise RuntimeError("an event loop is running: await client.apost(...) instead of client.post(...)")

    def _request(
        self,
        method: str | Code,
        path: str,
        payload: Payload,
        *,
        content_format: int | None = AUTO,
        accept: int | None = None,
        query: Mapping[str, str] | Iterable[str] = (),
        options: Iterable[tuple[int, bytes]] = (),
        device: str | Device | Principal | None = None,
    ) -> Request:
        code = METHODS[method.upper()] if isinstance(method, str) else method
        if content_format == AUTO and isinstance(payload, bytes):
            content_format = None
        data, encoded = encode_payload(payload, code, content_format)
        encoded += uri_options(path, query)
        if accept is not None:
            encoded.append((int(Option.ACCEPT), encode_uint(accept)))
        encoded += options
        encoded.sort(key=lambda option: option[0])
        self._message_id = (self._message_id + 1) & 0xFFFF
        message = Message(MessageType.CON, code, self._message_id, _TOKEN, encoded, data)
        return Request(decode(encode(message)), self._principal if device is None else _principal(device))


def _received(request: Request, response: Response) -> Response:
    """Return the response as the device gets it: through the codec, and 5.00 where the server would not send it."""
    message = request.message
    data = encode(
        Message(MessageType.ACK, response.code, message.message_id, message.token, response.options, response.payload)
    )
    if len(data) > MAX_RESPONSE_BYTES:
        structlog.get_logger("gateway.handlers").error(
            "handler.failed",
            route=None if request.route is None else request.route.template,
            device=request.device.id,
            tenant=request.device.tenant_id,
            error=f"the response is {len(data)} bytes long; a datagram takes {MAX_RESPONSE_BYTES}",
        )
        return Response(code=Code.INTERNAL_SERVER_ERROR)
    received = decode(data)
    # As a member where there is one, so that a failed comparison shows names.
    code = Code(received.code) if received.code in _CODES else received.code
    return Response(received.payload, code, content_format=None, options=received.options)


def _keep_locals_out_of_tracebacks() -> None:
    """Have plain tracebacks while nobody has configured structlog: by default its boxes show locals, payloads too."""
    if structlog.is_configured():
        return
    *chain, _ = structlog.get_config()["processors"]
    renderer = structlog.dev.ConsoleRenderer(
        colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
    structlog.configure(processors=[*chain, renderer])


def _principal(device: str | Device | Principal) -> Principal:
    if isinstance(device, Principal):
        return device
    known = device if isinstance(device, Device) else Device(device)
    return Principal(known, AuthKind.PSK, credential_id=f"test:{known.id}")
