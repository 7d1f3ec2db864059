"""`gateway ca trust` and what goes with it: the CAs of others, and how far they are trusted."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from gateway.cli.common import TENANT_VARIABLE, Output, OutputOption, UsageError, print_facts, print_rows, printable
from gateway.cli.failures import NotRunning, admin_url, fetch_failures
from gateway.cli.managed import a_duration, a_time, command, facts_of, given, show
from gateway.management import Management, anchors, intermediates, previews
from gateway.management.limits import MAX_PREVIEW_CHAINS
from gateway.management.problems import pki_errors
from gateway.pki import load_certificates, pem_bundle
from gateway.registry import CrlPolicy, Provision, RegistryError, TenantBy

_COLUMNS = ("id", "subject", "tenants", "auto_provision", "not_after")
_ADMISSIONS = ("device", "tenant", "outcome", "detail", "fingerprint")
_KEPT = ("subject", "issuer", "fingerprint")
_CODES = ("subject", "code", "anchor")
_SHORT_ID = 16
_HOW = {
    Provision.OFF: "devices must be added",
    Provision.PENDING: "devices are created at their first handshake, and wait to be enabled",
    Provision.ACTIVE: "devices are created at their first handshake",
}

AnchorArgument = Annotated[
    str, typer.Argument(help="The CA's id, as `ca list` prints it, or its beginning.", metavar="ID")
]


def add_trust_commands(app: typer.Typer) -> None:
    """Gives a group of commands `trust`, `untrust`, `challenge`, `keep`, `list` and `show`."""
    command(app, "trust", cls=_TrustCommand)(_trust)
    command(app, "untrust")(_untrust)
    command(app, "challenge")(_challenge)
    command(app, "keep")(_keep)
    command(app, "list")(_list)
    command(app, "show")(_show)


class _TrustCommand(TyperCommand):
    """`--auto-provision` says `active` where it says nothing, as it did when there was nothing else to say."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words: list[str] = []
        behind: str | None = None
        for place, word in enumerate(args):
            if word == "--":
                words += args[place:]
                break
            if word == "--no-auto-provision":
                word = "--auto-provision=off"
            elif word == "--auto-provision" and not (set(args[place + 1 : place + 2]) & set(Provision)):
                word, behind = "--auto-provision=active", next(iter(args[place + 1 :]), None)
            words.append(word)
        try:
            return super().parse_args(ctx, words)
        except Exception as error:
            # The option alone may stand before FILE; only where a word is too many was that one meant as a value.
            if "extra argument" not in str(error) or behind is None or behind.startswith("-") or Path(behind).exists():
                raise
            raise typer.BadParameter(
                f"'{behind}' is not one of {', '.join(Provision)}.", ctx, param_hint="'--auto-provision'"
            ) from None


def _trust(
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
    proof: Annotated[
        Path | None,
        typer.Option(help="Certificate that the CA signed for the code of `ca challenge`.", metavar="FILE"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Trust it although this gateway will refuse its devices.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Say which devices that were refused lately it would admit, and under which names."
        ),
    ] = False,
    refused_at: Annotated[
        str | None,
        typer.Option(
            help="For --dry-run: admin port of the gateway that refused them; [admin] bind by default.", metavar="URL"
        ),
    ] = None,
    output: OutputOption = Output.TABLE,
    config: Path | None = None,
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
    said |= {"certificates": pem_bundle(certificates).decode(), "policy": policy}
    if dry_run:
        _preview(manage, said, refused_at or admin_url(config), output)
        return
    if proof is not None:
        with pki_errors():
            said["proof"] = pem_bundle(load_certificates(proof)).decode()
    done = manage.do(anchors.trust, **said, force=force)
    for objection in done.objections:
        if objection.severity != "note" and objection.code != "expired":
            text = f"{objection.subject}: {objection.severity}: {objection.text}; {objection.remedy}"
            print(printable(f"gateway: {text}"), file=sys.stderr)
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


def _preview(manage: Management, said: dict[str, Any], url: str, output: Output) -> None:
    try:
        failures = fetch_failures(url, chains=True)
    except NotRunning as error:
        raise RegistryError(f"{error}; --dry-run asks the gateway which devices it refused") from error
    chains = [
        {"certificates": each["chain"], "server_name": each["server_name"]} for each in failures if each.get("chain")
    ]
    found = manage.do(previews.preview, **said, chains=chains[:MAX_PREVIEW_CHAINS]).admissions
    if output is Output.TABLE and not found:
        print(f"of {len(chains)} refused certificates that are remembered, it would admit none")
        return
    print_rows(map(facts_of, found), _ADMISSIONS, output)


def _challenge(
    manage: Management,
    file: Annotated[Path, typer.Argument(help="The CA's certificate, PEM or DER.", metavar="FILE")],
    code: Annotated[bool, typer.Option("--code", help="Print the code alone.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print the code that a CA has to sign, as the common name of a certificate, to show that it holds its key."""
    with pki_errors():
        bundle = pem_bundle(load_certificates(file)).decode()
    codes = manage.do(previews.challenge, certificates=bundle).codes
    if code:
        print("\n".join(each.code for each in codes))
        return
    print_rows(map(facts_of, codes), _CODES, output)


def _keep(
    manage: Management,
    file: Annotated[Path, typer.Argument(help="Certificates of intermediate CAs, PEM or DER.", metavar="FILE")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Keep intermediate CAs' certificates for devices that do not send them. It trusts none of them."""
    with pki_errors():
        bundle = pem_bundle(load_certificates(file)).decode()
    kept = manage.do(intermediates.add, certificates=bundle).intermediates
    print_rows(map(facts_of, kept), _KEPT, output)


def _untrust(
    manage: Management,
    id: AnchorArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say which devices depend on it, and do nothing.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """No longer trust a CA. Its devices stay in the registry and are refused; their sessions end."""
    if dry_run:
        found = manage.do(previews.dependents, anchor=id)
        if output is not Output.TABLE:
            show(found, output)
            return
        print(f"{found.count} devices depend on it")
        for name in found.devices:
            print(printable(name))
        return
    gone = manage.do(anchors.untrust, anchor=id)
    if output is Output.TABLE:
        print(printable(f"no longer trusted: {gone.subject}"))
    else:
        show(gone, output)


def _list(manage: Management, output: OutputOption = Output.TABLE) -> None:
    """List the trusted CAs."""
    rows = [facts_of(each) for each in manage.do(anchors.list_all).trust_anchors]
    if output is Output.TABLE and sys.stdout.isatty():
        rows = [{**row, "id": row["id"][:_SHORT_ID]} for row in rows]
    print_rows(rows, _COLUMNS, output)


def _show(manage: Management, id: AnchorArgument, output: OutputOption = Output.TABLE) -> None:
    """Show a trusted CA: how far it is trusted, and how many devices came under it."""
    found = manage.do(anchors.show, anchor=id)
    if output is not Output.TABLE:
        show(found, output)
        return
    facts = facts_of(found)
    own = facts_of(found, without=("policy", "usage", "certificate"))
    print_facts({**own, **facts["policy"], **facts["usage"]}, output)


def _names(path: Path) -> list[str]:
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text in UTF-8; write one name a line") from error
    return [name for line in text.splitlines() if (name := line.strip()) and not name.startswith("#")]
