"""Several workers on one port: the process that starts them, keeps them running, and speaks for all of them.

It holds the sockets, and no session: it never reads a datagram. The workers hold the sessions and everything about
them; what they share are the port, the secrets for cookies and tickets, the registry and the configuration.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.config import ConfigError, Settings
from gateway.config.settings import MAX_WORKERS
from gateway.server.channel import Message, Switchboard
from gateway.server.front import Front
from gateway.server.hub import Hub
from gateway.server.keeper import Failed, Keeper
from gateway.server.limits import HEARTBEAT_S, WORKER_STOP_S
from gateway.server.plan import Plan, Secrets
from gateway.server.reports import log_start
from gateway.server.service import Bound, Service, address_of
from gateway.server.steering import open_sockets
from gateway.telemetry import EventLimiter, get_logger, report_suppressed, set_log_level

_IN_MEMORY = ("sqlite://", "sqlite:///:memory:")


class StartRefused(Exception):
    """A worker could not start, by the configuration's fault; the text is what it would have said alone."""


class StartFailed(Exception):
    """A worker could not start; the text says why, as far as it is known."""


def worker_count(settings: Settings) -> int:
    """How many workers a configuration means.

    Raises:
        ConfigError: It means several that cannot work together.
    """
    asked = settings.server.workers
    in_memory = settings.registry.url in _IN_MEMORY
    if asked > 1 and in_memory:
        raise ConfigError("server.workers", "each worker would have a registry in memory of its own", "name a file")
    return asked or (1 if in_memory else min(len(os.sched_getaffinity(0)), MAX_WORKERS))


class Supervisor(Service):
    """The gateway of several processes. Used as a `Worker` is.

    Attributes:
        board: Messages to and from the workers.
    """

    def __init__(
        self,
        settings: Settings,
        workers: int,
        command: Sequence[str],
        *,
        config: Path | None = None,
        overrides: Mapping[str, object] | None = None,
        limiter: EventLimiter | None = None,
    ) -> None:
        """Looks at what the settings name, as far as each worker would find the same wrong with it. Opens no socket.

        Args:
            settings: The configuration; relative paths in it are resolved already.
            workers: How many; more than one.
            command: Starts a worker; see `Keeper`.
            config: The file that the settings are from, for the workers to read again.
            overrides: What the command line set, by dotted name; plain values.
            limiter: Of this process's log; what it left out is reported when a flood has ended.

        Raises:
            ConfigError: Something that the settings name is missing or unusable.
        """
        super().__init__()
        self.board = Switchboard()
        self._hub = Hub(self.board)
        self._settings = settings
        self._workers = workers
        self._command = command
        self._config = config
        self._overrides = dict(overrides or {})
        self._secrets = Secrets()
        Plan.read(settings, self._secrets)
        check_carried(settings)
        self._limiter = limiter
        self._log = get_logger("gateway.server")
        self._front = Front(settings, self._stopping.is_set, self._hub.families)
        self._sockets: list[socket.socket] = []
        self._keepers: list[Keeper] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._folder: Path | None = None
        self._beating: asyncio.Task[None] | None = None
        # Workers that did not serve yet when they were to read the configuration again.
        self._reload_later: set[int] = set()
        self.board.on("settings", self._on_settings)
        self.board.listen(self._on_change)

    def stop(self) -> None:
        """Asks `wait` to return; whoever is being started is not waited for."""
        super().stop()
        if self._beating is None:
            for keeper in self._keepers:
                keeper.stop()

    def reload(self) -> None:
        """Asks every worker for what `Worker.reload` does; those that do not serve yet do it when they do."""
        self._reload_later.update(keeper.worker for keeper in self._keepers if not keeper.serving)
        for worker in self.board.workers:
            self.board.send(worker, {"kind": "reload"})

    async def wait(self) -> None:
        """Until `stop`. After it, a further signal ends the process at once; its workers end by themselves then."""
        await self._stopping.wait()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # not in the main thread
                loop.remove_signal_handler(number)

    async def _start(self) -> Bound:
        bind = self._settings.server.bind
        self._sockets = open_sockets(bind.host, bind.port, self._workers)
        self._folder = Path(tempfile.mkdtemp(prefix="gateway-"))
        self._keepers = [
            Keeper(number, udp, self._folder / f"worker-{number}", self._command, self.board, self._begin)
            for number, udp in enumerate(self._sockets)
        ]
        bound = Bound(address_of(self._sockets[0]), self._front.open(self._keepers))
        self._tasks = [asyncio.create_task(keeper.run()) for keeper in self._keepers]
        said = await self._all_serve()
        if self._stopping.is_set():
            return bound
        self._beating = asyncio.create_task(self._beat())
        self._front.start()
        log_start(bound, said, self._workers)
        return bound

    async def _all_serve(self) -> Message:
        """What the first that served said of itself, once all serve; something else if the gateway is stopped before.

        Raises:
            StartRefused: One has found the configuration wrong.
            StartFailed: One has ended.
        """
        first: Message = {}
        for each in asyncio.as_completed([keeper.first for keeper in self._keepers]):
            said = await each
            if isinstance(said, Failed):
                if self._stopping.is_set():
                    break
                raise (StartRefused if said.refused else StartFailed)(said.error)
            first = first or said
        return first

    def _begin(self, worker: int, starts: int) -> Message:
        """What a worker has to know. It is told what is in force: the file may say something else, or be broken."""
        return {
            "kind": "begin",
            "worker": worker,
            "settings": self._settings.model_dump_json(),
            "config": None if self._config is None else str(self._config),
            "overrides": self._overrides,
            "cookies": self._secrets.cookies.hex(),
            "tickets": self._secrets.tickets.hex(),
            "admin": str(self._keepers[worker].admin),
            # Files that changed while it was away are read at once.
            "reload": starts > 0,
        }

    def _on_settings(self, worker: int, message: Message) -> None:
        """A worker goes by other settings from now on; the others find the same."""
        before, self._settings = self._settings, Settings.model_validate_json(message["settings"])
        if self._settings.log.level != before.log.level:
            set_log_level(self._settings.log.level)

    def _on_change(self, worker: int, there: bool) -> None:
        if there and worker in self._reload_later:
            self._reload_later.discard(worker)
            self.board.send(worker, {"kind": "reload"})

    async def _take_down(self) -> None:
        """The workers end their sessions, all at once; then nothing is left of them."""
        self._stopping.set()
        started = self._beating is not None
        if started:
            self._log.info("server.stopping", workers=len(self.board.workers))
        for keeper in self._keepers:
            keeper.stop()
        if self._tasks:
            patience_s = self._settings.server.shutdown_grace + WORKER_STOP_S
            _, late = await asyncio.wait(self._tasks, timeout=patience_s)
            if late:
                self._log.error("worker.stop_timed_out", workers=len(late), hint="killed; no goodbye for their devices")
                for keeper in self._keepers:
                    keeper.kill()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        self._front.stop()
        self._hub.close()
        for udp in self._sockets:
            udp.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        if started:
            self._log.info("server.stopped")

    async def _beat(self) -> None:
        while True:
            self._front.heartbeat.beat()
            for keeper in self._keepers:
                keeper.beat(self._settings.server.worker_timeout)
            report_suppressed(self._limiter, self._log)
            await asyncio.sleep(HEARTBEAT_S)


def check_carried(settings: Settings) -> None:
    """The workers get the settings as text.

    Raises:
        ConfigError: They would get others.
    """
    if Settings.model_validate_json(settings.model_dump_json()) != settings:
        raise ConfigError(
            "handlers.options", "dates, times, inf and nan cannot be given to several workers", "put them into quotes"
        )
