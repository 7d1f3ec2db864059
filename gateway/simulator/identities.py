"""Identities for many simulated devices."""

from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from gateway.dtls import Credential, SigningKey
from gateway.pki import (
    CertifiedKey,
    DeviceKey,
    PkiError,
    enclose,
    issue_device,
    load_certified_key,
    load_device_key,
)
from gateway.simulator.device import DeviceIdentity


def psk_identities(count: int, template: str, key: bytes) -> list[DeviceIdentity]:
    """Devices with one key; `{n}` in the template of their PSK identities becomes the number, from 1."""
    names = [template.replace("{n}", str(number)) for number in range(1, count + 1)]
    return [DeviceIdentity(name, psk_identity=name.encode(), psk=key) for name in names]


def certificate_identities(count: int, template: str, issuer: CertifiedKey) -> list[DeviceIdentity]:
    """Devices with a fresh certificate each; `{n}` in the template of their names becomes the number."""
    names = [template.replace("{n}", str(number)) for number in range(1, count + 1)]
    return [certified(name, issue_device(issuer, name)) for name in names]


def lot_identities(folder: Path, count: int | None) -> list[DeviceIdentity]:
    """The devices of a production lot: certificates and keys as `gateway cert bulk` writes them into a folder.

    Args:
        folder: Of the lot.
        count: The first so many, by name; None for all.

    Raises:
        PkiError: There are not so many, or a file is not what it should be.
    """
    files = sorted(folder.rglob("*.pem"))
    if not files or len(files) < (count or 0):
        raise PkiError(f"{folder} has {len(files)} certificates in it; name the folder that `gateway cert bulk` made")
    return [certified(file.stem, load_certified_key(file, file.with_suffix(".key"))) for file in files[:count]]


def raw_key_identities(count: int, template: str) -> list[DeviceIdentity]:
    """Devices with a raw public key each, out of files; `{n}` in the template of the paths becomes the number.

    Raises:
        PkiError: A file holds no key that a device may have.
    """
    paths = [Path(template.replace("{n}", str(number))) for number in range(1, count + 1)]
    keys = {path: load_device_key(path) for path in dict.fromkeys(paths)}
    return [with_raw_key(path.stem, keys[path]) for path in paths]


def certified(name: str, made: CertifiedKey) -> DeviceIdentity:
    """A device that proves itself with this certificate."""
    return DeviceIdentity(name, credential=Credential(tuple(made.presented_der), SigningKey(made.private_key)))


def with_raw_key(name: str, key: DeviceKey) -> DeviceIdentity:
    """A device that proves itself with its bare key (RFC 7250)."""
    # The engine takes a key with a certificate around it. It is sent only to a server that does not know the extension.
    certificate = enclose(key).public_bytes(Encoding.DER)
    return DeviceIdentity(name, credential=Credential((certificate,), SigningKey(key)), raw_public_key=True)
