"""One peer or many do what they can to fill the memory of the message layer."""

from gateway.coap import MessageLayer, Peer, limits
from gateway.coap.timers import Timed, TimerQueue
from tests.coap.support import fixed_random, new_layer, post, sent

CHANGED = 0x44


def ring_bytes(peer: Peer) -> int:
    return sum(len(response) for _, response in (peer.ring or {}).values())


def test_requests_of_one_peer() -> None:
    layer, peer = new_layer(), Peer()
    for message_id in range(10_000):
        request = layer.receive(peer, post(message_id), message_id / 1000)
        assert request is not None
        layer.reply(peer, request, CHANGED, [], b"", message_id / 1000)
        assert peer.ring is not None
        assert len(peer.ring) <= limits.DEDUPLICATION_ENTRIES
    # The newest ones are still known.
    for message_id in range(10_000 - limits.DEDUPLICATION_ENTRIES, 10_000):
        assert layer.receive(peer, post(message_id), 10.0) is None
    assert len(sent(layer, peer)) == limits.DEDUPLICATION_ENTRIES


def test_requests_that_the_layer_refuses() -> None:
    layer, peer = new_layer(), Peer()
    for message_id in range(1000):
        layer.receive(peer, post(message_id, non=message_id % 2 == 1, rest=bytes.fromhex("d10e08")), 0.0)
        sent(layer, peer)
        assert peer.ring is not None
        assert len(peer.ring) <= limits.DEDUPLICATION_ENTRIES


def test_large_responses() -> None:
    layer, peer = new_layer(), Peer()
    payload = bytes(1200)
    for message_id in range(1000):
        request = layer.receive(peer, post(message_id), 0.0)
        assert request is not None
        answer = layer.reply(peer, request, 0x45, [], payload, 0.0)
        assert ring_bytes(peer) <= limits.LARGE_RESPONSES_BYTES
        # The newest one is always there to be repeated.
        assert layer.receive(peer, post(message_id), 0.0) is None
        assert sent(layer, peer) == [answer.hex()]


def test_a_response_larger_than_the_limit_is_kept_alone() -> None:
    layer, peer = new_layer(), Peer()
    for message_id in range(4):
        request = layer.receive(peer, post(message_id), 0.0)
        assert request is not None
        layer.reply(peer, request, 0x45, [], bytes(3 * limits.LARGE_RESPONSES_BYTES), 0.0)
        assert list(peer.ring or ()) == [message_id]


def test_large_and_small_responses_together() -> None:
    layer, peer = new_layer(), Peer()
    for message_id in range(1000):
        request = layer.receive(peer, post(message_id), 0.0)
        assert request is not None
        layer.reply(peer, request, 0x45, [], bytes(100 if message_id % 3 else 1000), 0.0)
        small = limits.DEDUPLICATION_ENTRIES * limits.LARGE_RESPONSE_BYTES
        assert ring_bytes(peer) <= limits.LARGE_RESPONSES_BYTES + small


def test_large_deferred_responses() -> None:
    layer, peer = new_layer(), Peer()
    for message_id in range(100):
        request = layer.receive(peer, post(message_id), 0.0)
        assert request is not None
        layer.defer(peer, request, 0.0)
        layer.reply(peer, request, 0x45, [], bytes(1200), 0.0)
        assert ring_bytes(peer) <= limits.LARGE_RESPONSES_BYTES


def test_deferred_requests_of_one_peer() -> None:
    layer, peer = new_layer(), Peer()
    first = None
    for message_id in range(1000):
        non = message_id % 2 == 1
        request = layer.receive(peer, post(message_id, non=non), 0.0)
        if message_id < limits.OPEN_EXCHANGES:
            assert request is not None
            layer.defer(peer, request, 0.0)
            first = request if first is None else first
        else:
            # RFC 7252 section 5.9.3.4: 5.03 with Max-Age (14 = 13 + 1).
            assert request is None
            (answer,) = sent(layer, peer)
            assert answer[:4] == ("51a3" if non else "61a3")
            assert answer.endswith("aad10105")
        assert len(peer.exchanges or ()) <= limits.OPEN_EXCHANGES
    assert layer.counters.refused == 1000 - limits.OPEN_EXCHANGES
    # The ring has long lost the first one: a repetition still does not run it again ...
    assert first is not None
    assert peer.ring is not None
    assert first.message_id not in peer.ring
    assert layer.receive(peer, post(0), 0.1) is None
    assert layer.receive(peer, post(1, non=True), 0.1) is None
    assert sent(layer, peer) == []
    # ... not after its empty ACK either ...
    layer.handle_timer(1.0)
    assert "60000000" in sent(layer, peer)
    assert layer.receive(peer, post(0), 1.1) is None
    assert sent(layer, peer) == ["60000000"]
    # ... and its answer goes out, after which there is room again.
    first_answer = layer.reply(peer, first, CHANGED, [], b"", 2.0)
    assert first_answer[0] == 0x41
    layer.receive(peer, bytes.fromhex("6000") + first_answer[2:4], 2.1)
    assert layer.receive(peer, post(5000), 2.2) is not None


