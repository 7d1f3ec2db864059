"""Our client after the handshake: which records count, and how it ends."""

import pytest

from gateway.dtls import Association, FailureReason, HandshakeError
from gateway.dtls.errors import ApiMisuse
from gateway.dtls.handshake.client import ClientHandshake
from gateway.dtls.handshake.states import SuspendedState
from gateway.dtls.limits import MAX_WRITE_SEQUENCE
from tests.dtls.rawclient import ALERT, DATA, HANDSHAKE, raw_record
from tests.dtls.rawserver import ClientWorld, RawServer, pair, psk_parameters

LIMIT = 1 << 48
"""RFC 6347 section 4.1: sequence numbers have 48 bits, and may not wrap."""


def connected(kind: str = "psk") -> tuple[ClientWorld, RawServer]:
    world, server = pair(kind)
    server.read(world.deliver(*server.first_flight()))
    world.deliver(server.change_cipher_spec(), server.finished())
    assert world.connected
    return world, server


def exhaust(association: Association) -> None:
    """As if every record number had been used."""
    association._write_number = (1 << 48) + MAX_WRITE_SEQUENCE


@pytest.mark.parametrize("kind", ["psk", "certificate"])
@pytest.mark.parametrize("content", [b"", b"x", b"\x00" * 1000])
def test_data_both_ways(kind: str, content: bytes) -> None:
    world, server = connected(kind)
    world.connection.send(content, world.now)
    (record,) = server.read(world.collect())
    assert (record.content_type, record.epoch, record.content) == (DATA, 1, content)
    world.deliver(server.data(content))
    assert world.data == [content]


def test_data_says_when_the_server_was_heard() -> None:
    world, server = connected()
    association = world.completed.association
    assert association.last_heard == 1000.0
    world.advance(7.0)
    world.deliver(server.data(b"alive"))
    assert association.last_heard == 1007.0
    world.advance(7.0)
    world.deliver(server.record(DATA, b"forged", 0))
    assert association.last_heard == 1007.0


def test_numbers_and_nonces_never_repeat() -> None:
    world, server = connected()
    for _ in range(50):
        world.connection.send(b"again", world.now)
    records = [record for record in server.read(world.collect()) if record.epoch == 1]
    assert len({record.sequence for record in records}) == 50
    assert len({record.nonce for record in records}) == 50


def test_replay() -> None:
    world, server = connected()
    once = server.data(b"open the door")
    world.deliver(once, once, once)
    assert world.data == [b"open the door"]
    assert world.drops() == {"replay": 2}


def test_reordering_is_no_replay() -> None:
    world, server = connected()
    datagrams = [server.data(b"%d" % number) for number in range(40)]
    world.deliver(*reversed(datagrams))
    assert sorted(map(int, world.data)) == list(range(40))
    assert world.drops() == {}
    ahead = server.data(b"ahead", sequence=1000)
    world.deliver(ahead, server.data(b"long ago", sequence=900))
    assert world.data[-1] == b"ahead"
    assert world.drops() == {"replay": 1}


@pytest.mark.parametrize("position", [0, 3, 5, 10, 13, 21, -1])
def test_any_changed_byte(position: int) -> None:
    """Type, epoch, sequence number, nonce, ciphertext, tag."""
    world, server = connected()
    datagram = bytearray(server.data(b"some data"))
    datagram[position] ^= 1
    world.deliver(bytes(datagram))
    assert world.data == []
    assert sum(world.drops().values()) == 1
    assert world.connected
    # The replay window did not move for it.
    datagram[position] ^= 1
    world.deliver(bytes(datagram))
    assert world.data == [b"some data"]


@pytest.mark.parametrize("epoch", [0, 2, 3, 0xFFFF])
def test_wrong_epoch(epoch: int) -> None:
    world, server = connected()
    assert server.write_keys is not None
    number = (epoch << 48) | 9
    for content_type, content in [(DATA, b"data"), (ALERT, b"\x02\x28"), (ALERT, b"\x01\x00"), (HANDSHAKE, bytes(12))]:
        world.deliver(raw_record(content_type, number, server.write_keys.seal(content_type, number, content)))
        world.deliver(raw_record(content_type, number, content))
    assert world.connected
    assert world.data == []
    assert world.drops() == {"old_epoch": 8}


def test_records_of_one_datagram_count_each() -> None:
    world, server = connected()
    world.deliver(server.data(b"one") + server.data(b"two") + b"\x17\xfe")
    assert world.data == [b"one", b"two"]
    assert world.drops() == {"malformed": 1}


@pytest.mark.parametrize("content_type", [20, 24, 25, 99])
def test_content_type_that_means_nothing(content_type: int) -> None:
    world, server = connected()
    world.deliver(server.record(content_type, b"\x01", 1))
    assert world.drops() == {"unexpected": 1}
    assert world.connected


