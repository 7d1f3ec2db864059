"""Which options stop a request before a handler sees it (RFC 7252 sections 5.4.1, 5.4.3, 5.4.5 and 5.10)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from gateway.coap.numbers import Option

_URI_PATH: Final = 11
_UTF8_OPTIONS: Final = frozenset({3, 11, 15})


class OptionFormat(NamedTuple):
    """The value that a critical option may have (RFC 7252 table 4), lengths in bytes."""

    min_length: int
    max_length: int
    repeatable: bool


# The critical options that mean nothing beyond the message itself. A conditional request (If-Match, If-None-Match) must
# not be done unconditionally and a block must not be taken for the whole, so these get 4.02 from a layer that is not
# told otherwise; whatever honours them passes its own table to `MessageLayer`.
CRITICAL_OPTIONS: Final[Mapping[int, OptionFormat]] = MappingProxyType(
    {
        3: OptionFormat(1, 255, False),  # Uri-Host
        7: OptionFormat(0, 2, False),  # Uri-Port
        11: OptionFormat(0, 255, True),  # Uri-Path
        15: OptionFormat(0, 255, True),  # Uri-Query
        17: OptionFormat(0, 2, False),  # Accept
    }
)

BLOCK_OPTIONS: Final[Mapping[int, OptionFormat]] = MappingProxyType(
    {
        23: OptionFormat(0, 3, False),  # Block2
        27: OptionFormat(0, 3, False),  # Block1
    }
)
"""For a server that takes and gives bodies in blocks (RFC 7959 section 2.1)."""

CONDITIONAL_OPTIONS: Final[Mapping[int, OptionFormat]] = MappingProxyType(
    {
        1: OptionFormat(0, 8, True),  # If-Match
        5: OptionFormat(0, 0, False),  # If-None-Match
    }
)
"""For a server that compares ETags (RFC 7252 section 5.10.8)."""


def find_bad_option(options: list[tuple[int, bytes]], formats: Mapping[int, OptionFormat]) -> int:
    """The number of the first critical option that must not be ignored and cannot be honoured; -1 when there is none.

    A critical option counts as unknown when its length is out of range (5.4.3), when it is repeated without being
    repeatable (5.4.5), and when a string is not UTF-8 (3.2); elective ones never stop a request.
    """
    last = -1
    for number, value in options:
        if number == _URI_PATH:
            # Nearly every option of nearly every request, so without the table.
            if (not value.isascii() or len(value) > 255 or len(value) < 3) and not _is_segment(value):
                return number
        elif number & 1:
            format = formats.get(number)
            if format is None or not format.min_length <= len(value) <= format.max_length:
                return number
            if number == last and not format.repeatable:
                return number
            if number in _UTF8_OPTIONS and not _is_utf8(value):
                return number
        last = number
    return -1


def describe_option(number: int) -> str:
    """The number and, when it is known, the name, for a diagnostic payload."""
    for option in Option:
        if option == number:
            return f"{number} ({option.name.replace('_', '-').title()})"
    return str(number)


def _is_segment(value: bytes) -> bool:
    """A Uri-Path segment: UTF-8 of up to 255 bytes, and never "." or ".." (RFC 7252 section 5.10.1)."""
    return len(value) <= 255 and value != b"." and value != b".." and _is_utf8(value)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
