"""`gateway fleet`: from pre-shared keys to certificates."""

import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from gateway.cli.common import (
    TENANT_VARIABLE,
    ConfigOption,
    Output,
    OutputOption,
    UsageError,
    new_app,
    print_facts,
    readable_errors,
    registry_of,
    shown_time,
)

_DAY_S = 86400.0

app = new_app("Move a tenant's devices from pre-shared keys to certificates.")
migration = new_app("How far the move is.")
app.add_typer(migration, name="migration")


@app.command("migrate")
def migrate(
    tenant: Annotated[str, typer.Argument(help="The tenant.", metavar="TENANT")],
    until: Annotated[
        str | None,
        typer.Option(help="Refuse pre-shared keys from then on: 2027-06-30, or with a time, UTC.", metavar="DATE"),
    ] = None,
    after_first_certificate: Annotated[
        bool,
        typer.Option(
            "--after-first-certificate", help="Retire a device's pre-shared keys when it first uses a certificate."
        ),
    ] = False,
    off: Annotated[bool, typer.Option("--off", help="Take pre-shared keys as long as they are good.")] = False,
    output: OutputOption = Output.TABLE,
    config: ConfigOption = None,
) -> None:
    """Say when a tenant's pre-shared keys end; both conditions may be given. What was retired stays so."""
    with readable_errors():
        if off == (until is not None or after_first_certificate):
            raise UsageError("say --until DATE, --after-first-certificate or both; or --off")
        ends = _time(until) if until is not None else 0.0
        with registry_of(config) as registry:
            registry.set_migration(tenant, until=ends, after_first_certificate=after_first_certificate)
        facts = {
            "tenant": tenant,
            "psk_until": shown_time(ends) if ends else None,
            "psk_ends_with_certificate": after_first_certificate,
        }
        print_facts(facts, output)


@migration.command("status")
def status(
    days: Annotated[int, typer.Option(help="Devices seen within so many days.", min=1)] = 30,
    tenant: Annotated[str | None, typer.Option(envvar=TENANT_VARIABLE, help="Of this tenant only.")] = None,
    output: OutputOption = Output.TABLE,
    config: ConfigOption = None,
) -> None:
    """Count devices by the credentials that they may use, and by which of them they came with."""
    with readable_errors(), registry_of(config) as registry:
        if tenant is not None:
            registry.tenant(tenant)
        found = registry.migration_status(since=time.time() - days * _DAY_S, tenant_id=tenant)
        facts = {
            "psk_only": found.psk,
            "both": found.both,
            "certificate_only": found.x509,
            "seen_with_psk": found.seen_psk,
            "seen_with_certificate": found.seen_x509,
        }
        print_facts(facts, output)


def _time(text: str) -> float:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no date; write 2027-06-30 or 2027-06-30T12:00:00Z") from None
    ends = (parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)).timestamp()
    if ends <= 0:
        raise UsageError(f"{text} is too long ago")
    return ends
