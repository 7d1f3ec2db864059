"""Signing requests and renewals: what is taken of what somebody brings, and what is not."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from gateway.pki import (
    PkiError,
    TrustAnchor,
    TrustStore,
    create_intermediate,
    create_root,
    device_name,
    issue_device,
    issue_server,
    parse_request,
    renew,
    requested_name,
    sign_device,
    sign_intermediate,
)
from tests.pki.factory import DAY, NOW, Extension, Key, Made, aki, make, name, san, store, verify

ROOT = create_root("Root", at=NOW - 500 * DAY)
CA = create_intermediate(ROOT, "Issuing", at=NOW - 500 * DAY)
TRUST = TrustStore([TrustAnchor.of(ROOT.certificate)])
KEY = ec.generate_private_key(ec.SECP256R1())


def request(subject: x509.Name, *extensions: Extension, key: Key = KEY) -> x509.CertificateSigningRequest:
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    made = builder.sign(key, digest)
    return parse_request(made.public_bytes(Encoding.PEM))


def accepted(certificate: x509.Certificate) -> str:
    chain = [certificate, CA.certificate]
    return TRUST.verify([each.public_bytes(Encoding.DER) for each in chain], NOW).device_name


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (request(name("dev-1", "Somebody", "4711")), "dev-1"),
        (request(name(), san(x509.UniformResourceIdentifier("urn:dev:1"))), "urn:dev:1"),
        (request(name("no"), san(x509.DNSName("dev.example"))), "dev.example"),
        (request(name(serial="4711")), "4711"),
        (request(name("dev-1"), key=ec.generate_private_key(ec.SECP384R1())), "dev-1"),
        (request(name("dev-1"), key=ed25519.Ed25519PrivateKey.generate()), "dev-1"),
    ],
    ids=["common name", "URI", "DNS", "serialNumber", "P-384", "Ed25519"],
)
def test_a_request_becomes_a_certificate_of_its_key(asked: x509.CertificateSigningRequest, expected: str) -> None:
    certificate = sign_device(CA, asked, at=NOW)
    assert accepted(certificate) == requested_name(asked) == expected
    assert certificate.public_key() == asked.public_key()


def test_nothing_else_of_the_request_is_taken() -> None:
    asked = request(
        name("dev-1", "Somebody"),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), True),
        (x509.OCSPNoCheck(), False),
        san(x509.UniformResourceIdentifier("urn:dev:1"), x509.DNSName("admin.example")),
    )
    certificate = sign_device(CA, asked, at=NOW)
    ours = issue_device(CA, "urn:dev:1", at=NOW).certificate
    assert {each.oid for each in certificate.extensions} == {each.oid for each in ours.extensions}
    assert certificate.subject == ours.subject == x509.Name([])
    for kind in (x509.ExtendedKeyUsage, x509.SubjectAlternativeName, x509.BasicConstraints, x509.KeyUsage):
        assert certificate.extensions.get_extension_for_class(kind) == ours.extensions.get_extension_for_class(kind)


def test_the_operator_may_name_the_device() -> None:
    assert accepted(sign_device(CA, request(name("whatever")), "dev-9", at=NOW)) == "dev-9"
    with pytest.raises(PkiError, match="--device"):
        sign_device(CA, request(name()), at=NOW)


def test_a_request_for_a_ca_gets_none() -> None:
    asked = request(name("dev"), (x509.BasicConstraints(ca=True, path_length=None), True))
    with pytest.raises(PkiError, match="ca create --intermediate --csr"):
        sign_device(CA, asked, at=NOW)


@pytest.mark.parametrize(
    "key", [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256K1())], ids=["RSA", "secp256k1"]
)
def test_keys_that_no_device_may_have(key: Key) -> None:
    with pytest.raises(PkiError, match="secp256r1"):
        sign_device(CA, request(name("dev"), key=key), at=NOW)
    with pytest.raises(PkiError, match="P-256"):
        sign_intermediate(ROOT, request(name("CA"), key=key), "CA", at=NOW)


def test_a_request_that_another_key_signed_is_refused() -> None:
    """RFC 2986 section 4.2: the signature shows that the asker has the key."""
    good, other = request(name("dev")), request(name("dev"), key=ec.generate_private_key(ec.SECP256R1()))
    der, point = good.public_bytes(Encoding.DER), _point(good)
    with pytest.raises(PkiError, match="signature of the request"):
        parse_request(der.replace(point, _point(other)))


def _point(asked: x509.CertificateSigningRequest) -> bytes:
    key = asked.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key.public_numbers().x.to_bytes(32) + key.public_numbers().y.to_bytes(32)


@given(st.data())
def test_a_damaged_request_is_refused_in_words(data: st.DataObject) -> None:
    der = bytearray(_DER)
    place = data.draw(st.integers(0, len(der) - 1))
    der[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(PkiError):
        parse_request(bytes(der))


_DER = request(name("dev"), san(x509.DNSName("dev.example"))).public_bytes(Encoding.DER)


@given(st.binary(max_size=200))
def test_what_is_no_request(data: bytes) -> None:
    with pytest.raises(PkiError):
        parse_request(data)


def test_an_intermediate_that_has_its_own_key() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    certificate = sign_intermediate(ROOT, request(name("no matter"), key=key), "Line 1", at=NOW)
    line = Made(certificate, key)
    leaf = make("dev", line, aki(line))
    assert verify(store(Made(ROOT.certificate, ROOT.private_key), strict=True), leaf, line).device_name == "dev"
    with pytest.raises(PkiError, match="pathLenConstraint"):
        sign_intermediate(CA, request(name("CA")), "Too low", at=NOW)


# Renewal.


@pytest.mark.parametrize("device", ["dev-1", "urn:dev:1"])
def test_a_renewed_certificate_has_the_old_name_and_key(device: str) -> None:
    old = issue_device(CA, device, at=NOW - 400 * DAY, lifetime=timedelta(days=365))
    new = renew(CA, old.certificate, at=NOW)
    assert accepted(new) == device_name(old.certificate) == device
    assert new.public_key() == old.certificate.public_key()
    assert new.serial_number != old.certificate.serial_number
    assert new.not_valid_after_utc > NOW > old.certificate.not_valid_after_utc


def test_a_renewal_with_a_new_key() -> None:
    old = issue_device(CA, "dev-1", at=NOW)
    new = renew(CA, old.certificate, KEY.public_key(), at=NOW)
    assert new.public_key() == KEY.public_key() != old.certificate.public_key()
    assert accepted(new) == "dev-1"


def test_a_server_stays_a_server() -> None:
    old = issue_server(CA, ["a.example", "192.0.2.1"], at=NOW - 300 * DAY)
    new = renew(CA, old.certificate, at=NOW)
    for kind in (x509.SubjectAlternativeName, x509.ExtendedKeyUsage):
        assert new.extensions.get_extension_for_class(kind) == old.certificate.extensions.get_extension_for_class(kind)
    assert (new.not_valid_after_utc - NOW).days == 397


def test_what_another_ca_issued_is_not_renewed_unless_that_ca_is_named() -> None:
    other = create_intermediate(ROOT, "Issuing", at=NOW)
    old = issue_device(other, "dev-1", at=NOW).certificate
    with pytest.raises(PkiError, match="--previous-ca"):
        renew(CA, old, at=NOW)
    assert accepted(renew(CA, old, previous_ca=other.certificate, at=NOW)) == "dev-1"


def test_a_ca_that_is_not_valid_yet_issues_nothing() -> None:
    with pytest.raises(PkiError, match="clock"):
        issue_device(CA, "dev-1", at=NOW - 600 * DAY, lifetime=DAY)


def test_what_cannot_be_renewed() -> None:
    above = Made(CA.certificate, CA.private_key)
    with pytest.raises(PkiError, match="ca create"):
        renew(ROOT, CA.certificate, at=NOW)
    with pytest.raises(PkiError, match="accepted are keys on"):
        renew(CA, make("dev", above, key=rsa.generate_private_key(65537, 2048)).certificate, at=NOW)
    with pytest.raises(PkiError, match="none of the names"):
        renew(CA, make(name(), above).certificate, at=NOW)
    # With a new key, the old one does not matter.
    rescued = renew(
        CA, make("dev", above, key=rsa.generate_private_key(65537, 2048)).certificate, KEY.public_key(), at=NOW
    )
    assert accepted(rescued) == "dev"
