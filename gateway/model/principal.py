"""The proven identity of a peer, and what proved it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gateway.model.device import Device

TWIN_LENGTH: Final = 8
"""Bytes. A million bans hit one of a million devices by accident once in 18 million times."""


class AuthKind(StrEnum):
    """How a peer proved who it is; a closed label set for metrics."""

    PSK = "psk"
    X509 = "x509"
    RPK = "rpk"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Principal:
    """A device together with the credential that proved it (DESIGN D6).

    Attributes:
        device: The device the credential belongs to.
        auth: The kind of credential.
        credential_id: The registry's id of the credential row.
        credential_version: Grows whenever the credential changes; what a session or a ticket remembers of it is
            void once the registry holds a newer one.
        anchor_id: SHA-256 fingerprint (lower-case hex) of the trust anchor that verified the chain; None for PSK.
        fingerprint: SHA-256 (lower-case hex) of the leaf certificate, or of the raw public key; None for PSK.
        created: The device was created by this very handshake.
        valid_until: Seconds since the epoch, UTC, at which the chain ends; None for PSK.
        issuer_id: SHA-256 (lower-case hex) of the CA certificate right above the leaf; None for PSK, and for a
            certificate that is trusted by itself.
        serial: The leaf's serial number, for revocation lists; None for PSK.
        twin: The first `TWIN_LENGTH` bytes of the fingerprint that the leaf has with the other encoding of its
            signature: who bans it may know it by that one. Empty for PSK, and where there is no other.
        terms: Stands for what the trust anchor said about whose a certificate is; empty for PSK.
    """

    device: Device
    auth: AuthKind
    credential_id: str
    credential_version: int = 1
    anchor_id: str | None = None
    fingerprint: str | None = None
    created: bool = False
    valid_until: float | None = None
    issuer_id: str | None = None
    serial: int | None = None
    twin: bytes = b""
    terms: bytes = b""
