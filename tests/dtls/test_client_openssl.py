"""Handshakes of our client with OpenSSL's server, in process: an independent reading of the same RFCs."""

from typing import Any

import pytest
from OpenSSL import SSL

from gateway.dtls import CertificatePresented, FailureReason, HandshakeError
from tests.dtls.openssl_client import NAMES
from tests.dtls.openssl_server import OpensslServer
from tests.dtls.rawclient import ECDHE_RSA_SUITES, ECDHE_SUITES, PSK_SUITES, split
from tests.dtls.rawserver import ClientWorld, certificate_parameters, psk_parameters
from tests.dtls.support import PSK, device, rsa_identity, server_identity

KEY_SUITES = [*PSK_SUITES, 0xCCAC]
SUITES = [*KEY_SUITES, *ECDHE_SUITES, *ECDHE_RSA_SUITES]


def psk_pair(suite: int = 0xC0A8, *, hint: bytes | None = None, **options: Any) -> tuple[ClientWorld, OpensslServer]:
    server = OpensslServer(suite, psk=PSK, hint=hint, ask_certificate=False, **options)
    return ClientWorld(psk_parameters(suite)), server


def certificate_pair(suite: int = 0xC0AE, *, limit: int = 1232, **options: Any) -> tuple[ClientWorld, OpensslServer]:
    return ClientWorld(certificate_parameters(suite), datagram_limit=limit), OpensslServer(suite, **options)


def pair_for(suite: int, **options: Any) -> tuple[ClientWorld, OpensslServer]:
    return psk_pair(suite, **options) if suite in KEY_SUITES else certificate_pair(suite, **options)


def shake(world: ClientWorld, server: OpensslServer) -> None:
    """Runs the handshake until neither side has anything to say."""
    to_server = world.opening
    for _ in range(20):
        if not to_server:
            break
        to_server = world.deliver(*server.step(to_server))


def talk(world: ClientWorld, server: OpensslServer) -> None:
    """Data both ways."""
    world.connection.send(b"from the device", world.now)
    assert server.receive(world.collect()) == b"from the device"
    server.connection.send(b"from OpenSSL")
    world.deliver(*server.output())
    assert world.data == [b"from OpenSSL"]
    assert world.drops() == {}


@pytest.mark.parametrize("suite", ECDHE_SUITES | ECDHE_RSA_SUITES, ids=NAMES.get)
@pytest.mark.parametrize("ask", [True, False])
def test_certificate_suite(suite: int, ask: bool) -> None:
    world, server = certificate_pair(suite, ask_certificate=ask)
    shake(world, server)
    assert server.done
    assert server.connection.get_cipher_name() == NAMES[suite]
    shown = server.connection.get_peer_certificate(as_cryptography=True)
    assert (shown is not None) is ask
    assert shown is None or shown.public_key() == device().key.public_key()
    (question,) = (event for event in world.events if isinstance(event, CertificatePresented))
    expected = rsa_identity() if suite in ECDHE_RSA_SUITES else server_identity()
    assert question.chain == world.completed.facts.chain == expected.chain
    assert world.completed.facts.extended_master_secret
    talk(world, server)


@pytest.mark.parametrize("suite", KEY_SUITES, ids=NAMES.get)
@pytest.mark.parametrize("hint", [None, b"a hint"])
def test_psk_suite(suite: int, hint: bytes | None) -> None:
    world, server = psk_pair(suite, hint=hint)
    shake(world, server)
    assert server.done
    assert server.connection.get_cipher_name() == NAMES[suite]
    assert server.identities == [b"dev1"]
    talk(world, server)


@pytest.mark.parametrize("suite", SUITES, ids=NAMES.get)
def test_cookie_exchange(suite: int) -> None:
    world, server = pair_for(suite, cookie=True)
    first = server.step(world.opening)
    assert [body[0] for datagram in first for _, _, _, body in split(datagram)] == [3]
    second = world.deliver(*first)
    assert server.cookies[0] in b"".join(second)
    answer = world.deliver(*server.step(second))
    world.deliver(*server.step(answer))
    assert server.done
    talk(world, server)


