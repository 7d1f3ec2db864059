"""What one end of a channel has to tell the other about devices, as few messages of many items."""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from gateway.server.channel import Message
from gateway.server.limits import HUB_BATCH_BYTES
from gateway.telemetry import get_logger

KIND: Final = "hub"
ITEM_BYTES: Final = 100
"""What an item without a body takes, about."""

Item: TypeAlias = list[Any]
"""What is told, and of what: `["heard", "default", "meter-1"]`. The words stand in `gateway/server/hub.py`."""


class Outbox:
    """Collects items. Somebody flushes it once in a turn of the event loop; a large one goes at once."""

    __slots__ = ("_bytes", "_items", "_log", "_on_refused", "_send")

    def __init__(self, send: Callable[[Message], bool], on_refused: Callable[[], None]) -> None:
        """Empty.

        Args:
            send: Takes a message; False where it is lost.
            on_refused: Called when one was lost, and all that waited with it.
        """
        self._send = send
        self._on_refused = on_refused
        self._log = get_logger("gateway.server")
        self._items: list[Item] = []
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item, size: int = ITEM_BYTES) -> None:
        """Takes an item of about so many bytes. What is full goes out."""
        if self._bytes and self._bytes + size > HUB_BATCH_BYTES:
            self.flush()
        self._items.append(item)
        self._bytes += size
        if self._bytes >= HUB_BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Sends what there is."""
        if self._items:
            items, self._items, self._bytes = self._items, [], 0
            try:
                taken = self._send({"kind": KIND, "items": items})
            except ValueError as fault:  # what cannot be written in JSON, or is too large: a bug of ours
                self._log.error("server.fault", exc_info=fault)
                taken = False
            if not taken:
                self._on_refused()

    def clear(self) -> None:
        """Forgets what there is."""
        self._items, self._bytes = [], 0


def weight(body: Any) -> int:
    """Bytes of a JSON value, about: what counts is a body of a megabyte."""
    if isinstance(body, str):
        return len(body)
    if isinstance(body, list):
        return sum(map(weight, body)) + len(body)
    return 8
