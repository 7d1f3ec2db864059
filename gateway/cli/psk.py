"""`gateway psk`: the pre-shared keys of devices."""

import csv
import io
import sys
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
    readable_errors,
    registry_of,
    settings_for,
    shown_psk_identity,
    shown_time,
    write_secret,
)
from gateway.config import parse_duration
from gateway.model import DEFAULT_TENANT
from gateway.registry import CredentialStatus, CredentialSummary, Secrets, join_identity, split_identity
from gateway.registry.checks import check_id, check_psk

_COLUMNS = ("id", "psk_identity", "status", "kind", "not_after", "last_used")
_WEEK = "7d"

app = new_app("Add, rotate, list and end pre-shared keys; derive those that are not stored.")

IdArgument = Annotated[str, typer.Argument(help="The device's name.", metavar="ID")]
CredentialArgument = Annotated[str, typer.Argument(help="The key's id, from `gateway psk list`.", metavar="CREDENTIAL")]
FileOption = Annotated[Path | None, typer.Option("--psk-file", help="File with the key, in hex.", metavar="FILE")]
StdinOption = Annotated[bool, typer.Option("--psk-stdin", help="Read the key, in hex, from standard input.")]
GenerateOption = Annotated[bool, typer.Option("--generate", help="Make a random key and print it, once.")]
DerivedOption = Annotated[
    bool, typer.Option("--derived", help="The key is derived from [registry] derivation_key, and not stored.")
]
TextOption = Annotated[bool, typer.Option("--psk-text", help="The key in file or input is text, not hex.")]


@app.command("list")
def list_keys(
    id: IdArgument,
    tenant: TenantOption = DEFAULT_TENANT,
    output: OutputOption = Output.TABLE,
    config: ConfigOption = None,
) -> None:
    """List the pre-shared keys of a device, oldest first; never the keys themselves."""
    with readable_errors(), registry_of(config) as registry:
        found = [each for each in registry.credentials(id, tenant_id=tenant) if each.kind == "psk"]
        print_rows([_facts(each) for each in found], _COLUMNS, output)


@app.command("add")
def add(
    id: IdArgument,
    identity: Annotated[str, typer.Option(help="PSK identity, as text.", metavar="TEXT")],
    psk_file: FileOption = None,
    psk_stdin: StdinOption = False,
    generate: GenerateOption = False,
    derived: DerivedOption = False,
    psk_text: TextOption = False,
    tenant: TenantOption = DEFAULT_TENANT,
    output: OutputOption = Output.TABLE,
    config: ConfigOption = None,
) -> None:
    """Give a device one more pre-shared key, which is as good as those that it has."""
    with readable_errors():
        key = choose_key(psk_file, psk_stdin, generate, derived, text=psk_text)
        name = argument_bytes(identity)
        with registry_of(config) as registry:
            made = registry.add_psk(id, name, key, tenant_id=tenant)
        facts = {"device": id, "tenant": tenant, "id": made.credential_id, "psk_identity": shown_psk_identity(name)}
        print_facts({**facts, "psk_hex": made.key.hex()} if generate else facts, output)


@app.command("rotate")
def rotate(
    id: IdArgument,
    overlap: Annotated[str, typer.Option(help="How long the old key stays good, such as 12h or 7d.")] = _WEEK,
    identity: Annotated[
        str | None,
        typer.Option(help="PSK identity of the new key; the old one's with the next number (dev1#2) by default."),
    ] = None,
    psk_file: FileOption = None,
    psk_stdin: StdinOption = False,
    generate: GenerateOption = False,
    derived: DerivedOption = False,
    psk_text: TextOption = False,
    tenant: TenantOption = DEFAULT_TENANT,
    output: OutputOption = Output.TABLE,
    config: ConfigOption = None,
) -> None:
    """Give a device its next pre-shared key.

    Old and new key are good until the device uses the new one, which retires the old ones, or the overlap has passed.
    """
    with readable_errors():
        try:
            overlap_s = parse_duration(overlap)
        except ValueError as error:
            raise UsageError(f"--overlap {error}") from error
        key = choose_key(psk_file, psk_stdin, generate, derived, text=psk_text)
        name = None if identity is None else argument_bytes(identity)
        with registry_of(config) as registry:
            made = registry.rotate_psk(id, key, overlap_s=overlap_s, identity=name, tenant_id=tenant)
        facts = {
            "device": id,
            "tenant": tenant,
            "id": made.credential.credential_id,
            "psk_identity": shown_psk_identity(made.identity),
            "old_until": shown_time(made.old_until),
        }
        if made.generation is not None:
            facts["generation"] = str(made.generation)
        print_facts({**facts, "psk_hex": made.credential.key.hex()} if generate else facts, output)


