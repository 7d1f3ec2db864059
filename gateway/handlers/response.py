"""What a handler answers.

`Response` is on the data path: a plain slotted class whose options are already encoded, ready for the message layer.
"""

import json
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from gateway.coap import Code, ContentFormat, Option, code_text, decode_uint, encode_uint
from gateway.handlers.limits import ETAG_BYTES, UINT32_MAX

AUTO: Final = -1
"""Content format of a payload that says it by its type: text for str, octets for bytes, JSON for dict and list."""

Payload: TypeAlias = str | bytes | dict[str, Any] | list[Any]
"""What can be a payload; dict and list are sent as JSON."""

_NOTHING: Final = b""
_CONTENT_FORMAT: Final = int(Option.CONTENT_FORMAT)
_ERROR_CLASSES: Final = 0x80  # codes 4.00 and above
_TEXT: Final = [(_CONTENT_FORMAT, encode_uint(ContentFormat.TEXT))]
_OCTETS: Final = [(_CONTENT_FORMAT, encode_uint(ContentFormat.OCTET_STREAM))]
_JSON: Final = [(_CONTENT_FORMAT, encode_uint(ContentFormat.JSON))]


class Response:
    """An answer: code, payload and options. Usually one of `Content`, `Changed`, `Created`, `Deleted`.

    The content format follows from the payload's type unless `content_format` says otherwise. Text in an error
    response is a diagnostic message and carries none (RFC 7252 section 5.5.2).

    Attributes:
        code: The response code, such as `Code.CONTENT`.
        payload: The bytes to send.
        options: Pairs of option number and encoded value, in ascending order of number. Do not change it.
    """

    __slots__ = ("code", "options", "payload")

    def __init__(
        self,
        payload: Payload = _NOTHING,
        code: int = Code.CONTENT,
        *,
        content_format: int | None = AUTO,
        max_age: int | None = None,
        etag: bytes | None = None,
        options: Iterable[tuple[int, bytes]] = (),
    ) -> None:
        """Build an answer.

        Args:
            payload: str, bytes, or something to send as JSON.
            code: The response code.
            content_format: A content format's number; None sends no Content-Format option.
            max_age: For how many seconds a cache may keep it (60 when absent); in a 5.03, after how many to try again.
            etag: Names this version of the resource, 1 to 8 bytes.
            options: Further options, as pairs of number and encoded value.

        Raises:
            TypeError: The payload is none of these types.
            ValueError: An option is out of its range, or the payload cannot be written as JSON.
        """
        self.code = code
        self.payload: bytes = _NOTHING
        self.options: list[tuple[int, bytes]] = []
        if payload is not _NOTHING:  # which is nearly every answer to telemetry; other empty values take the long way
            self.payload, self.options = encode_payload(payload, code, content_format)
        if max_age is not None or etag is not None or options:
            self.options += extra_options(max_age, etag, options)
            self.options.sort(key=_number)

    @property
    def content_format(self) -> int | None:
        """The content format's number, or None when the response names none."""
        value = self.option(_CONTENT_FORMAT)
        return None if value is None else decode_uint(value)

    @property
    def max_age(self) -> int | None:
        """Max-Age in seconds, or None when the response has none."""
        value = self.option(Option.MAX_AGE)
        return None if value is None else decode_uint(value)

    @property
    def etag(self) -> bytes | None:
        """The entity tag, or None."""
        return self.option(Option.ETAG)

    @property
    def location(self) -> str | None:
        """Where a 2.01 says that the new resource is: the path of its Location-Path options, or None."""
        path = [value.decode() for number, value in self.options if number == Option.LOCATION_PATH]
        return "/" + "/".join(path) if path else None

    @property
    def code_text(self) -> str:
        """The code as people write it: "4.22"."""
        return code_text(self.code)

    @property
    def ok(self) -> bool:
        """The code is of class 2 (success)."""
        return self.code >> 5 == 2

    def option(self, number: int) -> bytes | None:
        """Return the value of the first option with this number, or None."""
        for candidate, value in self.options:
            if candidate == number:
                return value
        return None

    def text(self) -> str:
        """Return the payload as text.

        Raises:
            UnicodeDecodeError: It is not UTF-8.
        """
        return self.payload.decode()

    def json(self) -> Any:
        """Return the payload's JSON value.

        Raises:
            ValueError: It is not JSON.
        """
        return json.loads(self.payload)

    def __repr__(self) -> str:
        # The payload is the device's data: its size is all that belongs in a log.
        return f"<{type(self).__name__} {self.code_text} {len(self.payload)} bytes>"


class Content(Response):
    """2.05: the answer to a GET or FETCH."""

    __slots__ = ()


