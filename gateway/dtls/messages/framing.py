"""The handshake header (RFC 6347 section 4.2.2) and the ChangeCipherSpec and alert bodies.

A handshake makes eight to fifteen of these messages. So one that fills its record is taken as it is, and the classes
have their constructors written out, which mypyc compiles to a quarter of a dataclass's time.
"""

from dataclasses import dataclass
from typing import Final

from gateway.dtls.errors import DecodeError
from gateway.dtls.numbers import AlertDescription, AlertLevel

HANDSHAKE_HEADER_LENGTH: Final = 12
CHANGE_CIPHER_SPEC: Final = b"\x01"

_ALERT_NAMES: Final[dict[int, str]] = {description: description.name.lower() for description in AlertDescription}


@dataclass(init=False, slots=True)
class Fragment:
    """A piece of a handshake message, as it stood in a record. Not frozen: that costs as much as all the decoding."""

    type: int
    length: int
    message_seq: int
    offset: int
    data: bytes

    def __init__(self, type: int, length: int, message_seq: int, offset: int, data: bytes) -> None:
        self.type = type
        self.length = length
        self.message_seq = message_seq
        self.offset = offset
        self.data = data


@dataclass(init=False, slots=True)
class HandshakeMessage:
    """A whole handshake message. Held in one piece, because an association keeps its last flight for minutes.

    Attributes:
        whole: Header and body as if it had come in one fragment: what the transcript takes (RFC 6347 section 4.2.6),
            and what goes out where it fits.
    """

    type: int
    message_seq: int
    whole: bytes

    def __init__(self, type: int, message_seq: int, whole: bytes) -> None:
        self.type = type
        self.message_seq = message_seq
        self.whole = whole

    @classmethod
    def of(cls, type: int, message_seq: int, body: bytes) -> "HandshakeMessage":
        """The message with this body."""
        size = len(body)
        # `handshake_header`, without the call: four of these are made in the shortest handshake
        header = (type << 88 | size << 64 | message_seq << 48 | size).to_bytes(HANDSHAKE_HEADER_LENGTH)
        return HandshakeMessage(type, message_seq, header + body)

    @property
    def body(self) -> bytes:
        return self.whole[HANDSHAKE_HEADER_LENGTH:]

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.whole) - HANDSHAKE_HEADER_LENGTH


def handshake_header(message_type: int, length: int, message_seq: int, offset: int, fragment_length: int) -> bytes:
    packed = message_type << 88 | length << 64 | message_seq << 48 | offset << 24 | fragment_length
    return packed.to_bytes(HANDSHAKE_HEADER_LENGTH)


def decode_whole(content: bytes) -> HandshakeMessage | None:
    """The message that a handshake record holds whole and alone, as nearly always. None for all else, valid or not."""
    size = len(content) - HANDSHAKE_HEADER_LENGTH
    # The fragment begins at 0, and its length and the message's are those of what is there.
    if size < 0 or content[6:12] != size.to_bytes(6) or content[1:4] != content[9:12]:
        return None
    return HandshakeMessage(content[0], content[4] << 8 | content[5], content)


def decode_fragment(content: bytes, position: int) -> tuple[Fragment, int]:
    """The fragment that begins at a position of a handshake record, and where the next one would begin.

    Raises:
        DecodeError: The header is cut off, or the fragment does not lie within record and message.
    """
    body = position + HANDSHAKE_HEADER_LENGTH
    if body > len(content):
        raise DecodeError("handshake header cut off")
    header = int.from_bytes(content[position:body])
    length, offset, size = header >> 64 & 0xFFFFFF, header >> 24 & 0xFFFFFF, header & 0xFFFFFF
    end = body + size
    if end > len(content) or offset + size > length:
        raise DecodeError("handshake fragment past its end")
    return Fragment(header >> 88, length, header >> 48 & 0xFFFF, offset, content[body:end]), end


def decode_fragments(content: bytes) -> list[Fragment]:
    """The fragments in a handshake record; there may be several (RFC 6347 section 4.2.3).

    Raises:
        DecodeError: There is none, or one is malformed.
    """
    fragments: list[Fragment] = []
    position = 0
    while position < len(content):
        fragment, position = decode_fragment(content, position)
        fragments.append(fragment)
    if not fragments:
        raise DecodeError("empty handshake record")
    return fragments


@dataclass(init=False, slots=True)
class Alert:
    """RFC 5246 section 7.2. Level and description stay integers: a peer may send any."""

    level: int
    description: int

    def __init__(self, level: int, description: int) -> None:
        self.level = level
        self.description = description

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
        return _ALERT_NAMES.get(self.description, "unknown")
