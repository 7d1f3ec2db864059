"""Ephemeral keys made ahead, while nobody waits for them."""

from gateway.dtls.crypto.keyshare import KeyShare


class KeySharePool:
    """Some unused keys of each group that was asked for. A key is given to one handshake and used once.

    To make a key takes 20 to 25 us, which a handshake in a burst need not wait for. It saves no work, only time.
    """

    __slots__ = ("_ready", "_size")

    def __init__(self, size: int) -> None:
        """Holds at most `size` keys of each group, and none before the first was asked for."""
        self._size = size
        self._ready: dict[int, list[KeyShare]] = {}

    def __len__(self) -> int:
        """Keys that wait."""
        return sum(map(len, self._ready.values()))

    def take(self, group: int) -> KeyShare:
        """A fresh key of a group out of `SUPPORTED_GROUPS`, made now if none waits."""
        ready = self._ready.get(group)
        if ready:
            return ready.pop()
        share = KeyShare.generate(group)
        self._ready.setdefault(group, [])
        return share

    @property
    def is_full(self) -> bool:
        """Whether there is nothing to make ahead."""
        return all(len(ready) >= self._size for ready in self._ready.values())

    def make_one(self) -> None:
        """Makes one key ahead, of the group that has fewest; none if the pool is full."""
        if not self.is_full:
            group, ready = min(self._ready.items(), key=lambda item: len(item[1]))
            ready.append(KeyShare.generate(group))
