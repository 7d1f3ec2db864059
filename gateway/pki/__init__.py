"""X.509 for devices: verification to trust anchors, revocation, device names, issuing, and key and certificate files.

Knows neither the registry nor DTLS. `TrustStore.verify` is the way in for a presented chain, `ChainRefused` the only
way out of it that is not a `VerifiedChain`.
"""

from gateway.pki.anchors import TrustAnchor
from gateway.pki.bulk import BulkJob, IssuedDevice, OtherJob, Outcome, write_whole
from gateway.pki.bulk_names import counted, from_csv
from gateway.pki.certificates import describe, fingerprint, is_ca, short_name
from gateway.pki.crl import CrlProblem, CrlRefused, RevocationList, read_crl
from gateway.pki.crl_issuing import Revocation, RevocationReason, make_crl
from gateway.pki.development import DevelopmentPki, write_development_pki
from gateway.pki.diagnosis import signed_by
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
from gateway.pki.findings import Finding, LintCode, Role, Severity
from gateway.pki.fingerprints import equivalent_fingerprints, stable_fingerprint
from gateway.pki.firmware import Profile, render
from gateway.pki.issuing import (
    CertifiedKey,
    Curve,
    DeviceKey,
    create_intermediate,
    create_root,
    enclose,
    generate_key,
    issue_device,
    issue_server,
)
from gateway.pki.lint import guess_role, lint
from gateway.pki.names import IdentityRule, NameSource, NameTemplate, claimed_name, device_name, is_device_name
from gateway.pki.packing import Layout, issue_into
from gateway.pki.policy import LEAF_CURVES
from gateway.pki.public_keys import load_public_key, parse_public_key, public_key_fingerprint
from gateway.pki.reading import facts_of
from gateway.pki.requests import (
    is_server,
    load_request,
    parse_request,
    renew,
    requested_name,
    sign_device,
    sign_intermediate,
)
from gateway.pki.revocation import CrlPolicy, Revocations
from gateway.pki.trust import TrustStore, VerifiedChain
from gateway.pki.validity import Standing, standing

__all__ = [
    "LEAF_CURVES",
    "BulkJob",
    "CertifiedKey",
    "ChainProblem",
    "ChainRefused",
    "CrlPolicy",
    "CrlProblem",
    "CrlRefused",
    "Curve",
    "DevelopmentPki",
    "DeviceKey",
    "Finding",
    "IdentityRule",
    "IssuedDevice",
    "Layout",
    "LintCode",
    "NameSource",
    "NameTemplate",
    "OtherJob",
    "Outcome",
    "PkiError",
    "Profile",
    "Revocation",
    "RevocationList",
    "RevocationReason",
    "Revocations",
    "Role",
    "ServerCertificate",
    "Severity",
    "Standing",
    "TrustAnchor",
    "TrustStore",
    "VerifiedChain",
    "claimed_name",
    "counted",
    "create_intermediate",
    "create_root",
    "describe",
    "device_name",
    "enclose",
    "equivalent_fingerprints",
    "facts_of",
    "fingerprint",
    "from_csv",
    "generate_key",
    "guess_role",
    "is_ca",
    "is_device_name",
    "is_server",
    "issue_device",
    "issue_into",
    "issue_server",
    "lint",
    "load_certificates",
    "load_certified_key",
    "load_device_key",
    "load_private_key",
    "load_public_key",
    "load_request",
    "load_server_certificate",
    "make_crl",
    "parse_certificates",
    "parse_public_key",
    "parse_request",
    "pem_bundle",
    "public_key_fingerprint",
    "read_crl",
    "render",
    "renew",
    "requested_name",
    "short_name",
    "sign_device",
    "sign_intermediate",
    "signed_by",
    "stable_fingerprint",
    "standing",
    "write_certificates",
    "write_certified_key",
    "write_development_pki",
    "write_private_key",
    "write_whole",
]
