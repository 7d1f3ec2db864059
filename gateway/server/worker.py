"""The one composition root: builds everything out of the settings, runs it, and takes it down in order."""

import asyncio
import contextlib
import os
import signal
import socket
import time
from dataclasses import replace

from gateway.admin import (
    MANAGEMENT_PREFIX,
    MAX_CONNECTIONS,
    AdminError,
    AdminServer,
    Check,
    ManagementApi,
)
from gateway.coap import MessageLayer
from gateway.config import Address, ConfigError, Settings, Source
from gateway.dtls import ServerConfig, ServerEndpoint
from gateway.handlers import App, HandlerError
from gateway.server.beat import Beat
from gateway.server.command_queue import CommandQueue
from gateway.server.commands import Commands
from gateway.server.crl_refresh import CrlRefresh
from gateway.server.device_api import PREFIX as API_PREFIX
from gateway.server.device_api import DeviceApi, known_in
from gateway.server.device_sessions import DeviceSessions
from gateway.server.dispatch import Dispatcher
from gateway.server.failures import Failures
from gateway.server.fleet import FleetCount
from gateway.server.flow import rates_of
from gateway.server.identities import Identities
from gateway.server.limits import MAX_API_REQUESTS, STALL_S
from gateway.server.line import Channel
from gateway.server.lookups import Lookups
from gateway.server.metrics import RequestMetrics, SessionMetrics, crl_families
from gateway.server.observations import ObservedRoutes
from gateway.server.opening import load_application, load_tokens, open_identity, open_store
from gateway.server.plan import Plan, Secrets, message_layer
from gateway.server.pushes import Pushes
from gateway.server.reloading import Changeable, Reloads, looked_at
from gateway.server.reports import Reports
from gateway.server.seat import Seat
from gateway.server.secret_files import KeyLogFile
from gateway.server.service import Bound, Service, address_of
from gateway.server.sessions import Sessions
from gateway.server.sources import metric_sources
from gateway.server.together import Together
from gateway.server.udp import BindError, UdpServer, open_socket
from gateway.server.watch import RegistryWatch
from gateway.telemetry import (
    EventLimiter,
    Metrics,
    get_logger,
)


