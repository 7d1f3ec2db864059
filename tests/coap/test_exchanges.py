"""Separate responses and their timers (RFC 7252 sections 4.2 and 5.2.2), on a virtual clock."""

import pytest

from gateway.coap import Message, MessageLayer, Peer, TransmissionParameters
from tests.coap.support import fixed_random, new_layer, post, sent

CONTENT = 0x45
PROCESSING_DELAY_S = 0.5


def deferred(layer: MessageLayer, peer: Peer, message_id: int, now: float = 0.0, *, non: bool = False) -> Message:
    request = layer.receive(peer, post(message_id, non=non), now)
    assert request is not None
    layer.defer(peer, request, now)
    return request


def open_exchanges(peer: Peer) -> int:
    return len(peer.exchanges or ())


def timer_after_sweeps(layer: MessageLayer) -> float | None:
    """The next timer, unless it only looks for old message ids (a quarter of EXCHANGE_LIFETIME and later)."""
    deadline = layer.next_timer()
    return None if deadline is None or deadline % (247 / 4) == 0 else deadline


def test_an_answer_within_the_processing_delay_is_piggybacked() -> None:
    layer, peer = new_layer(), Peer()
    request = deferred(layer, peer, 1)
    assert layer.next_timer() == PROCESSING_DELAY_S
    answer = layer.reply(peer, request, CONTENT, [], b"x", 0.4)
    assert answer.hex() == "61450001aaff78"
    layer.handle_timer(10.0)
    assert sent(layer, peer) == []
    assert peer.exchanges is None
    # And it is what a repetition gets.
    assert layer.receive(peer, post(1), 11.0) is None
    assert sent(layer, peer) == [answer.hex()]
    assert layer.counters.empty_acks == 0


def test_appendix_a_separate_response() -> None:
    # RFC 7252 figure 20: empty ACK, CON 2.05 with a message id of the server's own, ACK.
    layer, peer = MessageLayer(random=lambda count: bytes.fromhex("ad7b")[:count]), Peer()
    request = layer.receive(peer, bytes.fromhex("41017d3853bb") + b"temperature", 0.0)
    assert request is not None
    layer.defer(peer, request, 0.0)
    layer.handle_timer(PROCESSING_DELAY_S - 0.01)
    assert sent(layer, peer) == []
    layer.handle_timer(PROCESSING_DELAY_S)
    assert sent(layer, peer) == ["60007d38"]
    assert timer_after_sweeps(layer) is None
    answer = layer.reply(peer, request, CONTENT, [], b"22.3 C", 5.0)
    assert answer == bytes.fromhex("4145ad7b53ff") + b"22.3 C"
    assert layer.receive(peer, bytes.fromhex("6000ad7b"), 5.2) is None
    assert peer.exchanges is None
    assert timer_after_sweeps(layer) is None
    assert sent(layer, peer) == []
    assert layer.counters.retransmissions == 0


def test_a_request_repeated_after_the_empty_ack_gets_the_empty_ack() -> None:
    layer, peer = new_layer(), Peer()
    request = deferred(layer, peer, 1)
    layer.receive(peer, post(1), 0.1)
    assert sent(layer, peer) == []
    layer.handle_timer(PROCESSING_DELAY_S)
    assert sent(layer, peer) == ["60000001"]
    assert layer.receive(peer, post(1), 2.0) is None
    assert sent(layer, peer) == ["60000001"]
    layer.reply(peer, request, CONTENT, [], b"", 3.0)
    assert layer.receive(peer, post(1), 4.0) is None
    assert sent(layer, peer) == ["60000001"]
    layer.receive(peer, bytes.fromhex("60000000"), 4.0)
    assert layer.receive(peer, post(1), 5.0) is None
    assert sent(layer, peer) == ["60000001"]
    assert layer.counters.requests == 1


# Section 4.2: the first wait is ACK_TIMEOUT (2 s) times 1 to 1.5, each later one twice as long, four repetitions.
@pytest.mark.parametrize(
    ("random_byte", "repeated_at", "gives_up_at"),
    [(0x00, [2.0, 6.0, 14.0, 30.0], 62.0), (0xFF, [3.0, 9.0, 21.0, 45.0], 93.0)],
)
def test_back_off(random_byte: int, repeated_at: list[float], gives_up_at: float) -> None:
    layer, peer = new_layer(random_byte), Peer()
    request = deferred(layer, peer, 1, -10.0)
    layer.handle_timer(-5.0)
    assert sent(layer, peer) == ["60000001"]
    answer = layer.reply(peer, request, CONTENT, [], b"x", 0.0)
    assert answer[0] == 0x41
    seen = []
    for tick in range(1, 400):
        now = tick / 4
        layer.handle_timer(now)
        for data in sent(layer, peer):
            assert data == answer.hex()
            seen.append(now)
        assert (peer.exchanges is None) == (now >= gives_up_at)
    assert seen == repeated_at
    assert (layer.counters.retransmissions, layer.counters.gave_up) == (4, 1)


