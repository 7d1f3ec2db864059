"""`gateway ca`: certificate authorities, ours, and with `ca_trust` those of others."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.bans import add_commands
from gateway.cli.ca_trust import add_trust_commands
from gateway.cli.cert_options import DaysOption, lifetime_of
from gateway.cli.common import (
    ConfigOption,
    UsageError,
    certificates_folder,
    key_beside,
    new_app,
    output_files,
    readable_errors,
)
from gateway.cli.crl import app as crl_app
from gateway.pki import (
    CertifiedKey,
    Curve,
    PkiError,
    create_intermediate,
    create_root,
    load_certified_key,
    load_request,
    sign_intermediate,
    write_certificates,
    write_certified_key,
)
from gateway.pki.limits import INTERMEDIATE_LIFETIME, ROOT_LIFETIME
from gateway.registry import Provision

app = new_app("Create certificate authorities, and say which to trust.")

_COLUMNS = ("id", "subject", "tenants", "auto_provision", "not_after")
_SHORT_ID = 16
_HOW = {
    Provision.OFF: "devices must be added",
    Provision.PENDING: "devices are created at their first handshake, and wait to be enabled",
    Provision.ACTIVE: "devices are created at their first handshake",
}

AnchorArgument = Annotated[
    str, typer.Argument(help="The CA's id, as `ca list` prints it, or its beginning.", metavar="ID")
]


@app.command("create")
def create(
    root: Annotated[bool, typer.Option("--root", help="A self-signed root.")] = False,
    intermediate: Annotated[bool, typer.Option("--intermediate", help="One that a root signs.")] = False,
    name: Annotated[str | None, typer.Option(help="Common name.", metavar="TEXT")] = None,
    organization: Annotated[str | None, typer.Option(help="Organization of a root; its name by default.")] = None,
    issuer: Annotated[
        Path | None, typer.Option(help="Certificate of the root that signs; certs/root.pem by default.", metavar="FILE")
    ] = None,
    issuer_key: Annotated[
        Path | None, typer.Option(help="Its key; the certificate's path with .key by default.", metavar="FILE")
    ] = None,
    curve: Annotated[Curve, typer.Option(help="Of its key.")] = Curve.P_256,
    pathlen: Annotated[
        int | None,
        typer.Option(help="Levels of CAs that may follow below it; 0 for an intermediate, any for a root.", min=0),
    ] = None,
    csr: Annotated[
        Path | None,
        typer.Option(
            help="Signing request of an intermediate that has its own key; only OUT.pem is written.", metavar="FILE"
        ),
    ] = None,
    days: DaysOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Where to: writes OUT.pem and OUT.key, overwrites nothing.", metavar="OUT")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Create a root or an intermediate CA."""
    with readable_errors(failure=(PkiError,)):
        if root == intermediate:
            raise UsageError("say either --root or --intermediate")
        if root and (issuer is not None or issuer_key is not None):
            raise UsageError("a root signs itself; --issuer and --issuer-key are for an --intermediate")
        if intermediate and organization is not None:
            raise UsageError("an intermediate has the organization of its issuer; --organization is for a --root")
        if csr is not None and (root or curve is not Curve.P_256):
            raise UsageError("--csr brings the key of an --intermediate; a root, and --curve, are for keys made here")
        folder = certificates_folder(config)
        if root:
            lifetime = lifetime_of(days, ROOT_LIFETIME)
            made = create_root(
                name or "Root CA", organization=organization, curve=curve, path_length=pathlen, lifetime=lifetime
            )
            _write(made, *output_files(out, folder / "root"))
            return
        above = _issuer(folder, issuer, issuer_key)
        lifetime, called, below = lifetime_of(days, INTERMEDIATE_LIFETIME), name or "Issuing CA", pathlen or 0
        if csr is None:
            made = create_intermediate(above, called, curve=curve, path_length=below, lifetime=lifetime)
            _write(made, *output_files(out, folder / "intermediate"))
        else:
            signed = sign_intermediate(above, load_request(csr), called, path_length=below, lifetime=lifetime)
            file, _ = output_files(out, folder / "intermediate")
            write_certificates(file, [signed, *above.issued_chain])
            print(f"wrote {file}")


add_trust_commands(app)
add_commands(app)


app.add_typer(crl_app, name="crl")


def _write(made: CertifiedKey, certificate_file: Path, key_file: Path) -> None:
    write_certified_key(made, certificate_file, key_file)
    print(f"wrote {certificate_file} and {key_file}")


def _issuer(folder: Path, certificate: Path | None, key: Path | None) -> CertifiedKey:
    above = certificate if certificate is not None else folder / "root.pem"
    return load_certified_key(above, key_beside(above, key))
