"""`gateway init`: a folder to start from."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.common import UsageError, new_app, os_error_text, readable_errors
from gateway.config import render_template
from gateway.pki import PkiError, write_development_pki
from gateway.registry import open_registry

app = new_app()


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(help="The folder, new or empty.", metavar="DIR")],
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", help="Configuration file to write, in DIR; gateway.toml by default.", metavar="FILE"
        ),
    ] = None,
) -> None:
    """Write gateway.toml, an empty registry and a development PKI into a folder. Overwrites nothing."""
    with readable_errors(failure=(PkiError,)):
        file = directory / "gateway.toml" if config is None else config
        if file.parent.resolve() != directory.resolve():
            raise UsageError(f"--config {file} is not in {directory}; registry and certificates lie beside it")
        registry, certificates = directory / "registry.db", directory / "certs"
        for path in (file, registry, certificates):
            if path.exists() or path.is_symlink():
                raise UsageError(f"{path} exists already; choose an empty folder, or remove what is there")
        try:
            directory.mkdir(parents=True, exist_ok=True)
            open_registry(f"sqlite:///{registry}", create=True).close()
            write_development_pki(certificates)
            text = render_template(
                {
                    "dtls.certificate": "certs/server.pem",
                    "dtls.private_key": "certs/server.key",
                    "registry.url": "sqlite:///registry.db",
                }
            )
            with file.open("x") as new:
                new.write(text)
        except OSError as error:
            raise UsageError(os_error_text(error)) from error
        print(_next_steps(file, registry, certificates))


def _next_steps(file: Path, registry: Path, certificates: Path) -> str:
    """What to run now; `serve` last, because nothing that is pasted behind it would run."""
    config, bundle = _word(file), _word(certificates / "ca-bundle.pem")
    return f"""Wrote {file}, {registry} and a development PKI in {certificates}.
The PKI is for trying things out: its root's key lies beside it.

  gateway device add dev1 --psk-identity dev1 --generate --config {config}
  gateway ca trust {bundle} --auto-provision --config {config}
  gateway cert issue --device dev2 --config {config}
  gateway serve --config {config}"""


def _word(path: Path) -> str:
    """A path as one word of a shell's command line that is no option either."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)
