"""Tenants, devices, credentials and trust anchors: the store behind every handshake.

Knows neither DTLS nor how a chain is verified; a certificate is bytes here.
"""

from gateway.registry.cache import CachedReads, Trust
from gateway.registry.errors import (
    Conflict,
    InvalidValue,
    LimitReached,
    NotActive,
    NotFound,
    RegistryError,
    Unavailable,
)
from gateway.registry.migrating import HEAD
from gateway.registry.opening import open_registry, schema_version
from gateway.registry.policy import AnchorPolicy, CrlPolicy, OnClone, Provision, TenantBy, TenantLimits
from gateway.registry.records import (
    AnchorRecord,
    AnchorUsage,
    AuditEntry,
    CertificateCredential,
    Changes,
    Counts,
    CredentialStatus,
    CredentialSummary,
    CrlRecord,
    DeviceRecord,
    IssuedCertificate,
    PskCredential,
    PublicKeyCredential,
    Standing,
    Tenant,
)
from gateway.registry.registry import Registry
from gateway.registry.secrets import PlainSecrets, Secrets
from gateway.registry.steps import Steps, run, wait_for

__all__ = [
    "HEAD",
    "AnchorPolicy",
    "AnchorRecord",
    "AnchorUsage",
    "AuditEntry",
    "CachedReads",
    "CertificateCredential",
    "Changes",
    "Conflict",
    "Counts",
    "CredentialStatus",
    "CredentialSummary",
    "CrlPolicy",
    "CrlRecord",
    "DeviceRecord",
    "InvalidValue",
    "IssuedCertificate",
    "LimitReached",
    "NotActive",
    "NotFound",
    "OnClone",
    "PlainSecrets",
    "Provision",
    "PskCredential",
    "PublicKeyCredential",
    "Registry",
    "RegistryError",
    "Secrets",
    "Standing",
    "Steps",
    "Tenant",
    "TenantBy",
    "TenantLimits",
    "Trust",
    "Unavailable",
    "open_registry",
    "run",
    "schema_version",
    "wait_for",
]
