"""Reassembly (RFC 6347 4.2.2, 4.2.3) against a model that paints bytes on a canvas, and against floods."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dtls import DropReason, FailureReason, HandshakeError
from gateway.dtls.handshake.reassembly import Reassembler
from gateway.dtls.limits import (
    MAX_FRAGMENTS,
    MAX_FUTURE_MESSAGES,
    MAX_HANDSHAKE_MESSAGE,
    MAX_REASSEMBLY_BYTES,
    PIECE_OVERHEAD,
)
from gateway.dtls.messages.framing import Fragment, HandshakeMessage

BODY = bytes(range(100, 120))


def piece(start: int, stop: int, *, seq: int = 1, body: bytes = BODY, message_type: int = 11) -> Fragment:
    return Fragment(message_type, len(body), seq, start, body[start:stop])


def feed(reassembler: Reassembler, *fragments: Fragment) -> list[HandshakeMessage]:
    """Adds fragments and takes whatever becomes whole, as the handshake does."""
    messages = []
    for fragment in fragments:
        reassembler.add(fragment)
        while (message := reassembler.next_message()) is not None:
            messages.append(message)
    return messages


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)).map(sorted), max_size=12))
def test_whole_exactly_when_every_byte_has_come(spans: list[list[int]]) -> None:
    reassembler = Reassembler(1)
    canvas: set[int] = set()
    done = False
    for start, stop in spans:
        messages = feed(reassembler, piece(start, stop))
        canvas |= set(range(start, stop))
        if not done and len(canvas) == len(BODY):
            assert messages == [HandshakeMessage.of(11, 1, BODY)]
            done = True
        else:
            assert messages == []


@given(st.data())
def test_any_cut_in_any_order_with_repetitions(data: st.DataObject) -> None:
    """Three messages, each cut somewhere, all pieces shuffled and some twice: the same three, in order."""
    bodies = data.draw(st.lists(st.binary(max_size=60), min_size=3, max_size=3))
    pieces: list[Fragment] = []
    for seq, body in enumerate(bodies, start=4):
        cuts = sorted({0, len(body), *data.draw(st.lists(st.integers(0, len(body)), max_size=5))})
        spans = list(pairwise(cuts)) or [(0, 0)]
        pieces += [piece(start, stop, seq=seq, body=body, message_type=seq + 7) for start, stop in spans]
    pieces += data.draw(st.lists(st.sampled_from(pieces), max_size=6))
    shuffled = data.draw(st.permutations(pieces))
    expected = [HandshakeMessage.of(seq + 7, seq, body) for seq, body in enumerate(bodies, start=4)]
    assert feed(Reassembler(4), *shuffled) == expected


def test_overlapping_pieces() -> None:
    assert feed(Reassembler(1), piece(5, 15), piece(0, 8), piece(12, 20)) == [HandshakeMessage.of(11, 1, BODY)]
    assert feed(Reassembler(1), piece(5, 15), piece(0, 20)) == [HandshakeMessage.of(11, 1, BODY)]


def test_message_without_a_body() -> None:
    assert feed(Reassembler(1), Fragment(14, 0, 1, 0, b"")) == [HandshakeMessage.of(14, 1, b"")]


@pytest.mark.parametrize("offset", [0, 7, 20])
def test_zero_length_fragment_completes_nothing(offset: int) -> None:
    # CVE-2026-33845: only a message of length 0 may come in a fragment of length 0.
    reassembler = Reassembler(1)
    empty = Fragment(11, len(BODY), 1, offset, b"")
    assert reassembler.add(empty) is DropReason.BAD_FRAGMENT
    assert feed(reassembler, piece(0, 7), empty, piece(7, 13), empty) == []
    assert feed(reassembler, piece(13, 20)) == [HandshakeMessage.of(11, 1, BODY)]


@pytest.mark.parametrize(
    "liar",
    [
        Fragment(11, 19, 1, 10, BODY[10:19]),
        Fragment(11, 21, 1, 10, BODY[10:20] + b"!"),
        Fragment(16, 20, 1, 10, BODY[10:20]),
        Fragment(11, 0, 1, 0, b""),
    ],
    ids=["shorter", "longer", "other-type", "empty"],
)
def test_fragments_must_agree_on_type_and_length(liar: Fragment) -> None:
    # CVE-2014-0195, CVE-2026-33846
    reassembler = Reassembler(1)
    assert reassembler.add(piece(0, 10)) is None
    assert reassembler.add(liar) is DropReason.BAD_FRAGMENT
    assert reassembler.next_message() is None
    assert feed(reassembler, piece(10, 20)) == [HandshakeMessage.of(11, 1, BODY)]


def test_disagreeing_contents_give_one_of_the_two_and_the_right_length() -> None:
    reassembler = Reassembler(1)
    feed(reassembler, piece(0, 12), Fragment(11, 20, 1, 8, b"x" * 12))
    # Complete: bytes 0-11 once, 12-19 from the second. Nobody knows who is right; Finished will tell.
    assert reassembler.next_seq == 2
    (message,) = feed(Reassembler(1), piece(0, 12), Fragment(11, 20, 1, 8, b"x" * 12))
    assert message.body[:8] == BODY[:8]
    assert message.body[12:] == b"x" * 8
    assert message.body[8:12] in (BODY[8:12], b"xxxx")


def test_a_message_that_is_due_takes_the_short_way_only_while_nothing_else_is_held() -> None:
    due, next_one = HandshakeMessage.of(11, 1, BODY), HandshakeMessage.of(16, 2, b"abc")
    reassembler = Reassembler(1)
    assert not reassembler.add_due(next_one)
    assert reassembler.add_due(due)
    assert reassembler.buffered == len(BODY) + PIECE_OVERHEAD
    assert not reassembler.add_due(due)
    assert reassembler.next_message() == due
    assert reassembler.buffered == 0
    assert not reassembler.add_due(due)  # repeated
    assert reassembler.add(piece(0, 10, seq=2)) is None
    assert not reassembler.add_due(next_one)  # a piece of another one by that number is there
    assert not Reassembler(1).add_due(HandshakeMessage.of(11, 1, bytes(MAX_HANDSHAKE_MESSAGE + 1)))


def test_longest_message_and_one_byte_more() -> None:
    longest = Fragment(11, MAX_HANDSHAKE_MESSAGE, 1, 0, bytes(MAX_HANDSHAKE_MESSAGE))
    assert len(feed(Reassembler(1), longest)[0].body) == MAX_HANDSHAKE_MESSAGE
    with pytest.raises(HandshakeError) as caught:
        Reassembler(1).add(Fragment(11, MAX_HANDSHAKE_MESSAGE + 1, 1, 0, b"x"))
    assert caught.value.reason is FailureReason.HANDSHAKE_TOO_LARGE


def test_claim_of_sixteen_megabytes_takes_no_memory() -> None:
    with pytest.raises(HandshakeError):
        Reassembler(1).add(Fragment(11, (1 << 24) - 1, 1, 0, b"x"))
    # Of a message that is not due it is only dropped: a later, honest one may come.
    reassembler = Reassembler(1)
    assert reassembler.add(Fragment(11, (1 << 24) - 1, 2, 0, b"x")) is DropReason.BUFFER_FULL
    assert feed(reassembler, piece(0, 20, seq=2), piece(0, 20)) == [
        HandshakeMessage.of(11, 1, BODY),
        HandshakeMessage.of(11, 2, BODY),
    ]


def test_repetition_of_a_message_that_was_taken() -> None:
    reassembler = Reassembler(1)
    feed(reassembler, piece(0, 20))
    assert reassembler.add(piece(0, 20)) is DropReason.REPEATED
    assert reassembler.next_message() is None


def test_messages_come_in_order_whatever_order_they_arrive_in() -> None:
    fragments = [piece(0, 20, seq=seq) for seq in range(1, 2 + MAX_FUTURE_MESSAGES)]
    assert [message.message_seq for message in feed(Reassembler(1), *reversed(fragments))] == list(
        range(1, 2 + MAX_FUTURE_MESSAGES)
    )


def test_message_too_far_ahead_is_dropped() -> None:
    # CVE-2014-3506, CVE-2022-29189: a few future messages, not 65535.
    reassembler = Reassembler(1)
    kept = [seq for seq in range(1, 0x10000) if reassembler.add(piece(0, 5, seq=seq)) is None]
    assert kept == list(range(1, 2 + MAX_FUTURE_MESSAGES))


def test_bytes_kept_are_bounded() -> None:
    reassembler = Reassembler(1)
    body = bytes(MAX_HANDSHAKE_MESSAGE)
    taken = 0
    for seq in range(1, 2 + MAX_FUTURE_MESSAGES):
        for start in range(1, len(body) - 1000, 1000):
            if reassembler.add(piece(start, start + 1000, seq=seq, body=body)) is None:
                taken += 1000 + PIECE_OVERHEAD
    assert MAX_REASSEMBLY_BYTES - 1000 - PIECE_OVERHEAD < taken <= MAX_REASSEMBLY_BYTES


def test_fragments_kept_of_one_message_are_bounded() -> None:
    reassembler = Reassembler(1)
    body = bytes(1000)
    results = [reassembler.add(piece(start, start + 1, body=body)) for start in range(1, 1000)]
    assert results.count(None) == MAX_FRAGMENTS
    assert set(results[MAX_FRAGMENTS:]) == {DropReason.BUFFER_FULL}


def test_repeating_a_fragment_takes_no_memory() -> None:
    reassembler = Reassembler(1)
    for _ in range(10 * MAX_FRAGMENTS):
        assert reassembler.add(piece(0, 10)) is None
    assert feed(reassembler, piece(10, 20)) == [HandshakeMessage.of(11, 1, BODY)]


def test_room_is_given_back_with_the_message() -> None:
    reassembler = Reassembler(1)
    body = bytes(MAX_HANDSHAKE_MESSAGE)
    for seq in range(1, 6):
        assert len(feed(reassembler, piece(0, len(body), seq=seq, body=body))) == 1


def test_clearing_forgets_what_is_not_whole() -> None:
    reassembler = Reassembler(1)
    feed(reassembler, piece(0, 10), piece(0, 20, seq=2))
    reassembler.clear()
    assert feed(reassembler, piece(10, 20)) == []
    assert feed(reassembler, piece(0, 10)) == [HandshakeMessage.of(11, 1, BODY)]
    assert reassembler.next_seq == 2
