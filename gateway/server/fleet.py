"""How many devices use which credentials: the progress of a fleet from pre-shared keys to certificates."""

import threading
from collections.abc import Callable, Iterable

from prometheus_client.core import Metric

from gateway.registry import Migration, RegistryError, open_registry
from gateway.server.limits import FLEET_INTERVAL_S
from gateway.telemetry import gauge_family


class FleetCount:
    """Counts in the thread that scrapes, on a connection of its own: a million devices take a second or two."""

    def __init__(self, url: str, clock: Callable[[], float]) -> None:
        """Opens nothing yet.

        Args:
            url: Of the registry.
            clock: Seconds that never go back.
        """
        self._url = url
        self._clock = clock
        self._lock = threading.Lock()
        self._counted: Migration | None = None
        self._due = clock()
        # Another connection to a store in memory would be to another store.
        self._countable = not url.endswith(":memory:")

    def families(self) -> Iterable[Metric]:
        counted = self._count() if self._countable else None
        if counted is not None:
            yield gauge_family(
                "gateway_fleet_devices",
                "Devices by the credentials that they may use: pre-shared keys, certificates, or both.",
                ("credentials",),
                {("psk",): float(counted.psk), ("x509",): float(counted.x509), ("both",): float(counted.both)},
            )

    def _count(self) -> Migration | None:
        with self._lock:
            if self._clock() >= self._due:
                try:
                    with open_registry(self._url) as registry:
                        self._counted = registry.migration_status(since=0.0)
                except RegistryError:
                    self._counted = None  # /readyz says why; an old number would not say that it is old
                self._due = self._clock() + FLEET_INTERVAL_S
            return self._counted
