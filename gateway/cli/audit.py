"""`gateway audit`: who changed what."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from gateway.cli.common import Output, OutputOption, new_app, print_rows
from gateway.cli.managed import command, facts_of, given
from gateway.management import Management, trail
from gateway.management.limits import MAX_PAGE

_COLUMNS = ("number", "at", "actor", "action", "tenant", "object", "detail")

app = new_app()


@command(app)
def audit(
    manage: Management,
    tenant: Annotated[str | None, typer.Option(help="Of this tenant only.")] = None,
    last: Annotated[int, typer.Option(help="How many at most, the newest first.", min=1)] = 50,
    before: Annotated[
        int | None, typer.Option(help="Only entries with a smaller number.", metavar="NUMBER", min=1)
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List who changed what: devices, credentials, tenants and trust anchors."""
    print_rows(_entries(manage, given(tenant=tenant, before=before), last), _COLUMNS, output)


def _entries(manage: Management, said: dict[str, Any], left: int) -> Iterator[dict[str, Any]]:
    while left > 0:
        page = manage.do(trail.audit, **said, limit=min(left, MAX_PAGE))
        yield from map(facts_of, page.entries)
        left -= len(page.entries)
        if page.next is None:
            return
        said = {**said, "before": page.next}
