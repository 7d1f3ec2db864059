"""The admin port of several workers: the supervisor asks them, and gives one answer."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from gateway.admin import (
    MANAGEMENT_PREFIX,
    MAX_CONNECTIONS,
    AdminError,
    AdminServer,
    Health,
    ManagementApi,
    liveness,
)
from gateway.config import Address, Settings
from gateway.server.asking import Answer, Asking
from gateway.server.device_api import PREFIX as API_PREFIX
from gateway.server.fleet import FleetCount
from gateway.server.keeper import Keeper
from gateway.server.limits import MAX_API_REQUESTS, STALL_S
from gateway.server.merging import merge_failures, merge_liveness, merge_metrics, merge_readiness
from gateway.server.opening import load_tokens, open_store
from gateway.server.udp import BindError
from gateway.telemetry import Heartbeat, Metrics, counter_family, gauge_family


class Front:
    """Attributes:
    heartbeat: Of the supervisor's event loop, which has to beat.
    """

    def __init__(self, settings: Settings, stopping: Callable[[], bool], hub: Callable[[], Iterable[Metric]]) -> None:
        """Opens no port.

        Args:
            settings: The configuration; nothing of it that counts here can change.
            stopping: Whether the gateway is; called in threads.
            hub: Metrics of what the workers have to do with each other; likewise.

        Raises:
            ConfigError: The tokens of the management API cannot be used.
        """
        self.heartbeat = Heartbeat()
        self._bind, self._hosts = settings.admin.bind, settings.admin.hosts
        self._stopping = stopping
        self._hub = hub
        self._keepers: Sequence[Keeper] = ()
        self._asking = Asking(self._serving)
        self._management = ManagementApi(load_tokens(settings), lambda: open_store(settings))
        self._fleet = FleetCount(settings.registry.url, time.monotonic)
        self._admin: AdminServer | None = None

    def open(self, keepers: Sequence[Keeper]) -> Address:
        """Opens the port, and answers nobody yet.

        Args:
            keepers: All of them, in the order of their numbers.

        Raises:
            BindError: It cannot be had.
        """
        self._keepers = keepers
        metrics = Metrics()
        metrics.add_source("workers", self._families)
        metrics.add_source("fleet", self._fleet.families)
        metrics.add_source("hub", self._hub)
        merged = CollectorRegistry(auto_describe=False)
        merged.register(_Merged(metrics, self._asking, range(len(keepers))))
        try:
            self._admin = AdminServer(
                self._bind.host,
                self._bind.port,
                registry=merged,
                loop_age_s=self.heartbeat.age_s,
                checks={},
                pages={
                    "/livez": lambda query: self._livez(),
                    "/readyz": lambda query: self._readyz(),
                    "/debug/failures": lambda query: self._failures(chains=query.get("chains") == "1"),
                },
                apis={API_PREFIX: self._asking.pass_on, MANAGEMENT_PREFIX: self._management.guarded},
                hosts=self._hosts,
                max_connections=MAX_CONNECTIONS + MAX_API_REQUESTS,
            )
        except AdminError as error:
            raise BindError(str(error)) from error
        return Address(*self._admin.address)

    def start(self) -> None:
        """Answers from now on."""
        if self._admin is not None:
            self._admin.start()

    def stop(self) -> None:
        """Closes the port, whether it was opened or not."""
        if self._admin is not None:
            self._admin.stop()
        self._asking.close()
        self._management.close()

    def _serving(self) -> dict[int, Path]:
        return {keeper.worker: keeper.admin for keeper in self._keepers if keeper.serving}

    def _livez(self) -> Health:
        own = liveness(self.heartbeat.age_s(), STALL_S)
        return merge_liveness(own.body, _read(self._asking.all("/livez")))

    def _readyz(self) -> Health:
        answers = _read(self._asking.all("/readyz"))
        missing = [keeper.worker for keeper in self._keepers if keeper.worker not in answers]
        return merge_readiness(missing, answers, stopping=self._stopping())

    def _failures(self, *, chains: bool) -> dict[str, object]:
        return merge_failures(_read(self._asking.all(f"/debug/failures?chains={int(chains)}")))

    def _families(self) -> Iterable[Metric]:
        yield counter_family(
            "gateway_worker_restarts_total",
            "Starts of a worker after it had ended.",
            ("worker",),
            {(str(keeper.worker),): keeper.restarts for keeper in self._keepers},
        )


class _Merged(Collector):
    """Everything that a scrape of the whole gateway shows."""

    def __init__(self, metrics: Metrics, asking: Asking, workers: Iterable[int]) -> None:
        self._metrics = metrics
        self._asking = asking
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        answers = self._asking.all("/metrics")
        yield gauge_family(
            "gateway_worker_up",
            "Whether a worker was there to be asked for its metrics; without them it is missing from the others.",
            ("worker",),
            {(str(worker),): float(answers.get(worker) is not None) for worker in self._workers},
        )
        texts = {worker: answer.body.decode() for worker, answer in answers.items() if answer is not None}
        yield from merge_metrics(self._metrics.registry.collect(), texts)


def _read(answers: Mapping[int, Answer | None]) -> dict[int, dict[str, object] | None]:
    return {worker: None if answer is None else answer.json() for worker, answer in answers.items()}
