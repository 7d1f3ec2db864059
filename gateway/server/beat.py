"""What a worker does twice a second: it shows that its event loop runs, and looks after registry and log."""

import asyncio
from collections.abc import Callable
from typing import Final

from gateway.model import DEFAULT_TENANT
from gateway.registry import Registry
from gateway.server.limits import HEARTBEAT_S
from gateway.telemetry import EventLimiter, Heartbeat, Histogram, get_logger, report_suppressed

_REGISTRY_CHECK_BEATS: Final = 4
_PROBE_IDENTITY: Final = b"\0readiness"
_PROBE_DEVICE: Final = "readiness-probe"
_LAG_BUCKETS_S: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)


class Beat:
    """Attributes:
    heart: When the event loop was last seen alive.
    lag: How late it woke up.
    registry_problem: Why the registry cannot be read, for /readyz; None while it can.
    """

    def __init__(self, registry: Registry, limiter: EventLimiter | None, alive: Callable[[], None]) -> None:
        """Begins to count the loop's age; beats no sooner than `run`.

        Args:
            registry: Is asked now and then.
            limiter: Of the log; what it left out is reported when a flood has ended.
            alive: Called with each beat.
        """
        self.heart = Heartbeat()
        self.lag = Histogram(
            "gateway_event_loop_lag_seconds", "How late the event loop wakes up, in seconds.", _LAG_BUCKETS_S
        )
        self.registry_problem: str | None = None
        self._registry = registry
        self._limiter = limiter
        self._alive = alive
        self._log = get_logger("gateway.server")

    async def run(self) -> None:
        """Until it is cancelled."""
        loop = asyncio.get_running_loop()
        beats = 0
        while True:
            due = loop.time() + HEARTBEAT_S
            await asyncio.sleep(HEARTBEAT_S)
            self.heart.beat()
            self._alive()
            self.lag.observe(max(0.0, loop.time() - due))
            if beats % _REGISTRY_CHECK_BEATS == 0:
                await self._check_registry()
            beats += 1
            report_suppressed(self._limiter, self._log)

    async def _check_registry(self) -> None:
        """Asked here and not by who wants to know, because the registry belongs to this thread."""
        try:
            await asyncio.to_thread(self._probe) if self._registry.remote else self._probe()
        except Exception as error:  # the beat must go on, whatever a registry raises
            self.registry_problem = str(error) or type(error).__name__
        else:
            self.registry_problem = None

    def _probe(self) -> None:
        # What a handshake reads: a damaged file can have a readable page in front of unreadable ones.
        self._registry.find_psk(DEFAULT_TENANT, _PROBE_IDENTITY)
        self._registry.find_certificate_device(DEFAULT_TENANT, _PROBE_DEVICE)
        self._registry.changes_since(-1)
