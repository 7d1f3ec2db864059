"""What the commands share: options, error texts, exit codes, tables and JSON."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from gateway.config import CONFIG_VARIABLE, ConfigError, Settings, load_settings
from gateway.pki import PkiError
from gateway.registry import Conflict, NotFound, Registry, RegistryError, open_registry
from gateway.server import BindError
from gateway.simulator import DeviceError

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_NOT_FOUND = 3
EXIT_CONFLICT = 4

_PIPE_WIDTH = 200

DEFAULT_CONFIG = Path("gateway.toml")

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar=CONFIG_VARIABLE,
        help="Configuration file; ./gateway.toml if that exists.",
        metavar="FILE",
    ),
]
TenantOption = Annotated[str, typer.Option("--tenant", envvar="GATEWAY_TENANT", help="Tenant of the device.")]


class Output(StrEnum):
    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="How to print.")]


class UsageError(Exception):
    """The command line cannot be carried out as it is; exit status 2."""


@contextmanager
def readable_errors() -> Iterator[None]:
    """Turns what can go wrong into one line on stderr and the documented exit status."""
    try:
        yield
    except (ConfigError, BindError, UsageError) as error:
        _exit(error, EXIT_USAGE)
    except NotFound as error:
        _exit(error, EXIT_NOT_FOUND)
    except Conflict as error:
        _exit(error, EXIT_CONFLICT)
    except (RegistryError, PkiError, DeviceError) as error:
        _exit(error, EXIT_FAILURE)


def settings_for(
    config: Path | None, overrides: Mapping[str, object] | None = None, *, check: bool = False
) -> Settings:
    """The settings of a command that is not the server: certificate files need not exist unless `check`."""
    if config is None and DEFAULT_CONFIG.is_file():
        config = DEFAULT_CONFIG
    return load_settings(config, overrides, check_files=check)


@contextmanager
def registry_of(config: Path | None) -> Iterator[Registry]:
    with open_registry(settings_for(config).registry.url) as registry:
        yield registry


def certificates_folder(config: Path | None) -> Path:
    """Where `gateway init` keeps certificates: `certs` beside the configuration."""
    base = config.parent if config is not None else Path()
    return base / "certs"


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], output: Output) -> None:
    """Rows as a table, or as one JSON list."""
    if output is Output.JSON:
        print_json(list(rows))
        return
    # Into a pipe, nothing is cut to the width of a terminal that is not there.
    console = Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    table = Table(box=box.SIMPLE_HEAD)
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0)
    for row in rows:
        table.add_row(*("" if row[column] is None else str(row[column]) for column in columns))
    console.print(table)


def print_facts(facts: Mapping[str, Any], output: Output) -> None:
    """One thing as a list of its facts, or as one JSON object."""
    if output is Output.JSON:
        print_json(dict(facts))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {'' if value is None else value}")


def print_json(value: object) -> None:
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    print()


def _exit(error: Exception, status: int) -> None:
    text = " ".join(str(error).split())
    print(f"gateway: {text}", file=sys.stderr)
    raise typer.Exit(status)
