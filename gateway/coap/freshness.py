"""Which notification is newer (RFC 7641 section 3.4): the network may turn their order round."""

from typing import Final

_HALF: Final = 1 << 23
_MASK: Final = 0xFFFFFF
_FORGOTTEN_S: Final = 128


class Freshness:
    """The number of the newest notification, and when it came."""

    __slots__ = ("_number", "_seen_at")

    def __init__(self) -> None:
        self._number = -1
        self._seen_at = 0.0

    def is_newer(self, number: int, now: float) -> bool:
        """Whether a notification is newer than all before it; if so, later ones are held against it."""
        if self._number >= 0:
            # By less than half of the 24 bits, or by time: after 128 seconds anything is.
            by_number = 0 < (number - self._number & _MASK) < _HALF
            if not by_number and now <= self._seen_at + _FORGOTTEN_S:
                return False
        self._number = number
        self._seen_at = now
        return True
