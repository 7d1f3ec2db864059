"""Operations on pre-shared keys: one more, the next one, the end of one. They are listed among the credentials."""

import secrets
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from gateway.management.credentials import identity_text
from gateway.management.operation import Context, operation
from gateway.management.values import Answer, DeviceName, Given, Instant, TenantName, Text, instant
from gateway.model import DEFAULT_TENANT
from gateway.registry import CredentialStatus

_GENERATED_KEY_BYTES = 16
_YEARS_S = 10 * 366 * 86_400
Hex = Annotated[str, Field(pattern="^([0-9A-Fa-f]{2})+$", max_length=1024)]


class Identity(Given):
    """An identity, as text or as bytes."""

    psk_identity: Text | None = Field(default=None, description="The identity of a pre-shared key, as text.")
    psk_identity_hex: Hex | None = Field(default=None, description="The same where it is no text.")

    @property
    def identity(self) -> bytes | None:
        if self.psk_identity_hex is not None:
            return bytes.fromhex(self.psk_identity_hex)
        return self.psk_identity.encode() if self.psk_identity is not None else None

    @model_validator(mode="after")
    def _one_identity(self) -> Self:
        if self.psk_identity is not None and self.psk_identity_hex is not None:
            raise ValueError("give psk_identity or psk_identity_hex, not both")
        return self


class Key(Given):
    """Where a pre-shared key is from."""

    psk_hex: Hex | None = Field(default=None, repr=False, description="The key.")
    generate: bool = Field(default=False, description="Make a random key; the answer tells it, once.")
    derived: bool = Field(
        default=False, description="Derive it from the gateway's [registry] derivation_key; it is not stored."
    )

    @property
    def sources(self) -> int:
        """How many were given; one makes sense."""
        return (self.psk_hex is not None) + self.generate + self.derived

    def key(self) -> bytes | None:
        """The key; None for the derived one."""
        if self.psk_hex is not None:
            return bytes.fromhex(self.psk_hex)
        return secrets.token_bytes(_GENERATED_KEY_BYTES) if self.generate else None


def told(given: Key, key: bytes | None) -> dict[str, Any]:
    """What an answer says of a key: all of one that was made by the call, of any other nothing."""
    if given.generate and key is not None:
        return {"psk_hex": key.hex()}
    return {"psk": "derived"} if given.derived else {}


class NewKey(Answer):
    """A pre-shared key. One that was generated is told here and never again."""

    device: str
    tenant: str
    id: str = Field(description="Of the credential.")
    psk_identity: str
    psk_hex: str | None = Field(default=None, repr=False, description="The key that was made by this call.")
    psk: Literal["derived"] | None = None
    old_until: Instant | None = Field(default=None, description="When the keys before it end at the latest.")
    generation: int | None = Field(default=None, description="Of a derived key.")


class Ended(Answer):
    """A pre-shared key that is no longer good."""

    device: str
    tenant: str
    id: str
    status: CredentialStatus


class OfDevice(Given):
    """One device."""

    tenant: TenantName = DEFAULT_TENANT
    device: DeviceName


class Add(OfDevice, Identity, Key):
    """A key and its identity."""

    @model_validator(mode="after")
    def _both(self) -> Self:
        if self.identity is None:
            raise ValueError("a key needs psk_identity")
        if self.sources != 1:
            raise ValueError("give one of psk_hex, generate and derived")
        return self


class Rotate(OfDevice, Identity, Key):
    """The next key; by default under the identity that follows the old one's."""

    overlap_s: Annotated[float, Field(ge=0, le=_YEARS_S, allow_inf_nan=False)] = Field(
        description="Seconds for which the old keys stay good, unless the new one is used before."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.sources != 1:
            raise ValueError("give one of psk_hex, generate and derived")
        return self


class End(OfDevice):
    """A key, and what becomes of it."""

    credential: Annotated[Text, Field(description="Its id.")]
    status: Literal["retired", "revoked"]


@operation("psk.add", "POST", "/tenants/{tenant}/devices/{device}/psk", status=201)
def add(context: Context, given: Add) -> NewKey:
    """Give a device one more pre-shared key."""
    key, identity = given.key(), given.identity or b""
    made = context.registry.add_psk(given.device, identity, key, tenant_id=given.tenant)
    return _told(given, key, made.credential_id, identity)


@operation("psk.rotate", "POST", "/tenants/{tenant}/devices/{device}/psk/rotation", status=201)
def rotate(context: Context, given: Rotate) -> NewKey:
    """Give a device its next pre-shared key.

    Old and new key are good until the device uses the new one, which retires the old ones, or the overlap has passed.
    """
    key = given.key()
    made = context.registry.rotate_psk(
        given.device, key, overlap_s=given.overlap_s, identity=given.identity, tenant_id=given.tenant
    )
    more: dict[str, Any] = {"old_until": instant(made.old_until)}
    if made.generation is not None:
        more["generation"] = made.generation
    return _told(given, key, made.credential.credential_id, made.identity, **more)


@operation("psk.end", "PATCH", "/tenants/{tenant}/devices/{device}/psk/{credential}")
def end(context: Context, given: End) -> Ended:
    """Retire or revoke a pre-shared key of a device. Sessions that began with it end."""
    status = CredentialStatus(given.status)
    context.registry.end_psk(given.device, given.credential, status, tenant_id=given.tenant)
    return Ended(device=given.device, tenant=given.tenant, id=given.credential, status=status)


def _told(given: Add | Rotate, key: bytes | None, credential_id: str, identity: bytes, **more: Any) -> NewKey:
    said = {
        "device": given.device,
        "tenant": given.tenant,
        "id": credential_id,
        "psk_identity": identity_text(identity),
    }
    return NewKey.model_validate({**said, **told(given, key), **more})
