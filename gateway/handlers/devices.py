"""Asking a device: requests from the cloud to a device that is connected (RFC 7252, the device being the server).

    response = await app.device("valve-7").request("PUT", "/position", {"percent": 40}, timeout=20)

The app knows nothing of sessions: whoever serves it gives it a `DevicePort`.
"""

from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

from gateway.coap import Code, Option, encode_uint
from gateway.handlers.errors import HandlerError
from gateway.handlers.response import AUTO, Payload, Reject, Response, encode_payload
from gateway.handlers.routing import METHODS
from gateway.handlers.uri import uri_options

DEFAULT_TIMEOUT_S: Final = 60.0
"""Seconds that a device may take, the repetitions of a lost request included: four of five of those of RFC 7252."""


class DeviceRequestError(Reject):
    """A device gave no answer. A handler that lets it pass answers its own request with `code`."""


class DeviceNotConnected(DeviceRequestError):
    """The device has no session, or its last one ended meanwhile: 4.04."""

    def __init__(self, diagnostic: str = "the device is not connected") -> None:
        super().__init__(Code.NOT_FOUND, diagnostic)


class DeviceTimeout(DeviceRequestError):
    """Nothing came in time: 5.04.

    Attributes:
        sent: It went out: nobody knows whether the device did what it was asked. False: it certainly did not.
    """

    def __init__(self, diagnostic: str, *, sent: bool) -> None:
        super().__init__(Code.GATEWAY_TIMEOUT, diagnostic)
        self.sent = sent


class DeviceRefused(DeviceRequestError):
    """The device rejected the message itself, or answered what cannot be understood: 5.02."""

    def __init__(self, diagnostic: str) -> None:
        super().__init__(Code.BAD_GATEWAY, diagnostic)


class DeviceBusy(DeviceRequestError):
    """Too many requests to this device wait already: 5.03."""

    def __init__(self, diagnostic: str) -> None:
        super().__init__(Code.SERVICE_UNAVAILABLE, diagnostic, max_age=5)


class QueueState(StrEnum):
    """What became of a request that was queued."""

    QUEUED = "queued"  # waits for the device to speak
    SENT = "sent"  # on its way
    DONE = "done"  # answered
    FAILED = "failed"  # rejected, or nobody knows whether the device did it
    EXPIRED = "expired"  # the device did not speak in time: it was not done


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """What is asked of a device.

    Attributes:
        code: The method.
        options: Encoded, in ascending order.
        payload: The payload.
    """

    code: int
    options: list[tuple[int, bytes]]
    payload: bytes


class QueuedRequest(Protocol):
    """A request that waits for its device; kept for an hour after it ended."""

    @property
    def id(self) -> str:
        """Its name, for `App.queued`."""

    @property
    def device(self) -> str:
        """The device's id."""

    @property
    def state(self) -> QueueState:
        """Where it is."""

    @property
    def response(self) -> Response | None:
        """The device's answer, when it is DONE."""

    @property
    def error(self) -> DeviceRequestError | None:
        """Why there is none, when it FAILED or EXPIRED."""

    async def wait(self) -> Response:
        """Wait for the device's answer.

        Raises:
            DeviceRequestError: There will be none.
        """

    def cancel(self) -> bool:
        """Take it back; False when it is on its way or over.

        In another worker than the one that took it, True says that it has been asked to; `state` says what came of it.
        """


class DevicePort(Protocol):
    """What the server lends to the app."""

    def is_connected(self, tenant: str, device: str) -> bool:
        """Whether the device has a session."""

    async def request(self, tenant: str, device: str, request: DeviceRequest, timeout_s: float) -> Response:
        """See `RemoteDevice.request`."""

    def observe(
        self, tenant: str, device: str, request: DeviceRequest, timeout_s: float
    ) -> AsyncGenerator[Response, None]:
        """See `RemoteDevice.observe`."""

    def queue(self, tenant: str, device: str, request: DeviceRequest, expires_s: float) -> QueuedRequest:
        """See `RemoteDevice.queue`."""

    def queued(self, request_id: str) -> QueuedRequest | None:
        """See `App.queued`."""

    async def notify(
        self, path: str, tenant: str, device: str | None, response: Response | None, *, confirmable: bool
    ) -> int:
        """See `App.notify`."""


class NotServed(HandlerError, RuntimeError):
    """The app is not being served: there are no devices to talk to."""


