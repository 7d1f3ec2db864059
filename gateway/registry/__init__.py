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
from gateway.registry.fleet import Migration
from gateway.registry.generations import join_identity, split_identity
from gateway.registry.import_files import FileFormat, Report, format_of, read_rows
from gateway.registry.importing import ImportRow, Known, OnConflict, Result, RowResult
from gateway.registry.master_keys import LocalKey, MasterKey, create_master_key, load_master_key
from gateway.registry.migrating import HEAD
from gateway.registry.opening import check_schema, open_registry, schema_version
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
from gateway.registry.rotation import Rotated
from gateway.registry.sealing import DataKey, KeyStatus, Resealed
from gateway.registry.secrets import Secrets
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
    "DataKey",
    "DeviceRecord",
    "FileFormat",
    "ImportRow",
    "InvalidValue",
    "IssuedCertificate",
    "KeyStatus",
    "Known",
    "LimitReached",
    "LocalKey",
    "MasterKey",
    "Migration",
    "NotActive",
    "NotFound",
    "OnClone",
    "OnConflict",
    "Provision",
    "PskCredential",
    "PublicKeyCredential",
    "Registry",
    "RegistryError",
    "Report",
    "Resealed",
    "Result",
    "Rotated",
    "RowResult",
    "Secrets",
    "Standing",
    "Steps",
    "Tenant",
    "TenantBy",
    "TenantLimits",
    "Trust",
    "Unavailable",
    "check_schema",
    "create_master_key",
    "format_of",
    "join_identity",
    "load_master_key",
    "open_registry",
    "read_rows",
    "run",
    "schema_version",
    "split_identity",
    "wait_for",
]
