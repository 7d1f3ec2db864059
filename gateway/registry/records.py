"""Rows of the registry as values."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gateway.model import Device
from gateway.registry.policy import AnchorPolicy, Provision, TenantLimits


class CredentialStatus(StrEnum):
    """What a credential is good for. ACTIVE and NEXT get through a handshake."""

    ACTIVE = "active"
    NEXT = "next"
    RETIRED = "retired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class PskCredential:
    """A pre-shared key and the device it belongs to.

    Attributes:
        device: The device.
        key: The key.
        credential_id: Id of the row; never used again for another credential.
        version: Grows with every change of the credential.
        status: See `CredentialStatus`.
        not_before: Seconds since the epoch, UTC, before which it is refused; None for no bound.
        not_after: The same for after which.
    """

    device: Device
    key: bytes = field(repr=False)
    credential_id: str
    version: int
    status: CredentialStatus
    not_before: float | None = None
    not_after: float | None = None


@dataclass(frozen=True, slots=True)
class CertificateCredential:
    """A device's permission to use certificates.

    Attributes:
        device: The device.
        credential_id: Id of the row; never used again for another credential.
        version: Grows with every change of the credential.
        status: See `CredentialStatus`.
        anchor_id: The only trust anchor that may name this device; None for any of its tenant's.
        created: The device was created by the very call that returned this.
    """

    device: Device
    credential_id: str
    version: int
    status: CredentialStatus
    anchor_id: str | None
    created: bool = False


@dataclass(frozen=True, slots=True)
class PublicKeyCredential:
    """A raw public key (RFC 7250) and the device it belongs to.

    Attributes:
        device: The device.
        credential_id: Id of the row; never used again for another credential.
        version: Grows with every change of the credential.
        status: See `CredentialStatus`.
    """

    device: Device
    credential_id: str
    version: int
    status: CredentialStatus


@dataclass(frozen=True, slots=True)
class Standing:
    """What became of a credential, for whoever has a session by it.

    Attributes:
        device: Its device, as it is now.
        version: Another one than the session's: the credential was changed.
        status: See `CredentialStatus`.
        not_after: Seconds since the epoch, UTC, after which it is refused; None for no bound.
    """

    device: Device
    version: int
    status: CredentialStatus
    not_after: float | None


@dataclass(frozen=True, slots=True)
class CredentialSummary:
    """A credential without its secret, for lists.

    Attributes:
        credential_id: Id of the row.
        kind: `psk`, `x509` or `rpk`.
        psk_identity: The identity of a pre-shared key, else None.
        anchor_id: The trust anchor a certificate is bound to, if any.
        version: Grows with every change of the credential.
        status: See `CredentialStatus`.
        public_key: SHA-256 (lower-case hex) of a raw public key, else None.
        generation: Of a derived key, counted from 1; else None.
        not_before: Seconds since the epoch, UTC; None for no bound.
        not_after: The same.
        last_used_at: When a session began with it, seconds since the epoch, UTC; None for never.
        created_at: Seconds since the epoch, UTC.
    """

    credential_id: str
    kind: str
    psk_identity: bytes | None
    anchor_id: str | None
    version: int
    status: CredentialStatus
    public_key: str | None = None
    generation: int | None = None
    not_before: float | None = None
    not_after: float | None = None
    last_used_at: float | None = None
    created_at: float = 0.0


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """A device with what only operators ask for.

    Attributes:
        device: The device.
        note: Why it has its status, for people; may be empty.
        updated_at: Last change by an operator or by policy, seconds since the epoch, UTC.
        last_seen_at: When it last had a session, seconds since the epoch, UTC; None for never.
    """

    device: Device
    note: str
    updated_at: float
    last_seen_at: float | None


@dataclass(frozen=True, slots=True)
class Tenant:
    """An owner of devices.

    Attributes:
        id: Its name in every command.
        name: For people.
        active: Whether its devices are let in.
        sni_names: Server names (lower case) by which its devices may ask for it.
        limits: See `TenantLimits`.
        device_count: How many devices it has.
    """

    id: str
    name: str
    active: bool
    sni_names: tuple[str, ...]
    limits: TenantLimits
    device_count: int


@dataclass(frozen=True, slots=True)
class AnchorRecord:
    """A trust anchor as stored.

    Attributes:
        id: SHA-256 fingerprint of the certificate, lower-case hex.
        tenant_ids: The tenants whose devices it may name, sorted; at least one.
        subject: Its subject, for lists.
        certificate: DER.
        policy: How far it is trusted.
        created_at: Seconds since the epoch, UTC.
    """

    id: str
    tenant_ids: tuple[str, ...]
    subject: str
    certificate: bytes = field(repr=False)
    policy: AnchorPolicy
    created_at: float

    @property
    def tenant_id(self) -> str:
        """The tenant, of an anchor that has one; else the first."""
        return self.tenant_ids[0]

    @property
    def auto_provision(self) -> bool:
        """Whether devices seen for the first time under it are created."""
        return self.policy.provision is not Provision.OFF


@dataclass(frozen=True, slots=True)
class AnchorUsage:
    """How many devices came by themselves under a trust anchor.

    Attributes:
        admitted: Within its limits, ever.
        admitted_today: Of these, on this day (UTC).
        quarantined: Beyond its limits.
    """

    admitted: int
    admitted_today: int
    quarantined: int


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate that one of our own CAs made.

    Attributes:
        issuer_id: SHA-256 fingerprint of the CA's certificate, lower-case hex.
        serial: Lower-case hex, without leading zeros.
        tenant_id: Of the device.
        device_id: Whom it names.
        fingerprint: SHA-256 of the certificate, lower-case hex.
        not_before: Seconds since the epoch, UTC.
        not_after: The same.
        revoked_at: When it was revoked; None while it is good.
        reason: Why it was revoked, a name of RFC 5280 section 5.3.1.
    """

    issuer_id: str
    serial: str
    tenant_id: str
    device_id: str
    fingerprint: str
    not_before: float
    not_after: float
    revoked_at: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class CrlRecord:
    """The newest revocation list of a CA.

    Attributes:
        issuer: SHA-256 of the issuing CA's certificate, lower-case hex.
        crl_number: Its number (RFC 5280 section 5.2.3).
        this_update: Seconds since the epoch, UTC.
        next_update: The same; None where the list does not say.
        der: The list.
        url: Where it was fetched; empty for an imported one.
        stored_at: Seconds since the epoch, UTC.
    """

    issuer: str
    crl_number: int
    this_update: float
    next_update: float | None
    der: bytes = field(repr=False)
    url: str
    stored_at: float


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who changed what.

    Attributes:
        number: Grows with every entry.
        at: Seconds since the epoch, UTC.
        actor: Who, such as `cli:root`, `api:token` or `gateway`.
        action: What, such as `device.disabled`.
        tenant_id: Whose; empty where it is nobody's.
        object: What was changed.
        detail: More, never a secret.
    """

    number: int
    at: float
    actor: str
    action: str
    tenant_id: str
    object: str
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Changes:
    """What became different, for whoever keeps copies.

    Attributes:
        seq: Up to which change of the log.
        devices: (tenant, id) of devices whose rows or credentials changed.
        trust: Anchors, intermediates, bans or revocation lists changed.
        tenants: Tenants changed.
        everything: More changed than the log still tells.
    """

    seq: int
    devices: tuple[tuple[str, str], ...] = ()
    trust: bool = False
    tenants: bool = False
    everything: bool = False

    def __bool__(self) -> bool:
        return bool(self.devices) or self.trust or self.tenants or self.everything


@dataclass(frozen=True, slots=True)
class Counts:
    """How much there is, for the start-up line."""

    tenants: int
    devices: int
    psk_credentials: int
    certificate_credentials: int
    trust_anchors: int
