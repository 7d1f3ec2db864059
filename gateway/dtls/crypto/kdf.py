"""Hash, HMAC and the TLS 1.2 pseudo-random function (RFC 5246 section 5), all with SHA-256."""

from cryptography.hazmat.primitives import hashes, hmac

_SHA256 = hashes.SHA256()


class Hmac:
    """HMAC-SHA256 under one key. Keyed once; each use works on a copy, which costs a third of a new one."""

    __slots__ = ("_keyed",)

    def __init__(self, key: bytes) -> None:
        self._keyed = hmac.HMAC(key, _SHA256)

    def mac(self, data: bytes) -> bytes:
        context = self._keyed.copy()
        context.update(data)
        return context.finalize()

    def prf(self, label: bytes, seed: bytes, length: int) -> bytes:
        """PRF(key, label, seed) cut to `length` bytes: P_SHA256 over label + seed (RFC 5246 section 5)."""
        mac = self.mac
        seed = label + seed
        a = mac(seed)
        output = mac(a + seed)
        while len(output) < length:
            a = mac(a)
            output += mac(a + seed)
        return output[:length]


def sha256(data: bytes) -> bytes:
    context = hashes.Hash(_SHA256)
    context.update(data)
    return context.finalize()


class RunningHash:
    """SHA-256 over a growing input, readable at any point."""

    __slots__ = ("_context",)

    def __init__(self) -> None:
        self._context = hashes.Hash(_SHA256)

    def update(self, data: bytes) -> None:
        self._context.update(data)

    def digest(self) -> bytes:
        return self._context.copy().finalize()
