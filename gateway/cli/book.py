"""The book of the certificates that our CAs issued: what the commands that issue and revoke have in common."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509

from gateway.cli.common import locate_config, registry_of
from gateway.pki import fingerprint
from gateway.registry import IssuedCertificate, Registry

RecordOption = Annotated[
    bool | None,
    typer.Option(
        "--record/--no-record",
        help="Write the certificate down in the registry, for `cert revoke`; by default if there is a configuration.",
    ),
]


@contextmanager
def book_if_wanted(config: Path | None, record: bool | None) -> Iterator[Registry | None]:
    """The registry, if what is issued is to be written down: by default where there is a configuration."""
    if record is False or (record is None and locate_config(config) is None):
        yield None
        return
    with registry_of(config) as registry:
        yield registry


def line_of(
    certificate: x509.Certificate, issuer: x509.Certificate, tenant_id: str, device_id: str
) -> IssuedCertificate:
    """A certificate as the registry has it."""
    return IssuedCertificate(
        issuer_id=fingerprint(issuer),
        serial=f"{certificate.serial_number:x}",
        tenant_id=tenant_id,
        device_id=device_id,
        fingerprint=fingerprint(certificate),
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
    )
