"""Which tenant a peer belongs to.

With a pre-shared key: the one that the server name (SNI) asks for; else the one behind the last `@` of the identity;
else the default one. With a certificate: as the trust anchor says, which may name devices of its own tenants only.
"""

from gateway.identity.reasons import IdentityRefused, Refusal
from gateway.model import DEFAULT_TENANT
from gateway.pki import VerifiedChain
from gateway.registry import AnchorRecord, CachedReads, Tenant, TenantBy


def psk_candidates(reads: CachedReads, identity: bytes, server_name: str | None) -> list[tuple[str, bytes]]:
    """Where to look for a PSK identity: (tenant, identity), in this order.

    An identity with `@tenant` at its end is meant with and without it: the device says which tenant it wants, and some
    operators write it into the identity.
    """
    name, at, suffix = identity.rpartition(b"@")
    asked = reads.tenant_of_server_name(server_name) if server_name else None
    if asked is not None:
        shortened = [(asked, name)] if at and name and suffix == asked.encode() else []
        return [(asked, identity), *shortened]
    candidates = [(DEFAULT_TENANT, identity)]
    if at and name and suffix.isascii():
        tenant = reads.tenant(suffix.decode("ascii"))
        if tenant is not None:
            candidates = [(tenant.id, name), (tenant.id, identity), *candidates]
    return list(dict.fromkeys(candidates))


def certificate_tenant(
    reads: CachedReads, anchor: AnchorRecord, verified: VerifiedChain, server_name: str | None
) -> str:
    """The tenant of a certificate.

    Raises:
        IdentityRefused: It names none of the anchor's tenants.
    """
    by = anchor.policy.tenant_by
    if by is TenantBy.ANCHOR:
        return anchor.tenant_id
    if by is TenantBy.SNI:
        asked = reads.tenant_of_server_name(server_name) if server_name else None
        if asked is not None and asked in anchor.tenant_ids:
            return asked
        said = f"the device asked for the server name {server_name!r}" if server_name else "the device sent no SNI"
        remedy = "give the tenant that name with `gateway tenant set ID --sni NAME`, or correct the device"
    else:
        organizations = verified.organizations  # read only where they decide
        named = [each for each in organizations if each in anchor.tenant_ids]
        if len(named) == 1:
            return named[0]
        said = f"the subject's organization is {' and '.join(map(repr, organizations)) or 'missing'}"
        remedy = "issue a certificate whose organizationName is the tenant's id"
    raise IdentityRefused(
        Refusal.NO_TENANT,
        f"{said}, which is none of the tenants of trust anchor {anchor.id[:16]}... ({', '.join(anchor.tenant_ids)}); "
        f"{remedy}",
    )


def check_server_name(reads: CachedReads, anchor: AnchorRecord, tenant_id: str, server_name: str | None) -> None:
    """Whether a certificate's session, taken up again, would be of the same tenant as far as the server name decides.

    Raises:
        IdentityRefused: The server name stands for another tenant, or for none, by now.
    """
    if anchor.policy.tenant_by is TenantBy.SNI and (
        server_name is None or reads.tenant_of_server_name(server_name) != tenant_id
    ):
        raise IdentityRefused(
            Refusal.NO_TENANT,
            f"the server name {server_name!r} does not stand for tenant '{tenant_id}' any more; the device has to show "
            "its certificate again",
        )


def check_tenant(reads: CachedReads, tenant_id: str) -> Tenant:
    """The tenant, if its devices are let in.

    Raises:
        IdentityRefused: It was disabled or deleted.
    """
    tenant = reads.tenant(tenant_id)
    if tenant is None or not tenant.active:
        raise IdentityRefused(
            Refusal.TENANT_DISABLED,
            f"tenant '{tenant_id}' is disabled; let its devices in with `gateway tenant set {tenant_id} --enable`",
        )
    return tenant
