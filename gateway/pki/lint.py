"""Every objection to a certificate, before a device or an operator runs into it.

A finding is an error where this gateway refuses the certificate (`policy`, `names`, and what `cryptography` enforces
whatever the policy), a warning where others do (the web PKI's profile, OpenSSL's strict mode, RFC 5280's MUSTs), and a
note where something is merely worth knowing. Nothing here decides about a chain; it looks at one certificate alone.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, SignatureAlgorithmOID

from gateway.pki.certificates import authority_key_id, is_ca, is_library_error, printable, subject_key_id, touch
from gateway.pki.errors import ChainRefused
from gateway.pki.findings import Finding, LintCode, Role, Severity, error, note, warning
from gateway.pki.limits import (
    LONG_LIFETIME,
    MAX_CA_RSA_BITS,
    MAX_CA_RSA_EXPONENT_BITS,
    MAX_CERTIFICATE_BYTES,
    MAX_PROFILE_SERIAL_BYTES,
    MIN_CA_RSA_BITS,
    SOON,
)
from gateway.pki.names import device_name
from gateway.pki.policy import CA_CURVES, LEAF_CURVES, check_leaf_key

_Kind = TypeVar("_Kind", bound=x509.ExtensionType)

_REISSUE = "issue it anew, for example with `gateway cert issue`"
_NEW_CA = "issue the CA a new certificate for its key, with this put right"

_SHA1 = frozenset(
    {
        SignatureAlgorithmOID.RSA_WITH_SHA1,
        SignatureAlgorithmOID.ECDSA_WITH_SHA1,
        SignatureAlgorithmOID.DSA_WITH_SHA1,
    }
)
_STRONG = frozenset(
    {
        SignatureAlgorithmOID.ECDSA_WITH_SHA256,
        SignatureAlgorithmOID.ECDSA_WITH_SHA384,
        SignatureAlgorithmOID.ECDSA_WITH_SHA512,
        SignatureAlgorithmOID.RSA_WITH_SHA256,
        SignatureAlgorithmOID.RSA_WITH_SHA384,
        SignatureAlgorithmOID.RSA_WITH_SHA512,
        SignatureAlgorithmOID.RSASSA_PSS,
    }
)
"""What the verifier takes (`cryptography`, WEBPKI_PERMITTED_SIGNATURE_ALGORITHMS)."""

_UNDERSTOOD = (
    x509.BasicConstraints,
    x509.KeyUsage,
    x509.ExtendedKeyUsage,
    x509.SubjectAlternativeName,
    x509.NameConstraints,
    x509.AuthorityKeyIdentifier,
    x509.SubjectKeyIdentifier,
    x509.AuthorityInformationAccess,
)
"""Extensions that the verifier looks at, and that may be critical therefore."""


def guess_role(certificate: x509.Certificate) -> Role:
    """What a certificate is by its own account: a CA, a server and no client, else a device."""
    if is_ca(certificate):
        return Role.CA
    usage, purposes = _extension(certificate, x509.KeyUsage), _extension(certificate, x509.ExtendedKeyUsage)
    if usage is not None and usage.key_cert_sign:
        return Role.CA
    if purposes is not None and ExtendedKeyUsageOID.SERVER_AUTH in purposes:
        return Role.DEVICE if ExtendedKeyUsageOID.CLIENT_AUTH in purposes else Role.SERVER
    return Role.DEVICE


def lint(certificate: x509.Certificate, at: datetime, role: Role | None = None) -> list[Finding]:
    """Every objection to a certificate, the worst first.

    Args:
        certificate: The certificate, of whatever origin.
        at: The time, with a time zone.
        role: What it is to be used as; by its own account by default.
    """
    try:
        touch(certificate)
        findings = list(_all(certificate, at, role or guess_role(certificate)))
    except BaseException as raised:
        if not is_library_error(raised):
            raise
        text = f"it cannot be read ({type(raised).__name__}: {printable(str(raised))})"
        return [Finding(LintCode.MALFORMED, Severity.ERROR, text, "issue it anew; whatever made it writes broken DER")]
    order = list(Severity)
    return sorted(findings, key=lambda each: order.index(each.severity))


def _all(certificate: x509.Certificate, at: datetime, role: Role) -> Iterator[Finding]:
    yield from _form(certificate)
    yield from _dates(certificate, at, role)
    yield from _extensions(certificate)
    yield from _key_ids(certificate, role)
    match role:
        case Role.CA:
            yield from _ca(certificate)
        case Role.DEVICE:
            yield from _device(certificate)
        case Role.SERVER:
            yield from _server(certificate)


def _form(certificate: x509.Certificate) -> Iterator[Finding]:
    size = len(certificate.public_bytes(Encoding.DER))
    if size > MAX_CERTIFICATE_BYTES:
        yield error(
            LintCode.TOO_LARGE,
            f"it has {size} bytes, and at most {MAX_CERTIFICATE_BYTES} are accepted of a device",
            "issue a smaller one; P-256 certificates have 400-800 bytes",
        )
    if certificate.version is not x509.Version.v3:
        yield error(
            LintCode.NOT_VERSION_3,
            "it is of X.509 version 1, which cannot say whether it is a CA",
            "issue it as version 3; with `openssl x509 -req` add -extfile FILE with a basicConstraints line",
        )
    serial = certificate.serial_number
    if serial <= 0 or serial.bit_length() > 8 * MAX_PROFILE_SERIAL_BYTES - 1:
        yield warning(
            LintCode.SERIAL_NUMBER,
            f"its serial number is not a positive number of at most {MAX_PROFILE_SERIAL_BYTES} bytes "
            "(RFC 5280 section 4.1.2.2)",
            "let the CA draw random serial numbers of 16 to 20 bytes",
        )
    algorithm = certificate.signature_algorithm_oid
    if algorithm in _SHA1:
        yield error(
            LintCode.SHA1_SIGNATURE,
            "it is signed with SHA-1, which can be forged",
            "issue it anew with SHA-256",
        )
    elif algorithm not in _STRONG:
        named = getattr(algorithm, "_name", "") or algorithm.dotted_string
        yield error(
            LintCode.WEAK_SIGNATURE,
            f"it is signed with {printable(named)}, which the verifier does not take",
            "sign it with ECDSA on P-256 or P-384, or RSA of 2048 bits and more, with SHA-256 or stronger",
        )


def _dates(certificate: x509.Certificate, at: datetime, role: Role) -> Iterator[Finding]:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    renewal = _NEW_CA if role is Role.CA else "renew it with `gateway cert renew`"
    if end < begin:
        yield error(LintCode.DATES_REVERSED, f"it ends ({_day(end)}) before it begins ({_day(begin)})", _REISSUE)
    elif end < at.replace(microsecond=0):
        yield error(LintCode.EXPIRED, f"it expired on {_day(end)}", renewal)
    elif begin > at:
        yield error(
            LintCode.NOT_YET_VALID,
            f"it is valid only from {_day(begin)} on",
            "wait, or set the clock of whatever issued it and issue it anew",
        )
    elif end - at < SOON:
        yield warning(LintCode.EXPIRES_SOON, f"it expires on {_day(end)}, in {(end - at).days} days", renewal)
    if end - begin > LONG_LIFETIME and not (role is Role.DEVICE and end.year == 9999):
        yield note(
            LintCode.LONG_LIFETIME,
            f"it is valid for {(end - begin) // timedelta(days=365)} years; its key has to stay secret as long",
            "shorten it, if whatever carries it can be renewed",
        )


def _extensions(certificate: x509.Certificate) -> Iterator[Finding]:
    for extension in certificate.extensions:
        if extension.critical and not isinstance(extension.value, _UNDERSTOOD):
            yield error(
                LintCode.UNKNOWN_CRITICAL_EXTENSION,
                f"its extension {extension.oid.dotted_string} is critical and not understood here",
                "issue it without that extension, or with it not critical",
            )
    if not len(certificate.subject.rdns):
        san = _criticality(certificate, x509.SubjectAlternativeName)
        if is_ca(certificate) or san is False:
            yield warning(
                LintCode.EMPTY_SUBJECT,
                "its subject is empty"
                + ("" if is_ca(certificate) else " and its subjectAltName not critical")
                + " (RFC 5280 section 4.1.2.6)",
                "give a CA a name; make a device's subjectAltName critical",
            )


def _key_ids(certificate: x509.Certificate, role: Role) -> Iterator[Finding]:
    self_issued = certificate.issuer == certificate.subject
    if role is Role.CA and subject_key_id(certificate) is None:
        yield warning(
            LintCode.MISSING_SUBJECT_KEY_ID,
            "it has no subjectKeyIdentifier, by which its issues find it among CAs of the same name "
            "(RFC 5280 section 4.2.1.2)",
            _NEW_CA,
        )
    if not self_issued and authority_key_id(certificate) is None:
        yield warning(
            LintCode.MISSING_AUTHORITY_KEY_ID,
            "it has no authorityKeyIdentifier (RFC 5280 section 4.2.1.1); verifiers with the web PKI's profile refuse "
            "it, and after the CA has a new key nobody can tell which one signed it",
            "add authorityKeyIdentifier=keyid to the profile of the CA",
        )


def _ca(certificate: x509.Certificate) -> Iterator[Finding]:
    yield from _ca_constraints(certificate)
    usage = _extension(certificate, x509.KeyUsage)
    if usage is None:
        yield warning(
            LintCode.MISSING_KEY_USAGE,
            "it has no keyUsage (RFC 5280 section 4.2.1.3); verifiers with the web PKI's profile refuse the CA",
            _NEW_CA,
        )
    elif not usage.key_cert_sign:
        yield error(LintCode.WRONG_KEY_USAGE, "its keyUsage lacks keyCertSign: it may not sign certificates", _NEW_CA)
    elif not usage.crl_sign:
        yield warning(LintCode.MISSING_CRL_SIGN, "its keyUsage lacks cRLSign: its CRLs do not verify", _NEW_CA)
    yield from _ca_key(certificate)
    constraints = _extension(certificate, x509.NameConstraints)
    if constraints is not None:
        yield from _name_constraints(constraints)


def _ca_constraints(certificate: x509.Certificate) -> Iterator[Finding]:
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is None:
        yield error(LintCode.MISSING_BASIC_CONSTRAINTS, "it has no basicConstraints, so it is no CA", _NEW_CA)
    elif not constraints.ca:
        yield error(LintCode.NOT_A_CA, "its basicConstraints say cA=false: it may not sign certificates", _NEW_CA)
    elif not _criticality(certificate, x509.BasicConstraints):
        yield warning(
            LintCode.BASIC_CONSTRAINTS_NOT_CRITICAL,
            "its basicConstraints are not critical (RFC 5280 section 4.2.1.9); verifiers with the web PKI's profile "
            "refuse the CA",
            _NEW_CA,
        )


def _ca_key(certificate: x509.Certificate) -> Iterator[Finding]:
    try:
        key = certificate.public_key()
    except UnsupportedAlgorithm:
        found = f"a key of an unknown kind (algorithm {certificate.public_key_algorithm_oid.dotted_string})"
    else:
        if isinstance(key, ec.EllipticCurvePublicKey):
            if key.curve.name in CA_CURVES:
                return
            found = f"an elliptic curve key on {key.curve.name}"
        elif isinstance(key, rsa.RSAPublicKey):
            exponent = key.public_numbers().e.bit_length()
            if key.key_size >= MIN_CA_RSA_BITS:
                if key.key_size > MAX_CA_RSA_BITS or exponent > MAX_CA_RSA_EXPONENT_BITS:
                    yield warning(
                        LintCode.WEAK_KEY,
                        f"its RSA key of {key.key_size} bits with an exponent of {exponent} bits is dearer to check "
                        "than what a device may send as an intermediate",
                        "trust the CA itself, so that no device has to send it",
                    )
                return
            found = f"an RSA key of {key.key_size} bits"
        else:
            found = f"a {type(key).__name__.lstrip('_').removesuffix('PublicKey')} key"
    yield error(
        LintCode.WEAK_KEY,
        f"it has {found}, with which nothing it signs verifies",
        f"make the CA a new key on {', '.join(sorted(CA_CURVES))}, or RSA of {MIN_CA_RSA_BITS} bits and more",
    )


def _name_constraints(constraints: x509.NameConstraints) -> Iterator[Finding]:
    subtrees = [*(constraints.permitted_subtrees or ()), *(constraints.excluded_subtrees or ())]
    known = (x509.DNSName, x509.IPAddress, x509.RFC822Name)
    strange = sorted({type(name).__name__ for name in subtrees if not isinstance(name, known)})
    if strange:
        yield error(
            LintCode.NAME_CONSTRAINTS_UNSUPPORTED,
            f"its nameConstraints are about {', '.join(strange)}, which the verifier does not support: it refuses "
            "every chain below with such a name",
            "issue the CA without them; tenants are told apart by the trust anchor",
        )
    else:
        yield warning(
            LintCode.NAME_CONSTRAINTS,
            "its nameConstraints hold for subjectAltNames only; a device named by its common name escapes them",
            "do not rely on them to keep devices apart; tenants are told apart by the trust anchor",
        )


def _device(certificate: x509.Certificate) -> Iterator[Finding]:
    if is_ca(certificate):
        yield error(
            LintCode.CA_AS_DEVICE,
            "it is a CA certificate (basicConstraints cA=true) and cannot be a device's",
            "put the device's own certificate first in its chain, or issue one with `gateway cert issue --device ID`",
        )
    usage, purposes = _extension(certificate, x509.KeyUsage), _extension(certificate, x509.ExtendedKeyUsage)
    if usage is not None and not usage.digital_signature:
        yield error(
            LintCode.WRONG_KEY_USAGE,
            "its keyUsage lacks digitalSignature, which a DTLS client needs",
            "issue one with digitalSignature, or without keyUsage",
        )
    if purposes is not None and not _any_of(purposes, ExtendedKeyUsageOID.CLIENT_AUTH):
        yield error(
            LintCode.WRONG_EXTENDED_KEY_USAGE,
            "its extendedKeyUsage lacks clientAuth",
            "issue one with clientAuth, or without extendedKeyUsage",
        )
    try:
        check_leaf_key(certificate, certificate.public_bytes(Encoding.DER), LEAF_CURVES)
    except ChainRefused as refused:
        yield Finding(LintCode.WEAK_KEY, Severity.ERROR, *_parts(refused))
    try:
        device_name(certificate)
    except ChainRefused as refused:
        yield Finding(LintCode.NO_DEVICE_NAME, Severity.ERROR, *_parts(refused))
    if certificate.issuer == certificate.subject:
        yield note(
            LintCode.SELF_SIGNED,
            "it is self-signed: trusted as an anchor, it stands for this one device",
            "issue devices from a CA, so that one anchor stands for all of them",
        )
    if _extension(certificate, x509.SubjectAlternativeName) is None:
        yield note(
            LintCode.MISSING_SAN,
            "it has no subjectAltName: its name is taken from its subject; verifiers with the web PKI's profile "
            "refuse it",
            "put the name into a SAN URI (`urn:dev:...`), if other verifiers have to take it",
        )
    yield from _end_notes(certificate, "clientAuth")


def _server(certificate: x509.Certificate) -> Iterator[Finding]:
    if is_ca(certificate):
        yield error(
            LintCode.CA_AS_SERVER,
            "it is a CA certificate (basicConstraints cA=true), which clients refuse as a server's",
            "issue one with `gateway cert server --name NAME`",
        )
    usage, purposes = _extension(certificate, x509.KeyUsage), _extension(certificate, x509.ExtendedKeyUsage)
    if usage is not None and not usage.digital_signature:
        yield error(
            LintCode.WRONG_KEY_USAGE,
            "its keyUsage lacks digitalSignature, which an ECDHE handshake needs",
            "issue one with `gateway cert server --name NAME`",
        )
    if purposes is not None and not _any_of(purposes, ExtendedKeyUsageOID.SERVER_AUTH):
        yield error(
            LintCode.WRONG_EXTENDED_KEY_USAGE,
            "its extendedKeyUsage lacks serverAuth, so clients refuse it",
            "issue one with `gateway cert server --name NAME`",
        )
    if _extension(certificate, x509.SubjectAlternativeName) is None:
        yield warning(
            LintCode.MISSING_SAN,
            "it has no subjectAltName, in which clients look for the name that they connect to (RFC 6125)",
            "issue one with `gateway cert server --name NAME`",
        )
    yield from _end_notes(certificate, "serverAuth")


def _end_notes(certificate: x509.Certificate, purpose: str) -> Iterator[Finding]:
    add = "add it to the profile of the CA, if other verifiers have to take it"
    if _extension(certificate, x509.BasicConstraints) is None:
        yield note(LintCode.MISSING_BASIC_CONSTRAINTS, "it has no basicConstraints, which say that it is no CA", add)
    if _extension(certificate, x509.KeyUsage) is None:
        yield note(LintCode.MISSING_KEY_USAGE, "it has no keyUsage (digitalSignature)", add)
    if _extension(certificate, x509.ExtendedKeyUsage) is None:
        yield note(
            LintCode.MISSING_EXTENDED_KEY_USAGE, f"it has no extendedKeyUsage ({purpose}): good for any purpose", add
        )


def _any_of(purposes: x509.ExtendedKeyUsage, wanted: x509.ObjectIdentifier) -> bool:
    return wanted in purposes or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in purposes


def _parts(refused: ChainRefused) -> tuple[str, str]:
    """What is wrong and what to do: every refusal of this room is written as the two, the last semicolon between."""
    text, _, remedy = refused.detail.rpartition("; ")
    return (text, remedy) if text else (refused.detail, _REISSUE)


def _extension(certificate: x509.Certificate, kind: type[_Kind]) -> _Kind | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _criticality(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> bool | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).critical
    except x509.ExtensionNotFound:
        return None


def _day(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d")
