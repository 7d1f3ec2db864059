"""What `lint` says: typed, so that a script can go by it, with a text and a remedy for the operator."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a certificate is to be used as."""

    DEVICE = "device"
    CA = "ca"
    SERVER = "server"


class Severity(StrEnum):
    """How bad a finding is; see the module."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class LintCode(StrEnum):
    """What a finding is about; stable names for scripts."""

    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    NOT_VERSION_3 = "not_version_3"
    SERIAL_NUMBER = "serial_number"
    SHA1_SIGNATURE = "sha1_signature"
    WEAK_SIGNATURE = "weak_signature"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRES_SOON = "expires_soon"
    DATES_REVERSED = "dates_reversed"
    LONG_LIFETIME = "long_lifetime"
    UNKNOWN_CRITICAL_EXTENSION = "unknown_critical_extension"
    EMPTY_SUBJECT = "empty_subject"
    WEAK_KEY = "weak_key"
    SELF_SIGNED = "self_signed"
    MISSING_SUBJECT_KEY_ID = "missing_subject_key_id"
    MISSING_AUTHORITY_KEY_ID = "missing_authority_key_id"
    MISSING_BASIC_CONSTRAINTS = "missing_basic_constraints"
    BASIC_CONSTRAINTS_NOT_CRITICAL = "basic_constraints_not_critical"
    NOT_A_CA = "not_a_ca"
    CA_AS_DEVICE = "ca_as_device"
    CA_AS_SERVER = "ca_as_server"
    MISSING_KEY_USAGE = "missing_key_usage"
    WRONG_KEY_USAGE = "wrong_key_usage"
    MISSING_CRL_SIGN = "missing_crl_sign"
    MISSING_EXTENDED_KEY_USAGE = "missing_extended_key_usage"
    WRONG_EXTENDED_KEY_USAGE = "wrong_extended_key_usage"
    MISSING_SAN = "missing_san"
    NO_DEVICE_NAME = "no_device_name"
    NAME_CONSTRAINTS_UNSUPPORTED = "name_constraints_unsupported"
    NAME_CONSTRAINTS = "name_constraints"


@dataclass(frozen=True, slots=True)
class Finding:
    """One objection.

    Attributes:
        code: What it is about.
        severity: How bad it is.
        text: What is wrong, for the operator; printable.
        remedy: What to do about it.
    """

    code: LintCode
    severity: Severity
    text: str
    remedy: str


def error(code: LintCode, text: str, remedy: str) -> Finding:
    """A finding for which this gateway refuses the certificate."""
    return Finding(code, Severity.ERROR, text, remedy)


def warning(code: LintCode, text: str, remedy: str) -> Finding:
    """One for which others do."""
    return Finding(code, Severity.WARNING, text, remedy)


def note(code: LintCode, text: str, remedy: str) -> Finding:
    """One that is worth knowing."""
    return Finding(code, Severity.NOTE, text, remedy)
