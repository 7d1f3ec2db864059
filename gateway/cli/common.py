"""What the commands share: options, error texts, exit codes, tables and JSON."""

import csv
import json
import os
import pwd
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.config import CONFIG_VARIABLE, ConfigError, Settings, load_settings, variable_name
from gateway.registry import Conflict, InvalidValue, NotFound, Registry, RegistryError, Secrets, open_registry

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_NOT_FOUND = 3
EXIT_CONFLICT = 4
EXIT_PARTIAL = 5
EXIT_UNHEALTHY = 6

DEFAULT_CONFIG = Path("gateway.toml")
TENANT_VARIABLE = "GATEWAY_TENANT"
SERVER_VARIABLE = "GATEWAY_SERVER"
TOKEN_FILE_VARIABLE = "GATEWAY_TOKEN_FILE"  # noqa: S105  the name of a variable

_SQLITE = "sqlite:///"

# Wider than any row: into a pipe, nothing is cut or folded to the width of a terminal that is not there.
_PIPE_WIDTH = 100_000

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
TenantOption = Annotated[str, typer.Option("--tenant", envvar=TENANT_VARIABLE, help="Tenant of the devices.")]


class Output(StrEnum):
    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="How to print.")]


class UsageError(Exception):
    """The command line cannot be carried out as it is; exit status 2."""


def new_app(help: str | None = None) -> typer.Typer:
    """The commands of one module."""
    return typer.Typer(
        help=help, no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
    )


@contextmanager
def readable_errors(
    *, usage: tuple[type[Exception], ...] = (), failure: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Turns what can go wrong into one line on stderr and the documented exit status.

    Args:
        usage: What else is the operator's to correct, beyond the configuration and the command line: exit status 2.
        failure: What else is a failure, beyond those of the registry and the file system: exit status 1.
    """
    refusals: tuple[type[Exception], ...] = (ConfigError, UsageError, InvalidValue, *usage)
    failures: tuple[type[Exception], ...] = (RegistryError, *failure)
    try:
        yield
        # Here rather than at exit, where a reader that went away would be a complaint of the interpreter.
        if sys.stdout is not None:
            sys.stdout.flush()
    except refusals as error:
        _exit(str(error), EXIT_USAGE)
    except NotFound as error:
        _exit(str(error), EXIT_NOT_FOUND)
    except Conflict as error:
        _exit(str(error), EXIT_CONFLICT)
    except failures as error:
        _exit(str(error), EXIT_FAILURE)
    except BrokenPipeError:
        raise
    except OSError as error:
        _exit(os_error_text(error), EXIT_FAILURE)
    except UnicodeEncodeError:
        _exit("the command line holds a name that is not valid UTF-8", EXIT_USAGE)


def os_error_text(error: OSError) -> str:
    """What the system says, with the file that it says it of."""
    text = error.strerror or str(error)
    return text if error.filename is None else f"{error.filename}: {text}"


def locate_config(config: Path | None) -> Path | None:
    """The configuration file that a command goes by: the one given, else ./gateway.toml, else none.

    Raises:
        ConfigError: The one given is no file.
    """
    if config is None:
        return DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None
    if not config.exists():
        raise ConfigError(str(config), "no such file", "write one with: gateway init DIR")
    return config


def settings_for(
    config: Path | None, overrides: Mapping[str, object] | None = None, *, check: bool = False
) -> Settings:
    """The settings of a command that is not the server: certificate files need not exist unless `check`."""
    return load_settings(locate_config(config), overrides, environ=settings_environ(), check_files=check)


def site_settings(
    config: Path | None, overrides: Mapping[str, object] | None = None, *, check: bool = False
) -> Settings:
    """As `settings_for`, for commands about a registry: they are not started where there is no site.

    Raises:
        ConfigError: As `settings_for`; or no configuration was found or named, and no registry is here or named.
    """
    settings = settings_for(config, overrides, check=check)
    if locate_config(config) is None and variable_name("registry", "url") not in os.environ:
        file = Path(settings.registry.url.removeprefix(_SQLITE))
        if not file.exists():
            problem = f"there is none in {Path.cwd()}, and no {file.name}"
            remedy = f"go to the site's folder, or name its file with --config FILE or {CONFIG_VARIABLE}"
            raise ConfigError(str(DEFAULT_CONFIG), problem, f"{remedy}; `gateway init DIR` makes a new site")
    return settings


def settings_environ() -> dict[str, str]:
    """The environment without what stands for options of commands; everything else with our prefix is a setting."""
    options = (TENANT_VARIABLE, SERVER_VARIABLE, TOKEN_FILE_VARIABLE)
    return {name: value for name, value in os.environ.items() if name not in options}


@contextmanager
def registry_of(config: Path | None) -> Iterator[Registry]:
    with open_local(config) as registry:
        yield registry


def open_local(config: Path | None) -> Registry:
    """The registry of the configuration; changes are written down as those of whoever runs the command."""
    settings = site_settings(config).registry
    secrets = Secrets(settings.master_key, settings.derivation_key)
    return open_registry(settings.url, actor=f"cli:{_user()}", secrets=secrets)


def certificates_folder(config: Path | None) -> Path:
    """Where `gateway init` keeps certificates: `certs` beside the configuration."""
    found = locate_config(config)
    return (found.parent if found is not None else Path()) / "certs"


def key_beside(certificate: Path, key: Path | None) -> Path:
    """The key file that goes with a certificate file: the one given, else that of the same name with .key.

    Raises:
        UsageError: The certificate's path does not end in a file name.
    """
    if key is not None:
        return key
    if not certificate.name:
        raise UsageError(f"{certificate} is a folder; name the certificate's file")
    return certificate.with_suffix(".key")


def output_files(out: Path | None, default: Path) -> tuple[Path, Path]:
    """The files for a certificate and its key, OUT.pem and OUT.key, in a folder that is made if need be.

    Raises:
        UsageError: OUT does not end in a name.
    """
    target = default if out is None else out
    if target.name in ("", ".."):
        raise UsageError(f"--out {target} is a folder; add a name for the files, such as {target / 'NAME'}")
    name = target.name
    if out is not None and target.suffix in (".pem", ".key"):
        name = target.stem
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return target.with_name(f"{name}.pem"), target.with_name(f"{name}.key")


def argument_bytes(text: str) -> bytes:
    """The bytes of a word of the command line, also where they are no valid text."""
    return text.encode("utf-8", "surrogateescape")


def read_key(path: Path | None, *, text: bool = False) -> bytes:
    """A pre-shared key out of a file, or of standard input; a line break at its end does not belong to it.

    Args:
        path: The file; None for standard input, where a terminal is asked without an echo.
        text: The key is what is written there, rather than hex.

    Raises:
        UsageError: There is none to read, or it is not hex.
    """
    origin = str(path) if path is not None else "standard input"
    try:
        data = path.read_bytes() if path is not None else _read_stdin()
    except OSError as error:
        raise UsageError(f"{origin}: {error.strerror}") from error
    data = data.rstrip(b"\r\n")
    if not data.strip():
        raise UsageError(f"{origin}: there is no key in it")
    if text:
        return data
    try:
        return bytes.fromhex(data.decode("ascii"))
    except ValueError:
        raise UsageError(
            f"{origin}: the key is not hex (two digits a byte, nothing else); if it is a text, say --psk-text"
        ) from None


def shown_time(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def shown_psk_identity(identity: bytes) -> str:
    return identity.decode("utf-8", "backslashreplace")


def stdin_is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def write_secret(path: Path, text: str) -> None:
    """Writes a file that only its owner can read; one that is there is left alone.

    Raises:
        FileExistsError: It is there.
        OSError: It cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def print_rows(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], output: Output) -> None:
    """Rows as a table of some columns, or all of them as one JSON list, as JSON lines or as CSV.

    Lines and CSV are printed as the rows come; a table needs all of them, and so does a list.
    """
    match output:
        case Output.JSON:
            print_json([dict(row) for row in rows])
        case Output.JSONL:
            for row in rows:
                print(json.dumps(row, ensure_ascii=False, separators=(",", ":")))
        case Output.CSV:
            _print_csv(rows, columns)
        case Output.TABLE:
            _print_table(rows, columns)


