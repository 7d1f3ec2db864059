"""`gateway fleet`: from pre-shared keys to certificates."""

from typing import Annotated

import typer

from gateway.cli.common import TENANT_VARIABLE, Output, OutputOption, UsageError, new_app
from gateway.cli.managed import a_time, command, given, show
from gateway.management import Management, fleet

app = new_app("Move a tenant's devices from pre-shared keys to certificates.")
migration = new_app("How far the move is.")
app.add_typer(migration, name="migration")


@command(app, "migrate")
def migrate(
    manage: Management,
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
) -> None:
    """Say when a tenant's pre-shared keys end; both conditions may be given. What was retired stays so."""
    if off == (until is not None or after_first_certificate):
        raise UsageError("say --until DATE, --after-first-certificate or both; or --off")
    ends = a_time("--until", until) if until is not None else None
    said = {"psk_until": ends, "psk_ends_with_certificate": after_first_certificate}
    show(manage.do(fleet.migrate, tenant=tenant, **said), output)


@command(migration, "status")
def status(
    manage: Management,
    days: Annotated[int, typer.Option(help="Devices seen within so many days.", min=1)] = 30,
    tenant: Annotated[str | None, typer.Option(envvar=TENANT_VARIABLE, help="Of this tenant only.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Count devices by the credentials that they may use, and by which of them they came with."""
    show(manage.do(fleet.status, days=days, **given(tenant=tenant)), output)
