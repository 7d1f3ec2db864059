"""What trusting a CA would change, and what no longer trusting it would: looked at before it is done."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from gateway.identity.reasons import IdentityRefused
from gateway.identity.tenancy import certificate_tenant
from gateway.identity.trusted import Trusted
from gateway.pki import LEAF_CURVES, ChainRefused
from gateway.registry import AnchorRecord, CachedReads, Provision, Registry


@dataclass(frozen=True, slots=True)
class Admission:
    """What would become of a chain that was refused lately.

    Attributes:
        fingerprint: SHA-256 of the device's certificate, lower-case hex.
        device: The name that it would have; None if it would be refused again.
        tenant: Its tenant; None likewise.
        outcome: `known`, `active`, `pending`, `not_provisioned`, or the reason why it would be refused.
        detail: More, for the operator.
    """

    fingerprint: str
    device: str | None
    tenant: str | None
    outcome: str
    detail: str = ""


def would_admit(
    registry: Registry,
    anchors: Sequence[AnchorRecord],
    intermediates: Iterable[bytes],
    chains: Iterable[tuple[Sequence[bytes], str | None]],
    at: datetime,
    *,
    leaf_curves: frozenset[str] = LEAF_CURVES,
) -> list[Admission]:
    """Verifies chains as if further anchors were trusted. Changes nothing.

    Args:
        registry: What is trusted already, and which devices exist.
        anchors: What would be trusted; one that is trusted already counts as given here.
        intermediates: What would be stored beside them, DER.
        chains: What devices presented, DER, their own certificate first; each with the server name they asked for.
        at: The present time, with a time zone.
        leaf_curves: Curves accepted for a device's own key.

    Returns:
        One for each certificate that only the new anchors would verify, in the order given.

    Raises:
        RegistryError: The registry cannot be read.
    """
    reads = CachedReads(registry)
    trust = reads.trust()
    new = {anchor.id: anchor for anchor in anchors}
    others = [record for record in trust.anchors if record.id not in new]
    wider = replace(
        trust, anchors=[*others, *anchors], intermediates=list(dict.fromkeys([*trust.intermediates, *intermediates]))
    )
    trusted = Trusted(wider, leaf_curves, at)
    found: dict[str, Admission] = {}
    for chain, server_name in chains:
        admission = _judge(registry, reads, trusted, new, chain, server_name, at)
        if admission is not None:
            found.setdefault(admission.fingerprint, admission)
    return list(found.values())


def _judge(
    registry: Registry,
    reads: CachedReads,
    trusted: Trusted,
    new: dict[str, AnchorRecord],
    chain: Sequence[bytes],
    server_name: str | None,
    at: datetime,
) -> Admission | None:
    try:
        verified = trusted.store.verify(chain, at)
    except ChainRefused:
        return None  # not a matter of these anchors
    anchor = new.get(verified.anchor.id)
    if anchor is None:
        return None
    name = verified.device_name
    try:
        tenant = certificate_tenant(reads, anchor, verified, server_name)
    except IdentityRefused as refused:
        return Admission(verified.fingerprint, name, None, refused.reason.value, refused.detail)
    known = registry.find_certificate_device(tenant, name)
    if known is not None:
        bound = known.anchor_id not in (None, anchor.id)
        outcome = "other_issuer" if bound else "known"
        detail = f"bound to trust anchor {known.anchor_id}" if bound else f"the device is {known.device.status}"
        return Admission(verified.fingerprint, name, tenant, outcome, detail)
    outcome = "not_provisioned" if anchor.policy.provision is Provision.OFF else anchor.policy.provision.value
    return Admission(verified.fingerprint, name, tenant, outcome)