def _print_table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    # Only here: neither JSON nor most commands need it, and it is a tenth of their time.
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else _PIPE_WIDTH)
    table = Table(box=box.SIMPLE_HEAD if terminal else None, pad_edge=terminal)
    for column in columns:
        # A name that is cut cannot be pasted into the next command.
        table.add_column(column, overflow="fold")
    for row in rows:
        # As Text: names are data, in which neither [markup] nor :emoji: means anything.
        table.add_row(*(Text(_shown(row[column])) for column in columns))
    console.print(table)


def _print_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    names: list[str] | None = None
    for row in rows:
        if names is None:
            # The table's columns first, then what is there beside them.
            names = [*columns, *(name for name in row if name not in columns)]
            writer.writerow(names)
        writer.writerow([_shown(row.get(name)) for name in names])
    if names is None:
        writer.writerow(columns)


def print_facts(facts: Mapping[str, Any], output: Output) -> None:
    """One thing as a list of its facts, or in one of the other forms."""
    match output:
        case Output.JSON:
            print_json(dict(facts))
        case Output.TABLE:
            width = max(map(len, facts))
            for name, value in facts.items():
                print(f"{name:<{width}}  {_shown(value)}".rstrip())
        case Output.JSONL | Output.CSV:
            print_rows([facts], list(facts), output)


def print_json(value: object) -> None:
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    print()


def printable(text: str) -> str:
    """Text for a terminal: what others wrote into a certificate or an identity must not move its cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _read_stdin() -> bytes:
    if sys.stdin is None:
        return b""
    if stdin_is_terminal():
        # Imported only for a human at a terminal.
        from getpass import getpass

        return argument_bytes(getpass("Key: "))
    return sys.stdin.buffer.read()


def _shown(value: object) -> str:
    """As a table and CSV have it."""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        value = " ".join(value)
    elif isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False) if value else ""
    return "" if value is None else printable(str(value))


def _user() -> str:
    try:
        # By who it is, not by what a variable says.
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _exit(text: str, status: int) -> None:
    print(f"gateway: {printable(' '.join(text.split()))}", file=sys.stderr)
    raise typer.Exit(status)
