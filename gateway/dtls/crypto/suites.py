"""Cipher suites as a table. A new suite is a row."""

from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from gateway.dtls.crypto.aead import AeadFactory, aes_ccm, aes_ccm_8, aes_gcm, chacha20_poly1305
from gateway.dtls.crypto.kdf import SHA256, SHA384, HashAlgorithm
from gateway.dtls.limits import MAX_GCM_RECORDS, MAX_WRITE_SEQUENCE
from gateway.dtls.numbers import CipherSuite


class KeyExchange(Enum):
    """How the premaster secret is agreed on, and who proves what by it."""

    ECDHE_PSK = "ecdhe_psk"
    PSK = "psk"
    ECDHE_ECDSA = "ecdhe_ecdsa"
    ECDHE_RSA = "ecdhe_rsa"

    @property
    def is_psk(self) -> bool:
        """Whether the peers prove themselves with a pre-shared key; with certificates otherwise."""
        return self is KeyExchange.PSK or self is KeyExchange.ECDHE_PSK

    @property
    def is_ephemeral(self) -> bool:
        """Whether the secret comes of ephemeral keys: forward secrecy."""
        return self is not KeyExchange.PSK


class _Cipher(NamedTuple):
    """The half of a row that says how records are protected; `Suite` explains the columns."""

    aead: AeadFactory
    key_length: int
    fixed_iv_length: int
    explicit_nonce_length: int
    tag_length: int
    record_limit: int = MAX_WRITE_SEQUENCE
    hash: HashAlgorithm = SHA256


_CCM_8: Final = _Cipher(aes_ccm_8, 16, 4, 8, 8)
_CCM_8_256: Final = _Cipher(aes_ccm_8, 32, 4, 8, 8)
_CCM: Final = _Cipher(aes_ccm, 16, 4, 8, 16)
_CCM_256: Final = _Cipher(aes_ccm, 32, 4, 8, 16)
_GCM: Final = _Cipher(aes_gcm, 16, 4, 8, 16, MAX_GCM_RECORDS)
_GCM_256: Final = _Cipher(aes_gcm, 32, 4, 8, 16, MAX_GCM_RECORDS, SHA384)
_CHACHA: Final = _Cipher(chacha20_poly1305, 32, 12, 0, 16)


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
        hash: Of the PRF and of the transcript.
    """

    id: CipherSuite
    key_exchange: KeyExchange
    aead: AeadFactory
    key_length: int
    fixed_iv_length: int
    explicit_nonce_length: int
    tag_length: int
    record_limit: int
    hash: HashAlgorithm

    @property
    def name(self) -> str:
        return self.id.name

    @property
    def expansion(self) -> int:
        """Bytes by which protection makes a record's fragment longer."""
        return self.explicit_nonce_length + self.tag_length


_C, _K = CipherSuite, KeyExchange

# The order of the rows is the server's preference. Forward secrecy goes first within a kind of credential. Plain PSK
# goes before ECDHE_ECDSA although it has none: a client lists a PSK suite only when it holds a key, while many list
# every ECDHE_ECDSA suite without holding a certificate (Mbed TLS, OpenSSL), and would then fail at ours. Within a kind,
# the shortest record goes first: that is what a constrained radio pays for. AES-128 before AES-256 for the same reason.
_ROWS: Final = (
    Suite(_C.TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256, _K.ECDHE_PSK, *_CCM_8),  # RFC 8442
    Suite(_C.TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256, _K.ECDHE_PSK, *_CCM),  # RFC 8442
    Suite(_C.TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256, _K.ECDHE_PSK, *_GCM),  # RFC 8442
    Suite(_C.TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256, _K.ECDHE_PSK, *_CHACHA),  # RFC 7905
    Suite(_C.TLS_ECDHE_PSK_WITH_AES_256_GCM_SHA384, _K.ECDHE_PSK, *_GCM_256),  # RFC 8442
    Suite(_C.TLS_PSK_WITH_AES_128_CCM_8, _K.PSK, *_CCM_8),  # RFC 6655
    Suite(_C.TLS_PSK_WITH_AES_256_CCM_8, _K.PSK, *_CCM_8_256),  # RFC 6655
    Suite(_C.TLS_PSK_WITH_AES_128_CCM, _K.PSK, *_CCM),  # RFC 6655
    Suite(_C.TLS_PSK_WITH_AES_256_CCM, _K.PSK, *_CCM_256),  # RFC 6655
    Suite(_C.TLS_PSK_WITH_AES_128_GCM_SHA256, _K.PSK, *_GCM),  # RFC 5487
    Suite(_C.TLS_PSK_WITH_CHACHA20_POLY1305_SHA256, _K.PSK, *_CHACHA),  # RFC 7905
    Suite(_C.TLS_PSK_WITH_AES_256_GCM_SHA384, _K.PSK, *_GCM_256),  # RFC 5487
    Suite(_C.TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8, _K.ECDHE_ECDSA, *_CCM_8),  # RFC 7251
    Suite(_C.TLS_ECDHE_ECDSA_WITH_AES_256_CCM_8, _K.ECDHE_ECDSA, *_CCM_8_256),  # RFC 7251
    Suite(_C.TLS_ECDHE_ECDSA_WITH_AES_128_CCM, _K.ECDHE_ECDSA, *_CCM),  # RFC 7251
    Suite(_C.TLS_ECDHE_ECDSA_WITH_AES_256_CCM, _K.ECDHE_ECDSA, *_CCM_256),  # RFC 7251
    Suite(_C.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, _K.ECDHE_ECDSA, *_GCM),  # RFC 5289
    Suite(_C.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, _K.ECDHE_ECDSA, *_CHACHA),  # RFC 7905
    Suite(_C.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, _K.ECDHE_ECDSA, *_GCM_256),  # RFC 5289
    Suite(_C.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, _K.ECDHE_RSA, *_GCM),  # RFC 5289
    Suite(_C.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, _K.ECDHE_RSA, *_CHACHA),  # RFC 7905
    Suite(_C.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, _K.ECDHE_RSA, *_GCM_256),  # RFC 5289
)

SUITES: Final[dict[int, Suite]] = {row.id: row for row in _ROWS}
"""Every suite of the engine by its number."""

DEFAULT_SUITES: Final[tuple[int, ...]] = tuple(SUITES)
"""The server's order of preference."""
