"""Operations that look at what trusting a CA would change, before it is done."""

import base64
import binascii
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from gateway.management.anchors import Bundle, Which, find, policy_of
from gateway.management.limits import MAX_CERTIFICATES_TEXT, MAX_PREVIEW_CHAINS, MAX_TEXT
from gateway.management.operation import Context, operation
from gateway.management.problems import pki_errors
from gateway.management.values import Answer, Given, Text
from gateway.model import DEFAULT_TENANT
from gateway.registry import AnchorRecord, InvalidValue

_Der = Annotated[str, StringConstraints(max_length=16 * MAX_TEXT)]
_SHOWN = 1_000


class Chain(Given):
    """What a device presented."""

    certificates: list[_Der] = Field(min_length=1, max_length=16, description="DER in base64, the device's own first.")
    server_name: Text | None = Field(default=None, description="The name that it asked for.")


class Trial(Bundle):
    """A CA's file, how far it would be trusted, and what was refused lately."""

    chains: list[Chain] = Field(default=[], max_length=MAX_PREVIEW_CHAINS)


class Admitted(Answer):
    """What would become of one certificate."""

    fingerprint: str = Field(description="SHA-256 of the device's certificate, lower-case hex.")
    device: str | None
    tenant: str | None
    outcome: str = Field(
        description="`known`, `active`, `pending` or `not_provisioned`, or the reason why it would be refused."
    )
    detail: str


class Preview(Answer):
    """Whom the CA would admit of those."""

    admissions: list[Admitted]


class Dependents(Answer):
    """Whom a trust anchor lets in."""

    count: int = Field(description="Devices that are bound to the anchor: no other CA may speak for them.")
    devices: list[str] = Field(description=f"The first {_SHOWN} of them, as TENANT/DEVICE.")


class Code(Answer):
    """What the holder of a CA's key has to have signed."""

    anchor: str = Field(description="The id that the CA would have.")
    subject: str
    code: str = Field(description="The common name of the certificate that proves it.")


class Codes(Answer):
    """For each CA of a bundle that would be trusted."""

    codes: list[Code]


class Cas(Given):
    """A CA's file."""

    certificates: Annotated[str, StringConstraints(max_length=MAX_CERTIFICATES_TEXT)] = Field(description="PEM.")


@operation("anchor.preview", "POST", "/trust-anchor-previews")
def preview(context: Context, given: Trial) -> Preview:
    """Say which of the devices that were refused lately a CA would admit, and under which names. Changes nothing."""
    from cryptography.hazmat.primitives.serialization import Encoding

    from gateway.identity import anchors_of, would_admit
    from gateway.pki import parse_certificates

    policy = policy_of(given)
    with pki_errors():
        roots, others = anchors_of(parse_certificates(given.certificates.encode("utf-8", "replace"), "the bundle"))
        tenants = tuple(given.tenants or (DEFAULT_TENANT,))
        records = [
            AnchorRecord(id, tenants, root.subject.rfc4514_string(), root.public_bytes(Encoding.DER), policy, 0.0)
            for id, root in roots.items()
        ]
        chains = [(_ders(chain.certificates), chain.server_name) for chain in given.chains]
        found = would_admit(
            context.registry,
            records,
            [each.public_bytes(Encoding.DER) for each in others],
            chains,
            datetime.fromtimestamp(context.now, UTC),
        )
    return Preview(
        admissions=[
            Admitted(
                fingerprint=each.fingerprint,
                device=each.device,
                tenant=each.tenant,
                outcome=each.outcome,
                detail=each.detail,
            )
            for each in found
        ]
    )


@operation("anchor.dependents", "GET", "/trust-anchors/{anchor}/devices")
def dependents(context: Context, given: Which) -> Dependents:
    """Say which devices depend on a trusted CA: they would be refused without it."""
    record = find(context.registry, given.anchor)
    found = context.registry.list_devices(anchor_id=record.id)
    names = [f"{each.device.tenant_id}/{each.device.id}" for each in found]
    return Dependents(count=len(names), devices=names[:_SHOWN])


@operation("anchor.challenge", "POST", "/trust-anchor-challenges")
def challenge(context: Context, given: Cas) -> Codes:
    """Make the code that a CA has to sign, to show that whoever wants it trusted holds its key."""
    from gateway.identity import anchors_of
    from gateway.pki import parse_certificates

    with pki_errors():
        roots, _ = anchors_of(parse_certificates(given.certificates.encode("utf-8", "replace"), "the bundle"))
    return Codes(
        codes=[
            Code(anchor=id, subject=root.subject.rfc4514_string(), code=context.registry.registration_code(id))
            for id, root in roots.items()
        ]
    )


def _ders(texts: Sequence[str]) -> list[bytes]:
    try:
        return [base64.b64decode(text, validate=True) for text in texts]
    except (binascii.Error, ValueError) as error:
        raise InvalidValue("chains: a certificate is DER in base64") from error
