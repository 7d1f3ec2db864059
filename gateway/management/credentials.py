"""Operations on what devices prove themselves with."""

from typing import Annotated, Literal

from pydantic import Field

from gateway.management.operation import Context, operation
from gateway.management.values import Answer, DeviceName, Given, Instant, TenantName, Text, instant, maybe_instant
from gateway.model import DEFAULT_TENANT
from gateway.registry import CredentialStatus, CredentialSummary


class CredentialFacts(Answer):
    """A credential without its secret."""

    id: str
    kind: Literal["psk", "x509", "rpk"]
    status: CredentialStatus
    version: int = Field(description="Grows with every change; sessions of an older one end.")
    psk_identity: str | None = Field(description="Of a pre-shared key; bytes that are no text are escaped.")
    public_key_sha256: str | None
    trust_anchor: str | None = Field(description="The only anchor whose certificates speak for the device.")
    generation: int | None = Field(description="Of the master key, where the key is derived from it.")
    not_before: Instant | None
    not_after: Instant | None
    last_used: Instant | None = Field(description="When a session last began with it.")
    created: Instant


class OwnedCredential(CredentialFacts):
    """A credential, and whose it is."""

    device: str
    tenant: str


class CredentialList(Answer):
    """The credentials of a device, oldest first."""

    credentials: list[CredentialFacts]


class OfDevice(Given):
    """One device."""

    tenant: TenantName = DEFAULT_TENANT
    device: DeviceName


class Change(Given):
    """A credential, and what becomes of it."""

    credential: Annotated[Text, Field(description="Its id.")]
    status: Literal["retired", "revoked"] = Field(
        description="retired: replaced by another one. revoked: in wrong hands. Neither gets through a handshake."
    )


@operation("credential.list", "GET", "/tenants/{tenant}/devices/{device}/credentials")
def list_all(context: Context, given: OfDevice) -> CredentialList:
    """List the credentials of a device; never a key."""
    held = context.registry.credentials(given.device, tenant_id=given.tenant)
    return CredentialList(credentials=[credential_facts(each) for each in held])


@operation("credential.set", "PATCH", "/credentials/{credential}")
def set_(context: Context, given: Change) -> OwnedCredential:
    """Retire or revoke a credential. Sessions that began with it end."""
    context.registry.set_credential_status(given.credential, CredentialStatus(given.status))
    owner, after = context.registry.credential(given.credential)
    return OwnedCredential(device=owner.id, tenant=owner.tenant_id, **credential_facts(after).model_dump())


def credential_facts(held: CredentialSummary) -> CredentialFacts:
    """What is shown of a credential."""
    return CredentialFacts.model_validate(
        {
            "id": held.credential_id,
            "kind": held.kind,
            "status": held.status,
            "version": held.version,
            "psk_identity": identity_text(held.psk_identity) if held.psk_identity is not None else None,
            "public_key_sha256": held.public_key,
            "trust_anchor": held.anchor_id,
            "generation": held.generation,
            "not_before": maybe_instant(held.not_before),
            "not_after": maybe_instant(held.not_after),
            "last_used": maybe_instant(held.last_used_at),
            "created": instant(held.created_at),
        }
    )


def identity_text(identity: bytes) -> str:
    """A PSK identity as it is shown."""
    return identity.decode("utf-8", "backslashreplace")
