"""From the identity room's refusals to the engine's reasons: the one table between the two."""

from typing import Final

from gateway.dtls import FailureReason, HandshakeError
from gateway.identity import IdentityRefused, Refusal

REASON_FOR: Final[dict[Refusal, FailureReason]] = {
    Refusal.UNKNOWN_IDENTITY: FailureReason.UNKNOWN_IDENTITY,
    Refusal.UNKNOWN_PUBLIC_KEY: FailureReason.UNKNOWN_PUBLIC_KEY,
    Refusal.DEVICE_DISABLED: FailureReason.DEVICE_DISABLED,
    Refusal.DEVICE_PENDING: FailureReason.DEVICE_PENDING,
    Refusal.DEVICE_QUARANTINED: FailureReason.DEVICE_QUARANTINED,
    Refusal.TENANT_DISABLED: FailureReason.TENANT_DISABLED,
    Refusal.NO_TENANT: FailureReason.NO_TENANT,
    Refusal.CREDENTIAL_EXPIRED: FailureReason.CREDENTIAL_EXPIRED,
    Refusal.PSK_ENDED: FailureReason.PSK_ENDED,
    Refusal.PROVISIONING_DENIED: FailureReason.PROVISIONING_DENIED,
    Refusal.PROVISIONING_UNAVAILABLE: FailureReason.PROVISIONING_UNAVAILABLE,
    Refusal.CREDENTIAL_REVOKED: FailureReason.CREDENTIAL_REVOKED,
    Refusal.NOT_PROVISIONED: FailureReason.NOT_PROVISIONED,
    Refusal.OTHER_ISSUER: FailureReason.OTHER_ISSUER,
    Refusal.REGISTRY_FULL: FailureReason.REGISTRY_FULL,
    Refusal.REGISTRY_UNAVAILABLE: FailureReason.REGISTRY_UNAVAILABLE,
    Refusal.NO_CERTIFICATE: FailureReason.NO_CERTIFICATE,
    Refusal.MALFORMED: FailureReason.BAD_CERTIFICATE,
    Refusal.EXPIRED: FailureReason.CERTIFICATE_EXPIRED,
    Refusal.NOT_YET_VALID: FailureReason.CERTIFICATE_NOT_YET_VALID,
    Refusal.UNKNOWN_ROOT: FailureReason.UNKNOWN_ROOT,
    Refusal.MISSING_INTERMEDIATE: FailureReason.MISSING_INTERMEDIATE,
    Refusal.CA_AS_LEAF: FailureReason.CA_AS_LEAF,
    Refusal.WRONG_KEY_USAGE: FailureReason.WRONG_KEY_USAGE,
    Refusal.WEAK_KEY: FailureReason.WEAK_KEY,
    Refusal.BAD_SIGNATURE: FailureReason.BAD_CERTIFICATE,
    Refusal.CHAIN_TOO_LONG: FailureReason.CHAIN_TOO_LONG,
    Refusal.NOT_A_CA: FailureReason.BAD_CERTIFICATE,
    Refusal.NOT_VERSION_3: FailureReason.BAD_CERTIFICATE,
    Refusal.NO_IDENTITY: FailureReason.NO_DEVICE_NAME,
    Refusal.REVOKED: FailureReason.CERTIFICATE_REVOKED,
    Refusal.CRL_UNAVAILABLE: FailureReason.REVOCATION_UNKNOWN,
    Refusal.CRL_EXPIRED: FailureReason.REVOCATION_UNKNOWN,
    Refusal.DISTRUSTED: FailureReason.CERTIFICATE_BANNED,
    Refusal.INVALID: FailureReason.BAD_CERTIFICATE,
}


def handshake_error(refused: IdentityRefused) -> HandshakeError:
    """What the engine is told: the reason decides the alert, the detail goes to the log only."""
    return HandshakeError(REASON_FOR[refused.reason], refused.detail)
