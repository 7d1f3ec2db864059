"""`gateway device import`: devices by the thousand, out of a file."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from gateway.cli.common import (
    EXIT_PARTIAL,
    ConfigOption,
    Output,
    OutputOption,
    TenantOption,
    UsageError,
    print_facts,
    readable_errors,
    registry_of,
)
from gateway.cli.managed import ServerOption, TokenFileOption, management
from gateway.management import Management, fleet
from gateway.model import DEFAULT_TENANT
from gateway.registry import (
    FileFormat,
    ImportRow,
    Known,
    OnConflict,
    Report,
    Result,
    RowResult,
    format_of,
    read_rows,
)
from gateway.registry.limits import IMPORT_BATCH

_Add: TypeAlias = Callable[[Sequence[ImportRow]], Sequence[RowResult]]


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
    server: ServerOption = None,
    token_file: TokenFileOption = None,
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
        if dry_run and server is not None:
            raise UsageError("a dry run compares all rows of the file with each other: leave --server away")
        known = Known() if dry_run else None
        with ExitStack() as stack:
            opened, progress = stack.enter_context(file.open("rb")), stack.enter_context(_bar(file))
            add: _Add
            if server is not None:
                manage = stack.enter_context(management(server, token_file, config))
                add = partial(_add_remotely, manage, on_conflict, allow_shared_keys)
            else:
                add = partial(
                    stack.enter_context(registry_of(config)).import_devices,
                    on_conflict=on_conflict,
                    allow_shared_keys=allow_shared_keys,
                    dry_run=known,
                )
            written = Report(target, all_rows=report is not None)
            try:
                rows = read_rows(opened, kind, tenant, progress)
                while batch := list(islice(rows, IMPORT_BATCH)):
                    for result in _import(add, batch):
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


def _import(add: _Add, batch: list[ImportRow | RowResult]) -> Iterator[RowResult]:
    """The results of a batch, in the order of the file."""
    done = iter(add([row for row in batch if isinstance(row, ImportRow)]))
    for row in batch:
        yield row if isinstance(row, RowResult) else next(done)


def _add_remotely(
    manage: Management, on_conflict: OnConflict, allow_shared_keys: bool, rows: Sequence[ImportRow]
) -> list[RowResult]:
    said = [
        {
            "line": row.line,
            "device": row.device_id,
            "tenant": row.tenant_id,
            "psk_identity_hex": row.identity.hex(),
            "psk_hex": row.key.hex(),
            "tags": list(row.tags) if row.tags is not None else None,
        }
        for row in rows
    ]
    done = manage.do(fleet.import_devices, rows=said, on_conflict=on_conflict, allow_shared_keys=allow_shared_keys)
    return [RowResult(each.line, each.device, each.tenant, each.result, each.reason) for each in done.results]


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
