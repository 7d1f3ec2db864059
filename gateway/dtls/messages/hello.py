"""ClientHello, HelloVerifyRequest, ServerHello (RFC 5246 section 7.4.1, RFC 6347 section 4.2.1)."""

from dataclasses import dataclass, field
from struct import unpack_from
from typing import Final

from gateway.dtls.errors import DecodeError
from gateway.dtls.limits import MAX_EXTENSIONS, MAX_HELLO_MESSAGE_SEQ, MAX_HELLO_SEQUENCE
from gateway.dtls.numbers import COMPRESSION_NULL, DTLS_1_0, DTLS_1_2
from gateway.dtls.wire import Reader, Writer

_PREFIX_LENGTH: Final = 2 + 32
"""Bytes of version and random, which stand in front of every hello's session id."""

Extensions = dict[int, bytes]
"""Extension bodies by type, in the order of the message; unknown ones are kept."""


@dataclass(slots=True)
class ClientHello:
    """RFC 6347 section 4.2.1.

    Attributes:
        extensions: None when the message has no extension block at all, which is legal.
        offer: Of a hello that was received, the bytes of all that it offers: what does not change from one hello of a
            client to the next.
    """

    random: bytes
    cipher_suites: tuple[int, ...]
    extensions: Extensions | None = None
    session_id: bytes = b""
    cookie: bytes = b""
    compression_methods: bytes = bytes((COMPRESSION_NULL,))
    version: int = DTLS_1_2
    offer: bytes = field(default=b"", repr=False, compare=False)

    @classmethod
    def decode(cls, body: bytes) -> "ClientHello":
        """Raises `DecodeError` for anything that the RFC's syntax does not allow."""
        cookie_at, suites_at, compression_at, end = _vectors(body)
        cipher_suites = unpack_from(f">{(compression_at - suites_at - 2) // 2}H", body, suites_at + 2)
        return cls(
            body[2:_PREFIX_LENGTH],
            cipher_suites,
            _decode_extensions(body, end),
            body[_PREFIX_LENGTH + 1 : cookie_at],
            body[cookie_at + 1 : suites_at],
            body[compression_at + 1 : end],
            body[0] << 8 | body[1],
            body[:2] + body[suites_at:],
        )

    def encode(self) -> bytes:
        writer = Writer()
        writer.u16(self.version).raw(self.random).opaque(1, self.session_id).opaque(1, self.cookie)
        writer.opaque(2, b"".join(suite.to_bytes(2) for suite in self.cipher_suites))
        writer.opaque(1, self.compression_methods)
        return writer.raw(_encode_extensions(self.extensions)).getvalue()


@dataclass(slots=True)
class HelloPrefix:
    """The part of a ClientHello that the cookie covers, read without the rest (which may be in a later fragment).

    Attributes:
        random: The client's random.
        cookie: Empty in a first ClientHello.
        parameters: Version, random, session id, suites and compression methods as received: what both ClientHellos
            must share (RFC 6347 section 4.2.1).
    """

    random: bytes
    cookie: bytes
    parameters: bytes

    @classmethod
    def decode(cls, start: bytes) -> "HelloPrefix":
        """Raises `DecodeError` also when `start` ends before the compression methods do."""
        cookie_at, suites_at, _, end = _vectors(start)
        cookie = start[cookie_at + 1 : suites_at]
        return cls(start[2:_PREFIX_LENGTH], cookie, start[:cookie_at] + start[suites_at:end])


class HelloStart:
    """The beginning of a ClientHello. A plain class: one is made for every datagram of a flood.

    Attributes:
        sequence: Number of the record that brought it.
        message_seq: Its own number.
        prefix: What of it the cookie covers, and the cookie.
    """

    __slots__ = ("message_seq", "prefix", "sequence")

    def __init__(self, sequence: int, message_seq: int, prefix: HelloPrefix) -> None:
        self.sequence = sequence
        self.message_seq = message_seq
        self.prefix = prefix

    @property
    def is_early(self) -> bool:
        """Whether its numbers can be those of a handshake's beginning."""
        return self.sequence <= MAX_HELLO_SEQUENCE and self.message_seq <= MAX_HELLO_MESSAGE_SEQ


