"""`gateway ca crl`: revocation lists, those that our CAs sign and those that the gateway goes by."""

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.cli.cert_options import CaKeyOption, CaOption, issuing_ca
from gateway.cli.common import (
    ConfigOption,
    Output,
    OutputOption,
    UsageError,
    certificates_folder,
    new_app,
    print_facts,
    print_rows,
    readable_errors,
)
from gateway.cli.managed import ServerOption, TokenFileOption, YesOption, command, confirm, facts_of, management, show
from gateway.management import Management, crls
from gateway.management.certificates import Book
from gateway.pki import PkiError, Revocation, RevocationReason, fingerprint, make_crl, write_whole
from gateway.pki.limits import CRL_LIFETIME

app = new_app("Revocation lists.")

_COLUMNS = ("issuer", "number", "this_update", "next_update", "outdated", "url")


@app.command("publish")
def publish(
    ca: CaOption = None,
    ca_key: CaKeyOption = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Where to; replaces the last one. The CA's file name with .crl by default.", metavar="FILE"),
    ] = None,
    days: Annotated[int, typer.Option(help="Until the next one is due.", min=1, max=3650)] = CRL_LIFETIME.days,
    der: Annotated[bool, typer.Option("--der", help="DER, as for a web server (RFC 2585), rather than PEM.")] = False,
    output: OutputOption = Output.TABLE,
    server: ServerOption = None,
    token_file: TokenFileOption = None,
    config: ConfigOption = None,
) -> None:
    """Sign a CA's list of revoked certificates."""
    with readable_errors(failure=(PkiError,)), management(server, token_file, config) as manage:
        book = Book(manage)
        issuer = issuing_ca(ca, ca_key, config)
        certificate = ca if ca is not None else certificates_folder(config) / "intermediate.pem"
        target = out if out is not None else certificate.with_suffix(".crl")
        issuer_id = fingerprint(issuer.certificate)
        revocations = _revocations(book, issuer_id)
        lifetime = timedelta(days=days)
        # Refused before it costs a number.
        make_crl(issuer, (), 0, lifetime=lifetime)
        number = book.next_crl_number(issuer_id)
        crl = make_crl(issuer, revocations, number, lifetime=lifetime)
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_whole(target, crl.public_bytes(Encoding.DER if der else Encoding.PEM), 0o644)
        next_update = crl.next_update_utc
        print_facts(
            {
                "file": str(target),
                "number": number,
                "revoked": len(revocations),
                "next_update": next_update.strftime("%Y-%m-%dT%H:%M:%SZ") if next_update is not None else None,
            },
            output,
        )


@command(app, "import")
def import_list(
    manage: Management,
    file: Annotated[Path, typer.Argument(help="The list, PEM or DER.", metavar="FILE")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Go by a CA's revocation list. Sessions of devices that it revokes end within two seconds."""
    show(manage.do(crls.add, crl=_as_pem(file)), output)


@command(app, "list")
def list_crls(manage: Management, output: OutputOption = Output.TABLE) -> None:
    """List the revocation lists that the gateway goes by."""
    print_rows(map(facts_of, manage.do(crls.list_all).crls), _COLUMNS, output)


@command(app, "forget")
def forget(
    manage: Management,
    issuer: Annotated[str, typer.Argument(help="SHA-256 of the CA's certificate, as `list` prints it.")],
    yes: YesOption = False,
) -> None:
    """Forget the list of a CA: what it revokes is let in again."""
    confirm("Let in again what this list revokes?", yes=yes, otherwise="forgetting a list")
    manage.do(crls.forget, issuer=issuer)


def _as_pem(file: Path) -> str:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    if b"-----BEGIN " in data:
        return data.decode("ascii", "replace")
    lines = base64.encodebytes(data).decode()
    return f"-----BEGIN X509 CRL-----\n{lines}-----END X509 CRL-----\n"


def _revocations(book: Book, issuer_id: str) -> list[Revocation]:
    return [
        Revocation(
            int(each.serial, 16),
            datetime.fromtimestamp(each.revoked_at, UTC),
            RevocationReason(each.reason or RevocationReason.UNSPECIFIED),
        )
        for each in book.issued(issuer_id=issuer_id, revoked=True)
        if each.revoked_at is not None
    ]
