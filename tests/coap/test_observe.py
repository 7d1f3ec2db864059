"""Observations of resources of ours (RFC 7641), on a virtual clock; every datagram by hand."""

from collections.abc import Iterable
from random import Random

import pytest

from gateway.coap import (
    EndOfObservation,
    MessageLayer,
    Observation,
    ObservationDue,
    ObservationEnded,
    Peer,
    RequestEnded,
    decode,
    limits,
)
from tests.coap.support import Session, fixed_random, new_layer, post, sent

CONTENT, NOT_FOUND = 0x45, 0x84
TOKEN = b"\xaa"
DAY_S = 24 * 3600.0


def register(
    layer: MessageLayer,
    peer: Peer,
    token: bytes = TOKEN,
    resource: str = "a",
    now: float = 0.0,
    options: Iterable[tuple[int, bytes]] = (),
) -> Observation:
    observation = layer.observations.register(peer, token, resource, now, options=options)
    assert observation is not None
    return observation


def say(layer: MessageLayer, observation: Observation, payload: bytes, now: float, *, con: bool = False) -> None:
    layer.observations.notify(observation, CONTENT, [], payload, now, confirmable=con)


def confirmed(layer: MessageLayer, peer: Peer, observation: Observation, now: float = 0.0) -> None:
    """The first notification, which is confirmable and comes back within 50 ms."""
    say(layer, observation, b"0", now)
    (data,) = sent(layer, peer)
    assert data[:2] == "41"
    acknowledge(layer, peer, data, now + 0.05)


def acknowledge(layer: MessageLayer, peer: Peer, data: str, now: float) -> None:
    layer.receive(peer, bytes.fromhex("6000" + data[4:8]), now)


def ends(layer: MessageLayer) -> list[tuple[Observation, EndOfObservation]]:
    found = []
    while (event := layer.next_event()) is not None:
        assert isinstance(event, ObservationEnded)
        found.append((event.observation, event.reason))
    return found


def run_to(layer: MessageLayer, until: float) -> None:
    while (due := layer.next_timer()) is not None and due <= until:
        layer.handle_timer(due)


def test_a_notification_on_the_wire() -> None:
    layer, peer = new_layer(), Peer()
    observation = register(layer, peer, options=[(12, b"")])
    # The number of the response to the registration, and of what follows.
    assert layer.observations.observe_option() == (6, b"\x01")
    layer.observations.notify(observation, CONTENT, [(12, b""), (14, b"\x1e")], b"21", 1.0)
    # CON 2.05, message id 0, the client's token; Observe 2, Content-Format 0, Max-Age 30.
    assert sent(layer, peer) == ["41450000" + "aa" + "6102" + "60" + "211e" + "ff3231"]
    acknowledge(layer, peer, "41450000", 1.2)
    layer.observations.notify(observation, CONTENT, [(12, b"\0")], b"22", 2.0)
    assert sent(layer, peer) == ["51450001" + "aa" + "6103" + "6100" + "ff3232"]
    assert layer.counters.notifications == 2
    assert ends(layer) == []


def test_numbers_rise_round_their_24_bits() -> None:
    layer = MessageLayer(random=fixed_random(0xFF))
    assert layer.observations.observe_option() == (6, b"")
    layer = MessageLayer(random=fixed_random(0xFE))
    assert layer.observations.observe_option() == (6, b"\xfe\xfe\xff")


def test_each_tenth_is_confirmable() -> None:
    layer, peer = new_layer(), Peer()
    observation = register(layer, peer)
    kinds, now = "", 0.0
    for _ in range(32):
        now += 10.0
        say(layer, observation, b"x", now)
        (data,) = sent(layer, peer)
        kinds += "C" if data[:2] == "41" else "n"
        if data[:2] == "41":
            acknowledge(layer, peer, data, now + 1)
    assert kinds == "C" + "nnnnnnnnnC" * 3 + "n"


