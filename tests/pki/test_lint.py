"""Every objection has its certificate, and what is an error is what the verifier refuses."""

import ipaddress
import warnings
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier
from hypothesis import given
from hypothesis import strategies as st

from gateway.pki import (
    ChainRefused,
    LintCode,
    Role,
    Severity,
    create_intermediate,
    create_root,
    guess_role,
    issue_device,
    issue_server,
    lint,
)
from gateway.pki import limits as pki_limits
from tests.pki.factory import DAY, NOW, Made, aki, ca, eku, key_usage, make, name, san, store, verify

L = LintCode
ROOT = ca("Root", None, key_usage("key_cert_sign", "crl_sign"))
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
NO_CA = (x509.BasicConstraints(ca=False, path_length=None), True)
CA_TRUE = (x509.BasicConstraints(ca=True, path_length=None), True)
GOOD = (NO_CA, key_usage("digital_signature"), eku(CLIENT))
UNKNOWN = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
RSA_2048 = rsa.generate_private_key(65537, 2048)


def skid(key: ec.EllipticCurvePrivateKey) -> tuple[x509.ExtensionType, bool]:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False


def san_uri() -> tuple[x509.ExtensionType, bool]:
    return san(x509.UniformResourceIdentifier("urn:dev:1"))


def device(*extensions: tuple[x509.ExtensionType, bool], subject: str | x509.Name = "dev", **more: object) -> Made:
    return make(subject, ROOT, *extensions, **more)  # type: ignore[arg-type]


def found(made: Made, role: Role | None = None, at: datetime = NOW) -> dict[LintCode, Severity]:
    findings = lint(made.certificate, at, role)
    assert all(each.text and each.remedy for each in findings)
    assert all(each.text.isprintable() and each.remedy.isprintable() for each in findings)
    order = list(Severity)
    assert [each.severity for each in findings] == sorted((each.severity for each in findings), key=order.index)
    return {each.code: each.severity for each in findings}


def sha1_signed() -> Made:
    """Somebody else's signature algorithm: `cryptography` makes no SHA-1, so its identifier is put in (and no
    signature of that kind, which lint does not check)."""
    good = device(aki(ROOT), *GOOD)
    # ecdsa-with-SHA256 is 1.2.840.10045.4.3.2, ecdsa-with-SHA1 is 1.2.840.10045.4.1: an arc less.
    sha256 = bytes.fromhex("300a06082a8648ce3d040302")
    sha1 = bytes.fromhex("300906072a8648ce3d0401")
    tbs = good.certificate.tbs_certificate_bytes
    body = tbs[4:].replace(sha256, sha1, 1)
    tbs = b"\x30\x82" + len(body).to_bytes(2) + body
    signature = b"\x03\x48\x00" + good.certificate.signature[:71].ljust(71, b"\0")
    whole = tbs + sha1 + signature
    return Made(x509.load_der_x509_certificate(b"\x30\x82" + len(whole).to_bytes(2) + whole), good.key)


