"""`gateway cert`: certificates for devices and for the gateway itself."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.bans import add_commands
from gateway.cli.common import (
    ConfigOption,
    UsageError,
    certificates_folder,
    key_beside,
    new_app,
    output_files,
    readable_errors,
)
from gateway.pki import CertifiedKey, PkiError, issue_device, issue_server, load_certified_key, write_certified_key

app = new_app("Issue certificates.")

CaOption = Annotated[
    Path | None, typer.Option(help="Certificate of the issuing CA; certs/intermediate.pem by default.", metavar="FILE")
]
CaKeyOption = Annotated[
    Path | None, typer.Option(help="Its key; the certificate's path with .key by default.", metavar="FILE")
]
OutOption = Annotated[
    Path | None, typer.Option(help="Where to: writes OUT.pem and OUT.key, overwrites nothing.", metavar="OUT")
]


@app.command("issue")
def issue(
    device: Annotated[str, typer.Option(help="The device's name; goes into the certificate.", metavar="ID")],
    ca: CaOption = None,
    ca_key: CaKeyOption = None,
    out: OutOption = None,
    config: ConfigOption = None,
) -> None:
    """Make a device's key and certificate."""
    with readable_errors(failure=(PkiError,)):
        made = issue_device(_issuer(ca, ca_key, config), device)
        if out is None and "/" in device:
            raise UsageError(f"{device!r} cannot be a file name; say where to write with --out")
        _write(made, out, certificates_folder(config) / "devices" / device)


@app.command("server")
def server(
    name: Annotated[
        list[str] | None,
        typer.Option(help="DNS name or IP address; may be given again.", metavar="NAME"),
    ] = None,
    ca: CaOption = None,
    ca_key: CaKeyOption = None,
    out: OutOption = None,
    config: ConfigOption = None,
) -> None:
    """Make the gateway's key and certificate."""
    with readable_errors(failure=(PkiError,)):
        names = name or ["localhost", "127.0.0.1", "::1"]
        made = issue_server(_issuer(ca, ca_key, config), names)
        _write(made, out, certificates_folder(config) / "server")


add_commands(app)


def _issuer(ca: Path | None, ca_key: Path | None, config: Path | None) -> CertifiedKey:
    certificate = ca if ca is not None else certificates_folder(config) / "intermediate.pem"
    return load_certified_key(certificate, key_beside(certificate, ca_key))


def _write(made: CertifiedKey, out: Path | None, default: Path) -> None:
    certificate_file, key_file = output_files(out, default)
    write_certified_key(made, certificate_file, key_file)
    print(f"wrote {certificate_file} and {key_file}")