@pytest.mark.parametrize("kind", ["psk", "certificate"])
def test_last_flight_and_first_data_in_one_datagram(kind: str) -> None:
    world, server = pair(kind)
    server.read(world.deliver(*server.first_flight()))
    world.deliver(server.change_cipher_spec() + server.finished() + server.data(b"at once"))
    assert world.data == [b"at once"]


@pytest.mark.parametrize("kind", ["psk", "certificate"])
def test_repeated_last_flight(kind: str) -> None:
    world, server = connected(kind)
    world.deliver(server.change_cipher_spec(), server.finished(verify_data=bytes(12)))
    assert world.drops() == {"old_epoch": 1, "repeated": 1}
    assert world.connected


# --- the end ----------------------------------------------------------------------------------------------------------


def test_server_closes() -> None:
    world, server = connected()
    association = world.completed.association
    (answer,) = server.read(world.deliver(server.alert(1, 0, 1)))
    # RFC 5246 section 7.2.1: "The other party MUST respond with a close_notify alert of its own".
    assert (answer.content_type, answer.epoch, answer.content) == (ALERT, 1, b"\x01\x00")
    assert world.closed == ["close_notify"]
    assert association.closed
    world.deliver(server.data(b"after the end"), server.alert(1, 0, 1))
    assert (world.data, world.closed) == ([], ["close_notify"])
    assert world.drops() == {"no_session": 2}


def test_we_close() -> None:
    world, server = connected()
    world.connection.close(world.now)
    (record,) = server.read(world.collect())
    assert (record.content_type, record.epoch, record.content) == (ALERT, 1, b"\x01\x00")
    assert world.closed == ["local"]
    world.connection.close(world.now)
    world.connection.send(b"after the end", world.now)
    assert world.collect() == []
    assert world.closed == ["local"]
    world.deliver(server.alert(1, 0, 1))
    assert world.drops() == {"no_session": 1}


@pytest.mark.parametrize("description", [20, 40, 80, 199])
def test_fatal_alert(description: int) -> None:
    world, server = connected()
    assert world.deliver(server.alert(2, description, 1)) == []
    assert world.closed == ["alert"]


@pytest.mark.parametrize("content", [b"\x01\x64", b"\x01\x5a", b"\x01\xc7", b"\x00\x28"])
def test_warning_is_passed_over(content: bytes) -> None:
    world, server = connected()
    assert world.deliver(server.record(ALERT, content, 1)) == []
    assert world.connected
    assert world.drops() == {}


@pytest.mark.parametrize("content", [b"", b"\x02", b"\x02\x28\x02\x28"])
def test_alert_of_a_wrong_length(content: bytes) -> None:
    world, server = connected()
    assert world.deliver(server.record(ALERT, content, 1)) == []
    assert world.connected
    assert world.drops() == {"unexpected": 1}


def test_record_numbers_are_used_up() -> None:
    assert MAX_WRITE_SEQUENCE <= LIMIT
    world, _ = connected()
    exhaust(world.completed.association)
    world.connection.send(b"one too many", world.now)
    assert world.collect() == []
    assert world.closed == ["exhausted"]


def test_close_when_record_numbers_are_used_up() -> None:
    world, _ = connected()
    exhaust(world.completed.association)
    world.connection.close(world.now)
    assert world.collect() == []
    assert world.closed == ["local"]


def test_server_closes_when_record_numbers_are_used_up() -> None:
    world, server = connected()
    exhaust(world.completed.association)
    assert world.deliver(server.alert(1, 0, 1)) == []
    assert world.closed == ["close_notify"]


def test_timer_of_a_session_is_none() -> None:
    world, _ = connected()
    assert world.connection.next_timer() is None
    world.connection.handle_timer(world.now + 1e6)
    assert world.collect() == []
    assert world.connected


# --- misuse -----------------------------------------------------------------------------------------------------------


def test_psk_suite_without_a_key_is_misuse() -> None:
    world = ClientWorld(psk_parameters(psk=None))
    server = RawServer()
    server.read(world.opening)
    with pytest.raises(ApiMisuse):
        world.deliver(*server.first_flight())


def test_nobody_answers_for_a_state_of_the_server() -> None:
    world, _ = pair("certificate")
    handshake = world.connection._handshake
    assert isinstance(handshake, ClientHandshake)
    with pytest.raises(ApiMisuse, match="SuspendedState"):
        handshake._suspended(SuspendedState())


def test_verdict_for_a_handshake_that_has_ended() -> None:
    world, _ = pair("certificate")
    handshake = world.connection._handshake
    assert handshake is not None
    world.connection.close(world.now)
    handshake.certificate_verdict(HandshakeError(FailureReason.UNKNOWN_ROOT), world.now)
    assert handshake.datagrams == []
    world.collect()
    assert world.failure.reason is FailureReason.SHUTDOWN