@app.command("retire")
def retire(
    id: IdArgument,
    credential: CredentialArgument,
    tenant: TenantOption = DEFAULT_TENANT,
    output: OutputOption = Output.TABLE,
    config: ConfigOption = None,
) -> None:
    """End a key that is no longer needed, with the sessions that it began."""
    _end(id, credential, CredentialStatus.RETIRED, tenant, output, config)


@app.command("revoke")
def revoke(
    id: IdArgument,
    credential: CredentialArgument,
    tenant: TenantOption = DEFAULT_TENANT,
    output: OutputOption = Output.TABLE,
    config: ConfigOption = None,
) -> None:
    """End a key that may have leaked, with the sessions that it began."""
    _end(id, credential, CredentialStatus.REVOKED, tenant, output, config)


@app.command("derive")
def derive(
    identity: Annotated[
        list[str] | None, typer.Option(help="PSK identity, as text; may be repeated.", metavar="TEXT")
    ] = None,
    identities: Annotated[Path | None, typer.Option(help="File with identities, one a line.", metavar="FILE")] = None,
    generation: Annotated[
        int | None, typer.Option(help="Which of its keys, counted from 1; by default the one that its name says.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write them there as CSV, with mode 0600; overwrites nothing.", metavar="FILE")
    ] = None,
    show: Annotated[bool, typer.Option("--print", help="Print the keys.")] = False,
    tenant: TenantOption = DEFAULT_TENANT,
    config: ConfigOption = None,
) -> None:
    """Derive keys for the factory line, from [registry] derivation_key. Needs no registry.

    A generation above 1 has an identity of its own: dev1 has dev1#2 as its second.
    """
    with readable_errors():
        if (out is not None) == show:
            raise UsageError("the keys are secret: say --out FILE or --print")
        names = [argument_bytes(each) for each in identity or ()]
        if identities is not None:
            names += [line for line in identities.read_bytes().splitlines() if line]
        if not names:
            raise UsageError("say --identity TEXT or --identities FILE")
        text = _derived(Secrets(None, settings_for(config).registry.derivation_key), names, generation, tenant)
        if out is None:
            sys.stdout.write(text)
        else:
            write_secret(out, text)
            print_facts({"keys": len(names), "file": str(out)}, Output.TABLE)


def _derived(secrets: Secrets, names: list[bytes], wanted: int | None, tenant: str) -> str:
    check_id("tenant", tenant)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("psk_identity", "generation", "psk_hex"))
    for name in names:
        base, named = split_identity(name, tenant)
        generation = named if wanted is None else wanted
        full = join_identity(base, generation, tenant)
        check_psk(full, None)
        rows.writerow((shown_psk_identity(full), generation, secrets.derive(tenant, full, generation).hex()))
    return text.getvalue()


def _end(id: str, credential: str, status: CredentialStatus, tenant: str, output: Output, config: Path | None) -> None:
    with readable_errors(), registry_of(config) as registry:
        registry.end_psk(id, credential, status, tenant_id=tenant)
        print_facts({"device": id, "tenant": tenant, "id": credential, "status": status.value}, output)


def _facts(found: CredentialSummary) -> dict[str, Any]:
    return {
        "id": found.credential_id,
        "psk_identity": shown_psk_identity(found.psk_identity or b""),
        "status": found.status.value,
        "kind": "stored" if found.generation is None else f"derived, generation {found.generation}",
        "not_after": shown_time(found.not_after),
        "last_used": shown_time(found.last_used_at),
    }
