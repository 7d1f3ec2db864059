"""In what order datagrams are served that are no application data of a session: handshakes, alerts, garbage.

They cost ten to fifty times what a request costs, so the shell gives them a bounded part of its time and keeps the rest
here, in a bounded queue. First come peers that have a session or a handshake under way, then newcomers that offer a
session to resume, then the others, last those whose network failed a lot lately. Every so often the last in order has
its turn, so that nobody starves. When the queue is full, what waited longest of the last kind is dropped: its sender
repeats it.

The order is a courtesy and no protection: a hello may claim to resume whatever it likes.
"""

from collections import deque
from enum import IntEnum

from gateway.dtls.cookie import Address
from gateway.dtls.limits import MAX_ARRIVALS, TURNS_OF_THE_FIRST
from gateway.dtls.numbers import ContentType, ExtensionType, HandshakeType

_HELLO_BODY = 13 + 12
_SESSION_ID = _HELLO_BODY + 2 + 32
_HANDSHAKE = bytes((ContentType.HANDSHAKE,))
_CLIENT_HELLO = bytes((HandshakeType.CLIENT_HELLO,))


class Rank(IntEnum):
    """Who goes first."""

    KNOWN = 0
    RETURNING = 1
    NEW = 2
    SUSPECT = 3


def resumes(datagram: bytes) -> bool:
    """Whether a datagram begins with a ClientHello that offers a session to resume, by id or by ticket. Never
    raises."""
    if datagram[:1] != _HANDSHAKE or datagram[13:14] != _CLIENT_HELLO or len(datagram) <= _SESSION_ID:
        return False
    if datagram[_SESSION_ID]:
        return True
    try:
        at = _SESSION_ID + 1
        at += 1 + datagram[at]
        at += 2 + (datagram[at] << 8 | datagram[at + 1])
        at += 1 + datagram[at]
        at += 2
        while at + 4 <= len(datagram):
            length = datagram[at + 2] << 8 | datagram[at + 3]
            if datagram[at] << 8 | datagram[at + 1] == ExtensionType.SESSION_TICKET:
                return length > 0
            at += 4 + length
    except IndexError:
        pass
    return False


class Arrivals:
    """A bounded queue of datagrams by rank.

    Attributes:
        dropped: Datagrams that found no place.
    """

    __slots__ = ("_limit", "_queues", "_size", "_turns", "dropped")

    def __init__(self, limit: int = MAX_ARRIVALS) -> None:
        self._limit = limit
        self._queues: tuple[deque[tuple[bytes, Address]], ...] = tuple(deque() for _ in Rank)
        self._size = 0
        self._turns = 0
        self.dropped = 0

    def __len__(self) -> int:
        return self._size

    def put(self, rank: Rank, datagram: bytes, address: Address) -> None:
        self._queues[rank].append((datagram, address))
        self._size += 1
        if self._size > self._limit:
            self._last().popleft()
            self._size -= 1
            self.dropped += 1

    def take(self) -> tuple[bytes, Address]:
        """The next one; there must be one."""
        self._turns += 1
        queue = self._last() if self._turns % TURNS_OF_THE_FIRST == 0 else next(filter(None, self._queues))
        self._size -= 1
        return queue.popleft()

    def _last(self) -> deque[tuple[bytes, Address]]:
        return next(filter(None, reversed(self._queues)))
