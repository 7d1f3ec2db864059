"""Operations on tenants."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, Field

from gateway.management.operation import Context, operation
from gateway.management.values import Answer, Given, Instant, Note, Nothing, TenantName, Text, maybe_instant
from gateway.registry import OnClone, Tenant, TenantLimits

_Limit = Annotated[int, Field(ge=0, le=2**31 - 1)]


class TenantFacts(Answer):
    """A tenant."""

    tenant: str
    name: str
    enabled: bool
    sni: list[str] = Field(description="Server names by which its devices may ask for it.")
    devices: int = Field(description="How many it has.")
    max_devices: int = Field(description="How many it may have; 0 for the registry's own limit.")
    on_clone: OnClone = Field(description="What happens when one identity is alive from two places at once.")
    psk_until: Instant | None = Field(description="When pre-shared keys end; null for never.")
    psk_ends_with_certificate: bool = Field(
        description="A device's pre-shared keys are retired at its first handshake with a certificate."
    )


class TenantList(Answer):
    """All tenants."""

    tenants: list[TenantFacts]


class Which(Given):
    """One tenant."""

    tenant: TenantName


class Settings(Which):
    """A tenant, and what to say of it; what is left out stays as it is."""

    name: Note | None = Field(default=None, description="For people.")
    sni: list[Text] | None = Field(
        default=None, max_length=256, description="Server names, in place of those before; an empty list for none."
    )
    max_devices: _Limit | None = Field(default=None, description="How many devices; 0 for the registry's own limit.")
    on_clone: OnClone | None = Field(
        default=None, description="What happens when one identity is alive from two places at once."
    )
    psk_until: AwareDatetime | None = Field(default=None, description="When pre-shared keys end; null for never.")
    psk_ends_with_certificate: bool | None = Field(
        default=None, description="Whether a device's first handshake with a certificate retires its pre-shared keys."
    )


class Changes(Settings):
    """The same, and whether its devices are let in."""

    enabled: bool | None = None


@operation("tenant.list", "GET", "/tenants")
def list_all(context: Context, given: Nothing) -> TenantList:
    """List the tenants."""
    return TenantList(tenants=[_facts(each) for each in context.registry.tenants()])


@operation("tenant.show", "GET", "/tenants/{tenant}")
def show(context: Context, given: Which) -> TenantFacts:
    """Show a tenant."""
    return _facts(context.registry.tenant(given.tenant))


@operation("tenant.add", "POST", "/tenants", status=201)
def add(context: Context, given: Settings) -> TenantFacts:
    """Add a tenant."""
    limits = _limits(TenantLimits(), given)
    added = context.registry.add_tenant(given.tenant, given.name or "", sni_names=given.sni or (), limits=limits)
    return _facts(added)


@operation("tenant.set", "PATCH", "/tenants/{tenant}")
def set_(context: Context, given: Changes) -> TenantFacts:
    """Change a tenant. A disabled one's devices are refused, and their sessions end."""
    before = context.registry.tenant(given.tenant)
    limits = _limits(before.limits, given)
    changed = context.registry.set_tenant(
        given.tenant,
        name=given.name,
        active=given.enabled,
        sni_names=given.sni,
        limits=limits if limits != before.limits else None,
    )
    return _facts(changed)


@operation("tenant.delete", "DELETE", "/tenants/{tenant}")
def delete(context: Context, given: Which) -> TenantFacts:
    """Delete a tenant that has no device."""
    facts = _facts(context.registry.tenant(given.tenant))
    context.registry.delete_tenant(given.tenant)
    return facts


def _limits(before: TenantLimits, given: Settings) -> TenantLimits:
    said: dict[str, Any] = {
        name: value
        for name in ("max_devices", "on_clone", "psk_ends_with_certificate")
        if (value := getattr(given, name)) is not None
    }
    if "psk_until" in given.model_fields_set:
        said["psk_until"] = seconds(given.psk_until)
    return replace(before, **said)


def seconds(time: datetime | None) -> float:
    """A bound in time as the registry has it: 0 for none."""
    return 0.0 if time is None else max(time.timestamp(), 0.0)


def _facts(tenant: Tenant) -> TenantFacts:
    return TenantFacts(
        tenant=tenant.id,
        name=tenant.name,
        enabled=tenant.active,
        sni=list(tenant.sni_names),
        devices=tenant.device_count,
        max_devices=tenant.limits.max_devices,
        on_clone=tenant.limits.on_clone,
        psk_until=maybe_instant(tenant.limits.psk_until or None),
        psk_ends_with_certificate=tenant.limits.psk_ends_with_certificate,
    )
