"""Operations that tell what there is, and who changed it."""

from typing import Annotated, Any

from pydantic import Field

from gateway import __version__
from gateway.management.limits import DEFAULT_PAGE, MAX_PAGE
from gateway.management.operation import Context, operation
from gateway.management.values import Answer, Given, Instant, Nothing, TenantName, instant


class Status(Answer):
    """How much the registry holds."""

    version: str = Field(description="Of the program that answers.")
    tenants: int
    devices: int
    psk_credentials: int
    certificate_credentials: int
    trust_anchors: int


class Entry(Answer):
    """Who changed what."""

    number: int = Field(description="Grows with every entry.")
    at: Instant
    actor: str = Field(description="`cli:USER`, `api:TOKEN`, or `gateway` for what it does by itself.")
    action: str
    tenant: str = Field(description="Empty where it is nobody's.")
    object: str
    detail: dict[str, Any]


class Entries(Answer):
    """Some of the audit trail, newest first."""

    entries: list[Entry]
    next: int | None = Field(description="`before` of the next page; null on the last one.")


class Page(Given):
    """Which entries."""

    tenant: TenantName | None = None
    before: Annotated[int, Field(ge=1, le=2**62)] | None = Field(
        default=None, description="Only entries with a smaller number."
    )
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = DEFAULT_PAGE


@operation("status.show", "GET", "/status")
def status(context: Context, given: Nothing) -> Status:
    """Show how much the registry holds."""
    counts = context.registry.counts()
    return Status(
        version=__version__,
        tenants=counts.tenants,
        devices=counts.devices,
        psk_credentials=counts.psk_credentials,
        certificate_credentials=counts.certificate_credentials,
        trust_anchors=counts.trust_anchors,
    )


@operation("audit.list", "GET", "/audit")
def audit(context: Context, given: Page) -> Entries:
    """List who changed what, newest first."""
    found = context.registry.audit_entries(before=given.before, limit=given.limit + 1, tenant_id=given.tenant)
    if given.tenant is not None and given.before is None and not found:
        context.registry.tenant(given.tenant)  # one that was deleted has its entries still
    page = found[: given.limit]
    entries = [
        Entry(
            number=each.number,
            at=instant(each.at),
            actor=each.actor,
            action=each.action,
            tenant=each.tenant_id,
            object=each.object,
            detail=each.detail,
        )
        for each in page
    ]
    return Entries(entries=entries, next=page[-1].number if len(found) > given.limit else None)
