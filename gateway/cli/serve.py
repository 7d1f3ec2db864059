"""`gateway serve`."""

import asyncio
import faulthandler
import signal
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer

from gateway.cli.common import (
    ConfigOption,
    locate_config,
    new_app,
    printable,
    readable_errors,
    settings_for,
    site_settings,
)
from gateway.config import ConfigError, Settings, Source
from gateway.registry import RegistryError, check_schema
from gateway.server import (
    BindError,
    StartFailed,
    StartRefused,
    Supervisor,
    Worker,
    certificate_doubts,
    check_carried,
    load_certificates,
    tune_garbage_collector,
    worker_count,
)
from gateway.server.keeper import PRINT_STACKS
from gateway.telemetry import EventLimiter, configure_logging

# -P: this module comes from where the gateway is installed, whatever lies in the working directory.
_WORKER: Final = (sys.executable, "-P", "-m", "gateway.cli.worker")

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
    workers: Annotated[
        int | None, typer.Option(help="Worker processes, over the configuration's; 0 is one for each processor.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Load everything, open nothing, and exit.")] = False,
) -> None:
    """Run the gateway until SIGTERM or SIGINT. SIGHUP has it read its configuration again."""
    with readable_errors(usage=(BindError, StartRefused), failure=(StartFailed,)):
        overrides = {"server.bind": bind, "server.workers": workers}
        settings = site_settings(config, overrides, check=True)
        limiter = limiter_of_the_log()
        configure_logging(settings.log.level, settings.log.format, limiter=limiter)
        count = worker_count(settings)
        if check:
            _check(settings, count)
        elif count == 1:
            asyncio.run(_run_one(settings, config, overrides, limiter))
        else:
            asyncio.run(_run_several(settings, count, config, overrides, limiter))


def _check(settings: Settings, workers: int) -> None:
    async def make() -> Worker:
        if workers > 1:
            check_carried(settings)
        return Worker(settings)

    try:
        check_schema(settings.registry.url)  # which making a worker brings up to date
        worker = asyncio.run(make())
        with worker.registry as registry:
            registry.check_writable()
            counts = registry.counts()
    except RegistryError as error:
        raise ConfigError("registry.url", str(error)) from error
    for doubt in certificate_doubts(settings.dtls, load_certificates(settings.dtls), time.time()):
        print(printable(f"warning: {doubt}"), file=sys.stderr)
    print(f"ok: {counts.devices} devices, {counts.trust_anchors} trust anchors, {len(worker.app.routes)} routes")


async def _run_one(
    settings: Settings, config: Path | None, overrides: Mapping[str, object], limiter: EventLimiter
) -> None:
    worker = Worker(settings, limiter=limiter, source=source_of(config, overrides))
    on_signals(worker)
    async with worker:
        tune_garbage_collector()
        await worker.wait()


async def _run_several(
    settings: Settings, count: int, config: Path | None, overrides: Mapping[str, object], limiter: EventLimiter
) -> None:
    supervisor = Supervisor(
        settings, count, _WORKER, config=locate_config(config), overrides=overrides, limiter=limiter
    )
    on_signals(supervisor)
    async with supervisor:
        await supervisor.wait()


def limiter_of_the_log() -> EventLimiter:
    """Leaves out surplus lines of what strangers can cause."""
    return EventLimiter(_LIMITED_EVENTS)


def source_of(config: Path | None, overrides: Mapping[str, object]) -> Source:
    """Where the settings of a server come from, so that it can read them again."""
    return Source(partial(settings_for, config, overrides), locate_config(config))


def on_signals(gateway: Worker | Supervisor) -> None:
    """Signals stop a gateway, have it read its configuration again, or say where it is: from before the first device
    can be there on."""
    faulthandler.register(PRINT_STACKS, file=2)  # not by the event loop, which may be what is stuck
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, gateway.stop)
    loop.add_signal_handler(signal.SIGHUP, gateway.reload)
