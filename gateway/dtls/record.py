"""The record layer's header and the epoch-0 writer (RFC 6347 section 4.1). Protection is in `association`."""

from struct import Struct

from gateway.dtls.errors import SequenceExhausted
from gateway.dtls.limits import MAX_PLAINTEXT, MAX_RECORD_EXPANSION, MAX_RECORDS_PER_DATAGRAM, MAX_WRITE_SEQUENCE
from gateway.dtls.numbers import DTLS_1_2, ContentType

RECORD_HEADER_LENGTH = 13
_pack_header = Struct(">BHQH").pack
_MAX_FRAGMENT = MAX_PLAINTEXT + MAX_RECORD_EXPANSION
_TLS12_CID = int(ContentType.TLS12_CID)
_TYPE_LENGTH = 1


class Record:
    """One record as received; nothing in it is authentic yet.

    A plain class, not a dataclass: one is made for every record of a flood.

    Attributes:
        cid: The connection id in its header; empty without one.
        number: Epoch and sequence number, the 8 bytes that the nonce and the associated data are made of.
    """

    __slots__ = ("cid", "content_type", "epoch", "fragment", "number", "sequence", "version")

    def __init__(self, content_type: int, version: int, number: bytes, fragment: bytes, cid: bytes = b"") -> None:
        self.cid = cid
        self.content_type = content_type
        self.version = version
        self.number = number
        packed = int.from_bytes(number)
        self.epoch = packed >> 48
        self.sequence = packed & 0xFFFFFFFFFFFF
        self.fragment = fragment


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
        limit = _MAX_FRAGMENT
        if datagram[position] == _TLS12_CID:
            start += cid_length
            limit += _TYPE_LENGTH
        if start > end or len(records) == MAX_RECORDS_PER_DATAGRAM:
            return records, False
        length = (datagram[start - 2] << 8) | datagram[start - 1]
        stop = start + length
        version = (datagram[position + 1] << 8) | datagram[position + 2]
        if stop > end or length > limit:
            return records, False
        number = datagram[position + 3 : position + 11]
        cid = datagram[position + 11 : start - 2]
        records.append(Record(datagram[position], version, number, datagram[start:stop], cid))
        position = stop
    return records, bool(records)


def encode_record(content_type: int, number: int, fragment: bytes, version: int = DTLS_1_2) -> bytes:
    """A record; `number` is epoch and sequence number as one 64-bit integer."""
    return _pack_header(content_type, version, number, len(fragment)) + fragment


class PlainWriter:
    """Writes the records of epoch 0 and counts them."""

    __slots__ = ("_next",)

    def __init__(self, first: int) -> None:
        self._next = first

    def write(self, content_type: int, content: bytes) -> bytes:
        if self._next >= MAX_WRITE_SEQUENCE:
            raise SequenceExhausted
        number = self._next
        self._next = number + 1
        return _pack_header(content_type, DTLS_1_2, number, len(content)) + content
