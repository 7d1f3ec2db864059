"""From the premaster secret to keys and Finished (RFC 5246 sections 6.3, 7.4.9, 8.1; RFC 7627)."""

from dataclasses import dataclass, field
from typing import Final

from gateway.dtls.crypto import Hmac, Suite

VERIFY_DATA_LENGTH: Final = 12
"""Bytes of a Finished message (RFC 5246 section 7.4.9)."""

CLIENT_FINISHED: Final = b"client finished"
SERVER_FINISHED: Final = b"server finished"


@dataclass(slots=True)
class TrafficKeys:
    """Both directions' keys and fixed nonce parts."""

    client_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)
    client_iv: bytes = field(repr=False)
    server_iv: bytes = field(repr=False)


def psk_premaster(psk: bytes, shared: bytes | None = None) -> bytes:
    """The other secret, then the key, each with its length.

    Args:
        psk: The key.
        shared: What the ephemeral keys gave (RFC 5489 section 2); None for plain PSK, where as many zeros as the key is
            long stand for it (RFC 4279 section 2).
    """
    other = bytes(len(psk)) if shared is None else shared
    return len(other).to_bytes(2) + other + len(psk).to_bytes(2) + psk


def master_secret(
    suite: Suite, premaster: bytes, client_random: bytes, server_random: bytes, session_hash: bytes | None
) -> bytes:
    """48 bytes; bound to the whole handshake where `session_hash` is given (RFC 7627 section 4)."""
    keyed = Hmac(premaster, suite.hash)
    if session_hash is not None:
        return keyed.prf(b"extended master secret", session_hash, 48)
    return keyed.prf(b"master secret", client_random + server_random, 48)


def traffic_keys(suite: Suite, master: Hmac, client_random: bytes, server_random: bytes) -> TrafficKeys:
    """The keys under a master secret (RFC 5246 section 6.3); AEAD suites take no MAC keys from the block."""
    key, iv = suite.key_length, suite.fixed_iv_length
    block = master.prf(b"key expansion", server_random + client_random, 2 * (key + iv))
    return TrafficKeys(
        client_key=block[:key],
        server_key=block[key : 2 * key],
        client_iv=block[2 * key : 2 * key + iv],
        server_iv=block[2 * key + iv :],
    )


def verify_data(master: Hmac, label: bytes, transcript_hash: bytes) -> bytes:
    """The body of a Finished message, under the master secret (RFC 5246 section 7.4.9)."""
    return master.prf(label, transcript_hash, VERIFY_DATA_LENGTH)
