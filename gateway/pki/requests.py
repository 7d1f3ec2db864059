"""Certificates for what somebody brings: a certificate signing request, or a certificate that is to be renewed.

Of a request only the key and the device's name are taken; every extension of the new certificate is ours. What it asks
for beyond that is either in the profile anyway, or not for the asker to decide.
"""

from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.pki import profile
from gateway.pki.certificates import is_ca, is_library_error, short_name
from gateway.pki.diagnosis import signed_by
from gateway.pki.errors import ChainRefused, PkiError
from gateway.pki.files import PEM_MARK, read_file
from gateway.pki.issuing import CertifiedKey, certify_ca, certify_device
from gateway.pki.limits import (
    DEVICE_LIFETIME,
    INTERMEDIATE_LIFETIME,
    MAX_REQUEST_BYTES,
    SERVER_LIFETIME,
)
from gateway.pki.names import device_name
from gateway.pki.policy import LEAF_CURVES, check_leaf_key

_Kept = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
"""Keys that a renewal may keep: of devices, and RSA for a server."""


def load_request(path: Path) -> x509.CertificateSigningRequest:
    """Reads a certificate signing request (PKCS#10, RFC 2986), PEM or DER, that its own key has signed.

    Raises:
        PkiError: The file cannot be read, holds no request, or one that another key has signed.
    """
    return parse_request(read_file(path), str(path))


def parse_request(data: bytes, origin: str = "the input") -> x509.CertificateSigningRequest:
    """Reads a certificate signing request out of bytes.

    Raises:
        PkiError: There is none in them, or one whose signature is not of its own key: then whoever wrote it does not
            have the key (RFC 2986 section 4.2).
    """
    if len(data) > MAX_REQUEST_BYTES:
        raise PkiError(f"{origin} has {len(data)} bytes; a signing request has at most {MAX_REQUEST_BYTES}")
    try:
        load = x509.load_pem_x509_csr if PEM_MARK in data else x509.load_der_x509_csr
        request = load(data)
        valid = request.is_signature_valid
        for extension in request.extensions:
            _ = extension.value
        _ = request.subject.rfc4514_string()
    except BaseException as error:
        if not is_library_error(error):
            raise
        raise PkiError(
            f"{origin} holds no certificate signing request that can be read ({error}); make one with "
            "`openssl req -new -key KEY -subj /CN=ID -out FILE`"
        ) from error
    if not valid:
        raise PkiError(
            f"the signature of the request in {origin} is not of the key in it, so nothing shows that the asker has "
            "that key; make the request again with the device's own key"
        )
    return request


def sign_device(
    ca: CertifiedKey,
    request: x509.CertificateSigningRequest,
    device_id: str | None = None,
    *,
    at: datetime | None = None,
    lifetime: timedelta = DEVICE_LIFETIME,
) -> x509.Certificate:
    """The certificate of a device that made its key itself.

    Args:
        ca: The issuing CA.
        request: What the device sent.
        device_id: The device's name; by default the one that the request asks for, by the rule of `names`.
        at: The time of issue, now by default.
        lifetime: How long it is valid; cut at the issuer's end.

    Raises:
        PkiError: The request asks for a CA, has a key that no device may have, or no name; or as for `issue_device`.
    """
    if _asks_for_ca(request):
        raise PkiError(
            "the request asks for a CA certificate (basicConstraints cA=true), which no device gets; for an "
            "intermediate CA use `gateway ca create --intermediate --csr FILE`"
        )
    key = _key_of(request)
    if key is None:
        raise PkiError(
            "the key of the request is of a kind that no device may have; accepted are "
            f"{' or '.join(sorted(LEAF_CURVES))}"
        )
    return certify_device(ca, device_id or requested_name(request), key, at=at, lifetime=lifetime)


def requested_name(request: x509.CertificateSigningRequest) -> str:
    """The device name that a request asks for.

    Raises:
        PkiError: None, or not exactly one, or one that is not acceptable.
    """
    try:
        # The default rule reads the subject and the subjectAltName, which a request has as a certificate has them.
        return device_name(cast(x509.Certificate, request))
    except ChainRefused as refused:
        raise PkiError(f"of the request's certificate: {refused.detail}; or name the device with --device") from refused


