"""`gateway cert revoke`: certificates that are not to be good any more, from the next CRL of their CA on."""

from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509

from gateway.cli.book import line_of
from gateway.cli.common import (
    ConfigOption,
    Output,
    OutputOption,
    TenantOption,
    UsageError,
    certificates_folder,
    print_rows,
    readable_errors,
    stdin_is_terminal,
)
from gateway.cli.managed import ServerOption, TokenFileOption, management
from gateway.management.certificates import Book
from gateway.model import DEFAULT_TENANT
from gateway.pki import (
    ChainRefused,
    PkiError,
    RevocationReason,
    device_name,
    fingerprint,
    load_certificates,
    signed_by,
)
from gateway.registry import IssuedCertificate, NotFound

_COLUMNS = ("device", "tenant", "serial", "sha256", "reason", "revoked")


def revoke(
    file: Annotated[Path | None, typer.Argument(help="The certificate.", metavar="[FILE]")] = None,
    device: Annotated[
        str | None, typer.Option(help="All certificates that were issued to a device.", metavar="ID")
    ] = None,
    serial: Annotated[str | None, typer.Option(help="The one with this serial number.", metavar="HEX")] = None,
    reason: Annotated[RevocationReason, typer.Option(help="Why.")] = RevocationReason.UNSPECIFIED,
    ca: Annotated[
        Path | None,
        typer.Option(
            help="The CA that issued it: by default the one in FILE, or certs/intermediate.pem.", metavar="FILE"
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be revoked, and do nothing.")] = False,
    tenant: TenantOption = DEFAULT_TENANT,
    output: OutputOption = Output.TABLE,
    server: ServerOption = None,
    token_file: TokenFileOption = None,
    config: ConfigOption = None,
) -> None:
    """Revoke a certificate, or all of a device. `gateway ca crl publish` tells the world."""
    with readable_errors(failure=(PkiError,)), management(server, token_file, config) as manage:
        book = Book(manage)
        if [file, device, serial].count(None) != 2:
            raise UsageError("say which: a certificate's FILE, --device ID, or --serial HEX")
        default_ca = ca if ca is not None else certificates_folder(config) / "intermediate.pem"
        if file is not None:
            chosen, unknown = _of_file(book, file, ca, default_ca, tenant)
        elif device is not None:
            chosen, unknown = _of_device(book, device, tenant), []
        else:
            chosen, unknown = _of_serial(book, serial or "", load_certificates(default_ca)[0]), []
        if not dry_run:
            _confirm(chosen, yes=yes)
            book.record_issued(unknown)
            chosen = [book.revoke_issued(each.issuer_id, each.serial, reason=reason.value) for each in chosen]
        print_rows([_row(each, reason) for each in chosen], _COLUMNS, output)


def _of_file(
    book: Book, file: Path, ca: Path | None, default_ca: Path, tenant: str
) -> tuple[list[IssuedCertificate], list[IssuedCertificate]]:
    """What is in a file, and what of it the book does not have yet."""
    certificate, *above = load_certificates(file)
    issuers = load_certificates(ca) if ca is not None else [*above, *_if_there(default_ca)]
    issuer = next((each for each in issuers if signed_by(certificate, each)), None)
    if issuer is None:
        raise PkiError(f"none of the CAs at hand has issued what is in {file}; name the one that did with --ca FILE")
    line = line_of(certificate, issuer, tenant, _name(certificate))
    known = book.issued(issuer_id=line.issuer_id, serial=line.serial)
    return (known, []) if known else ([line], [line])


def _of_device(book: Book, device: str, tenant: str) -> list[IssuedCertificate]:
    found = book.issued(tenant_id=tenant, device_id=device, revoked=False)
    if not found:
        text = f"no certificate that is not revoked was issued here to device '{device}' of tenant '{tenant}'"
        others = sorted({each.tenant_id for each in book.issued(device_id=device, revoked=False)})
        if others:
            listed = ", ".join(f"'{name}'" for name in others)
            raise NotFound(f"{text}, but to one of {listed}: say --tenant {others[0]}")
        raise NotFound(f"{text}; name the certificate's file instead")
    return found


def _of_serial(book: Book, serial: str, ca: x509.Certificate) -> list[IssuedCertificate]:
    try:
        number = int(serial.replace(":", ""), 16)
    except ValueError:
        raise UsageError(f"--serial {serial} is not hex") from None
    found = book.issued(issuer_id=fingerprint(ca), serial=f"{number:x}")
    if not found:
        raise NotFound(
            f"the registry knows of no certificate with serial {number:x} of that CA; name the certificate's file, or "
            "another CA with --ca FILE"
        )
    return found


def _if_there(file: Path) -> list[x509.Certificate]:
    return load_certificates(file) if file.exists() else []


def _name(certificate: x509.Certificate) -> str:
    """Whom it names: a device, or else a CA or a server by its subject."""
    try:
        return device_name(certificate)
    except ChainRefused:
        return certificate.subject.rfc4514_string()


def _confirm(chosen: list[IssuedCertificate], *, yes: bool) -> None:
    what = f"{len(chosen)} certificates" if len(chosen) > 1 else f"the certificate of {chosen[0].device_id}"
    if yes:
        return
    if not stdin_is_terminal():
        raise UsageError(f"revoking {what} cannot be undone: say --yes")
    typer.confirm(f"Revoke {what}? This cannot be undone.", abort=True, err=True)


def _row(line: IssuedCertificate, reason: RevocationReason) -> dict[str, object]:
    return {
        "device": line.device_id,
        "tenant": line.tenant_id,
        "serial": line.serial,
        "sha256": line.fingerprint,
        "reason": line.reason or reason.value,
        "revoked": line.revoked_at is not None,
    }
