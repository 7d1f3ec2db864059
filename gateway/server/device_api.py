"""`POST /devices/{id}/request` on the admin port: a request to a device, in JSON, by whoever can reach the port.

    {"method": "PUT", "path": "/position", "payload": {"percent": 40}, "timeout": 20, "queue_for": 3600}

It runs in threads of the admin server, and hands everything over to the event loop.
"""

import asyncio
import binascii
import json
import threading
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Final, Protocol, TypeAlias

from gateway.admin import ApiAnswer, ApiRequest
from gateway.coap import ContentFormat
from gateway.handlers import (
    AUTO,
    DeviceBusy,
    DeviceNotConnected,
    DevicePort,
    DeviceRefused,
    DeviceRequest,
    DeviceRequestError,
    DeviceTimeout,
    QueuedRequest,
    QueueState,
    Response,
    encode_request,
    media_type,
)
from gateway.model import DEFAULT_TENANT
from gateway.registry import NotFound, Registry, RegistryError
from gateway.server.limits import API_GRACE_S, COLLEAGUE_S, MAX_API_EXPIRY_S, MAX_API_REQUESTS, MAX_API_TIMEOUT_S

PREFIX: Final = "/devices/"
_DEFAULT_TIMEOUT_S: Final = 60.0
_DEFAULT_QUEUE_WAIT_S: Final = 10.0
_FIELDS: Final = frozenset(
    {
        "accept",
        "content_format",
        "method",
        "path",
        "payload",
        "payload_encoding",
        "queue_for",
        "tenant",
        "timeout",
    }
)
_STATUS: Final[dict[type[DeviceRequestError], int]] = {
    DeviceNotConnected: 404,
    DeviceTimeout: 504,
    DeviceRefused: 502,
    DeviceBusy: 429,
}
Known: TypeAlias = Callable[[str, str], Awaitable[bool]]
_OVER: Final = frozenset({QueueState.DONE, QueueState.FAILED, QueueState.EXPIRED})


class _Wrong(Exception):
    """The request cannot be passed on; status and text."""

    def __init__(self, status: int, text: str, *headers: tuple[str, str]) -> None:
        super().__init__(text)
        self.answer = ApiAnswer(status, {"error": text}, headers)


class Port(DevicePort, Protocol):
    """What it asks: `Pushes`, or in one worker of several `Together`."""

    async def look_for_queued(self, request_id: str) -> QueuedRequest | None:
        """A request by its name, whichever worker took it."""

    async def take_back(self, queued: QueuedRequest) -> bool:
        """Takes it back; False when it is on its way or over."""