class RemoteDevice:
    """A device as somebody to ask. Cheap to make; it need not be connected, nor exist.

    Attributes:
        id: The device's id.
        tenant_id: Its tenant's.
    """

    __slots__ = ("_port", "id", "tenant_id")

    def __init__(self, port: DevicePort, tenant_id: str, device_id: str) -> None:
        self._port = port
        self.id = device_id
        self.tenant_id = tenant_id

    @property
    def connected(self) -> bool:
        """Whether it has a session now. It may sleep all the same."""
        return self._port.is_connected(self.tenant_id, self.id)

    async def request(
        self,
        method: str | Code,
        path: str,
        payload: Payload = b"",
        *,
        content_format: int | None = AUTO,
        accept: int | None = None,
        query: Mapping[str, str] | Iterable[str] = (),
        options: Iterable[tuple[int, bytes]] = (),
        timeout: float = DEFAULT_TIMEOUT_S,  # noqa: ASYNC109 - it goes into the engine's timers
    ) -> Response:
        """Ask the device, in its newest session, and wait for its answer, which may be an error code.

        The request is confirmable: it is repeated until the device acknowledges it. Requests to one device go one after
        the other (RFC 7252 section 4.7), and wait for each other within their time.

        Args:
            method: A name such as "POST", or a member of `Code`.
            path: As a URI writes it, query included.
            payload: str is sent as text, dict and list as JSON, bytes without a content format.
            content_format: A number instead of the payload's own; None for none.
            accept: The only content format that is wanted back.
            query: More of the query: names and values, or raw arguments.
            options: Further options, as pairs of number and encoded value.
            timeout: Seconds that all of it may take.

        Raises:
            DeviceNotConnected: It has no session, or its last one ended.
            DeviceTimeout: No answer in time.
            DeviceRefused: It rejected the message.
            DeviceBusy: Too many requests to it wait already.
            ValueError: The request cannot be expressed, or is too large for the device.
        """
        encoded = encode_request(method, path, payload, content_format, accept, query, options)
        return await self._port.request(self.tenant_id, self.id, encoded, timeout)

    async def get(self, path: str, **arguments: Any) -> Response:
        """Send a GET. See `request`."""
        return await self.request(Code.GET, path, **arguments)

    async def post(self, path: str, payload: Payload = b"", **arguments: Any) -> Response:
        """Send a POST. See `request`."""
        return await self.request(Code.POST, path, payload, **arguments)

    async def put(self, path: str, payload: Payload = b"", **arguments: Any) -> Response:
        """Send a PUT. See `request`."""
        return await self.request(Code.PUT, path, payload, **arguments)

    async def delete(self, path: str, **arguments: Any) -> Response:
        """Send a DELETE. See `request`."""
        return await self.request(Code.DELETE, path, **arguments)

    def observe(
        self,
        path: str,
        *,
        accept: int | None = None,
        query: Mapping[str, str] | Iterable[str] = (),
        options: Iterable[tuple[int, bytes]] = (),
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> AsyncGenerator[Response, None]:
        """Observe a resource of the device (RFC 7641): `async for response in device.observe("/temperature"): ...`.

        The first response is the present state. It goes on when the device makes a new handshake, and ends with an
        answer that is no notification, which a device gives that does not observe. Leaving the loop ends it; close it
        with `contextlib.aclosing` to have that at once.

        Args:
            path: As a URI writes it, query included.
            accept: The only content format that is wanted.
            query: More of the query.
            options: Further options.
            timeout: Seconds until the first response.

        Raises:
            DeviceRequestError: As in `request`, while looping; the end of the device's last session is one.
            ValueError: The request cannot be expressed.
        """
        encoded = encode_request(Code.GET, path, b"", None, accept, query, [(int(Option.OBSERVE), b""), *options])
        return self._port.observe(self.tenant_id, self.id, encoded, timeout)

    def queue(
        self,
        method: str | Code,
        path: str,
        payload: Payload = b"",
        *,
        content_format: int | None = AUTO,
        accept: int | None = None,
        query: Mapping[str, str] | Iterable[str] = (),
        options: Iterable[tuple[int, bytes]] = (),
        expires: float = 86400.0,
    ) -> QueuedRequest:
        """Ask a device that may sleep: at once if it spoke just now, else when it next speaks or connects.

        A request that was sent and not answered is sent again next time if its method is idempotent (GET, PUT, DELETE,
        FETCH, iPATCH); a POST or PATCH is not, because the device may have done it. The queue is in the memory of this
        process: a restart of the gateway empties it, and with several workers the end of this one.

        Args:
            method: As in `request`, and so are `path` to `options`.
            path: As a URI writes it, query included.
            payload: str is sent as text, dict and list as JSON, bytes without a content format.
            content_format: A number instead of the payload's own; None for none.
            accept: The only content format that is wanted back.
            query: More of the query.
            options: Further options.
            expires: Seconds after which it is given up.

        Raises:
            DeviceBusy: Too many wait for this device, or for all together.
            ValueError: The request cannot be expressed.
        """
        encoded = encode_request(method, path, payload, content_format, accept, query, options)
        return self._port.queue(self.tenant_id, self.id, encoded, expires)

    def __repr__(self) -> str:
        return f"<RemoteDevice {self.tenant_id}/{self.id}>"


def encode_request(
    method: str | Code,
    path: str,
    payload: Payload,
    content_format: int | None,
    accept: int | None,
    query: Mapping[str, str] | Iterable[str],
    options: Iterable[tuple[int, bytes]],
) -> DeviceRequest:
    """Make the parts of a message.

    Raises:
        ValueError: There is no such method, or something is out of its range.
    """
    name = method.upper() if isinstance(method, str) else Code(method).name
    if name not in METHODS:
        raise ValueError(f"{method!r} is no CoAP method; the methods are {', '.join(METHODS)}")
    if content_format == AUTO and isinstance(payload, bytes):
        content_format = None
    data, encoded = encode_payload(payload, METHODS[name], content_format)
    encoded += uri_options(path, query)
    if accept is not None:
        encoded.append((int(Option.ACCEPT), encode_uint(accept)))
    encoded += [(int(number), value) for number, value in options]
    encoded.sort(key=lambda option: option[0])
    return DeviceRequest(METHODS[name], encoded, data)
