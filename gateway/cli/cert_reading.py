"""`gateway cert inspect`, `lint` and `verify`: what a certificate says, what is wrong with it, whether it gets in.

`inspect` and `lint` need no configuration; they have the option because every command has it.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.cli.common import (
    EXIT_FAILURE,
    ConfigOption,
    Output,
    OutputOption,
    print_facts,
    print_json,
    printable,
    readable_errors,
    registry_of,
)
from gateway.pki import Finding, PkiError, Role, Severity, facts_of, guess_role, load_certificates
from gateway.pki import lint as objections

FileArgument = Annotated[Path, typer.Argument(help="A certificate or a chain, PEM or DER.", metavar="FILE")]


def inspect(file: FileArgument, output: OutputOption = Output.TABLE, config: ConfigOption = None) -> None:
    """Show what stands in each certificate of a file."""
    with readable_errors(failure=(PkiError,)):
        found = [facts_of(each) for each in load_certificates(file)]
        if output is Output.JSON:
            print_json(found)
            return
        for place, facts in enumerate(found):
            if place:
                print()
            shown = {name: _shown(value) for name, value in facts.items() if value is not None}
            print_facts(shown, output)


def lint(
    file: FileArgument,
    role: Annotated[
        Role | None, typer.Option("--as", help="What the first one is to be; by its own account by default.")
    ] = None,
    output: OutputOption = Output.TABLE,
    config: ConfigOption = None,
) -> None:
    """Name every objection to each certificate of a file. Exit status 1 if the gateway would refuse one."""
    with readable_errors(failure=(PkiError,)):
        now = datetime.now(UTC)
        found = []
        for place, certificate in enumerate(load_certificates(file)):
            role_of_it = role if role is not None and place == 0 else guess_role(certificate)
            findings = objections(certificate, now, role_of_it)
            subject = printable(certificate.subject.rfc4514_string())
            found.append((subject, role_of_it, findings))
        if output is Output.JSON:
            print_json([_as_json(*each) for each in found])
        else:
            for subject, role_of_it, findings in found:
                _print_findings(subject, role_of_it, findings)
    if any(finding.severity is Severity.ERROR for _, _, findings in found for finding in findings):
        raise typer.Exit(EXIT_FAILURE)


def verify(
    file: FileArgument,
    tenant: Annotated[
        str | None, typer.Option(help="Refuse also what would get into another tenant than this one.")
    ] = None,
    output: OutputOption = Output.TABLE,
    config: ConfigOption = None,
) -> None:
    """Say whether the gateway would let a device with this chain in, and why not. Changes nothing."""
    with readable_errors(failure=(PkiError,)):
        chain = [each.public_bytes(Encoding.DER) for each in load_certificates(file)]
        verdict = _verdict(chain, tenant, config)
        print_facts(verdict, output)
    if not verdict["accepted"]:
        raise typer.Exit(EXIT_FAILURE)


def _verdict(chain: list[bytes], tenant: str | None, config: Path | None) -> dict[str, Any]:
    # Imported only here: no other command of `cert` needs the engine.
    from gateway.identity import IdentityRefused, rehearse
    from gateway.server.refusals import REASON_FOR
    from gateway.server.remedies import REMEDY_FOR

    with registry_of(config) as registry:
        try:
            principal = rehearse(registry, chain)
        except IdentityRefused as refused:
            reason = REASON_FOR[refused.reason]
            verdict = {"accepted": False, "reason": reason.value, "hint": refused.detail}
            return {**verdict, "remedy": REMEDY_FOR[reason]}
    device = principal.device
    if tenant is not None and device.tenant_id != tenant:
        return {
            "accepted": False,
            "reason": "other_tenant",
            "hint": f"its trust anchor names devices of tenant '{device.tenant_id}', not of '{tenant}'",
            "remedy": f"trust its CA for that tenant: `gateway ca trust --tenant {tenant} FILE`",
        }
    return {
        "accepted": True,
        "device": device.id,
        "tenant": device.tenant_id,
        "created": "at its first handshake" if principal.created else None,
        "trust_anchor": principal.anchor_id,
        "sha256": principal.fingerprint,
    }


def _shown(value: object) -> object:
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _as_json(subject: str, role: Role, findings: list[Finding]) -> dict[str, Any]:
    return {
        "subject": subject,
        "role": role.value,
        "findings": [
            {
                "code": each.code.value,
                "severity": each.severity.value,
                "text": each.text,
                "remedy": each.remedy,
            }
            for each in findings
        ],
    }


def _print_findings(subject: str, role: Role, findings: list[Finding]) -> None:
    print(f"{subject or '(empty name)'} as {role.value}: {len(findings) or 'no'} objection{'s'[: len(findings) != 1]}")
    for each in findings:
        print(printable(f"  {each.severity.value:<7}  {each.code.value}: {each.text}; {each.remedy}"))
