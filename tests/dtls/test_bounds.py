"""What a peer can make the engine hold and do, in numbers: each was once more than it should be."""

import tracemalloc

import pytest

from gateway.dtls import Address, ApplicationData, FailureReason
from gateway.dtls.limits import MAX_REPEATS
from gateway.dtls.messages.framing import handshake_header
from tests.dtls.rawclient import RawClient, raw_record
from tests.dtls.support import CLIENT, World, alerts, certificate_client, sizes


def test_full_house_gives_the_oldest_handshake_up_for_the_newest() -> None:
    world = World(max_handshakes=3)
    clients = [RawClient(random=bytes((n,)) * 32) for n in range(1, 5)]
    for n, client in enumerate(clients):
        world.reach_server_done(client, ("192.0.2.1", n))
    assert world.endpoint.handshakes_in_progress == 3
    assert [failure.reason for failure in world.failures] == [FailureReason.EVICTED]
    newest: Address = ("192.0.2.1", 3)
    clients[3].read(world.deliver(*clients[3].answer_flight(), source=newest))
    assert clients[3].server_finished_verified


def test_handshake_that_fills_every_buffer_stays_below_60_kb() -> None:
    world = World()
    held = []
    for port in range(1, 11):
        client = certificate_client()
        client.random = port.to_bytes(32)
        source: Address = ("192.0.2.1", port)
        world.reach_server_done(client, source)
        before = _traced() if tracemalloc.is_tracing() else _start()
        number = 100
        for message_seq in range(2, 9):
            for piece in range(160):
                header = handshake_header(11, 16_000, message_seq, piece * 100, 24)
                world.endpoint.receive_datagram(raw_record(22, number, header + bytes(24)), source, world.now)
                number += 1
        for sequence in range(4):
            early = raw_record(22, (1 << 48) + sequence, bytes(16_000))
            world.endpoint.receive_datagram(early, source, world.now)
        held.append(_traced() - before)
    tracemalloc.stop()
    assert max(held) < 60_000


def test_one_datagram_of_many_hellos_gets_one_answer() -> None:
    world = World()
    hellos = b"".join(RawClient(random=bytes((n,)) * 32).hello() for n in range(1, 20))
    assert len(world.deliver(hellos)) == 1
    assert sum(sizes(world.endpoint).values()) == 0


def test_repetitions_end() -> None:
    world, client = World(), certificate_client()
    client.read(world.deliver(client.hello()))
    hello = client.hello()
    world.deliver(hello)
    sent = 0
    for _ in range(3 * MAX_REPEATS):
        world.now += 0.3
        sent += bool(world.deliver(hello))
    assert sent == MAX_REPEATS


def test_fragment_without_content_asks_for_nothing() -> None:
    world, client = World(), certificate_client()
    world.reach_server_done(client)
    world.now += 1
    assert world.deliver(raw_record(22, 50, handshake_header(1, 0, 0, 0, 0))) == []


def test_plain_alert_after_change_cipher_spec_has_no_say() -> None:
    for content in (b"\x02\x28", b"\x01\x00"):
        world, client = World(), RawClient()
        world.reach_server_done(client)
        *plain, finished = client.answer_flight()
        world.deliver(*plain)
        world.deliver(raw_record(21, 60, content))
        client.read(world.deliver(finished))
        assert client.server_finished_verified
        assert alerts(client.read(world.collect(CLIENT))) == []


@pytest.mark.pure("it changes a constant")
def test_silent_newcomers_let_their_ciphers_go(monkeypatch: pytest.MonkeyPatch) -> None:
    # A cipher object has half a kilobyte outside the interpreter, and after an outage a whole fleet is new at once.
    monkeypatch.setattr("gateway.dtls.established.MAX_AWAKE_NEWCOMERS", 3)
    world = World()
    clients = [RawClient(random=bytes((n,)) * 32) for n in range(1, 8)]
    associations = []
    for n, client in enumerate(clients):
        associations.append(world.connect(client, ("192.0.2.1", n)))
        if n == 1:
            world.deliver(client.data(b"awake"), source=("192.0.2.1", n))
    awake = [association._reader is not None for association in associations]
    assert awake == [False, True, False, False, True, True, True]
    world.deliver(clients[0].data(b"first word"), source=("192.0.2.1", 0))
    assert isinstance(world.events[-1], ApplicationData)
    world.endpoint.close(associations[-1], world.now)
    assert associations[-1] not in world.endpoint._established._newcomers


def _start() -> int:
    tracemalloc.start()
    return _traced()


def _traced() -> int:
    return tracemalloc.get_traced_memory()[0]
