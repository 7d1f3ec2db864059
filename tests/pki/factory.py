"""Certificates of every shape, good and bad, made directly with `cryptography` and not with our issuing."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID, ObjectIdentifier

from gateway.pki import Revocations, TrustAnchor, TrustStore, VerifiedChain, read_crl

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
DAY = timedelta(days=1)

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
Extension = tuple[x509.ExtensionType, bool]


@dataclass(frozen=True)
class Made:
    certificate: x509.Certificate
    key: Key

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


def name(common_name: str | None = None, organization: str | None = None, serial: str | None = None) -> x509.Name:
    pairs = [
        (NameOID.ORGANIZATION_NAME, organization),
        (NameOID.COMMON_NAME, common_name),
        (NameOID.SERIAL_NUMBER, serial),
    ]
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in pairs if value is not None])


def make(
    subject: str | x509.Name,
    issuer: Made | None = None,
    *extensions: Extension,
    key: Key | None = None,
    begin: datetime = NOW - DAY,
    end: datetime = NOW + 365 * DAY,
    issuer_name: x509.Name | None = None,
) -> Made:
    """One certificate with exactly these extensions; self-signed without an issuer."""
    own = key or ec.generate_private_key(ec.SECP256R1())
    subject_name = name(subject) if isinstance(subject, str) else subject
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject_name)
        .issuer_name(issuer_name or (issuer.certificate.subject if issuer else subject_name))
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    signer = issuer.key if issuer else own
    digest = None if isinstance(signer, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()
    return Made(builder.sign(signer, digest), own)


def ca(
    subject: str | x509.Name,
    issuer: Made | None = None,
    *more: Extension,
    path_length: int | None = None,
    **options: object,
) -> Made:
    """A CA as a contract manufacturer may make it: basicConstraints, key ids, nothing else."""
    key = options.pop("key", None) or ec.generate_private_key(ec.SECP256R1())
    assert isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    return make(
        subject,
        issuer,
        (x509.BasicConstraints(ca=True, path_length=path_length), True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        *([aki(issuer)] if issuer else []),
        *more,
        key=key,
        **options,  # type: ignore[arg-type]  # begin, end, issuer_name
    )


def aki(issuer: Made) -> Extension:
    public = issuer.key.public_key()
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(public), False


def key_usage(*names: str) -> Extension:
    flags = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(**(flags | dict.fromkeys(names, True))), True


def eku(*purposes: ObjectIdentifier) -> Extension:
    return x509.ExtendedKeyUsage(purposes), False


def san(*names: x509.GeneralName) -> Extension:
    return x509.SubjectAlternativeName(names), False


def crl(
    issuer: Made,
    *revoked: Made | x509.RevokedCertificate,
    number: int | None = 1,
    this_update: datetime = NOW - DAY,
    next_update: datetime = NOW + 7 * DAY,
    extensions: Iterable[Extension] = (),
    issuer_name: x509.Name | None = None,
) -> bytes:
    """A revocation list in DER, of certificates or of entries."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer_name or issuer.certificate.subject)
        .last_update(this_update)
        .next_update(next_update)
    )
    if number is not None:
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    for each in revoked:
        builder = builder.add_revoked_certificate(entry(each) if isinstance(each, Made) else each)
    digest = None if isinstance(issuer.key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()
    return builder.sign(issuer.key, digest).public_bytes(Encoding.DER)


def entry(
    revoked: Made, reason: x509.ReasonFlags | None = None, *extensions: Extension, at: datetime = NOW - DAY
) -> x509.RevokedCertificate:
    builder = x509.RevokedCertificateBuilder().serial_number(revoked.certificate.serial_number).revocation_date(at)
    if reason is not None:
        builder = builder.add_extension(x509.CRLReason(reason), critical=False)
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.build()


def store(
    *anchors: Made,
    intermediates: Iterable[Made] = (),
    lists: Iterable[bytes] = (),
    banned: Iterable[str] = (),
    **policy: Any,
) -> TrustStore:
    """A trust store whose anchors all have one policy, and the lists of anchors and intermediates."""
    helpers = [made.certificate for made in intermediates]
    issuers = [*(anchor.certificate for anchor in anchors), *helpers]
    return TrustStore(
        [TrustAnchor.of(anchor.certificate, **policy) for anchor in anchors],
        helpers,
        revocations=Revocations(read_crl(der, issuers, NOW) for der in lists),
        distrusted=banned,
    )


def verify(trust: TrustStore, *chain: Made, at: datetime = NOW) -> VerifiedChain:
    return trust.verify([made.der for made in chain], at)
