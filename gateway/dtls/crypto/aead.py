"""The AEAD of a suite, as an object with `encrypt(nonce, data, aad)` and `decrypt(nonce, data, aad)`."""

from collections.abc import Callable
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305

AuthenticationFailed = InvalidTag
"""What `decrypt` raises for a record that was not made with this key, nonce and associated data."""


class Aead(Protocol):
    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes: ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes: ...


AeadFactory = Callable[[bytes], Aead]


def aes_ccm(key: bytes) -> Aead:
    """AEAD_AES_128_CCM and AEAD_AES_256_CCM (RFC 5116 sections 5.3, 5.4, RFC 6655 section 3)."""
    return AESCCM(key, tag_length=16)


def aes_ccm_8(key: bytes) -> Aead:
    """AEAD_AES_128_CCM_8 and AEAD_AES_256_CCM_8 (RFC 6655 sections 6.1, 6.2)."""
    return AESCCM(key, tag_length=8)


def aes_gcm(key: bytes) -> Aead:
    """AEAD_AES_128_GCM and AEAD_AES_256_GCM (RFC 5288 section 3)."""
    return AESGCM(key)


def chacha20_poly1305(key: bytes) -> Aead:
    """AEAD_CHACHA20_POLY1305 (RFC 8439 section 2.8, RFC 7905 section 2)."""
    return ChaCha20Poly1305(key)


def ticket_aead(key: bytes) -> Aead:
    """AEAD_AES_256_GCM, what tickets are sealed with: 32 bytes of key, 12 of nonce."""
    return AESGCM(key)
