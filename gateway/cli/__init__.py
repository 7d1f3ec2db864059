"""The `gateway` command. Holds options and texts; the work is done in the rooms below."""

import io
import os
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from gateway import __version__, is_compiled

_COMMANDS = (
    "init",
    "serve",
    "demo",
    "simulate",
    "bench",
    "tenant",
    "device",
    "credential",
    "psk",
    "keys",
    "fleet",
    "ca",
    "cert",
    "status",
    "audit",
    "explain",
    "doctor",
    "token",
    "db",
)


class _OnDemand(TyperGroup):
    """Imports a command's module when that command is asked for.

    `gateway device list` needs no DTLS engine and no web server, and importing all takes three times as long as it.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        # After a name that does not exist, all are there for the base class to suggest one.
        for name in [cmd_name] if cmd_name in _COMMANDS else _COMMANDS:
            if name not in self.commands:
                command = get_command(import_module(f"{__name__}.{name}").app)
                command.name = name
                self.add_command(command)
        return self.commands.get(cmd_name)


app = typer.Typer(
    name="gateway",
    cls=_OnDemand,
    help="Cloud ingress for constrained devices: CoAP over DTLS 1.2 with pre-shared keys, X.509 certificates "
    "and raw public keys.",
    epilog="Exit status: 0 done, 1 failed, 2 wrong usage or configuration, 3 not found, 4 conflict with what exists, "
    "5 done in part, 6 unhealthy.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """The entry point of the installed command."""
    if sys.stdout is None:
        # Started with its output closed (`>&-`).
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  for as long as the process runs
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the terminal's encoding lacks is shown escaped, not as a traceback.
        sys.stdout.reconfigure(errors="backslashreplace")
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"gateway {__version__}{' (compiled)' if is_compiled() else ''}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    pass


__all__ = ["app", "main"]
