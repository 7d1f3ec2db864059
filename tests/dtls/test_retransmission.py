"""When a flight goes out again (RFC 6347 4.2.4), by a virtual clock."""

from itertools import pairwise

import pytest

from gateway.dtls.handshake.flight import Retransmission
from gateway.dtls.limits import HANDSHAKE_TIMEOUT_S, LINGER_S, MIN_REPEAT_INTERVAL_S
from tests.dtls.rawclient import RawClient
from tests.dtls.support import World, certificate_client


def test_doubles_from_one_second_to_sixty() -> None:
    # RFC 6347 4.2.4.1: initial timer 1 second, doubled at each retransmission, up to no less than 60 seconds.
    retransmission = Retransmission(1.0)
    retransmission.sent(100.0)
    times = []
    for _ in range(9):
        assert retransmission.at is not None
        assert not retransmission.due(retransmission.at - 0.001)
        now = retransmission.at
        assert retransmission.due(now)
        times.append(now - 100.0)
    assert times == [1, 3, 7, 15, 31, 63, 123, 183, 243]
    assert retransmission.count == 9


def test_nine_seconds_for_slow_radios() -> None:
    # RFC 7925 section 11
    retransmission = Retransmission(9.0)
    retransmission.sent(0.0)
    assert [retransmission.at] + [retransmission.at for t in (9.0, 27.0, 63.0) if retransmission.due(t)] == [
        9,
        27,
        63,
        123,
    ]


def test_new_flight_starts_over() -> None:
    retransmission = Retransmission(1.0)
    retransmission.sent(0.0)
    assert retransmission.due(1.0)
    assert retransmission.due(3.0)
    retransmission.sent(4.0)
    assert retransmission.at == 5.0
    assert retransmission.due(5.0)
    assert retransmission.at == 7.0


def test_stopped_is_never_due() -> None:
    retransmission = Retransmission(1.0)
    assert not retransmission.due(1e9)
    retransmission.sent(0.0)
    retransmission.stop()
    assert not retransmission.due(1e9)


def test_storm_of_the_peer_s_repetitions_is_answered_once_in_a_while() -> None:
    retransmission = Retransmission(1.0)
    retransmission.sent(0.0)
    answered = [0.0, *(tick / 1000 for tick in range(1000) if retransmission.asked(tick / 1000))]
    assert len(answered) == 5
    assert all(later - earlier >= MIN_REPEAT_INTERVAL_S for earlier, later in pairwise(answered))


@pytest.mark.parametrize("make", [RawClient, certificate_client])
def test_server_repeats_its_flight_on_time_and_gives_up(make: type[RawClient]) -> None:
    world, client = World(), make()
    world.reach_server_done(client)
    flight = [message_type for message_type, _, _ in client.messages[1:]]
    start, sent = world.now, []
    while not world.failures:
        timer = world.endpoint.next_timer()
        assert timer is not None
        datagrams = world.advance(timer - world.now)
        if datagrams:
            client.received.clear()
            client.read(datagrams)
            assert [record.content[0] for record in client.received if record.content[6:9] == bytes(3)] == flight
            sent.append(world.now - start)
    assert sent == [1, 3, 7, 15, 31, 63]
    assert world.reason == "timeout"
    assert world.now == start + HANDSHAKE_TIMEOUT_S
    assert world.failures[0].facts.retransmissions == 6
    assert world.failures[0].alert is None
    assert (world.endpoint.handshakes_in_progress, world.endpoint.next_timer()) == (0, None)


def test_repeated_flight_reads_the_same_under_new_record_numbers() -> None:
    world, client = World(), certificate_client()
    world.reach_server_done(client)
    messages = list(client.messages)
    first = [record for record in client.received if record.content_type == 22][1:]
    again = client.read(world.advance(1.0))
    assert [record.content for record in again] == [record.content for record in first]
    numbers = [record.sequence for record in client.received]
    assert len(set(numbers)) == len(numbers)
    assert client.messages == messages


def test_repeated_client_flight_is_answered_at_once_but_not_twice_in_a_row() -> None:
    # RFC 6347 4.2.4: in WAITING, a retransmitted flight of the peer has our flight retransmitted.
    world, client = World(), RawClient()
    client.read(world.deliver(client.hello()))
    hello = client.hello()
    flight = world.deliver(hello)
    world.advance(0.5)
    repeated = world.deliver(hello)
    assert [len(datagram) for datagram in repeated] == [len(datagram) for datagram in flight]
    assert world.deliver(hello) == []
    world.advance(MIN_REPEAT_INTERVAL_S)
    assert len(world.deliver(hello)) == len(flight)


def test_repeated_finished_gets_the_last_flight_again_for_four_minutes() -> None:
    # RFC 6347 4.2.4: "at least twice the default MSL", 240 s.
    world, client = World(), RawClient()
    world.connect(client)
    body = client.messages[-1][2]
    ours = client.transcript[-2]
    sequences = [record.sequence for record in client.received if record.epoch == 1]
    for elapsed in (1.0, 60.0, LINGER_S - 62.0):
        world.advance(elapsed)
        records = client.read(world.deliver(client.record(22, ours, 1)))
        assert [record.content_type for record in records] == [20, 22]
        assert records[1].content[12:] == body
        sequences.append(records[1].sequence)
    assert sequences == [0, 1, 2, 3]
    world.advance(2.0)
    assert world.deliver(client.record(22, ours, 1)) == []
    assert world.drops() == {"unexpected": 1}
    assert len(world.completed) == 1


def test_timer_is_silent_while_the_shell_thinks() -> None:
    world, client = World(), RawClient()
    world.answering = False
    world.reach_server_done(client)
    world.deliver(client.client_key_exchange())
    assert world.advance(HANDSHAKE_TIMEOUT_S - 1) == []
    assert world.advance(1) == []
    assert world.reason == "timeout"
