"""Handshakes of OpenSSL with our server, in process: an independent reading of the same RFCs."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from OpenSSL import SSL

from tests.dtls.openssl_client import NAMES, OpensslClient
from tests.dtls.rawclient import ECDHE_RSA_SUITES, ECDHE_SUITES, PSK_SUITES, Device, Key, split
from tests.dtls.support import PSK, World, rsa_identity, self_signed, server_identity


def shake(world: World, client: OpensslClient, *, together: bool = False) -> None:
    """Runs the handshake until neither side has anything to say."""
    to_server = client.step([])
    for _ in range(20):
        if not to_server:
            break
        answers = world.deliver(b"".join(to_server)) if together else world.deliver(*to_server)
        to_server = client.step(answers)


def exchange_data_and_close(world: World, client: OpensslClient) -> None:
    association = world.completed[-1].association
    client.connection.send(b"from OpenSSL")
    world.deliver(*client.output())
    assert world.data == [b"from OpenSSL"]
    world.endpoint.send(association, b"from the gateway", world.now)
    assert client.receive(world.collect()) == b"from the gateway"
    client.connection.shutdown()
    answer = world.deliver(*client.output())
    assert [event.reason for event in world.closed] == ["close_notify"]
    with pytest.raises(SSL.ZeroReturnError):
        client.receive(answer)
    assert world.endpoint.associations == {}
    assert world.drops() == {}


@pytest.mark.parametrize("suite", ECDHE_SUITES | ECDHE_RSA_SUITES, ids=NAMES.get)
@pytest.mark.parametrize("together", [False, True])
def test_certificate_suite(suite: int, together: bool) -> None:
    world, client = World(), OpensslClient([suite])
    shake(world, client, together=together)
    assert client.done
    assert client.connection.get_cipher_name() == NAMES[suite]
    certificate = client.connection.get_peer_certificate(as_cryptography=True)
    assert certificate is not None
    expected = rsa_identity() if suite in ECDHE_RSA_SUITES else server_identity()
    assert certificate.public_key() == expected.key.public_key()
    assert world.completed[0].facts.extended_master_secret
    exchange_data_and_close(world, client)


@pytest.mark.parametrize("suite", [*PSK_SUITES, 0xCCAC], ids=NAMES.get)
@pytest.mark.parametrize("hint", [None, b"a hint"])
def test_psk_suite(suite: int, hint: bytes | None) -> None:
    world, client = World(hint=hint), OpensslClient([suite], psk=PSK, certificate=False)
    shake(world, client)
    assert client.done
    assert client.connection.get_cipher_name() == NAMES[suite]
    assert world.completed[0].facts.psk_identity == b"dev1"
    exchange_data_and_close(world, client)


@pytest.mark.parametrize("length", [1, 16, 32, 64])
def test_psk_of_any_length(length: int) -> None:
    world = World()
    world.keys = {b"dev1": b"k" * length}
    client = OpensslClient([0xC0A8], psk=b"k" * length, certificate=False)
    shake(world, client)
    assert client.done


def test_client_that_can_do_everything_gets_the_server_s_first_choice() -> None:
    world, client = World(), OpensslClient(list(reversed(NAMES)), psk=PSK)
    shake(world, client)
    # Of the ECDHE_PSK suites OpenSSL has this one only.
    assert client.connection.get_cipher_name() == "ECDHE-PSK-CHACHA20-POLY1305"


@pytest.mark.parametrize("suite", [0xC0AE, 0xC02B], ids=NAMES.get)
@pytest.mark.parametrize("limit", [192, 256, 512])
def test_small_mtu_on_both_sides(suite: int, limit: int) -> None:
    world, client = World(datagram_limit=limit), OpensslClient([suite], mtu=256)
    hello = client.step([])
    answers = world.deliver(*hello)
    flight = world.deliver(*client.step(answers))
    assert len(flight) > 1
    assert max(map(len, flight)) <= limit
    reply = client.step(flight)
    fragments = [body for record in reply for content_type, _, _, body in split(record) if content_type == 22]
    # It cut its Certificate: otherwise this would show nothing.
    assert any(body[9:12] != body[1:4] for body in fragments[:-1])
    client.step(world.deliver(*reply))
    assert client.done
    exchange_data_and_close(world, client)


def test_flight_that_arrives_backwards() -> None:
    world, client = World(datagram_limit=256), OpensslClient([0xC02B], mtu=256)
    flight = world.deliver(*client.step(world.deliver(*client.step([]))))
    reply = client.step(list(reversed(flight)))
    client.step(world.deliver(*reversed(reply)))
    assert client.done


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()])
def test_device_with_another_key(key: Key) -> None:
    identity = Device(key, (self_signed(key, "dev1"),))
    world, client = World(), OpensslClient([0xC0AE], device=identity)
    shake(world, client)
    assert client.done
    assert world.completed[0].facts.chain == identity.chain
    exchange_data_and_close(world, client)


def test_server_name_is_heard() -> None:
    world, client = World(), OpensslClient([0xC0AE], server_name=b"gateway.example")
    shake(world, client)
    assert world.completed[0].facts.server_name == "gateway.example"


def test_wrong_key_is_a_decrypt_error_to_openssl() -> None:
    world, client = World(), OpensslClient([0xC0A8], psk=b"not the key of it", certificate=False)
    with pytest.raises(SSL.Error) as caught:
        shake(world, client)
    assert "decrypt error" in str(caught.value)
    assert world.reason == "wrong_key"


def test_client_without_a_certificate_is_a_handshake_failure_to_openssl() -> None:
    world, client = World(), OpensslClient([0xC0AE], certificate=False)
    with pytest.raises(SSL.Error) as caught:
        shake(world, client)
    assert "handshake failure" in str(caught.value)
    assert world.reason == "no_certificate"


def test_no_common_suite_is_a_handshake_failure_to_openssl() -> None:
    world, client = World(psk=False), OpensslClient([0xC0A8], psk=PSK, certificate=False)
    with pytest.raises(SSL.Error) as caught:
        shake(world, client)
    assert "handshake failure" in str(caught.value)
    assert world.reason == "no_shared_suite"


def test_lost_last_flight_comes_again() -> None:
    """OpenSSL repeats its flight by its own clock; here its flight is given to the server once more instead."""
    world, client = World(), OpensslClient([0xC0AE])
    flight = world.deliver(*client.step(world.deliver(*client.step([]))))
    reply = client.step(flight)
    lost = world.deliver(*reply)
    assert lost
    world.advance(2.0)
    # A copy of its Finished is a replay, and no repetition: that has a new record number.
    assert world.deliver(*reply) == []
    assert world.drops()["replay"] == 1
    client.step(lost)
    assert client.done
