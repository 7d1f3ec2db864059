"""What sessions cost that have talked and fell silent: nothing beside the ring, and that goes (virtual clock)."""

import gc
import tracemalloc

import pytest

from gateway.coap import MessageLayer, Peer, limits
from tests.coap.support import new_layer, post

REQUESTS = 100
ENTRY_BYTES = 320
"""Of the ring, at most: a place in a dict, a tuple, a float, a small answer."""


def ask_all(layer: MessageLayer, peers: list[Peer], message_id: int, now: float) -> None:
    data = post(message_id)
    for peer in peers:
        request = layer.receive(peer, data, now)
        assert request is not None
        assert layer.reply(peer, request, 0x44, [], b"", now)


def held() -> int:
    """Bytes that the engine has allocated and not freed."""
    gc.collect()
    ours = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/gateway/coap/*")])
    return sum(each.size for each in ours.traces)


def measure(sessions: int) -> tuple[float, float]:
    """Bytes a session with its ring, and after the ring's lifetime, beside what a session has from the start."""
    layer = new_layer()
    peers = [Peer() for _ in range(sessions)]
    before = held()
    for number in range(REQUESTS):
        ask_all(layer, peers, number, number * 0.1)
    with_rings = held()
    assert all(peer.ring is not None and len(peer.ring) == limits.DEDUPLICATION_ENTRIES for peer in peers)
    while (due := layer.next_timer()) is not None:
        # EXCHANGE_LIFETIME after the last request, and a quarter for looking only now and then.
        assert due <= REQUESTS * 0.1 + 247 * 1.25
        layer.handle_timer(due)
    assert all((peer.ring, peer.exchanges, peer.ids, peer.link) == (None, None, None, None) for peer in peers)
    return (with_rings - before) / sessions, (held() - before) / sessions


def check(sessions: int) -> None:
    tracemalloc.start()
    try:
        measure(2)  # what is made once, by coverage too, which remembers the lines that it has seen
        with_rings, after = measure(sessions)
    finally:
        tracemalloc.stop()
    assert with_rings < limits.DEDUPLICATION_ENTRIES * ENTRY_BYTES
    assert after < 8


@pytest.mark.pure("tracemalloc sees no lines of it")
def test_a_thousand_sessions_after_a_hundred_requests_each() -> None:
    check(1000)


@pytest.mark.long
def test_ten_thousand_sessions_after_a_hundred_requests_each() -> None:
    check(10_000)
