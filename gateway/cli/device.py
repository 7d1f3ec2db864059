"""`gateway device`: the devices of the registry."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.common import (
    Output,
    OutputOption,
    TenantOption,
    UsageError,
    new_app,
    print_facts,
    print_rows,
    printable,
)
from gateway.cli.device_import import import_devices
from gateway.cli.managed import (
    YesOption,
    a_duration,
    command,
    confirm,
    facts_of,
    given,
    identity_field,
    key_field,
    show,
)
from gateway.management import Management, devices
from gateway.management.limits import MAX_PAGE
from gateway.management.problems import pki_errors
from gateway.model import DEFAULT_TENANT, DeviceStatus

_COLUMNS = ("device", "tenant", "status", "auto_provisioned", "created")

app = new_app("Add, import, list, show, disable, enable, label and delete devices.")
app.command("import")(import_devices)

IdArgument = Annotated[str, typer.Argument(help="The device's name.", metavar="ID")]
NoteOption = Annotated[str | None, typer.Option(help="Why, for people.", metavar="TEXT")]


class Auth(StrEnum):
    PSK = "psk"
    X509 = "x509"
    RPK = "rpk"


@command(app, "add")
def add(
    manage: Management,
    id: IdArgument,
    psk_identity: Annotated[str | None, typer.Option(help="PSK identity, as text.", metavar="TEXT")] = None,
    psk_file: Annotated[Path | None, typer.Option(help="File with the key, in hex.", metavar="FILE")] = None,
    psk_stdin: Annotated[bool, typer.Option("--psk-stdin", help="Read the key, in hex, from standard input.")] = False,
    generate: Annotated[bool, typer.Option("--generate", help="Make a random key and print it, once.")] = False,
    derived: Annotated[
        bool, typer.Option("--derived", help="The key is derived from [registry] derivation_key, and not stored.")
    ] = False,
    psk_text: Annotated[bool, typer.Option("--psk-text", help="The key in file or input is text, not hex.")] = False,
    allow_short_key: Annotated[
        bool, typer.Option("--allow-short-key", help="Take a key below 16 bytes, for devices that cannot be changed.")
    ] = False,
    certificate: Annotated[
        bool,
        typer.Option("--certificate", help="Let certificates of any trusted CA of its tenant speak for the device."),
    ] = False,
    public_key: Annotated[
        Path | None, typer.Option(help="File with its raw public key (RFC 7250), PEM or DER.", metavar="FILE")
    ] = None,
    tenant: TenantOption = DEFAULT_TENANT,
    output: OutputOption = Output.TABLE,
) -> None:
    """Add a device.

    With neither a key nor --certificate it takes the first certificate that names it, which binds it to the CA of that
    one: no other CA can speak for it then. With a key alone it takes no certificate. Called again with --certificate,
    takes a device out of its binding; called again with --public-key, gives it one more key.
    """
    sources = [psk_file is not None, psk_stdin, generate, derived]
    if psk_identity is None and (any(sources) or psk_text or allow_short_key):
        raise UsageError("a key needs --psk-identity")
    if psk_identity is not None and sum(sources) != 1:
        raise UsageError("--psk-identity needs one of --psk-file, --psk-stdin and --generate, or --derived")
    if psk_identity is not None and public_key is not None:
        raise UsageError("one key at a time: call again with the other one")
    if (generate or derived) and (psk_text or allow_short_key):
        raise UsageError("--generate makes a random key, --derived its own; leave the options for given keys away")
    said: dict[str, Any] = {"device": id, "tenant": tenant, "certificate": certificate}
    if psk_identity is not None:
        said |= identity_field(psk_identity) | key_field(psk_file, psk_stdin, generate, derived, text=psk_text)
        if allow_short_key:
            said["allow_short_key"] = True
    elif public_key is not None:
        said["public_key"] = _public_key(public_key)
    show(manage.do(devices.add, **said), output)


@command(app, "list")
def list_devices(
    manage: Management,
    tenant: Annotated[str | None, typer.Option(help="Of this tenant only.")] = None,
    status: Annotated[DeviceStatus | None, typer.Option(help="With this status only.")] = None,
    auth: Annotated[Auth | None, typer.Option(help="With a usable credential of this kind only.")] = None,
    tag: Annotated[str | None, typer.Option(help="With this tag only.")] = None,
    last_seen_before: Annotated[
        str | None,
        typer.Option(help="That have been silent for so long, such as 30d, or were never here.", metavar="DURATION"),
    ] = None,
    never_connected: Annotated[bool, typer.Option("--never-connected", help="That were never here.")] = False,
    limit: Annotated[int | None, typer.Option(help="How many at most.", min=1)] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List devices, sorted by tenant and name."""
    said = given(tenant=tenant, status=status, auth=auth.value if auth is not None else None, tag=tag)
    if last_seen_before is not None:
        silent_s = a_duration("--last-seen-before", last_seen_before)
        said["last_seen_before"] = datetime.now(UTC) - timedelta(seconds=silent_s)
    if never_connected:
        said["never_connected"] = True
    print_rows(_pages(manage, said, limit), _COLUMNS, output)


