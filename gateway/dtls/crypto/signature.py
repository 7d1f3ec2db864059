"""Signatures of the handshake: ServerKeyExchange and CertificateVerify.

ECDSA and Ed25519 on both sides; RSA only for a server's certificate (RFC 8422 section 2.2): devices have no use for it.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from gateway.dtls.errors import ApiMisuse, DecodeError, FailureReason, HandshakeError
from gateway.dtls.limits import MAX_RSA_BITS, MIN_RSA_BITS
from gateway.dtls.numbers import NamedGroup, SignatureScheme

_S = SignatureScheme

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

_ECDSA: Final[dict[int, ec.ECDSA]] = {
    _S.ECDSA_SHA256: ec.ECDSA(hashes.SHA256()),
    _S.ECDSA_SHA384: ec.ECDSA(hashes.SHA384()),
    _S.ECDSA_SHA512: ec.ECDSA(hashes.SHA512()),
}


class _RsaScheme(NamedTuple):
    padding: padding.AsymmetricPadding
    hash: hashes.HashAlgorithm


def _pss(algorithm: hashes.HashAlgorithm) -> _RsaScheme:
    # RFC 8446 section 4.2.3: MGF1 with the same hash, and a salt as long as its digest.
    return _RsaScheme(padding.PSS(padding.MGF1(algorithm), padding.PSS.DIGEST_LENGTH), algorithm)


_RSA: Final[dict[int, _RsaScheme]] = {
    _S.RSA_PSS_RSAE_SHA256: _pss(hashes.SHA256()),
    _S.RSA_PSS_RSAE_SHA384: _pss(hashes.SHA384()),
    _S.RSA_PSS_RSAE_SHA512: _pss(hashes.SHA512()),
    _S.RSA_PKCS1_SHA256: _RsaScheme(padding.PKCS1v15(), hashes.SHA256()),
    _S.RSA_PKCS1_SHA384: _RsaScheme(padding.PKCS1v15(), hashes.SHA384()),
    _S.RSA_PKCS1_SHA512: _RsaScheme(padding.PKCS1v15(), hashes.SHA512()),
}

_CURVES: Final[dict[type[ec.EllipticCurve], int]] = {
    ec.SECP256R1: NamedGroup.SECP256R1,
    ec.SECP384R1: NamedGroup.SECP384R1,
}

SUPPORTED_SIGNATURES: Final[tuple[int, ...]] = (*_ECDSA, _S.ED25519)
"""Schemes of ECDHE_ECDSA certificates, in order of preference. No SHA-1 (RFC 9155)."""

RSA_SIGNATURES: Final[tuple[int, ...]] = tuple(_RSA)
"""Schemes of an RSA server's certificate, in order of preference."""


class SigningKey:
    """The private key of a certificate. Has no representation that shows it.

    Attributes:
        group: The curve, where the client must list it to take the certificate (RFC 8422 section 5.1); None otherwise.
        is_rsa: Whether it is for the ECDHE_RSA suites; for ECDHE_ECDSA otherwise.
    """

    __slots__ = ("_schemes", "_sign", "group", "is_rsa")

    def __init__(self, key: object) -> None:
        """Wraps a key of the `cryptography` library.

        Raises:
            ApiMisuse: The key is not an ECDSA key on P-256 or P-384, Ed25519, or RSA of a size in use.
        """
        if not isinstance(key, PrivateKey):
            raise ApiMisuse(f"{_WANTED}; this one is a {type(key).__name__}")
        if isinstance(found := usable_key(key.public_key(), rsa_too=True), str):
            raise ApiMisuse(f"{_WANTED}; this one is {found}")
        self.group = _CURVES[type(key.curve)] if isinstance(key, ec.EllipticCurvePrivateKey) else None
        self.is_rsa = isinstance(key, rsa.RSAPrivateKey)
        self._schemes = _schemes(key.public_key())
        self._sign = _signer(key)

    def choose(self, offered: tuple[int, ...]) -> int | None:
        """The scheme to sign with, out of those that the peer offered; None if none fits the key."""
        return next((scheme for scheme in self._schemes if scheme in offered), None)

    def sign(self, scheme: int, data: bytes) -> bytes:
        """The signature with a scheme that `choose` gave."""
        return self._sign(scheme, data)


