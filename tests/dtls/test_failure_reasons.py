"""From a typed reason to an alert (RFC 5246 7.2.2), and what the operator is told."""

from typing import Any

import pytest

from gateway.dtls import ALERT_FOR, FailureReason, HandshakeError
from gateway.dtls.messages import extensions as ext
from tests.dtls import stages
from tests.dtls.rawclient import RawClient, default_extensions
from tests.dtls.support import World, alerts, certificate_client, device


def with_list(extension: int, *values: int) -> RawClient:
    client = certificate_client()
    client.extensions = {**default_extensions(), extension: ext.encode_u16_list(values)}
    return client


# What the text of RFC 5246 7.2.2 (and RFC 4279 section 2 for keys) says for each; None: nothing is sent.
ALERTS = {
    "decode_error": 50,
    "unexpected_message": 10,
    "illegal_parameter": 47,
    "handshake_too_large": 40,
    "protocol_version": 70,
    "no_shared_suite": 40,
    "no_shared_group": 40,
    "no_shared_signature_algorithm": 40,
    "no_extended_master_secret": 40,
    "insecure_renegotiation": 40,  # RFC 5746 3.6: "MUST abort the handshake"
    "unsupported_extension": 110,
    "unknown_identity": 51,
    "wrong_key": 51,
    "no_certificate": 40,  # 7.4.6: "a fatal handshake_failure alert"
    "bad_certificate": 42,
    "certificate_expired": 45,  # "has expired or is not currently valid"
    "certificate_not_yet_valid": 45,
    "certificate_revoked": 44,  # "was revoked by its signer"
    "certificate_banned": 44,
    "revocation_unknown": 46,  # "some other (unspecified) issue arose in processing the certificate"
    "unknown_root": 48,
    "missing_intermediate": 48,
    "ca_as_leaf": 42,
    "wrong_key_usage": 42,
    "weak_key": 43,
    "chain_too_long": 42,
    "no_device_name": 42,
    "possession_not_proven": 51,
    "no_shared_certificate_type": 43,  # RFC 7250 4.2: "unsupported_certificate"
    "unknown_public_key": 46,
    "not_provisioned": 49,
    "device_disabled": 49,
    "device_pending": 49,
    "device_quarantined": 49,
    "tenant_disabled": 49,
    "no_tenant": 49,
    "credential_expired": 49,
    "psk_ended": 49,
    "provisioning_denied": 49,
    "provisioning_unavailable": 80,
    "credential_revoked": 49,
    "other_issuer": 49,
    "registry_full": 49,
    "registry_unavailable": 80,
    "finished_mismatch": 51,
    "resumption_mismatch": 40,
    "timeout": None,
    "fragment_timeout": None,
    "cookie_loop": None,
    "peer_alert": None,
    "superseded": None,
    "evicted": None,
    "buffers_full": None,
    "too_many_waiting": None,
    "shutdown": 90,
    "internal_error": 80,
}


def test_every_reason_has_an_entry() -> None:
    assert set(ALERT_FOR) == set(FailureReason)
    assert set(ALERTS) == {reason.value for reason in FailureReason}


@pytest.mark.parametrize(("reason", "alert"), ALERTS.items())
def test_alert_of_a_reason(reason: str, alert: int | None) -> None:
    assert ALERT_FOR[FailureReason(reason)] == alert


VERDICTS = [
    "bad_certificate",
    "certificate_expired",
    "certificate_not_yet_valid",
    "unknown_root",
    "missing_intermediate",
    "ca_as_leaf",
    "wrong_key_usage",
    "weak_key",
    "chain_too_long",
    "no_device_name",
    "unknown_public_key",
    "not_provisioned",
    "device_disabled",
    "credential_revoked",
    "other_issuer",
    "registry_full",
    "registry_unavailable",
]


