"""The `gateway` command. Holds options and texts; the work is done in the rooms below."""

from typing import Annotated

import typer

from gateway import __version__
from gateway.cli import ca, cert, demo, device, init, serve, simulate

app = typer.Typer(
    name="gateway",
    help="Cloud ingress for constrained devices: CoAP over DTLS 1.2 with pre-shared keys and X.509 certificates.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("init")(init.init)
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
app.command("simulate")(simulate.simulate)
app.add_typer(device.app, name="device")
app.add_typer(ca.app, name="ca")
app.add_typer(cert.app, name="cert")


def main() -> None:
    """The entry point of the installed command."""
    app()


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        print(f"gateway {__version__}")
        raise typer.Exit


__all__ = ["app", "main"]
