"""Devices as their makers would equip them: a key and an identity, or files with a certificate."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.pki import issue_device
from tests.interop.gateway_process import IDENTITY, KEY, Site


@dataclass(frozen=True, slots=True)
class Psk:
    """A pre-shared key; printable, because `coap-client` takes it as text."""

    identity: str = IDENTITY
    key: bytes = field(default=KEY, repr=False)


@dataclass(frozen=True, slots=True)
class Certified:
    """Files of a device that has a certificate.

    Attributes:
        name: What the certificate calls it.
        chain: The device's certificate, then what it presents besides.
        key: Its private key.
        root: The root that it trusts to name servers.
        authorities: The root and the intermediate.
    """

    name: str
    chain: Path
    key: Path
    root: Path
    authorities: Path


def new_device(site: Site, purpose: str) -> Certified:
    """A device that the gateway's root vouches for, and that the gateway has never seen."""
    devices = site.folder / "devices"
    number = len(list(devices.iterdir())) if devices.exists() else 0
    name = f"{purpose.replace('_', '-').lower()[:50]}-{number}"
    made = issue_device(site.pki.intermediate, name)
    return write_device(site, name, made.presented, made.private_key)


def write_device(
    site: Site, name: str, chain: Sequence[x509.Certificate], key: CertificateIssuerPrivateKeyTypes
) -> Certified:
    """Puts any chain and key into files."""
    folder = site.folder / "devices" / name
    folder.mkdir(parents=True)
    device = Certified(
        name, folder / "chain.pem", folder / "device.key", site.pki.root_certificate, folder / "authorities.pem"
    )
    device.chain.write_bytes(b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain))
    device.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    authorities = (site.pki.root.certificate, site.pki.intermediate.certificate)
    device.authorities.write_bytes(b"".join(certificate.public_bytes(Encoding.PEM) for certificate in authorities))
    return device