DEVICES: dict[str, tuple[Callable[[], Made], LintCode, Severity]] = {
    "too large": (
        lambda: device(aki(ROOT), *GOOD, (x509.UnrecognizedExtension(UNKNOWN.oid, bytes(9000)), False)),
        L.TOO_LARGE,
        Severity.ERROR,
    ),
    "SHA-1": (sha1_signed, L.SHA1_SIGNATURE, Severity.ERROR),
    "signed by Ed25519": (
        lambda: make("dev", Made(ROOT.certificate, ed25519.Ed25519PrivateKey.generate()), *GOOD),
        L.WEAK_SIGNATURE,
        Severity.ERROR,
    ),
    "expired": (lambda: device(*GOOD, begin=NOW - 9 * DAY, end=NOW - DAY), L.EXPIRED, Severity.ERROR),
    "of tomorrow": (lambda: device(*GOOD, begin=NOW + DAY), L.NOT_YET_VALID, Severity.ERROR),
    "soon": (lambda: device(*GOOD, end=NOW + 3 * DAY), L.EXPIRES_SOON, Severity.WARNING),
    "30 years": (lambda: device(*GOOD, end=NOW + 30 * 365 * DAY), L.LONG_LIFETIME, Severity.NOTE),
    "unknown critical": (lambda: device(*GOOD, (UNKNOWN, True)), L.UNKNOWN_CRITICAL_EXTENSION, Severity.ERROR),
    "critical policies": (
        lambda: device(
            *GOOD, (x509.CertificatePolicies([x509.PolicyInformation(ObjectIdentifier("1.2.3"), None)]), True)
        ),
        L.UNKNOWN_CRITICAL_EXTENSION,
        Severity.ERROR,
    ),
    "empty subject": (lambda: device(*GOOD, san_uri(), subject=name()), L.EMPTY_SUBJECT, Severity.WARNING),
    "RSA": (lambda: device(*GOOD, key=RSA_2048), L.WEAK_KEY, Severity.ERROR),
    "secp256k1": (
        lambda: device(*GOOD, key=ec.generate_private_key(ec.SECP256K1())),
        L.WEAK_KEY,
        Severity.ERROR,
    ),
    "self-signed": (lambda: make("dev", None, *GOOD), L.SELF_SIGNED, Severity.NOTE),
    "no AKI": (lambda: device(*GOOD), L.MISSING_AUTHORITY_KEY_ID, Severity.WARNING),
    "no basicConstraints": (lambda: device(), L.MISSING_BASIC_CONSTRAINTS, Severity.NOTE),
    "a CA": (lambda: device(CA_TRUE), L.CA_AS_DEVICE, Severity.ERROR),
    "no keyUsage": (lambda: device(), L.MISSING_KEY_USAGE, Severity.NOTE),
    "keyAgreement": (lambda: device(key_usage("key_agreement")), L.WRONG_KEY_USAGE, Severity.ERROR),
    "no EKU": (lambda: device(), L.MISSING_EXTENDED_KEY_USAGE, Severity.NOTE),
    "serverAuth": (lambda: device(eku(SERVER)), L.WRONG_EXTENDED_KEY_USAGE, Severity.ERROR),
    "no SAN": (lambda: device(*GOOD), L.MISSING_SAN, Severity.NOTE),
    "no name": (lambda: device(*GOOD, subject=name()), L.NO_DEVICE_NAME, Severity.ERROR),
    "two names": (
        lambda: device(*GOOD, san(x509.DNSName("a"), x509.DNSName("b"))),
        L.NO_DEVICE_NAME,
        Severity.ERROR,
    ),
    "a space in the name": (lambda: device(*GOOD, subject="a b"), L.NO_DEVICE_NAME, Severity.ERROR),
}


@pytest.mark.parametrize("case", DEVICES)
def test_objections_to_a_device(case: str) -> None:
    made, code, severity = DEVICES[case]
    assert found(made(), Role.DEVICE)[code] is severity


@pytest.mark.parametrize("case", DEVICES)
def test_an_error_is_what_the_verifier_refuses(case: str) -> None:
    """And what it does not refuse is none. A device is anchored by itself where it has no CA above it."""
    made = DEVICES[case][0]()
    errors = {code for code, severity in found(made, Role.DEVICE).items() if severity is Severity.ERROR}
    anchor = made if made.certificate.issuer == made.certificate.subject else ROOT
    if errors:
        with pytest.raises(ChainRefused):
            verify(store(anchor), made)
    else:
        verify(store(anchor), made)


def p256_ca(*extensions: tuple[x509.ExtensionType, bool], **more: object) -> Made:
    key = ec.generate_private_key(ec.SECP256R1())
    return make("CA", None, *extensions, skid(key), key=key, **more)  # type: ignore[arg-type]


