"""The record layer's header and the epoch-0 writer (RFC 6347 section 4.1). Protection is in `association`.

Written for floods and handshakes, each datagram of which comes through here: one unpacking for each header, one plain
slotted object for each record, no reader. An established session's records go past all this.
"""

from struct import Struct
from typing import Final

from gateway.dtls.errors import SequenceExhausted
from gateway.dtls.limits import MAX_PLAINTEXT, MAX_RECORD_EXPANSION, MAX_RECORDS_PER_DATAGRAM, MAX_WRITE_SEQUENCE
from gateway.dtls.numbers import DTLS_1_2, ContentType

RECORD_HEADER_LENGTH: Final = 13
_header: Final = Struct(">BHQH")
_pack_header: Final = _header.pack
_unpack_header: Final = _header.unpack_from
_MAX_FRAGMENT: Final = MAX_PLAINTEXT + MAX_RECORD_EXPANSION
_TLS12_CID: Final = int(ContentType.TLS12_CID)
_TYPE_LENGTH: Final = 1
_SEQUENCE: Final = (1 << 48) - 1


class Record:
    """One record as received; nothing in it is authentic yet.

    A plain class, not a dataclass: one is made for every record of a flood.

    Attributes:
        content_type: As in its header, where a connection id hides the real one.
        version: As in its header.
        epoch: The upper 16 bits of its number.
        sequence: The lower 48 bits.
        fragment: What follows the header.
        cid: The connection id in its header; empty without one.
    """

    __slots__ = ("cid", "content_type", "epoch", "fragment", "sequence", "version")

    def __init__(self, content_type: int, version: int, number: int, fragment: bytes, cid: bytes = b"") -> None:
        self.cid = cid
        self.content_type = content_type
        self.version = version
        self.epoch = number >> 48
        self.sequence = number & _SEQUENCE
        self.fragment = fragment

    @property
    def number(self) -> bytes:
        """Epoch and sequence number, the 8 bytes that the nonce and the associated data are made of."""
        return (self.epoch << 48 | self.sequence).to_bytes(8)


def split_records(datagram: bytes, cid_length: int = 0) -> tuple[list[Record], bool]:
    """The records of a datagram, and whether the whole datagram was well-formed.

    Args:
        datagram: As received.
        cid_length: Bytes of the receiver's connection ids, which no record says (RFC 9146 section 4).

    What follows a malformed record is not looked at: its length cannot be trusted (RFC 6347 section 4.1.2.7).
    """
    records: list[Record] = []
    position, end = 0, len(datagram)
    while position < end:
        start = position + RECORD_HEADER_LENGTH
        if start > end:
            return records, False
        content_type, version, number, length = _unpack_header(datagram, position)
        limit, cid = _MAX_FRAGMENT, b""
        if content_type == _TLS12_CID:
            cid_at, start, limit = start - 2, start + cid_length, limit + _TYPE_LENGTH
            cid, length = datagram[cid_at : start - 2], int.from_bytes(datagram[start - 2 : start])
        position = start + length
        if position > end or length > limit or len(records) == MAX_RECORDS_PER_DATAGRAM:
            return records, False
        records.append(Record(content_type, version, number, datagram[start:position], cid))
    return records, bool(records)


def encode_record(content_type: int, number: int, fragment: bytes, version: int = DTLS_1_2) -> bytes:
    """A record; `number` is epoch and sequence number as one 64-bit integer."""
    return _pack_header(content_type, version, number, len(fragment)) + fragment


class PlainWriter:
    """Writes the records of epoch 0 and counts them.

    Attributes:
        next: Number of the next one.
    """

    __slots__ = ("next",)

    def __init__(self, first: int) -> None:
        self.next = first

    def write(self, content_type: int, content: bytes) -> bytes:
        if self.next >= MAX_WRITE_SEQUENCE:
            raise SequenceExhausted
        number = self.next
        self.next = number + 1
        return _pack_header(content_type, DTLS_1_2, number, len(content)) + content
