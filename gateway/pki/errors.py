"""What can go wrong with certificates: of a peer (`ChainRefused`), or in the operator's own files (`PkiError`)."""

from enum import StrEnum


class ChainProblem(StrEnum):
    """Why a presented chain was refused; a closed label set for metrics."""

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


class ChainRefused(Exception):
    """The only exception that a presented chain can cause.

    Attributes:
        problem: The typed reason.
        detail: For the operator: what is wrong and what to do next. Printable and bounded; it may quote names out of
            the peer's certificates, so it belongs into logs, never onto the wire.
    """

    def __init__(self, problem: ChainProblem, detail: str) -> None:
        super().__init__(f"{problem}: {detail}")
        self.problem = problem
        self.detail = detail


class PkiError(Exception):
    """A file or a request of the operator that cannot be used; the text says what to do next."""
