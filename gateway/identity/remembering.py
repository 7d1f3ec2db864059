"""What stands in a session ticket about the credential behind it: enough to find it again, and to see that it changed.

Devices keep tickets in flash and send them over slow radios, so this is short: a digest of what must not have changed,
and, for a certificate, what is needed to find its device without the certificate.
"""

import hashlib
from dataclasses import dataclass

from gateway.identity.reasons import IdentityRefused, Refusal
from gateway.model import AuthKind, Principal

_DIGEST_LENGTH = 16
_ANCHOR_LENGTH = 32
_TIME_LENGTH = 5


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is known of a certificate's principal without the certificate.

    Attributes:
        valid_until: Seconds since the epoch, UTC, at which the chain ends.
    """

    anchor_id: str
    valid_until: float
    tenant_id: str
    device_id: str


def remember(principal: Principal) -> bytes:
    """The bytes to keep. The same principal under the same version of the same credential gives the same bytes."""
    device = principal.device
    tenant, name, credential = device.tenant_id, device.id, principal.credential_id
    # The lengths say where each name ends, so that no two principals give the same text.
    text = f"{principal.auth} {principal.credential_version} {len(tenant)} {len(name)} {tenant}{name}{credential}"
    short = hashlib.sha256(text.encode()).digest()[:_DIGEST_LENGTH]
    if principal.auth is not AuthKind.X509:
        return short  # the PSK identity, or the key's fingerprint, stands beside it, and finds the rest
    anchor, valid_until = bytes.fromhex(principal.anchor_id or ""), int(principal.valid_until or 0)
    encoded = tenant.encode()
    return b"".join(
        (short, anchor, valid_until.to_bytes(_TIME_LENGTH), len(encoded).to_bytes(2), encoded, name.encode())
    )


def recall(remembered: bytes) -> Remembered:
    """The other way round, for a certificate.

    Raises:
        IdentityRefused: These are not such bytes: another version of the gateway made them.
    """
    anchor_end = _DIGEST_LENGTH + _ANCHOR_LENGTH
    tenant_at = anchor_end + _TIME_LENGTH + 2
    tenant_end = tenant_at + int.from_bytes(remembered[tenant_at - 2 : tenant_at])
    try:
        if tenant_end > len(remembered):
            raise ValueError("too short")
        return Remembered(
            anchor_id=remembered[_DIGEST_LENGTH:anchor_end].hex(),
            valid_until=float(int.from_bytes(remembered[anchor_end : tenant_at - 2])),
            tenant_id=remembered[tenant_at:tenant_end].decode(),
            device_id=remembered[tenant_end:].decode(),
        )
    except ValueError as error:
        raise IdentityRefused(Refusal.INVALID, "the session was made by another version of the gateway") from error
