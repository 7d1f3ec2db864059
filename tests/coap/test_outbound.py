"""Requests of ours to a peer (RFC 7252 sections 4.2, 4.7, 5.2, 5.3), on a virtual clock; every datagram by hand."""

import pytest

from gateway.coap import (
    MessageLayer,
    NotificationReceived,
    OutboundFull,
    Outcome,
    OutgoingRequest,
    Peer,
    PeerHeard,
    RequestEnded,
    TransmissionParameters,
    limits,
)
from tests.coap.support import fixed_random, new_layer, post, sent

GET, POST = 1, 2
PATH = [(11, b"a")]


def ask(layer: MessageLayer, peer: Peer, now: float = 0.0, *, within_s: float = 120.0) -> OutgoingRequest:
    return layer.outbound.request(peer, GET, PATH, b"", now, within_s=within_s)


def observe(layer: MessageLayer, peer: Peer, now: float = 0.0) -> OutgoingRequest:
    return layer.outbound.request(peer, GET, [(6, b""), *PATH], b"", now, within_s=30.0, observing=True)


def ended(layer: MessageLayer) -> list[tuple[OutgoingRequest, Outcome | None]]:
    found = []
    while (event := layer.next_event()) is not None:
        assert isinstance(event, RequestEnded)
        found.append((event.request, event.request.outcome))
    return found


def run_to(layer: MessageLayer, until: float) -> None:
    while (due := layer.next_timer()) is not None and due <= until:
        layer.handle_timer(due)


def test_piggy_backed_response() -> None:
    layer, peer = new_layer(), Peer()
    request = ask(layer, peer)
    # CON GET /a, message id 0, token 00000000.
    assert sent(layer, peer) == ["44010000" + "00000000" + "b161"]
    assert layer.receive(peer, bytes.fromhex("64450000" + "00000000" + "ff31"), 0.3) is None
    assert ended(layer) == [(request, Outcome.RESPONSE)]
    assert request.response is not None
    assert request.response.payload == b"1"
    assert sent(layer, peer) == []
    assert layer.next_timer() is None
    assert peer.link is None


def test_a_late_timer_makes_no_other_outcome() -> None:
    """Both the last wait and the caller's time are over when it fires: that nobody acknowledged says more."""
    layer = MessageLayer(random=fixed_random(0), parameters=TransmissionParameters(max_retransmit=1))
    peer = Peer()
    request = ask(layer, peer, within_s=9.0)
    layer.handle_timer(2.0)  # the repetition; the last wait ends at 6 s
    layer.handle_timer(9.5)
    assert ended(layer) == [(request, Outcome.UNACKNOWLEDGED)]
    # In the midst of the last wait it is the caller's time that ends it.
    request = ask(layer, peer, 10.0, within_s=3.0)
    layer.handle_timer(12.0)
    layer.handle_timer(13.0)
    assert ended(layer) == [(request, Outcome.UNANSWERED)]
    # And an acknowledged one has no last wait.
    request = ask(layer, peer, 20.0, within_s=20.0)
    layer.handle_timer(22.0)
    layer.receive(peer, bytes.fromhex(f"6000{request.message_id:04x}"), 23.0)
    layer.handle_timer(40.0)
    assert ended(layer) == [(request, Outcome.UNANSWERED)]


def test_separate_response_is_acknowledged_once_and_each_time() -> None:
    layer, peer = new_layer(), Peer()
    request = ask(layer, peer)
    sent(layer, peer)
    layer.receive(peer, bytes.fromhex("60000000"), 1.0)
    run_to(layer, 60.0)
    assert sent(layer, peer) == []
    assert ended(layer) == []
    for repetition in range(3):
        layer.receive(peer, bytes.fromhex("4445ad7b" + "00000000" + "ff31"), 61.0 + repetition)
        assert sent(layer, peer) == ["6000ad7b"]
    assert ended(layer) == [(request, Outcome.RESPONSE)]
    assert layer.counters.duplicates == 2


