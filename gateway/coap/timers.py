"""Deadlines of confirmable exchanges: a heap with cheap cancelling."""

import heapq
from typing import Final, Generic, TypeVar

# A heap below this many entries is not worth cleaning.
_COMPACT_ABOVE: Final = 64


class Timed:
    """Something that wants to be woken at `deadline`; None while it does not.

    Attributes:
        deadline: Seconds on the caller's clock, set by `TimerQueue` only.
    """

    __slots__ = ("deadline",)

    def __init__(self) -> None:
        self.deadline: float | None = None


T = TypeVar("T", bound=Timed)


class TimerQueue(Generic[T]):
    """Deadlines in order. Cancelled entries stay in the heap until they surface or are half of it."""

    __slots__ = ("_heap", "_live", "_sequence")

    def __init__(self) -> None:
        # The sequence number keeps the order of equal deadlines, and keeps the heap from comparing items.
        self._heap: list[tuple[float, int, T]] = []
        self._live = 0
        self._sequence = 0

    def __len__(self) -> int:
        return self._live

    def schedule(self, item: T, deadline: float) -> None:
        """Wake `item` at `deadline` and at no other time."""
        if item.deadline is None:
            self._live += 1
        item.deadline = deadline
        self._sequence += 1
        heapq.heappush(self._heap, (deadline, self._sequence, item))

    def cancel(self, item: T) -> None:
        """Do not wake `item`; harmless when it is not scheduled."""
        if item.deadline is None:
            return
        item.deadline = None
        self._live -= 1
        if len(self._heap) > _COMPACT_ABOVE and self._live * 2 < len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].deadline == entry[0]]
            heapq.heapify(self._heap)

    def next_deadline(self) -> float | None:
        """The earliest deadline; None when nothing is scheduled."""
        heap = self._heap
        while heap and heap[0][2].deadline != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop_due(self, now: float) -> T | None:
        """The item with the earliest deadline that has come, now unscheduled; None when there is none."""
        deadline = self.next_deadline()
        if deadline is None or deadline > now:
            return None
        item = heapq.heappop(self._heap)[2]
        item.deadline = None
        self._live -= 1
        return item