def test_an_evicted_request_is_entered_again_with_its_answer() -> None:
    layer, peer = new_layer(), Peer()
    request = layer.receive(peer, post(1), 0.0)
    assert request is not None
    layer.defer(peer, request, 0.0)
    for message_id in range(100, 100 + limits.DEDUPLICATION_ENTRIES):
        assert layer.receive(peer, post(message_id), 0.1) is not None
    answer = layer.reply(peer, request, CHANGED, [], b"", 0.2)
    assert answer[0] == 0x61
    assert layer.receive(peer, post(1), 0.3) is None
    assert sent(layer, peer) == [answer.hex()]


def test_a_caller_that_never_sends() -> None:
    layer, peer = new_layer(), Peer()
    for message_id in range(limits.QUEUED_DATAGRAMS + 100):
        layer.receive(peer, b"\x40\x00" + message_id.to_bytes(2, "big"), 0.0)
    assert layer.counters.overflows == 100
    assert len(sent(layer, peer)) == limits.QUEUED_DATAGRAMS


def test_nothing_is_held_for_peers_that_sent_no_request() -> None:
    layer = new_layer()
    for message_id in range(1000):
        peer = Peer()
        layer.receive(peer, b"\x40\x00" + message_id.to_bytes(2, "big"), 0.0)
        layer.receive(peer, b"\x40\xff", 0.0)
        layer.receive(peer, b"\x60\x00\x00\x01", 0.0)
        assert (peer.ring, peer.exchanges) == (None, None)
    assert layer.next_timer() is None


def test_forgotten_peers_leave_nothing_behind() -> None:
    layer = new_layer()
    for _ in range(1000):
        peer = Peer()
        request = layer.receive(peer, post(1), 0.0)
        assert request is not None
        layer.defer(peer, request, 0.0)
        layer.forget(peer)
    assert layer.next_timer() is None


def test_rings_of_many_peers_go_by_themselves() -> None:
    layer, peers = MessageLayer(random=fixed_random(0)), [Peer() for _ in range(1000)]
    for count, peer in enumerate(peers):
        request = layer.receive(peer, post(1), count / 10)
        assert request is not None
        layer.reply(peer, request, CHANGED, [], b"", count / 10)
    layer.handle_timer(247.0 + 1.25 * 247)
    assert all(peer.ring is None for peer in peers)
    assert layer.next_timer() is None


# The timers, against sorting.


def test_timers_come_in_order_and_only_once() -> None:
    queue: TimerQueue[Timed] = TimerQueue()
    items = [Timed() for _ in range(50)]
    for number, item in enumerate(items):
        queue.schedule(item, float(number * 7 % 50))
    assert queue.next_deadline() == 0.0
    assert queue.pop_due(-1.0) is None
    order = [items.index(item) for item in iter(lambda: queue.pop_due(100.0), None)]
    assert order == sorted(range(50), key=lambda number: number * 7 % 50)
    assert (len(queue), queue.next_deadline()) == (0, None)


def test_a_timer_can_be_moved_and_cancelled() -> None:
    queue: TimerQueue[Timed] = TimerQueue()
    moved, cancelled = Timed(), Timed()
    queue.schedule(moved, 1.0)
    queue.schedule(cancelled, 2.0)
    queue.schedule(moved, 3.0)
    queue.cancel(cancelled)
    queue.cancel(cancelled)
    assert len(queue) == 1
    assert queue.next_deadline() == 3.0
    assert queue.pop_due(2.9) is None
    assert queue.pop_due(3.0) is moved
    assert queue.pop_due(3.0) is None


def test_cancelled_timers_do_not_pile_up() -> None:
    queue: TimerQueue[Timed] = TimerQueue()
    kept = Timed()
    queue.schedule(kept, 5.0)
    for number in range(10_000):
        item = Timed()
        queue.schedule(item, 100.0 + number)
        queue.cancel(item)
        assert len(queue._heap) <= 66
    assert queue.pop_due(1000.0) is kept
    assert queue.pop_due(1000.0) is None
