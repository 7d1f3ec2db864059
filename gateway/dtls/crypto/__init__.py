"""The one place of the engine that touches `cryptography`. No cipher, curve, signature or hash is written here."""

from gateway.dtls.crypto.aead import Aead, AuthenticationFailed
from gateway.dtls.crypto.kdf import Hmac, RunningHash
from gateway.dtls.crypto.keyshare import SUPPORTED_GROUPS, KeyShare
from gateway.dtls.crypto.signature import (
    SUPPORTED_SIGNATURES,
    SigningKey,
    VerifyingKey,
    leaf_key,
)
from gateway.dtls.crypto.suites import DEFAULT_SUITES, SUITES, KeyExchange, Suite

__all__ = [
    "DEFAULT_SUITES",
    "SUITES",
    "SUPPORTED_GROUPS",
    "SUPPORTED_SIGNATURES",
    "Aead",
    "AuthenticationFailed",
    "Hmac",
    "KeyExchange",
    "KeyShare",
    "RunningHash",
    "SigningKey",
    "Suite",
    "VerifyingKey",
    "leaf_key",
]
