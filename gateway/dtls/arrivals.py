"""In what order datagrams are served that are no application data of a session: handshakes, alerts, garbage.

They cost ten to fifty times what a request costs, so the shell gives them a bounded part of its time and keeps the rest
here, in a bounded queue. First come peers that have a session or a handshake under way, but for their hellos, then
newcomers that offer a session to resume, then the others, last those whose network failed a lot lately. Every so often
the others have their turn, the last in order first, so that nobody starves. When the queue is full, what waited longest
of the kind that most is there of is dropped, by number or by bytes, whichever of the two are too many: its sender
repeats it. A flood of one kind, in whose name ever, displaces itself.

There is room for the first hello of a whole fleet. Whoever is dropped comes again after 1, 2, 4, ... seconds together
with all others that were, and is dropped again: with a short queue the last devices come back minutes after the first.

The order is a courtesy and no protection: a hello may claim to resume whatever it likes.
"""

from collections import deque
from enum import IntEnum
from typing import Final

from gateway.dtls.cookie import Address
from gateway.dtls.limits import MAX_ARRIVALS, MAX_ARRIVALS_BYTES, TURNS_OF_THE_FIRST
from gateway.dtls.numbers import ContentType, ExtensionType, HandshakeType

# Two numbers and no slice object: mypyc takes an index into bytes that is no slice of source for an integer.
_FRAGMENT_OFFSET: Final = 13 + 6
_FRAGMENT_LENGTH: Final = 13 + 9
_AT_ITS_BEGIN: Final = bytes(3)
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


_RANKS = tuple(map(int, Rank))
_LAST_FIRST = _RANKS[::-1]


def greets(datagram: bytes) -> bool:
    """Whether a datagram begins with a plain ClientHello, or the first piece of one: with what costs most, from whom
    ever. The further pieces are nothing without the handshake that the first one has begun."""
    return (
        datagram[:1] == _HANDSHAKE
        and datagram[13:14] == _CLIENT_HELLO
        and datagram[3:5] == _EPOCH_0
        and datagram[_FRAGMENT_OFFSET:_FRAGMENT_LENGTH] == _AT_ITS_BEGIN
    )


def resumes(datagram: bytes) -> bool:
    """Whether a datagram looks like a ClientHello that offers a session to resume, by id or by ticket.

    A ticket is looked for as a session_ticket extension that is not empty, wherever those bytes stand: to walk through
    the hello would cost as much as to answer it. A further piece of a hello does not: it must not overtake the first.
    Never raises.
    """
    if datagram[:1] != _HANDSHAKE or datagram[13:14] != _CLIENT_HELLO or len(datagram) <= _SESSION_ID:
        return False
    if datagram[_FRAGMENT_OFFSET:_FRAGMENT_LENGTH] != _AT_ITS_BEGIN:
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

    __slots__ = ("_bytes", "_held", "_limit", "_queues", "_size", "_turns", "dropped")

    def __init__(self, limit: int = MAX_ARRIVALS) -> None:
        self._limit = limit
        self._queues: tuple[deque[tuple[bytes, Address]], ...] = tuple(deque() for _ in Rank)
        self._size = 0
        # Bytes of each queue, and of all of them.
        self._held = [0] * len(Rank)
        self._bytes = 0
        self._turns = 0
        self.dropped = 0

    def __len__(self) -> int:
        return self._size

    def put(self, rank: Rank, datagram: bytes, address: Address) -> None:
        self._queues[rank].append((datagram, address))
        self._size += 1
        self._held[rank] += len(datagram)
        self._bytes += len(datagram)
        if self._size > self._limit:
            self._drop(max(_LAST_FIRST, key=lambda each: len(self._queues[each])))
        while self._bytes > MAX_ARRIVALS_BYTES:
            self._drop(max(_LAST_FIRST, key=self._held.__getitem__))

    def take(self) -> tuple[bytes, Address]:
        """The next one; there must be one."""
        self._turns += 1
        others, first = divmod(self._turns, TURNS_OF_THE_FIRST)
        waiting = [rank for rank in _RANKS if self._queues[rank]]
        # Of all but the first that has something, one after the other from the last on.
        rank = waiting[0] if first else waiting[-1 - (others - 1) % max(1, len(waiting) - 1)]
        return self._pop(rank)

    def _pop(self, rank: int) -> tuple[bytes, Address]:
        taken = self._queues[rank].popleft()
        self._size -= 1
        self._held[rank] -= len(taken[0])
        self._bytes -= len(taken[0])
        return taken

    def _drop(self, rank: int) -> None:
        self._pop(rank)
        self.dropped += 1
