"""`gateway keys`: the keys that the devices' keys are sealed under."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.common import (
    EXIT_PARTIAL,
    ConfigOption,
    Output,
    OutputOption,
    new_app,
    print_facts,
    print_rows,
    readable_errors,
    registry_of,
)
from gateway.cli.managed import command, facts_of
from gateway.management import Management, fleet
from gateway.registry import create_master_key

_COLUMNS = ("id", "state", "wrapped_by", "created", "sealed")

app = new_app("The keys that device keys are sealed under: make, show, rotate, wrap anew.")


@app.command("create")
def create(
    file: Annotated[Path, typer.Argument(help="Made with mode 0600; overwrites nothing.", metavar="FILE")],
) -> None:
    """Make a master key in a file. It prints nothing secret."""
    with readable_errors():
        create_master_key(file)
        print_facts({"file": str(file), "setting": f"file:{file}"}, Output.TABLE)


@command(app, "status")
def status(manage: Management, output: OutputOption = Output.TABLE) -> None:
    """Show how device keys rest: under which data keys, and how many are not sealed."""
    found = facts_of(manage.do(fleet.keys))
    opens = {None: "not configured", True: "opens all", False: "does not open all"}[found["opens"]]
    facts = {"master_key": opens, "not_sealed": found["not_sealed"], "derived": found["derived"]}
    if output is not Output.TABLE:
        print_facts({**facts, "data_keys": found["data_keys"]}, output)
        return
    print_facts(facts, output)
    if found["data_keys"]:
        print_rows(found["data_keys"], _COLUMNS, output)


@app.command("rotate")
def rotate(output: OutputOption = Output.TABLE, config: ConfigOption = None) -> None:
    """Seal all device keys under a new data key.

    Devices notice nothing, and a gateway may run meanwhile. When it is cut off, run it again. Ends with 5 when keys do
    not open; those stay as they are.
    """
    with readable_errors(), registry_of(config) as registry:
        with _bar() as progress:
            done = registry.rotate_keys(progress)
        facts = {"data_key": done.key_id, "resumed": done.resumed, "sealed": done.sealed, "failed": done.failed}
        print_facts(facts, output)
    if done.failed:
        raise typer.Exit(EXIT_PARTIAL)


@app.command("rewrap")
def rewrap(
    to: Annotated[str, typer.Option(help="The new master key: file:PATH, env:NAME, systemd:NAME or plugin:NAME.")],
    output: OutputOption = Output.TABLE,
    config: ConfigOption = None,
) -> None:
    """Wrap the data keys with another master key, which [registry] master_key has to name from then on.

    A running gateway goes on with what it has opened; restart it with the new setting. Keep the old master key as long
    as backups of the registry that need it.
    """
    with readable_errors(), registry_of(config) as registry:
        path = to.removeprefix("file:")
        source = to if path == to else f"file:{Path(path).absolute()}"
        count = registry.rewrap_keys(source)
        print_facts({"data_keys": count, "master_key": source}, output)


@contextmanager
def _bar() -> Iterator[Callable[[int], None]]:
    """What to tell how many keys were sealed: a count on a terminal, nothing elsewhere."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda sealed: None
        return
    from rich.console import Console

    with Console(stderr=True).status("sealing") as shown:
        yield lambda sealed: shown.update(f"sealed {sealed}")
