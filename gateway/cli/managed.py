"""Commands that are carried out here or by a running gateway, whichever the operator says."""

import inspect
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from gateway.cli.common import (
    SERVER_VARIABLE,
    TOKEN_FILE_VARIABLE,
    ConfigOption,
    Output,
    UsageError,
    argument_bytes,
    open_local,
    print_facts,
    read_key,
    readable_errors,
    stdin_is_terminal,
)
from gateway.config import parse_duration
from gateway.management import Local, Management, Remote

P = ParamSpec("P")

_MAX_TOKEN_FILE = 4096
_OTHERS = stat.S_IRWXG | stat.S_IRWXO

ServerOption = Annotated[
    str | None,
    typer.Option(
        "--server",
        envvar=SERVER_VARIABLE,
        help="Have a running gateway do it: its admin port. The registry of the configuration by default.",
        metavar="URL",
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        envvar=TOKEN_FILE_VARIABLE,
        help="File with the token for --server, mode 0600.",
        metavar="FILE",
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def command(
    app: typer.Typer, name: str | None = None, *, cls: Any = None
) -> Callable[[Callable[Concatenate[Management, P], None]], Callable[..., None]]:
    """Makes a command of a function that has operations done.

    The command has the function's parameters but the first, and beside them --server, --token-file and --config, which
    the function is given too if it has a parameter `config`. What goes wrong ends it with one line and the documented
    status.

    Args:
        app: Whose command.
        name: How it is called; None where it is all of the app.
        cls: Class of the command, where it is a special one.
    """

    def make(work: Callable[Concatenate[Management, P], None]) -> Callable[..., None]:
        @wraps(work)
        def run(*, server: str | None, token_file: Path | None, config: Path | None, **options: Any) -> None:
            if wants_config:
                options["config"] = config
            with readable_errors(), management(server, token_file, config) as manage:
                work(manage, **options)  # type: ignore[call-arg]  # typer has made them of the signature

        signature = inspect.signature(work)
        wants_config = "config" in signature.parameters
        own = [each for each in signature.parameters.values() if each.name != "config"][1:]
        common = [
            inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
            for option, kind in (("server", ServerOption), ("token_file", TokenFileOption), ("config", ConfigOption))
        ]
        parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own] + common
        made: Any = run
        made.__signature__ = signature.replace(parameters=parameters)
        made.__annotations__ = {each.name: each.annotation for each in parameters}
        del made.__wrapped__  # typer would look at its signature
        app.command(name, cls=cls)(run)
        return run

    return make


def management(server: str | None, token_file: Path | None, config: Path | None) -> Management:
    """Whoever carries operations out.

    Raises:
        UsageError: The server cannot be asked like that.
    """
    if server is None:
        if token_file is not None and TOKEN_FILE_VARIABLE not in os.environ:
            raise UsageError("--token-file is for a running gateway; name it with --server")
        return Local(lambda: open_local(config))
    if token_file is None:
        raise UsageError(f"--server needs --token-file or {TOKEN_FILE_VARIABLE}: a file with the token")
    return Remote(server, read_token(token_file))


def read_token(path: Path) -> str:
    """The token in a file: alone, or behind a name as in the gateway's own file.

    Raises:
        UsageError: There is none, or others can read it.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_MAX_TOKEN_FILE).decode("ascii", "replace").strip()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    if mode & _OTHERS and stat.S_ISREG(mode):
        raise UsageError(f"{path} can be read or written by others; chmod 600 {path}")
    token = text.rpartition(":")[2]
    if not token or not token.isprintable() or not token.isascii() or " " in token or ":sha256:" in text:
        # The text is left out: it may be a token that was misspelt.
        raise UsageError(f"{path} holds no token; it is what `gateway token create` printed, on one line")
    return token


def show(answer: Any, output: Output, *, without: tuple[str, ...] = ()) -> None:
    """Prints an answer as a list of its facts."""
    print_facts(facts_of(answer, without=without), output)


def facts_of(answer: Any, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """An answer as JSON has it."""
    facts: dict[str, Any] = answer.model_dump(mode="json", exclude_unset=True, exclude=set(without))
    return facts


def confirm(question: str, *, yes: bool, otherwise: str) -> None:
    """Asks before something that cannot be undone.

    Raises:
        UsageError: There is nobody to ask.
    """
    if yes:
        return
    if not stdin_is_terminal():
        raise UsageError(f"{otherwise} cannot be undone: say --yes")
    typer.confirm(question, abort=True, err=True)


def given(**options: Any) -> dict[str, Any]:
    """Those options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def identity_field(text: str) -> dict[str, str]:
    """A PSK identity of the command line as a request has it."""
    identity = argument_bytes(text)
    try:
        return {"psk_identity": identity.decode()}
    except UnicodeDecodeError:
        return {"psk_identity_hex": identity.hex()}


def key_field(file: Path | None, stdin: bool, generate: bool, derived: bool, *, text: bool) -> dict[str, Any]:
    """The pre-shared key that a command is about, as a request has it.

    Raises:
        UsageError: Not exactly one was chosen, or there is none to read.
    """
    if (file is not None) + stdin + generate + derived != 1:
        raise UsageError("say one of --psk-file, --psk-stdin, --generate and --derived")
    if text and (generate or derived):
        raise UsageError("--psk-text is about a key in a file or in standard input")
    if generate or derived:
        return {"generate" if generate else "derived": True}
    return {"psk_hex": read_key(file, text=text).hex()}


def a_time(name: str, text: str) -> datetime:
    """A time that an option says: RFC 3339, or a date, which is its midnight, UTC.

    Raises:
        UsageError: It is neither.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        example = "a date such as 2026-12-31, or a time such as 2026-12-31T12:00:00Z"
        raise UsageError(f"{name} {text}: give {example}") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def a_duration(name: str, text: str) -> float:
    """Seconds that an option says, such as 30d.

    Raises:
        UsageError: It is no duration.
    """
    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{name} {text}: {error}") from None