@command(app, "show")
def show_one(
    manage: Management, id: IdArgument, tenant: TenantOption = DEFAULT_TENANT, output: OutputOption = Output.TABLE
) -> None:
    """Show a device and its credentials; never a key."""
    found = manage.do(devices.show, device=id, tenant=tenant)
    if output is not Output.TABLE:
        show(found, output)
        return
    print_facts(facts_of(found, without=("credentials",)), output)
    for credential in facts_of(found)["credentials"]:
        shown = (f"{name}={value}" for name, value in credential.items() if value is not None)
        print("credential", *map(printable, shown))


@command(app, "disable")
def disable(
    manage: Management,
    id: IdArgument,
    note: NoteOption = None,
    tenant: TenantOption = DEFAULT_TENANT,
    output: OutputOption = Output.TABLE,
) -> None:
    """Keep a device out. Its sessions end within two seconds."""
    _set_status(manage, id, tenant, DeviceStatus.DISABLED, note, output)


@command(app, "enable")
def enable(
    manage: Management,
    id: IdArgument,
    note: NoteOption = None,
    tenant: TenantOption = DEFAULT_TENANT,
    output: OutputOption = Output.TABLE,
) -> None:
    """Let a disabled, pending or quarantined device in."""
    _set_status(manage, id, tenant, DeviceStatus.ACTIVE, note, output)


@command(app, "quarantine")
def quarantine(
    manage: Management,
    id: IdArgument,
    note: NoteOption = None,
    tenant: TenantOption = DEFAULT_TENANT,
    output: OutputOption = Output.TABLE,
) -> None:
    """Keep a device out until somebody has looked at it. Its sessions end within two seconds."""
    _set_status(manage, id, tenant, DeviceStatus.QUARANTINED, note, output)


@command(app, "tag")
def tag(
    manage: Management,
    id: IdArgument,
    tags: Annotated[list[str] | None, typer.Argument(help="Tags to give it.", metavar="[TAG]...")] = None,
    remove: Annotated[
        list[str] | None, typer.Option(help="A tag to take away; may be given again.", metavar="TAG")
    ] = None,
    tenant: TenantOption = DEFAULT_TENANT,
    output: OutputOption = Output.TABLE,
) -> None:
    """Give a device tags, or take some away."""
    if not tags and not remove:
        raise UsageError("say which tags to give, or which to take away with --remove")
    said = {"add_tags": tags or [], "remove_tags": remove or []}
    show(manage.do(devices.set_, device=id, tenant=tenant, **said), output)


@command(app, "describe")
def describe(
    manage: Management,
    id: IdArgument,
    attributes: Annotated[list[str], typer.Argument(help="NAME=VALUE; NAME= takes it away.", metavar="NAME=VALUE...")],
    tenant: TenantOption = DEFAULT_TENANT,
    output: OutputOption = Output.TABLE,
) -> None:
    """Set attributes of a device: what else there is to say about it."""
    said: dict[str, str | None] = {}
    for each in attributes:
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise UsageError(f"{each!r} is no NAME=VALUE")
        said[name] = value or None
    show(manage.do(devices.set_, device=id, tenant=tenant, attributes=said), output)


@command(app, "delete")
def delete(
    manage: Management,
    id: IdArgument,
    yes: YesOption = False,
    tenant: TenantOption = DEFAULT_TENANT,
    output: OutputOption = Output.TABLE,
) -> None:
    """Delete a device with its credentials."""
    manage.do(devices.show, device=id, tenant=tenant)
    confirm(f"Delete device {id} of tenant {tenant} and its credentials?", yes=yes, otherwise=f"deleting {id}")
    show(manage.do(devices.delete, device=id, tenant=tenant), output)


def _set_status(
    manage: Management, id: str, tenant: str, status: DeviceStatus, note: str | None, output: Output
) -> None:
    show(manage.do(devices.set_, device=id, tenant=tenant, status=status, **given(note=note)), output)


def _pages(manage: Management, said: dict[str, Any], limit: int | None) -> Iterator[dict[str, Any]]:
    left, cursor = limit, None
    while left is None or left > 0:
        size = MAX_PAGE if left is None else min(left, MAX_PAGE)
        page = manage.do(devices.list_page, **said, limit=size, **given(cursor=cursor))
        yield from map(facts_of, page.devices)
        left, cursor = None if left is None else left - len(page.devices), page.next
        if cursor is None:
            return


def _public_key(path: Path) -> str:
    from base64 import encodebytes

    from gateway.pki import load_public_key  # `device list` must not wait for it

    with pki_errors():
        der = load_public_key(path)
    return f"-----BEGIN PUBLIC KEY-----\n{encodebytes(der).decode()}-----END PUBLIC KEY-----\n"