class Worker(Service):
    """One process's gateway.

        worker = Worker(settings)      # everything that can be wrong with the settings is found here
        async with worker:             # bound and serving
            await worker.wait()        # until `stop`

    Attributes:
        app: What answers requests.
        registry: Where the devices are; open until the worker has stopped.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        app: App | None = None,
        limiter: EventLimiter | None = None,
        source: Source | None = None,
        seat: Seat | None = None,
        channel: Channel | None = None,
    ) -> None:
        """Loads keys, registry and handlers. Opens no socket.

        Args:
            settings: The configuration; relative paths in it are resolved already.
            app: Used in place of what `[handlers]` names.
            limiter: Of the log; what it left out is reported when a flood has ended.
            source: Where the settings are from. Without it they stay, and `reload` reads only the files that they name.
            seat: What a supervisor has given it; None for a worker that is alone. Its channel is started here, and
                closed by whoever made it.
            channel: To a supervisor with a `Hub`, by which this worker and others are one gateway for their devices,
                where there is no seat.

        Raises:
            ConfigError: Something that the settings name is missing or unusable.
        """
        super().__init__()
        self._settings = settings
        self._source = source or Source(lambda: settings, watched=False)
        self._seat = seat
        self._secrets = seat.secrets if seat is not None else Secrets()
        self._seen = looked_at(self._source, settings)
        self._plan = Plan.read(settings, self._secrets, seat.worker if seat is not None else 0)
        self.app = app if app is not None else load_application(settings)
        self._key_log: KeyLogFile | None = None
        self._management = ManagementApi(load_tokens(settings), lambda: open_store(settings)) if seat is None else None
        self.registry, self._reads, self._identity = open_identity(settings)
        self._log = get_logger("gateway.server")
        self._reports = Reports(seat)
        self._failures = Failures(time.time)
        self._beat = Beat(self.registry, limiter, self._reports.alive)
        self._channel = seat.channel if seat is not None else channel
        self._together: Together | None = None
        self._background: list[asyncio.Task[None]] = []
        self._server: UdpServer | None = None
        self._pushes: Pushes | None = None
        self._watch: RegistryWatch | None = None
        self._lookups: Lookups | None = None
        self._flush_asked = False
        self._admin: AdminServer | None = None
        self._reloads: Reloads | None = None
        self._reload_asked = False

    def reload(self) -> None:
        """Asks for the configuration and its files to be read again; safe in a signal handler of the event loop.

        What is wrong with them is logged, and changes nothing. Before the start is over it is done after it.
        """
        if self._reloads is not None:
            self._reloads.ask()
        else:
            self._reload_asked = True

    async def wait(self) -> None:
        """Until `stop`, SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # not in the main thread
                loop.add_signal_handler(number, self.stop)
        try:
            await self._stopping.wait()
        finally:
            # A signal to the whole group, from a terminal or from systemd, comes before the supervisor's own: a worker
            # that is told twice still says goodbye. One that does not end is killed.
            for number in signals if self._seat is None else ():
                with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                    loop.remove_signal_handler(number)

    async def _start(self) -> Bound:
        settings = self._settings
        loop = asyncio.get_running_loop()
        # Before any socket: a handler that cannot start is a fault of the configuration.
        try:
            await self.app.startup()
        except HandlerError as error:
            raise ConfigError("handlers", str(error)) from error
        identity = self._identity
        self._endpoint = endpoint = ServerEndpoint(self._open_key_log(self._plan.engine), os.urandom)
        udp = self._open_socket()
        requests, sessions = RequestMetrics(), SessionMetrics()
        self.app.problem_details = settings.coap.problem_details
        layer = message_layer(settings.coap, self.app.limit_bodies(settings.coap.max_payload))
        of_devices = DeviceSessions(settings.dtls.max_sessions_per_device)
        routes = ObservedRoutes(
            self.app,
            layer,
            fit=lambda *state: dispatcher.transfers.finish(*state),
            flush_soon=self._flush_soon,
            clock=loop.time,
            time_limit_s=settings.handlers.time_limit,
        )
        dispatcher = Dispatcher(
            self.app,
            layer,
            requests,
            send=lambda session, data, now: server.send(session, data, now),
            clock=loop.time,
            time_limit_s=settings.handlers.time_limit,
            max_concurrent=settings.handlers.max_concurrent,
            max_concurrent_per_device=settings.handlers.max_concurrent_per_device,
            block_size=settings.coap.block_size,
            rates=rates_of(settings.coap),
            observed=routes,
        )
        self._dispatcher = dispatcher
        self._lookups = lookups = Lookups(self._flush_soon)
        identities = Identities(
            endpoint,
            identity,
            sessions,
            lookups,
            backend="postgresql" if self.registry.remote else "sqlite",
            clock=loop.time,
        )
        self._watch = watch = RegistryWatch(
            self.registry,
            self._reads,
            identity,
            endpoint,
            of_devices,
            flush_soon=self._flush_soon,
            clock=loop.time,
            utc=time.time,
        )
        crl_refresh = CrlRefresh(self.registry, identity, clock=loop.time)
        glue = Sessions(endpoint, identities, dispatcher, sessions, self._failures, of_devices, watch.entered)
        pushes = self._make_pushes(layer, of_devices, routes, watch)

        def on_event(now: float) -> None:
            glue.drain(now)
            pushes.drain(now)

        parts = Changeable(endpoint, self.app, layer, dispatcher, routes, of_devices, glue)
        reloads = Reloads(
            self._plan,
            self._secrets,
            self._source,
            parts,
            seen=self._seen,
            look_again=watch.read_again,
            taken_up=self._reports.taken_up,
        )
        server = UdpServer(udp, endpoint, dispatcher, on_event=on_event, clock=loop.time)
        self._server = server
        metrics = Metrics()
        sources = metric_sources(
            server=server,
            endpoint=endpoint,
            sessions=sessions,
            dispatcher=dispatcher,
            pushes=pushes,
            clones=watch.clones,
            identity=identity,
            sinks=self.app.sinks,
            reloads=reloads,
        )
        sources["workers"] = lambda: self._together.families() if self._together is not None else ()
        if self._leads:
            sources["crls"] = lambda: crl_families(crl_refresh)
        if self._seat is None:
            sources["fleet"] = FleetCount(settings.registry.url, loop.time).families
        for name, source in sources.items():
            metrics.add_source(name, source)
        metrics.add_tables("loop", self._beat.lag)
        self._admin = self._start_admin(
            metrics,
            DeviceApi(
                self._together or pushes, loop, known=known_in(self.registry), enabled=settings.admin.device_requests
            ),
        )
        server.start()
        self._admin.start()
        running = [self._beat.run(), watch.run(), *([crl_refresh.run()] if self._leads else [])]
        self._background += map(asyncio.create_task, running)
        self._reloads = reloads
        reloads.start()
        if self._reload_asked:
            reloads.ask()
        bound = Bound(address_of(udp), Address(*self._admin.address))
        self._report_start(bound)
        return bound

    @property
    def _leads(self) -> bool:
        """Whether it does what one process does for all: fetch revocation lists, say what is wrong with an anchor."""
        return self._seat is None or self._seat.worker == 0

    def _open_socket(self) -> socket.socket:
        if self._seat is not None:
            return self._seat.udp
        bind = self._settings.server.bind
        return open_socket(bind.host, bind.port)

    def _report_start(self, bound: Bound) -> None:
        counts = self.registry.counts()
        if self._seat is not None:
            self._seat.channel.on("reload", lambda message: self.reload())
            self._seat.channel.start(asyncio.get_running_loop())
        self._reports.started(bound, counts, self._plan, routes=len(self.app.routes))
        if self._together is not None:
            self._together.begin()
        if self._identity.unusable_anchors and self._leads:
            self._log.warning("registry.unusable_trust_anchors", anchors=self._identity.unusable_anchors)

    def _make_pushes(
        self, layer: MessageLayer, of_devices: DeviceSessions, routes: ObservedRoutes, watch: RegistryWatch
    ) -> Pushes:
        loop = asyncio.get_running_loop()
        awake_s = self._settings.coap.awake_time
        commands = Commands(layer, of_devices, flush_soon=self._flush_soon, clock=loop.time)
        together = None
        if self._channel is not None:
            together = Together(
                self._channel,
                commands,
                of_devices,
                watch.clones,
                close=watch.close,
                clock=loop.time,
                awake_s=awake_s,
            )
        queue = CommandQueue(
            commands if together is None else together.reach,
            clock=loop.time,
            random=os.urandom,
            awake_s=awake_s,
            attempt_s=layer.parameters.max_transmit_wait_s,
        )
        self._pushes = pushes = Pushes(layer, self._endpoint, commands, queue, routes, clock=loop.time)
        of_devices.listener = pushes
        if together is not None:
            together.join(pushes)
        self._together = together
        self.app.serve_with(together or pushes)
        return pushes

    def _flush_soon(self) -> None:
        """What was queued outside the data path goes out in the loop's next turn."""
        if not self._flush_asked:
            self._flush_asked = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_asked = False
        if self._server is not None:
            self._server.flush(asyncio.get_running_loop().time())

    def _open_key_log(self, config: ServerConfig) -> ServerConfig:
        path = self._settings.dtls.key_log
        if path is None:
            return config
        self._key_log = KeyLogFile(path)
        self._log.warning(
            "dtls.key_log_enabled",
            file=str(path),
            hint="whoever has this file can read every session; for debugging only",
        )
        return replace(config, key_log=self._key_log)

    def _start_admin(self, metrics: Metrics, device_api: DeviceApi) -> AdminServer:
        bind, seat = self._settings.admin.bind, self._seat
        checks: dict[str, Check] = {
            "registry": lambda: self._beat.registry_problem,
            "draining": lambda: "the gateway is stopping" if self._stopping.is_set() else None,
        }
        try:
            return AdminServer(
                bind.host if seat is None else seat.admin,
                bind.port,
                registry=metrics.registry,
                loop_age_s=self._beat.heart.age_s,
                checks=checks,
                heartbeat_limit_s=STALL_S,
                hosts=self._settings.admin.hosts,
                apis={API_PREFIX: device_api}
                | ({} if self._management is None else {MANAGEMENT_PREFIX: self._management.guarded}),
                max_connections=MAX_CONNECTIONS + MAX_API_REQUESTS,
                pages={"/debug/failures": lambda query: self._failures.page(chains=query.get("chains") == "1")},
            )
        except AdminError as error:
            raise BindError(str(error)) from error

    async def _take_down(self) -> None:
        """Serves on until running handlers have finished, says goodbye to the devices, closes what was opened."""
        self._stopping.set()
        started = self._server is not None
        if self._server is not None:
            self._reports.stopping(self._endpoint.association_count)
            settings = self._reloads.plan.settings if self._reloads is not None else self._settings
            await self._dispatcher.drain(settings.server.shutdown_grace)
            if self._pushes is not None:
                await self._pushes.close()
            self._endpoint.shut_down(asyncio.get_running_loop().time())
            self._server.stop()
            self._server = None
        if self._together is not None:
            await self._together.close()
            self._together = None
        if self._reloads is not None:
            await self._reloads.stop()
            self._reloads = None
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        if self._watch is not None:
            await self._watch.note_all()
            self._watch = None
        if self._lookups is not None:
            self._lookups.stop()
            self._lookups = None
        self.app.serve_with(None)
        await self.app.shutdown()
        if self._admin is not None:
            self._admin.stop()
            self._admin = None
        if self._management is not None:
            self._management.close()
        self.registry.close()
        if self._key_log is not None:
            self._key_log.close()
            self._key_log = None
        if started:
            self._reports.stopped()
