"""Bodies of responses that are kept until they have been fetched."""

import pytest

from gateway.coap import Block, Bodies, Message, Peer, encode_block, encode_uint, limits
from tests.coap.support import Session

GET, POST, FETCH = 1, 2, 5
URI_PATH, BLOCK2 = 11, 23
LIFETIME_S = 247.0
PEER = Peer()


def ask(code: int, path: bytes = b"a", block: int | None = None, payload: bytes = b"") -> Message:
    options = [(URI_PATH, path)] + ([] if block is None else [(BLOCK2, encode_block(Block(block, False, 6)))])
    return Message(0, code, 1, b"t", options, payload)


@pytest.fixture
def bodies() -> Bodies:
    return Bodies(LIFETIME_S)


def test_what_was_kept_is_found_by_the_next_blocks(bodies: Bodies) -> None:
    assert bodies.keep(PEER, ask(POST, payload=b"question"), 68, [(12, b"")], bytes(5000), 0)
    found = bodies.find(PEER, ask(POST, block=1), 1)
    assert found is not None
    assert (found.code, found.options, found.payload) == (68, [(12, b"")], bytes(5000))
    assert bodies.find(PEER, ask(POST, b"b", 1), 1) is None
    assert bodies.find(PEER, ask(GET, block=1), 1) is None
    assert bodies.find(Peer(), ask(POST, block=1), 1) is None


def test_a_fetch_is_one_with_its_payload(bodies: Bodies) -> None:
    # RFC 8132 section 2: the payload of a FETCH is part of the cache key. A client may leave it out of later blocks.
    bodies.keep(PEER, ask(FETCH, payload=b"question"), 69, [], bytes(5000), 0)
    assert bodies.find(PEER, ask(FETCH, block=1, payload=b"question"), 0) is not None
    assert bodies.find(PEER, ask(FETCH, block=1), 0) is not None
    assert bodies.find(PEER, ask(FETCH, block=1, payload=b"another"), 0) is None


def test_the_newest_answer_takes_the_place_of_the_one_before(bodies: Bodies) -> None:
    bodies.keep(PEER, ask(GET), 69, [], b"1" * 2000, 0)
    bodies.keep(PEER, ask(GET), 69, [], b"2" * 2000, 0)
    found = bodies.find(PEER, ask(GET, block=1), 0)
    assert found is not None
    assert found.payload == b"2" * 2000
    assert len(bodies) == 1


def test_it_expires_and_each_block_keeps_it(bodies: Bodies) -> None:
    assert bodies.next_expiry() is None
    bodies.keep(PEER, ask(GET), 69, [], bytes(2000), 0)
    assert bodies.find(PEER, ask(GET, block=1), 200) is not None
    assert bodies.next_expiry() == 200 + LIFETIME_S
    bodies.expire(LIFETIME_S)
    assert len(bodies) == 1
    assert bodies.find(PEER, ask(GET, block=1), 200 + LIFETIME_S) is None
    assert (len(bodies), bodies.size) == (0, 0)


def test_it_goes_with_its_peer(bodies: Bodies) -> None:
    one, two = Session("device"), Session("device")
    bodies.keep(one, ask(GET), 69, [], bytes(2000), 0)
    bodies.keep(two, ask(GET), 69, [], bytes(2000), 0)
    bodies.forget(one)
    assert bodies.find(one, ask(GET, block=1), 0) is None
    assert bodies.find(two, ask(GET, block=1), 0) is not None
    bodies.forget(Peer())


def test_bodies_of_one_peer_are_bounded_in_number(bodies: Bodies) -> None:
    for number in range(1000):
        assert bodies.keep(PEER, ask(GET, encode_uint(number)), 69, [], bytes(2000), 0)
        assert len(bodies) <= limits.BODIES_OF_ONE
    assert bodies.find(PEER, ask(GET, encode_uint(999), 1), 0) is not None


def test_bodies_of_one_peer_are_bounded_in_bytes(bodies: Bodies) -> None:
    for number in range(50):
        assert bodies.keep(PEER, ask(GET, encode_uint(number)), 69, [], bytes(400_000), 0)
        assert bodies.size <= limits.BODY_BYTES_OF_ONE
    assert len(bodies) == 2
    assert not bodies.keep(PEER, ask(GET, b"large"), 69, [], bytes(limits.BODY_BYTES_OF_ONE), 0)
    assert bodies.find(PEER, ask(GET, b"large", 1), 0) is None


def test_sessions_of_one_device_share_its_bounds(bodies: Bodies) -> None:
    sessions = [Session("device") for _ in range(4)]
    for session in sessions:
        assert bodies.keep(session, ask(GET), 69, [], bytes(400_000), 0)
        assert bodies.size <= limits.BODY_BYTES_OF_ONE
    assert [bodies.find(session, ask(GET, block=1), 0) is not None for session in sessions] == [
        False,
        False,
        True,
        True,
    ]
    for number in range(limits.BODIES_OF_ONE):
        for session in sessions:
            assert bodies.keep(session, ask(GET, encode_uint(number)), 69, [], bytes(2000), 0)
            assert len(bodies) <= limits.BODIES_OF_ONE


@pytest.mark.pure("it changes a constant")
def test_bodies_of_all_peers_are_bounded_and_the_stalest_goes(bodies: Bodies, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_BYTES", 100_000)
    peers = [Peer() for _ in range(100)]
    for peer in peers:
        bodies.keep(peer, ask(GET), 69, [], bytes(9000), 0)
        assert bodies.find(peers[0], ask(GET, block=1), 0) is not None  # in use
        assert bodies.size <= 100_000
    assert bodies.find(peers[1], ask(GET, block=1), 0) is None
    assert bodies.find(peers[99], ask(GET, block=1), 0) is not None
