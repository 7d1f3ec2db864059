"""What can go wrong, typed. Three outcomes for bad input (DESIGN section 6, rule 2): dropped silently and counted
(`DropReason`), a fatal alert (`HandshakeError` with a `FailureReason`), or our own bug (`ApiMisuse`)."""

from enum import StrEnum

from gateway.dtls.numbers import AlertDescription


class DecodeError(Exception):
    """Bytes from a peer that are not what the RFC says they must be. Decoders raise this and nothing else."""


class ApiMisuse(RuntimeError):
    """The caller used the engine wrongly; never caused by a peer."""


class SequenceExhausted(Exception):
    """The association has used every record number it may use and must be closed (RFC 6347 section 4.1)."""


class DropReason(StrEnum):
    """Why a datagram or record was dropped without an answer; a closed label set for metrics."""

    MALFORMED = "malformed"
    BAD_VERSION = "bad_version"
    BAD_MAC = "bad_mac"
    REPLAY = "replay"
    OLD_EPOCH = "old_epoch"
    FUTURE_EPOCH = "future_epoch"
    NO_SESSION = "no_session"
    UNKNOWN_CID = "unknown_cid"
    MISSING_CID = "missing_cid"
    UNEXPECTED = "unexpected"
    EPOCH_ZERO_DATA = "epoch_zero_data"
    EARLY_DATA = "early_data"
    BAD_FRAGMENT = "bad_fragment"
    BUFFER_FULL = "buffer_full"
    REPEATED = "repeated"
    STALE_HELLO = "stale_hello"
    TOO_LARGE = "too_large"
    OVERLOAD = "overload"
    OUT_OF_REACH = "out_of_reach"


class FailureReason(StrEnum):
    """Why a handshake failed; a closed label set for metrics and logs. Never sent to the peer."""

    # The peer broke the protocol.
    DECODE_ERROR = "decode_error"
    UNEXPECTED_MESSAGE = "unexpected_message"
    ILLEGAL_PARAMETER = "illegal_parameter"
    HANDSHAKE_TOO_LARGE = "handshake_too_large"
    # The two sides have nothing in common.
    PROTOCOL_VERSION = "protocol_version"
    NO_SHARED_SUITE = "no_shared_suite"
    NO_SHARED_GROUP = "no_shared_group"
    NO_SHARED_SIGNATURE_ALGORITHM = "no_shared_signature_algorithm"
    NO_EXTENDED_MASTER_SECRET = "no_extended_master_secret"  # noqa: S105 (the name of an extension)
    INSECURE_RENEGOTIATION = "insecure_renegotiation"
    UNSUPPORTED_EXTENSION = "unsupported_extension"
    # Pre-shared key.
    UNKNOWN_IDENTITY = "unknown_identity"
    WRONG_KEY = "wrong_key"
    # Certificate.
    NO_CERTIFICATE = "no_certificate"
    BAD_CERTIFICATE = "bad_certificate"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CERTIFICATE_NOT_YET_VALID = "certificate_not_yet_valid"
    CERTIFICATE_REVOKED = "certificate_revoked"
    CERTIFICATE_BANNED = "certificate_banned"
    REVOCATION_UNKNOWN = "revocation_unknown"
    UNKNOWN_ROOT = "unknown_root"
    MISSING_INTERMEDIATE = "missing_intermediate"
    CA_AS_LEAF = "ca_as_leaf"
    WRONG_KEY_USAGE = "wrong_key_usage"
    WEAK_KEY = "weak_key"
    CHAIN_TOO_LONG = "chain_too_long"
    NO_DEVICE_NAME = "no_device_name"
    POSSESSION_NOT_PROVEN = "possession_not_proven"
    # Raw public key.
    NO_SHARED_CERTIFICATE_TYPE = "no_shared_certificate_type"
    UNKNOWN_PUBLIC_KEY = "unknown_public_key"
    # The registry's word.
    NOT_PROVISIONED = "not_provisioned"
    DEVICE_DISABLED = "device_disabled"
    DEVICE_PENDING = "device_pending"
    DEVICE_QUARANTINED = "device_quarantined"
    TENANT_DISABLED = "tenant_disabled"
    NO_TENANT = "no_tenant"
    CREDENTIAL_EXPIRED = "credential_expired"
    PSK_ENDED = "psk_ended"
    PROVISIONING_DENIED = "provisioning_denied"
    PROVISIONING_UNAVAILABLE = "provisioning_unavailable"
    CREDENTIAL_REVOKED = "credential_revoked"
    OTHER_ISSUER = "other_issuer"
    REGISTRY_FULL = "registry_full"
    REGISTRY_UNAVAILABLE = "registry_unavailable"
    # Finished, time, peer, us.
    FINISHED_MISMATCH = "finished_mismatch"
    RESUMPTION_MISMATCH = "resumption_mismatch"
    TIMEOUT = "timeout"
    FRAGMENT_TIMEOUT = "fragment_timeout"
    COOKIE_LOOP = "cookie_loop"
    PEER_ALERT = "peer_alert"
    SUPERSEDED = "superseded"
    EVICTED = "evicted"
    BUFFERS_FULL = "buffers_full"
    TOO_MANY_WAITING = "too_many_waiting"
    SHUTDOWN = "shutdown"
    INTERNAL_ERROR = "internal_error"


