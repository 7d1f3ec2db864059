"""Tenants, devices, credentials and trust anchors: the store behind every handshake.

Knows neither DTLS nor how a chain is verified; a certificate is bytes here.
"""

from gateway.registry.cache import CachedReads
from gateway.registry.errors import (
    Conflict,
    InvalidValue,
    LimitReached,
    NotActive,
    NotFound,
    RegistryError,
    Unavailable,
)
from gateway.registry.interface import HandshakeReads, Registry
from gateway.registry.opening import open_registry
from gateway.registry.records import (
    AnchorRecord,
    CertificateCredential,
    Counts,
    CredentialStatus,
    CredentialSummary,
    PskCredential,
    PublicKeyCredential,
)

__all__ = [
    "AnchorRecord",
    "CachedReads",
    "CertificateCredential",
    "Conflict",
    "Counts",
    "CredentialStatus",
    "CredentialSummary",
    "HandshakeReads",
    "InvalidValue",
    "LimitReached",
    "NotActive",
    "NotFound",
    "PskCredential",
    "PublicKeyCredential",
    "Registry",
    "RegistryError",
    "Unavailable",
    "open_registry",
]
