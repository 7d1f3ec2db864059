"""Watches the AEAD that associations write with: no nonce may come twice under one key, whoever asks and why."""

import pytest

from gateway.dtls.association import Association
from gateway.dtls.crypto import Aead


class WatchedAead:
    """Stands before the AEAD of one key."""

    def __init__(self, aead: Aead, key: bytes, seen: set[tuple[bytes, bytes]]) -> None:
        self._aead, self._key, self._seen = aead, key, seen

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes:
        assert (self._key, nonce) not in self._seen, "a nonce was used twice"
        self._seen.add((self._key, nonce))
        return self._aead.encrypt(nonce, data, associated_data)

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes:
        raise AssertionError("a writer does not read")


def watch_nonces(patch: pytest.MonkeyPatch) -> set[tuple[bytes, bytes]]:
    """Every (key, nonce) that is sealed with from now on; a repetition fails where it happens."""
    wake, seen = Association._wake_writer, set[tuple[bytes, bytes]]()

    def watched(association: Association) -> Aead:
        aead = WatchedAead(wake(association), association._write_key, seen)
        association._writer = aead
        return aead

    patch.setattr(Association, "_wake_writer", watched)
    return seen
