"""The message layer under arbitrary datagrams, and both ends over a network that loses, repeats and reorders."""

import heapq
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.coap import Client, Message, MessageLayer, Outcome, Peer, limits
from tests.coap.strategies import datagrams, unhurried
from tests.coap.support import fixed_random

CHANGED = 0x44

# Small message ids, so that they meet again.
colliding = st.builds(
    lambda data, message_id: data[:2] + bytes([0, message_id]) + data[4:] if len(data) >= 4 else data,
    datagrams,
    st.integers(0, 5),
)
steps = st.lists(
    st.tuples(colliding, st.sampled_from([0.0, 0.3, 2.5, 30.0, 150.0, 300.0]), st.sampled_from("rrdni")), max_size=60
)


@unhurried
@given(steps)
def test_the_layer_never_raises_and_stays_small(script: list[tuple[bytes, float, str]]) -> None:
    layer, peer, now = MessageLayer(random=fixed_random(7)), Peer(), 0.0
    deferred: list[Message] = []
    for data, pause, action in script:
        now += pause
        deadline = layer.next_timer()
        if deadline is not None and deadline <= now:
            layer.handle_timer(now)
            after = layer.next_timer()
            assert after is None or after > now
        request = layer.receive(peer, data, now)
        if request is not None:
            assert 1 <= request.code <= 7
            assert request.type <= 1
            if action == "r":
                assert layer.reply(peer, request, CHANGED, [], b"", now)[1] == CHANGED
            elif action == "d":
                layer.defer(peer, request, now)
                deferred.append(request)
        if deferred and action == "n":
            layer.reply(peer, deferred.pop(), CHANGED, [], b"late", now)
        for to, datagram in layer.datagrams_to_send():
            assert to is peer
            assert len(datagram) >= 4
        assert len(peer.ring or ()) <= limits.DEDUPLICATION_ENTRIES
        assert len(peer.exchanges or ()) <= limits.OPEN_EXCHANGES
    layer.forget(peer)
    assert layer.next_timer() is None


@unhurried
@given(steps)
def test_no_request_is_handed_out_twice(script: list[tuple[bytes, float, str]]) -> None:
    """The model: a message id that was handed out is not handed out again before its lifetime is over."""
    layer, peer, now = MessageLayer(random=fixed_random(7)), Peer(), 0.0
    handed_out: dict[int, float] = {}
    for data, pause, action in script:
        now += pause
        layer.handle_timer(now)
        request = layer.receive(peer, data, now)
        if request is None:
            continue
        if request.message_id in handed_out:
            assert now - handed_out[request.message_id] >= (247 if request.type == 0 else 145)
        handed_out[request.message_id] = now
        if action == "r":
            layer.reply(peer, request, CHANGED, [], b"", now)
        elif action == "d":
            layer.defer(peer, request, now)


@unhurried
@given(st.lists(st.tuples(datagrams, st.sampled_from([0.0, 1.0, 5.0, 100.0])), max_size=40))
def test_the_client_never_raises(script: list[tuple[bytes, float]]) -> None:
    # Message id 0, tokens 00000000 and 00000001, so that some of the datagrams match.
    client, now = Client(random=bytes), 0.0
    exchanges = [client.request(1, [], b"", now), client.request(2, [], b"", now, confirmable=False)]
    ended = []
    for data, pause in script:
        now += pause
        client.handle_timer(now)
        client.receive(data, now)
        ended += client.finished()
        client.datagrams_to_send()
    while (deadline := client.next_timer()) is not None:
        client.handle_timer(deadline)
        ended += client.finished()
    assert len(ended) == len(exchanges)
    assert all(exchange.outcome is not None for exchange in exchanges)


class Network:
    """Two ends and a clock; every datagram may be lost, doubled and delayed."""

    def __init__(self, seed: int, loss: float) -> None:
        self.random = Random(seed)
        self.loss = loss
        self.now = 0.0
        self.layer = MessageLayer(random=self.random.randbytes)
        self.peer = Peer()
        self.client = Client(random=self.random.randbytes)
        self.in_flight: list[tuple[float, int, bool, bytes]] = []
        self.sequence = 0
        self.handled: list[bytes] = []
        self.working: list[tuple[float, Message]] = []

    def send(self, to_server: bool, data: bytes) -> None:
        if data and self.random.random() >= self.loss:
            for _ in range(1 + (self.random.random() < 0.2)):
                self.sequence += 1
                delay = self.random.uniform(0.01, 1.5)
                heapq.heappush(self.in_flight, (self.now + delay, self.sequence, to_server, data))

    def deliver(self, to_server: bool, data: bytes) -> None:
        if not to_server:
            self.client.receive(data, self.now)
            return
        request = self.layer.receive(self.peer, data, self.now)
        if request is None:
            return
        self.handled.append(request.payload)
        if self.random.random() < 0.5:
            self.send(False, self.layer.reply(self.peer, request, CHANGED, [], request.payload, self.now))
        else:
            self.layer.defer(self.peer, request, self.now)
            self.working.append((self.now + self.random.uniform(0, 4), request))

    def turn(self) -> None:
        """Go to the next thing that happens, and let it."""
        moments = [self.layer.next_timer(), self.client.next_timer()]
        moments += [at for at, *_ in self.in_flight[:1]] + [at for at, _ in self.working]
        self.now = max(self.now, min(at for at in moments if at is not None))
        while self.in_flight and self.in_flight[0][0] <= self.now:
            _, _, to_server, data = heapq.heappop(self.in_flight)
            self.deliver(to_server, data)
        for item in [item for item in self.working if item[0] <= self.now]:
            self.working.remove(item)
            self.send(False, self.layer.reply(self.peer, item[1], CHANGED, [], item[1].payload, self.now))
        self.layer.handle_timer(self.now)
        self.client.handle_timer(self.now)
        for _, data in self.layer.datagrams_to_send():
            self.send(False, data)
        for data in self.client.datagrams_to_send():
            self.send(True, data)


@pytest.mark.parametrize(("loss", "at_least"), [(0.0, 300), (0.2, 295), (0.5, 200)])
def test_exactly_once_over_a_bad_network(loss: float, at_least: int) -> None:
    """No request runs twice; whatever was answered ran; a fifth of loss costs hardly any (five tries each way)."""
    answered = 0
    for seed in range(20):
        network = Network(seed, loss)
        for number in range(15):
            exchange = network.client.request(2, [(11, b"t")], b"%d" % number, network.now)
            while exchange.outcome is None:
                network.turn()
            if exchange.outcome is Outcome.RESPONSE:
                answered += 1
                assert exchange.response is not None
                assert exchange.response.payload == b"%d" % number
                assert exchange.request.payload in network.handled
        assert len(network.handled) == len(set(network.handled))
    assert answered >= at_least
