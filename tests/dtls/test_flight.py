"""Packing a flight into datagrams (RFC 6347 4.1.1, 4.2.3), checked on the bytes with a splitter of the tests' own."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dtls import ApiMisuse, Association
from gateway.dtls.crypto import SUITES
from gateway.dtls.handshake.flight import Flight, Sealer
from gateway.dtls.limits import MIN_DATAGRAM_PAYLOAD
from gateway.dtls.messages.framing import HandshakeMessage
from tests.dtls.rawclient import DirectionKeys, split

RECORD_HEADER, HANDSHAKE_HEADER = 13, 12
KEY, SALT = bytes(16), b"salt"


@dataclass(frozen=True, slots=True)
class Piece:
    """A fragment as it stood on the wire."""

    epoch: int
    type: int
    length: int
    seq: int
    offset: int
    data: bytes


def sealer(first: int = 0, suite: int = 0xC0A8) -> Sealer:
    made = Sealer(first)
    made.association = Association(("192.0.2.1", 1), SUITES[suite], bytes(16), b"else", KEY, SALT)
    return made


def read(datagram: bytes, suite: int = 0xC0A8) -> list[Piece | None]:
    """One fragment a record, None for a ChangeCipherSpec."""
    pieces: list[Piece | None] = []
    for content_type, _, number, content in split(datagram):
        epoch = number >> 48
        if content_type == 20:
            pieces.append(None)
            continue
        if epoch:
            content = DirectionKeys(suite, KEY, SALT).open(content_type, number.to_bytes(8, "big"), content)
        assert int.from_bytes(content[9:12], "big") == len(content) - HANDSHAKE_HEADER
        pieces.append(
            Piece(
                epoch,
                content[0],
                int.from_bytes(content[1:4], "big"),
                int.from_bytes(content[4:6], "big"),
                int.from_bytes(content[6:9], "big"),
                content[12:],
            )
        )
    return pieces


bodies = st.lists(st.binary(max_size=40) | st.integers(0, 3000).map(bytes), min_size=1, max_size=6)


@given(
    bodies, st.integers(MIN_DATAGRAM_PAYLOAD, 1500), st.none() | st.integers(0, 5), st.sampled_from([0xC0A8, 0x00A8])
)
def test_flight(contents: list[bytes], limit: int, ccs_at: int | None, suite: int) -> None:
    items: list[HandshakeMessage | None] = [
        HandshakeMessage.of(number, number, body) for number, body in enumerate(contents, start=1)
    ]
    if ccs_at is not None:
        items.insert(min(ccs_at, len(items)), None)
    datagrams = Flight(items).datagrams(sealer(suite=suite), limit)
    assert max(map(len, datagrams)) <= limit

    # What comes out is the same messages, in order, without gap or overlap, protected from the ChangeCipherSpec on.
    pieces = [piece for datagram in datagrams for piece in read(datagram, suite)]
    rebuilt: list[HandshakeMessage | None] = []
    epoch = 0
    body = b""
    for piece in pieces:
        if piece is None:
            rebuilt.append(None)
            epoch = 1
            continue
        assert piece.epoch == epoch
        assert piece.offset == len(body)
        body += piece.data
        if len(body) == piece.length:
            rebuilt.append(HandshakeMessage.of(piece.type, piece.seq, body))
            body = b""
    assert rebuilt == items

    # A datagram ends only where nothing more would have fitted: not one byte of the message that goes on, not the
    # smallest piece of the one that begins.
    expansion = SUITES[suite].expansion
    for datagram, following in pairwise(datagrams):
        first = read(following, suite)[0]
        free = limit - len(datagram)
        if first is None:
            assert free < RECORD_HEADER + 1
            continue
        header = RECORD_HEADER + HANDSHAKE_HEADER + (expansion if first.epoch else 0)
        assert free < header + min(1, first.length)
        if first.offset:  # cut here: then the datagram before is full to the last byte
            assert free == 0


@pytest.mark.parametrize("limit", [192, 512, 1232])
def test_message_that_fills_the_datagram_exactly(limit: int) -> None:
    room = limit - RECORD_HEADER - HANDSHAKE_HEADER
    assert [len(d) for d in Flight([HandshakeMessage.of(1, 0, bytes(room))]).datagrams(sealer(), limit)] == [limit]
    more = Flight([HandshakeMessage.of(1, 0, bytes(room + 1))]).datagrams(sealer(), limit)
    assert [len(d) for d in more] == [limit, RECORD_HEADER + HANDSHAKE_HEADER + 1]


def test_protected_message_that_fills_the_datagram_exactly() -> None:
    # ChangeCipherSpec 14 bytes; 13 + 12 of headers and 16 of CCM_8 around the body.
    room = 192 - 14 - 25 - 16
    assert [len(d) for d in Flight([None, HandshakeMessage.of(1, 0, bytes(room))]).datagrams(sealer(), 192)] == [192]


def test_short_flight_is_one_datagram() -> None:
    messages: list[HandshakeMessage | None] = [HandshakeMessage.of(number, number, bytes(70)) for number in range(4)]
    assert len(Flight(messages).datagrams(sealer(), 1232)) == 1


def test_repetition_has_the_same_messages_under_new_record_numbers() -> None:
    flight = Flight([HandshakeMessage.of(16, 2, b"key exchange"), None, HandshakeMessage.of(20, 3, b"finished")])
    source = sealer(first=5)
    first, again = flight.datagrams(source, 1232), flight.datagrams(source, 1232)
    assert [read(d) for d in first] == [read(d) for d in again]
    assert first != again
    numbers = [number for d in (*first, *again) for _, _, number, _ in split(d)]
    assert numbers == [5, 6, 1 << 48, 7, 8, (1 << 48) + 1]


def test_empty_flight_is_nothing() -> None:
    assert Flight().datagrams(sealer(), 1232) == []


def test_protected_message_needs_keys() -> None:
    with pytest.raises(ApiMisuse):
        Flight([None, HandshakeMessage.of(20, 3, b"finished")]).datagrams(Sealer(0), 1232)


def test_room_for_a_single_byte_is_used() -> None:
    # 192 - 25 - 141 leaves 26: headers and one byte of the second message.
    flight = Flight([HandshakeMessage.of(1, 0, bytes(141)), HandshakeMessage.of(2, 1, bytes(10))])
    first, second = flight.datagrams(sealer(), 192)
    assert len(first) == 192
    assert [piece.data for piece in read(second) if piece is not None] == [bytes(9)]
    flight = Flight([HandshakeMessage.of(1, 0, bytes(142)), HandshakeMessage.of(2, 1, bytes(10))])
    assert [len(datagram) for datagram in flight.datagrams(sealer(), 192)] == [167, 35]
