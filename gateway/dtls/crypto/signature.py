"""Signatures of the handshake: ServerKeyExchange and CertificateVerify, ECDSA over P-256."""

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.dtls.errors import ApiMisuse, DecodeError, FailureReason, HandshakeError
from gateway.dtls.numbers import NamedGroup, SignatureScheme

_ALGORITHMS: dict[int, ec.ECDSA] = {
    SignatureScheme.ECDSA_SHA256: ec.ECDSA(hashes.SHA256()),
    SignatureScheme.ECDSA_SHA384: ec.ECDSA(hashes.SHA384()),
    SignatureScheme.ECDSA_SHA512: ec.ECDSA(hashes.SHA512()),
}

SUPPORTED_SIGNATURES: tuple[int, ...] = tuple(_ALGORITHMS)
"""Signature and hash pairs, in order of preference. No SHA-1 (RFC 9155)."""


class SigningKey:
    """The private key of a certificate. Has no representation that shows it."""

    __slots__ = ("_key", "group")

    def __init__(self, key: object) -> None:
        """Wraps a key of the `cryptography` library.

        Raises:
            ApiMisuse: The key is not an ECDSA key on P-256.
        """
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ApiMisuse("the private key must be an ECDSA key on P-256")
        self._key = key
        self.group: int = NamedGroup.SECP256R1

    def choose(self, offered: tuple[int, ...]) -> int | None:
        """The scheme to sign with, out of those that the peer offered; None if none fits the key."""
        return next((scheme for scheme in SUPPORTED_SIGNATURES if scheme in offered), None)

    def sign(self, scheme: int, data: bytes) -> bytes:
        return self._key.sign(data, _ALGORITHMS[scheme])


class VerifyingKey:
    """The public key out of a peer's certificate."""

    __slots__ = ("_key",)

    def __init__(self, key: ec.EllipticCurvePublicKey) -> None:
        self._key = key

    def verify(self, scheme: int, signature: bytes, data: bytes) -> None:
        """Raises `HandshakeError` (possession_not_proven) unless the signature is this key's, over this data."""
        algorithm = _ALGORITHMS.get(scheme)
        if algorithm is None:
            raise HandshakeError(FailureReason.ILLEGAL_PARAMETER, f"signature scheme {scheme:#06x} was not offered")
        try:
            self._key.verify(signature, data, algorithm)
        except InvalidSignature:
            raise HandshakeError(FailureReason.POSSESSION_NOT_PROVEN, "the signature does not verify") from None


def leaf_key(certificate_der: bytes) -> VerifyingKey:
    """The public key of a certificate.

    Raises:
        DecodeError: Not a certificate.
        HandshakeError: weak_key, for a key that is not on a curve we offered (RFC 8422 section 5.6).
    """
    try:
        key = x509.load_der_x509_certificate(certificate_der).public_key()
    except BaseException as error:  # the parser raises ValueError, TypeError, its own kinds, and may even panic
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise DecodeError(f"not an X.509 certificate: {type(error).__name__}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        curve = f" on {key.curve.name}" if isinstance(key, ec.EllipticCurvePublicKey) else ""
        raise HandshakeError(
            FailureReason.WEAK_KEY, f"the certificate's key is {type(key).__name__}{curve}; issue it with a P-256 key"
        )
    return VerifyingKey(key)
