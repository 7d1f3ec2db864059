"""What a handler is given: one request of one proven device."""

import json
from collections.abc import AsyncIterator, Mapping
from time import time
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn
from urllib.parse import quote

from gateway.coap import Code, ContentFormat, Message
from gateway.handlers.media_types import CBOR_FORMATS, JSON_FORMATS, SENML_FORMATS, media_type
from gateway.handlers.response import Reject
from gateway.handlers.senml import NotSenml, resolve_senml
from gateway.model import Device, Principal

if TYPE_CHECKING:
    from gateway.handlers.routing import Route

# RFC 7252 section 6.5, step 7: what stands unescaped in a path segment (RFC 3986 unreserved, sub-delims, ":" and "@").
_UNESCAPED: Final = "!$&'()*+,;=:@"


class Request:
    """A request, and who sent it.

    Cheap to make: everything but its two arguments is computed when asked for. There is no network address in here:
    the device is who the handshake proved it to be, wherever it sends from.

    Attributes:
        message: The CoAP message, for whatever this class does not offer.
        principal: The device together with the credential that proved it.
        route: The route that matched, once `App.dispatch` found it; its template is the label for metrics.
        values: The path parameters' values, in the order of the template.
    """

    __slots__ = ("message", "principal", "route", "values")

    admitted: ClassVar[bool] = False
    """What the route asks of a request was looked at when its first block came."""

    def __init__(self, message: Message, principal: Principal) -> None:
        self.message = message
        self.principal = principal
        self.route: Route | None = None
        self.values: tuple[str, ...] = ()

    @property
    def device(self) -> Device:
        """The device that sent the request."""
        return self.principal.device

    @property
    def method(self) -> int:
        """The method, a member of `Code` such as `Code.POST` unless the device made one up."""
        return self.message.code

    @property
    def payload(self) -> bytes:
        """The payload as it came."""
        return self.message.payload

    @property
    def content_format(self) -> int | None:
        """The payload's content format, or None when the device names none."""
        return self.message.content_format

    @property
    def accept(self) -> int | None:
        """The content format that the device wants, or None when it takes any."""
        return self.message.accept

    @property
    def segments(self) -> tuple[str, ...]:
        """The path's segments; a segment may hold a slash of its own."""
        return self.message.uri_path

    @property
    def path(self) -> str:
        """The path as a URI writes it, such as `/telemetry/room%201` (RFC 7252 section 6.5)."""
        return "/" + "/".join(quote(segment, safe=_UNESCAPED) for segment in self.message.uri_path)

    @property
    def params(self) -> dict[str, str]:
        """The path parameters by name."""
        return {} if self.route is None else dict(zip(self.route.names, self.values, strict=True))

    @property
    def query(self) -> Mapping[str, str]:
        """The query by name; the last one wins, and `?flag` is an empty text.

        `message.uri_query` has the raw pairs, with every repetition.
        """
        pairs = (item.partition("=") for item in self.message.uri_query)
        return {name: value for name, _, value in pairs}

    def text(self) -> str:
        """Return the payload as text.

        Raises:
            Reject: 4.00 when it is not UTF-8, or 4.15 when its content format says that it is no text.
        """
        try:
            return self.message.payload.decode()
        except UnicodeDecodeError:
            self._refuse("UTF-8 text", ContentFormat.TEXT)

    def json(self) -> Any:
        """Return the payload's JSON value, whatever content format the device names for it.

        Raises:
            Reject: 4.00 when it is not JSON, or 4.15 when its content format says so.
        """
        try:
            return decode_json(self.message.payload)
        except ValueError:
            self._refuse("JSON", ContentFormat.JSON)

    def decoded(self) -> Any:
        """Return the payload's value, as its content format says.

        Text is str; JSON and CBOR are their values (a tagged CBOR value is a `cbor2.CBORTag`); SenML, in JSON or CBOR,
        is a list of resolved records, each a dict with the names of RFC 8428 and an absolute time; anything else, and
        what has no content format, is bytes.

        Raises:
            Reject: 4.00 when the payload is not what its content format says.
        """
        payload, content_format = self.message.payload, self.message.content_format
        try:
            return decode_payload(payload, content_format)
        except ValueError as error:
            # Not what a foreign decoder says: it may quote the payload at length.
            reason = f": {error}" if isinstance(error, NotSenml) else ""
            name = media_type(content_format)
            raise Reject(Code.BAD_REQUEST, f"the payload is not valid {name}{reason}") from None

    async def blocks(self) -> AsyncIterator[bytes]:
        """The body block by block, as it comes, where the route says `stream=True`; elsewhere all at once.

            async for block in request.blocks():
                file.write(block)

        The device sends the next block when this one has been taken.

        Raises:
            UploadAborted: The rest does not come.
        """
        if self.message.payload:
            yield self.message.payload

    def __repr__(self) -> str:
        return f"<Request code={self.message.code} device={self.device.id!r} {len(self.message.payload)} bytes>"

    def _refuse(self, expected: str, content_format: int) -> NoReturn:
        claimed = self.message.content_format
        if claimed is None or claimed == content_format:
            raise Reject(Code.BAD_REQUEST, f"the payload is not valid {expected}") from None
        raise Reject(
            Code.UNSUPPORTED_CONTENT_FORMAT, f"this resource takes {expected} (content format {int(content_format)})"
        ) from None


class UploadRequest(Request):
    """A request whose body came in blocks.

    Its message is that of the newest block, with the whole body for a payload: with none while it is streamed.

    Attributes:
        stream: The blocks, where the handler takes them one by one.
    """

    __slots__ = ("stream",)

    admitted = True

    def __init__(self, request: Request, body: bytes, stream: AsyncIterator[bytes] | None = None) -> None:
        last = request.message
        message = Message(last.type, last.code, last.message_id, last.token, last.options, body)
        super().__init__(message, request.principal)
        self.stream = stream

    async def blocks(self) -> AsyncIterator[bytes]:
        """See `Request.blocks`."""
        if self.stream is None:
            async for block in super().blocks():
                yield block
        else:
            async for block in self.stream:
                yield block


def decode_payload(payload: bytes, content_format: int | None) -> Any:
    """Return a payload's value; see `Request.decoded`.

    Raises:
        ValueError: It is not what its content format says.
    """
    if content_format == ContentFormat.TEXT:
        return payload.decode()
    if content_format in JSON_FORMATS:
        value = decode_json(payload)
    elif content_format in CBOR_FORMATS:
        # Imported where it is needed: most apps never do.
        from gateway.handlers.cbor import decode_cbor

        value = decode_cbor(payload)
    else:
        return payload
    return resolve_senml(value, time()) if content_format in SENML_FORMATS else value


def decode_json(data: bytes) -> Any:
    """Return the JSON value of a device's bytes: RFC 8259, without Python's extensions.

    Raises:
        ValueError: It is not JSON.
    """
    try:
        return _DECODER.decode(data.decode())
    except RecursionError:
        # A device controls the nesting; the parser's stack is no verdict of ours on the handler.
        raise ValueError("nested too deeply") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# Made once: json.loads makes a new one a call when it is given an argument.
_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)
