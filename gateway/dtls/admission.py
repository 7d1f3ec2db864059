"""Who gets a place among the handshakes, and who yields when there is none left.

Nothing here refuses anybody while there is room. When the house is full, the network that holds most places gives up
its oldest handshake. So a flood from one network displaces itself, while a fleet behind one address of a mobile
operator (carrier-grade NAT) may use the whole house as long as nobody else needs it: a fixed share for a network would
turn that fleet away on an empty gateway, and would let whoever has many networks fill the house all the same.

A network is an IPv4 /24 or an IPv6 /56. Addresses are rented and routed in /24s; per single address, one rented block
would count as 256 peers. A /56 is what a customer gets at home (RIPE-690), and it may choose among its 256 /64s at
will.
"""

from ipaddress import ip_address
from itertools import islice
from typing import Final

from gateway.dtls.cookie import Address
from gateway.dtls.limits import COOKIE_LOOP_HELLOS, COOKIE_LOOP_SLOTS, COOKIE_PERIOD_S, EVICTION_SAMPLE

_IPV6_NETWORK_BYTES: Final = 7


def network_of(address: Address) -> str:
    """The network that an address counts for: an IPv4 /24, also in IPv6 notation, or an IPv6 /56."""
    host = address[0]
    if "." in host:
        return host.removeprefix("::ffff:").rpartition(".")[0]
    try:
        return ip_address(host.partition("%")[0]).packed[:_IPV6_NETWORK_BYTES].hex()
    except ValueError:
        return host  # no address of an IP socket


class Places:
    """Handshakes in progress by network. All operations take the same time however many there are."""

    __slots__ = ("_by_count", "_ids", "_most", "_network")

    def __init__(self) -> None:
        self._network: dict[int, str] = {}
        self._ids: dict[str, dict[int, None]] = {}
        # How many networks hold how many places; each kept in the order in which they came to that number.
        self._by_count: dict[int, dict[str, None]] = {}
        self._most = 0

    def __len__(self) -> int:
        return len(self._network)

    @property
    def networks(self) -> int:
        """How many networks have a handshake in progress."""
        return len(self._ids)

    def enter(self, handshake: int, address: Address) -> None:
        network = network_of(address)
        self._network[handshake] = network
        ids = self._ids.setdefault(network, {})
        ids[handshake] = None
        self._move(network, len(ids) - 1, len(ids))
        self._most = max(self._most, len(ids))

    def leave(self, handshake: int) -> None:
        network = self._network.pop(handshake, None)
        if network is None:
            return
        ids = self._ids[network]
        del ids[handshake]
        self._move(network, len(ids) + 1, len(ids))
        if not ids:
            del self._ids[network]
        if self._most not in self._by_count:
            self._most -= 1

    def next_to_go(self) -> int:
        """The oldest handshake of the network that holds most. There must be one."""
        return next(iter(self._ids[next(iter(self._by_count[self._most]))]))

    def _move(self, network: str, before: int, after: int) -> None:
        if before:
            others = self._by_count[before]
            del others[network]
            if not others:
                del self._by_count[before]
        if after:
            self._by_count.setdefault(after, {})[network] = None


class Buffers:
    """Bytes that handshakes hold of messages that are incomplete or early.

    Attributes:
        total: Of all of them.
    """

    __slots__ = ("_held", "total")

    def __init__(self) -> None:
        self.total = 0
        # In the order in which they began to hold anything.
        self._held: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._held)

    def account(self, handshake: int, size: int) -> None:
        """What this one holds now, in bytes."""
        if size:
            self.total += size - self._held.get(handshake, 0)
            self._held[handshake] = size
        elif self._held:
            self.total -= self._held.pop(handshake, 0)

    def next_to_go(self) -> int:
        """The one that holds most, among those that have held something longest: honest ones soon hold nothing."""
        oldest = islice(self._held, EVICTION_SAMPLE)
        return max(oldest, key=self._held.__getitem__)


class CookieLoops:
    """Networks that bring cookies again and again that are not ours.

    Counted in an array of fixed size, because nothing may grow with peers that have not shown their address. Two
    networks may share a slot: the report then comes too early, and it names an address that did bring such a cookie.
    """

    __slots__ = ("_counts", "_period")

    def __init__(self) -> None:
        self._counts = bytearray(COOKIE_LOOP_SLOTS)
        self._period = -1

    def report(self, address: Address, now: float) -> bool:
        """Counts one; whether it is the one to report, once for a slot and period of the cookie."""
        period = int(now // COOKIE_PERIOD_S)
        if period != self._period:
            self._period = period
            self._counts = bytearray(COOKIE_LOOP_SLOTS)
        slot = hash(network_of(address)) % COOKIE_LOOP_SLOTS
        if self._counts[slot] >= COOKIE_LOOP_HELLOS:
            return False
        self._counts[slot] += 1
        return self._counts[slot] == COOKIE_LOOP_HELLOS
