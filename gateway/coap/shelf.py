"""Things that are kept for a peer between two of its messages, for a while and within bounds.

A peer is one session. What is counted is what its owner keeps, the device: it may have several sessions at once.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from gateway.coap.peer import Peer


class Kept:
    """Something on a `Shelf`; what is set here belongs to the shelf.

    Attributes:
        peer: Whose.
        owner: Whose session that is.
        key: Under which that peer finds it.
        size: Bytes that it is counted as.
        expires_at: Seconds on the caller's clock.
    """

    __slots__ = ("expires_at", "key", "owner", "peer", "size")

    def __init__(self, peer: Peer, key: Hashable, size: int = 0) -> None:
        self.peer = peer
        self.owner = peer.owner
        self.key = key
        self.size = size
        self.expires_at = 0.0


K = TypeVar("K", bound=Kept)


class Shelf(Generic[K]):
    """Kept things by peer and key, in the order of their last use. Who keeps nothing costs nothing.

    Attributes:
        size: Bytes in all.
    """

    __slots__ = ("_lifetime_s", "_order", "_owners", "size")

    def __init__(self, lifetime_s: float) -> None:
        """Make an empty shelf; what is not used for `lifetime_s` seconds expires."""
        self.size = 0
        self._lifetime_s = lifetime_s
        self._owners: dict[Hashable, OrderedDict[tuple[Peer, Hashable], K]] = {}
        # Always the same time ahead, so the order of use is the order of expiry.
        self._order: OrderedDict[K, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._order)

    def find(self, peer: Peer, key: Hashable) -> K | None:
        """What this peer keeps under a key."""
        kept = self._owners.get(peer.owner)
        return None if kept is None else kept.get((peer, key))

    def count(self, owner: Hashable) -> int:
        """How many things this owner keeps, in all its sessions."""
        return len(self._owners.get(owner, ()))

    def size_of(self, owner: Hashable) -> int:
        """Bytes of this owner."""
        return sum(each.size for each in self._owners.get(owner, {}).values())

    def oldest(self, owner: Hashable) -> K | None:
        """What this owner has not used for the longest time."""
        return next(iter(self._owners.get(owner, {}).values()), None)

    def oldest_of_all(self) -> K | None:
        """What nobody has used for the longest time."""
        return next(iter(self._order), None)

    def add(self, item: K, now: float) -> None:
        """Keep a new thing; its key must be free."""
        self._owners.setdefault(item.owner, OrderedDict())[item.peer, item.key] = item
        self._order[item] = None
        self.size += item.size
        item.expires_at = now + self._lifetime_s

    def use(self, item: K, now: float, size: int | None = None) -> None:
        """Keep a thing longer, counted as another size if one is given."""
        self._order.move_to_end(item)
        self._owners[item.owner].move_to_end((item.peer, item.key))
        item.expires_at = now + self._lifetime_s
        if size is not None:
            self.size += size - item.size
            item.size = size

    def remove(self, item: K) -> bool:
        """Keep a thing no longer; False when it was not there any more."""
        kept = self._owners.get(item.owner)
        if kept is None or kept.get((item.peer, item.key)) is not item:
            return False
        del kept[item.peer, item.key]
        if not kept:
            del self._owners[item.owner]
        del self._order[item]
        self.size -= item.size
        return True

    def forget(self, peer: Peer) -> list[K]:
        """Remove what a peer keeps, and return it; other sessions of its owner keep theirs."""
        kept = self._owners.get(peer.owner)
        if kept is None:
            return []
        removed = [item for item in kept.values() if item.peer is peer]
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
