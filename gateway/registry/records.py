"""Rows of the registry as values."""

from dataclasses import dataclass, field
from enum import StrEnum

from gateway.model import Device


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
    """

    device: Device
    key: bytes = field(repr=False)
    credential_id: str
    version: int
    status: CredentialStatus


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
    """

    credential_id: str
    kind: str
    psk_identity: bytes | None
    anchor_id: str | None
    version: int
    status: CredentialStatus
    public_key: str | None = None


@dataclass(frozen=True, slots=True)
class AnchorRecord:
    """A trust anchor as stored.

    Attributes:
        id: SHA-256 fingerprint of the certificate, lower-case hex.
        tenant_id: The tenant whose devices it may name.
        subject: Its subject, for lists.
        certificate: DER.
        auto_provision: Devices seen for the first time under it are created.
        strict: CAs under it must follow the web PKI's profile.
        created_at: Seconds since the epoch, UTC.
    """

    id: str
    tenant_id: str
    subject: str
    certificate: bytes = field(repr=False)
    auto_provision: bool
    strict: bool
    created_at: float


@dataclass(frozen=True, slots=True)
class Counts:
    """How much there is, for the start-up line."""

    tenants: int
    devices: int
    psk_credentials: int
    certificate_credentials: int
    trust_anchors: int