def sign_intermediate(
    issuer: CertifiedKey,
    request: x509.CertificateSigningRequest,
    name: str,
    *,
    path_length: int = 0,
    at: datetime | None = None,
    lifetime: timedelta = INTERMEDIATE_LIFETIME,
) -> x509.Certificate:
    """The certificate of an intermediate CA that made its key itself, as a factory's security module does.

    Arguments beyond the request as for `create_intermediate`.

    Raises:
        PkiError: The key is not on P-256 or P-384, or as there.
    """
    key = _key_of(request)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise PkiError("the key of the request cannot be a CA's here; accepted are P-256 and P-384")
    return certify_ca(issuer, name, key, path_length=path_length, at=at, lifetime=lifetime)


def renew(
    ca: CertifiedKey,
    old: x509.Certificate,
    key: ec.EllipticCurvePublicKey | None = None,
    *,
    previous_ca: x509.Certificate | None = None,
    at: datetime | None = None,
    lifetime: timedelta | None = None,
) -> x509.Certificate:
    """A certificate with the names and the purpose of an old one, and new dates and serial number.

    Args:
        ca: The issuing CA.
        old: The old certificate, of a device or a server. That it has expired does not matter.
        key: A new key; the old certificate's by default.
        previous_ca: The CA that issued the old one, if that is not `ca`.
        at: The time of issue, now by default.
        lifetime: How long it is valid; by default what a new one of its kind gets. Cut at the issuer's end.

    Raises:
        PkiError: The old certificate is a CA's, was not issued by the CA, names no device, or has a key that may not
            be used any more.
    """
    above = previous_ca or ca.certificate
    if is_ca(old):
        raise PkiError(f"{short_name(old)} is a CA certificate; make a new CA with `gateway ca create`")
    if not signed_by(old, above):
        raise PkiError(
            f"{short_name(old)} was not issued by {short_name(above)}, so nothing here vouches for its name and key; "
            "name the CA that issued it with --previous-ca FILE, or issue a new certificate with `gateway cert issue`"
        )
    server = is_server(old)
    try:
        if not server:
            device_name(old)
            if key is None:
                check_leaf_key(old, old.public_bytes(Encoding.DER), LEAF_CURVES)
    except ChainRefused as refused:
        raise PkiError(f"it cannot be renewed as it is: {refused.detail}") from refused
    dates = profile.period(at, lifetime or (SERVER_LIFETIME if server else DEVICE_LIFETIME), ca.certificate)
    builder = profile.begin(old.subject, ca.certificate.subject, key or _kept_key(old), dates)
    for extension in old.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            builder = builder.add_extension(extension.value, extension.critical)
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
    return profile.sign(profile.end_extensions(builder, purpose), ca.certificate, ca.private_key)


def is_server(certificate: x509.Certificate) -> bool:
    """Whether a certificate is for servers and not for clients."""
    try:
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.SERVER_AUTH in purposes and ExtendedKeyUsageOID.CLIENT_AUTH not in purposes


def _key_of(
    request: x509.CertificateSigningRequest,
) -> ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | None:
    """The request's key, if it is of a kind that we issue for."""
    try:
        key = request.public_key()
    except (UnsupportedAlgorithm, ValueError):
        return None
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key if key.curve.name in LEAF_CURVES else None
    return key if isinstance(key, ed25519.Ed25519PublicKey) else None


def _kept_key(old: x509.Certificate) -> _Kept:
    try:
        key = old.public_key()
    except (UnsupportedAlgorithm, ValueError):
        key = None
    if not isinstance(key, _Kept):
        raise PkiError(f"the key of {short_name(old)} is of an unknown kind; give it a new one with --new-key")
    return key


def _asks_for_ca(request: x509.CertificateSigningRequest) -> bool:
    try:
        return request.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
