"""The options that the commands which issue certificates share."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.common import certificates_folder, key_beside
from gateway.pki import CertifiedKey, load_certified_key

CaOption = Annotated[
    Path | None, typer.Option(help="Certificate of the issuing CA; certs/intermediate.pem by default.", metavar="FILE")
]
CaKeyOption = Annotated[
    Path | None, typer.Option(help="Its key; the certificate's path with .key by default.", metavar="FILE")
]
DaysOption = Annotated[
    int | None, typer.Option(help="How long it is valid; never longer than the CA.", min=1, max=36_500)
]


def issuing_ca(ca: Path | None, ca_key: Path | None, config: Path | None) -> CertifiedKey:
    """The CA that a command issues from."""
    certificate = ca if ca is not None else certificates_folder(config) / "intermediate.pem"
    return load_certified_key(certificate, key_beside(certificate, ca_key))


def lifetime_of(days: int | None, default: timedelta) -> timedelta:
    return default if days is None else timedelta(days=days)
