"""Who must not get in, seen from both sides: the alert on the wire, one log line and one count with the reason.

The alert is the number that `openssl s_client` prints. The numbers are RFC 5246 section 7.2.2's.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.pki import CertifiedKey, create_root, issue_device
from tests.interop.devices import Certified, Psk, write_device
from tests.interop.gateway_process import Gateway, Site, total
from tests.interop.openssl import PSK_SUITES, Refused, refused
from tests.pki.factory import Extension, Key, Made, aki, eku, key_usage, make

pytestmark = pytest.mark.interop

HANDSHAKE_FAILURE = 40
BAD_CERTIFICATE = 42
UNSUPPORTED_CERTIFICATE = 43
CERTIFICATE_EXPIRED = 45
UNKNOWN_CA = 48
DECRYPT_ERROR = 51

PSK = "TLS_PSK_WITH_AES_128_CCM_8"
CERTIFICATE = "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"
DAY = timedelta(days=1)


def signed(
    site: Site, name: str, *extensions: Extension, key: Key | None = None, begin_days: int = -1, end_days: int = 30
) -> Certified:
    """A device whose certificate is in order but for what is given."""
    now, issuing = datetime.now(UTC), site.pki.intermediate
    issuer = Made(issuing.certificate, issuing.private_key)
    begin, end = now + begin_days * DAY, now + end_days * DAY
    made = make(name, issuer, aki(issuer), *extensions, key=key, begin=begin, end=end)
    return write_device(site, name, (made.certificate, *issuing.presented), made.key)


def issued(site: Site, name: str, by: CertifiedKey, *, leaf_only: bool = False) -> Certified:
    made = issue_device(by, name)
    return write_device(site, name, made.presented[:1] if leaf_only else made.presented, made.private_key)


def intermediate_itself(site: Site) -> Certified:
    return write_device(site, "ca", site.pki.intermediate.presented, site.pki.intermediate.private_key)


def without_certificate(site: Site) -> Certified | None:
    return None


# What is presented, the alert, the reason, and a word of the hint that tells the operator what to look at.
CHAINS: dict[str, tuple[Callable[[Site], Certified | None], int, str, str]] = {
    "no certificate": (without_certificate, HANDSHAKE_FAILURE, "no_certificate", "certificate"),
    "expired": (
        lambda site: signed(site, "expired", begin_days=-9, end_days=-1),
        CERTIFICATE_EXPIRED,
        "certificate_expired",
        "1 day",
    ),
    "not yet valid": (
        lambda site: signed(site, "early", begin_days=2),
        CERTIFICATE_EXPIRED,
        "certificate_not_yet_valid",
        "clock",
    ),
    "unknown root": (
        lambda site: issued(site, "stranger", create_root("Stranger")),
        UNKNOWN_CA,
        "unknown_root",
        "gateway ca trust",
    ),
    "missing intermediate": (
        lambda site: issued(site, "alone", site.pki.intermediate, leaf_only=True),
        UNKNOWN_CA,
        "missing_intermediate",
        "chain file",
    ),
    "CA certificate as device": (intermediate_itself, BAD_CERTIFICATE, "ca_as_leaf", "CA certificate"),
    "key usage without digitalSignature": (
        lambda site: signed(site, "usage", key_usage("key_agreement")),
        BAD_CERTIFICATE,
        "wrong_key_usage",
        "digitalSignature",
    ),
    "extended key usage without clientAuth": (
        lambda site: signed(site, "purpose", eku(ExtendedKeyUsageOID.SERVER_AUTH)),
        BAD_CERTIFICATE,
        "wrong_key_usage",
        "clientAuth",
    ),
    "weak key: P-224": (
        lambda site: signed(site, "p224", key=ec.generate_private_key(ec.SECP224R1())),
        UNSUPPORTED_CERTIFICATE,
        "weak_key",
        "P-256",
    ),
    # Its OpenSSL sees that the server takes no RSA certificate, and presents none.
    "weak key: RSA-1024": (
        lambda site: signed(site, "rsa", key=rsa.generate_private_key(65537, 1024)),
        HANDSHAKE_FAILURE,
        "no_certificate",
        "P-256",
    ),
    "name that cannot be a device's": (
        lambda site: write_device(site, "nameless", *nameless(site)),
        BAD_CERTIFICATE,
        "no_device_name",
        "name",
    ),
}


LEFT_BEHIND = {"timeout", "fragment_timeout", "idle", "session_ended", "timed_out"}


def nameless(site: Site) -> tuple[tuple[x509.Certificate, ...], Key]:
    now, issuing = datetime.now(UTC), site.pki.intermediate
    issuer = Made(issuing.certificate, issuing.private_key)
    made = make(x509.Name([]), issuer, aki(issuer), begin=now - DAY, end=now + DAY)
    return (made.certificate, *issuing.presented), made.key


def check_refusal(gateway: Gateway, device: Psk | Certified | None, suite: str, *, alert: int, reason: str) -> str:
    """Looks at a refused handshake from all sides; returns the hint."""
    seen, before = len(gateway.log), gateway.samples()
    outcome = refused(gateway.port, device, suite)
    after = gateway.samples()
    assert outcome.alert == alert, outcome.text
    assert outcome.status != 0
    assert "CONNECTION ESTABLISHED" not in outcome.text

    # A client of another test may have given up, and its handshake or session times out in this moment.
    events = [line for line in gateway.log.lines(after=seen) if line.get("reason") not in LEFT_BEHIND]
    late = len(gateway.log.lines("dtls.handshake_failed", after=seen)) - 1
    (line,) = events
    assert (line["event"], line["level"], line["reason"]) == ("dtls.handshake_failed", "warning", reason)
    auth = "psk" if suite in PSK_SUITES else "x509"
    assert (line["auth"], line["suite"]) == (auth, suite)

    name = "gateway_dtls_handshakes_total"
    labels = {"auth": auth, "mode": "full", "result": "failure", "reason": reason}
    assert total(after, name, **labels) == total(before, name, **labels) + 1
    assert total(after, name) in range(int(total(before, name)) + 1, int(total(before, name)) + 2 + late)
    sent = {"direction": "sent", "level": "fatal", "description": line["alert"]}
    assert total(after, "gateway_dtls_alerts_total", **sent) == total(before, "gateway_dtls_alerts_total", **sent) + 1
    assert total(after, "gateway_dtls_sessions") == total(before, "gateway_dtls_sessions")
    # Not zero: likewise.
    in_progress = "gateway_dtls_handshakes_in_progress"
    assert total(after, in_progress) <= total(before, in_progress)
    hint: str = line["hint"]
    return hint


@pytest.mark.parametrize("case", CHAINS)
def test_certificates(gateway: Gateway, case: str) -> None:
    make_device, alert, reason, hint = CHAINS[case]
    found = check_refusal(gateway, make_device(gateway.site), CERTIFICATE, alert=alert, reason=reason)
    assert hint in found


@pytest.mark.parametrize("suite", PSK_SUITES)
def test_wrong_key(gateway: Gateway, suite: str) -> None:
    hint = check_refusal(gateway, Psk(key=b"not the right key"[:16]), suite, alert=DECRYPT_ERROR, reason="wrong_key")
    assert "key" in hint


@pytest.mark.parametrize("suite", PSK_SUITES)
def test_unknown_identity(gateway: Gateway, suite: str) -> None:
    device = Psk("nobody-of-ours")
    hint = check_refusal(gateway, device, suite, alert=DECRYPT_ERROR, reason="unknown_identity")
    assert "gateway device add ID --psk-identity nobody-of-ours" in hint


def test_unknown_identity_and_wrong_key_look_alike(gateway: Gateway) -> None:
    def shape(outcome: Refused) -> list[str]:
        """Kind and length of everything that the client received."""
        return [line for line in outcome.text.splitlines() if line.startswith("<<<")]

    wrong = refused(gateway.port, Psk(key=bytes(16)), PSK, "-msg")
    unknown = refused(gateway.port, Psk("dev2"), PSK, "-msg")
    assert len(shape(wrong)) == 8  # header and body of HelloVerifyRequest, ServerHello, ServerHelloDone, alert
    assert shape(wrong) == shape(unknown)
    assert wrong.alert == unknown.alert == DECRYPT_ERROR


def test_a_refused_device_does_not_exist_afterwards(gateway: Gateway) -> None:
    device = signed(gateway.site, "late", begin_days=-9, end_days=-1)
    seen = len(gateway.log)
    assert refused(gateway.port, device, CERTIFICATE).alert == CERTIFICATE_EXPIRED
    assert gateway.log.lines("registry.device_created", after=seen) == []
