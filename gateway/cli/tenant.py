"""`gateway tenant`: the owners of devices."""

from typing import Annotated, Any

import typer

from gateway.cli.common import Output, OutputOption, UsageError, new_app, print_rows
from gateway.cli.managed import YesOption, a_time, command, confirm, facts_of, given, show
from gateway.management import Management, tenants
from gateway.registry import OnClone

_COLUMNS = ("tenant", "name", "enabled", "sni", "devices", "max_devices")

app = new_app("Add, list, show, change and delete tenants: the owners of devices.")

IdArgument = Annotated[str, typer.Argument(help="The tenant's id.", metavar="ID")]
NameOption = Annotated[str | None, typer.Option(help="A name for people.", metavar="TEXT")]
SniOption = Annotated[
    list[str] | None,
    typer.Option("--sni", help="Server name by which its devices ask for it; may be given again.", metavar="NAME"),
]
MaxOption = Annotated[
    int | None, typer.Option("--max-devices", help="How many devices; 0 for the registry's own limit.", min=0)
]
CloneOption = Annotated[
    OnClone | None,
    typer.Option("--on-clone", help="What to do when one identity is alive from two places at once."),
]
UntilOption = Annotated[
    str | None,
    typer.Option("--psk-until", help='When its pre-shared keys end: a date or a time; "never".', metavar="TIME"),
]
MigrateOption = Annotated[
    bool | None,
    typer.Option(
        "--psk-ends-with-certificate/--psk-stays",
        help="Whether a device's first handshake with a certificate retires its pre-shared keys.",
    ),
]


@command(app, "add")
def add(
    manage: Management,
    id: IdArgument,
    name: NameOption = None,
    sni: SniOption = None,
    max_devices: MaxOption = None,
    on_clone: CloneOption = None,
    psk_until: UntilOption = None,
    psk_ends_with_certificate: MigrateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Add a tenant."""
    said = _said(name, sni, max_devices, on_clone, psk_until, psk_ends_with_certificate)
    show(manage.do(tenants.add, tenant=id, **said), output)


@command(app, "list")
def list_tenants(manage: Management, output: OutputOption = Output.TABLE) -> None:
    """List the tenants."""
    print_rows(map(facts_of, manage.do(tenants.list_all).tenants), _COLUMNS, output)


@command(app, "show")
def show_one(manage: Management, id: IdArgument, output: OutputOption = Output.TABLE) -> None:
    """Show a tenant."""
    show(manage.do(tenants.show, tenant=id), output)


@command(app, "set")
def set_(
    manage: Management,
    id: IdArgument,
    name: NameOption = None,
    sni: SniOption = None,
    no_sni: Annotated[bool, typer.Option("--no-sni", help="No server name any more.")] = False,
    max_devices: MaxOption = None,
    enable: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Let its devices in, or end their sessions.")
    ] = None,
    on_clone: CloneOption = None,
    psk_until: UntilOption = None,
    psk_ends_with_certificate: MigrateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Change a tenant. Server names that are given take the place of those before."""
    if sni and no_sni:
        raise UsageError("say either --sni or --no-sni")
    said = _said(name, [] if no_sni else sni, max_devices, on_clone, psk_until, psk_ends_with_certificate)
    if enable is not None:
        said["enabled"] = enable
    if not said:
        raise UsageError("say what to change; see `gateway tenant set --help`")
    show(manage.do(tenants.set_, tenant=id, **said), output)


@command(app, "delete")
def delete(manage: Management, id: IdArgument, yes: YesOption = False, output: OutputOption = Output.TABLE) -> None:
    """Delete a tenant that has no device."""
    manage.do(tenants.show, tenant=id)
    confirm(f"Delete tenant {id}?", yes=yes, otherwise=f"deleting {id}")
    show(manage.do(tenants.delete, tenant=id), output)


def _said(
    name: str | None,
    sni: list[str] | None,
    max_devices: int | None,
    on_clone: OnClone | None,
    psk_until: str | None,
    psk_ends_with_certificate: bool | None,
) -> dict[str, Any]:
    said = given(
        name=name,
        sni=sni,
        max_devices=max_devices,
        on_clone=on_clone,
        psk_ends_with_certificate=psk_ends_with_certificate,
    )
    if psk_until is not None:
        said["psk_until"] = None if psk_until == "never" else a_time("--psk-until", psk_until)
    return said
