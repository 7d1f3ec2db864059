"""Which device a certificate speaks for.

An identity rule says where in a certificate the name stands: in a SAN URI, a SAN DNS name, the subject's commonName or
serialNumber attribute, or in its fingerprint, with literal text before and after it where wanted. Its parts are tried
in order, and the first kind of name that is present decides. As text, the parts are separated by `|`:

    san_uri | san_dns | cn | serial_number      what applies unless a trust anchor says otherwise
    acme-{serial_number} | cn                   a name made of literal text and one placeholder

A certificate with two names of the deciding kind, or with a name that is too long or has a character outside the set
below, is refused rather than read another way: a name that two readers take differently is an identity problem. So is
one that can be put together in two ways, which is why a part has one placeholder. The set is ASCII without spaces,
quotes, backslash and control characters, so that a name survives logs, shells, URLs and file names unchanged;
non-ASCII letters have several encodings for the same look, so there are none.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import NameOID

from gateway.pki.certificates import fingerprint, parse, peer_data, printable
from gateway.pki.errors import ChainProblem, ChainRefused, PkiError
from gateway.pki.fingerprints import stable_fingerprint
from gateway.pki.limits import MAX_DEVICE_NAME_CHARACTERS, MAX_IDENTITY_RULE_CHARACTERS

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~:/@+,=%-]*", re.ASCII)
_LITERAL = re.compile(r"[A-Za-z0-9._~:/@+,=%-]*", re.ASCII)
_PART = re.compile(r"([^{}]*)\{([^{}]*)\}([^{}]*)")


class NameSource(StrEnum):
    """Where in a certificate a device's name stands; the word is the one of an identity rule."""

    SAN_URI = "san_uri"
    """subjectAltName, uniformResourceIdentifier, kept whole: `urn:dev:mac:0024befffe804ff1` is the name as it is."""

    SAN_DNS = "san_dns"
    """subjectAltName, dNSName."""

    CN = "cn"
    """The subject's commonName."""

    SERIAL_NUMBER = "serial_number"
    """The subject's serialNumber attribute, not the certificate's serial number."""

    FINGERPRINT = "fingerprint"
    """SHA-256 of the certificate, lower-case hex (`fingerprints.stable_fingerprint`)."""


_SHOWN = {
    NameSource.SAN_URI: "SAN URI",
    NameSource.SAN_DNS: "SAN DNS name",
    NameSource.CN: "common name",
    NameSource.SERIAL_NUMBER: "serialNumber attribute",
    NameSource.FINGERPRINT: "fingerprint",
}


@dataclass(frozen=True, slots=True)
class NameTemplate:
    """A part of an identity rule: a source, and the literal text around it."""

    source: NameSource
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        return f"{self.before}{{{self.source}}}{self.after}" if self.before or self.after else self.source.value


class FoundName(NamedTuple):
    """A device name and the source that it was found in."""

    name: str
    source: NameSource


@dataclass(frozen=True, slots=True)
class IdentityRule:
    """Where the certificates of a trust anchor have their device's name.

    Attributes:
        parts: Tried in this order.
    """

    parts: tuple[NameTemplate, ...] = (
        NameTemplate(NameSource.SAN_URI),
        NameTemplate(NameSource.SAN_DNS),
        NameTemplate(NameSource.CN),
        NameTemplate(NameSource.SERIAL_NUMBER),
    )

    @classmethod
    def parse(cls, text: str) -> "IdentityRule":
        """Reads a rule written as in the module's docstring; `str` writes it so.

        Raises:
            PkiError: It is no rule.
        """
        if len(text) > MAX_IDENTITY_RULE_CHARACTERS:
            raise PkiError(
                f"the identity rule has {len(text)} characters, at most {MAX_IDENTITY_RULE_CHARACTERS} are accepted"
            )
        parts = tuple(_parse_part(part.strip()) for part in text.split("|"))
        for number, part in enumerate(parts):
            if any(part.source is earlier.source for earlier in parts[:number]):
                raise PkiError(
                    f"the identity rule names {part.source} twice, and the second one would never decide; keep one"
                )
        return cls(parts)

    def __str__(self) -> str:
        return " | ".join(map(str, self.parts))

    def find(
        self,
        leaf: x509.Certificate,
        issuer: x509.Certificate | None,
        alternative_names: Sequence[x509.GeneralName] | None = None,
    ) -> FoundName:
        """The device name that a leaf certificate carries.

        Args:
            leaf: The device's certificate.
            issuer: The one that signed it; None for a certificate that is a trust anchor itself.
            alternative_names: The names in its subjectAltName, if somebody has read them already.

        Raises:
            ChainRefused: There is none, or not exactly one, or it is not acceptable (`NO_IDENTITY`).
            Exception: Of a certificate that did not go through `peer_data`, whatever the library makes of its bytes.
        """
        if alternative_names is None:
            alternative_names = _alternative_names(leaf)
        for part in self.parts:
            if values := _values(part.source, leaf, issuer, alternative_names):
                return FoundName(_name(part, values), part.source)
        wanted = ", ".join(_SHOWN[part.source] for part in self.parts)
        raise _no_identity(
            f"the device certificate has none of the names that its trust anchor's identity rule looks for ({wanted}); "
            "issue one with `gateway cert issue --device ID`, or change the rule"
        )


DEFAULT_RULE = IdentityRule()


