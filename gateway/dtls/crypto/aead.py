"""The AEAD of a suite, as an object with `encrypt(nonce, data, aad)` and `decrypt(nonce, data, aad)`."""

from collections.abc import Callable
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM

AuthenticationFailed = InvalidTag
"""What `decrypt` raises for a record that was not made with this key, nonce and associated data."""


class Aead(Protocol):
    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes: ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes: ...


AeadFactory = Callable[[bytes], Aead]


def aes_ccm(key: bytes) -> Aead:
    """AEAD_AES_128_CCM (RFC 5116 section 5.3, RFC 6655 section 3)."""
    return AESCCM(key, tag_length=16)


def aes_ccm_8(key: bytes) -> Aead:
    """AEAD_AES_128_CCM_8 (RFC 6655 section 6.1)."""
    return AESCCM(key, tag_length=8)


def aes_gcm(key: bytes) -> Aead:
    """AEAD_AES_128_GCM (RFC 5288 section 3)."""
    return AESGCM(key)