@pytest.mark.parametrize("every", [1, 3])
def test_another_share_is_confirmable(every: int) -> None:
    layer, peer = MessageLayer(random=fixed_random(0), confirm_every=every), Peer()
    observation = register(layer, peer)
    kinds, now = "", 0.0
    for _ in range(7):
        now += 10.0
        say(layer, observation, b"x", now)
        (data,) = sent(layer, peer)
        kinds += "C" if data[:2] == "41" else "n"
        if data[:2] == "41":
            acknowledge(layer, peer, data, now + 1)
    assert kinds == {1: "CCCCCCC", 3: "CnnCnnC"}[every]


def test_a_state_behind_an_acknowledgement_is_confirmable_where_all_are() -> None:
    layer, peer = MessageLayer(random=fixed_random(0), confirm_every=1), Peer()
    observation = register(layer, peer)
    say(layer, observation, b"1", 0.0)
    say(layer, observation, b"2", 0.0)
    sent(layer, peer)
    acknowledge(layer, peer, "41450000", 0.4)
    assert sent(layer, peer) == ["41450001" + "aa" + "6102" + "ff32"]


@pytest.mark.parametrize(("every", "after"), [(0, 1.0), (1001, 1.0), (1, 0.0), (1, DAY_S + 1)])
def test_wrong_shares(every: int, after: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        MessageLayer(random=fixed_random(0), confirm_every=every, confirm_after_s=after)


def test_one_that_must_be_confirmable() -> None:
    layer, peer = new_layer(), Peer()
    observation = register(layer, peer)
    confirmed(layer, peer, observation)
    say(layer, observation, b"x", 1.0, con=True)
    assert sent(layer, peer)[0][:2] == "41"


def test_after_a_day_without_a_confirmation_one_is_due() -> None:
    layer, peer = new_layer(), Peer()
    observation = register(layer, peer)
    confirmed(layer, peer, observation)
    run_to(layer, DAY_S)
    assert layer.next_event() is None
    run_to(layer, DAY_S + 0.05)
    event = layer.next_event()
    assert isinstance(event, ObservationDue)
    assert event.observation is observation
    say(layer, observation, b"x", DAY_S + 1)
    (data,) = sent(layer, peer)
    assert data[:2] == "41"
    run_to(layer, DAY_S + 100)
    assert ends(layer) == [(observation, EndOfObservation.TIMED_OUT)]
    assert layer.next_timer() is None
    assert len(layer.observations) == 0
    assert peer.link is None


# 4.5.1: how much is under way.


def test_non_confirmable_ones_keep_a_round_trip_apart() -> None:
    layer, peer = new_layer(), Peer()
    observation = register(layer, peer)
    say(layer, observation, b"0", 0.0)
    (data,) = sent(layer, peer)
    acknowledge(layer, peer, data, 0.8)
    say(layer, observation, b"1", 1.0)
    assert len(sent(layer, peer)) == 1
    for payload in (b"2", b"3", b"4"):
        say(layer, observation, payload, 1.5)
    run_to(layer, 1.79)
    assert sent(layer, peer) == []
    run_to(layer, 1.8)
    # Only the newest state, with the newest number.
    assert sent(layer, peer) == ["51450002" + "aa" + "6105" + "ff34"]
    assert layer.counters.notifications_skipped == 2


def test_the_round_trip_is_smoothed_and_repeated_ones_do_not_count() -> None:
    layer, peer = new_layer(), Peer()
    observation = register(layer, peer)
    for begin, took in ((0.0, 0.8), (10.0, 1.6), (20.0, 5.0)):
        say(layer, observation, b"x", begin, con=True)
        run_to(layer, begin + took)
        acknowledge(layer, peer, sent(layer, peer)[0], begin + took)
    assert peer.link is not None
    assert peer.link.rtt_s == pytest.approx(0.9)  # 0.8, then an eighth of the way to 1.6; the third went out twice


def test_a_first_message_that_was_repeated_says_how_long_it_is_at_most() -> None:
    layer, peer = new_layer(), Peer()
    observation = register(layer, peer)
    say(layer, observation, b"0", 0.0)
    run_to(layer, 2.0)
    acknowledge(layer, peer, sent(layer, peer)[0], 2.5)
    assert peer.link is not None
    assert peer.link.rtt_s == 2.5
    for now in (10.0, 20.0):
        say(layer, observation, b"x", now, con=True)
        acknowledge(layer, peer, sent(layer, peer)[0], now + 0.5)
        assert peer.link.rtt_s == pytest.approx(0.5)  # measured now


def test_three_seconds_apart_while_the_round_trip_is_not_known() -> None:
    layer, peer = new_layer(), Peer()
    observation = register(layer, peer)
    observation.unconfirmed = 0
    for now in (0.0, 0.1, 1.0, 2.9):
        say(layer, observation, b"x", now)
    assert len(sent(layer, peer)) == 1
    run_to(layer, 3.0)
    assert len(sent(layer, peer)) == 1


def test_two_observations_of_a_client_share_its_one_place() -> None:
    layer, peer = new_layer(), Peer()
    one, two = register(layer, peer), register(layer, peer, b"\xbb", "b")
    say(layer, one, b"1", 0.0)
    say(layer, two, b"2", 0.0)
    (data,) = sent(layer, peer)
    acknowledge(layer, peer, data, 0.1)
    assert sent(layer, peer) == ["41450001" + "bb" + "6102" + "ff32"]


def test_a_request_does_not_wait_for_the_pause_between_notifications() -> None:
    layer, peer = new_layer(), Peer()
    observation = register(layer, peer)
    observation.unconfirmed = 0
    say(layer, observation, b"1", 0.0)
    say(layer, observation, b"2", 0.1)
    layer.outbound.request(peer, 1, [], b"", 0.2, within_s=60.0)
    assert [data[:4] for data in sent(layer, peer)] == ["5145", "4401"]
    layer.receive(peer, bytes.fromhex("60000001"), 0.3)
    run_to(layer, 3.0)
    assert [data[:4] for data in sent(layer, peer)] == ["5145"]


# 4.5.2: the newest state in place of an older one.


def test_a_newer_state_supersedes_a_repetition() -> None:
    layer, peer = new_layer(), Peer()
    observation = register(layer, peer)
    say(layer, observation, b"1", 0.0)
    say(layer, observation, b"2", 0.5)
    say(layer, observation, b"3", 1.0)
    assert sent(layer, peer) == ["41450000" + "aa" + "6101" + "ff31"]
    run_to(layer, 2.0)
    assert sent(layer, peer) == ["41450001" + "aa" + "6103" + "ff33"]
    # The counter and the wait go on: 2, 6, 14, 30, and given up at 62.
    run_to(layer, 6.0)
    assert sent(layer, peer) == ["41450001" + "aa" + "6103" + "ff33"]
    say(layer, observation, b"4", 7.0)
    run_to(layer, 61.9)
    assert sent(layer, peer) == ["41450002" + "aa" + "6104" + "ff34", "41450003" + "aa" + "6105" + "ff34"]
    assert ends(layer) == []
    run_to(layer, 62.0)
    assert ends(layer) == [(observation, EndOfObservation.TIMED_OUT)]


def test_repetitions_in_vain_are_followed_by_new_notifications() -> None:
    """libcoap up to 4.3.4 acknowledges a repeated notification no second time, and its first ACK may have been lost."""
    layer, peer = new_layer(), Peer()
    observation = register(layer, peer)
    layer.observations.notify(observation, CONTENT, [(4, b"v1"), (14, b"\x09")], b"1", 0.0)
    run_to(layer, 61.9)
    # At 0, 2 and 6 under one message id; at 14 and 30 under new ones, with new numbers.
    assert sent(layer, peer) == [
        *["41450000" + "aa" + "427631" + "2101" + "8109" + "ff31"] * 3,
        "41450001" + "aa" + "427631" + "2102" + "8109" + "ff31",
        "41450002" + "aa" + "427631" + "2103" + "8109" + "ff31",
    ]
    acknowledge(layer, peer, "41450002", 61.9)
    assert ends(layer) == []
    # An error has no number; it is the same under another message id.
    layer.observations.notify(observation, NOT_FOUND, [], b"", 100.0)
    run_to(layer, 115.0)
    assert sent(layer, peer) == ["41840003" + "aa"] * 3 + ["41840004" + "aa"]


def test_an_acknowledgement_lets_the_newest_state_out() -> None:
    layer, peer = new_layer(), Peer()
    observation = register(layer, peer)
    for payload in (b"1", b"2", b"3"):
        say(layer, observation, payload, 0.0)
    (data,) = sent(layer, peer)
    acknowledge(layer, peer, data, 0.4)
    assert sent(layer, peer) == ["51450001" + "aa" + "6103" + "ff33"]


def test_who_acknowledges_a_superseded_one_is_still_there() -> None:
    layer, peer = new_layer(), Peer()
    observation = register(layer, peer)
    say(layer, observation, b"1", 0.0)
    say(layer, observation, b"2", 1.0)
    run_to(layer, 40.0)
    assert len(sent(layer, peer)) == 5
    acknowledge(layer, peer, "41450000", 40.0)
    run_to(layer, 62.0)
    assert ends(layer) == []
    (data,) = sent(layer, peer)
    acknowledge(layer, peer, data, 70.0)
    run_to(layer, 300.0)
    assert ends(layer) == []


def test_a_reset_of_a_superseded_one_ends_it() -> None:
    layer, peer = new_layer(), Peer()
    observation = register(layer, peer)
    say(layer, observation, b"1", 0.0)
    say(layer, observation, b"2", 1.0)
    run_to(layer, 3.0)
    layer.receive(peer, bytes.fromhex("70000000"), 3.0)
    assert ends(layer) == [(observation, EndOfObservation.RESET)]
    assert (layer.next_timer() is None, peer.link) == (True, None)


# How it ends.


@pytest.mark.parametrize("confirmable", [True, False])
def test_a_reset_ends_it(confirmable: bool) -> None:
    layer, peer = new_layer(), Peer()
    observation = register(layer, peer)
    if not confirmable:
        confirmed(layer, peer, observation)
    say(layer, observation, b"1", 10.0)
    (data,) = sent(layer, peer)
    layer.receive(peer, bytes.fromhex("7000") + b"\x77\x77", 10.1)
    assert ends(layer) == []
    layer.receive(peer, bytes.fromhex("7000" + data[4:8]), 10.2)
    assert ends(layer) == [(observation, EndOfObservation.RESET)]
    say(layer, observation, b"2", 11.0)
    assert sent(layer, peer) == []
    assert peer.link is None


def test_deregistered() -> None:
    layer, peer = new_layer(), Peer()
    observation = register(layer, peer)
    say(layer, observation, b"1", 0.0)
    assert not layer.observations.deregister(peer, b"\xbb", 1.0)
    assert layer.observations.deregister(peer, TOKEN, 1.0)
    assert not layer.observations.deregister(peer, TOKEN, 1.0)
    layer.observations.end(observation, EndOfObservation.CANCELLED, 1.0)
    assert ends(layer) == [(observation, EndOfObservation.DEREGISTERED)]
    run_to(layer, 100.0)
    assert len(sent(layer, peer)) == 1
    assert layer.observations.find("a") == []


def test_an_error_is_the_last_notification() -> None:
    # RFC 7641 section 4.2: without an Observe option; and it is repeated until it is acknowledged.
    layer, peer = new_layer(), Peer()
    observation = register(layer, peer)
    confirmed(layer, peer, observation)
    layer.observations.notify(observation, NOT_FOUND, [], b"", 1.0)
    assert ends(layer) == [(observation, EndOfObservation.ERROR)]
    run_to(layer, 3.0)
    assert sent(layer, peer) == ["41840001" + "aa"] * 2
    acknowledge(layer, peer, "41840001", 3.5)
    assert (layer.next_timer(), peer.link) == (None, None)


@pytest.mark.parametrize("first", [(), [(12, b"")], [(12, b"\x3c")]])
def test_another_content_format_is_not_acceptable(first: list[tuple[int, bytes]]) -> None:
    # RFC 7641 section 4.2: all notifications are in the format of the first response.
    layer, peer = new_layer(), Peer()
    observation = register(layer, peer, options=first)
    layer.observations.notify(observation, 0x43, [], b"", 1.0)  # 2.03 has none
    (data,) = sent(layer, peer)
    acknowledge(layer, peer, data, 1.1)
    assert ends(layer) == []
    layer.observations.notify(observation, CONTENT, [(12, b"\x32")], b"{}", 20.0)
    assert sent(layer, peer) == ["41860001" + "aa"]
    assert ends(layer) == [(observation, EndOfObservation.ERROR)]


def test_the_format_is_that_of_the_first_content() -> None:
    """A client that has the state already, by its ETag, is answered 2.03, which says nothing of the format."""
    layer, peer = new_layer(), Peer()
    observation = layer.observations.register(peer, TOKEN, "a", 0.0, code=0x43)
    assert observation is not None
    layer.observations.notify(observation, CONTENT, [(12, b"\x32")], b"{}", 1.0)
    assert ends(layer) == []
    layer.observations.notify(observation, CONTENT, [(12, b"")], b"x", 2.0)
    assert ends(layer) == [(observation, EndOfObservation.ERROR)]


def test_registered_again_with_another_content_format() -> None:
    layer, peer = new_layer(), Peer()
    observation = register(layer, peer, options=[(12, b"")])
    assert register(layer, peer, options=[(12, b"\x32")]) is observation
    layer.observations.notify(observation, CONTENT, [(12, b"\x32")], b"{}", 1.0)
    assert ends(layer) == []


def test_an_error_behind_an_unacknowledged_notification() -> None:
    layer, peer = new_layer(), Peer()
    observation = register(layer, peer)
    say(layer, observation, b"1", 0.0)
    layer.observations.notify(observation, NOT_FOUND, [], b"", 0.5)
    sent(layer, peer)
    acknowledge(layer, peer, "41450000", 1.0)
    assert sent(layer, peer) == ["41840001" + "aa"]
    run_to(layer, 100.0)  # nobody acknowledges it
    assert ends(layer) == [(observation, EndOfObservation.ERROR)]
    assert (layer.next_timer(), peer.link) == (None, None)


def test_what_cannot_be_said() -> None:
    layer, peer = new_layer(), Peer()
    observation = register(layer, peer)
    with pytest.raises(ValueError, match="not the code of a CoAP response"):
        layer.observations.notify(observation, 1, [], b"", 0.0)
    with pytest.raises(ValueError, match="out of range"):
        layer.observations.notify(observation, CONTENT, [(70_000, b"")], b"", 0.0)
    with pytest.raises(ValueError, match="too large"):
        layer.observations.notify(observation, CONTENT, [], bytes(peer.max_message), 0.0)
    assert ends(layer) == []
    assert sent(layer, peer) == []


# 4.1: the same token again.


def test_registered_again() -> None:
    layer, peer = new_layer(), Peer()
    observation = register(layer, peer)
    assert register(layer, peer, now=5.0) is observation
    assert len(layer.observations) == 1
    other = register(layer, peer, resource="b")
    assert ends(layer) == [(observation, EndOfObservation.REPLACED)]
    assert layer.observations.find("b") == [other]
    assert (layer.observations.find("a"), len(layer.observations)) == ([], 1)


def test_registered_again_is_up_to_date() -> None:
    """What waits is older than the response to the registration, and is not sent behind it."""
    layer, peer = new_layer(), Peer()
    observation, second = register(layer, peer), register(layer, peer, b"\xbb")
    say(layer, second, b"1", 0.0)
    say(layer, observation, b"2", 0.0)
    register(layer, peer, now=0.1)
    sent(layer, peer)
    acknowledge(layer, peer, "41450000", 0.2)
    assert sent(layer, peer) == []
    say(layer, second, b"3", 1.0, con=True)
    say(layer, second, b"4", 1.0)
    register(layer, peer, b"\xbb", now=1.1)
    acknowledge(layer, peer, "41450001", 1.2)
    assert len(sent(layer, peer)) == 1


# Owners and their sessions.


def test_it_moves_to_the_newest_session() -> None:
    layer, old, new = new_layer(), Session("dev1"), Session("dev1")
    observation = register(layer, old)
    confirmed(layer, old, observation)
    layer.observations.attach(new, 1.0)
    assert old.link is None
    say(layer, observation, b"1", 2.0)
    assert sent(layer, new) == ["51450000" + "aa" + "6102" + "ff31"]
    layer.forget(old)
    layer.observations.detach(old, new, 3.0)
    assert ends(layer) == []
    # A RST in the old session names a message id of there.
    layer.receive(old, bytes.fromhex("70000000"), 3.0)
    assert ends(layer) == []
    layer.receive(new, bytes.fromhex("70000000"), 3.0)
    assert ends(layer) == [(observation, EndOfObservation.RESET)]


@pytest.mark.parametrize("forgotten", [True, False])
@pytest.mark.parametrize("newer", [True, False])
def test_what_was_under_way_goes_on_in_the_new_session(forgotten: bool, newer: bool) -> None:
    layer, old, new = new_layer(), Session("dev1"), Session("dev1")
    observation = register(layer, old)
    say(layer, observation, b"1", 0.0)
    if newer:
        say(layer, observation, b"2", 0.0)
    sent(layer, old)
    if forgotten:
        layer.forget(old)
        layer.observations.detach(old, new, 1.0)
    else:
        layer.observations.attach(new, 1.0)
    assert sent(layer, new) == ["41450000" + "aa" + ("6102ff32" if newer else "6101ff31")]
    run_to(layer, 3.0)
    assert len(sent(layer, new)) == 1
    acknowledge(layer, new, "41450000", 4.0)
    assert ends(layer) == []


def test_it_ends_with_the_last_session() -> None:
    layer, peer, other = new_layer(), Session("dev1"), Session("dev2")
    observation, stays = register(layer, peer), register(layer, other)
    say(layer, observation, b"1", 0.0)
    layer.forget(peer)
    layer.observations.detach(peer, None, 1.0)
    assert ends(layer) == [(observation, EndOfObservation.SESSION_ENDED)]
    assert sent(layer, peer) == []
    assert layer.observations.find("a") == [stays]
    assert layer.observations.find("a", "dev1") == []
    assert layer.observations.find("a", "dev2") == [stays]
    assert layer.observations.find("b", "dev2") == []


def test_registered_again_in_another_session() -> None:
    layer, old, new = new_layer(), Session("dev1"), Session("dev1")
    observation = register(layer, old)
    say(layer, observation, b"1", 0.0)
    assert len(sent(layer, old)) == 1
    assert register(layer, new, now=1.0) is observation
    run_to(layer, 100.0)
    assert sent(layer, new) == []
    say(layer, observation, b"2", 101.0)
    assert len(sent(layer, new)) == 1


# Floods.


def test_registrations_of_one_owner() -> None:
    layer, peers = new_layer(), [Session("dev1") for _ in range(3)]
    for number in range(1000):
        layer.observations.register(peers[number % 3], number.to_bytes(2, "big"), "a", 0.0)
        assert len(layer.observations) <= limits.OBSERVATIONS_OF_ONE
    assert layer.counters.observations_refused == 1000 - limits.OBSERVATIONS_OF_ONE


def test_registrations_of_many() -> None:
    layer = MessageLayer(random=fixed_random(0), max_observations=100)
    peers = [Session(number) for number in range(150)]
    for peer in peers:
        layer.observations.register(peer, TOKEN, "a", 0.0)
    assert len(layer.observations) == len(layer.observations.find("a")) == 100
    for peer in peers:
        layer.observations.deregister(peer, TOKEN, 1.0)
    assert len(layer.observations) == 0
    assert all(peer.link is None for peer in peers)
    assert layer.next_timer() is None


def test_states_that_come_faster_than_they_can_be_said() -> None:
    layer, peer = new_layer(), Peer()
    observation = register(layer, peer)
    for number in range(10_000):
        say(layer, observation, b"%d" % number, 0.0)
    assert len(sent(layer, peer)) == 1
    acknowledge(layer, peer, "41450000", 0.1)
    assert [bytes.fromhex(data)[-4:] for data in sent(layer, peer)] == [b"9999"]
    assert peer.link is not None
    assert len(peer.link.waiting) + len(peer.link.sent) == 0


# What the client sees, over a bad network.


@pytest.mark.parametrize(("loss", "may_end"), [(0.0, 0), (0.1, 0), (0.2, 2), (0.4, 15)])
def test_the_client_ends_up_with_the_last_state(loss: float, may_end: int) -> None:
    """RFC 7641 section 1.3: eventual consistency, as long as the client is there; and numbers say what is newer."""
    ended = 0
    for seed in range(20):
        chance = Random(seed)
        layer, peer = MessageLayer(random=chance.randbytes), Peer()
        observation = register(layer, peer)
        now, seen = 0.0, [(-1, b"")]
        for number in range(60):
            say(layer, observation, b"%d" % number, now, con=number == 59)
            until = now + chance.uniform(0, 8) if number < 59 else now + 200
            while (due := layer.next_timer()) is not None and due <= until:
                exchange(layer, peer, chance, loss, seen, now)
                now = max(now, due)
                layer.handle_timer(now)
            exchange(layer, peer, chance, loss, seen, now)
            now = until
        states = [int(payload) for _, payload in seen[1:]]
        assert states == sorted(states)
        if not observation.ended:
            assert len(states) > 5
            assert states[-1] == 59
        ended += observation.ended
    assert ended <= may_end


def exchange(
    layer: MessageLayer, peer: Peer, chance: Random, loss: float, seen: list[tuple[int, bytes]], now: float
) -> None:
    """The client takes what is not lost, and acknowledges it if that is not lost."""
    for _, data in layer.datagrams_to_send():
        message = decode(data)
        if chance.random() < loss:
            continue
        assert message.observe is not None
        number = message.observe - seen[0][0] & 0xFFFFFF
        if number > seen[-1][0]:
            seen.append((number, message.payload))
        if message.type == 0 and chance.random() >= loss:
            layer.receive(peer, bytes.fromhex("6000") + data[2:4], now)


def test_a_session_that_ends_with_everything_under_way() -> None:
    layer, peer = new_layer(), Session("dev1")
    observation = register(layer, peer)
    say(layer, observation, b"1", 0.0)
    request = layer.outbound.request(peer, 1, [], b"", 0.0, within_s=60.0)
    asked = layer.receive(peer, post(1), 0.0)
    assert asked is not None
    layer.defer(peer, asked, 0.0)
    layer.forget(peer)
    layer.observations.detach(peer, None, 0.0)
    first, second = layer.next_event(), layer.next_event()
    assert isinstance(first, RequestEnded)
    assert first.request is request
    assert isinstance(second, ObservationEnded)
    assert (layer.next_timer(), peer.link, peer.ring, peer.exchanges) == (None, None, None, None)