@pytest.mark.parametrize(("kind", "resets"), [("6000", 0), ("7000", 1)])
@pytest.mark.parametrize("after", [0.1, 2.5, 7.0, 61.0])
def test_ack_and_reset_stop_the_back_off(kind: str, resets: int, after: float) -> None:
    layer, peer = new_layer(), Peer()
    request = deferred(layer, peer, 1, -10.0)
    layer.handle_timer(-5.0)
    answer = layer.reply(peer, request, CONTENT, [], b"x", 0.0)
    layer.handle_timer(after)
    sent(layer, peer)
    layer.receive(peer, bytes.fromhex(kind) + answer[2:4], after)
    layer.handle_timer(200.0)
    assert sent(layer, peer) == []
    assert layer.counters.gave_up == 0
    assert layer.counters.resets_received == resets
    # A second one finds nothing.
    layer.receive(peer, bytes.fromhex(kind) + answer[2:4], 200.0)
    assert layer.counters.unexpected == 1
    assert layer.counters.resets_received == resets


@pytest.mark.parametrize("stray", ["60000101", "70000101", "60450100", "60000001"])
def test_only_the_right_message_stops_the_back_off(stray: str) -> None:
    # Another message id, an ACK with a response inside, and the id of the client's own request; ours is 0x0000.
    layer, peer = new_layer(), Peer()
    request = deferred(layer, peer, 1, -10.0)
    layer.handle_timer(-5.0)
    answer = layer.reply(peer, request, CONTENT, [], b"x", 0.0)
    assert sent(layer, peer) == ["60000001"]
    layer.receive(peer, bytes.fromhex(stray), 0.5)
    layer.handle_timer(2.0)
    assert sent(layer, peer) == [answer.hex()]


def test_an_ack_from_another_peer_stops_nothing() -> None:
    layer, peer, stranger = new_layer(), Peer(), Peer()
    request = deferred(layer, peer, 1, -10.0)
    layer.handle_timer(-5.0)
    answer = layer.reply(peer, request, CONTENT, [], b"x", 0.0)
    sent(layer, peer)
    layer.receive(stranger, bytes.fromhex("6000") + answer[2:4], 0.5)
    layer.handle_timer(2.0)
    assert sent(layer, peer) == [answer.hex()]


def test_a_deferred_non_gets_a_non_and_no_ack() -> None:
    layer, peer = new_layer(), Peer()
    request = deferred(layer, peer, 1, non=True)
    layer.handle_timer(30.0)
    assert sent(layer, peer) == []
    assert layer.receive(peer, post(1, non=True), 31.0) is None
    assert layer.reply(peer, request, CONTENT, [], b"x", 32.0).hex() == "51450000aaff78"
    assert layer.receive(peer, post(1, non=True), 33.0) is None
    assert sent(layer, peer) == []
    assert peer.exchanges is None


def test_a_second_answer_to_a_deferred_request_does_nothing() -> None:
    layer, peer = new_layer(), Peer()
    request = deferred(layer, peer, 1)
    layer.handle_timer(1.0)
    assert layer.reply(peer, request, CONTENT, [], b"x", 2.0) != b""
    assert layer.reply(peer, request, 0xA3, [], b"", 3.0) == b""
    assert layer.counters.separate_responses == 1


def test_deferring_twice_or_too_late_does_nothing() -> None:
    layer, peer = new_layer(), Peer()
    request = deferred(layer, peer, 1)
    layer.defer(peer, request, 0.1)
    assert open_exchanges(peer) == 1
    layer.reply(peer, request, CONTENT, [], b"", 0.2)
    layer.defer(peer, request, 0.3)
    assert open_exchanges(peer) == 0
    layer.forget(peer)
    layer.defer(peer, request, 0.4)
    assert open_exchanges(peer) == 0


def test_two_deferred_requests_are_told_apart() -> None:
    layer, peer = new_layer(), Peer()
    first = deferred(layer, peer, 1)
    second = deferred(layer, peer, 2, 0.3)
    layer.handle_timer(0.6)
    assert sent(layer, peer) == ["60000001"]
    assert layer.reply(peer, second, CONTENT, [], b"2", 0.7).hex() == "61450002aaff32"
    separate = layer.reply(peer, first, CONTENT, [], b"1", 0.7)
    assert separate.hex() == "41450000aaff31"
    layer.receive(peer, bytes.fromhex("60000000"), 0.8)
    assert peer.exchanges is None


def test_a_request_without_processing_delay_is_acknowledged_by_the_next_timer() -> None:
    parameters = TransmissionParameters(processing_delay_s=0)
    layer, peer = MessageLayer(random=fixed_random(0), parameters=parameters), Peer()
    deferred(layer, peer, 1, 5.0)
    assert layer.next_timer() == 5.0
    layer.handle_timer(5.0)
    assert sent(layer, peer) == ["60000001"]


# The session ends.


