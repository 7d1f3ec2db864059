"""What a handler answers.

`Response` is on the data path: a plain slotted class whose options are already encoded, ready for the message layer.
"""

import json
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from gateway.coap import Code, ContentFormat, Option, code_text, decode_uint, encode_uint
from gateway.handlers.limits import ETAG_BYTES, LOCATION_BYTES, UINT32_MAX
from gateway.handlers.media_types import CBOR_FORMATS
from gateway.handlers.media_types import content_format as number_of

AUTO: Final = -1
"""Content format of a payload that says it by its type: text for str, octets for bytes, JSON for dict and list."""

Payload: TypeAlias = str | bytes | dict[str, Any] | list[Any]
"""What can be a payload; dict and list are sent as JSON, or as CBOR where the content format says so."""

_NOTHING: Final = b""
_CONTENT_FORMAT: Final = int(Option.CONTENT_FORMAT)
_ERROR_CLASSES: Final = 0x80  # codes 4.00 and above
_TEXT: Final = [(_CONTENT_FORMAT, encode_uint(ContentFormat.TEXT))]
_CODES: Final = frozenset(map(int, Code))
# RFC 9290 section 2, table 1.
_TITLE: Final = -1
_DETAIL: Final = -2
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
        content_format: int | str | None = AUTO,
        max_age: int | None = None,
        etag: bytes | None = None,
        options: Iterable[tuple[int, bytes]] = (),
    ) -> None:
        """Build an answer.

        Args:
            payload: str, bytes, or something to send as JSON.
            code: The response code.
            content_format: A content format by number or media type; None sends no Content-Format option.
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
        """Where a 2.01 says that the new resource is, by its Location-Path and Location-Query; None if it does not."""
        path = [value.decode() for number, value in self.options if number == Option.LOCATION_PATH]
        query = [value.decode() for number, value in self.options if number == Option.LOCATION_QUERY]
        where = "/" + "/".join(path) if path or query else None
        return f"{where}?{'&'.join(query)}" if query else where

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
        content_format: int | str | None = AUTO,
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
    """2.01: a new resource; `location` is its path and perhaps a query, sent as Location-Path and Location-Query."""

    __slots__ = ()

    def __init__(
        self,
        location: str | None = None,
        payload: Payload = _NOTHING,
        *,
        content_format: int | str | None = AUTO,
        etag: bytes | None = None,
        options: Iterable[tuple[int, bytes]] = (),
    ) -> None:
        where = [] if location is None else _location_options(location)
        super().__init__(payload, Code.CREATED, content_format=content_format, etag=etag, options=[*where, *options])


class Deleted(Response):
    """2.02: the resource is gone, or never was."""

    __slots__ = ()

    def __init__(self, payload: Payload = _NOTHING, *, content_format: int | str | None = AUTO) -> None:
        super().__init__(payload, Code.DELETED, content_format=content_format)


class Reject(Exception):
    """Refuse a request: raise it, or return it.

        raise Reject(Code.FORBIDDEN, "this device may not set the clock")

    Attributes:
        code: An error code (4.xx or 5.xx).
        diagnostic: Text for the developer of the device. It goes on the wire: no secrets in here.
        detail: More of it, about this one request.
        max_age: For 5.03 and 4.29: after how many seconds to try again.
    """

    def __init__(
        self, code: int, diagnostic: str = "", *, detail: str | None = None, max_age: int | None = None
    ) -> None:
        if not isinstance(code, int):
            raise TypeError(f'Reject takes a code first, as in Reject(Code.FORBIDDEN, "why"), not {code!r}')
        if not _ERROR_CLASSES <= code <= 0xBF:
            raise ValueError(f"Reject takes a 4.xx or 5.xx code, not {code >> 5}.{code & 31:02}; return a Response")
        super().__init__(code, diagnostic)
        self.code = code
        self.diagnostic = diagnostic
        self.detail = detail
        self.max_age = max_age

    def response(self, *, problem: bool = False) -> Response:
        """Return the response that this refusal becomes: with plain text, or with problem details (RFC 9290)."""
        if not problem:
            text = self.diagnostic if self.detail is None else f"{self.diagnostic}: {self.detail}"
            return Response(text, self.code, max_age=self.max_age)
        from gateway.handlers.cbor import encode_cbor

        # Section 2: a title, unsigned and negative integers for keys; the code stands in the message.
        details = {_TITLE: self.diagnostic or _code_name(self.code)}
        if self.detail is not None:
            details[_DETAIL] = self.detail
        payload = encode_cbor(details)
        return Response(payload, self.code, content_format=ContentFormat.PROBLEM_DETAILS, max_age=self.max_age)


def encode_payload(
    payload: Payload, code: int, content_format: int | str | None
) -> tuple[bytes, list[tuple[int, bytes]]]:
    """Return the payload's bytes and a new list with its Content-Format option, if it has one.

    Raises:
        TypeError: The payload is none of the types of `Payload`.
        ValueError: It cannot be written as JSON (not finite numbers, lone surrogates) or CBOR, or there is no such
            content format.
    """
    if isinstance(content_format, str):
        content_format = number_of(content_format)
    if isinstance(payload, bytes):
        data, options = payload, _OCTETS
    elif isinstance(payload, str):
        data, options = payload.encode(), [] if code >= _ERROR_CLASSES else _TEXT
    elif isinstance(payload, dict | list):
        options = _JSON
        if content_format in CBOR_FORMATS:
            # Imported where it is needed: most apps never do.
            from gateway.handlers.cbor import encode_cbor

            data = encode_cbor(payload)
        else:
            data = json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    else:
        raise TypeError(f"a payload is str, bytes, dict or list, not {type(payload).__name__}")
    if content_format is None or not data:
        return data, []
    if content_format == AUTO:
        return data, options.copy()
    return data, [(_CONTENT_FORMAT, encode_uint(number_of(content_format)))]


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


def _code_name(code: int) -> str:
    return Code(code).name.replace("_", " ").capitalize() if code in _CODES else code_text(code)


def _number(option: tuple[int, bytes]) -> int:
    return option[0]


def _location_options(location: str) -> list[tuple[int, bytes]]:
    """RFC 7252 section 5.10.7.

    Raises:
        ValueError: It is no absolute path, or a part of it fits no option.
    """
    if not location.startswith("/"):
        raise ValueError(f"a location is an absolute path such as /things/7, not {location!r}")
    path, _, query = location.partition("?")
    segments = path[1:].split("/") if path != "/" else []
    if "." in segments or ".." in segments:
        raise ValueError(f"a location has no segments . and ..: {location!r}")
    parts = [(int(Option.LOCATION_PATH), segment.encode()) for segment in segments]
    parts += [(int(Option.LOCATION_QUERY), argument.encode()) for argument in (query.split("&") if query else [])]
    if any(len(value) > LOCATION_BYTES for _, value in parts):
        raise ValueError(f"a part of a location has {LOCATION_BYTES} bytes at most: {location!r}")
    return parts
