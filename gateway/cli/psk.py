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
    new_app,
    print_facts,
    print_rows,
    readable_errors,
    settings_for,
    shown_psk_identity,
    write_secret,
)
from gateway.cli.managed import YesOption, a_duration, command, confirm, identity_field, key_field, show
from gateway.management import Management, credentials, psk
from gateway.management.credentials import CredentialFacts
from gateway.model import DEFAULT_TENANT
from gateway.registry import Secrets, join_identity, split_identity
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


@command(app, "list")
def list_keys(
    manage: Management, id: IdArgument, tenant: TenantOption = DEFAULT_TENANT, output: OutputOption = Output.TABLE
) -> None:
    """List the pre-shared keys of a device, oldest first; never the keys themselves."""
    found = manage.do(credentials.list_all, device=id, tenant=tenant).credentials
    print_rows([_facts(each) for each in found if each.kind == "psk"], _COLUMNS, output)


@command(app, "add")
def add(
    manage: Management,
    id: IdArgument,
    identity: Annotated[str, typer.Option(help="PSK identity, as text.", metavar="TEXT")],
    psk_file: FileOption = None,
    psk_stdin: StdinOption = False,
    generate: GenerateOption = False,
    derived: DerivedOption = False,
    psk_text: TextOption = False,
    tenant: TenantOption = DEFAULT_TENANT,
    output: OutputOption = Output.TABLE,
) -> None:
    """Give a device one more pre-shared key, which is as good as those that it has."""
    key = key_field(psk_file, psk_stdin, generate, derived, text=psk_text)
    show(manage.do(psk.add, device=id, tenant=tenant, **identity_field(identity), **key), output, without=("psk",))


@command(app, "rotate")
def rotate(
    manage: Management,
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
) -> None:
    """Give a device its next pre-shared key.

    Old and new key are good until the device uses the new one, which retires the old ones, or the overlap has passed.
    """
    said: dict[str, Any] = {"overlap_s": a_duration("--overlap", overlap)}
    said |= key_field(psk_file, psk_stdin, generate, derived, text=psk_text)
    if identity is not None:
        said |= identity_field(identity)
    show(manage.do(psk.rotate, device=id, tenant=tenant, **said), output, without=("psk",))


@command(app, "retire")
def retire(
    manage: Management,
    id: IdArgument,
    credential: CredentialArgument,
    yes: YesOption = False,
    tenant: TenantOption = DEFAULT_TENANT,
    output: OutputOption = Output.TABLE,
) -> None:
    """End a key that is no longer needed, with the sessions that it began."""
    _confirm_end("Retire", manage, id, tenant, credential, yes=yes)
    show(manage.do(psk.end, device=id, tenant=tenant, credential=credential, status="retired"), output)


@command(app, "revoke")
def revoke(
    manage: Management,
    id: IdArgument,
    credential: CredentialArgument,
    yes: YesOption = False,
    tenant: TenantOption = DEFAULT_TENANT,
    output: OutputOption = Output.TABLE,
) -> None:
    """End a key that may have leaked, with the sessions that it began."""
    _confirm_end("Revoke", manage, id, tenant, credential, yes=yes)
    show(manage.do(psk.end, device=id, tenant=tenant, credential=credential, status="revoked"), output)


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
    printed: Annotated[bool, typer.Option("--print", help="Print the keys.")] = False,
    tenant: TenantOption = DEFAULT_TENANT,
    config: ConfigOption = None,
) -> None:
    """Derive keys for the factory line, from [registry] derivation_key. Needs no registry.

    A generation above 1 has an identity of its own: dev1 has dev1#2 as its second.
    """
    with readable_errors():
        if (out is not None) == printed:
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


def _confirm_end(verb: str, manage: Management, id: str, tenant: str, credential: str, *, yes: bool) -> None:
    """Asks before the end of a key that is there; of one that is not, `psk.end` says so."""
    held = manage.do(credentials.list_all, device=id, tenant=tenant).credentials
    if any(each.id == credential for each in held):
        question = f"{verb} key {credential} of device {id}? It does not come back."
        confirm(question, yes=yes, otherwise=f"{verb.lower().removesuffix('e')}ing {credential}")


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


def _facts(found: CredentialFacts) -> dict[str, Any]:
    return {
        "id": found.id,
        "psk_identity": found.psk_identity,
        "status": found.status.value,
        "kind": "stored" if found.generation is None else f"derived, generation {found.generation}",
        "not_after": found.not_after,
        "last_used": found.last_used,
    }
