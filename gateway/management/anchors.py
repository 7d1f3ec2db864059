"""Operations on trust anchors."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AwareDatetime, Field, StringConstraints

from gateway.management.limits import MAX_CERTIFICATES_TEXT, MAX_MANIFEST
from gateway.management.operation import Context, operation
from gateway.management.problems import pki_errors
from gateway.management.tenants import seconds
from gateway.management.values import Answer, Given, Instant, Nothing, Text, instant, maybe_instant
from gateway.registry import (
    AnchorPolicy,
    AnchorRecord,
    CrlPolicy,
    InvalidValue,
    NotFound,
    Provision,
    Registry,
    TenantBy,
)

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_Count = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Policy(Answer):
    """How far a trust anchor is trusted."""

    strict: bool = Field(description="CAs under it must follow the web PKI's profile.")
    provision: Provision = Field(description="What becomes of devices that nobody registered.")
    webhook: str = Field(description="Asked before a device is created; empty for none.")
    tenant_by: TenantBy = Field(description="How the tenant is found.")
    identity_rule: str = Field(description="Where a certificate has the device's name; empty for the usual order.")
    crl: CrlPolicy = Field(description="What a missing or outdated revocation list means.")
    crl_url: str = Field(description="Where its revocation list is fetched; empty for none.")
    expired_grace_s: float = Field(description="Seconds that a certificate is accepted after its end.")
    max_devices: int = Field(description="How many devices may ever come by themselves; 0 for no bound.")
    max_devices_per_day: int = Field(description="The same for each day (UTC).")
    provision_from: Instant | None = Field(description="Before it no device comes by itself.")
    provision_until: Instant | None = Field(description="After it no device comes by itself.")
    name_pattern: str = Field(description="Regular expression that the name of such a device must match whole.")
    manifest: bool = Field(description="Only devices of the anchor's manifest come by themselves.")


class PolicyChange(Given):
    """What to say of a trust anchor; what is left out stays as it is, or at its default for a new one."""

    strict: bool | None = None
    provision: Provision | None = None
    webhook: Text | None = None
    tenant_by: TenantBy | None = None
    identity_rule: Text | None = None
    crl: CrlPolicy | None = None
    crl_url: Text | None = None
    expired_grace_s: Annotated[float, Field(ge=0, le=100 * 366 * 86_400, allow_inf_nan=False)] | None = None
    max_devices: _Count | None = None
    max_devices_per_day: _Count | None = None
    provision_from: AwareDatetime | None = Field(default=None, description="null for no bound.")
    provision_until: AwareDatetime | None = Field(default=None, description="null for no bound.")
    name_pattern: Text | None = None
    manifest: bool | None = None

    def said(self) -> dict[str, Any]:
        """The names and values for an `AnchorPolicy`."""
        bounds = {"provision_from", "provision_until"}
        said = {name: value for name in self.model_fields_set - bounds if (value := getattr(self, name)) is not None}
        return said | {name: seconds(getattr(self, name)) for name in self.model_fields_set & bounds}


class AnchorFacts(Answer):
    """A trust anchor."""

    id: str = Field(description="SHA-256 fingerprint of its certificate, lower-case hex.")
    subject: str
    tenants: list[str] = Field(description="Whose devices it may name.")
    auto_provision: Provision = Field(description="The same as `provision` of its policy.")
    created: Instant
    not_after: Instant | None = Field(description="When its certificate ends; null for one that cannot be read.")
    expired: bool | None


class AnchorUse(Answer):
    """How many devices came by themselves under a trust anchor."""

    admitted: int
    admitted_today: int
    quarantined: int = Field(description="Beyond its limits.")


class AnchorDetails(AnchorFacts):
    """A trust anchor with all that is known of it."""

    policy: Policy
    usage: AnchorUse
    certificate: str = Field(description="PEM.")


class AnchorList(Answer):
    """All trust anchors, oldest first."""

    trust_anchors: list[AnchorFacts]


class Trusted(Answer):
    """The trusted CAs of a bundle."""

    trust_anchors: list[AnchorFacts]


class Which(Given):
    """One trust anchor."""

    anchor: Text = Field(description="Its id, or as much of the beginning as names no other one.")


class Objection(Answer):
    """What is wrong with a CA's certificate."""

    subject: str
    code: str
    severity: str = Field(description="`error`: this gateway refuses its devices; `warning`: others may; `note`.")
    text: str
    remedy: str


class TrustedNow(Trusted):
    """The trusted CAs, and what is wrong with the certificates of the bundle."""

    objections: list[Objection]


class Bundle(Given):
    """A CA's file, and how far to trust it."""

    certificates: Annotated[str, StringConstraints(max_length=MAX_CERTIFICATES_TEXT)] = Field(
        description="PEM. The roots in it are trusted, or its first certificate if there is none; intermediates are "
        "kept for devices that do not send them."
    )
    tenants: list[Text] | None = Field(
        default=None, min_length=1, max_length=1000, description="Whose devices it may name; the tenant default."
    )
    policy: PolicyChange = PolicyChange()
    manifest: list[Text] | None = Field(
        default=None,
        max_length=MAX_MANIFEST,
        description="Names or serials of the devices that the manufacturer will make; others are quarantined.",
    )
    proof: Annotated[str, StringConstraints(max_length=MAX_CERTIFICATES_TEXT)] | None = Field(
        default=None,
        description="PEM of a certificate that the CA signed for the code of `anchor.challenge`: it holds its key.",
    )
    force: bool = Field(default=False, description="Trust it although this gateway will refuse its devices.")


@operation("anchor.list", "GET", "/trust-anchors")
def list_all(context: Context, given: Nothing) -> AnchorList:
    """List the trusted CAs."""
    return AnchorList(trust_anchors=[_facts(each, context.now) for each in context.registry.trust_anchors()])


