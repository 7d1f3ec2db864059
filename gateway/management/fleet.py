"""Operations on whole fleets: many devices at once, how their keys rest, and the way to certificates."""

from typing import Annotated

from pydantic import AwareDatetime, Field

from gateway.management.operation import Context, operation
from gateway.management.psk import Hex
from gateway.management.tenants import seconds
from gateway.management.values import Answer, Given, Instant, Nothing, TenantName, Text, instant, maybe_instant
from gateway.registry import ImportRow, InvalidValue, OnConflict, Result
from gateway.registry.limits import IMPORT_BATCH

_DAY_S = 86_400


class Ending(Answer):
    """When a tenant's pre-shared keys end."""

    tenant: str
    psk_until: Instant | None
    psk_ends_with_certificate: bool


class Progress(Answer):
    """Devices by the credentials that they may use; a device is counted once."""

    psk_only: int
    both: int
    certificate_only: int
    seen_with_psk: int = Field(description="Whose last session within these days began with a pre-shared key.")
    seen_with_certificate: int


class SealingKey(Answer):
    """A key that device keys are sealed under; itself it is not shown to anybody."""

    id: str
    state: str
    wrapped_by: str
    created: Instant
    sealed: int = Field(description="How many device keys are sealed under it.")


class Keys(Answer):
    """How the devices' pre-shared keys rest."""

    opens: bool | None = Field(description="Whether the master key opens all data keys; null if there is none.")
    not_sealed: int
    derived: int
    data_keys: list[SealingKey]


class RowAnswer(Answer):
    """What became of a row."""

    line: int
    device: str
    tenant: str
    result: Result
    reason: str


class Imported(Answer):
    """What became of the rows, in their order."""

    results: list[RowAnswer]


class Migrate(Given):
    """When pre-shared keys end."""

    tenant: TenantName
    psk_until: AwareDatetime | None = Field(default=None, description="Refused after then; null for never.")
    psk_ends_with_certificate: bool = Field(
        default=False, description="A device's are retired at its first session with a certificate."
    )


class Count(Given):
    """Which devices to count."""

    tenant: TenantName | None = None
    days: Annotated[int, Field(ge=1, le=36_600)] = Field(default=30, description="What counts as seen.")


class Row(Given):
    """A device to add, with its pre-shared key."""

    line: Annotated[int, Field(ge=0, le=2**53)] = Field(description="Where it stands, for the answer.")
    device: Text
    tenant: TenantName
    psk_identity_hex: Hex
    psk_hex: Hex = Field(repr=False)
    tags: list[Text] | None = Field(default=None, max_length=256, description="null leaves those that it has.")


class Import(Given):
    """Some rows of a file."""

    rows: list[Row] = Field(max_length=IMPORT_BATCH)
    on_conflict: OnConflict = OnConflict.FAIL
    allow_shared_keys: bool = False


@operation("fleet.migrate", "PUT", "/tenants/{tenant}/migration")
def migrate(context: Context, given: Migrate) -> Ending:
    """Say when a tenant's pre-shared keys end. What was retired stays so."""
    until = seconds(given.psk_until)
    if given.psk_until is not None and not until:
        raise InvalidValue("psk_until: is too long ago")
    after = given.psk_ends_with_certificate
    context.registry.set_migration(given.tenant, until=until, after_first_certificate=after)
    return Ending(tenant=given.tenant, psk_until=maybe_instant(until or None), psk_ends_with_certificate=after)


@operation("fleet.status", "GET", "/migration")
def status(context: Context, given: Count) -> Progress:
    """Count devices by the credentials that they may use, and by which of them they came with."""
    if given.tenant is not None:
        context.registry.tenant(given.tenant)
    found = context.registry.migration_status(since=context.now - given.days * _DAY_S, tenant_id=given.tenant)
    return Progress(
        psk_only=found.psk,
        both=found.both,
        certificate_only=found.x509,
        seen_with_psk=found.seen_psk,
        seen_with_certificate=found.seen_x509,
    )


@operation("keys.status", "GET", "/keys")
def keys(context: Context, given: Nothing) -> Keys:
    """Show how the devices' pre-shared keys rest: under which data keys, and how many are not sealed."""
    found = context.registry.key_status()
    return Keys(
        opens=found.opens,
        not_sealed=found.plain,
        derived=found.derived,
        data_keys=[
            SealingKey(
                id=each.id,
                state="active" if each.active else "old",
                wrapped_by=each.provider,
                created=instant(each.created_at),
                sealed=each.sealed,
            )
            for each in found.data_keys
        ],
    )


@operation("device.import", "POST", "/devices/import")
def import_devices(context: Context, given: Import) -> Imported:
    """Add devices by the hundred, each with its pre-shared key.

    A row that is refused keeps none of the others back. Rows that are there already are left as they are, so that an
    import that was cut off can be made again.
    """
    rows = [
        ImportRow(
            each.line,
            each.device,
            each.tenant,
            bytes.fromhex(each.psk_identity_hex),
            bytes.fromhex(each.psk_hex),
            tuple(each.tags) if each.tags is not None else None,
        )
        for each in given.rows
    ]
    done = context.registry.import_devices(
        rows, on_conflict=given.on_conflict, allow_shared_keys=given.allow_shared_keys
    )
    results = [
        RowAnswer(line=each.line, device=each.device_id, tenant=each.tenant_id, result=each.result, reason=each.reason)
        for each in done
    ]
    return Imported(results=results)
