"""`gateway cert`: certificates for devices and for the gateway itself."""

import re
from itertools import count
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509

from gateway.cli.bans import add_commands
from gateway.cli.book import RecordOption, book_if_wanted, line_of
from gateway.cli.cert_bulk import bulk
from gateway.cli.cert_options import CaKeyOption, CaOption, DaysOption, issuing_ca, lifetime_of
from gateway.cli.cert_reading import inspect, lint, verify
from gateway.cli.cert_revoke import revoke
from gateway.cli.common import (
    ConfigOption,
    TenantOption,
    UsageError,
    certificates_folder,
    new_app,
    output_files,
    readable_errors,
)
from gateway.model import DEFAULT_TENANT
from gateway.pki import (
    CertifiedKey,
    PkiError,
    device_name,
    fingerprint,
    generate_key,
    is_server,
    issue_device,
    issue_server,
    load_certificates,
    load_request,
    renew,
    requested_name,
    sign_device,
    write_certificates,
    write_certified_key,
)
from gateway.pki.limits import DEVICE_LIFETIME, SERVER_LIFETIME
from gateway.registry import Registry

app = new_app("Issue certificates, look at them, and revoke them.")

OutOption = Annotated[
    Path | None, typer.Option(help="Where to: writes OUT.pem and OUT.key, overwrites nothing.", metavar="OUT")
]


@app.command("issue")
def issue(
    device: Annotated[str, typer.Option(help="The device's name; goes into the certificate.", metavar="ID")],
    ca: CaOption = None,
    ca_key: CaKeyOption = None,
    days: DaysOption = None,
    out: OutOption = None,
    tenant: TenantOption = DEFAULT_TENANT,
    record: RecordOption = None,
    config: ConfigOption = None,
) -> None:
    """Make a device's key and certificate."""
    with readable_errors(failure=(PkiError,)):
        issuer = issuing_ca(ca, ca_key, config)
        made = issue_device(issuer, device, lifetime=lifetime_of(days, DEVICE_LIFETIME))
        target = _target(out, certificates_folder(config), device)
        with book_if_wanted(config, record) as book:
            _write(made, out, target)
            if book is not None:
                book.record_issued([line_of(made.certificate, issuer.certificate, tenant, device)])


@app.command("server")
def server(
    name: Annotated[
        list[str] | None,
        typer.Option(help="DNS name or IP address; may be given again.", metavar="NAME"),
    ] = None,
    ca: CaOption = None,
    ca_key: CaKeyOption = None,
    days: DaysOption = None,
    out: OutOption = None,
    config: ConfigOption = None,
) -> None:
    """Make the gateway's key and certificate."""
    with readable_errors(failure=(PkiError,)):
        names = name or ["localhost", "127.0.0.1", "::1"]
        made = issue_server(issuing_ca(ca, ca_key, config), names, lifetime=lifetime_of(days, SERVER_LIFETIME))
        _write(made, out, certificates_folder(config) / "server")


add_commands(app)


@app.command("sign")
def sign(
    csr: Annotated[Path, typer.Argument(help="Certificate signing request, PEM or DER.", metavar="CSR")],
    device: Annotated[
        str | None, typer.Option(help="The device's name; by default the one that the request asks for.", metavar="ID")
    ] = None,
    ca: CaOption = None,
    ca_key: CaKeyOption = None,
    days: DaysOption = None,
    out: Annotated[Path | None, typer.Option(help="Where to: writes OUT.pem.", metavar="OUT")] = None,
    tenant: TenantOption = DEFAULT_TENANT,
    record: RecordOption = None,
    config: ConfigOption = None,
) -> None:
    """Make the certificate of a device that made its key itself. Of the request, key and name are taken."""
    with readable_errors(failure=(PkiError,)):
        request = load_request(csr)
        issuer = issuing_ca(ca, ca_key, config)
        name = device if device is not None else requested_name(request)
        certificate = sign_device(issuer, request, name, lifetime=lifetime_of(days, DEVICE_LIFETIME))
        target = _target(out, certificates_folder(config), name)
        with book_if_wanted(config, record) as book:
            file, _ = output_files(out, target)
            write_certificates(file, [certificate, *issuer.issued_chain])
            print(f"wrote {file}")
            if book is not None:
                book.record_issued([line_of(certificate, issuer.certificate, tenant, name)])


@app.command("renew")
def renew_certificate(
    file: Annotated[Path, typer.Argument(help="The old certificate.", metavar="FILE")],
    new_key: Annotated[bool, typer.Option("--new-key", help="Make a new key, too.")] = False,
    previous_ca: Annotated[
        Path | None, typer.Option(help="The CA of the old certificate, if that was another one.", metavar="FILE")
    ] = None,
    ca: CaOption = None,
    ca_key: CaKeyOption = None,
    days: DaysOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Where to; by default beside FILE, with a number.", metavar="OUT")
    ] = None,
    tenant: TenantOption = DEFAULT_TENANT,
    record: RecordOption = None,
    config: ConfigOption = None,
) -> None:
    """Make a certificate with the names of an old one and new dates, for its key or for a new one."""
    with readable_errors(failure=(PkiError,)):
        old = load_certificates(file)[0]
        issuer = issuing_ca(ca, ca_key, config)
        above = load_certificates(previous_ca)[0] if previous_ca is not None else None
        key = generate_key() if new_key else None
        public = key.public_key() if key is not None else None
        lifetime = lifetime_of(days, SERVER_LIFETIME if is_server(old) else DEVICE_LIFETIME)
        certificate = renew(issuer, old, public, previous_ca=above, lifetime=lifetime)
        with book_if_wanted(config, record) as book:
            _check_not_revoked(book, old, new_key=new_key)
            target = out if out is not None else _next_name(file)
            if key is not None:
                _write(CertifiedKey(certificate, key, issuer.issued_chain), target, target)
            else:
                chain_file, _ = output_files(target, target)
                write_certificates(chain_file, [certificate, *issuer.issued_chain])
                print(f"wrote {chain_file}; its key is that of {file}")
            if book is not None and not is_server(certificate):
                book.record_issued([line_of(certificate, issuer.certificate, tenant, device_name(certificate))])


def _target(out: Path | None, folder: Path, device: str) -> Path:
    """Where a device's files go by default."""
    if out is None and "/" in device:
        raise UsageError(f"{device!r} cannot be a file name; say where to write with --out")
    return folder / "devices" / device


def _write(made: CertifiedKey, out: Path | None, default: Path) -> None:
    certificate_file, key_file = output_files(out, default)
    write_certified_key(made, certificate_file, key_file)
    print(f"wrote {certificate_file} and {key_file}")


def _next_name(file: Path) -> Path:
    """A name beside a certificate's file that neither a certificate nor a key has yet."""
    base = re.sub(r"-renewed-[0-9]+\Z", "", file.stem)
    names = (file.with_name(f"{base}-renewed-{number}.pem") for number in count(1))
    return next(each for each in names if not each.exists() and not each.with_suffix(".key").exists())


def _check_not_revoked(book: Registry | None, old: x509.Certificate, *, new_key: bool) -> None:
    if book is None or new_key:
        return
    serial, sha256 = f"{old.serial_number:x}", fingerprint(old)
    if any(each.fingerprint == sha256 for _, each in book.issued(serial=serial, revoked=True)):
        raise PkiError("the certificate is revoked, and its key with it; renew it with --new-key")


app.command("bulk")(bulk)
app.command("revoke")(revoke)
app.command("inspect")(inspect)
app.command("lint")(lint)
app.command("verify")(verify)
