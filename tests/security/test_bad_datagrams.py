"""Garbage, truncated, replayed, reordered and duplicated datagrams: dropped and counted, and nothing else changes."""

import random
from collections.abc import Iterator
from itertools import count

import pytest

from gateway.dtls import Address
from tests.dtls.rawclient import ECDHE_SUITES, PSK_SUITES, RawClient
from tests.dtls.support import CLIENT, World, client_for

SUITES = [*PSK_SUITES, *ECDHE_SUITES]
STRANGER: Address = ("203.0.113.9", 5684)


def state(world: World) -> tuple[object, ...]:
    """All that an observer of the endpoint can see, but for the drop counters."""
    endpoint = world.endpoint
    counters = endpoint.counters
    return (
        dict(endpoint.associations),
        endpoint.handshakes_in_progress,
        dict(counters.alerts),
        dict(counters.received),
        dict(counters.sent),
        counters.application_data_sent,
        counters.hello_verify_valid,
        len(world.events),
    )


def garbage(seed: int) -> Iterator[bytes]:
    """Bytes that get further and further: random, then with a record header, then with a handshake header."""
    source = random.Random(seed)
    for number in range(600):
        body = source.randbytes(source.randrange(120))
        if number % 3 == 0:
            yield body
            continue
        if number % 3 == 2:
            kind = source.choice([0, 2, 3, 11, 12, 14, 16, 20, 99])
            header = source.choice([len(body), source.randrange(1 << 24)]).to_bytes(3, "big") + source.randbytes(2)
            body = bytes((kind,)) + header + bytes(3) + len(body).to_bytes(3, "big") + body
        yield (
            bytes((source.randrange(18, 27),))
            + source.choice([b"\xfe\xfd", b"\xfe\xff", b"\x03\x03"])
            + bytes((0, source.choice([0, 0, 0, 1, 2])))
            + source.randbytes(6)
            + len(body).to_bytes(2, "big")
            + body
        )


@pytest.mark.parametrize("source", [CLIENT, STRANGER], ids=["from the device's address", "from elsewhere"])
def test_garbage_beside_a_session(source: Address) -> None:
    world, client = World(), RawClient()
    world.connect(client)
    before = state(world)
    datagrams = list(garbage(1))
    for datagram in datagrams:
        assert world.deliver(datagram, source=source) == []
    assert state(world) == before
    assert sum(world.drops().values()) >= len(datagrams)
    world.deliver(client.data(b"still here"))
    assert world.data == [b"still here"]


@pytest.mark.parametrize("suite", SUITES)
def test_every_prefix_of_every_datagram_of_a_handshake(suite: int) -> None:
    # A cut datagram in front of the whole one. What it costs is a drop, never the handshake.
    world, client = World(), client_for(suite)

    def send(datagram: bytes) -> list[bytes]:
        for length in range(len(datagram)):
            assert world.deliver(datagram[:length], source=STRANGER) == []
        for length in range(0, len(datagram), 7):
            assert world.deliver(datagram[:length]) == []
        return world.deliver(datagram)

    client.read(send(client.hello()))
    client.read(send(client.hello()))
    for datagram in client.answer_flight():
        client.read(send(datagram))
    assert client.server_finished_verified
    assert world.failures == []
    assert set(world.drops()) <= {"malformed", "no_session"}


@pytest.mark.parametrize("suite", SUITES)
def test_a_handshake_in_which_every_datagram_comes_twice(suite: int) -> None:
    world, client = World(), client_for(suite)
    client.read(world.deliver(*[client.hello()] * 2))
    client.read(world.deliver(*[client.hello()] * 2))
    for datagram in client.answer_flight():
        client.read(world.deliver(datagram, datagram))
    assert client.server_finished_verified
    assert len(world.completed) == 1
    assert world.failures == []
    assert len(world.endpoint.associations) == 1
    assert world.endpoint.handshakes_in_progress == 0
    assert world.drops()


@pytest.mark.parametrize("suite", SUITES)
def test_a_flight_in_any_order(suite: int) -> None:
    source = random.Random(suite)
    for _ in range(20):
        world, client = World(), client_for(suite)
        world.reach_server_done(client)
        flight = client.answer_flight()
        source.shuffle(flight)
        client.read(world.deliver(*flight))
        assert client.server_finished_verified
        assert world.failures == []


@pytest.mark.parametrize("suite", SUITES)
def test_a_recorded_session_that_is_played_again(suite: int) -> None:
    world, client = World(), client_for(suite)
    recorded = [client.hello()]
    client.read(world.deliver(*recorded))
    recorded.append(client.hello())
    client.read(world.deliver(recorded[-1]))
    recorded += client.answer_flight()
    client.read(world.deliver(*recorded[2:]))
    recorded += [client.data(b"%d" % number) for number in range(5)]
    world.deliver(*recorded[-5:])
    assert world.data == [b"0", b"1", b"2", b"3", b"4"]
    before = state(world)[:3]
    question = recorded[0]
    # At the same address: the first hello is asked for its cookie as any is, the rest is dropped.
    answers = world.deliver(*recorded)
    assert len(answers) == 1
    assert len(answers[0]) <= len(question)
    assert state(world)[:3] == before
    # From elsewhere the cookie is not good either.
    answers = world.deliver(*recorded, source=STRANGER)
    assert [len(answer) <= len(question) for answer in answers] == [True, True]
    assert state(world)[:3] == before
    assert world.data == [b"0", b"1", b"2", b"3", b"4"]
    # Two minutes later too, when the cookie has ended and the last flight is no longer kept.
    world.advance(300.0)
    answers = world.deliver(*recorded)
    assert [len(answer) <= len(question) for answer in answers] == [True, True]
    assert len(world.endpoint.associations) == 1
    assert world.endpoint.handshakes_in_progress == 0
    world.deliver(client.data(b"still here"))
    assert world.data[-1] == b"still here"


def test_application_data_in_any_order_comes_once_each() -> None:
    # RFC 6347 section 4.1.2.6: a window of 64.
    source = random.Random(4)
    world, client = World(), RawClient()
    world.connect(client)
    numbers = count()
    for _ in range(30):
        sent = [b"%d" % next(numbers) for _ in range(32)]
        datagrams = [client.data(content) for content in sent] * 2
        source.shuffle(datagrams)
        arrived = len(world.data)
        world.deliver(*datagrams)
        assert sorted(world.data[arrived:]) == sorted(sent)
    assert world.drops() == {"replay": 30 * 32}


def test_a_flipped_bit_anywhere_in_a_record() -> None:
    world, client = World(), RawClient()
    association = world.connect(client)
    record = client.data(b"21.5")
    before = state(world)
    for position in range(8 * len(record)):
        forged = bytearray(record)
        forged[position // 8] ^= 1 << position % 8
        assert world.deliver(bytes(forged)) == []
    assert state(world) == before
    assert association.authentication_failures > 0
    world.deliver(record)
    assert world.data == [b"21.5"]
