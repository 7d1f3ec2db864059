"""Making keys and certificates for them: a root, intermediates, devices, the server.

Keys are P-256, of CAs P-384 on request; signatures are ECDSA with SHA-256, by a P-384 key with SHA-384. Everything made
here passes the strict CA profile of `policy.strict_ca_policy`, which is the web PKI's.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.pki import profile
from gateway.pki.certificates import is_ca, short_name
from gateway.pki.diagnosis import signed_by
from gateway.pki.errors import PkiError
from gateway.pki.limits import (
    DEVICE_LIFETIME,
    INTERMEDIATE_LIFETIME,
    MAX_COMMON_NAME_CHARACTERS,
    MAX_DEVICE_NAME_CHARACTERS,
    ROOT_LIFETIME,
    SERVER_LIFETIME,
)
from gateway.pki.names import is_device_name, is_uri

DeviceKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
"""What a device may have of its own."""


class Curve(StrEnum):
    """Curves of the keys that we make."""

    P_256 = "P-256"
    P_384 = "P-384"


@dataclass(frozen=True, slots=True)
class CertifiedKey:
    """A certificate with its private key and the way up.

    Attributes:
        certificate: The certificate.
        private_key: Its key.
        chain: The intermediates above the certificate, nearest first, without the root.
    """

    certificate: x509.Certificate
    private_key: ec.EllipticCurvePrivateKey = field(repr=False)
    chain: tuple[x509.Certificate, ...] = field(default=(), repr=False)

    @property
    def presented(self) -> tuple[x509.Certificate, ...]:
        """What the owner sends in a handshake, and what its chain file holds: the certificate, then the chain."""
        return (self.certificate, *self.chain)

    @property
    def presented_der(self) -> list[bytes]:
        """`presented` as DER."""
        return [certificate.public_bytes(Encoding.DER) for certificate in self.presented]

    @property
    def issued_chain(self) -> tuple[x509.Certificate, ...]:
        """The `chain` of what this CA issues: itself and what is above it, unless it is a root."""
        # Not by the name alone: an intermediate may have that of its issuer.
        is_root = self.certificate.issuer == self.certificate.subject and signed_by(self.certificate, self.certificate)
        return () if is_root else self.presented


def generate_key(curve: Curve = Curve.P_256) -> ec.EllipticCurvePrivateKey:
    """A new key."""
    return ec.generate_private_key(ec.SECP384R1() if curve is Curve.P_384 else ec.SECP256R1())


def create_root(
    name: str,
    *,
    organization: str | None = None,
    curve: Curve = Curve.P_256,
    path_length: int | None = None,
    at: datetime | None = None,
    lifetime: timedelta = ROOT_LIFETIME,
) -> CertifiedKey:
    """Makes a self-signed root CA.

    Args:
        name: The common name.
        organization: The organization, `name` by default. Intermediates inherit it, by which a missing intermediate is
            told from an unknown root.
        curve: Of its key.
        path_length: How many levels of CAs may follow below it; any number by default.
        at: The time of issue, now by default.
        lifetime: How long it is valid.

    Raises:
        PkiError: A name is empty or longer than 64 characters.
    """
    key = generate_key(curve)
    subject = profile.name_of(name, organization or name)
    builder = profile.begin(subject, subject, key.public_key(), profile.period(at, lifetime))
    builder = profile.ca_extensions(builder, path_length).add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
    )
    return CertifiedKey(builder.sign(key, profile.digest_for(key)), key)


def create_intermediate(
    issuer: CertifiedKey,
    name: str,
    *,
    curve: Curve = Curve.P_256,
    path_length: int = 0,
    at: datetime | None = None,
    lifetime: timedelta = INTERMEDIATE_LIFETIME,
) -> CertifiedKey:
    """Makes an intermediate CA below a root or another intermediate.

    Args:
        issuer: The CA above.
        name: The common name; the organization is the issuer's.
        curve: Of its key.
        path_length: How many further CAs may follow below this one (RFC 5280 section 4.2.1.9).
        at: The time of issue, now by default.
        lifetime: How long it is valid; cut at the issuer's end.

    Raises:
        PkiError: The issuer is not a CA, or may not have such a CA below it, or the name is empty, longer than 64
            characters, or the issuer's own.
    """
    key = generate_key(curve)
    certificate = certify_ca(issuer, name, key.public_key(), path_length=path_length, at=at, lifetime=lifetime)
    return CertifiedKey(certificate, key, issuer.issued_chain)


def certify_ca(
    issuer: CertifiedKey,
    name: str,
    key: ec.EllipticCurvePublicKey,
    *,
    path_length: int = 0,
    at: datetime | None = None,
    lifetime: timedelta = INTERMEDIATE_LIFETIME,
) -> x509.Certificate:
    """The certificate of an intermediate CA whose key is there already; arguments as for `create_intermediate`.

    Raises:
        PkiError: As there.
    """
    _check_depth(issuer.certificate, path_length)
    organizations = issuer.certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    subject = profile.name_of(name, str(organizations[0].value) if organizations else None)
    if subject == issuer.certificate.subject:
        raise PkiError(
            f"{short_name(issuer.certificate)} is the name of the CA above, and most software takes a CA that has its "
            "issuer's name for a root; give this one another with --name"
        )
    dates = profile.period(at, lifetime, issuer.certificate)
    builder = profile.ca_extensions(profile.begin(subject, issuer.certificate.subject, key, dates), path_length)
    return profile.sign(builder, issuer.certificate, issuer.private_key)


def issue_device(
    ca: CertifiedKey, device_id: str, *, at: datetime | None = None, lifetime: timedelta = DEVICE_LIFETIME
) -> CertifiedKey:
    """Makes a device's key and certificate.

    Args:
        ca: The issuing CA.
        device_id: The device's name.
        at: The time of issue, now by default.
        lifetime: How long it is valid; cut at the issuer's end.

    Raises:
        PkiError: The name cannot be a device's, or the issuer is not a CA.
    """
    key = generate_key()
    return CertifiedKey(certify_device(ca, device_id, key.public_key(), at=at, lifetime=lifetime), key, ca.issued_chain)


def certify_device(
    ca: CertifiedKey,
    device_id: str,
    key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey,
    *,
    at: datetime | None = None,
    lifetime: timedelta = DEVICE_LIFETIME,
) -> x509.Certificate:
    """The certificate of a device whose key is there already; arguments as for `issue_device`.

    The device's name goes where `names.device_name` finds it: one that reads as a URI (`urn:...`, `scheme://...`)
    into a SAN URI, any other into the common name.

    Raises:
        PkiError: As there.
    """
    check_device_name(device_id)
    as_uri = is_uri(device_id)
    # With the name in the SAN the subject stays empty, and the SAN is critical (RFC 5280 section 4.1.2.6).
    subject = x509.Name([]) if as_uri else profile.name_of(device_id)
    builder = profile.begin(subject, ca.certificate.subject, key, profile.period(at, lifetime, ca.certificate))
    if as_uri:
        san = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(device_id)])
        builder = builder.add_extension(san, critical=True)
    builder = profile.end_extensions(builder, ExtendedKeyUsageOID.CLIENT_AUTH)
    return profile.sign(builder, ca.certificate, ca.private_key)


def check_device_name(device_id: str) -> None:
    """Whether a certificate of ours can carry this device name.

    Raises:
        PkiError: It cannot.
    """
    if not is_device_name(device_id):
        raise PkiError(
            f"{device_id!r} cannot be a device name: use 1-{MAX_DEVICE_NAME_CHARACTERS} ASCII letters, digits and "
            ". _ ~ : / @ + , = % -, a letter or digit first"
        )
    if not is_uri(device_id) and len(device_id) > MAX_COMMON_NAME_CHARACTERS:
        raise PkiError(
            f"the device name has {len(device_id)} characters, a common name at most {MAX_COMMON_NAME_CHARACTERS}; "
            "use a shorter name, or a URN (`urn:dev:...`)"
        )


def issue_server(
    ca: CertifiedKey, names: Iterable[str], *, at: datetime | None = None, lifetime: timedelta = SERVER_LIFETIME
) -> CertifiedKey:
    """Makes the gateway's own key and certificate.

    Args:
        ca: The issuing CA.
        names: DNS names and IP addresses that devices connect to; the first is also the common name if it fits.
        at: The time of issue, now by default.
        lifetime: How long it is valid; cut at the issuer's end.

    Raises:
        PkiError: There is no name, or one is neither a DNS name nor an IP address, or the issuer is not a CA.
    """
    all_names = list(names)
    if not all_names:
        raise PkiError("a server certificate needs a DNS name or an IP address that devices connect to")
    san = x509.SubjectAlternativeName([profile.general_name(name) for name in all_names])
    key = generate_key()
    subject = profile.name_of(all_names[0][:MAX_COMMON_NAME_CHARACTERS])
    dates = profile.period(at, lifetime, ca.certificate)
    builder = profile.begin(subject, ca.certificate.subject, key.public_key(), dates)
    builder = profile.end_extensions(builder.add_extension(san, critical=False), ExtendedKeyUsageOID.SERVER_AUTH)
    return CertifiedKey(profile.sign(builder, ca.certificate, ca.private_key), key, ca.issued_chain)


def enclose(key: DeviceKey) -> x509.Certificate:
    """A certificate around a key that nobody vouches for, self-signed: for code that takes a key only with one."""
    subject = profile.name_of("raw public key")
    builder = profile.begin(subject, subject, key.public_key(), profile.period(None, DEVICE_LIFETIME))
    return builder.sign(key, profile.digest_for(key))


def _check_depth(issuer: x509.Certificate, path_length: int) -> None:
    # RFC 5280 section 4.2.1.9. What is made against it verifies nowhere, which shows only at the first handshake.
    if not is_ca(issuer):
        return
    limit = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
    if limit is None or path_length < limit:
        return
    allowed = f"only ones with a pathLenConstraint below {limit}" if limit else "none"
    raise PkiError(
        f"{short_name(issuer)} may have {limit} levels of CAs below it (pathLenConstraint), so of CAs it can issue "
        f"{allowed}; issue from a CA higher up, such as the root"
    )
