"""`gateway demo`."""

import asyncio
import contextlib
import functools
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.common import new_app, readable_errors
from gateway.server import BindError
from gateway.simulator import run_demo
from gateway.telemetry import configure_logging

app = new_app()


@app.command()
def demo(
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="UDP port; 5684, or a free one.")] = None,
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the metrics; 9464, or a free one.")
    ] = None,
    duration: Annotated[float | None, typer.Option(min=0, help="Seconds; until Ctrl-C by default.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Taken, and not read: the demo has its own.", metavar="FILE")
    ] = None,
) -> None:
    """Run a gateway with two simulated devices, all in a temporary folder, and print commands to join them."""
    with readable_errors(usage=(BindError,)):
        if config is not None:
            print(f"gateway: the demo has its own configuration; {config} is not read", file=sys.stderr)
        configure_logging("warning", "auto")
        asyncio.run(_run(port, metrics_port, duration))


async def _run(port: int | None, metrics_port: int | None, duration_s: float | None) -> None:
    # Flushed: into a pipe, lines would wait for the end of the demo.
    demo = asyncio.ensure_future(run_demo(port, metrics_port, duration_s, functools.partial(print, flush=True)))
    for number in (signal.SIGTERM, signal.SIGINT):
        # Until the demo minds signals itself; its temporary folder must not stay.
        asyncio.get_running_loop().add_signal_handler(number, demo.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await demo
