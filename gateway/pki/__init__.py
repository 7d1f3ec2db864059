"""X.509 for devices: verification to trust anchors, revocation, device names, issuing, and key and certificate files.

Knows neither the registry nor DTLS. `TrustStore.verify` is the way in for a presented chain, `ChainRefused` the only
way out of it that is not a `VerifiedChain`.
"""

from gateway.pki.anchors import TrustAnchor
from gateway.pki.certificates import describe, fingerprint, is_ca, short_name
from gateway.pki.crl import CrlProblem, CrlRefused, RevocationList, read_crl
from gateway.pki.development import DevelopmentPki, write_development_pki
from gateway.pki.errors import ChainProblem, ChainRefused, PkiError
from gateway.pki.files import (
    ServerCertificate,
    load_certificates,
    load_certified_key,
    load_device_key,
    load_private_key,
    load_server_certificate,
    parse_certificates,
    pem_bundle,
    write_certificates,
    write_certified_key,
    write_private_key,
)
from gateway.pki.fingerprints import equivalent_fingerprints, stable_fingerprint
from gateway.pki.issuing import (
    CertifiedKey,
    DeviceKey,
    create_intermediate,
    create_root,
    enclose,
    issue_device,
    issue_server,
)
from gateway.pki.names import IdentityRule, NameSource, NameTemplate, device_name, is_device_name
from gateway.pki.policy import LEAF_CURVES
from gateway.pki.public_keys import load_public_key, parse_public_key, public_key_fingerprint
from gateway.pki.revocation import CrlPolicy, Revocations
from gateway.pki.trust import TrustStore, VerifiedChain

__all__ = [
    "LEAF_CURVES",
    "CertifiedKey",
    "ChainProblem",
    "ChainRefused",
    "CrlPolicy",
    "CrlProblem",
    "CrlRefused",
    "DevelopmentPki",
    "DeviceKey",
    "IdentityRule",
    "NameSource",
    "NameTemplate",
    "PkiError",
    "RevocationList",
    "Revocations",
    "ServerCertificate",
    "TrustAnchor",
    "TrustStore",
    "VerifiedChain",
    "create_intermediate",
    "create_root",
    "describe",
    "device_name",
    "enclose",
    "equivalent_fingerprints",
    "fingerprint",
    "is_ca",
    "is_device_name",
    "issue_device",
    "issue_server",
    "load_certificates",
    "load_certified_key",
    "load_device_key",
    "load_private_key",
    "load_public_key",
    "load_server_certificate",
    "parse_certificates",
    "parse_public_key",
    "pem_bundle",
    "public_key_fingerprint",
    "read_crl",
    "short_name",
    "stable_fingerprint",
    "write_certificates",
    "write_certified_key",
    "write_development_pki",
    "write_private_key",
]
