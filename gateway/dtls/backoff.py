"""Who failed to prove itself lately, and how long the next look at its credential waits.

A failed attempt is never refused for it, only looked at later, and by no more than a few seconds: who shares the
network of a device and knows its identity can slow it down, and never keep it out. A device that was given a wrong key
and tries again at once, the usual storm, does so with one handshake at a time and is slowed to the rate of the longest
delay.

A table is bounded, forgets with time, and drops the entry that failed longest ago when it is full: then somebody waits
less than he should, which does no harm.
"""

from math import ceil


class Backoff:
    """Failures by key. A key's level rises by one with each failure and falls with time."""

    __slots__ = ("_cap_s", "_decay_s", "_entries", "_first_s", "_free", "_size", "_top")

    def __init__(self, *, free: int, first_s: float, cap_s: float, decay_s: float, size: int) -> None:
        """An empty table.

        Args:
            free: Failures without a consequence.
            first_s: Seconds that the next look waits after one failure more; doubles with each further one.
            cap_s: Seconds at which the doubling stops.
            decay_s: Seconds in which the level falls by one.
            size: Keys remembered.
        """
        self._free = free
        self._first_s = first_s
        self._cap_s = cap_s
        self._decay_s = decay_s
        self._size = size
        # The level stops where the delay does, so that what a storm built up is gone soon after it.
        self._top = free + 1
        while first_s * 2 ** (self._top - free - 1) < cap_s:
            self._top += 1
        # Level, and when it was that; in the order of that time.
        self._entries: dict[int, tuple[float, float]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def delay(self, key: int, now: float) -> float:
        """Seconds that the next attempt waits."""
        over = ceil(self._level(key, now)) - self._free
        return min(self._cap_s, self._first_s * 2 ** (over - 1)) if over > 0 else 0.0

    def failed(self, key: int, now: float) -> None:
        level = min(self._level(key, now) + 1, self._top)
        self._entries.pop(key, None)
        self.forget(now)
        while len(self._entries) >= self._size:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = (level, now)

    def succeeded(self, key: int) -> None:
        """Whoever it was has proven itself."""
        self._entries.pop(key, None)

    def eased(self, key: int, now: float) -> None:
        """Somebody of many behind this key has proven itself: half is forgiven."""
        if key in self._entries:
            level = self._level(key, now) / 2
            del self._entries[key]  # the order is that of time
            self._entries[key] = (level, now)

    def forget(self, now: float) -> None:
        """Drops what has decayed, from the front on."""
        while self._entries and self.expires_at <= now:
            del self._entries[next(iter(self._entries))]

    @property
    def expires_at(self) -> float:
        """When the oldest entry means nothing any more, seconds; infinite for an empty table."""
        for _, at in self._entries.values():
            return at + self._top * self._decay_s
        return float("inf")

    def _level(self, key: int, now: float) -> float:
        entry = self._entries.get(key)
        return max(0.0, entry[0] - max(0.0, now - entry[1]) / self._decay_s) if entry is not None else 0.0