@pytest.mark.parametrize("stage", ["received", "deferred", "acknowledged", "sent"])
def test_forget(stage: str) -> None:
    layer, peer = new_layer(), Peer()
    request = layer.receive(peer, post(1), 0.0)
    assert request is not None
    if stage != "received":
        layer.defer(peer, request, 0.0)
    if stage in ("acknowledged", "sent"):
        layer.handle_timer(1.0)
    if stage == "sent":
        layer.reply(peer, request, CONTENT, [], b"", 1.0)
    layer.forget(peer)
    assert layer.next_timer() is None
    assert (peer.ring, peer.exchanges) == (None, None)
    layer.handle_timer(100.0)
    assert layer.reply(peer, request, CONTENT, [], b"", 100.0) == b""
    assert sent(layer, peer) == []


def test_forget_takes_only_the_datagrams_of_that_peer() -> None:
    layer, peer, other = new_layer(), Peer(), Peer()
    for each in (peer, other):
        layer.receive(each, bytes.fromhex("40001234"), 0.0)
    layer.forget(peer)
    layer.forget(Peer())
    assert sent(layer, other) == ["70001234"]


def test_an_answer_after_the_ring_is_gone_still_goes_out() -> None:
    # The handler of a NON took longer than EXCHANGE_LIFETIME.
    layer, peer = new_layer(), Peer()
    request = deferred(layer, peer, 1, non=True)
    while (deadline := layer.next_timer()) is not None:
        layer.handle_timer(deadline)
    assert peer.ring is None
    assert layer.reply(peer, request, CONTENT, [], b"", 1000.0).hex() == "51450000aa"


@pytest.mark.parametrize(
    "wrong",
    [
        {"ack_timeout_s": 0},
        {"ack_random_factor": 0.9},
        {"max_retransmit": -1},
        {"max_latency_s": -1},
        {"processing_delay_s": -0.1},
    ],
)
def test_parameters_that_would_break_the_back_off(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        TransmissionParameters(**wrong)  # type: ignore[arg-type]


def test_derived_parameters() -> None:
    # RFC 7252 section 4.8.2, table 3.
    parameters = TransmissionParameters()
    assert parameters.max_transmit_span_s == 45
    assert parameters.max_transmit_wait_s == 93
    assert parameters.exchange_lifetime_s == 247
    assert parameters.non_lifetime_s == 145


class TestWithheld:
    """Requests whose answer nobody wants (RFC 7967 section 2)."""

    def test_a_confirmable_request_is_acknowledged_and_a_repetition_too(self) -> None:
        layer, peer = new_layer(), Peer()
        request = layer.receive(peer, post(1), 0.0)
        assert request is not None
        assert layer.withhold(peer, request, 0.0).hex() == "60000001"
        assert layer.receive(peer, post(1), 1.0) is None
        assert sent(layer, peer) == ["60000001"]
        # It is over: nothing more is sent for it.
        assert layer.reply(peer, request, 0x44, [], b"", 1.0) == b""
        assert layer.withhold(peer, request, 0.0) == b""

    def test_a_non_confirmable_request_gets_nothing(self) -> None:
        layer, peer = new_layer(), Peer()
        request = layer.receive(peer, post(1, non=True), 0.0)
        assert request is not None
        assert layer.withhold(peer, request, 0.0) == b""
        assert layer.receive(peer, post(1, non=True), 1.0) is None
        assert sent(layer, peer) == []

    def test_a_deferred_request_is_acknowledged_once(self) -> None:
        layer, peer = new_layer(), Peer()
        request = layer.receive(peer, post(1), 0.0)
        assert request is not None
        layer.defer(peer, request, 0.0)
        assert layer.withhold(peer, request, 0.0).hex() == "60000001"
        assert peer.exchanges is None
        layer.handle_timer(200.0)
        assert sent(layer, peer) == []
        assert layer.receive(peer, post(1), 200.0) is None
        assert sent(layer, peer) == ["60000001"]

    def test_a_request_that_was_acknowledged_meanwhile_gets_nothing_more(self) -> None:
        layer, peer = new_layer(), Peer()
        request = layer.receive(peer, post(1), 0.0)
        assert request is not None
        layer.defer(peer, request, 0.0)
        layer.handle_timer(0.5)
        assert sent(layer, peer) == ["60000001"]
        assert layer.withhold(peer, request, 0.0) == b""
        assert peer.exchanges is None
        layer.handle_timer(200.0)
        assert sent(layer, peer) == []

    def test_a_deferred_non_gets_nothing(self) -> None:
        layer, peer = new_layer(), Peer()
        request = layer.receive(peer, post(1, non=True), 0.0)
        assert request is not None
        layer.defer(peer, request, 0.0)
        assert layer.withhold(peer, request, 0.0) == b""
        assert peer.exchanges is None

    def test_of_a_peer_that_is_gone(self) -> None:
        layer, peer = new_layer(), Peer()
        request = layer.receive(peer, post(1), 0.0)
        assert request is not None
        layer.forget(peer)
        assert layer.withhold(peer, request, 0.0) == b""
