"""`gateway ca`: certificate authorities, ours and those we trust."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from gateway.cli.bans import add_commands
from gateway.cli.cert_options import DaysOption, lifetime_of
from gateway.cli.common import (
    TENANT_VARIABLE,
    ConfigOption,
    Output,
    OutputOption,
    UsageError,
    certificates_folder,
    key_beside,
    new_app,
    output_files,
    print_facts,
    print_rows,
    printable,
    readable_errors,
)
from gateway.cli.crl import app as crl_app
from gateway.cli.managed import a_duration, a_time, command, facts_of, given, show
from gateway.management import Management, anchors
from gateway.management.problems import pki_errors
from gateway.pki import (
    CertifiedKey,
    Curve,
    PkiError,
    create_intermediate,
    create_root,
    load_certificates,
    load_certified_key,
    load_request,
    pem_bundle,
    sign_intermediate,
    write_certificates,
    write_certified_key,
)
from gateway.pki.limits import INTERMEDIATE_LIFETIME, ROOT_LIFETIME
from gateway.registry import CrlPolicy, Provision, TenantBy

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


class _TrustCommand(TyperCommand):
    """`--auto-provision` says `active` where it says nothing, as it did when there was nothing else to say."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words: list[str] = []
        for place, word in enumerate(args):
            if word == "--":
                words += args[place:]
                break
            if word == "--no-auto-provision":
                word = "--auto-provision=off"
            elif word == "--auto-provision" and not (set(args[place + 1 : place + 2]) & set(Provision)):
                word = "--auto-provision=active"
            words.append(word)
        return super().parse_args(ctx, words)


@command(app, "trust", cls=_TrustCommand)
def trust(
    manage: Management,
    file: Annotated[Path, typer.Argument(help="The CA's certificate, PEM or DER.", metavar="FILE")],
    tenant: Annotated[
        list[str] | None,
        typer.Option(envvar=TENANT_VARIABLE, help="Whose devices it may name; may be given again.", metavar="TENANT"),
    ] = None,
    tenant_by: Annotated[
        TenantBy | None, typer.Option(help="How the tenant is found, where there are several.")
    ] = None,
    auto_provision: Annotated[
        Provision | None,
        typer.Option(
            help="What becomes of a device that nobody registered: off (refused; so for a new CA), pending (created, "
            "and refused until enabled), active. The option alone means active.",
        ),
    ] = None,
    webhook: Annotated[
        str | None, typer.Option(help='Asked before a device is created; "" for none.', metavar="URL")
    ] = None,
    identity_rule: Annotated[
        str | None,
        typer.Option(help='Where certificates have the device\'s name; "" for the usual order.', metavar="RULE"),
    ] = None,
    strict: Annotated[
        bool | None, typer.Option("--strict/--no-strict", help="CAs under it must follow the web PKI's profile.")
    ] = None,
    crl: Annotated[CrlPolicy | None, typer.Option(help="What a missing or outdated revocation list means.")] = None,
    crl_url: Annotated[
        list[str] | None,
        typer.Option(help="Where its revocation lists are fetched; may be given again.", metavar="URL"),
    ] = None,
    expired_grace: Annotated[
        str | None,
        typer.Option(help="How long certificates are accepted after their end, such as 30d.", metavar="DURATION"),
    ] = None,
    max_devices: Annotated[
        int | None, typer.Option(help="How many devices may ever come by themselves; 0 for no bound.", min=0)
    ] = None,
    max_per_day: Annotated[int | None, typer.Option(help="The same for each day (UTC).", min=0)] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", help='No device comes by itself before then; "never" for no bound.', metavar="TIME"),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", help='Nor after then; "never" for no bound.', metavar="TIME"),
    ] = None,
    name_pattern: Annotated[
        str | None,
        typer.Option(help="Regular expression for the names of devices that come by themselves.", metavar="REGEX"),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            help="File with the names or serials of the devices that will be made, one a line: others are quarantined.",
            metavar="FILE",
        ),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Trust a CA to name devices, or change how far. What is not said stays as it is. A running gateway follows."""
    policy = given(
        tenant_by=tenant_by,
        provision=auto_provision,
        webhook=webhook,
        identity_rule=identity_rule,
        strict=strict,
        crl=crl,
        crl_url=" ".join(crl_url) if crl_url is not None else None,
        expired_grace_s=a_duration("--expired-grace", expired_grace) if expired_grace is not None else None,
        max_devices=max_devices,
        max_devices_per_day=max_per_day,
        name_pattern=name_pattern,
    )
    for name, option, text in (("provision_from", "--from", from_), ("provision_until", "--until", until)):
        if text is not None:
            policy[name] = None if text == "never" else a_time(option, text)
    with pki_errors():
        certificates = load_certificates(file)
    said = given(tenants=tenant or None, manifest=_names(manifest) if manifest is not None else None)
    done = manage.do(anchors.trust, certificates=pem_bundle(certificates).decode(), policy=policy, **said)
    if output is not Output.TABLE:
        print_rows(map(facts_of, done.trust_anchors), _COLUMNS, output)
        return
    for each in done.trust_anchors:
        owners = f"tenant {each.tenants[0]}" if len(each.tenants) == 1 else f"tenants {', '.join(each.tenants)}"
        print(printable(f"trusted {each.subject} for {owners}: {_HOW[each.auto_provision]}; id {each.id}"))
    for certificate in certificates:
        if certificate.not_valid_after_utc < datetime.now(UTC):
            subject = printable(certificate.subject.rfc4514_string())
            print(f"gateway: {subject} has expired: devices below it are refused", file=sys.stderr)


@command(app, "untrust")
def untrust(manage: Management, id: AnchorArgument, output: OutputOption = Output.TABLE) -> None:
    """No longer trust a CA. Its devices stay in the registry and are refused; their sessions end."""
    gone = manage.do(anchors.untrust, anchor=id)
    if output is Output.TABLE:
        print(printable(f"no longer trusted: {gone.subject}"))
    else:
        show(gone, output)


@command(app, "list")
def list_anchors(manage: Management, output: OutputOption = Output.TABLE) -> None:
    """List the trusted CAs."""
    rows = [facts_of(each) for each in manage.do(anchors.list_all).trust_anchors]
    if output is Output.TABLE and sys.stdout.isatty():
        rows = [{**row, "id": row["id"][:_SHORT_ID]} for row in rows]
    print_rows(rows, _COLUMNS, output)


@command(app, "show")
def show_anchor(manage: Management, id: AnchorArgument, output: OutputOption = Output.TABLE) -> None:
    """Show a trusted CA: how far it is trusted, and how many devices came under it."""
    found = manage.do(anchors.show, anchor=id)
    if output is not Output.TABLE:
        show(found, output)
        return
    facts = facts_of(found)
    own = facts_of(found, without=("policy", "usage", "certificate"))
    print_facts({**own, **facts["policy"], **facts["usage"]}, output)


add_commands(app)


app.add_typer(crl_app, name="crl")


def _write(made: CertifiedKey, certificate_file: Path, key_file: Path) -> None:
    write_certified_key(made, certificate_file, key_file)
    print(f"wrote {certificate_file} and {key_file}")


def _issuer(folder: Path, certificate: Path | None, key: Path | None) -> CertifiedKey:
    above = certificate if certificate is not None else folder / "root.pem"
    return load_certified_key(above, key_beside(above, key))


def _names(path: Path) -> list[str]:
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text in UTF-8; write one name a line") from error
    return [name for line in text.splitlines() if (name := line.strip()) and not name.startswith("#")]
