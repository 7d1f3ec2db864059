"""Several server certificates: chosen by the name that the client asks for (RFC 6066 section 3), and by what it can
verify (RFC 5246 section 7.4.2, RFC 8422 section 5.1)."""

from datetime import UTC, datetime
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from gateway.dtls import Credential, ServerParameters, SigningKey
from gateway.dtls.handshake.negotiation import Negotiated, negotiate
from gateway.dtls.messages import extensions as ext
from gateway.dtls.messages.hello import ClientHello
from tests.dtls.rawclient import Key

ALL_GROUPS, ALL_SCHEMES = (29, 23, 24), (0x0403, 0x0503, 0x0807, 0x0804, 0x0401)


@cache
def made(kind: str, *names: str) -> Credential:
    """A certificate for some DNS names; the common name is one that nobody may go by."""
    keys: dict[str, Key] = {
        "p256": ec.generate_private_key(ec.SECP256R1()),
        "p384": ec.generate_private_key(ec.SECP384R1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate(),
        "rsa": rsa.generate_private_key(65537, 2048),
    }
    key = keys[kind]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "common.example")])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
    builder = builder.not_valid_after(datetime(2120, 1, 1, tzinfo=UTC))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(map(x509.DNSName, names)), critical=False)
    certificate = builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    return Credential((certificate.public_bytes(Encoding.DER),), SigningKey(key))


DEFAULT, OTHER = made("p256", "default.example"), made("p256", "other.example", "*.wild.example")
RSA, RSA_OTHER = made("rsa", "default.example"), made("rsa", "rsa.example")
P384, ED25519 = made("p384", "default.example"), made("ed25519", "default.example")


def chosen(
    *ours: Credential,
    name: str | None = None,
    suites: tuple[int, ...] = (0xC02B, 0xC02F),
    groups: tuple[int, ...] = ALL_GROUPS,
    schemes: tuple[int, ...] = ALL_SCHEMES,
) -> Negotiated:
    extensions = {10: ext.encode_u16_list(groups), 13: ext.encode_u16_list(schemes)}
    if name is not None:
        extensions[0] = ext.encode_server_name(name)
    return negotiate(
        ClientHello(bytes(32), suites, extensions), ServerParameters(credential=ours[0], more_credentials=ours[1:])
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, DEFAULT),
        ("default.example", DEFAULT),
        ("other.example", OTHER),
        ("OTHER.Example", OTHER),
        ("other.example.", OTHER),
        ("a.wild.example", OTHER),
        # The asterisk is one label, and a whole one (RFC 6125 section 6.4.3).
        ("wild.example", DEFAULT),
        ("a.b.wild.example", DEFAULT),
        (".wild.example", DEFAULT),
        ("*.wild.example", OTHER),
        # A subject's common name is no name (RFC 9525 section 2), and an address or "localhost" none of ours.
        ("common.example", DEFAULT),
        ("127.0.0.1", DEFAULT),
        ("localhost", DEFAULT),
        ("xother.example", DEFAULT),
        ("other.example.org", DEFAULT),
        ("example", DEFAULT),
    ],
)
def test_5_11_certificate_for_the_name(name: str | None, expected: Credential) -> None:
    assert chosen(DEFAULT, OTHER, name=name).credential is expected


def test_5_11_default_is_the_first_of_them() -> None:
    assert chosen(OTHER, DEFAULT).credential is OTHER
    assert chosen(OTHER, DEFAULT, name="nobody.example").credential is OTHER


def test_5_11_without_a_default_the_others_serve() -> None:
    parameters = ServerParameters(more_credentials=(OTHER, RSA))
    hello = ClientHello(bytes(32), (0xC02B,), {13: ext.encode_u16_list(ALL_SCHEMES)})
    assert negotiate(hello, parameters).credential is OTHER
    assert 0xC02F in parameters.usable_suites
    assert 0xC02F not in ServerParameters(credential=OTHER).usable_suites
    assert 0xC02B not in ServerParameters(credential=RSA).usable_suites


def test_3_4_kind_of_suite_goes_with_the_kind_of_key() -> None:
    assert chosen(DEFAULT, RSA, suites=(0xC02F,)).credential is RSA
    assert chosen(RSA, DEFAULT, suites=(0xC02B,)).credential is DEFAULT
    # Both would do: the order of the suites decides.
    assert chosen(RSA, DEFAULT).credential is DEFAULT


@pytest.mark.parametrize(
    ("groups", "schemes", "expected"),
    [
        ((23,), ALL_SCHEMES, DEFAULT),
        ((24,), ALL_SCHEMES, P384),  # RFC 8422 section 5.1: the list holds for the certificate's curve too
        ((29,), ALL_SCHEMES, ED25519),
        (ALL_GROUPS, (0x0807,), ED25519),
        (ALL_GROUPS, (0x0804,), RSA),
        ((29,), (0x0403, 0x0401), RSA),
    ],
)
def test_2_7_certificate_that_the_client_can_verify(
    groups: tuple[int, ...], schemes: tuple[int, ...], expected: Credential
) -> None:
    result = chosen(DEFAULT, P384, ED25519, RSA, groups=groups, schemes=schemes)
    assert result.credential is expected
    assert result.signature_scheme in schemes


def test_5_11_name_goes_before_the_order_of_suites() -> None:
    result = chosen(DEFAULT, RSA_OTHER, name="rsa.example")
    assert result.credential is RSA_OTHER
    assert result.suite.id == 0xC02F


def test_5_11_certificate_for_another_name_is_better_than_none() -> None:
    """The client cannot verify the one for its name; whether it minds the name is its own affair."""
    assert chosen(DEFAULT, RSA_OTHER, name="rsa.example", suites=(0xC02B,)).credential is DEFAULT


def test_5_11_pre_shared_key_does_not_wait_for_a_name() -> None:
    assert chosen(DEFAULT, OTHER, name="other.example", suites=(0xC02B, 0xC0A8)).suite.id == 0xC0A8
