"""Public keys without a certificate around them (RFC 7250)."""

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from gateway.dtls.crypto.signature import VerifyingKey
from gateway.dtls.errors import DecodeError, FailureReason, HandshakeError


def raw_key(public_key_der: bytes) -> VerifyingKey:
    """The key of a SubjectPublicKeyInfo.

    Raises:
        DecodeError: Not one.
        HandshakeError: weak_key, for a key that is not on P-256.
    """
    try:
        key = load_der_public_key(public_key_der)
    except BaseException as error:  # as in `leaf_key`
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise DecodeError(
            f"not a raw public key, which is what was negotiated (RFC 7250): {type(error).__name__}"
        ) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise HandshakeError(
            FailureReason.WEAK_KEY, f"the raw public key is {type(key).__name__}; give the device one on P-256"
        )
    return VerifyingKey(key)


def certificate_public_key(certificate_der: bytes) -> bytes:
    """The SubjectPublicKeyInfo of a certificate of ours, DER."""
    key = x509.load_der_x509_certificate(certificate_der).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
