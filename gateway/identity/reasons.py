"""Why a credential was not accepted."""

from enum import StrEnum

from gateway.model import Device


class Refusal(StrEnum):
    """A closed label set for metrics and logs. The second half is `gateway.pki.ChainProblem`, value for value."""

    UNKNOWN_IDENTITY = "unknown_identity"
    UNKNOWN_PUBLIC_KEY = "unknown_public_key"
    DEVICE_DISABLED = "device_disabled"
    CREDENTIAL_REVOKED = "credential_revoked"
    NOT_PROVISIONED = "not_provisioned"
    OTHER_ISSUER = "other_issuer"
    REGISTRY_FULL = "registry_full"
    REGISTRY_UNAVAILABLE = "registry_unavailable"

    NO_CERTIFICATE = "no_certificate"
    MALFORMED = "malformed"
    NOT_VERSION_3 = "not_version_3"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    UNKNOWN_ROOT = "unknown_root"
    MISSING_INTERMEDIATE = "missing_intermediate"
    CA_AS_LEAF = "ca_as_leaf"
    WRONG_KEY_USAGE = "wrong_key_usage"
    WEAK_KEY = "weak_key"
    BAD_SIGNATURE = "bad_signature"
    CHAIN_TOO_LONG = "chain_too_long"
    NOT_A_CA = "not_a_ca"
    NO_IDENTITY = "no_identity"
    REVOKED = "revoked"
    CRL_UNAVAILABLE = "crl_unavailable"
    CRL_EXPIRED = "crl_expired"
    DISTRUSTED = "distrusted"
    INVALID = "invalid"


class IdentityRefused(Exception):
    """A credential was not accepted.

    Attributes:
        reason: The typed reason.
        detail: For the operator's log: what is wrong and what to do next. Never for the wire.
        device: The device of the registry that the credential names; None where there is none.
    """

    def __init__(self, reason: Refusal, detail: str, device: Device | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.device = device
