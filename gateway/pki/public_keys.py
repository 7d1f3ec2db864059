"""Raw public keys (RFC 7250): a device's key without a certificate around it."""

import hashlib
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from gateway.pki.certificates import is_library_error
from gateway.pki.errors import PkiError
from gateway.pki.policy import LEAF_CURVES

_PEM_MARK = b"-----BEGIN "


def load_public_key(path: Path) -> bytes:
    """Reads a device's public key, PEM or DER.

    Returns:
        Its SubjectPublicKeyInfo in the one DER form that devices send.

    Raises:
        PkiError: The file cannot be read, or holds no public key that a device may have.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PkiError(f"cannot read {path}: {error.strerror}") from error
    return parse_public_key(data, str(path))


def parse_public_key(data: bytes, origin: str = "the input") -> bytes:
    """The same for bytes.

    Args:
        data: The bytes.
        origin: Where they are from, for the error text.

    Raises:
        PkiError: There is no public key in them, or one that no device may have.
    """
    try:
        key = (load_pem_public_key if _PEM_MARK in data else load_der_public_key)(data)
    except BaseException as error:
        if not is_library_error(error):
            raise
        # The library's text is left out: it may quote the file, which may hold a private key by mistake.
        raise PkiError(
            f"{origin} holds no public key in PEM or DER form; make it with `openssl pkey -in KEY -pubout -out FILE`"
        ) from None
    if isinstance(key, ec.EllipticCurvePublicKey):
        kind = key.curve.name
    else:
        kind = "ed25519" if isinstance(key, ed25519.Ed25519PublicKey) else "RSA or another kind"
    if kind not in LEAF_CURVES:
        raise PkiError(f"{origin} holds a key of {kind}; accepted for devices are {' or '.join(sorted(LEAF_CURVES))}")
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def public_key_fingerprint(public_key: bytes) -> str:
    """SHA-256 of a SubjectPublicKeyInfo, lower-case hex: the name by which a raw public key goes."""
    return hashlib.sha256(public_key).hexdigest()