_A = AlertDescription

ALERT_FOR: dict[FailureReason, AlertDescription | None] = {
    FailureReason.DECODE_ERROR: _A.DECODE_ERROR,
    FailureReason.UNEXPECTED_MESSAGE: _A.UNEXPECTED_MESSAGE,
    FailureReason.ILLEGAL_PARAMETER: _A.ILLEGAL_PARAMETER,
    FailureReason.HANDSHAKE_TOO_LARGE: _A.HANDSHAKE_FAILURE,
    FailureReason.PROTOCOL_VERSION: _A.PROTOCOL_VERSION,
    FailureReason.NO_SHARED_SUITE: _A.HANDSHAKE_FAILURE,
    FailureReason.NO_SHARED_GROUP: _A.HANDSHAKE_FAILURE,
    FailureReason.NO_SHARED_SIGNATURE_ALGORITHM: _A.HANDSHAKE_FAILURE,
    FailureReason.NO_EXTENDED_MASTER_SECRET: _A.HANDSHAKE_FAILURE,
    FailureReason.INSECURE_RENEGOTIATION: _A.HANDSHAKE_FAILURE,
    FailureReason.UNSUPPORTED_EXTENSION: _A.UNSUPPORTED_EXTENSION,
    # RFC 4279 section 2: an unknown identity fails exactly as a wrong key does, so that identities cannot be probed.
    FailureReason.UNKNOWN_IDENTITY: _A.DECRYPT_ERROR,
    FailureReason.WRONG_KEY: _A.DECRYPT_ERROR,
    FailureReason.NO_CERTIFICATE: _A.HANDSHAKE_FAILURE,
    FailureReason.BAD_CERTIFICATE: _A.BAD_CERTIFICATE,
    FailureReason.CERTIFICATE_EXPIRED: _A.CERTIFICATE_EXPIRED,
    FailureReason.CERTIFICATE_NOT_YET_VALID: _A.CERTIFICATE_EXPIRED,
    FailureReason.CERTIFICATE_REVOKED: _A.CERTIFICATE_REVOKED,
    FailureReason.CERTIFICATE_BANNED: _A.CERTIFICATE_REVOKED,
    FailureReason.REVOCATION_UNKNOWN: _A.CERTIFICATE_UNKNOWN,
    FailureReason.UNKNOWN_ROOT: _A.UNKNOWN_CA,
    FailureReason.MISSING_INTERMEDIATE: _A.UNKNOWN_CA,
    FailureReason.CA_AS_LEAF: _A.BAD_CERTIFICATE,
    FailureReason.WRONG_KEY_USAGE: _A.BAD_CERTIFICATE,
    FailureReason.WEAK_KEY: _A.UNSUPPORTED_CERTIFICATE,
    FailureReason.CHAIN_TOO_LONG: _A.BAD_CERTIFICATE,
    FailureReason.NO_DEVICE_NAME: _A.BAD_CERTIFICATE,
    FailureReason.POSSESSION_NOT_PROVEN: _A.DECRYPT_ERROR,
    FailureReason.NO_SHARED_CERTIFICATE_TYPE: _A.UNSUPPORTED_CERTIFICATE,
    FailureReason.UNKNOWN_PUBLIC_KEY: _A.CERTIFICATE_UNKNOWN,
    FailureReason.NOT_PROVISIONED: _A.ACCESS_DENIED,
    FailureReason.DEVICE_DISABLED: _A.ACCESS_DENIED,
    FailureReason.DEVICE_PENDING: _A.ACCESS_DENIED,
    FailureReason.DEVICE_QUARANTINED: _A.ACCESS_DENIED,
    FailureReason.TENANT_DISABLED: _A.ACCESS_DENIED,
    FailureReason.NO_TENANT: _A.ACCESS_DENIED,
    FailureReason.CREDENTIAL_EXPIRED: _A.ACCESS_DENIED,
    FailureReason.PSK_ENDED: _A.ACCESS_DENIED,
    FailureReason.PROVISIONING_DENIED: _A.ACCESS_DENIED,
    FailureReason.PROVISIONING_UNAVAILABLE: _A.INTERNAL_ERROR,
    FailureReason.CREDENTIAL_REVOKED: _A.ACCESS_DENIED,
    FailureReason.OTHER_ISSUER: _A.ACCESS_DENIED,
    FailureReason.REGISTRY_FULL: _A.ACCESS_DENIED,
    FailureReason.REGISTRY_UNAVAILABLE: _A.INTERNAL_ERROR,
    FailureReason.FINISHED_MISMATCH: _A.DECRYPT_ERROR,
    FailureReason.RESUMPTION_MISMATCH: _A.HANDSHAKE_FAILURE,
    FailureReason.TIMEOUT: None,
    FailureReason.FRAGMENT_TIMEOUT: None,
    FailureReason.COOKIE_LOOP: None,
    FailureReason.PEER_ALERT: None,
    FailureReason.SUPERSEDED: None,
    FailureReason.EVICTED: None,
    FailureReason.BUFFERS_FULL: None,
    FailureReason.TOO_MANY_WAITING: None,
    FailureReason.SHUTDOWN: _A.USER_CANCELED,
    FailureReason.INTERNAL_ERROR: _A.INTERNAL_ERROR,
}
"""The one table from reason to fatal alert; None where nothing is sent."""


PSK_REFUSALS = frozenset(
    {
        FailureReason.UNKNOWN_IDENTITY,
        FailureReason.WRONG_KEY,
        FailureReason.NOT_PROVISIONED,
        FailureReason.DEVICE_DISABLED,
        FailureReason.DEVICE_PENDING,
        FailureReason.DEVICE_QUARANTINED,
        FailureReason.TENANT_DISABLED,
        FailureReason.CREDENTIAL_EXPIRED,
        FailureReason.PSK_ENDED,
        FailureReason.CREDENTIAL_REVOKED,
        FailureReason.OTHER_ISSUER,
        FailureReason.REGISTRY_FULL,
        FailureReason.REGISTRY_UNAVAILABLE,
        FailureReason.INTERNAL_ERROR,
    }
)
"""Reasons that look alike on the wire when the peer claims a PSK identity: each is a decrypt_error."""


class HandshakeError(Exception):
    """A handshake that has failed.

    Attributes:
        reason: The typed reason.
        detail: For the operator's log only; never sent.
    """

    def __init__(self, reason: FailureReason, detail: str = "") -> None:
        super().__init__(f"{reason.value}: {detail}" if detail else reason.value)
        self.reason = reason
        self.detail = detail
