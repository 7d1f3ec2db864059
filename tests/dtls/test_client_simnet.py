"""Handshakes over a bad network. The wire format itself is checked against foreign stacks elsewhere; here it is the
machines' stamina that counts: whatever is lost, doubled or late, both sides come to the same keys."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from gateway.dtls import (
    DEFAULT_SUITES,
    ApplicationData,
    CipherSuite,
    ClientConfig,
    ClientParameters,
    Credential,
    FailureReason,
    HandshakeCompleted,
    HandshakeFailed,
    ServerConfig,
    ServerParameters,
    SigningKey,
)
from tests.dtls.simnet import Link, Simulation

KEY = bytes(range(16))
ROUGH = Link(loss=0.2, duplication=0.2, delay_s=(0.01, 0.4), mtu=512)

PSK_SUITES = tuple(s for s in DEFAULT_SUITES if "PSK" in CipherSuite(s).name)
ECDSA_SUITES = tuple(s for s in DEFAULT_SUITES if "ECDSA" in CipherSuite(s).name)


def self_signed(name: str) -> Credential:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return Credential((certificate.public_bytes(Encoding.DER),), SigningKey(key))


SERVER_CREDENTIAL = self_signed("server")
DEVICE_CREDENTIAL = self_signed("device")
SERVER = ServerConfig(ServerParameters(credential=SERVER_CREDENTIAL), b"s" * 32)
PSK_CLIENT = ClientConfig(ClientParameters(psk_identity=b"dev1", psk=KEY))
CERTIFICATE_CLIENT = ClientConfig(ClientParameters(credential=DEVICE_CREDENTIAL))


def both_done(simulation: Simulation) -> bool:
    return simulation.client.association is not None and any(
        isinstance(event, HandshakeCompleted) for event in simulation.server_events
    )


def complete_and_talk(simulation: Simulation) -> None:
    assert simulation.run(both_done), (simulation.client_events, simulation.server_events)

    def answered(s: Simulation) -> bool:
        return any(isinstance(event, ApplicationData) for event in s.client_events)

    for _ in range(60):  # the link may lose application data too
        simulation.echo(b"hello")
        if simulation.run(answered, limit_s=simulation.now + 1.0):
            break
    data = next(event for event in simulation.client_events if isinstance(event, ApplicationData))
    assert data.data == b"echo hello"


@pytest.mark.parametrize("suite", PSK_SUITES)
def test_every_psk_suite(suite: int) -> None:
    client = ClientConfig(ClientParameters(suites=(suite,), psk_identity=b"dev1", psk=KEY))
    complete_and_talk(Simulation(SERVER, client, keys={b"dev1": KEY}))


@pytest.mark.parametrize("suite", ECDSA_SUITES)
@pytest.mark.parametrize("ems", [True, False])
def test_every_certificate_suite(suite: int, ems: bool) -> None:
    parameters = ClientParameters(suites=(suite,), credential=DEVICE_CREDENTIAL, extended_master_secret=ems)
    simulation = Simulation(SERVER, ClientConfig(parameters))
    complete_and_talk(simulation)
    done = next(event for event in simulation.server_events if isinstance(event, HandshakeCompleted))
    assert done.facts.extended_master_secret is ems
    assert done.facts.chain == DEVICE_CREDENTIAL.chain


def test_good_network_needs_no_repetition() -> None:
    simulation = Simulation(SERVER, CERTIFICATE_CLIENT)
    complete_and_talk(simulation)
    done = next(event for event in simulation.server_events if isinstance(event, HandshakeCompleted))
    assert done.facts.retransmissions == 0


def rough(kind: str, seed: int, server: ServerConfig = SERVER) -> Simulation:
    client = PSK_CLIENT if kind == "psk" else CERTIFICATE_CLIENT
    small = replace(client, datagram_limit=512)
    return Simulation(replace(server, datagram_limit=512), small, seed=seed, link=ROUGH, keys={b"dev1": KEY})


@pytest.mark.parametrize("kind", ["psk", "certificate"])
@pytest.mark.parametrize("first_seed", range(0, 1000, 100))
def test_1000_handshakes_over_a_rough_network(kind: str, first_seed: int) -> None:
    """20% loss, duplication, reordering, MTU 512: 1,000 of 1,000 complete, of either kind."""
    for seed in range(first_seed, first_seed + 100):
        simulation = rough(kind, seed)
        assert simulation.run(both_done), (seed, simulation.client_events, simulation.server_events)
        assert max(len(datagram) for _, datagram in simulation.sent) <= 512


@pytest.mark.parametrize("kind", ["psk", "certificate"])
def test_talks_after_a_rough_handshake(kind: str) -> None:
    for seed in range(2000, 2010):
        complete_and_talk(rough(kind, seed))


def test_wrong_key_fails_on_both_sides() -> None:
    simulation = Simulation(SERVER, PSK_CLIENT, keys={b"dev1": bytes(16)})
    assert simulation.run(lambda s: bool(s.client_events))
    failed = simulation.server_events[-1]
    assert isinstance(failed, HandshakeFailed)
    assert failed.reason is FailureReason.WRONG_KEY
    heard = simulation.client_events[-1]
    assert isinstance(heard, HandshakeFailed)
    assert (heard.reason, heard.alert) == (FailureReason.PEER_ALERT, "decrypt_error")
    assert simulation.server.handshakes_in_progress == 0
    assert not simulation.server.associations
