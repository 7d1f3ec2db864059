"""Message ids of our own for one peer, none of which is used twice within its lifetime (RFC 7252 section 4.4).

A counter from a random start meets its own beginning after 65,536 messages. The ids are looked at in blocks: a block
may be entered again when the lifetime of the last id that was taken from it is over. That costs one comparison a
message and sixteen numbers a peer, where a time for each id would be a megabyte.
"""

from typing import Final

_BLOCK: Final = 4096
_BLOCKS: Final = 0x10000 // _BLOCK


class MessageIds:
    """The ids of one peer."""

    __slots__ = ("_left_at", "_next")

    def __init__(self, first: int) -> None:
        """Begin at an id, which is best a random one (RFC 7252 section 4.4)."""
        self._next = first
        # Block -> when its last id was taken; none before the counter has left the first block.
        self._left_at: list[float | None] | None = None

    def take(self, now: float, lifetime_s: float) -> int:
        """The next id; -1 while it may still be in use.

        Args:
            now: Seconds on the caller's clock.
            lifetime_s: Seconds for which an id is taken: EXCHANGE_LIFETIME.
        """
        message_id = self._next
        if not message_id % _BLOCK and not self._enter(message_id // _BLOCK, now, lifetime_s):
            return -1
        self._next = message_id + 1 & 0xFFFF
        return message_id

    def free_at(self, lifetime_s: float) -> float:
        """When the id that was refused may be taken, on the caller's clock."""
        left_at = self._left_at[self._next // _BLOCK] if self._left_at is not None else None
        return 0.0 if left_at is None else left_at + lifetime_s

    def _enter(self, block: int, now: float, lifetime_s: float) -> bool:
        if self._left_at is None:
            self._left_at = [None] * _BLOCKS
        left_at = self._left_at[block]
        if left_at is not None and now - left_at < lifetime_s:
            return False
        # The last id of the block before was taken at the latest now; a second refusal of the same id moves nothing.
        self._left_at[block - 1] = now
        return True
