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
        257: "application/concise-problem-details+cbor",
        310: "application/senml+xml",
        311: "application/sensml+xml",
        320: "application/senml-etch+json",
        322: "application/senml-etch+cbor",
        11542: "application/vnd.oma.lwm2m+tlv",
        11543: "application/vnd.oma.lwm2m+json",
        11544: "application/vnd.oma.lwm2m+cbor",
    }
)
"""Media types by number, of IANA's registry "CoAP Content-Formats": those that devices send."""

JSON_FORMATS: Final = frozenset({50, 51, 52, 110, 111, 320, 11543})
"""Content formats whose payload is one JSON value."""

CBOR_FORMATS: Final = frozenset({60, 112, 113, 257, 322, 11544})
"""Content formats whose payload is one CBOR value."""

SENML_FORMATS: Final = frozenset({110, 111, 112, 113})
"""Content formats whose value is a SenML pack (RFC 8428)."""

_NUMBERS: Final[Mapping[str, int]] = MappingProxyType({name: number for number, name in MEDIA_TYPES.items()})


def media_type(content_format: int | None) -> str | None:
    """Return the media type of a content format, its number as text when it has none here, None for none."""
    if content_format is None:
        return None
    return MEDIA_TYPES.get(content_format) or str(content_format)


def content_format(name: int | str) -> int:
    """Return the number of a content format that is given by number or by media type, such as "application/cbor".

    Raises:
        ValueError: No content format has this name here, or the number is out of range.
    """
    if isinstance(name, str):
        # The one media type with a parameter goes by its bare name too.
        number = _NUMBERS.get(name, 0 if name == "text/plain" else None)
        if number is None:
            raise ValueError(f"no content format is named {name!r} here; give its number")
        return number
    if not 0 <= name <= 0xFFFF:
        raise ValueError(f"a content format is a number from 0 to 65535, not {name}")
    return int(name)
