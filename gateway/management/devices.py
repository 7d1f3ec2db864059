"""Operations on devices."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from gateway.management.credentials import CredentialFacts, credential_facts, identity_text
from gateway.management.limits import DEFAULT_PAGE, MAX_PAGE
from gateway.management.operation import Context, operation
from gateway.management.problems import pki_errors
from gateway.management.psk import Identity, Key, told
from gateway.management.values import (
    Answer,
    DeviceName,
    Given,
    Instant,
    Note,
    TenantName,
    Text,
    instant,
    maybe_instant,
)
from gateway.model import DEFAULT_TENANT, Device, DeviceStatus
from gateway.registry import Conflict, DeviceRecord, InvalidValue, NotFound, Registry


class DeviceFacts(Answer):
    """A device."""

    device: str
    tenant: str
    status: DeviceStatus | Literal["deleted"]
    auto_provisioned: bool = Field(description="It came by itself, under a trust anchor that allows it.")
    created: Instant
    updated: Instant
    last_seen: Instant | None = Field(description="When it last had a session; null for never.")
    note: str = Field(description="Why it has its status, for people.")
    tags: list[str]
    attributes: dict[str, str]


class DeviceDetails(DeviceFacts):
    """A device and what it proves itself with; never a key."""

    credentials: list[CredentialFacts]


class DevicePage(Answer):
    """Some of the devices, sorted by tenant and id."""

    devices: list[DeviceFacts]
    next: str | None = Field(description="The `cursor` of the next page; null on the last one.")


class Added(Answer):
    """What was added. A generated key is told here and never again."""

    device: str
    tenant: str
    psk_identity: str | None = None
    psk_hex: str | None = Field(default=None, repr=False, description="The key that was made by this call.")
    psk: Literal["derived"] | None = None
    public_key_sha256: str | None = None
    certificate: Literal["allowed"] | None = None


class Which(Given):
    """One device."""

    tenant: TenantName = DEFAULT_TENANT
    device: DeviceName


class Filter(Given):
    """Which devices."""

    tenant: TenantName | None = None
    status: DeviceStatus | None = None
    auth: Literal["psk", "x509", "rpk"] | None = Field(
        default=None, description="Only those with a usable credential of this kind."
    )
    tag: Text | None = None
    trust_anchor: Text | None = Field(default=None, description="Only those bound to this anchor, by its whole id.")
    last_seen_before: AwareDatetime | None = Field(default=None, description="Last seen before then, or never.")
    never_connected: bool = False
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = DEFAULT_PAGE
    cursor: Text | None = Field(default=None, description="`next` of the page before.")


class New(Which, Identity, Key):
    """A device, and with what it proves itself."""

    allow_short_key: bool = Field(
        default=False, description="Take a key below 16 bytes, for devices that cannot be changed."
    )
    public_key: Text | None = Field(default=None, description="A raw public key (RFC 7250), PEM.")
    certificate: bool = Field(
        default=False, description="Let certificates of any trusted CA of its tenant speak for the device."
    )

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if self.identity is None and (self.sources or self.allow_short_key):
            raise ValueError("a key needs psk_identity")
        if self.identity is not None and self.sources != 1:
            raise ValueError("a PSK identity needs one of psk_hex, generate and derived")
        if self.identity is not None and self.public_key is not None:
            raise ValueError("one key at a time: call again with the other one")
        if self.allow_short_key and self.psk_hex is None:
            raise ValueError("allow_short_key is about a key that is given")
        return self


class Changes(Which):
    """A device, and what to change of it; what is left out stays as it is."""

    status: DeviceStatus | None = None
    note: Note | None = Field(default=None, description="Why it gets that status, for people.")
    add_tags: list[Text] = Field(default=[], max_length=256)
    remove_tags: list[Text] = Field(default=[], max_length=256)
    attributes: dict[Text, Text | None] = Field(
        default={}, max_length=256, description="Attributes to set; null takes one away."
    )

    @model_validator(mode="after")
    def _note_with_status(self) -> Self:
        if self.note is not None and self.status is None:
            raise ValueError("note says why the status changes: give status too")
        return self


@operation("device.list", "GET", "/devices")
def list_page(context: Context, given: Filter) -> DevicePage:
    """List devices, a page at a time."""
    if given.tenant is not None:
        context.registry.tenant(given.tenant)
    found = context.registry.list_devices(
        tenant_id=given.tenant,
        status=given.status,
        tag=given.tag,
        kind=given.auth,
        anchor_id=given.trust_anchor,
        seen_before=given.last_seen_before.timestamp() if given.last_seen_before is not None else None,
        never_seen=given.never_connected,
        after=_decoded(given.cursor) if given.cursor is not None else None,
        limit=given.limit + 1,
    )
    page = found[: given.limit]
    more = _encoded(page[-1].device) if len(found) > given.limit else None
    return DevicePage(devices=[_facts(each) for each in page], next=more)


@operation("device.show", "GET", "/tenants/{tenant}/devices/{device}")
def show(context: Context, given: Which) -> DeviceDetails:
    """Show a device and its credentials; never a key."""
    record = context.registry.device_record(given.device, tenant_id=given.tenant)
    held = context.registry.credentials(given.device, tenant_id=given.tenant)
    return DeviceDetails(**_facts(record).model_dump(), credentials=[credential_facts(each) for each in held])


@operation("device.add", "POST", "/tenants/{tenant}/devices", status=201)
def add(context: Context, given: New) -> Added:
    """Add a device, or give one a further credential.

    Without any credential it takes the first certificate that names it, which binds it to the CA of that one. A device
    that exists is given a public key or the permission to use certificates; a key beside either of them.
    """
    registry, tenant = context.registry, given.tenant
    known = (given.certificate or given.public_key is not None) and _is_known(registry, given)
    said: dict[str, str] = {}
    identity = given.identity
    if identity is not None:
        key = given.key()
        _add_psk(registry, given, identity, key, known=known)
        said |= {"psk_identity": identity_text(identity), **told(given, key)}
    elif given.public_key is not None:
        from gateway.pki import parse_public_key, public_key_fingerprint  # not for those who add none

        with pki_errors():
            spki = parse_public_key(given.public_key.encode())
        (registry.add_rpk if known else registry.add_rpk_device)(given.device, spki, tenant_id=tenant)
        said["public_key_sha256"] = public_key_fingerprint(spki)
    elif not known:
        registry.add_device(given.device, tenant_id=tenant)
    if given.certificate:
        registry.allow_certificate(given.device, tenant_id=tenant)
        said["certificate"] = "allowed"
    return Added.model_validate({"device": given.device, "tenant": given.tenant, **said})


@operation("device.set", "PATCH", "/tenants/{tenant}/devices/{device}")
def set_(context: Context, given: Changes) -> DeviceFacts:
    """Let a device in, keep it out, or say more about it.

    The sessions of a device that is no longer active end within two seconds, in every process.
    """
    registry, tenant = context.registry, given.tenant
    device = registry.device(given.device, tenant_id=tenant)
    if given.status is not None:
        registry.set_status(given.device, given.status, note=given.note or "", tenant_id=tenant)
    before = set(device.tags)
    labels = (before | set(given.add_tags)) - set(given.remove_tags)
    merged = {**dict(device.attributes), **given.attributes}
    attributes = tuple(sorted((name, value) for name, value in merged.items() if value is not None))
    registry.set_details(
        given.device,
        tags=labels if labels != before else None,
        attributes=attributes if attributes != device.attributes else None,
        tenant_id=tenant,
    )
    return _facts(registry.device_record(given.device, tenant_id=tenant))


@operation("device.delete", "DELETE", "/tenants/{tenant}/devices/{device}")
def delete(context: Context, given: Which) -> DeviceFacts:
    """Delete a device with its credentials."""
    facts = _facts(context.registry.device_record(given.device, tenant_id=given.tenant))
    context.registry.delete_device(given.device, tenant_id=given.tenant)
    return facts.model_copy(update={"status": "deleted"})


def _add_psk(registry: Registry, given: New, identity: bytes, key: bytes | None, *, known: bool) -> None:
    if known:
        registry.add_psk(given.device, identity, key, tenant_id=given.tenant, allow_short_key=given.allow_short_key)
        return
    there = _is_known(registry, given)
    try:
        registry.add_psk_device(
            given.device, identity, key, tenant_id=given.tenant, allow_short_key=given.allow_short_key
        )
    except Conflict as error:
        if not there:
            raise  # the identity is another device's
        where = given.device if given.tenant == DEFAULT_TENANT else f"{given.device} --tenant {given.tenant}"
        remedy = f"`gateway psk rotate {where}` gives it its next key, `gateway psk add {where}` one more"
        raise Conflict(f"{error}; {remedy}") from error


def _is_known(registry: Registry, given: Which) -> bool:
    try:
        registry.device(given.device, tenant_id=given.tenant)
    except NotFound:
        return False
    return True


def _facts(record: DeviceRecord) -> DeviceFacts:
    device = record.device
    return DeviceFacts(
        device=device.id,
        tenant=device.tenant_id,
        status=device.status,
        auto_provisioned=device.auto_provisioned,
        created=instant(device.created_at),
        updated=instant(record.updated_at),
        last_seen=maybe_instant(record.last_seen_at),
        note=record.note,
        tags=list(device.tags),
        attributes=dict(device.attributes),
    )


def _encoded(device: Device) -> str:
    return urlsafe_b64encode(json.dumps([device.tenant_id, device.id]).encode()).decode().rstrip("=")


def _decoded(cursor: str) -> tuple[str, str]:
    try:
        tenant, device = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if isinstance(tenant, str) and isinstance(device, str) and "\0" not in tenant + device:
            tenant.encode(), device.encode()
            return tenant, device
    except (ValueError, TypeError, RecursionError):
        pass
    raise InvalidValue("cursor: is none that an answer gave; begin again without one")