@operation("anchor.show", "GET", "/trust-anchors/{anchor}")
def show(context: Context, given: Which) -> AnchorDetails:
    """Show a trusted CA: how far it is trusted, and what came of it."""
    record = find(context.registry, given.anchor)
    usage = context.registry.anchor_usage(record.id)
    return AnchorDetails(
        **_facts(record, context.now).model_dump(),
        policy=_policy(record),
        usage=AnchorUse(admitted=usage.admitted, admitted_today=usage.admitted_today, quarantined=usage.quarantined),
        certificate=_pem(record.certificate),
    )


@operation("anchor.trust", "POST", "/trust-anchors")
def trust(context: Context, given: Bundle) -> TrustedNow:
    """Trust a CA to name devices, or change how far. Names every objection to its certificates."""
    # Not for those who ask for lists.
    from gateway.identity import trust_ca
    from gateway.pki import parse_certificates

    said = _said(given)
    with pki_errors():
        certificates = parse_certificates(given.certificates.encode("utf-8", "replace"), "the bundle")
        objections = _objections(certificates, context.now, force=given.force)
        if given.proof is not None:
            _check_proof(context, certificates, given.proof)
        records = trust_ca(context.registry, certificates, tenant_ids=given.tenants, policy=said)
    if given.manifest is not None:
        if len(records) > 1:
            raise InvalidValue("manifest: the bundle has several roots; trust each by itself, with its own list")
        context.registry.set_manifest(records[0].id, given.manifest)
    return TrustedNow(trust_anchors=[_facts(each, context.now) for each in records], objections=objections)


@operation("anchor.untrust", "DELETE", "/trust-anchors/{anchor}")
def untrust(context: Context, given: Which) -> AnchorFacts:
    """No longer trust a CA. Its devices stay in the registry and are refused; their sessions end."""
    record = find(context.registry, given.anchor)
    context.registry.delete_trust_anchor(record.id)
    return _facts(record, context.now)


def policy_of(given: Bundle) -> AnchorPolicy:
    """The policy that a new anchor would have.

    Raises:
        InvalidValue: It is none.
    """
    return AnchorPolicy.from_json(_said(given))


def find(registry: Registry, beginning: str) -> AnchorRecord:
    """The anchor whose id begins so.

    Raises:
        InvalidValue: There are several.
        NotFound: There is none.
    """
    wanted = beginning.lower()
    matching = [record for record in registry.trust_anchors() if wanted and record.id.startswith(wanted)]
    if not matching:
        raise NotFound(f"no trust anchor has an id that begins with {beginning!r}; see `gateway ca list`")
    if len(matching) > 1:
        raise InvalidValue(f"{len(matching)} trust anchors have an id that begins with {beginning!r}; write more of it")
    return matching[0]


def _said(given: Bundle) -> dict[str, Any]:
    from gateway.pki import IdentityRule, PkiError

    said = given.policy.said()
    if given.manifest is not None:
        said.setdefault("manifest", True)
    if rule := said.get("identity_rule"):
        try:
            IdentityRule.parse(rule)
        except PkiError as error:
            raise InvalidValue(f"identity_rule: {error}") from error
    return said


def _objections(certificates: "Sequence[Certificate]", now: float, *, force: bool) -> list[Objection]:
    from gateway.pki import Role, Severity, is_ca, lint, short_name

    found = [
        Objection(
            subject=short_name(certificate),
            code=finding.code.value,
            severity=finding.severity.value,
            text=finding.text,
            remedy=finding.remedy,
        )
        for certificate in certificates
        if is_ca(certificate)  # else `trust_ca` says it better
        for finding in lint(certificate, datetime.fromtimestamp(now, UTC), Role.CA)
    ]
    errors = [each for each in found if each.severity == Severity.ERROR and each.code != "expired"]
    if errors and not force:
        texts = "; ".join(f"{each.subject}: {each.text} ({each.remedy})" for each in errors)
        raise InvalidValue(f"devices of this CA would be refused: {texts}. To trust it all the same, say --force")
    return found


def _check_proof(context: Context, certificates: "Sequence[Certificate]", proof: str) -> None:
    from gateway.identity import anchors_of, check_possession
    from gateway.pki import parse_certificates

    roots, _ = anchors_of(certificates)
    if len(roots) > 1:
        raise InvalidValue("proof: the bundle has several roots; trust each by itself, with its own proof")
    [(id, root)] = roots.items()
    shown = parse_certificates(proof.encode("utf-8", "replace"), "the proof")[0]
    at = datetime.fromtimestamp(context.now, UTC)
    check_possession(root, shown, context.registry.registration_code(id), at)


def _facts(record: AnchorRecord, now: float) -> AnchorFacts:
    from gateway.pki import PkiError, parse_certificates  # a tenth of a second for those who ask for devices

    try:
        end: float | None = parse_certificates(record.certificate)[0].not_valid_after_utc.timestamp()
    except PkiError:
        # Listed all the same: how else would its id be found?
        end = None
    return AnchorFacts(
        id=record.id,
        subject=record.subject,
        tenants=list(record.tenant_ids),
        auto_provision=record.policy.provision,
        created=instant(record.created_at),
        not_after=maybe_instant(end),
        expired=end < now if end is not None else None,
    )


def _policy(record: AnchorRecord) -> Policy:
    values: Mapping[str, Any] = {name: getattr(record.policy, name) for name in Policy.model_fields}
    bounds = {name: maybe_instant(values[name] or None) for name in ("provision_from", "provision_until")}
    return Policy.model_validate({**values, **bounds})


def _pem(der: bytes) -> str:
    from ssl import DER_cert_to_PEM_cert

    return DER_cert_to_PEM_cert(der)
