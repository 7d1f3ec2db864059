"""What every certificate of ours has: names, dates, extensions, signature (RFC 5280 section 4, RFC 7925 section 4.4).

Issuing from nothing (`issuing`) and from what somebody brings (`requests`) differ in where the key and the name are
from; the profile is one.
"""

import ipaddress
import re
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes
from cryptography.x509.oid import NameOID

from gateway.pki.certificates import is_ca, printable, short_name
from gateway.pki.errors import PkiError
from gateway.pki.limits import BACKDATE, MAX_DNS_NAME_CHARACTERS

# RFC 1123 section 2.1, and the underscore, which names in containers have. A last label of digits is an IP address gone
# wrong. A wildcard is a whole first label (RFC 6125 section 6.4.3).
_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DNS_NAME = re.compile(rf"(?:\*\.)?(?:{_LABEL}\.)*(?![0-9]+\Z){_LABEL}", re.ASCII)

_DIGESTS: dict[str, hashes.SHA256 | hashes.SHA384 | hashes.SHA512] = {
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}
"""RFC 5480 section 4: a hash as strong as the curve; SHA-256 for every other."""


def begin(
    subject: x509.Name,
    issuer: x509.Name,
    key: CertificateIssuerPublicKeyTypes,
    dates: tuple[datetime, datetime],
) -> x509.CertificateBuilder:
    """A certificate with its names, key, key id, dates and a random serial number."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(dates[0])
        .not_valid_after(dates[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def ca_extensions(builder: x509.CertificateBuilder, path_length: int | None) -> x509.CertificateBuilder:
    """What makes it a CA."""
    return builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True).add_extension(
        _key_usage(signs=False), critical=True
    )


def end_extensions(builder: x509.CertificateBuilder, purpose: x509.ObjectIdentifier) -> x509.CertificateBuilder:
    """What makes it a device or a server, and no CA."""
    return (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    )


def sign(
    builder: x509.CertificateBuilder, issuer: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    """Signs below a CA, whose key id goes in.

    Raises:
        PkiError: The issuer is not a CA.
    """
    if not is_ca(issuer):
        raise PkiError(f"{short_name(issuer)} is not a CA certificate; issue from a root or an intermediate")
    return builder.add_extension(authority_of(issuer, key), critical=False).sign(key, digest_for(key))


def authority_of(issuer: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    """The authorityKeyIdentifier of what a CA signs (RFC 5280 sections 4.2.1.1 and 5.2.1): the CA's own key id."""
    try:
        key_id = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id)


def digest_for(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey,
) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None:
    """What a key signs with."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return None
    return _DIGESTS.get(key.curve.name, hashes.SHA256())


def period(
    at: datetime | None, lifetime: timedelta, issuer: x509.Certificate | None = None
) -> tuple[datetime, datetime]:
    """The dates: from a little before now, and never beyond the issuer's.

    Raises:
        PkiError: The issuer has expired, or is not valid yet.
    """
    moment = (at or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)
    first, last = moment - BACKDATE, moment + lifetime
    if issuer is None:
        return first, last
    if moment > issuer.not_valid_after_utc:
        raise PkiError(f"the CA certificate {short_name(issuer)} has expired; renew it before issuing from it")
    if moment < issuer.not_valid_before_utc:
        raise PkiError(f"the CA certificate {short_name(issuer)} is not valid yet; set the clock of this machine")
    return max(first, issuer.not_valid_before_utc), min(last, issuer.not_valid_after_utc)


def name_of(common_name: str, organization: str | None = None) -> x509.Name:
    """A subject.

    Raises:
        PkiError: A part is empty or longer than 64 characters.
    """
    try:
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)] if organization else []
        return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    except ValueError as error:
        raise PkiError(f"{common_name!r} cannot be a certificate's name: {error}") from error


def general_name(name: str) -> x509.GeneralName:
    """A server's name for the SAN.

    Raises:
        PkiError: It is neither a DNS name nor an IP address.
    """
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
