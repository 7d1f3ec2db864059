"""In what order datagrams are served that are no application data of a session: handshakes, alerts, garbage.

They cost ten to fifty times what a request costs, so the shell gives them a bounded part of its time and keeps the rest
here, in a bounded queue. First come peers that have a session or a handshake under way, but for their hellos, then
newcomers that offer a session to resume, then the others, last those whose network failed a lot lately. Every so often
the others have their turn, the last in order first, so that nobody starves. When the queue is full, what waited longest
of the kind that most is there of is dropped: its sender repeats it. A flood of one kind, in whose name ever, displaces
itself.

The order is a courtesy and no protection: a hello may claim to resume whatever it likes.
"""

from collections import deque
from enum import IntEnum
from typing import Final

from gateway.dtls.cookie import Address
from gateway.dtls.limits import MAX_ARRIVALS, TURNS_OF_THE_FIRST
from gateway.dtls.numbers import ContentType, ExtensionType, HandshakeType

_HELLO_BODY: Final = 13 + 12
_SESSION_ID: Final = _HELLO_BODY + 2 + 32
# The shortest hello has behind its session id a cookie, one suite and one compression method, each with its length.
_EXTENSIONS: Final = _SESSION_ID + 1 + 1 + 4 + 2 + 2
_TICKET_EXTENSION: Final = ExtensionType.SESSION_TICKET.to_bytes(2)
_EMPTY: Final = bytes(2)
_HANDSHAKE: Final = bytes((ContentType.HANDSHAKE,))
_EPOCH_0: Final = bytes(2)
_CLIENT_HELLO: Final = bytes((HandshakeType.CLIENT_HELLO,))


class Rank(IntEnum):
    """Who goes first."""

    KNOWN = 0
    RETURNING = 1
    NEW = 2
    SUSPECT = 3


def greets(datagram: bytes) -> bool:
    """Whether a datagram begins with a plain ClientHello, or a piece of one: with what costs most, from whom ever."""
    return datagram[:1] == _HANDSHAKE and datagram[13:14] == _CLIENT_HELLO and datagram[3:5] == _EPOCH_0


def resumes(datagram: bytes) -> bool:
    """Whether a datagram looks like a ClientHello that offers a session to resume, by id or by ticket.

    A ticket is looked for as a session_ticket extension that is not empty, wherever those bytes stand: to walk through
    the hello would cost as much as to answer it. Never raises.
    """
    if datagram[:1] != _HANDSHAKE or datagram[13:14] != _CLIENT_HELLO or len(datagram) <= _SESSION_ID:
        return False
    if datagram[_SESSION_ID]:
        return True
    at = datagram.find(_TICKET_EXTENSION, _EXTENSIONS)
    return at >= 0 and (datagram[at + 2 : at + 4] > _EMPTY or datagram.find(_TICKET_EXTENSION, at + 2) >= 0)


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
            self._fullest().popleft()
            self._size -= 1
            self.dropped += 1

    def take(self) -> tuple[bytes, Address]:
        """The next one; there must be one."""
        self._turns += 1
        others, first = divmod(self._turns, TURNS_OF_THE_FIRST)
        queue = next(filter(None, self._queues)) if first else self._other(others - 1)
        self._size -= 1
        return queue.popleft()

    def _other(self, turn: int) -> deque[tuple[bytes, Address]]:
        """Of all but the first that has something, one after the other from the last on."""
        waiting = list(filter(None, reversed(self._queues)))
        return waiting[turn % max(1, len(waiting) - 1)]

    def _fullest(self) -> deque[tuple[bytes, Address]]:
        """The last one of those that hold most."""
        return max(reversed(self._queues), key=len)
