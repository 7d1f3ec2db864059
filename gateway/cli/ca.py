"""`gateway ca`: certificate authorities, ours and those we trust."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.common import (
    ConfigOption,
    Output,
    OutputOption,
    UsageError,
    certificates_folder,
    print_rows,
    readable_errors,
    registry_of,
)
from gateway.identity import trust_ca
from gateway.model import DEFAULT_TENANT
from gateway.pki import (
    create_intermediate,
    create_root,
    load_certificates,
    load_certified_key,
    parse_certificates,
    write_certified_key,
)

app = typer.Typer(help="Create certificate authorities, and say which to trust.", no_args_is_help=True)

_COLUMNS = ("id", "subject", "tenant", "auto_provision", "not_after")


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
    out: Annotated[
        Path | None, typer.Option(help="Where to: writes OUT.pem and OUT.key, overwrites nothing.", metavar="OUT")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Create a root or an intermediate CA."""
    with readable_errors():
        if root == intermediate:
            raise UsageError("say either --root or --intermediate")
        folder = certificates_folder(config)
        target = out if out is not None else folder / ("root" if root else "intermediate")
        if root:
            made = create_root(name or "Root CA", organization=organization)
        else:
            above = issuer if issuer is not None else folder / "root.pem"
            parent = load_certified_key(above, issuer_key or above.with_suffix(".key"))
            made = create_intermediate(parent, name or "Issuing CA")
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        certificate_file, key_file = target.with_name(f"{target.name}.pem"), target.with_name(f"{target.name}.key")
        write_certified_key(made, certificate_file, key_file)
        print(f"wrote {certificate_file} and {key_file}")


@app.command("trust")
def trust(
    file: Annotated[Path, typer.Argument(help="The CA's certificate, PEM or DER.", metavar="FILE")],
    auto_provision: Annotated[
        bool, typer.Option("--auto-provision", help="Create devices that present a certificate of this CA.")
    ] = False,
    tenant: Annotated[str, typer.Option(help="Tenant whose devices the CA may name.")] = DEFAULT_TENANT,
    config: ConfigOption = None,
) -> None:
    """Trust a CA to name devices; again with --auto-provision to switch that on. A running gateway follows at once."""
    with readable_errors():
        certificates = load_certificates(file)
        with registry_of(config) as registry:
            records = trust_ca(registry, certificates, tenant_id=tenant, auto_provision=auto_provision)
        how = "devices are created at their first handshake" if auto_provision else "devices must be added first"
        for record in records:
            print(f"trusted {record.subject} ({record.id[:16]}...) for tenant {record.tenant_id}: {how}")


@app.command("untrust")
def untrust(
    id: Annotated[str, typer.Argument(help="The CA's id, as `ca list` prints it, or its beginning.", metavar="ID")],
    config: ConfigOption = None,
) -> None:
    """No longer trust a CA. Its devices stay in the registry and are refused."""
    with readable_errors(), registry_of(config) as registry:
        matching = [record for record in registry.trust_anchors() if record.id.startswith(id.lower())]
        if len(matching) != 1:
            raise UsageError(f"{len(matching)} trust anchors have an id that begins with {id!r}; see `gateway ca list`")
        registry.delete_trust_anchor(matching[0].id)
        print(f"no longer trusted: {matching[0].subject}")


@app.command("list")
def list_anchors(output: OutputOption = Output.TABLE, config: ConfigOption = None) -> None:
    """List the trusted CAs."""
    with readable_errors(), registry_of(config) as registry:
        rows: list[dict[str, Any]] = []
        for record in registry.trust_anchors():
            certificate = parse_certificates(record.certificate)[0]
            rows.append(
                {
                    "id": record.id if output is Output.JSON else record.id[:16],
                    "subject": record.subject,
                    "tenant": record.tenant_id,
                    "auto_provision": record.auto_provision,
                    "not_after": certificate.not_valid_after_utc.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                    "expired": certificate.not_valid_after_utc < datetime.now(UTC),
                }
            )
        print_rows(rows, _COLUMNS, output)
