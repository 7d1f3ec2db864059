"""`gateway demo`."""

import asyncio
from typing import Annotated

import typer

from gateway.cli.common import readable_errors
from gateway.simulator import run_demo
from gateway.telemetry import configure_logging


def demo(
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="UDP port; 5684, or a free one.")] = None,
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the metrics; 9464, or a free one.")
    ] = None,
    duration: Annotated[float | None, typer.Option(min=0, help="Seconds; until Ctrl-C by default.")] = None,
) -> None:
    """Run a gateway with two simulated devices, all in a temporary folder, and print commands to join them."""
    with readable_errors():
        configure_logging("warning", "auto")
        asyncio.run(run_demo(port, metrics_port, duration, print))
