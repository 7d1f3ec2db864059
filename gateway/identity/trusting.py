"""Putting a CA's certificate file into the registry."""

from collections.abc import Sequence
from dataclasses import replace

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.pki import PkiError, describe, fingerprint, is_ca
from gateway.registry import AnchorPolicy, AnchorRecord, Conflict, Provision, Registry


def trust_ca(
    registry: Registry, certificates: Sequence[x509.Certificate], *, tenant_id: str, auto_provision: bool | None
) -> list[AnchorRecord]:
    """Trusts the roots of a file; its intermediates are kept, so that devices need not send them.

    A file without a root trusts its first certificate. Nothing is stored of a file that is refused.

    Args:
        registry: Where to.
        certificates: What the file holds.
        tenant_id: Whose devices the CA may name.
        auto_provision: Whether devices are created at their first handshake; None keeps what was said of a CA that is
            trusted already, and means no for a new one.

    Returns:
        The trusted CAs of the file.

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
    known = {record.id: record for record in registry.trust_anchors()}
    for root in roots:
        record = known.get(fingerprint(root))
        if record is not None and tenant_id not in record.tenant_ids:
            raise Conflict(
                f"the CA {describe(root.subject)} is trusted already, for tenant '{record.tenant_id}'; take it from "
                f"there first with `gateway ca untrust {record.id}`"
            )
    # A certificate that stands there twice is one CA.
    unique = {fingerprint(root): root for root in roots}
    records = [_trust(registry, root, known.get(id), tenant_id, auto_provision) for id, root in unique.items()]
    for certificate in certificates:
        if certificate not in roots:
            registry.add_intermediate(certificate.public_bytes(Encoding.DER))
    return records


def _trust(
    registry: Registry, root: x509.Certificate, known: AnchorRecord | None, tenant_id: str, auto_provision: bool | None
) -> AnchorRecord:
    wanted = Provision.ACTIVE if auto_provision else Provision.OFF
    if known is None:
        der, subject = root.public_bytes(Encoding.DER), root.subject.rfc4514_string()
        return registry.add_trust_anchor(der, subject, tenant_ids=(tenant_id,), policy=AnchorPolicy(provision=wanted))
    if auto_provision is None or wanted is known.policy.provision:
        return known
    return registry.set_trust_anchor(known.id, policy=replace(known.policy, provision=wanted))
