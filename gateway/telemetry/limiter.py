"""Keeps events that a stranger can cause at will from filling the log, and tells how many were left out."""

import time
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any

import structlog

from gateway.telemetry.limits import EVENT_BURST, EVENT_PERIOD_S, MAX_LIMITED_EVENTS


class EventLimiter:
    """A bounded number of lines per event and period.

    It stands in the log chain (`configure_logging(limiter=...)`). The first line that passes after others were left
    out carries their number as `suppressed`. A flood that ends leaves a number behind that no later line reports:
    whoever has a clock calls `drain()` now and then, and logs that.
    """

    def __init__(
        self,
        events: Iterable[str],
        *,
        burst: int = EVENT_BURST,
        period_s: float = EVENT_PERIOD_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Name the events to limit; all others pass.

        Args:
            events: Names, at most MAX_LIMITED_EVENTS of them.
            burst: Lines of one event in one period.
            period_s: Length of a period, in seconds.
            clock: Seconds that never go back.

        Raises:
            ValueError: Too many names.
        """
        self._windows = {event: _Window() for event in events}
        if len(self._windows) > MAX_LIMITED_EVENTS:
            raise ValueError(f"at most {MAX_LIMITED_EVENTS} events can be limited")
        self._burst = burst
        self._period_s = period_s
        self._clock = clock

    def admit(self, event: str) -> int | None:
        """Decide about one line.

        Returns:
            None when it is to be left out, else how many were left out since the last line of this event.
        """
        window = self._windows.get(event)
        if window is None:
            return 0
        now = self._clock()
        if now - window.began_at >= self._period_s:
            window.began_at = now
            window.passed = 0
        if window.passed >= self._burst:
            window.suppressed += 1
            window.suppressed_total += 1
            return None
        window.passed += 1
        suppressed, window.suppressed = window.suppressed, 0
        return suppressed

    def drain(self) -> dict[str, int]:
        """Take the numbers of events that were left out in periods that are over."""
        now = self._clock()
        drained = {}
        for event, window in self._windows.items():
            if window.suppressed and now - window.began_at >= self._period_s:
                drained[event], window.suppressed = window.suppressed, 0
        return drained

    def totals(self) -> dict[str, int]:
        """How many lines of each limited event were left out since the start."""
        return {event: window.suppressed_total for event, window in self._windows.items()}

    def __call__(self, logger: Any, method: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """The link in the log chain.

        Raises:
            structlog.DropEvent: The line is left out.
        """
        suppressed = self.admit(event_dict.get("event", ""))
        if suppressed is None:
            raise structlog.DropEvent
        if suppressed:
            event_dict["suppressed"] = suppressed
        return event_dict


class _Window:
    __slots__ = ("began_at", "passed", "suppressed", "suppressed_total")

    def __init__(self) -> None:
        self.began_at = float("-inf")
        self.passed = 0
        self.suppressed = 0
        self.suppressed_total = 0
