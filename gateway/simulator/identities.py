"""Identities for many simulated devices."""

from gateway.dtls import Credential, SigningKey
from gateway.pki import CertifiedKey, issue_device
from gateway.simulator.device import DeviceIdentity


def psk_identities(count: int, template: str, key: bytes) -> list[DeviceIdentity]:
    """Devices with one key; `{n}` in the template of their PSK identities becomes the number, from 1."""
    names = [template.replace("{n}", str(number)) for number in range(1, count + 1)]
    return [DeviceIdentity(name, psk_identity=name.encode(), psk=key) for name in names]


def certificate_identities(count: int, template: str, issuer: CertifiedKey) -> list[DeviceIdentity]:
    """Devices with a fresh certificate each; `{n}` in the template of their names becomes the number."""
    names = [template.replace("{n}", str(number)) for number in range(1, count + 1)]
    return [certified(name, issue_device(issuer, name)) for name in names]


def certified(name: str, made: CertifiedKey) -> DeviceIdentity:
    """A device that proves itself with this certificate."""
    return DeviceIdentity(name, credential=Credential(tuple(made.presented_der), SigningKey(made.private_key)))
