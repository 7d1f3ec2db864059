"""Cipher suites as a table. A new suite is a row."""

from dataclasses import dataclass
from enum import Enum

from gateway.dtls.crypto.aead import AeadFactory, aes_ccm, aes_ccm_8, aes_gcm
from gateway.dtls.numbers import CipherSuite


class KeyExchange(Enum):
    """How the premaster secret is agreed on, and who proves what by it."""

    PSK = "psk"
    ECDHE_ECDSA = "ecdhe_ecdsa"


@dataclass(frozen=True, slots=True)
class Suite:
    """One row.

    Attributes:
        id: The IANA number.
        key_exchange: See `KeyExchange`.
        aead: Makes the AEAD object from a write key.
        key_length: Bytes of a write key.
        fixed_iv_length: Bytes of the nonce that come from the key block; the rest is in the record.
        explicit_nonce_length: Bytes of the nonce that travel in each record.
        tag_length: Bytes of the authentication tag.
    """

    id: CipherSuite
    key_exchange: KeyExchange
    aead: AeadFactory
    key_length: int
    fixed_iv_length: int
    explicit_nonce_length: int
    tag_length: int

    @property
    def name(self) -> str:
        return self.id.name

    @property
    def expansion(self) -> int:
        """Bytes by which protection makes a record's fragment longer."""
        return self.explicit_nonce_length + self.tag_length


_C, _K = CipherSuite, KeyExchange

_ROWS = (
    Suite(_C.TLS_PSK_WITH_AES_128_GCM_SHA256, _K.PSK, aes_gcm, 16, 4, 8, 16),  # RFC 5487
    Suite(_C.TLS_PSK_WITH_AES_128_CCM, _K.PSK, aes_ccm, 16, 4, 8, 16),  # RFC 6655
    Suite(_C.TLS_PSK_WITH_AES_128_CCM_8, _K.PSK, aes_ccm_8, 16, 4, 8, 8),  # RFC 6655
    Suite(_C.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, _K.ECDHE_ECDSA, aes_gcm, 16, 4, 8, 16),  # RFC 5289
    Suite(_C.TLS_ECDHE_ECDSA_WITH_AES_128_CCM, _K.ECDHE_ECDSA, aes_ccm, 16, 4, 8, 16),  # RFC 7251
    Suite(_C.TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8, _K.ECDHE_ECDSA, aes_ccm_8, 16, 4, 8, 8),  # RFC 7251
)

SUITES: dict[int, Suite] = {row.id: row for row in _ROWS}
"""Every suite of the engine by its number."""

# PSK goes first although it has no forward secrecy: a client lists a PSK suite only when it holds a key, while many
# list every ECDHE_ECDSA suite without holding a certificate (Mbed TLS, OpenSSL), and would then fail at ours.
# Within a kind, the shortest record goes first: that is what a constrained radio pays for.
DEFAULT_SUITES: tuple[int, ...] = (
    _C.TLS_PSK_WITH_AES_128_CCM_8,
    _C.TLS_PSK_WITH_AES_128_CCM,
    _C.TLS_PSK_WITH_AES_128_GCM_SHA256,
    _C.TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8,
    _C.TLS_ECDHE_ECDSA_WITH_AES_128_CCM,
    _C.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
)
"""The server's order of preference."""