def test_a_separate_response_without_its_empty_ack_stops_the_back_off() -> None:
    # RFC 7252 section 5.2.2: the ACK was lost; the response says the same.
    layer, peer = new_layer(), Peer()
    request = ask(layer, peer)
    sent(layer, peer)
    layer.receive(peer, bytes.fromhex("5445ad7b" + "00000000"), 1.0)
    assert ended(layer) == [(request, Outcome.RESPONSE)]
    run_to(layer, 200.0)
    assert sent(layer, peer) == []
    # A NON that comes again is no response to nobody, but the same one.
    layer.receive(peer, bytes.fromhex("5445ad7b" + "00000000"), 2.0)
    assert sent(layer, peer) == []


@pytest.mark.parametrize(
    ("random_byte", "repeated_at", "gives_up_at"),
    [(0x00, [2.0, 6.0, 14.0, 30.0], 62.0), (0xFF, [3.0, 9.0, 21.0, 45.0], 93.0)],
)
def test_back_off(random_byte: int, repeated_at: list[float], gives_up_at: float) -> None:
    # Section 4.2 and 4.8: ACK_TIMEOUT (2 s) times 1 to 1.5, doubled four times.
    layer, peer = new_layer(random_byte), Peer()
    request = ask(layer, peer)
    (first,) = sent(layer, peer)
    seen = []
    while (due := layer.next_timer()) is not None:
        layer.handle_timer(due)
        for again in sent(layer, peer):
            assert again == first
            seen.append(due)
        if request.outcome is not None:
            assert due == gives_up_at
    assert seen == repeated_at
    assert ended(layer) == [(request, Outcome.UNACKNOWLEDGED)]
    assert (layer.counters.retransmissions, layer.counters.gave_up) == (4, 1)


def test_parameters_for_a_slow_link() -> None:
    slow = TransmissionParameters(ack_timeout_s=10.0, ack_random_factor=1.0, max_retransmit=1)
    layer, peer = MessageLayer(random=fixed_random(9), parameters=slow), Peer()
    request = ask(layer, peer)
    run_to(layer, 9.9)
    assert len(sent(layer, peer)) == 1
    run_to(layer, 29.9)
    assert len(sent(layer, peer)) == 1
    assert request.outcome is None
    run_to(layer, 30.0)
    assert ended(layer) == [(request, Outcome.UNACKNOWLEDGED)]


def test_reset() -> None:
    layer, peer = new_layer(), Peer()
    request = ask(layer, peer)
    layer.receive(peer, bytes.fromhex("70000000"), 0.3)
    assert ended(layer) == [(request, Outcome.RESET)]
    assert layer.counters.resets_received == 1


@pytest.mark.parametrize(
    "stray",
    [
        "60000001",  # the ACK of something else
        "70000001",
        "64450000" + "00000001",  # a piggy-backed response with another token
        "64450001" + "00000000",  # and with another message id
        "70450000",  # a RST that is not Empty
        "60010000",  # an ACK with a request in it
    ],
)
def test_what_is_no_answer(stray: str) -> None:
    layer, peer = new_layer(), Peer()
    request = ask(layer, peer)
    sent(layer, peer)
    layer.receive(peer, bytes.fromhex(stray), 0.3)
    assert sent(layer, peer) == []
    assert request.outcome is None
    layer.handle_timer(2.0)
    assert len(sent(layer, peer)) == 1
    assert layer.counters.unexpected == 1


@pytest.mark.parametrize("kind", ["4445", "5445"])
def test_a_response_to_nobody_is_reset(kind: str) -> None:
    layer, peer = new_layer(), Peer()
    layer.receive(peer, bytes.fromhex(kind + "0007" + "00000000"), 0.0)
    assert sent(layer, peer) == ["70000007"]
    ask(layer, peer)
    ask(layer, peer)  # waits for its turn, and nobody can have answered it
    sent(layer, peer)
    for token in ("00000009", "00000001"):
        layer.receive(peer, bytes.fromhex(kind + "0008" + token), 0.0)
        assert sent(layer, peer) == ["70000008"]


