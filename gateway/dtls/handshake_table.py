"""The handshakes in progress: where they are found, when their timers are due, and which addresses had one lately."""

import heapq
from collections.abc import Iterator, ValuesView

from gateway.dtls.admission import Places
from gateway.dtls.cookie import Address
from gateway.dtls.handshake.server import NEVER, ServerHandshake
from gateway.dtls.limits import MAX_SETTLED, TIMER_SLACK


class Handshakes:
    """Attributes:
    settled: Client randoms of handshakes that ended a while ago, by address: a late copy of such a hello begins
        nothing. The newest `MAX_SETTLED` are kept.
    """

    __slots__ = ("_by_address", "_by_number", "_last_number", "_places", "_timers", "settled")

    def __init__(self) -> None:
        self._by_address: dict[Address, ServerHandshake] = {}
        self._by_number: dict[int, ServerHandshake] = {}
        self._places = Places()
        self._last_number = 0
        self._timers: list[tuple[float, int]] = []
        self.settled: dict[Address, bytes] = {}

    def __len__(self) -> int:
        return len(self._by_number)

    def __contains__(self, address: Address) -> bool:
        return address in self._by_address

    def values(self) -> ValuesView[ServerHandshake]:
        return self._by_number.values()

    def at(self, address: Address) -> ServerHandshake | None:
        """The one with the peer at this address."""
        return self._by_address.get(address)

    def numbered(self, number: int) -> ServerHandshake | None:
        """The one by whose number the shell answers; None when it has ended."""
        return self._by_number.get(number)

    def next_number(self) -> int:
        """For the next handshake to enter; no number comes twice."""
        self._last_number += 1
        return self._last_number

    def enter(self, handshake: ServerHandshake) -> None:
        address = handshake.facts.address
        self._by_address[address] = handshake
        self._by_number[handshake.id] = handshake
        self._places.enter(handshake.id, address)

    def remove(self, handshake: ServerHandshake) -> bool:
        """Forgets one that has ended; whether it was still there."""
        if self._by_number.pop(handshake.id, None) is None:
            return False
        del self._by_address[handshake.facts.address]
        self._places.leave(handshake.id)
        return True

    def next_to_go(self) -> ServerHandshake:
        """The one that yields when there are too many: the oldest of the network that has most. There must be one."""
        return self._by_number[self._places.next_to_go()]

    def schedule(self, handshake: ServerHandshake) -> None:
        """Sees to it that its timer fires when it is due. One that fires too early costs less than one that is moved:
        to be called when the timer is due before `scheduled_at`."""
        at = handshake.timer
        handshake.scheduled_at = at
        timers = self._timers
        heapq.heappush(timers, (at, handshake.id))
        # Entries of handshakes that have ended stay until they outnumber the others.
        if len(timers) > 2 * len(self._by_number) + TIMER_SLACK:
            self._timers = [(each.scheduled_at, each.id) for each in self._by_number.values()]
            heapq.heapify(self._timers)

    @property
    def next_timer(self) -> float:
        """When the first timer is due, seconds; `NEVER` without one."""
        return self._timers[0][0] if self._timers else NEVER

    def due(self, now: float) -> Iterator[ServerHandshake]:
        """Those whose timers are due, one after the other; their timers have to be set again."""
        while self._timers and self._timers[0][0] <= now:
            at, number = heapq.heappop(self._timers)
            handshake = self._by_number.get(number)
            if handshake is not None and handshake.scheduled_at == at:
                handshake.scheduled_at = NEVER
                yield handshake

    def remember_settled(self, address: Address, client_random: bytes) -> None:
        settled = self.settled
        settled.pop(address, None)
        while len(settled) >= MAX_SETTLED:
            del settled[next(iter(settled))]
        settled[address] = client_random
