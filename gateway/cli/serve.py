"""`gateway serve`."""

import asyncio
import signal
from functools import partial
from typing import Annotated

import typer

from gateway.cli.common import ConfigOption, locate_config, new_app, readable_errors, settings_for
from gateway.config import Settings, Source
from gateway.server import BindError, Worker, tune_garbage_collector
from gateway.telemetry import EventLimiter, configure_logging

_LIMITED_EVENTS = (
    "dtls.handshake_failed",
    "server.fault",
    "handler.slow",
    "handler.failed",
    "handler.timed_out",
    "identity.failed",
    "admin.token_refused",
    "admin.tokens_unusable",
)

app = new_app()


@app.command()
def serve(
    config: ConfigOption = None,
    bind: Annotated[str | None, typer.Option(help="UDP address and port, over the configuration's.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Load everything, open nothing, and exit.")] = False,
) -> None:
    """Run the gateway until SIGTERM or SIGINT. SIGHUP has it read its configuration again."""
    with readable_errors(usage=(BindError,)):
        overrides = {"server.bind": bind}
        settings = settings_for(config, overrides, check=True)
        source = Source(partial(settings_for, config, overrides), locate_config(config))
        limiter = EventLimiter(_LIMITED_EVENTS)
        configure_logging(settings.log.level, settings.log.format, limiter=limiter)
        asyncio.run(_run(settings, source, limiter, check=check))


async def _run(settings: Settings, source: Source, limiter: EventLimiter, *, check: bool) -> None:
    worker = Worker(settings, limiter=limiter, source=source)
    if check:
        counts = worker.registry.counts()
        worker.registry.close()
        print(f"ok: {counts.devices} devices, {counts.trust_anchors} trust anchors, {len(worker.app.routes)} routes")
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # From before the first socket on: who reads that the gateway has started may stop it at once.
        loop.add_signal_handler(number, worker.stop)
    loop.add_signal_handler(signal.SIGHUP, worker.reload)
    async with worker:
        tune_garbage_collector()
        await worker.wait()