class Changed(Response):
    """2.04: done; the answer to a POST, PUT or PATCH that created nothing."""

    __slots__ = ()

    def __init__(
        self,
        payload: Payload = _NOTHING,
        *,
        content_format: int | None = AUTO,
        etag: bytes | None = None,
        options: Iterable[tuple[int, bytes]] = (),
    ) -> None:
        if payload is _NOTHING and etag is None and not options:
            self.code = Code.CHANGED
            self.payload = _NOTHING
            self.options = []
        else:
            super().__init__(payload, Code.CHANGED, content_format=content_format, etag=etag, options=options)


class Created(Response):
    """2.01: a new resource; `location` is its path, sent as Location-Path options."""

    __slots__ = ()

    def __init__(
        self,
        location: str | None = None,
        payload: Payload = _NOTHING,
        *,
        content_format: int | None = AUTO,
        etag: bytes | None = None,
        options: Iterable[tuple[int, bytes]] = (),
    ) -> None:
        where = [] if location is None else [(int(Option.LOCATION_PATH), part.encode()) for part in _parts(location)]
        super().__init__(payload, Code.CREATED, content_format=content_format, etag=etag, options=[*where, *options])


class Deleted(Response):
    """2.02: the resource is gone, or never was."""

    __slots__ = ()

    def __init__(self, payload: Payload = _NOTHING, *, content_format: int | None = AUTO) -> None:
        super().__init__(payload, Code.DELETED, content_format=content_format)


class Reject(Exception):
    """Refuse a request: raise it, or return it.

        raise Reject(Code.FORBIDDEN, "this device may not set the clock")

    Attributes:
        code: An error code (4.xx or 5.xx).
        diagnostic: Text for the developer of the device. It goes on the wire: no secrets in here.
        max_age: For 5.03 and 4.29: after how many seconds to try again.
    """

    def __init__(self, code: int, diagnostic: str = "", *, max_age: int | None = None) -> None:
        if not _ERROR_CLASSES <= code <= 0xBF:
            raise ValueError(f"Reject takes a 4.xx or 5.xx code, not {code >> 5}.{code & 31:02}; return a Response")
        super().__init__(code, diagnostic)
        self.code = code
        self.diagnostic = diagnostic
        self.max_age = max_age

    def response(self) -> Response:
        """Return the response that this refusal becomes."""
        return Response(self.diagnostic, self.code, max_age=self.max_age)


def encode_payload(payload: Payload, code: int, content_format: int | None) -> tuple[bytes, list[tuple[int, bytes]]]:
    """Return the payload's bytes and a new list with its Content-Format option, if it has one.

    Raises:
        TypeError: The payload is none of the types of `Payload`.
        ValueError: It cannot be written as JSON (not finite numbers, lone surrogates).
    """
    if isinstance(payload, bytes):
        data, options = payload, _OCTETS
    elif isinstance(payload, str):
        data, options = payload.encode(), [] if code >= _ERROR_CLASSES else _TEXT
    elif isinstance(payload, dict | list):
        data = json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        options = _JSON
    else:
        raise TypeError(f"a payload is str, bytes, dict or list, not {type(payload).__name__}")
    if content_format is None or not data:
        return data, []
    if content_format == AUTO:
        return data, options.copy()
    if not 0 <= content_format <= 0xFFFF:
        raise ValueError(f"a content format is a number from 0 to 65535, not {content_format}")
    return data, [(_CONTENT_FORMAT, encode_uint(content_format))]


def extra_options(
    max_age: int | None, etag: bytes | None, options: Iterable[tuple[int, bytes]]
) -> list[tuple[int, bytes]]:
    """Return the options beside Content-Format, encoded.

    Raises:
        ValueError: One is out of its range.
    """
    encoded = [(int(number), value) for number, value in options]
    if max_age is not None:
        if not 0 <= max_age <= UINT32_MAX:
            raise ValueError(f"max_age is 0 to {UINT32_MAX} seconds, not {max_age}")
        encoded.append((int(Option.MAX_AGE), encode_uint(max_age)))
    if etag is not None:
        if not 1 <= len(etag) <= ETAG_BYTES:
            raise ValueError(f"an ETag has 1 to {ETAG_BYTES} bytes, not {len(etag)}")
        encoded.append((int(Option.ETAG), etag))
    return encoded


def _number(option: tuple[int, bytes]) -> int:
    return option[0]


def _parts(location: str) -> list[str]:
    if not location.startswith("/"):
        raise ValueError(f"a location is an absolute path such as /things/7, not {location!r}")
    return location[1:].split("/") if location != "/" else []