def _vectors(hello: bytes) -> tuple[int, int, int, int]:
    """Where the cookie, the suites and the compression methods of a ClientHello begin, each with its length in front,
    and where the last ones end.

    Written flat, without a reader: a flood pays for this with every datagram.

    Raises:
        DecodeError: The hello ends before that, or a length is not allowed (RFC 6347 section 4.2.1).
    """
    try:
        cookie_at = _PREFIX_LENGTH + 1 + hello[_PREFIX_LENGTH]
        suites_at = cookie_at + 1 + hello[cookie_at]
        suites_length = hello[suites_at] << 8 | hello[suites_at + 1]
        compression_at = suites_at + 2 + suites_length
        end = compression_at + 1 + hello[compression_at]
    except IndexError:
        raise DecodeError("the hello ends too early") from None
    well_formed = hello[_PREFIX_LENGTH] <= 32 and suites_length >= 2 and not suites_length % 2
    if end > len(hello) or not well_formed or end == compression_at + 1:
        raise DecodeError("a vector of the hello has an impossible length")
    return cookie_at, suites_at, compression_at, end


@dataclass(slots=True)
class HelloVerifyRequest:
    """RFC 6347 section 4.2.1. The version is 1.0 whatever is negotiated later; clients read nothing from it."""

    cookie: bytes
    version: int = DTLS_1_0

    @classmethod
    def decode(cls, body: bytes) -> "HelloVerifyRequest":
        reader = Reader(body)
        version = reader.u16()
        cookie = reader.opaque(1, 0, 255)
        reader.finish()
        return cls(cookie, version)

    def encode(self) -> bytes:
        return b"%b%c%b" % (self.version.to_bytes(2), len(self.cookie), self.cookie)


@dataclass(slots=True)
class ServerHello:
    """RFC 5246 section 7.4.1.3."""

    random: bytes
    cipher_suite: int
    extensions: Extensions | None = None
    session_id: bytes = b""
    compression_method: int = COMPRESSION_NULL
    version: int = DTLS_1_2

    @classmethod
    def decode(cls, body: bytes) -> "ServerHello":
        reader = Reader(body)
        version = reader.u16()
        random = reader.take(32)
        session_id = reader.opaque(1, 0, 32)
        cipher_suite = reader.u16()
        compression_method = reader.u8()
        extensions = _decode_extensions(body, len(body) - reader.remaining)
        return cls(random, cipher_suite, extensions, session_id, compression_method, version)

    def encode(self) -> bytes:
        return b"%b%b%c%b%b%c%b" % (
            self.version.to_bytes(2),
            self.random,
            len(self.session_id),
            self.session_id,
            self.cipher_suite.to_bytes(2),
            self.compression_method,
            _encode_extensions(self.extensions),
        )


@dataclass(slots=True)
class NewSessionTicket:
    """RFC 5077 section 3.3.

    Attributes:
        lifetime_hint: Seconds; 0 says nothing.
        ticket: Empty for "none after all".
    """

    lifetime_hint: int
    ticket: bytes = field(repr=False)

    @classmethod
    def decode(cls, body: bytes) -> "NewSessionTicket":
        reader = Reader(body)
        hint = int.from_bytes(reader.take(4))
        ticket = reader.opaque(2)
        reader.finish()
        return cls(hint, ticket)

    def encode(self) -> bytes:
        return b"%b%b%b" % (self.lifetime_hint.to_bytes(4), len(self.ticket).to_bytes(2), self.ticket)


def _decode_extensions(hello: bytes, at: int) -> Extensions | None:
    """The extensions that stand from `at` on to the end of a hello; None where nothing is there."""
    end = len(hello)
    if at == end:
        return None
    position = at + 2
    if end < position or hello[at] << 8 | hello[at + 1] != end - position:
        raise DecodeError("the extensions do not end where the hello does")
    extensions: Extensions = {}
    while position < end:
        start = position + 4
        head = int.from_bytes(hello[position:start])
        extension_type, stop = head >> 16, start + (head & 0xFFFF)
        if stop > end:  # also where the four bytes are cut off
            raise DecodeError("an extension past the end of the hello")
        if extension_type in extensions:  # RFC 5246 section 7.4.1.4: "MUST NOT be more than one of the same type"
            raise DecodeError(f"extension {extension_type} twice")
        if len(extensions) == MAX_EXTENSIONS:
            raise DecodeError("too many extensions")
        extensions[extension_type] = hello[start:stop]
        position = stop
    return extensions


def _encode_extensions(extensions: Extensions | None) -> bytes:
    if extensions is None:
        return b""
    block = b"".join([b"%b%b%b" % (kind.to_bytes(2), len(body).to_bytes(2), body) for kind, body in extensions.items()])
    return len(block).to_bytes(2) + block
