"""Fingerprints that survive what can be changed about a certificate without its CA.

A certificate's signature stands outside of what it signs, and has more than one encoding: s and n - s are both right in
ECDSA, and a BIT STRING may say that its last zero bits are not used. So anybody can make a certificate with another
fingerprint out of one, and it verifies as well as the first. Whoever bans a fingerprint means all of them, and whoever
names devices by fingerprint means one.
"""

import hashlib

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

_BIT_STRING, _SEQUENCE = 0x03, 0x30


def equivalent_fingerprints(
    certificate: x509.Certificate, issuer: x509.Certificate, der: bytes | None = None
) -> frozenset[str]:
    """The SHA-256 fingerprints of every encoding under which a certificate verifies, lower-case hex.

    Args:
        certificate: One of them.
        issuer: Whose key signed it.
        der: The certificate as DER, if it is at hand: the library would encode it anew.
    """
    made = _Encodings(certificate, der)
    return frozenset(
        made.fingerprint(signature, unused)
        for signature in _signatures(certificate, issuer)
        for unused in range(_unused_bits(signature) + 1)
    )


def stable_fingerprint(certificate: x509.Certificate, issuer: x509.Certificate) -> str:
    """The one of `equivalent_fingerprints` that stands for all: every bit used, and in ECDSA the smaller s.

    For every other kind of signature, and for about half of the ECDSA ones, it is what `openssl x509 -fingerprint
    -sha256` prints.
    """
    return _Encodings(certificate).fingerprint(_signatures(certificate, issuer)[0], 0)


def twin_fingerprint(certificate: x509.Certificate, order: int, der: bytes) -> str:
    """The SHA-256 fingerprint of a certificate with the other s, lower-case hex.

    Args:
        certificate: Signed with ECDSA, every bit of its signature used.
        order: Of the group that the issuer's key is in.
        der: The certificate as DER.
    """
    r, s = decode_dss_signature(certificate.signature)
    return _Encodings(certificate, der).fingerprint(encode_dss_signature(r, order - s), 0)


class _Encodings:
    """A certificate, to be put together anew around another encoding of its signature."""

    def __init__(self, certificate: x509.Certificate, der: bytes | None = None) -> None:
        # Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue BIT STRING }
        der = der or certificate.public_bytes(Encoding.DER)
        start = 2 if der[1] < 0x80 else 2 + (der[1] & 0x7F)
        self._signed = der[start : len(der) - len(_encoded(_BIT_STRING, b"\0" + certificate.signature))]

    def fingerprint(self, signature: bytes, unused: int) -> str:
        bits = _encoded(_BIT_STRING, bytes((unused,)) + signature)
        return hashlib.sha256(_encoded(_SEQUENCE, self._signed + bits)).hexdigest()


def _signatures(certificate: x509.Certificate, issuer: x509.Certificate) -> list[bytes]:
    """The signature values that verify, the one with the smaller s first."""
    key = issuer.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return [certificate.signature]
    r, s = decode_dss_signature(certificate.signature)
    return [encode_dss_signature(r, each) for each in sorted((s, key.curve.group_order - s))]


def _unused_bits(signature: bytes) -> int:
    """How many of the last bits may be declared unused: those that are zero (X.690 section 11.2.1), at most seven."""
    last = signature[-1]
    return next((bit for bit in range(8) if last >> bit & 1), 7)


def _encoded(tag: int, body: bytes) -> bytes:
    size = len(body)
    if size < 0x80:
        return bytes((tag, size)) + body
    octets = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(octets))) + octets + body