class DeviceApi:
    """An `Api`."""

    def __init__(self, port: Port, loop: asyncio.AbstractEventLoop, *, known: Known, enabled: bool) -> None:
        """Takes what it asks.

        Args:
            port: Asks devices; in the loop only.
            loop: Whose thread the port belongs to.
            known: Whether there is a device, by tenant and name; in the loop only. True where that cannot be told.
            enabled: Whether it passes anything on.
        """
        self._port = port
        self._known = known
        self._loop = loop
        self._enabled = enabled
        self._places = threading.BoundedSemaphore(MAX_API_REQUESTS)

    def __call__(self, request: ApiRequest) -> ApiAnswer:
        """Answers one request, in a thread."""
        try:
            return self._answer(request)
        except _Wrong as wrong:
            return wrong.answer
        except DeviceRequestError as error:
            return _failed(error)

    def _answer(self, request: ApiRequest) -> ApiAnswer:
        if not self._enabled:
            raise _Wrong(403, "switched off: set [admin] device_requests")
        if request.origin:
            # A page in an operator's browser can reach what the browser can; nothing of ours is such a page.
            raise _Wrong(403, "not from a browser")
        device, _, rest = request.path.removeprefix(PREFIX).partition("/")
        kind, _, request_id = rest.partition("/")
        if device and rest == "request":
            _only(request.method, "POST")
            return self._request(device, request)
        if device and kind == "requests" and request_id and "/" not in request_id:
            _only(request.method, "GET", "DELETE")
            cancel = request.method == "DELETE"
            # Another worker may hang when it is asked who has the request, and one more when it is to take it back.
            return self._run(self._queued(device, request_id, cancel=cancel), (1 + cancel) * COLLEAGUE_S)
        raise _Wrong(404, f"there are {PREFIX}ID/request and {PREFIX}ID/requests/REQUEST")

    def _request(self, device: str, request: ApiRequest) -> ApiAnswer:
        if request.content_type != "application/json":
            raise _Wrong(415, "send application/json")
        fields = _fields(request.body)
        tenant = _text(fields, "tenant", DEFAULT_TENANT)
        asked = _device_request(fields)
        if "queue_for" in fields:
            wait_s = _seconds(fields, "timeout", _DEFAULT_QUEUE_WAIT_S, MAX_API_TIMEOUT_S)
            expires_s = _seconds(fields, "queue_for", 0.0, MAX_API_EXPIRY_S)
            work, wait = self._queue(tenant, device, asked, expires_s, wait_s), wait_s
        else:
            wait = _seconds(fields, "timeout", _DEFAULT_TIMEOUT_S, MAX_API_TIMEOUT_S)
            work = self._ask(tenant, device, asked, wait)
        if not self._places.acquire(blocking=False):
            work.close()
            raise _Wrong(429, f"{MAX_API_REQUESTS} requests are under way", ("Retry-After", "5"))
        try:
            return self._run(work, wait)
        finally:
            self._places.release()

    def _run(self, work: Coroutine[Any, Any, ApiAnswer], wait_s: float) -> ApiAnswer:
        """Hands the work over to the loop, and waits no longer than it may take."""
        try:
            future: Future[ApiAnswer] = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # the loop is closed
            work.close()
            raise _Wrong(503, "the gateway stops") from None
        try:
            return future.result(wait_s + API_GRACE_S)
        except FutureTimeoutError:
            future.cancel()
            raise _Wrong(503, "the event loop does not answer") from None
        except asyncio.CancelledError:
            raise _Wrong(503, "the gateway stops") from None
        except ValueError as error:  # larger than the device takes
            raise _Wrong(400, str(error)) from None

    async def _ask(self, tenant: str, device: str, asked: DeviceRequest, timeout_s: float) -> ApiAnswer:
        response = await self._port.request(tenant, device, asked, timeout_s)
        return ApiAnswer(200, {"status": "done", **_described(response)})

    async def _queue(
        self, tenant: str, device: str, asked: DeviceRequest, expires_s: float, wait_s: float
    ) -> ApiAnswer:
        if not await self._known(tenant, device):
            raise _Wrong(404, f"tenant {tenant!r} has no device {device!r}, for which a request could wait")
        queued = self._port.queue(tenant, device, asked, expires_s)
        if queued.state is QueueState.SENT:  # the device is awake: perhaps it answers at once
            try:
                async with asyncio.timeout(wait_s):
                    await queued.wait()
            except (TimeoutError, DeviceRequestError):
                pass
        return _state(queued)

    async def _queued(self, device: str, request_id: str, *, cancel: bool) -> ApiAnswer:
        queued = await self._port.look_for_queued(request_id)
        if queued is None or queued.device != device:
            raise _Wrong(404, "no such request: it ended more than an hour ago, or never was")
        if cancel and not await self._port.take_back(queued):
            raise _Wrong(409, f"too late: it is {queued.state.value}")
        return _state(queued)


def known_in(registry: Registry) -> Known:
    """Whether there is a device in a registry, for `DeviceApi`."""

    async def known(tenant: str, device: str) -> bool:
        return await asyncio.to_thread(look, tenant, device) if registry.remote else look(tenant, device)

    def look(tenant: str, device: str) -> bool:
        try:
            registry.device(device, tenant_id=tenant)
        except NotFound:
            return False
        except (RegistryError, UnicodeError):  # it is away; or a name that none can have, which the queue refuses
            pass
        return True

    return known