@pytest.mark.parametrize(("kind", "resets"), [("6445", []), ("4445", ["70000000"]), ("5445", ["70000000"])])
def test_a_response_with_an_unknown_critical_option(kind: str, resets: list[str]) -> None:
    # Section 5.4.1; option 9 is OSCORE.
    layer, peer = new_layer(), Peer()
    request = ask(layer, peer)
    sent(layer, peer)
    layer.receive(peer, bytes.fromhex(kind + "0000" + "00000000" + "90"), 0.3)
    assert ended(layer) == [(request, Outcome.REJECTED)]
    assert request.response is None
    assert sent(layer, peer) == resets


def test_one_at_a_time() -> None:
    # NSTART = 1: the second goes out when the first is acknowledged, not when it is answered.
    layer, peer = new_layer(), Peer()
    first, second, third = ask(layer, peer), ask(layer, peer), ask(layer, peer)
    assert sent(layer, peer) == ["44010000" + "00000000" + "b161"]
    layer.receive(peer, bytes.fromhex("60000000"), 0.5)
    assert sent(layer, peer) == ["44010001" + "00000001" + "b161"]
    layer.receive(peer, bytes.fromhex("70000001"), 0.6)
    assert sent(layer, peer) == ["44010002" + "00000002" + "b161"]
    layer.receive(peer, bytes.fromhex("64450002" + "00000002"), 0.7)
    layer.receive(peer, bytes.fromhex("5445aaaa" + "00000000"), 0.8)
    assert ended(layer) == [(second, Outcome.RESET), (third, Outcome.RESPONSE), (first, Outcome.RESPONSE)]
    assert peer.link is None


def test_another_number_at_a_time() -> None:
    layer, peer = MessageLayer(random=fixed_random(0), parameters=TransmissionParameters(nstart=2)), Peer()
    for _ in range(3):
        ask(layer, peer)
    assert len(sent(layer, peer)) == 2
    with pytest.raises(ValueError, match="nstart"):
        TransmissionParameters(nstart=0)


def test_an_unacknowledged_separate_response_counts() -> None:
    layer, peer = new_layer(), Peer()
    request = layer.receive(peer, post(1), 0.0)
    assert request is not None
    layer.defer(peer, request, 0.0)
    layer.handle_timer(0.5)
    assert layer.reply(peer, request, 0x45, [], b"", 1.0)[:4].hex() == "41450000"
    sent(layer, peer)
    ask(layer, peer, 1.0)
    assert sent(layer, peer) == []
    layer.receive(peer, bytes.fromhex("60000000"), 1.5)
    assert sent(layer, peer) == ["44010001" + "00000000" + "b161"]


def test_the_callers_time_is_over() -> None:
    layer, peer = new_layer(), Peer()
    unacknowledged, waiting = ask(layer, peer, within_s=5.0), ask(layer, peer, within_s=4.0)
    run_to(layer, 4.0)
    assert ended(layer) == [(waiting, Outcome.UNSENT)]
    run_to(layer, 100.0)
    assert ended(layer) == [(unacknowledged, Outcome.UNANSWERED)]
    assert len(sent(layer, peer)) == 2
    unanswered = ask(layer, peer, 100.0, within_s=5.0)
    layer.receive(peer, bytes.fromhex("60000001"), 101.0)
    run_to(layer, 104.9)
    assert unanswered.outcome is None
    run_to(layer, 105.0)
    assert ended(layer) == [(unanswered, Outcome.UNANSWERED)]
    # What comes now comes to nobody.
    sent(layer, peer)
    layer.receive(peer, bytes.fromhex("44451234" + unanswered.token.hex()), 106.0)
    assert sent(layer, peer) == ["70001234"]


