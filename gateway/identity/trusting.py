"""Putting a CA's certificate file into the registry."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.model import DEFAULT_TENANT
from gateway.pki import PkiError, describe, fingerprint, is_ca
from gateway.registry import AnchorPolicy, AnchorRecord, Conflict, Registry


def trust_ca(
    registry: Registry,
    certificates: Sequence[x509.Certificate],
    *,
    tenant_ids: Sequence[str] | None = None,
    policy: Mapping[str, Any] | None = None,
) -> list[AnchorRecord]:
    """Trusts the roots of a file; its intermediates are kept, so that devices need not send them.

    A file without a root trusts its first certificate. Nothing is stored of a file that is refused.

    Args:
        registry: Where to.
        certificates: What the file holds.
        tenant_ids: Whose devices the CA may name; None keeps what was said of a CA that is trusted already, and means
            the default tenant for a new one. More tenants than before are added; those of before are not taken away.
        policy: What to say of it, names and values of `AnchorPolicy`; the rest stays as it was, or at its default.

    Returns:
        The trusted CAs of the file.

    Raises:
        PkiError: A certificate is not a CA's, or there is none.
        RegistryError: The registry does not take it.
    """
    unique, others = anchors_of(certificates)
    said = AnchorPolicy.from_json(policy or {})
    changes = {name: getattr(said, name) for name in policy or {}}

    def work() -> list[AnchorRecord]:
        known = {record.id: record for record in registry.trust_anchors()}
        records = [_trust(registry, root, known.get(id), tenant_ids, changes) for id, root in unique.items()]
        for certificate in others:
            registry.add_intermediate(certificate.public_bytes(Encoding.DER))
        return records

    return registry.together(work, write=True)


def anchors_of(
    certificates: Sequence[x509.Certificate],
) -> tuple[dict[str, x509.Certificate], list[x509.Certificate]]:
    """Which certificates of a file would be trusted, by their ids, and which are kept beside them.

    Raises:
        PkiError: A certificate is not a CA's, or there is none.
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
    # A certificate that stands there twice is one CA.
    return {fingerprint(root): root for root in roots}, [each for each in certificates if each not in roots]


def _trust(
    registry: Registry,
    root: x509.Certificate,
    known: AnchorRecord | None,
    tenant_ids: Sequence[str] | None,
    changes: Mapping[str, Any],
) -> AnchorRecord:
    if known is None:
        der, subject = root.public_bytes(Encoding.DER), root.subject.rfc4514_string()
        owners = tenant_ids if tenant_ids is not None else (DEFAULT_TENANT,)
        return registry.add_trust_anchor(der, subject, tenant_ids=owners, policy=AnchorPolicy(**changes))
    before, wanted = set(known.tenant_ids), set(tenant_ids or known.tenant_ids)
    if not (wanted <= before or wanted > before):
        raise Conflict(
            f"the CA {describe(root.subject)} is trusted already, for tenant '{', '.join(known.tenant_ids)}'; take it "
            f"from there first with `gateway ca untrust {known.id}`"
        )
    policy = replace(known.policy, **changes)
    if policy == known.policy and wanted <= before:
        return known
    return registry.set_trust_anchor(known.id, policy=policy, tenant_ids=sorted(before | wanted))
