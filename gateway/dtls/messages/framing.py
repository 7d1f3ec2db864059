"""The handshake header (RFC 6347 section 4.2.2) and the ChangeCipherSpec and alert bodies."""

from dataclasses import dataclass

from gateway.dtls.errors import DecodeError
from gateway.dtls.numbers import AlertDescription, AlertLevel

HANDSHAKE_HEADER_LENGTH = 12
CHANGE_CIPHER_SPEC = b"\x01"


@dataclass(slots=True)
class Fragment:
    """A piece of a handshake message, as it stood in a record. Not frozen: that costs as much as all the decoding."""

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
    packed = message_type << 88 | length << 64 | message_seq << 48 | offset << 24 | fragment_length
    return packed.to_bytes(HANDSHAKE_HEADER_LENGTH)


def decode_fragments(content: bytes) -> list[Fragment]:
    """The fragments in a handshake record; there may be several (RFC 6347 section 4.2.3).

    Raises:
        DecodeError: A header is cut off, or a fragment does not lie within its message.
    """
    fragments: list[Fragment] = []
    position, end = 0, len(content)
    while position < end:
        body = position + HANDSHAKE_HEADER_LENGTH
        if body > end:
            raise DecodeError("handshake header cut off")
        header = int.from_bytes(content[position:body])
        length, offset, size = header >> 64 & 0xFFFFFF, header >> 24 & 0xFFFFFF, header & 0xFFFFFF
        position = body + size
        if position > end or offset + size > length:
            raise DecodeError("handshake fragment past its end")
        fragments.append(Fragment(header >> 88, length, header >> 48 & 0xFFFF, offset, content[body:position]))
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