class VerifyingKey:
    """The public key out of a peer's certificate.

    Attributes:
        is_rsa: Whether it is for the ECDHE_RSA suites; for ECDHE_ECDSA otherwise.
    """

    __slots__ = ("_schemes", "_verify", "is_rsa")

    def __init__(self, key: PublicKey) -> None:
        self._schemes = _schemes(key)
        self._verify = _verifier(key)
        self.is_rsa = self._schemes is RSA_SIGNATURES

    def verify(self, scheme: int, signature: bytes, data: bytes) -> None:
        """Checks a signature over `data`.

        Raises:
            HandshakeError: illegal_parameter for a scheme that was not offered or does not fit the key;
                possession_not_proven for a signature that is not this key's.
        """
        if scheme not in self._schemes:
            raise HandshakeError(
                FailureReason.ILLEGAL_PARAMETER, f"signature scheme {scheme:#06x} was not offered for such a key"
            )
        try:
            self._verify(scheme, signature, data)
        except InvalidSignature:
            raise HandshakeError(FailureReason.POSSESSION_NOT_PROVEN, "the signature does not verify") from None


def leaf_key(certificate_der: bytes, *, rsa_too: bool = False) -> VerifyingKey:
    """The public key of a certificate.

    Args:
        certificate_der: The certificate.
        rsa_too: Whether an RSA key will do: for a server's certificate.

    Raises:
        DecodeError: Not a certificate.
        HandshakeError: weak_key, for a key that is not of a kind we offered (RFC 8422 section 5.6).
    """
    try:
        key = x509.load_der_x509_certificate(certificate_der).public_key()
    except UnsupportedAlgorithm:
        raise _weak("of an unknown kind") from None
    except BaseException as error:  # the parser raises ValueError, TypeError, its own kinds, and may even panic
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise DecodeError(f"not an X.509 certificate: {type(error).__name__}") from error
    usable = usable_key(key, rsa_too=rsa_too)
    if isinstance(usable, str):
        raise _weak(usable)
    return VerifyingKey(usable)


def dns_names(certificate_der: bytes) -> tuple[str, ...]:
    """The DNS names that a certificate of ours is for, in lower case; empty without a subjectAltName.

    Raises:
        ApiMisuse: Not a certificate.
    """
    try:
        extensions = x509.load_der_x509_certificate(certificate_der).extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    except ValueError as error:
        raise ApiMisuse(f"not an X.509 certificate: {error}") from error
    return tuple(name.lower() for name in names.get_values_for_type(x509.DNSName))


_WANTED: Final = (
    "the private key must be an elliptic curve key on P-256 or P-384, an Ed25519 key, "
    f"or an RSA key of {MIN_RSA_BITS} to {MAX_RSA_BITS} bits"
)


def _weak(found: str) -> HandshakeError:
    return HandshakeError(
        FailureReason.WEAK_KEY,
        f"the certificate's key is {found}; issue it with a P-256 key (P-384 and Ed25519 are accepted too)",
    )


def usable_key(key: object, *, rsa_too: bool) -> PublicKey | str:
    """The key, if it is one that will do; else what it is, in words."""
    match key:
        case ec.EllipticCurvePublicKey():
            return key if type(key.curve) in _CURVES else f"an elliptic curve key on {key.curve.name}"
        case rsa.RSAPublicKey():
            return key if rsa_too and MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS else f"RSA of {key.key_size} bits"
        case ed25519.Ed25519PublicKey():
            return key
        case _:
            return f"a {type(key).__name__}"


def _schemes(key: PublicKey) -> tuple[int, ...]:
    match key:
        case ec.EllipticCurvePublicKey():
            return _ECDSA_SCHEMES
        case ed25519.Ed25519PublicKey():
            return _ED25519_SCHEMES
        case rsa.RSAPublicKey():
            return RSA_SIGNATURES


_ED25519_SCHEMES: Final[tuple[int, ...]] = (_S.ED25519,)
_ECDSA_SCHEMES: Final[tuple[int, ...]] = tuple(_ECDSA)


def _signer(key: PrivateKey) -> Callable[[int, bytes], bytes]:
    match key:
        case rsa.RSAPrivateKey():
            return lambda scheme, data: key.sign(data, *_RSA[scheme])
        case ed25519.Ed25519PrivateKey():
            return lambda _scheme, data: key.sign(data)
        case ec.EllipticCurvePrivateKey():
            return lambda scheme, data: key.sign(data, _ECDSA[scheme])


def _verifier(key: PublicKey) -> Callable[[int, bytes, bytes], None]:
    match key:
        case ec.EllipticCurvePublicKey():
            return lambda scheme, signature, data: key.verify(signature, data, _ECDSA[scheme])
        case ed25519.Ed25519PublicKey():
            return lambda _scheme, signature, data: key.verify(signature, data)
        case rsa.RSAPublicKey():
            return lambda scheme, signature, data: key.verify(signature, data, *_RSA[scheme])
