"""What a registry takes, whichever backend."""

import re

from gateway.registry.errors import InvalidValue
from gateway.registry.limits import (
    MAX_CERTIFICATE_BYTES,
    MAX_DEVICE_ID_CHARACTERS,
    MAX_PSK_BYTES,
    MAX_PSK_IDENTITY_BYTES,
    MAX_PUBLIC_KEY_BYTES,
    MIN_PSK_BYTES,
)

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


def check_psk(identity: bytes, key: bytes, *, allow_short_key: bool) -> None:
    """Checks the lengths of a PSK identity and its key; their bytes may be anything.

    Raises:
        InvalidValue: One is too short or too long.
    """
    if not 1 <= len(identity) <= MAX_PSK_IDENTITY_BYTES:
        raise InvalidValue(f"a PSK identity has 1-{MAX_PSK_IDENTITY_BYTES} bytes, this one has {len(identity)}")
    least = 1 if allow_short_key else MIN_PSK_BYTES
    if len(key) < least:
        raise InvalidValue(
            f"a pre-shared key has at least {least} bytes, this one has {len(key)}; let one be made with `--generate`"
        )
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
