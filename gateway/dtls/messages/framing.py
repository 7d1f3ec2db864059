"""The handshake header (RFC 6347 section 4.2.2) and the ChangeCipherSpec and alert bodies."""

from dataclasses import dataclass

from gateway.dtls.errors import DecodeError
from gateway.dtls.numbers import AlertDescription, AlertLevel

HANDSHAKE_HEADER_LENGTH = 12
CHANGE_CIPHER_SPEC = b"\x01"


@dataclass(frozen=True, slots=True)
class Fragment:
    """A piece of a handshake message, as it stood in a record."""

    type: int
    length: int
    message_seq: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class HandshakeMessage:
    """A whole handshake message."""

    type: int
    message_seq: int
    body: bytes

    def for_transcript(self) -> bytes:
        """The message as if it had come in one fragment (RFC 6347 section 4.2.6)."""
        return handshake_header(self.type, len(self.body), self.message_seq, 0, len(self.body)) + self.body


def handshake_header(message_type: int, length: int, message_seq: int, offset: int, fragment_length: int) -> bytes:
    return b"%c%b%b%b%b" % (
        message_type,
        length.to_bytes(3),
        message_seq.to_bytes(2),
        offset.to_bytes(3),
        fragment_length.to_bytes(3),
    )


def decode_fragments(content: bytes) -> list[Fragment]:
    """The fragments in a handshake record; there may be several (RFC 6347 section 4.2.3).

    Raises:
        DecodeError: A header is cut off, or a fragment does not lie within its message.
    """
    fragments = []
    position = 0
    while position < len(content):
        body = position + HANDSHAKE_HEADER_LENGTH
        header = content[position:body]
        if len(header) < HANDSHAKE_HEADER_LENGTH:
            raise DecodeError("handshake header cut off")
        length = int.from_bytes(header[1:4])
        offset = int.from_bytes(header[6:9])
        position = body + int.from_bytes(header[9:12])
        if position > len(content) or offset + position - body > length:
            raise DecodeError("handshake fragment past its end")
        data = content[body:position]
        fragments.append(Fragment(header[0], length, int.from_bytes(header[4:6]), offset, data))
    if not fragments:
        raise DecodeError("empty handshake record")
    return fragments


@dataclass(frozen=True, slots=True)
class Alert:
    """RFC 5246 section 7.2. Level and description stay integers: a peer may send any."""

    level: int
    description: int

    @classmethod
    def decode(cls, content: bytes) -> "Alert":
        if len(content) != 2:
            raise DecodeError("an alert has two bytes")
        return cls(content[0], content[1])

    @classmethod
    def fatal(cls, description: AlertDescription) -> "Alert":
        return cls(AlertLevel.FATAL, description)

    @classmethod
    def warning(cls, description: AlertDescription) -> "Alert":
        return cls(AlertLevel.WARNING, description)

    def encode(self) -> bytes:
        return bytes((self.level, self.description))

    @property
    def name(self) -> str:
        """The IANA name in lower case; `unknown` for a number that has none (the label set stays closed)."""
        try:
            return AlertDescription(self.description).name.lower()
        except ValueError:
            return "unknown"
