"""`gateway init`: a folder to start from."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.common import UsageError, readable_errors
from gateway.config import render_template
from gateway.pki import write_development_pki
from gateway.registry import open_registry


def init(
    directory: Annotated[Path, typer.Argument(help="The folder, new or empty.", metavar="DIR")],
) -> None:
    """Write gateway.toml, an empty registry and a development PKI into a folder. Overwrites nothing."""
    with readable_errors():
        config, registry = directory / "gateway.toml", directory / "registry.db"
        for path in (config, registry, directory / "certs"):
            if path.exists():
                raise UsageError(f"{path} exists already; choose an empty folder, or remove what is there")
        try:
            directory.mkdir(parents=True, exist_ok=True)
            write_development_pki(directory / "certs")
            open_registry(f"sqlite:///{registry}", create=True).close()
            text = render_template(
                {
                    "dtls.certificate": "certs/server.pem",
                    "dtls.private_key": "certs/server.key",
                    "registry.url": "sqlite:///registry.db",
                }
            )
            config.write_text(text)
        except OSError as error:
            raise UsageError(f"{error.filename or directory}: {error.strerror}") from error
        print(f"""Wrote {config}, {registry} and a development PKI in {directory / "certs"}.
The PKI is for trying things out: its root's key lies beside it.

  gateway serve --config {config}
  gateway device add dev1 --psk-identity dev1 --generate --config {config}
  gateway ca trust {directory / "certs" / "ca-bundle.pem"} --auto-provision --config {config}
  gateway cert issue --device dev2 --config {config}""")
