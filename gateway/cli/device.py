"""`gateway device`: the devices of the registry."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.common import (
    ConfigOption,
    Output,
    OutputOption,
    TenantOption,
    UsageError,
    argument_bytes,
    choose_key,
    new_app,
    print_facts,
    print_rows,
    printable,
    readable_errors,
    registry_of,
    shown_psk_identity,
    shown_time,
    stdin_is_terminal,
)
from gateway.cli.device_import import import_devices
from gateway.model import DEFAULT_TENANT, Device, DeviceStatus
from gateway.registry import Conflict, NotFound, Registry

_COLUMNS = ("device", "tenant", "status", "auto_provisioned", "created")

app = new_app("Add, import, list, show, disable, enable and delete devices.")
app.command("import")(import_devices)

IdArgument = Annotated[str, typer.Argument(help="The device's name.", metavar="ID")]


@app.command("add")
def add(
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
    config: ConfigOption = None,
) -> None:
    """Add a device.

    With neither a key nor --certificate it takes the first certificate that names it, which binds it to the CA of that
    one: no other CA can speak for it then. With a key alone it takes no certificate. Called again with --certificate,
    takes a device out of its binding; called again with --public-key, gives it one more key.
    """
    from gateway.pki import PkiError, load_public_key, public_key_fingerprint  # `device list` must not wait for it

    with readable_errors(failure=(PkiError,)):
        sources = [psk_file is not None, psk_stdin, generate, derived]
        if psk_identity is None and (any(sources) or psk_text or allow_short_key):
            raise UsageError("a key needs --psk-identity")
        if psk_identity is not None and sum(sources) != 1:
            raise UsageError("--psk-identity needs one of --psk-file, --psk-stdin and --generate, or --derived")
        if psk_identity is not None and public_key is not None:
            raise UsageError("one key at a time: call again with the other one")
        if (generate or derived) and (psk_text or allow_short_key):
            raise UsageError("--generate makes a random key, --derived its own; leave the options for given keys away")
        facts: dict[str, Any] = {"device": id, "tenant": tenant}
        with registry_of(config) as registry:
            known = (certificate or public_key is not None) and _is_known(registry, id, tenant)
            if psk_identity is not None:
                key = choose_key(psk_file, psk_stdin, generate, derived, text=psk_text)
                identity = argument_bytes(psk_identity)
                if known:
                    registry.add_psk(id, identity, key, tenant_id=tenant, allow_short_key=allow_short_key)
                else:
                    _add_psk_device(registry, id, tenant, identity, key, allow_short_key=allow_short_key)
                facts["psk_identity"] = shown_psk_identity(identity)
                if derived:
                    facts["psk"] = "derived"
                if generate and key is not None:
                    facts["psk_hex"] = key.hex()
            elif public_key is not None:
                spki = load_public_key(public_key)
                (registry.add_rpk if known else registry.add_rpk_device)(id, spki, tenant_id=tenant)
                facts["public_key_sha256"] = public_key_fingerprint(spki)
            elif not known:
                registry.add_device(id, tenant_id=tenant)
            if certificate:
                registry.allow_certificate(id, tenant_id=tenant)
                facts["certificate"] = "allowed"
        print_facts(facts, output)


@app.command("list")
def list_devices(
    tenant: Annotated[str | None, typer.Option(help="Of this tenant only.")] = None,
    output: OutputOption = Output.TABLE,
    config: ConfigOption = None,
) -> None:
    """List the devices."""
    with readable_errors(), registry_of(config) as registry:
        if tenant is not None:
            registry.tenant(tenant)
        records = registry.list_devices(tenant_id=tenant)
        print_rows([_facts(record.device) for record in records], _COLUMNS, output)


@app.command("show")
def show(
    id: IdArgument,
    tenant: TenantOption = DEFAULT_TENANT,
    output: OutputOption = Output.TABLE,
    config: ConfigOption = None,
) -> None:
    """Show a device and its credentials; never a key."""
    with readable_errors(), registry_of(config) as registry:
        facts = _facts(registry.device(id, tenant_id=tenant))
        credentials = [
            {
                "id": each.credential_id,
                "kind": each.kind,
                "status": each.status.value,
                "version": each.version,
                "psk_identity": shown_psk_identity(each.psk_identity) if each.psk_identity is not None else None,
                "public_key_sha256": each.public_key,
                "trust_anchor": each.anchor_id,
            }
            for each in registry.credentials(id, tenant_id=tenant)
        ]
        if output is Output.JSON:
            print_facts({**facts, "credentials": credentials}, output)
            return
        print_facts(facts, output)
        for credential in credentials:
            shown = (f"{name}={value}" for name, value in credential.items() if value is not None)
            print("credential", *map(printable, shown))


@app.command("disable")
def disable(
    id: IdArgument,
    tenant: TenantOption = DEFAULT_TENANT,
    output: OutputOption = Output.TABLE,
    config: ConfigOption = None,
) -> None:
    """Refuse a device's handshakes, a second from now at the latest."""
    _set_status(id, tenant, DeviceStatus.DISABLED, output, config)


@app.command("enable")
def enable(
    id: IdArgument,
    tenant: TenantOption = DEFAULT_TENANT,
    output: OutputOption = Output.TABLE,
    config: ConfigOption = None,
) -> None:
    """Let a disabled, pending or quarantined device in."""
    _set_status(id, tenant, DeviceStatus.ACTIVE, output, config)


@app.command("delete")
def delete(
    id: IdArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    tenant: TenantOption = DEFAULT_TENANT,
    output: OutputOption = Output.TABLE,
    config: ConfigOption = None,
) -> None:
    """Delete a device with its credentials."""
    with readable_errors(), registry_of(config) as registry:
        facts = {**_facts(registry.device(id, tenant_id=tenant)), "status": "deleted"}
        if not yes:
            if not stdin_is_terminal():
                raise UsageError(f"deleting {id} cannot be undone: say --yes")
            typer.confirm(f"Delete device {id} of tenant {tenant} and its credentials?", abort=True, err=True)
        registry.delete_device(id, tenant_id=tenant)
        print_facts(facts, output)


def _set_status(id: str, tenant: str, status: DeviceStatus, output: Output, config: Path | None) -> None:
    with readable_errors(), registry_of(config) as registry:
        print_facts(_facts(registry.set_status(id, status, tenant_id=tenant)), output)


def _add_psk_device(
    registry: Registry, id: str, tenant: str, identity: bytes, key: bytes | None, *, allow_short_key: bool
) -> None:
    try:
        registry.add_psk_device(id, identity, key, tenant_id=tenant, allow_short_key=allow_short_key)
    except Conflict as error:
        if not _is_known(registry, id, tenant):
            raise  # the identity is another device's
        remedy = f"to change its key, delete it with `gateway device delete {id}`, then add it again"
        raise Conflict(f"{error}; {remedy}") from error


def _is_known(registry: Registry, id: str, tenant: str) -> bool:
    try:
        registry.device(id, tenant_id=tenant)
    except NotFound:
        return False
    return True


def _facts(device: Device) -> dict[str, Any]:
    return {
        "device": device.id,
        "tenant": device.tenant_id,
        "status": device.status.value,
        "auto_provisioned": device.auto_provisioned,
        "created": shown_time(device.created_at),
    }
