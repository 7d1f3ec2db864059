"""What a registry takes, whichever backend."""

import re
from collections.abc import Iterable

from gateway.registry.errors import InvalidValue
from gateway.registry.limits import (
    MAX_ATTRIBUTE_CHARACTERS,
    MAX_ATTRIBUTES,
    MAX_CERTIFICATE_BYTES,
    MAX_DEVICE_ID_CHARACTERS,
    MAX_PSK_BYTES,
    MAX_PSK_IDENTITY_BYTES,
    MAX_PUBLIC_KEY_BYTES,
    MAX_TAG_CHARACTERS,
    MAX_TAGS,
    MIN_PSK_BYTES,
)

_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/=@+-]*", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~:/@+,=%-]*", re.ASCII)


def check_id(what: str, text: str) -> None:
    """Checks a device or tenant id. The set is that of device names in certificates, so that either can come first.

    Raises:
        InvalidValue: It is empty, too long, or has another character.
    """
    if len(text) > MAX_DEVICE_ID_CHARACTERS or _ID.fullmatch(text) is None:
        raise InvalidValue(
            f"{text[:MAX_DEVICE_ID_CHARACTERS]!r} cannot be a {what} id: use 1-{MAX_DEVICE_ID_CHARACTERS} ASCII "
            "letters, digits and . _ ~ : / @ + , = % -, a letter or digit first"
        )


def check_device_name(text: str) -> None:
    """As `check_id`, for a device."""
    check_id("device", text)


def check_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Checks a device's tags. They hold no quotes and no blanks, so that lists of them are easy to read and to search.

    Returns:
        Each once, sorted.

    Raises:
        InvalidValue: One is not acceptable, or there are too many.
    """
    unique = tuple(sorted(set(tags)))
    for tag in unique:
        if len(tag) > MAX_TAG_CHARACTERS or _TAG.fullmatch(tag) is None:
            raise InvalidValue(
                f"{tag[:MAX_TAG_CHARACTERS]!r} cannot be a tag: use 1-{MAX_TAG_CHARACTERS} ASCII letters, digits and "
                ". _ : / = @ + -, a letter or digit first"
            )
    if len(unique) > MAX_TAGS:
        raise InvalidValue(f"a device has at most {MAX_TAGS} tags, not {len(unique)}")
    return unique


def check_attributes(attributes: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Checks a device's attributes: names as tags, values any text.

    Returns:
        Sorted by name; the last one counts where a name comes twice.

    Raises:
        InvalidValue: One is not acceptable, or there are too many.
    """
    values = dict(attributes)
    for name, value in values.items():
        if len(name) > MAX_TAG_CHARACTERS or _TAG.fullmatch(name) is None:
            raise InvalidValue(f"{name[:MAX_TAG_CHARACTERS]!r} cannot be the name of an attribute")
        if len(value) > MAX_ATTRIBUTE_CHARACTERS or "\0" in value:
            raise InvalidValue(f"the attribute {name} has at most {MAX_ATTRIBUTE_CHARACTERS} characters, and no NUL")
    if len(values) > MAX_ATTRIBUTES:
        raise InvalidValue(f"a device has at most {MAX_ATTRIBUTES} attributes, not {len(values)}")
    return tuple(sorted(values.items()))


def check_psk(
    identity: bytes,
    key: bytes | None,
    *,
    allow_short_key: bool = False,
    remedy: str = "let one be made with `--generate`",
) -> None:
    """Checks the lengths of a PSK identity and its key, if it has one; their bytes may be anything.

    Args:
        identity: The identity.
        key: The key.
        allow_short_key: Takes a key of one byte.
        remedy: What to do about a short one.

    Raises:
        InvalidValue: One is too short or too long.
    """
    if not 1 <= len(identity) <= MAX_PSK_IDENTITY_BYTES:
        raise InvalidValue(f"a PSK identity has 1-{MAX_PSK_IDENTITY_BYTES} bytes, this one has {len(identity)}")
    if key is None:
        return
    least = 1 if allow_short_key else MIN_PSK_BYTES
    if len(key) < least:
        raise InvalidValue(f"a pre-shared key has at least {least} bytes, this one has {len(key)}; {remedy}")
    if len(key) > MAX_PSK_BYTES:
        raise InvalidValue(f"a pre-shared key has at most {MAX_PSK_BYTES} bytes, this one has {len(key)}")


def check_certificate(der: bytes) -> None:
    """Checks the size of a certificate to store.

    Raises:
        InvalidValue: It is empty or too large.
    """
    if not 1 <= len(der) <= MAX_CERTIFICATE_BYTES:
        raise InvalidValue(f"a certificate has 1-{MAX_CERTIFICATE_BYTES} bytes as DER, this one has {len(der)}")


def check_public_key(der: bytes) -> None:
    """Checks the size of a raw public key.

    Raises:
        InvalidValue: It is empty or too large.
    """
    if not 1 <= len(der) <= MAX_PUBLIC_KEY_BYTES:
        raise InvalidValue(f"a public key has 1-{MAX_PUBLIC_KEY_BYTES} bytes as DER, this one has {len(der)}")


def shown_identity(identity: bytes) -> str:
    """A PSK identity for an operator text: quoted where it is printable ASCII, else in hex."""
    text = identity.decode("latin-1")
    return repr(text) if text.isascii() and text.isprintable() else f"0x{identity.hex()}"
