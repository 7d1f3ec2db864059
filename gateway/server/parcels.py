"""Requests to devices, and what came of them, in JSON: as one worker hands them to another.

Both ends are this module, so what comes is what was sent. Bodies are base64.
"""

from base64 import b64decode, b64encode
from typing import Any, Final

from gateway.coap import Message, MessageType
from gateway.handlers import (
    DeviceBusy,
    DeviceNotConnected,
    DeviceRefused,
    DeviceRequest,
    DeviceRequestError,
    DeviceTimeout,
    Response,
)
from gateway.server.commands import Performed
from gateway.server.limits import MAX_PARCEL_BYTES

_OWN_WORDS: Final[dict[str, type[DeviceNotConnected | DeviceRefused | DeviceBusy]]] = {
    "not_connected": DeviceNotConnected,
    "refused": DeviceRefused,
    "busy": DeviceBusy,
}
_WORD_FOR: Final[dict[type[DeviceRequestError], str]] = {kind: word for word, kind in _OWN_WORDS.items()}


def pack_request(request: DeviceRequest) -> list[Any]:
    """Code, options, payload.

    Raises:
        ValueError: It is too large to be handed on.
    """
    return _packed(request.code, request.options, request.payload)


def unpack_request(parcel: list[Any]) -> DeviceRequest:
    """The reverse."""
    code, options, payload = parcel
    return DeviceRequest(code, _options(options), b64decode(payload))


def pack_response(response: Response | Message) -> list[Any]:
    """Code, options, payload.

    Raises:
        ValueError: It is too large to be handed on.
    """
    return _packed(response.code, response.options, response.payload)


def unpack_response(parcel: list[Any]) -> Response:
    """The reverse."""
    code, options, payload = parcel
    return Response(b64decode(payload), code, content_format=None, options=_options(options))


def pack_performed(done: Performed) -> list[Any]:
    """Response or None, error or None, whether it was sent."""
    response = None if done.response is None else pack_response(done.response)
    return [response, None if done.error is None else pack_error(done.error), done.sent]


def unpack_performed(parcel: list[Any]) -> Performed:
    """The reverse.

    Raises:
        ValueError: The request cannot be expressed, or is too large for the device.
    """
    packed, error, sent = parcel
    if error is not None:
        return Performed(None, unpack_error(error), sent)
    code, options, payload = packed
    return Performed(Message(MessageType.ACK, code, 0, b"", _options(options), b64decode(payload)), None, sent)


def pack_error(error: DeviceRequestError | ValueError) -> list[Any]:
    """Kind, text, and whether the request went out."""
    if isinstance(error, DeviceTimeout):
        return ["timeout", error.diagnostic, error.sent]
    if isinstance(error, DeviceRequestError):
        return [_WORD_FOR[type(error)], error.diagnostic, False]
    return ["value", str(error), False]


def unpack_error(parcel: list[Any]) -> DeviceRequestError:
    """The reverse.

    Raises:
        ValueError: That is what it is.
    """
    word, text, sent = parcel
    if word == "value":
        raise ValueError(text)
    return DeviceTimeout(text, sent=sent) if word == "timeout" else _OWN_WORDS[word](text)


def _packed(code: int, options: list[tuple[int, bytes]], payload: bytes) -> list[Any]:
    if len(payload) + sum(len(value) for _, value in options) > MAX_PARCEL_BYTES:
        raise ValueError(f"{len(payload)} bytes are too many for a device of another worker: {MAX_PARCEL_BYTES} fit")
    return [code, [[number, _text(value)] for number, value in options], _text(payload)]


def _options(packed: list[Any]) -> list[tuple[int, bytes]]:
    return [(number, b64decode(value)) for number, value in packed]


def _text(data: bytes) -> str:
    return b64encode(data).decode()
