"""Things that are kept for a peer between two of its messages, for a while and within bounds."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar


class Kept:
    """Something on a `Shelf`; what is set here belongs to the shelf.

    Attributes:
        peer: Whose.
        key: Under which that peer finds it.
        size: Bytes that it is counted as.
        expires_at: Seconds on the caller's clock.
    """

    __slots__ = ("expires_at", "key", "peer", "size")

    def __init__(self, peer: Hashable, key: Hashable, size: int = 0) -> None:
        self.peer = peer
        self.key = key
        self.size = size
        self.expires_at = 0.0


K = TypeVar("K", bound=Kept)


class Shelf(Generic[K]):
    """Kept things by peer and key, in the order of their last use. A peer that keeps nothing costs nothing.

    Attributes:
        size: Bytes in all.
    """

    __slots__ = ("_lifetime_s", "_order", "_peers", "size")

    def __init__(self, lifetime_s: float) -> None:
        """Make an empty shelf; what is not used for `lifetime_s` seconds expires."""
        self.size = 0
        self._lifetime_s = lifetime_s
        self._peers: dict[Hashable, OrderedDict[Hashable, K]] = {}
        # Always the same time ahead, so the order of use is the order of expiry.
        self._order: OrderedDict[K, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._order)

    def find(self, peer: Hashable, key: Hashable) -> K | None:
        """What this peer keeps under a key."""
        kept = self._peers.get(peer)
        return None if kept is None else kept.get(key)

    def count(self, peer: Hashable) -> int:
        """How many things this peer keeps."""
        return len(self._peers.get(peer, ()))

    def size_of(self, peer: Hashable) -> int:
        """Bytes of this peer."""
        return sum(each.size for each in self._peers.get(peer, {}).values())

    def oldest(self, peer: Hashable) -> K | None:
        """What this peer has not used for the longest time."""
        return next(iter(self._peers.get(peer, {}).values()), None)

    def oldest_of_all(self) -> K | None:
        """What nobody has used for the longest time."""
        return next(iter(self._order), None)

    def add(self, item: K, now: float) -> None:
        """Keep a new thing; its key must be free."""
        self._peers.setdefault(item.peer, OrderedDict())[item.key] = item
        self._order[item] = None
        self.size += item.size
        item.expires_at = now + self._lifetime_s

    def use(self, item: K, now: float, size: int | None = None) -> None:
        """Keep a thing longer, counted as another size if one is given."""
        self._order.move_to_end(item)
        self._peers[item.peer].move_to_end(item.key)
        item.expires_at = now + self._lifetime_s
        if size is not None:
            self.size += size - item.size
            item.size = size

    def remove(self, item: K) -> bool:
        """Keep a thing no longer; False when it was not there any more."""
        kept = self._peers.get(item.peer)
        if kept is None or kept.get(item.key) is not item:
            return False
        del kept[item.key]
        if not kept:
            del self._peers[item.peer]
        del self._order[item]
        self.size -= item.size
        return True

    def forget(self, peer: Hashable) -> list[K]:
        """Remove what a peer keeps, and return it."""
        if peer not in self._peers:
            return []
        removed = list(self._peers[peer].values())
        for item in removed:
            self.remove(item)
        return removed

    def next_expiry(self) -> float | None:
        """When `expire` has something to do; None when nothing is kept."""
        oldest = self.oldest_of_all()
        return None if oldest is None else oldest.expires_at

    def expire(self, now: float) -> list[K]:
        """Remove what has not been used for too long, and return it."""
        removed: list[K] = []
        while (oldest := self.oldest_of_all()) is not None and oldest.expires_at <= now:
            self.remove(oldest)
            removed.append(oldest)
        return removed
