"""Putting a CA's certificate file into the registry."""

from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.pki import PkiError, describe, is_ca
from gateway.registry import AnchorRecord, Conflict, Registry


def trust_ca(
    registry: Registry, certificates: Sequence[x509.Certificate], *, tenant_id: str, auto_provision: bool
) -> list[AnchorRecord]:
    """Trusts the roots of a file; its intermediates are kept, so that devices need not send them.

    A file without a root trusts its first certificate. Trusting a CA again changes whether it provisions devices.

    Raises:
        PkiError: A certificate is not a CA's, or there is none.
        RegistryError: The registry does not take it.
    """
    for certificate in certificates:
        if not is_ca(certificate):
            raise PkiError(
                f"{describe(certificate.subject)} is not a CA (no basicConstraints with cA=true); trust the CA that "
                "issued it instead"
            )
    if not certificates:
        raise PkiError("there is no certificate in the file")
    roots = [each for each in certificates if each.issuer == each.subject] or [certificates[0]]
    records = [_trust(registry, root, tenant_id, auto_provision) for root in roots]
    for certificate in certificates:
        if certificate not in roots:
            registry.add_intermediate(certificate.public_bytes(Encoding.DER))
    return records


def _trust(registry: Registry, root: x509.Certificate, tenant_id: str, auto_provision: bool) -> AnchorRecord:
    der = root.public_bytes(Encoding.DER)
    subject = root.subject.rfc4514_string()
    try:
        return registry.add_trust_anchor(der, subject, tenant_id=tenant_id, auto_provision=auto_provision)
    except Conflict:
        known = next((each for each in registry.trust_anchors() if each.certificate == der), None)
        if known is None or known.tenant_id != tenant_id:
            raise
        return registry.set_auto_provision(known.id, auto_provision)
