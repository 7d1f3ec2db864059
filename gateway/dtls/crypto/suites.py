"""Cipher suites as a table. A new suite is a row."""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from gateway.dtls.crypto.aead import AeadFactory, aes_ccm, aes_ccm_8, aes_gcm, chacha20_poly1305
from gateway.dtls.limits import MAX_GCM_RECORDS, MAX_WRITE_SEQUENCE
from gateway.dtls.numbers import CipherSuite


class KeyExchange(Enum):
    """How the premaster secret is agreed on, and who proves what by it."""

    PSK = "psk"
    ECDHE_ECDSA = "ecdhe_ecdsa"


class _Cipher(NamedTuple):
    """The half of a row that says how records are protected; `Suite` explains the columns."""

    aead: AeadFactory
    key_length: int
    fixed_iv_length: int
    explicit_nonce_length: int
    tag_length: int
    record_limit: int = MAX_WRITE_SEQUENCE


_CCM_8 = _Cipher(aes_ccm_8, 16, 4, 8, 8)
_CCM = _Cipher(aes_ccm, 16, 4, 8, 16)
_GCM = _Cipher(aes_gcm, 16, 4, 8, 16, MAX_GCM_RECORDS)
_CCM_8_256 = _Cipher(aes_ccm_8, 32, 4, 8, 8)
_CCM_256 = _Cipher(aes_ccm, 32, 4, 8, 16)
_CHACHA = _Cipher(chacha20_poly1305, 32, 12, 0, 16)


@dataclass(frozen=True, slots=True)
class Suite:
    """One row.

    Attributes:
        id: The IANA number.
        key_exchange: See `KeyExchange`.
        aead: Makes the AEAD object from a write key.
        key_length: Bytes of a write key.
        fixed_iv_length: Bytes of the nonce that come from the key block.
        explicit_nonce_length: Bytes of the nonce that travel in each record; with none, the record's number is XORed
            into those of the key block.
        tag_length: Bytes of the authentication tag.
        record_limit: Records that may be sealed with one key.
    """

    id: CipherSuite
    key_exchange: KeyExchange
    aead: AeadFactory
    key_length: int
    fixed_iv_length: int
    explicit_nonce_length: int
    tag_length: int
    record_limit: int

    @property
    def name(self) -> str:
        return self.id.name

    @property
    def expansion(self) -> int:
        """Bytes by which protection makes a record's fragment longer."""
        return self.explicit_nonce_length + self.tag_length


_C, _K = CipherSuite, KeyExchange

_ROWS = (
    Suite(_C.TLS_PSK_WITH_AES_128_GCM_SHA256, _K.PSK, *_GCM),  # RFC 5487
    Suite(_C.TLS_PSK_WITH_AES_128_CCM, _K.PSK, *_CCM),  # RFC 6655
    Suite(_C.TLS_PSK_WITH_AES_128_CCM_8, _K.PSK, *_CCM_8),
    Suite(_C.TLS_PSK_WITH_AES_256_CCM, _K.PSK, *_CCM_256),
    Suite(_C.TLS_PSK_WITH_AES_256_CCM_8, _K.PSK, *_CCM_8_256),
    Suite(_C.TLS_PSK_WITH_CHACHA20_POLY1305_SHA256, _K.PSK, *_CHACHA),  # RFC 7905
    Suite(_C.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, _K.ECDHE_ECDSA, *_GCM),  # RFC 5289
    Suite(_C.TLS_ECDHE_ECDSA_WITH_AES_128_CCM, _K.ECDHE_ECDSA, *_CCM),  # RFC 7251
    Suite(_C.TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8, _K.ECDHE_ECDSA, *_CCM_8),
    Suite(_C.TLS_ECDHE_ECDSA_WITH_AES_256_CCM, _K.ECDHE_ECDSA, *_CCM_256),
    Suite(_C.TLS_ECDHE_ECDSA_WITH_AES_256_CCM_8, _K.ECDHE_ECDSA, *_CCM_8_256),
    Suite(_C.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, _K.ECDHE_ECDSA, *_CHACHA),  # RFC 7905
)

SUITES: dict[int, Suite] = {row.id: row for row in _ROWS}
"""Every suite of the engine by its number."""

# PSK goes first although it has no forward secrecy: a client lists a PSK suite only when it holds a key, while many
# list every ECDHE_ECDSA suite without holding a certificate (Mbed TLS, OpenSSL), and would then fail at ours.
# Within a kind, the shortest record goes first: that is what a constrained radio pays for.
DEFAULT_SUITES: tuple[int, ...] = (
    _C.TLS_PSK_WITH_AES_128_CCM_8,
    _C.TLS_PSK_WITH_AES_256_CCM_8,
    _C.TLS_PSK_WITH_AES_128_CCM,
    _C.TLS_PSK_WITH_AES_256_CCM,
    _C.TLS_PSK_WITH_AES_128_GCM_SHA256,
    _C.TLS_PSK_WITH_CHACHA20_POLY1305_SHA256,
    _C.TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8,
    _C.TLS_ECDHE_ECDSA_WITH_AES_256_CCM_8,
    _C.TLS_ECDHE_ECDSA_WITH_AES_128_CCM,
    _C.TLS_ECDHE_ECDSA_WITH_AES_256_CCM,
    _C.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    _C.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
)
"""The server's order of preference."""
