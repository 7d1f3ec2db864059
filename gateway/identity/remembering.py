"""What stands in a session ticket about the credential behind it: enough to find it again, and to see that it changed.

Devices keep tickets in flash and send them over slow radios, so this is short: a digest of what must not have changed,
and, for a certificate, what is needed to find its device without the certificate.
"""

import hashlib
from dataclasses import dataclass

from gateway.identity.reasons import IdentityRefused, Refusal
from gateway.model import TWIN_LENGTH, AuthKind, Principal

_DIGEST_LENGTH = 16
_FINGERPRINT_LENGTH = 32
_TIME_LENGTH = 5
_SERIAL_LENGTH = 20  # RFC 5280 section 4.1.2.2
_TENANT_AT = _DIGEST_LENGTH + 2 * _FINGERPRINT_LENGTH + TWIN_LENGTH + _TIME_LENGTH + _SERIAL_LENGTH + 2
_NO_ISSUER = bytes(_FINGERPRINT_LENGTH)
_NO_TWIN = bytes(TWIN_LENGTH)


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is known of a certificate's principal without the certificate.

    Attributes:
        valid_until: Seconds since the epoch, UTC, at which the chain ends.
        issuer_id: SHA-256 (lower-case hex) of the CA certificate right above the leaf; None where there is none.
        serial: The leaf's serial number.
        twin: See `Principal`.
    """

    anchor_id: str
    issuer_id: str | None
    serial: int
    twin: bytes
    valid_until: float
    tenant_id: str
    device_id: str


def remember(principal: Principal) -> bytes:
    """The bytes to keep. The same principal under the same version of the same credential gives the same bytes."""
    device = principal.device
    tenant, name, credential = device.tenant_id, device.id, principal.credential_id
    # The lengths say where each name ends, so that no two principals give the same text.
    text = f"{principal.auth} {principal.credential_version} {len(tenant)} {len(name)} {tenant}{name}{credential}"
    short = hashlib.sha256(text.encode() + principal.terms).digest()[:_DIGEST_LENGTH]
    if principal.auth is not AuthKind.X509:
        return short  # the PSK identity, or the key's fingerprint, stands beside it, and finds the rest
    encoded = tenant.encode()
    return b"".join(
        (
            short,
            bytes.fromhex(principal.anchor_id or ""),
            bytes.fromhex(principal.issuer_id) if principal.issuer_id is not None else _NO_ISSUER,
            int(principal.valid_until or 0).to_bytes(_TIME_LENGTH),
            (principal.serial or 0).to_bytes(_SERIAL_LENGTH),
            principal.twin or _NO_TWIN,
            len(encoded).to_bytes(2),
            encoded,
            name.encode(),
        )
    )


def recall(remembered: bytes) -> Remembered:
    """The other way round, for a certificate.

    Raises:
        IdentityRefused: These are not such bytes: another version of the gateway made them.
    """
    tenant_end = _TENANT_AT + int.from_bytes(remembered[_TENANT_AT - 2 : _TENANT_AT])
    issuer_at = _DIGEST_LENGTH + _FINGERPRINT_LENGTH
    time_at = issuer_at + _FINGERPRINT_LENGTH
    serial_at = time_at + _TIME_LENGTH
    twin_at = serial_at + _SERIAL_LENGTH
    issuer = remembered[issuer_at:time_at]
    try:
        if tenant_end > len(remembered):
            raise ValueError("too short")
        return Remembered(
            anchor_id=remembered[_DIGEST_LENGTH:issuer_at].hex(),
            issuer_id=issuer.hex() if issuer != _NO_ISSUER else None,
            valid_until=float(int.from_bytes(remembered[time_at:serial_at])),
            serial=int.from_bytes(remembered[serial_at:twin_at]),
            twin=twin if (twin := remembered[twin_at : twin_at + TWIN_LENGTH]) != _NO_TWIN else b"",
            tenant_id=remembered[_TENANT_AT:tenant_end].decode(),
            device_id=remembered[tenant_end:].decode(),
        )
    except ValueError as error:
        raise IdentityRefused(Refusal.INVALID, "the session was made by another version of the gateway") from error
