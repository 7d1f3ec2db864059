"""Names of content formats, for people and for the systems behind a handler."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

MEDIA_TYPES: Final[Mapping[int, str]] = MappingProxyType(
    {
        0: "text/plain; charset=utf-8",
        40: "application/link-format",
        41: "application/xml",
        42: "application/octet-stream",
        47: "application/exi",
        50: "application/json",
        51: "application/json-patch+json",
        52: "application/merge-patch+json",
        60: "application/cbor",
        61: "application/cwt",
        63: "application/cbor-seq",
        110: "application/senml+json",
        111: "application/sensml+json",
        112: "application/senml+cbor",
        113: "application/sensml+cbor",
        310: "application/senml+xml",
        311: "application/sensml+xml",
        11542: "application/vnd.oma.lwm2m+tlv",
        11543: "application/vnd.oma.lwm2m+json",
        11544: "application/vnd.oma.lwm2m+cbor",
    }
)
"""Media types by number, of IANA's registry "CoAP Content-Formats": those that devices send."""

JSON_FORMATS: Final = frozenset({50, 51, 52, 110, 111, 11543})
"""Content formats whose payload is one JSON value."""


def media_type(content_format: int | None) -> str | None:
    """Return the media type of a content format, its number as text when it has none here, None for none."""
    if content_format is None:
        return None
    return MEDIA_TYPES.get(content_format) or str(content_format)