@pytest.mark.parametrize("reason", VERDICTS)
def test_verdict_of_the_shell_goes_out_as_its_alert_without_its_words(reason: str) -> None:
    world, client = World(), certificate_client()
    world.verdict = HandshakeError(FailureReason(reason), "words for the operator")
    world.reach_server_done(client)
    answers = client.read(world.deliver(*client.answer_flight()))
    assert [(record.epoch, record.content) for record in answers] == [(0, bytes((2, ALERTS[reason] or 0)))]
    (failure,) = world.failures
    assert (failure.reason.value, failure.detail) == (reason, "words for the operator")
    assert failure.alert is not None
    assert world.endpoint.counters.alerts == {("sent", "fatal", failure.alert): 1}
    assert failure.facts.chain == device().chain
    assert world.endpoint.handshakes_in_progress == 0


@pytest.mark.parametrize(
    ("client", "world", "words"),
    [
        (
            RawClient(suites=(0x002F, 0x00FF)),
            {},
            "the client offers only suites that this gateway does not have: 0x002F",
        ),
        (RawClient(suites=(0x00FF,)), {}, "the client offers only suites that this gateway does not have: none"),
        (
            RawClient(suites=(0xC02F, 0x00FF)),
            {"certificate": False},
            "the client offers suites that cannot be used here: "
            "this gateway has not got a server certificate with an RSA key",
        ),
        (
            RawClient(),
            {"psk": False},
            "the client offers suites that cannot be used here: this gateway has not got pre-shared keys",
        ),
        (
            RawClient(suites=(0xC0A4, 0x002F)),
            {"suites": (0xC0A8,)},
            "the client offers suites that cannot be used here: "
            "[dtls] cipher_suites leaves out TLS_PSK_WITH_AES_128_CCM",
        ),
        (RawClient(version=0xFEFF), {}, "the client speaks DTLS 1.0 at most"),
        (RawClient(version=0x0303), {}, "the client speaks version 0x0303 at most"),
        (with_list(10, 25, 30), {}, "the client offers only 0x0019, 0x001E"),
        (with_list(10, 29), {}, "the client offers only X25519; our certificate is on SECP256R1"),
        (with_list(13, 0x0201, 0x0804), {}, "the client takes only the signatures 0x0201, RSA_PSS_RSAE_SHA256"),
    ],
)
def test_hello_that_fits_nothing_is_explained_by_name(client: RawClient, world: dict[str, Any], words: str) -> None:
    refused = World(**world)
    client.read(refused.deliver(client.hello()))
    refused.deliver(client.hello())
    (failure,) = refused.failures
    assert failure.detail == words


@pytest.mark.parametrize(
    ("alert", "words"),
    [
        (
            48,
            "the peer sent the alert unknown_ca; it does not accept our certificate: look at the CA, the host name and "
            "the clock that it has",
        ),
        (51, "the peer sent the alert decrypt_error"),
        (201, "the peer sent the alert unknown 201"),
    ],
)
def test_alert_of_the_peer_is_explained(alert: int, words: str) -> None:
    world, client = World(), certificate_client()
    world.reach_server_done(client)
    world.deliver(client.alert(2, alert))
    (failure,) = world.failures
    assert failure.detail == words


def test_timeout_names_the_message_that_did_not_come() -> None:
    world, client = World(), certificate_client()
    world.reach_server_done(client)
    world.advance(200.0)
    (failure,) = world.failures
    assert failure.detail == "waited for the peer's certificate, which did not come"


def test_certificate_finished_that_does_not_authenticate() -> None:
    world, client = World(), certificate_client()
    world.reach_server_done(client)
    *before, finished = client.answer_flight()
    assert alerts(client.read(world.deliver(*before, finished[:-1] + bytes((finished[-1] ^ 1,))))) == [(2, 51)]
    assert world.reason == "finished_mismatch"


@pytest.mark.parametrize("content", [b"\x05hello", b"\x0c" + bytes(12)])
def test_renegotiation_info_of_a_first_handshake_must_be_empty(content: bytes) -> None:
    # RFC 5746 3.6
    world, client = World(), RawClient(extensions={0xFF01: content})
    assert alerts(client.read(world.reach_server_done(client))) == [(2, 40)]
    assert world.reason == "insecure_renegotiation"


