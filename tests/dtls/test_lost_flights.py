"""Flights of which parts get lost, and come again under new record numbers (RFC 6347 sections 4.2.3, 4.2.4).

A flight is repeated as a whole. What has come of it once has come: the server needs each part once, of whichever copy.
A device that has begun to answer has our flight, and repeats by its own timer what we lack: ours need not go out again.
"""

from collections.abc import Callable
from itertools import product

import pytest

from tests.dtls.rawclient import RawClient
from tests.dtls.support import World, certificate_client

HANDSHAKE, CHANGE_CIPHER_SPEC = 22, 20


def flight_again(client: RawClient, first: int) -> list[bytes]:
    """The client's answer once more; its messages begin at `first` in the transcript, which ends with Finished."""
    *plain, finished = client.transcript[first:]
    records = [client.record(HANDSHAKE, message) for message in plain]
    return [*records, client.record(CHANGE_CIPHER_SPEC, b"\x01"), client.record(HANDSHAKE, finished, 1)]


def copies(client: RawClient, count: int) -> list[list[bytes]]:
    """The client's answer, `count` times."""
    first = len(client.transcript)
    flight = client.answer_flight()
    return [flight, *(flight_again(client, first) for _ in range(count - 1))]


def test_three_copies_of_a_psk_flight_whatever_is_lost() -> None:
    for arrives in product((False, True), repeat=9):
        world, client = World(), RawClient()
        world.reach_server_done(client)
        datagrams = [datagram for flight in copies(client, 3) for datagram in flight]
        for datagram, comes in zip(datagrams, arrives, strict=True):
            if comes:
                client.read(world.deliver(datagram))
        each_once = all(any(arrives[part::3]) for part in range(3))
        assert bool(world.completed) is client.server_finished_verified is each_once, arrives


def test_two_copies_of_a_certificate_flight_whatever_is_lost() -> None:
    # What is lost of the first copy comes with the second, and nothing else does.
    for arrives in product((False, True), repeat=5):
        world, client = World(), certificate_client()
        world.reach_server_done(client)
        first, second = copies(client, 2)
        for datagram, comes in zip(first, arrives, strict=True):
            if comes:
                client.read(world.deliver(datagram))
        for datagram, came in zip(second, arrives, strict=True):
            if not came:
                client.read(world.deliver(datagram))
        assert client.server_finished_verified, arrives


@pytest.mark.parametrize("make", [RawClient, certificate_client])
def test_backwards(make: Callable[[], RawClient]) -> None:
    world, client = World(), make()
    world.reach_server_done(client)
    first, second = copies(client, 2)
    for datagram in reversed(first[:-1]):
        world.deliver(datagram)
    client.read(world.deliver(second[-1]))
    assert client.server_finished_verified


def test_change_cipher_spec_right_after_the_certificate_does_not_count() -> None:
    # Nothing was lost in between: it was sent where ClientKeyExchange should have been.
    world, client = World(), certificate_client()
    world.reach_server_done(client)
    certificate, early = client.certificate(), client.change_cipher_spec()
    exchange, verify, finished = client.client_key_exchange(), client.certificate_verify(), client.finished()
    assert world.deliver(certificate, early, exchange, verify, finished) == []
    assert world.completed == []
    client.read(world.deliver(client.change_cipher_spec()))
    assert client.server_finished_verified


def repetitions(world: World, until: float) -> list[float]:
    """The seconds from now on at which the server sends something, up to `until`."""
    start, times = world.now, []
    while (timer := world.endpoint.next_timer()) is not None and timer <= start + until:
        if world.advance(timer - world.now):
            times.append(world.now - start)
    return times


# A PSK client's first message is left out: behind it the server waits for the change of ciphers, without a timer.
@pytest.mark.parametrize(
    ("make", "part"), [(RawClient, 1), (RawClient, 2), *((certificate_client, n) for n in range(5))]
)
def test_server_is_patient_with_a_device_that_has_begun_to_answer(make: Callable[[], RawClient], part: int) -> None:
    world, client = World(handshake_timeout_s=200.0), make()
    world.reach_server_done(client)
    world.advance(0.5)
    assert world.deliver(client.answer_flight()[part]) == []
    assert repetitions(world, 150.0) == [10, 30, 70, 130]


def test_server_is_not_made_patient_by_what_answers_nothing() -> None:
    world, client = World(), certificate_client()
    world.reach_server_done(client)
    repeated = client.record(HANDSHAKE, client.transcript[0])
    garbage = client.record(HANDSHAKE, b"\x0b\x00")
    world.deliver(repeated, garbage, client.alert(1, 90))
    assert repetitions(world, 10.0) == [1, 3, 7]


def test_server_that_has_been_patient_goes_on_with_the_rest_of_the_answer() -> None:
    world, client = World(), certificate_client()
    world.reach_server_done(client)
    first, second = copies(client, 2)
    world.deliver(first[-1])
    assert repetitions(world, 40.0) == [10, 30]
    client.read(world.deliver(*second))
    assert client.server_finished_verified
    assert world.completed[0].facts.retransmissions == 2