def test_cancelled() -> None:
    layer, peer = new_layer(), Peer()
    first, second = ask(layer, peer), ask(layer, peer)
    sent(layer, peer)
    layer.outbound.cancel(first, 0.1)
    layer.outbound.cancel(first, 0.1)
    assert sent(layer, peer) == ["44010001" + "00000001" + "b161"]
    layer.outbound.cancel(second, 0.2)
    assert (first.outcome, second.outcome) == (Outcome.CANCELLED, Outcome.CANCELLED)
    assert (layer.next_timer(), layer.next_event(), peer.link) == (None, None, None)


def test_the_session_ends() -> None:
    layer, peer = new_layer(), Peer()
    requests = [ask(layer, peer) for _ in range(3)]
    layer.receive(peer, bytes.fromhex("60000000"), 0.1)
    layer.forget(peer)
    assert ended(layer) == [(request, Outcome.FORGOTTEN) for request in requests]
    assert (layer.next_timer(), peer.link) == (None, None)
    assert sent(layer, peer) == []


def test_how_many_may_wait() -> None:
    layer, peer = new_layer(), Peer()
    for _ in range(limits.OUTGOING_REQUESTS):
        ask(layer, peer)
    for _ in range(3):
        with pytest.raises(OutboundFull):
            ask(layer, peer)
    assert len(sent(layer, peer)) == 1
    layer.receive(peer, bytes.fromhex("64450000" + "00000000"), 0.1)
    assert ask(layer, peer).outcome is None


def test_what_cannot_be_sent() -> None:
    layer, peer = new_layer(), Peer()
    with pytest.raises(ValueError, match="not the code of a CoAP request"):
        layer.outbound.request(peer, 0x45, [], b"", 0.0, within_s=1.0)
    with pytest.raises(ValueError, match="out of range"):
        layer.outbound.request(peer, GET, [(70_000, b"")], b"", 0.0, within_s=1.0)
    fits = peer.max_message - 4 - 4 - 1
    with pytest.raises(ValueError, match="too large"):
        layer.outbound.request(peer, POST, [], bytes(fits + 1), 0.0, within_s=1.0)
    assert peer.link is None
    layer.outbound.request(peer, POST, [], bytes(fits), 0.0, within_s=1.0)
    assert len(sent(layer, peer)[0]) == 2 * peer.max_message


def test_message_ids_run_out_and_come_back() -> None:
    layer, peer = new_layer(), Peer()
    for number in range(65_536):
        request = layer.receive(peer, post(number, non=True), 0.0)
        if request is not None:
            layer.reply(peer, request, 0x44, [], b"", 0.0)
    waiting = ask(layer, peer, 1.0, within_s=1000.0)
    assert sent(layer, peer) == []
    run_to(layer, 246.9)
    assert sent(layer, peer) == []
    run_to(layer, 247.0)
    (datagram,) = sent(layer, peer)
    assert datagram.startswith("4401")
    assert waiting.outcome is None


# The peer speaks.


def test_a_watched_peer_is_heard_once() -> None:
    layer, peer = new_layer(), Peer()
    layer.outbound.watch(peer)
    assert layer.next_event() is None
    for _ in range(2):
        assert layer.receive(peer, post(1), 0.0) is None or True
    event = layer.next_event()
    assert isinstance(event, PeerHeard)
    assert event.peer is peer
    assert layer.next_event() is None
    assert peer.link is None
    # An answer of its own counts as well, and a request under way is not disturbed.
    ask(layer, peer)
    layer.outbound.watch(peer)
    layer.receive(peer, bytes.fromhex("60000000"), 0.5)
    assert isinstance(layer.next_event(), PeerHeard)
    assert peer.link is not None


# We observe a resource of the peer (RFC 7641 section 3).


def notifications(layer: MessageLayer) -> list[bytes]:
    found = []
    while (event := layer.next_event()) is not None:
        assert isinstance(event, NotificationReceived)
        found.append(event.message.payload)
    return found


