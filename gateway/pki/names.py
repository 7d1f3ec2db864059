"""Which device a certificate speaks for.

The rule, tried in this order, and the first kind of name that is present decides:

1. SAN uniformResourceIdentifier, kept whole: `urn:dev:mac:0024befffe804ff1` is the device's name as it stands;
2. SAN dNSName;
3. subject commonName;
4. subject serialNumber attribute.

A certificate with two names of the deciding kind, or with a name that is too long or has a character outside the set
below, is refused rather than read another way: a name that two readers take differently is an identity problem. The
set is ASCII without spaces, quotes, backslash and control characters, so that a name survives logs, shells, URLs and
file names unchanged; non-ASCII letters have several encodings for the same look, so there are none.
"""

import re

from cryptography import x509
from cryptography.x509.oid import NameOID

from gateway.pki.certificates import peer_data, printable
from gateway.pki.errors import ChainProblem, ChainRefused
from gateway.pki.limits import MAX_DEVICE_NAME_CHARACTERS

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~:/@+,=%-]*", re.ASCII)


def device_name(leaf: x509.Certificate) -> str:
    """The device name that a leaf certificate carries, by the rule of this module.

    Raises:
        ChainRefused: There is none, or not exactly one, or it is not acceptable (`NO_IDENTITY`).
    """
    with peer_data("the device certificate's name"):
        candidates = _candidates(leaf)
    for kind, values in candidates:
        if len(values) == 1:
            return _checked(kind, values[0])
        if values:
            raise ChainRefused(
                ChainProblem.NO_IDENTITY,
                f"the device certificate has {len(values)} names of the kind {kind}, so it is not clear which one "
                "is the device; issue it with exactly one",
            )
    raise ChainRefused(
        ChainProblem.NO_IDENTITY,
        "the device certificate has no SAN URI, SAN DNS name, common name or serialNumber attribute; "
        "issue one with `gateway cert issue --device ID`",
    )


def is_device_name(text: str) -> bool:
    """Whether a text can be a device's name: 1-128 characters of the set in the module's docstring."""
    return len(text) <= MAX_DEVICE_NAME_CHARACTERS and _NAME.fullmatch(text) is not None


def is_uri(text: str) -> bool:
    """Whether a device name is written as a SAN URI (`urn:...`, `scheme://...`) when we issue a certificate for it."""
    return text.lower().startswith("urn:") or "://" in text


def _candidates(leaf: x509.Certificate) -> list[tuple[str, list[str]]]:
    try:
        san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        san = x509.SubjectAlternativeName([])
    return [
        ("SAN URI", san.get_values_for_type(x509.UniformResourceIdentifier)),
        ("SAN DNS", san.get_values_for_type(x509.DNSName)),
        ("common name", _attributes(leaf, NameOID.COMMON_NAME)),
        ("serialNumber attribute", _attributes(leaf, NameOID.SERIAL_NUMBER)),
    ]


def _attributes(leaf: x509.Certificate, oid: x509.ObjectIdentifier) -> list[str]:
    # A BIT STRING attribute has bytes; as a name it is refused by its characters.
    return [str(attribute.value) for attribute in leaf.subject.get_attributes_for_oid(oid)]


def _checked(kind: str, value: str) -> str:
    if not value:
        raise ChainRefused(
            ChainProblem.NO_IDENTITY, f"the {kind} of the device certificate is empty; issue one with a name"
        )
    if len(value) > MAX_DEVICE_NAME_CHARACTERS:
        raise ChainRefused(
            ChainProblem.NO_IDENTITY,
            f"the {kind} of the device certificate has {len(value)} characters, more than the "
            f"{MAX_DEVICE_NAME_CHARACTERS} of a device name; issue one with a shorter name",
        )
    if not is_device_name(value):
        raise ChainRefused(
            ChainProblem.NO_IDENTITY,
            f"the {kind} '{printable(value)}' of the device certificate cannot be a device name: it starts with a "
            "letter or digit and has only ASCII letters, digits and . _ ~ : / @ + , = % -; issue one with such a name",
        )
    return value
