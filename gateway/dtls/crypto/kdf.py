"""Hash, HMAC and the TLS 1.2 pseudo-random function (RFC 5246 section 5), with the hash that the suite names."""

from typing import Final

from cryptography.hazmat.primitives import hashes, hmac

HashAlgorithm = hashes.HashAlgorithm

SHA256: Final[HashAlgorithm] = hashes.SHA256()
SHA384: Final[HashAlgorithm] = hashes.SHA384()

# Never fed, only copied: to make a hash costs twice as much as to copy one.
_UNFED: Final = {algorithm.name: hashes.Hash(algorithm) for algorithm in (SHA256, SHA384)}


class Hmac:
    """HMAC under one key, with SHA-256 if not said otherwise.

    Keyed once; each use works on a copy, which costs a third of a new one.
    """

    __slots__ = ("_keyed",)

    def __init__(self, key: bytes, algorithm: HashAlgorithm = SHA256) -> None:
        self._keyed = hmac.HMAC(key, algorithm)

    def mac(self, data: bytes) -> bytes:
        context = self._keyed.copy()
        context.update(data)
        return context.finalize()

    def prf(self, label: bytes, seed: bytes, length: int) -> bytes:
        """PRF(key, label, seed) cut to `length` bytes: P_hash over label + seed (RFC 5246 section 5)."""
        keyed = self._keyed
        seed = label + seed
        a, output = seed, b""
        while len(output) < length:  # flat, without `mac`: four calls of this stand in each handshake
            context = keyed.copy()
            context.update(a)
            a = context.finalize()
            context = keyed.copy()
            context.update(a + seed)
            output += context.finalize()
        return output[:length]


def sha256(data: bytes) -> bytes:
    context = _UNFED[SHA256.name].copy()
    context.update(data)
    return context.finalize()


class RunningHash:
    """A hash over a growing input, readable at any point: SHA-256 or SHA-384, as the suites name them."""

    __slots__ = ("_context",)

    def __init__(self, algorithm: HashAlgorithm) -> None:
        self._context = _UNFED[algorithm.name].copy()

    def update(self, data: bytes) -> None:
        self._context.update(data)

    def digest(self) -> bytes:
        return self._context.copy().finalize()
