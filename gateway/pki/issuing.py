"""Making certificates: a root, intermediates, devices, the server.

All keys are P-256, all signatures ECDSA with SHA-256. Everything made here passes the strict CA profile of
`policy.strict_ca_policy`, which is the web PKI's.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.pki.certificates import is_ca, printable, short_name
from gateway.pki.errors import PkiError
from gateway.pki.limits import (
    BACKDATE,
    DEVICE_LIFETIME,
    INTERMEDIATE_LIFETIME,
    MAX_COMMON_NAME_CHARACTERS,
    MAX_DEVICE_NAME_CHARACTERS,
    MAX_DNS_NAME_CHARACTERS,
    ROOT_LIFETIME,
    SERVER_LIFETIME,
)
from gateway.pki.names import is_device_name, is_uri

# RFC 1123 section 2.1, and the underscore, which names in containers have. A last label of digits is an IP address gone
# wrong. A wildcard is a whole first label (RFC 6125 section 6.4.3).
_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DNS_NAME = re.compile(rf"(?:\*\.)?(?:{_LABEL}\.)*(?![0-9]+\Z){_LABEL}", re.ASCII)


DeviceKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
"""What a device may have of its own."""


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


def create_root(
    name: str, *, organization: str | None = None, at: datetime | None = None, lifetime: timedelta = ROOT_LIFETIME
) -> CertifiedKey:
    """Makes a self-signed root CA.

    Args:
        name: The common name.
        organization: The organization, `name` by default. Intermediates inherit it, by which a missing intermediate is
            told from an unknown root.
        at: The time of issue, now by default.
        lifetime: How long it is valid.

    Raises:
        PkiError: A name is empty or longer than 64 characters.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name, organization or name)
    builder = _ca_extensions(_builder(subject, subject, key.public_key(), *_period(at, lifetime)), None)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
    )
    return CertifiedKey(builder.sign(key, hashes.SHA256()), key)


def create_intermediate(
    issuer: CertifiedKey,
    name: str,
    *,
    path_length: int = 0,
    at: datetime | None = None,
    lifetime: timedelta = INTERMEDIATE_LIFETIME,
) -> CertifiedKey:
    """Makes an intermediate CA below a root or another intermediate.

    Args:
        issuer: The CA above.
        name: The common name; the organization is the issuer's.
        path_length: How many further CAs may follow below this one (RFC 5280 section 4.2.1.9).
        at: The time of issue, now by default.
        lifetime: How long it is valid; cut at the issuer's end.

    Raises:
        PkiError: The issuer is not a CA, or may not have such a CA below it, or the name is empty or longer than 64
            characters.
    """
    _check_depth(issuer.certificate, path_length)
    key = ec.generate_private_key(ec.SECP256R1())
    organizations = issuer.certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    subject = _name(name, str(organizations[0].value) if organizations else None)
    builder = _builder(subject, issuer.certificate.subject, key.public_key(), *_period(at, lifetime, issuer))
    return _issue(_ca_extensions(builder, path_length), key, issuer)


def issue_device(
    ca: CertifiedKey, device_id: str, *, at: datetime | None = None, lifetime: timedelta = DEVICE_LIFETIME
) -> CertifiedKey:
    """Makes a device's key and certificate.

    The device's name goes where `names.device_name` finds it: one that reads as a URI (`urn:...`, `scheme://...`)
    into a SAN URI, any other into the common name.

    Args:
        ca: The issuing CA.
        device_id: The device's name.
        at: The time of issue, now by default.
        lifetime: How long it is valid; cut at the issuer's end.

    Raises:
        PkiError: The name cannot be a device's, or the issuer is not a CA.
    """
    if not is_device_name(device_id):
        raise PkiError(
            f"{device_id!r} cannot be a device name: use 1-{MAX_DEVICE_NAME_CHARACTERS} ASCII letters, digits and "
            ". _ ~ : / @ + , = % -, a letter or digit first"
        )
    as_uri = is_uri(device_id)
    if not as_uri and len(device_id) > MAX_COMMON_NAME_CHARACTERS:
        raise PkiError(
            f"the device name has {len(device_id)} characters, a common name at most {MAX_COMMON_NAME_CHARACTERS}; "
            "use a shorter name, or a URN (`urn:dev:...`)"
        )
    key = ec.generate_private_key(ec.SECP256R1())
    # With the name in the SAN the subject stays empty, and the SAN is critical (RFC 5280 section 4.1.2.6).
    subject = x509.Name([]) if as_uri else _name(device_id, None)
    builder = _builder(subject, ca.certificate.subject, key.public_key(), *_period(at, lifetime, ca))
    if as_uri:
        san = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(device_id)])
        builder = builder.add_extension(san, critical=True)
    return _issue(_end_extensions(builder, ExtendedKeyUsageOID.CLIENT_AUTH), key, ca)


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
    san = x509.SubjectAlternativeName([_general_name(name) for name in all_names])
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(all_names[0][:MAX_COMMON_NAME_CHARACTERS], None)
    builder = _builder(subject, ca.certificate.subject, key.public_key(), *_period(at, lifetime, ca))
    builder = builder.add_extension(san, critical=False)
    return _issue(_end_extensions(builder, ExtendedKeyUsageOID.SERVER_AUTH), key, ca)


def enclose(key: DeviceKey) -> x509.Certificate:
    """A certificate around a key that nobody vouches for, self-signed: for code that takes a key only with one."""
    subject = _name("raw public key", None)
    builder = _builder(subject, subject, key.public_key(), *_period(None, DEVICE_LIFETIME))
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())


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


def _issue(builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, issuer: CertifiedKey) -> CertifiedKey:
    above = issuer.certificate
    if not is_ca(above):
        raise PkiError(f"{short_name(above)} is not a CA certificate; issue from a root or an intermediate")
    try:
        key_id = above.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id)
    except x509.ExtensionNotFound:
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.private_key.public_key())
    certificate = builder.add_extension(authority, critical=False).sign(issuer.private_key, hashes.SHA256())
    is_root = above.issuer == above.subject
    return CertifiedKey(certificate, key, () if is_root else issuer.presented)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey,
    begin: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _ca_extensions(builder: x509.CertificateBuilder, path_length: int | None) -> x509.CertificateBuilder:
    return builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True).add_extension(
        _key_usage(signs=False), critical=True
    )


def _end_extensions(builder: x509.CertificateBuilder, purpose: x509.ObjectIdentifier) -> x509.CertificateBuilder:
    return (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    )


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs,
        key_cert_sign=not signs,
        crl_sign=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _period(at: datetime | None, lifetime: timedelta, issuer: CertifiedKey | None = None) -> tuple[datetime, datetime]:
    moment = (at or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)
    begin, end = moment - BACKDATE, moment + lifetime
    if issuer is None:
        return begin, end
    above = issuer.certificate
    if moment > above.not_valid_after_utc:
        raise PkiError(f"the CA certificate {short_name(above)} has expired; renew it before issuing from it")
    return max(begin, above.not_valid_before_utc), min(end, above.not_valid_after_utc)


def _name(common_name: str, organization: str | None) -> x509.Name:
    try:
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)] if organization else []
        return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    except ValueError as error:
        raise PkiError(f"{common_name!r} cannot be a certificate's name: {error}") from error


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    if len(name) > MAX_DNS_NAME_CHARACTERS or _DNS_NAME.fullmatch(name) is None:
        raise PkiError(
            f"{printable(name)!r} is neither a DNS name nor an IP address; give the bare name that devices connect to, "
            "without scheme, port or final dot (an internationalized one in its xn-- form)"
        )
    return x509.DNSName(name)
