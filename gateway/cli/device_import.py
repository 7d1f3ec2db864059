"""`gateway device import`: devices by the thousand, out of a file."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.common import (
    EXIT_PARTIAL,
    ConfigOption,
    Output,
    OutputOption,
    TenantOption,
    print_facts,
    readable_errors,
    registry_of,
)
from gateway.model import DEFAULT_TENANT
from gateway.registry import (
    FileFormat,
    ImportRow,
    Known,
    OnConflict,
    Registry,
    Report,
    Result,
    RowResult,
    format_of,
    read_rows,
)
from gateway.registry.limits import IMPORT_BATCH


def import_devices(
    file: Annotated[Path, typer.Argument(help="CSV or JSON lines; docs/psk.md has the columns.", metavar="FILE")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be, and change nothing.")] = False,
    on_conflict: Annotated[
        OnConflict, typer.Option(help="What to do where a device is there with other values.")
    ] = OnConflict.FAIL,
    allow_shared_keys: Annotated[
        bool, typer.Option("--allow-shared-keys", help="Take a key that another device has too.")
    ] = False,
    format: Annotated[FileFormat | None, typer.Option(help="What FILE is, where its name does not say.")] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write the result of every row there; by default, those refused to FILE.rejects.csv."),
    ] = None,
    tenant: TenantOption = DEFAULT_TENANT,
    output: OutputOption = Output.TABLE,
    config: ConfigOption = None,
) -> None:
    """Add the devices of a file, each with its pre-shared key.

    Rows that are there already are left as they are, so that an import that was cut off can be made again. Ends with 5
    when rows were refused: the others are in.
    """
    with readable_errors():
        kind = format if format is not None else format_of(file)
        target = report if report is not None else file.with_name(f"{file.name}.rejects.csv")
        counts: Counter[Result] = Counter()
        known = Known() if dry_run else None
        with file.open("rb") as opened, registry_of(config) as registry, _bar(file) as progress:
            written = Report(target, all_rows=report is not None)
            try:
                rows = read_rows(opened, kind, tenant, progress)
                while batch := list(islice(rows, IMPORT_BATCH)):
                    for result in _import(registry, batch, on_conflict, allow_shared_keys, known):
                        counts[result.result] += 1
                        written.add(result)
            finally:
                written.close()
        facts: dict[str, object] = {"rows": counts.total(), **{each.value: counts[each] for each in Result}}
        facts["report"] = str(target) if written.written else None
        if dry_run:
            facts["dry_run"] = True
        print_facts(facts, output)
    if counts[Result.REFUSED]:
        raise typer.Exit(EXIT_PARTIAL)


def _import(
    registry: Registry,
    batch: list[ImportRow | RowResult],
    on_conflict: OnConflict,
    allow_shared_keys: bool,
    dry_run: Known | None,
) -> Iterator[RowResult]:
    """The results of a batch, in the order of the file."""
    rows = [row for row in batch if isinstance(row, ImportRow)]
    done = iter(
        registry.import_devices(rows, on_conflict=on_conflict, allow_shared_keys=allow_shared_keys, dry_run=dry_run)
    )
    for row in batch:
        yield row if isinstance(row, RowResult) else next(done)


@contextmanager
def _bar(file: Path) -> Iterator[Callable[[int], None]]:
    """What to tell how many bytes were read: a bar on a terminal, nothing elsewhere."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda read: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(file.name, total=file.stat().st_size)
        yield lambda read: progress.update(task, completed=read)
