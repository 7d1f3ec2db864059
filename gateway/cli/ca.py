"""`gateway ca`: certificate authorities, ours and those we trust."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.cert_options import DaysOption, lifetime_of
from gateway.cli.common import (
    ConfigOption,
    Output,
    OutputOption,
    TenantOption,
    UsageError,
    certificates_folder,
    key_beside,
    new_app,
    output_files,
    print_rows,
    printable,
    readable_errors,
    registry_of,
)
from gateway.cli.crl import app as crl_app
from gateway.identity import trust_ca
from gateway.model import DEFAULT_TENANT
from gateway.pki import (
    CertifiedKey,
    Curve,
    PkiError,
    create_intermediate,
    create_root,
    load_certificates,
    load_certified_key,
    load_request,
    parse_certificates,
    sign_intermediate,
    write_certificates,
    write_certified_key,
)
from gateway.pki.limits import INTERMEDIATE_LIFETIME, ROOT_LIFETIME
from gateway.registry import AnchorRecord, NotFound

app = new_app("Create certificate authorities, and say which to trust.")

_COLUMNS = ("id", "subject", "tenant", "auto_provision", "not_after")
_SHORT_ID = 16


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


@app.command("trust")
def trust(
    file: Annotated[Path, typer.Argument(help="The CA's certificate, PEM or DER.", metavar="FILE")],
    auto_provision: Annotated[
        bool | None,
        typer.Option(
            "--auto-provision/--no-auto-provision",
            help="Create devices that present a certificate of this CA; not by default.",
        ),
    ] = None,
    tenant: TenantOption = DEFAULT_TENANT,
    config: ConfigOption = None,
) -> None:
    """Trust a CA to name devices, or change whether it creates them. A running gateway follows at once."""
    with readable_errors(failure=(PkiError,)):
        certificates = load_certificates(file)
        with registry_of(config) as registry:
            records = trust_ca(registry, certificates, tenant_id=tenant, auto_provision=auto_provision)
        for record in records:
            how = "devices are created at their first handshake" if record.auto_provision else "devices must be added"
            print(printable(f"trusted {record.subject} for tenant {record.tenant_id}: {how}; id {record.id}"))
        for each in certificates:
            if each.not_valid_after_utc < datetime.now(UTC):
                subject = printable(each.subject.rfc4514_string())
                print(f"gateway: {subject} has expired: devices below it are refused", file=sys.stderr)


@app.command("untrust")
def untrust(
    id: Annotated[str, typer.Argument(help="The CA's id, as `ca list` prints it, or its beginning.", metavar="ID")],
    config: ConfigOption = None,
) -> None:
    """No longer trust a CA. Its devices stay in the registry and are refused."""
    with readable_errors(), registry_of(config) as registry:
        wanted = id.lower()
        matching = [record for record in registry.trust_anchors() if wanted and record.id.startswith(wanted)]
        if not matching:
            raise NotFound(f"no trust anchor has an id that begins with {id!r}; see `gateway ca list`")
        if len(matching) > 1:
            raise UsageError(f"{len(matching)} trust anchors have an id that begins with {id!r}; write more of it")
        registry.delete_trust_anchor(matching[0].id)
        print(printable(f"no longer trusted: {matching[0].subject}"))


@app.command("list")
def list_anchors(output: OutputOption = Output.TABLE, config: ConfigOption = None) -> None:
    """List the trusted CAs."""
    with readable_errors(), registry_of(config) as registry:
        short = output is Output.TABLE and sys.stdout.isatty()
        rows = [_row(record) for record in registry.trust_anchors()]
        if short:
            rows = [{**row, "id": row["id"][:_SHORT_ID]} for row in rows]
        print_rows(rows, _COLUMNS, output)


app.add_typer(crl_app, name="crl")


def _write(made: CertifiedKey, certificate_file: Path, key_file: Path) -> None:
    write_certified_key(made, certificate_file, key_file)
    print(f"wrote {certificate_file} and {key_file}")


def _issuer(folder: Path, certificate: Path | None, key: Path | None) -> CertifiedKey:
    above = certificate if certificate is not None else folder / "root.pem"
    return load_certified_key(above, key_beside(above, key))


def _row(record: AnchorRecord) -> dict[str, Any]:
    try:
        end = parse_certificates(record.certificate)[0].not_valid_after_utc
    except PkiError:
        # Listed all the same: how else would its id be found?
        end = None
    return {
        "id": record.id,
        "subject": record.subject,
        "tenant": record.tenant_id,
        "auto_provision": record.auto_provision,
        "not_after": end.strftime("%Y-%m-%dT%H:%M:%SZ") if end is not None else None,
        "expired": end < datetime.now(UTC) if end is not None else None,
    }
