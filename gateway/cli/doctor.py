"""`gateway doctor`."""

import io
import time
from functools import partial

import typer

from gateway.cli.common import (
    EXIT_UNHEALTHY,
    ConfigOption,
    Output,
    OutputOption,
    locate_config,
    new_app,
    print_json,
    print_rows,
    printable,
    readable_errors,
    settings_environ,
    site_settings,
)
from gateway.doctor import Finding, Status, examine
from gateway.telemetry import configure_logging

app = new_app()


@app.command()
def doctor(output: OutputOption = Output.TABLE, config: ConfigOption = None) -> None:
    """Look at everything that the gateway needs, and make a handshake with itself; exit status 6 with a problem."""
    with readable_errors():
        configure_logging("error", "json", stream=io.StringIO())  # what is wrong is among the findings
        environ = settings_environ()
        found = examine(partial(site_settings, config), file=locate_config(config), environ=environ, now=time.time())
        healthy = all(finding.status is not Status.PROBLEM for finding in found)
        if output is Output.JSON:
            print_json({"healthy": healthy, "checks": [finding.as_json() for finding in found]})
        elif output is Output.TABLE:
            _print(found)
        else:
            print_rows([finding.as_json() for finding in found], (), output)
        if not healthy:
            raise typer.Exit(EXIT_UNHEALTHY)


def _print(found: list[Finding]) -> None:
    width = max(len(finding.check) for finding in found)
    for finding in found:
        print(printable(f"{finding.status:<7}  {finding.check:<{width}}  {finding.detail}"))
        if finding.remedy is not None:
            print(printable(f"{'':<7}  {'':<{width}}  -> {finding.remedy}"))
    counts = {status: sum(finding.status is status for finding in found) for status in Status}
    print(f"\n{counts[Status.PROBLEM]} problems, {counts[Status.WARNING]} warnings, {counts[Status.OK]} ok")
