"""`gateway token`: who may manage a gateway over HTTP."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.common import ConfigOption, UsageError, new_app, readable_errors, settings_for

app = new_app("Make tokens for the management API.")


@app.callback()
def _group() -> None:
    """So that `create` is a command of its own, though there is no other one."""


@app.command("create")
def create(
    name: Annotated[str, typer.Option(help="Whose it is, for the audit trail.", metavar="NAME")],
    file: Annotated[
        Path | None,
        typer.Option("--file", help="The gateway's file; [admin] token_file of the configuration by default."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Make a token and print it, once. A running gateway takes it at once."""
    from gateway.admin import TokenError, add_token  # a server, which the other commands need not load

    with readable_errors(failure=(TokenError,)):
        path = file if file is not None else settings_for(config).admin.token_file
        if path is None:
            raise UsageError("name the gateway's file with [admin] token_file in the configuration, or with --file")
        token = add_token(path, name)
        print(token)
        print(f"gateway: {path} knows it by its digest only; keep it in a file of mode 0600", file=sys.stderr)