def device_name(leaf: x509.Certificate) -> str:
    """The device name that a leaf certificate carries, by the default rule.

    Raises:
        ChainRefused: There is none, or not exactly one, or it is not acceptable (`NO_IDENTITY`).
    """
    with peer_data("the device certificate's name"):
        return DEFAULT_RULE.find(leaf, None).name


def claimed_name(leaf_der: bytes) -> str | None:
    """The name by the default rule in a certificate that nobody has verified: what a stranger claims to be.

    Args:
        leaf_der: Any bytes.

    Returns:
        A name that a device could have, safe to show; None where there is none.
    """
    try:
        return device_name(parse(leaf_der, 0))
    except ChainRefused:
        return None


def organizations(leaf: x509.Certificate) -> tuple[str, ...]:
    """The organizationName attributes of the subject, as its CA signed them; none of a subject that is unreadable."""
    try:
        with peer_data("the device certificate's subject"):
            found = leaf.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    except ChainRefused:
        return ()
    return tuple(attribute.value for attribute in found if isinstance(attribute.value, str))


def is_device_name(text: str) -> bool:
    """Whether a text can be a device's name: 1-128 characters of the set in the module's docstring."""
    return len(text) <= MAX_DEVICE_NAME_CHARACTERS and _NAME.fullmatch(text) is not None


def is_uri(text: str) -> bool:
    """Whether a device name is written as a SAN URI (`urn:...`, `scheme://...`) when we issue a certificate for it."""
    return text.lower().startswith("urn:") or "://" in text


def _parse_part(text: str) -> NameTemplate:
    valid = ", ".join(NameSource)
    if not text:
        raise PkiError(f"the identity rule has an empty part; write sources separated by |, each one of {valid}")
    if text in tuple(NameSource):
        return NameTemplate(NameSource(text))
    shown = printable(text)
    match = _PART.fullmatch(text)
    if match is None:
        raise PkiError(
            f"'{shown}' in the identity rule is neither a source ({valid}) nor literal text around one placeholder, as "
            "in acme-{cn}"
        )
    before, source, after = match.groups()
    if source not in tuple(NameSource):
        raise PkiError(f"'{shown}' in the identity rule has an unknown placeholder; valid are {valid}")
    if not _LITERAL.fullmatch(before) or not _LITERAL.fullmatch(after) or not (before or "a")[0].isalnum():
        raise PkiError(
            f"the literal text of '{shown}' in the identity rule cannot be part of a device name: it starts with a "
            "letter or digit and has only ASCII letters, digits and . _ ~ : / @ + , = % -"
        )
    if len(before) + len(after) >= MAX_DEVICE_NAME_CHARACTERS:
        raise PkiError(
            f"the literal text of '{shown}' in the identity rule leaves no room in a device name of at most "
            f"{MAX_DEVICE_NAME_CHARACTERS} characters"
        )
    return NameTemplate(NameSource(source), before, after)


def _values(
    source: NameSource,
    leaf: x509.Certificate,
    issuer: x509.Certificate | None,
    alternative_names: Sequence[x509.GeneralName],
) -> list[str]:
    match source:
        case NameSource.SAN_URI:
            return [name.value for name in alternative_names if isinstance(name, x509.UniformResourceIdentifier)]
        case NameSource.SAN_DNS:
            return [name.value for name in alternative_names if isinstance(name, x509.DNSName)]
        case NameSource.CN:
            return _attributes(leaf, NameOID.COMMON_NAME)
        case NameSource.SERIAL_NUMBER:
            return _attributes(leaf, NameOID.SERIAL_NUMBER)
        case NameSource.FINGERPRINT:
            return [stable_fingerprint(leaf, issuer) if issuer else fingerprint(leaf)]


def _alternative_names(leaf: x509.Certificate) -> Sequence[x509.GeneralName]:
    try:
        return list(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return ()


def _attributes(leaf: x509.Certificate, oid: x509.ObjectIdentifier) -> list[str]:
    # A BIT STRING attribute has bytes; as a name it is refused by its characters.
    return [str(attribute.value) for attribute in leaf.subject.get_attributes_for_oid(oid)]


def _name(part: NameTemplate, values: list[str]) -> str:
    name = f"{part.before}{values[0]}{part.after}"
    if len(values) == 1 and values[0] and is_device_name(name):
        return name
    raise _no_identity(_why_not(part, values, name))


def _why_not(part: NameTemplate, values: list[str], name: str) -> str:
    kind = _SHOWN[part.source]
    if len(values) > 1:
        return (
            f"the device certificate has {len(values)} names of the kind {kind}, so it is not clear which one "
            "is the device; issue it with exactly one"
        )
    if not values[0]:
        return f"the {kind} of the device certificate is empty; issue one with a name"
    what = f"the {kind}{f' as {part}' if part.before or part.after else ''}"
    if len(name) > MAX_DEVICE_NAME_CHARACTERS:
        return (
            f"{what} of the device certificate has {len(name)} characters, more than the "
            f"{MAX_DEVICE_NAME_CHARACTERS} of a device name; issue one with a shorter name"
        )
    return (
        f"{what} '{printable(name)}' of the device certificate cannot be a device name: it starts with a "
        "letter or digit and has only ASCII letters, digits and . _ ~ : / @ + , = % -; issue one with such a name"
    )


def _no_identity(detail: str) -> ChainRefused:
    return ChainRefused(ChainProblem.NO_IDENTITY, detail)
