"""Public keys without a certificate around them (RFC 7250)."""

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from gateway.dtls.crypto.signature import VerifyingKey, usable_key
from gateway.dtls.errors import DecodeError, FailureReason, HandshakeError


def raw_key(public_key_der: bytes, *, rsa_too: bool = False) -> VerifyingKey:
    """The key of a SubjectPublicKeyInfo.

    Args:
        public_key_der: The SubjectPublicKeyInfo.
        rsa_too: Whether an RSA key will do: for a server's.

    Raises:
        DecodeError: Not one.
        HandshakeError: weak_key, for a key that is not of a kind we offered.
    """
    try:
        key = load_der_public_key(public_key_der)
    except UnsupportedAlgorithm:
        raise _weak("of an unknown kind") from None
    except BaseException as error:  # as in `leaf_key`
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise DecodeError(
            f"not a raw public key, which is what was negotiated (RFC 7250): {type(error).__name__}"
        ) from error
    usable = usable_key(key, rsa_too=rsa_too)
    if isinstance(usable, str):
        raise _weak(usable)
    return VerifyingKey(usable)


def _weak(found: str) -> HandshakeError:
    return HandshakeError(
        FailureReason.WEAK_KEY,
        f"the raw public key is {found}; give the device one on P-256 (P-384 and Ed25519 are accepted too)",
    )


def certificate_public_key(certificate_der: bytes) -> bytes:
    """The SubjectPublicKeyInfo of a certificate of ours, DER."""
    key = x509.load_der_x509_certificate(certificate_der).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