def _state(queued: QueuedRequest) -> ApiAnswer:
    body: dict[str, Any] = {"status": queued.state.value, "id": queued.id}
    if queued.response is not None:
        body |= _described(queued.response)
    if queued.error is not None:
        body |= _failed(queued.error).body
    return ApiAnswer(200 if queued.state in _OVER else 202, body)


def _described(response: Response) -> dict[str, Any]:
    encoding, payload = _payload(response)
    return {
        "code": response.code_text,
        "content_format": media_type(response.content_format),
        "payload_encoding": encoding,
        "payload": payload,
        **{
            name: value
            for name, value in (
                ("max_age", response.max_age),
                ("etag", None if response.etag is None else response.etag.hex()),
                ("location", response.location),
            )
            if value is not None
        },
    }


def _payload(response: Response) -> tuple[str, Any]:
    """How a payload is written, and it: as in lines of telemetry."""
    if response.content_format == ContentFormat.JSON:
        try:
            value = response.json()
            json.dumps(value, allow_nan=False)
        except (ValueError, RecursionError):
            pass
        else:
            return "json", value
    if response.content_format in (None, ContentFormat.TEXT, ContentFormat.LINK_FORMAT, ContentFormat.XML):
        try:
            return "text", response.text()
        except UnicodeDecodeError:
            pass
    return "base64", b64encode(response.payload).decode()


def _failed(error: DeviceRequestError) -> ApiAnswer:
    body: dict[str, Any] = {"error": error.diagnostic, "code": error.response().code_text}
    if isinstance(error, DeviceTimeout):
        body["sent"] = error.sent
    headers = (("Retry-After", str(error.max_age)),) if error.max_age is not None else ()
    return ApiAnswer(_STATUS[type(error)], body, headers)


def _only(method: str, *allowed: str) -> None:
    if method not in allowed:
        raise _Wrong(405, f"{' and '.join(allowed)} only", ("Allow", ", ".join(allowed)))


def _fields(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise _Wrong(400, "the body is no JSON") from None
    if not isinstance(fields, dict):
        raise _Wrong(400, "the body is no JSON object")
    unknown = sorted(fields.keys() - _FIELDS)
    if unknown:
        raise _Wrong(400, f"unknown: {', '.join(unknown)[:200]}; there are {', '.join(sorted(_FIELDS))}")
    return fields


def _device_request(fields: dict[str, Any]) -> DeviceRequest:
    encoding = fields.get("payload_encoding")
    payload = fields.get("payload", b"")
    if encoding not in (None, "text", "json", "base64"):
        raise _Wrong(400, "payload_encoding is text, json or base64")
    if encoding == "base64":
        try:
            payload = b64decode(payload, validate=True)
        except (binascii.Error, ValueError, TypeError):
            raise _Wrong(400, "payload is no base64") from None
    elif encoding == "text" and not isinstance(payload, str):
        raise _Wrong(400, "payload is no text")
    elif encoding == "json" or not isinstance(payload, str | bytes | dict | list):
        payload = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
        fields = {"content_format": int(ContentFormat.JSON), **fields}
    try:
        return encode_request(
            _text(fields, "method", "GET"),
            _text(fields, "path", None),
            payload,
            _number(fields, "content_format", AUTO),
            _number(fields, "accept", None),
            (),
            (),
        )
    except ValueError as error:
        raise _Wrong(400, str(error)) from None


def _text(fields: dict[str, Any], name: str, default: str | None) -> str:
    value = fields.get(name, default)
    if not isinstance(value, str):
        raise _Wrong(400, f"{name} must be a text")
    return value


def _number(fields: dict[str, Any], name: str, default: int | None) -> int | None:
    value = fields.get(name, default)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise _Wrong(400, f"{name} must be the number of a content format")
    if isinstance(value, int) and name in fields and not 0 <= value <= 0xFFFF:
        raise _Wrong(400, f"{name} must be 0 to 65535")
    return value


def _seconds(fields: dict[str, Any], name: str, default: float, limit: float) -> float:
    value = fields.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= limit:
        raise _Wrong(400, f"{name} must be above 0 and at most {limit:g} seconds")
    return float(value)