@pytest.mark.parametrize(
    ("suites", "extensions", "answered"),
    [
        ((0xC0A8, 0x00FF), None, True),
        ((0xC0A8,), {0xFF01: b"\x00"}, True),
        ((0xC0A8, 0x00FF), {0xFF01: b"\x00"}, True),
        ((0xC0A8,), {}, False),
    ],
)
def test_renegotiation_info_is_answered_empty(
    suites: tuple[int, ...], extensions: dict[int, bytes] | None, answered: bool
) -> None:
    # RFC 5746 3.6: the extension or the signalling suite; a client with neither is served too (it is old, not hostile).
    world, client = World(), RawClient(suites=suites, extensions=extensions)
    world.connect(client)
    assert client.server_hello is not None
    assert (client.server_hello.extensions or {}).get(0xFF01) == (b"\x00" if answered else None)


@pytest.mark.parametrize(("kind", "state"), [each for each in stages.UNFINISHED if "Finished" not in each[1]])
def test_fatal_alert_of_the_peer_ends_the_handshake_without_an_answer(kind: str, state: str) -> None:
    stage = stages.reach(kind, state)
    assert stage.world.deliver(stage.client.alert(2, 48)) == []
    (failure,) = stage.world.failures
    assert (failure.reason.value, failure.alert) == ("peer_alert", "unknown_ca")
    assert stage.world.endpoint.counters.alerts == {("received", "fatal", "unknown_ca"): 1}
    assert stage.world.endpoint.handshakes_in_progress == 0


@pytest.mark.parametrize(("kind", "state"), stages.UNFINISHED)
def test_warning_of_the_peer_is_not_the_end(kind: str, state: str) -> None:
    stage = stages.reach(kind, state)
    assert stage.world.deliver(stage.client.alert(1, 90)) == []
    stage.complete()


def test_close_notify_before_the_end_is_the_end() -> None:
    stage = stages.reach("psk", "ExpectPskKeyExchange")
    assert stage.world.deliver(stage.client.alert(1, 0)) == []
    assert stage.world.reason == "peer_alert"


def test_protected_alert_instead_of_finished() -> None:
    stage = stages.reach("psk", "ExpectFinished")
    assert stage.world.deliver(stage.client.alert(2, 80, epoch=1)) == []
    assert stage.world.failures[0].alert == "internal_error"


def test_protected_application_data_instead_of_finished() -> None:
    stage = stages.reach("psk", "ExpectFinished")
    assert stage.world.deliver(stage.client.data(b"early")) == []
    assert stage.world.drops() == {"unexpected": 1}
    stage.complete()


@pytest.mark.parametrize(("kind", "state"), stages.UNFINISHED)
def test_shut_down_tells_everybody(kind: str, state: str) -> None:
    stage = stages.reach(kind, state)
    world, client = stage.world, stage.client
    world.endpoint.shut_down(world.now)
    assert alerts(client.read(world.collect())) == [(2, 90)]
    assert world.reason == "shutdown"


def test_shut_down_closes_associations() -> None:
    world, client = World(), RawClient()
    association = world.connect(client)
    world.endpoint.shut_down(world.now)
    assert alerts(client.read(world.collect())) == [(1, 0)]
    assert [event.reason for event in world.closed] == ["drain"]
    assert association.closed
    # Closed is closed.
    world.endpoint.send(association, b"x", world.now)
    world.endpoint.close(association, world.now)
    assert world.collect() == []
    assert len(world.closed) == 1


def test_error_s_text_is_reason_and_words() -> None:
    assert str(HandshakeError(FailureReason.WRONG_KEY)) == "wrong_key"
    assert str(HandshakeError(FailureReason.WRONG_KEY, "check the key")) == "wrong_key: check the key"
