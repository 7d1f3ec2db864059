"""Ephemeral key agreement: P-256, P-384 and x25519 (RFC 8422)."""

from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.dtls.errors import ApiMisuse, FailureReason, HandshakeError
from gateway.dtls.numbers import NamedGroup


class KeyShare:
    """One ephemeral private key: made for one handshake, used once (RFC 9325 section 7.4)."""

    __slots__ = ("_agree", "group", "public")

    def __init__(self, group: int, public: bytes, agree: Callable[[bytes], bytes]) -> None:
        self.group = group
        self.public = public
        self._agree: Callable[[bytes], bytes] | None = agree

    @classmethod
    def generate(cls, group: int) -> "KeyShare":
        """A fresh key of a group out of `SUPPORTED_GROUPS`."""
        try:
            return _GENERATORS[group]()
        except KeyError:
            raise ApiMisuse(f"group {group} is not supported") from None

    def agree(self, peer_public: bytes) -> bytes:
        """The shared secret with the peer's point; the private key is gone afterwards.

        Raises:
            HandshakeError: illegal_parameter: the point has the wrong length or form, is not on the curve,
                or gives the all-zero secret (RFC 8422 section 5.11).
        """
        if self._agree is None:
            raise ApiMisuse("an ephemeral key agrees once")
        agree, self._agree = self._agree, None
        return agree(peer_public)


def _on_curve(group: int, curve: ec.EllipticCurve, point_length: int) -> KeyShare:
    private = ec.generate_private_key(curve)

    def agree(peer_public: bytes) -> bytes:
        # Uncompressed only: 0x04, x, y. `cryptography` checks that the point is on the curve and not at infinity.
        if len(peer_public) != point_length or peer_public[0] != 4:
            raise _illegal(f"not an uncompressed point of {curve.name}")
        try:
            return private.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(curve, peer_public))
        except ValueError as error:
            raise _illegal(f"not a point of {curve.name}") from error

    public = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return KeyShare(group, public, agree)


def _p256() -> KeyShare:
    return _on_curve(NamedGroup.SECP256R1, ec.SECP256R1(), 65)


def _p384() -> KeyShare:
    return _on_curve(NamedGroup.SECP384R1, ec.SECP384R1(), 97)


def _x25519() -> KeyShare:
    private = x25519.X25519PrivateKey.generate()

    def agree(peer_public: bytes) -> bytes:
        if len(peer_public) != 32:
            raise _illegal("an x25519 key has 32 bytes")
        try:
            return private.exchange(x25519.X25519PublicKey.from_public_bytes(peer_public))
        except ValueError as error:  # low order: the secret would be all zero
            raise _illegal("x25519 key of low order") from error

    return KeyShare(NamedGroup.X25519, private.public_key().public_bytes_raw(), agree)


def _illegal(detail: str) -> HandshakeError:
    return HandshakeError(FailureReason.ILLEGAL_PARAMETER, detail)


_GENERATORS: Final[dict[int, Callable[[], KeyShare]]] = {
    NamedGroup.SECP256R1: _p256,
    NamedGroup.X25519: _x25519,
    NamedGroup.SECP384R1: _p384,
}

SUPPORTED_GROUPS: Final[tuple[int, ...]] = tuple(_GENERATORS)
"""Groups of the engine, in the order in which our client offers them."""
