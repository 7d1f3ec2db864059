"""Banning certificates: `gateway ca ban` and `gateway cert ban` are one and the same."""

import re
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.common import Output, OutputOption, UsageError, print_rows
from gateway.cli.managed import command, facts_of, show
from gateway.management import Management, bans
from gateway.management.bans import fingerprint
from gateway.management.problems import pki_errors

_COLUMNS = ("fingerprint", "reason")

CertificateArgument = Annotated[
    str,
    typer.Argument(help="SHA-256 fingerprint of the certificate, or its file, PEM or DER.", metavar="FINGERPRINT|FILE"),
]


def add_commands(app: typer.Typer) -> None:
    """Gives a group of commands `ban`, `unban` and `bans`."""
    command(app, "ban")(_ban)
    command(app, "unban")(_unban)
    command(app, "bans")(_bans)


def _ban(
    manage: Management,
    certificate: CertificateArgument,
    reason: Annotated[str, typer.Option(help="Why, for people.", metavar="TEXT")] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Refuse a certificate, and every chain with it in it. Sessions that began with it end within two seconds."""
    show(manage.do(bans.add, fingerprint=_fingerprint(certificate), reason=reason), output)


def _unban(manage: Management, certificate: CertificateArgument, output: OutputOption = Output.TABLE) -> None:
    """Take a ban back."""
    show(manage.do(bans.remove, fingerprint=_fingerprint(certificate)), output)


def _bans(manage: Management, output: OutputOption = Output.TABLE) -> None:
    """List the banned certificates."""
    print_rows(map(facts_of, manage.do(bans.list_all).bans), _COLUMNS, output)


def _fingerprint(text: str) -> str:
    found = fingerprint(text)
    if re.fullmatch("[0-9a-f]{64}", found):
        return found
    from gateway.pki import fingerprint as of_certificate
    from gateway.pki import is_ca, load_certificates

    with pki_errors():
        certificates = load_certificates(Path(text))
    if len(certificates) > 1 and is_ca(certificates[0]):
        # Of a device's chain the first one is meant, of a bundle of CAs nobody knows.
        raise UsageError(f"{text} holds {len(certificates)} certificates; name the one you mean by its fingerprint")
    return of_certificate(certificates[0])
