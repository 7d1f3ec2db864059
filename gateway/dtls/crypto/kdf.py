"""Hash, HMAC and the TLS 1.2 pseudo-random function (RFC 5246 section 5), all with SHA-256."""

from cryptography.hazmat.primitives import hashes, hmac

_SHA256 = hashes.SHA256()


def prf(secret: bytes, label: bytes, seed: bytes, length: int) -> bytes:
    """PRF(secret, label, seed) cut to `length` bytes: P_SHA256 over label + seed (RFC 5246 section 5)."""
    keyed = hmac.HMAC(secret, _SHA256)  # keyed once; each block works on a copy, which costs a third of a new one
    seed = label + seed
    a = _mac(keyed, seed)
    output = _mac(keyed, a + seed)
    while len(output) < length:
        a = _mac(keyed, a)
        output += _mac(keyed, a + seed)
    return output[:length]


def hmac_sha256(key: bytes, data: bytes) -> bytes:
    context = hmac.HMAC(key, _SHA256)
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


def _mac(keyed: hmac.HMAC, data: bytes) -> bytes:
    context = keyed.copy()
    context.update(data)
    return context.finalize()
