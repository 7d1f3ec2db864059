"""What stands in a certificate, as facts for humans and for scripts."""

from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

from gateway.pki.certificates import authority_key_id, fingerprint, printable, subject_key_id
from gateway.pki.errors import ChainRefused
from gateway.pki.names import device_name

_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
)


def facts_of(certificate: x509.Certificate) -> dict[str, Any]:
    """The facts of a certificate that `files.parse_certificates` has read; None for what it does not state."""
    facts: dict[str, Any] = {
        "subject": printable(certificate.subject.rfc4514_string()),
        "issuer": printable(certificate.issuer.rfc4514_string()),
        "serial": f"{certificate.serial_number:x}",
        "sha256": fingerprint(certificate),
        "not_before": certificate.not_valid_before_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "not_after": certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "key": _key(certificate),
        "signature": _named(certificate.signature_algorithm_oid),
        "device": _device(certificate),
    }
    return facts | _extensions(certificate)


def _extensions(certificate: x509.Certificate) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "ca": None,
        "path_length": None,
        "key_usage": None,
        "extended_key_usage": None,
        "san": None,
        "subject_key_id": _hex(subject_key_id(certificate)),
        "authority_key_id": _hex(authority_key_id(certificate)),
        "other_extensions": None,
    }
    other = []
    for extension in certificate.extensions:
        match extension.value:
            case x509.BasicConstraints() as constraints:
                facts["ca"], facts["path_length"] = constraints.ca, constraints.path_length
            case x509.KeyUsage() as usage:
                facts["key_usage"] = [name for name in _USAGES if getattr(usage, name)]
            case x509.ExtendedKeyUsage() as purposes:
                facts["extended_key_usage"] = [_named(purpose) for purpose in purposes]
            case x509.SubjectAlternativeName() as san:
                facts["san"] = [printable(f"{type(name).__name__}:{name.value}") for name in san]
            case x509.SubjectKeyIdentifier() | x509.AuthorityKeyIdentifier():
                pass
            case _:
                other.append(_named(extension.oid) + (" (critical)" if extension.critical else ""))
    facts["other_extensions"] = other or None
    return facts


def _key(certificate: x509.Certificate) -> str:
    try:
        key = certificate.public_key()
    except (UnsupportedAlgorithm, ValueError):
        return f"unknown ({certificate.public_key_algorithm_oid.dotted_string})"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    if isinstance(key, rsa.RSAPublicKey | dsa.DSAPublicKey):
        return f"{type(key).__name__.lstrip('_').removesuffix('PublicKey')} {key.key_size}"
    return type(key).__name__.lstrip("_").removesuffix("PublicKey")


def _device(certificate: x509.Certificate) -> str | None:
    try:
        return device_name(certificate)
    except ChainRefused:
        return None


def _named(oid: x509.ObjectIdentifier) -> str:
    name = oid._name
    return oid.dotted_string if name == "Unknown OID" else name


def _hex(key_id: bytes | None) -> str | None:
    return key_id.hex() if key_id is not None else None
