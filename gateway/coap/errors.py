"""What the codec says about bytes that are no CoAP message."""

from enum import StrEnum


class Malformed(StrEnum):
    """Why bytes are not a message; the RFC 7252 section that says so beside each."""

    TOO_SHORT = "too_short"  # 3: four bytes of header at least
    VERSION = "version"  # 3: silently ignored, not even reset
    TOKEN_LENGTH = "token_length"  # noqa: S105 - section 3: lengths 9-15 are reserved
    TOKEN_TRUNCATED = "token_truncated"  # noqa: S105
    EMPTY_NOT_EMPTY = "empty_not_empty"  # 4.1: an Empty message is its header and nothing else
    OPTION_RESERVED = "option_reserved"  # 3.1: delta or length 15 outside the payload marker
    OPTION_TRUNCATED = "option_truncated"  # 3.1
    OPTION_NUMBER = "option_number"  # 12.2: numbers end at 65535
    PAYLOAD_MISSING = "payload_missing"  # 3: a marker must be followed by a payload


class DecodeError(Exception):
    """Bytes are not a CoAP message.

    Attributes:
        reason: What is wrong.
        type: The T field, when the header could be read and its version is ours; else None.
        message_id: The message id under the same condition, so that a RST can be sent.
    """

    def __init__(self, reason: Malformed, type: int | None = None, message_id: int | None = None) -> None:
        super().__init__(f"not a CoAP message: {reason.value}")
        self.reason = reason
        self.type = type
        self.message_id = message_id
