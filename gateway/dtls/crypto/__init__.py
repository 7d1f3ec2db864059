"""The one place of the engine that touches `cryptography`. No cipher, curve, signature or hash is written here."""

from gateway.dtls.crypto.aead import Aead, AuthenticationFailed, ticket_aead
from gateway.dtls.crypto.kdf import HashAlgorithm, Hmac, RunningHash, sha256
from gateway.dtls.crypto.keyshare import SUPPORTED_GROUPS, KeyShare
from gateway.dtls.crypto.raw_key import certificate_public_key, raw_key
from gateway.dtls.crypto.share_pool import KeySharePool
from gateway.dtls.crypto.signature import (
    RSA_SIGNATURES,
    SUPPORTED_SIGNATURES,
    SigningKey,
    VerifyingKey,
    dns_names,
    leaf_key,
)
from gateway.dtls.crypto.suites import DEFAULT_SUITES, SUITES, KeyExchange, Suite

__all__ = [
    "DEFAULT_SUITES",
    "RSA_SIGNATURES",
    "SUITES",
    "SUPPORTED_GROUPS",
    "SUPPORTED_SIGNATURES",
    "Aead",
    "AuthenticationFailed",
    "HashAlgorithm",
    "Hmac",
    "KeyExchange",
    "KeyShare",
    "KeySharePool",
    "RunningHash",
    "SigningKey",
    "Suite",
    "VerifyingKey",
    "certificate_public_key",
    "dns_names",
    "leaf_key",
    "raw_key",
    "sha256",
    "ticket_aead",
]