def test_notifications_of_the_peer() -> None:
    layer, peer = new_layer(), Peer()
    request = observe(layer, peer)
    assert sent(layer, peer) == ["44010000" + "00000000" + "60" + "5161"]
    layer.receive(peer, bytes.fromhex("64450000" + "00000000" + "610a" + "ff31"), 0.1)
    layer.receive(peer, bytes.fromhex("54450001" + "00000000" + "610b" + "ff32"), 1.0)
    layer.receive(peer, bytes.fromhex("44450002" + "00000000" + "610c" + "ff33"), 2.0)
    assert sent(layer, peer) == ["60000002"]
    assert notifications(layer) == [b"1", b"2", b"3"]
    run_to(layer, 100_000.0)
    assert request.outcome is None
    # It ends with a response that is no notification.
    layer.receive(peer, bytes.fromhex("54840003" + "00000000"), 100_000.0)
    assert ended(layer) == [(request, Outcome.RESPONSE)]
    layer.receive(peer, bytes.fromhex("54450004" + "00000000" + "610d"), 100_001.0)
    assert sent(layer, peer) == ["70000004"]


@pytest.mark.parametrize(
    ("numbers", "seen"),
    [
        ([(1, 0), (3, 1), (2, 2), (4, 3)], [1, 3, 4]),
        ([(5, 0), (5, 1)], [5]),
        ([(0xFFFFFF, 0), (0, 1), (0xFFFFFE, 2)], [0xFFFFFF, 0]),  # round the 24 bits
        ([(0x800001, 0), (1, 1), (2, 2), (0, 3)], [0x800001, 0]),  # newer by less than 2^23
        ([(9, 0), (8, 128), (8, 128.5), (7, 256.6), (7, 257)], [9, 8, 7]),  # after 128 seconds anything is newer
    ],
)
def test_stale_notifications(numbers: list[tuple[int, float]], seen: list[int]) -> None:
    # RFC 7641 section 3.4.
    layer, peer = new_layer(), Peer()
    observe(layer, peer)
    layer.receive(peer, bytes.fromhex("60000000"), 0.0)
    for message_id, (number, at) in enumerate(numbers):
        value = number.to_bytes(3, "big")
        head = bytes.fromhex("5445") + message_id.to_bytes(2, "big") + bytes(4)
        layer.receive(peer, head + b"\x63" + value + b"\xff" + value, at)
    assert [int.from_bytes(payload, "big") for payload in notifications(layer)] == seen


def test_a_peer_that_does_not_observe_answers_once() -> None:
    layer, peer = new_layer(), Peer()
    request = observe(layer, peer)
    layer.receive(peer, bytes.fromhex("64450000" + "00000000" + "ff31"), 0.1)
    assert ended(layer) == [(request, Outcome.RESPONSE)]


def test_an_observation_without_an_answer() -> None:
    layer, peer = new_layer(), Peer()
    request = observe(layer, peer)
    layer.receive(peer, bytes.fromhex("60000000"), 0.1)
    run_to(layer, 30.0)
    assert ended(layer) == [(request, Outcome.UNANSWERED)]


def test_a_separate_first_notification_stops_the_back_off() -> None:
    layer, peer = new_layer(), Peer()
    observe(layer, peer)
    waiting = ask(layer, peer)
    sent(layer, peer)
    layer.receive(peer, bytes.fromhex("44450007" + "00000000" + "610a" + "ff31"), 0.1)
    assert sent(layer, peer) == ["44010001" + waiting.token.hex() + "b161", "60000007"]
    assert notifications(layer) == [b"1"]


def test_a_flood_of_notifications_that_nobody_fetches() -> None:
    layer, peer = new_layer(), Peer()
    observe(layer, peer)
    for number in range(limits.QUEUED_EVENTS + 100):
        head = bytes.fromhex("5445") + number.to_bytes(2, "big") + bytes(4)
        layer.receive(peer, head + b"\x62" + (number + 1).to_bytes(2, "big"), 0.0)
    assert layer.counters.overflows == 100
    assert len(notifications(layer)) == limits.QUEUED_EVENTS
