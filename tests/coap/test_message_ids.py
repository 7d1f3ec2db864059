"""Message ids of our own: none twice within EXCHANGE_LIFETIME (RFC 7252 section 4.4), whatever the pace."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.coap import Peer
from gateway.coap.message_ids import MessageIds
from tests.coap.strategies import unhurried
from tests.coap.support import new_layer, post, sent

LIFETIME_S = 247.0


@pytest.mark.parametrize("first", [0, 1, 4095, 4096, 40_000, 65_535])
def test_each_id_is_there_once(first: int) -> None:
    ids = MessageIds(first)
    taken = []
    while (message_id := ids.take(0.0, LIFETIME_S)) >= 0:
        taken.append(message_id)
    assert taken[0] == first
    assert len(taken) == len(set(taken))
    # What is given up for counting in blocks is a sixteenth at most.
    assert len(taken) >= 65_536 - 4096
    assert ids.take(LIFETIME_S - 1, LIFETIME_S) == -1
    assert ids.free_at(LIFETIME_S) == LIFETIME_S
    assert ids.take(LIFETIME_S, LIFETIME_S) == (taken[-1] + 1) % 65_536


@unhurried
@given(st.integers(0, 65_535), st.lists(st.tuples(st.integers(1, 9000), st.floats(0, 300)), max_size=30))
def test_no_id_comes_back_within_its_lifetime(first: int, bursts: list[tuple[int, float]]) -> None:
    ids, now, used_at = MessageIds(first), 0.0, dict[int, float]()
    for count, pause in bursts:
        for _ in range(count):
            message_id = ids.take(now, LIFETIME_S)
            if message_id < 0:
                assert ids.free_at(LIFETIME_S) > now
                break
            assert now - used_at.get(message_id, -LIFETIME_S) >= LIFETIME_S
            used_at[message_id] = now
        now += pause


def test_a_slow_peer_never_waits() -> None:
    # 65,536 messages in 247 seconds are 265 a second.
    ids, now = MessageIds(7), 0.0
    for _ in range(150_000):
        now += 1 / 200
        assert ids.take(now, LIFETIME_S) >= 0


def test_nothing_is_free_before_anything_was_taken() -> None:
    assert MessageIds(3).free_at(LIFETIME_S) == 0.0


def test_a_flood_of_non_requests_gets_no_answer_with_an_id_in_use() -> None:
    layer, peer = new_layer(), Peer()
    used = set()
    silent = 0
    for number in range(70_000):
        request = layer.receive(peer, post(number & 0xFFFF, non=True), 0.001 * number)
        if request is None:
            continue
        answer = layer.reply(peer, request, 0x44, [], b"", 0.001 * number)
        if answer:
            assert answer[2:4] not in used
            used.add(answer[2:4])
        else:
            silent += 1
    assert silent > 1000
    assert layer.counters.exhausted == silent
    # A confirmable request is answered under its own id, and is answered all the same.
    request = layer.receive(peer, post(7), 70.0)
    assert request is not None
    assert layer.reply(peer, request, 0x44, [], b"", 70.0)[:2].hex() == "6144"
    # So is a deferred one, until the answer needs an id of its own.
    for message_id, acknowledged in ((8, False), (9, True)):
        request = layer.receive(peer, post(message_id), 71.0)
        assert request is not None
        layer.defer(peer, request, 71.0)
        if acknowledged:
            layer.handle_timer(72.0)
            assert sent(layer, peer) == ["60000009"]
        assert (layer.reply(peer, request, 0x44, [], b"", 72.0) == b"") is acknowledged
    assert peer.exchanges is None
