"""A changed configuration, taken up while devices are connected, or left with a reason.

Everything that can be wrong is found first, in a thread beside the event loop: the file is parsed and validated, the
certificates and keys that it names are read. What follows cannot fail, and happens in one turn of the loop, so that no
datagram sees one half of a configuration. A mismatch, such as a key that was replaced before its certificate, keeps
everything as it is; the next change of a file is the next try.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from prometheus_client.core import Metric

from gateway.coap import MessageLayer
from gateway.config import RELOADABLE, ConfigError, Settings, Source, differences, successor
from gateway.dtls import ServerEndpoint
from gateway.handlers import App
from gateway.server.device_sessions import DeviceSessions
from gateway.server.dispatch import Dispatcher
from gateway.server.flow import rates_of
from gateway.server.observations import ObservedRoutes
from gateway.server.plan import Plan, Secrets, files_of
from gateway.server.sessions import Sessions
from gateway.server.watching import Print, Watch, look
from gateway.telemetry import gauge_family, get_logger, set_log_level

_RATES = (
    "coap.device_requests_per_minute",
    "coap.device_burst",
    "coap.tenant_requests_per_minute",
    "coap.tenant_burst",
)


@dataclass(frozen=True, slots=True)
class Changeable:
    """The parts of a running gateway that go by settings which can change."""

    endpoint: ServerEndpoint
    app: App
    layer: MessageLayer
    dispatcher: Dispatcher
    routes: ObservedRoutes
    of_devices: DeviceSessions
    sessions: Sessions

    def take_up(self, plan: Plan, changed: Iterable[str]) -> None:
        """Goes by another plan. Touches no session, no running handshake and no request that a handler works on."""
        settings, names = plan.settings, set(changed)
        handlers, coap = settings.handlers, settings.coap
        # The key log was opened at the start, and stays.
        self.endpoint.reconfigure(replace(plan.engine, key_log=self.endpoint.config.key_log))
        self.of_devices.limit = settings.dtls.max_sessions_per_device
        self.dispatcher.limit(
            time_limit_s=handlers.time_limit,
            max_concurrent=handlers.max_concurrent,
            max_concurrent_per_device=handlers.max_concurrent_per_device,
        )
        self.routes.time_limit_s = handlers.time_limit
        if not names.isdisjoint(_RATES):
            self.dispatcher.rates = rates_of(coap)
        self.app.problem_details = coap.problem_details
        self.layer.max_payload = self.app.limit_bodies(coap.max_payload)
        self.layer.observations.max_total = coap.max_observations
        self.layer.observations.max_per_owner = coap.max_observations_per_device
        if "log.level" in names:
            set_log_level(settings.log.level)
            self.sessions.follow_log_level()


class Reloads:
    """Attributes:
    plan: What the gateway goes by.
    """

    def __init__(
        self,
        plan: Plan,
        secrets: Secrets,
        source: Source,
        parts: Changeable,
        *,
        seen: Mapping[Path, Print],
        look_again: Callable[[], str | None],
        taken_up: Callable[[Plan], None] = lambda plan: None,
    ) -> None:
        """Begins with a plan that is in force.

        Args:
            plan: In force.
            secrets: That it was read with.
            source: Where the configuration comes from.
            parts: What is changed.
            seen: Its files, as they were before they were read: see `looked_at`.
            look_again: Has the trusted CAs and credentials read again from the registry, and says what is wrong with
                it, if something is. They follow the registry by themselves too.
            taken_up: Is told the plan that is in force from now on.
        """
        self.plan = plan
        self._secrets = secrets
        self._source = source
        self._parts = parts
        self._look_again = look_again
        self._taken_up = taken_up
        self._asked = asyncio.Event()
        self._watch = Watch(self.ask)
        self._task: asyncio.Task[None] | None = None
        self._successful = True
        self._succeeded_at = time.time()
        self._taken = dict(seen)
        self._log = get_logger("gateway.server")

    def ask(self) -> None:
        """The configuration is to be read again, soon; any number of calls meanwhile are one."""
        self._asked.set()

    def start(self) -> None:
        """Waits for `ask` and for changed files, until `stop`."""
        self._task = asyncio.create_task(self._run())
        self._follow(self.plan.settings)

    async def stop(self) -> None:
        await self._watch.stop()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def families(self) -> Iterable[Metric]:
        yield gauge_family(
            "gateway_config_last_reload_successful",
            "Whether the configuration in force is the one that was read last.",
            (),
            {(): float(self._successful)},
        )
        yield gauge_family(
            "gateway_config_last_reload_success_timestamp_seconds",
            "When a configuration was taken up last, in seconds since the epoch.",
            (),
            {(): self._succeeded_at},
        )

    async def _run(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                await self._reload()
            except ConfigError as error:
                self._successful = False
                self._log.error("config.reload_failed", error=str(error))
            except Exception as fault:  # a bug of ours must not be the last reload
                self._successful = False
                self._log.error("config.reload_failed", error=type(fault).__name__, exc_info=fault)

    async def _reload(self) -> None:
        running = self.plan.settings
        loaded = await asyncio.to_thread(self._source.load)
        # Also what is refused below is watched: the file that is missing today may be there tomorrow.
        self._follow(running, loaded)
        names = differences(running, loaded)
        changed = [name for name in names if name in RELOADABLE]
        plan, found = await asyncio.to_thread(self._read, successor(running, loaded))
        self._parts.take_up(plan, changed)
        self.plan = plan
        files = [str(file) for file, seen in found.items() if self._taken.get(file) != seen]
        self._taken = found
        self._successful, self._succeeded_at = True, time.time()
        self._follow(plan.settings)
        self._taken_up(plan)
        self._log.info("config.reloaded", changed=changed, files=files, registry=self._look_again() or "ok")
        if waiting := [name for name in names if name not in RELOADABLE]:
            self._log.warning(
                "config.restart_required", keys=waiting, hint="these keep their old values until the gateway restarts"
            )

    def _read(self, settings: Settings) -> tuple[Plan, dict[Path, Print]]:
        found = looked_at(self._source, settings)
        return Plan.read(settings, self._secrets, self.plan.worker), found

    def _follow(self, *settings: Settings) -> None:
        """Watches the files of these configurations, of which the first is in force, if it wants that."""
        wanted = self._source.watched and settings[0].server.watch_files
        files = {file for each in settings for file in _files(self._source, each)}
        self._watch.follow(files if wanted else (), self._taken)


def looked_at(source: Source, settings: Settings) -> dict[Path, Print]:
    """The files behind a configuration as they are now. To be asked before they are read: what changes then is seen."""
    return {file: look(file) for file in _files(source, settings)}


def _files(source: Source, settings: Settings) -> set[Path]:
    own = [source.file] if source.file is not None else []
    return {Path(os.path.abspath(file)) for file in (*own, *files_of(settings))}