@pytest.mark.parametrize("groups", [(23, 29), (29, 23)])
def test_group(groups: tuple[int, int]) -> None:
    """OpenSSL takes the client's first choice. P-256 has to be listed for the certificate (RFC 8422 section 5.1)."""
    world = ClientWorld(certificate_parameters(groups=groups))
    server = OpensslServer(0xC0AE)
    flight = server.step(world.opening)
    exchange = next(body for record in flight for _, _, _, body in split(record) if body[0] == 12)
    assert exchange[12:15] == b"\x03" + groups[0].to_bytes(2, "big")
    world.deliver(*server.step(world.deliver(*flight)))
    assert server.done
    talk(world, server)


def test_without_extended_master_secret() -> None:
    world = ClientWorld(certificate_parameters(extended_master_secret=False))
    server = OpensslServer(0xC0AE)
    shake(world, server)
    assert server.done
    assert not world.completed.facts.extended_master_secret
    talk(world, server)


@pytest.mark.parametrize("limit", [192, 256, 512])
def test_small_mtu_on_both_sides(limit: int) -> None:
    world, server = certificate_pair(limit=limit, mtu=256)
    flight = server.step(world.opening)
    fragments = [body for record in flight for content_type, _, _, body in split(record) if content_type == 22]
    # It cut its Certificate: otherwise this would show nothing.
    assert any(body[9:12] != body[1:4] for body in fragments)
    answer = world.deliver(*flight)
    assert len(answer) > 1
    assert max(map(len, answer)) <= limit
    world.deliver(*server.step(answer))
    assert server.done
    talk(world, server)


def test_flight_that_arrives_backwards() -> None:
    world, server = certificate_pair(limit=256, mtu=256)
    answer = world.deliver(*reversed(server.step(world.opening)))
    world.deliver(*reversed(server.step(answer)))
    assert server.done
    talk(world, server)


@pytest.mark.parametrize("suite", [0xC0A8, 0xC0AE], ids=NAMES.get)
def test_we_close(suite: int) -> None:
    world, server = pair_for(suite)
    shake(world, server)
    world.connection.close(world.now)
    with pytest.raises(SSL.ZeroReturnError):
        server.receive(world.collect())
    assert world.closed == ["local"]
    world.connection.send(b"too late", world.now)
    assert world.collect() == []


@pytest.mark.parametrize("suite", [0xC0A8, 0xC0AE], ids=NAMES.get)
def test_openssl_closes(suite: int) -> None:
    world, server = pair_for(suite)
    shake(world, server)
    assert server.connection.shutdown() is False  # its close_notify is out, ours has not come
    answer = world.deliver(*server.output())
    assert world.closed == ["close_notify"]
    for datagram in answer:
        server.connection.bio_write(datagram)
    assert server.connection.shutdown() is True  # RFC 5246 section 7.2.1: ours has come in response
    assert server.connection.get_shutdown() & SSL.RECEIVED_SHUTDOWN


def test_device_without_a_certificate() -> None:
    world = ClientWorld(certificate_parameters(credential=None))
    server = OpensslServer(0xC0AE)
    flight = world.deliver(*server.step(world.opening))
    with pytest.raises(SSL.Error, match="peer did not return a certificate"):
        server.step(flight)
    world.deliver(*server.output())
    assert (world.failure.reason, world.failure.alert) == (FailureReason.PEER_ALERT, "handshake_failure")


def test_server_that_is_not_trusted() -> None:
    world, server = certificate_pair()
    world.verdict = HandshakeError(FailureReason.UNKNOWN_ROOT)
    flight = world.deliver(*server.step(world.opening))
    with pytest.raises(SSL.Error, match="unknown ca"):
        server.step(flight)
    assert (world.failure.reason, world.failure.alert) == (FailureReason.UNKNOWN_ROOT, "unknown_ca")


def test_wrong_key() -> None:
    """OpenSSL says nothing to a record that does not open (RFC 6347 section 4.1.2.7): it is ours to give up."""
    world = ClientWorld(psk_parameters(psk=b"not the key of it"))
    server = OpensslServer(0xC0A8, psk=PSK, ask_certificate=False)
    shake(world, server)
    assert not server.done
    assert not world.ended
    assert world.advance(4.0)
    world.advance(60.0)
    assert world.failure.reason is FailureReason.TIMEOUT


def test_no_common_suite() -> None:
    world, server = ClientWorld(psk_parameters(0x00A8)), OpensslServer(0xC0AE)
    with pytest.raises(SSL.Error, match="no shared cipher"):
        server.step(world.opening)
    world.deliver(*server.output())
    assert (world.failure.reason, world.failure.alert) == (FailureReason.PEER_ALERT, "handshake_failure")