def keyed_ca(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> Made:
    return ca("CA", None, key_usage("key_cert_sign", "crl_sign"), key=key)


def constrained(*permitted: x509.GeneralName) -> Made:
    return ca("CA", None, key_usage("key_cert_sign", "crl_sign"), (x509.NameConstraints(permitted, None), True))


SIGNS = key_usage("key_cert_sign", "crl_sign")
CAS: dict[str, tuple[Callable[[], Made], LintCode, Severity]] = {
    "no basicConstraints": (lambda: p256_ca(SIGNS), L.MISSING_BASIC_CONSTRAINTS, Severity.ERROR),
    "cA false": (lambda: p256_ca(NO_CA, SIGNS), L.NOT_A_CA, Severity.ERROR),
    "not critical": (
        lambda: p256_ca((CA_TRUE[0], False), SIGNS),
        L.BASIC_CONSTRAINTS_NOT_CRITICAL,
        Severity.WARNING,
    ),
    "no keyUsage": (lambda: p256_ca(CA_TRUE), L.MISSING_KEY_USAGE, Severity.WARNING),
    "no keyCertSign": (lambda: p256_ca(CA_TRUE, key_usage("crl_sign")), L.WRONG_KEY_USAGE, Severity.ERROR),
    "no cRLSign": (lambda: p256_ca(CA_TRUE, key_usage("key_cert_sign")), L.MISSING_CRL_SIGN, Severity.WARNING),
    "no SKI": (lambda: make("CA", None, CA_TRUE, SIGNS), L.MISSING_SUBJECT_KEY_ID, Severity.WARNING),
    "secp256k1": (lambda: keyed_ca(ec.generate_private_key(ec.SECP256K1())), L.WEAK_KEY, Severity.ERROR),
    "P-192": (lambda: keyed_ca(ec.generate_private_key(ec.SECP192R1())), L.WEAK_KEY, Severity.ERROR),
    "RSA 1024": (lambda: keyed_ca(rsa.generate_private_key(65537, 1024)), L.WEAK_KEY, Severity.ERROR),
    "directoryName": (
        lambda: constrained(x509.DirectoryName(name("a"))),
        L.NAME_CONSTRAINTS_UNSUPPORTED,
        Severity.ERROR,
    ),
    "a DNS constraint": (lambda: constrained(x509.DNSName("a.example")), L.NAME_CONSTRAINTS, Severity.WARNING),
    "an IP constraint": (
        lambda: constrained(x509.IPAddress(ipaddress.ip_network("192.0.2.0/24"))),
        L.NAME_CONSTRAINTS,
        Severity.WARNING,
    ),
    "expired": (lambda: ca("CA", None, SIGNS, begin=NOW - 9 * DAY, end=NOW - DAY), L.EXPIRED, Severity.ERROR),
}


@pytest.mark.parametrize("case", CAS)
def test_objections_to_a_ca(case: str) -> None:
    made, code, severity = CAS[case]
    assert found(made(), Role.CA)[code] is severity


@pytest.mark.parametrize("case", CAS)
def test_an_error_of_a_ca_is_what_the_verifier_refuses_below_it(case: str) -> None:
    made = CAS[case][0]()
    errors = {code for code, severity in found(made, Role.CA).items() if severity is Severity.ERROR}
    leaf = make("dev", made, aki(made), *GOOD)
    if errors:
        with pytest.raises(ChainRefused):
            verify(store(made), leaf)
    else:
        verify(store(made), leaf)


@pytest.mark.parametrize("case", CAS)
def test_a_warning_of_a_ca_is_what_the_strict_profile_refuses(case: str) -> None:
    """Except what concerns other things than one chain: CRLs, what devices escape, CAs of the same name."""
    made = CAS[case][0]()
    codes = set(found(made, Role.CA)) - {L.MISSING_CRL_SIGN, L.NAME_CONSTRAINTS, L.MISSING_SUBJECT_KEY_ID}
    leaf = make("dev", made, aki(made), *GOOD)
    if codes:
        with pytest.raises(ChainRefused):
            verify(store(made, strict=True), leaf)
    else:
        verify(store(made, strict=True), leaf)


SERVERS: dict[str, tuple[Callable[[], Made], LintCode, Severity]] = {
    "a CA": (lambda: device(CA_TRUE), L.CA_AS_SERVER, Severity.ERROR),
    "keyAgreement": (lambda: device(key_usage("key_agreement")), L.WRONG_KEY_USAGE, Severity.ERROR),
    "clientAuth": (lambda: device(eku(CLIENT)), L.WRONG_EXTENDED_KEY_USAGE, Severity.ERROR),
    "no SAN": (lambda: device(), L.MISSING_SAN, Severity.WARNING),
    "no EKU": (lambda: device(), L.MISSING_EXTENDED_KEY_USAGE, Severity.NOTE),
}


@pytest.mark.parametrize("case", SERVERS)
def test_objections_to_a_server(case: str) -> None:
    made, code, severity = SERVERS[case]
    assert found(made(), Role.SERVER)[code] is severity


def test_every_defect_is_named_at_once() -> None:
    worst = device(CA_TRUE, key_usage("key_agreement"), eku(SERVER), key=RSA_2048, subject=name())
    assert {L.CA_AS_DEVICE, L.WRONG_KEY_USAGE, L.WRONG_EXTENDED_KEY_USAGE, L.WEAK_KEY, L.NO_DEVICE_NAME} <= set(
        found(worst, Role.DEVICE)
    )


def test_what_we_issue_has_no_objection_but_a_common_name() -> None:
    root = create_root("Root", at=NOW)
    issuing = create_intermediate(root, "Issuing", at=NOW)
    for made, role in (
        (root, Role.CA),
        (issuing, Role.CA),
        (issue_server(issuing, ["a.example"], at=NOW), Role.SERVER),
    ):
        assert guess_role(made.certificate) is role
        assert lint(made.certificate, NOW) == []
    assert lint(issue_device(issuing, "urn:dev:1", at=NOW).certificate, NOW) == []
    assert [each.code for each in lint(issue_device(issuing, "dev", at=NOW).certificate, NOW)] == [L.MISSING_SAN]


def test_a_version_1_certificate() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    # Built by hand: `cryptography` makes version 3 only. The same certificate without extensions and without [0].
    good = make("dev", ROOT, key=key).certificate.tbs_certificate_bytes
    assert good[:4][:2] == b"\x30\x82" or good[0] == 0x30
    start = 4 if good[1] == 0x82 else 3
    body = good[start:]
    assert body[:5] == bytes.fromhex("a003020102")
    body = body[5:]
    tbs = b"\x30\x81" + bytes([len(body)]) + body if len(body) < 256 else b"\x30\x82" + len(body).to_bytes(2) + body
    assert isinstance(ROOT.key, ec.EllipticCurvePrivateKey)
    signature = ROOT.key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    bits = b"\x03" + bytes([len(signature) + 1]) + b"\0" + signature
    whole = tbs + bytes.fromhex("300a06082a8648ce3d040302") + bits
    der = b"\x30\x82" + len(whole).to_bytes(2) + whole
    old = Made(x509.load_der_x509_certificate(der), key)
    assert found(old, Role.DEVICE)[L.NOT_VERSION_3] is Severity.ERROR
    with pytest.raises(ChainRefused):
        verify(store(ROOT), old)


def test_serial_numbers() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder(name("dev"), name("dev"), key.public_key(), 1, NOW - DAY, NOW + DAY)
    one = Made(builder.sign(key, hashes.SHA256()), key)
    assert L.SERIAL_NUMBER not in found(one, Role.DEVICE)
    # Version 3 and the serial number 1; `cryptography` makes no zero.
    start = bytes.fromhex("a003020102 020101")
    assert one.der.count(start) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zero = Made(x509.load_der_x509_certificate(one.der.replace(start, start[:-1] + b"\0")), key)
        assert found(zero, Role.DEVICE)[L.SERIAL_NUMBER] is Severity.WARNING


def test_dates_the_wrong_way_round() -> None:
    made = device(*GOOD, begin=NOW - DAY, end=NOW + DAY)
    begin, end = (NOW - DAY).strftime("%y%m%d%H%M%SZ").encode(), (NOW + DAY).strftime("%y%m%d%H%M%SZ").encode()
    der = made.der.replace(begin, b"#" * 13).replace(end, begin).replace(b"#" * 13, end)
    turned = Made(x509.load_der_x509_certificate(der), made.key)
    assert found(turned, Role.DEVICE)[L.DATES_REVERSED] is Severity.ERROR


def test_no_end_is_no_long_lifetime_of_a_device() -> None:
    end = datetime(9999, 12, 31, 23, 59, 59, tzinfo=NOW.tzinfo)
    assert L.LONG_LIFETIME not in found(device(*GOOD, end=end), Role.DEVICE)
    assert timedelta(days=21 * 365) == pki_limits.LONG_LIFETIME


SOME = device(aki(ROOT), *GOOD, san_uri()).der


@given(st.data())
def test_whatever_the_bytes(data: st.DataObject) -> None:
    """A certificate with some byte changed, if it still loads, is linted without an exception."""
    der = bytearray(SOME)
    for _ in range(data.draw(st.integers(1, 4))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    try:
        certificate = x509.load_der_x509_certificate(bytes(der))
    except ValueError:
        return
    for role in (None, *Role):
        try:
            findings = lint(certificate, NOW, role)
        except ValueError:
            pytest.fail(f"lint raised on {certificate.public_bytes(Encoding.DER).hex()}")
        assert all(each.text.isprintable() for each in findings)
