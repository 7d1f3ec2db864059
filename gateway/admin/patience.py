"""How many wrong tokens an address may show before further wrong ones have to wait."""

import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

from gateway.admin.limits import MAX_REMEMBERED_PEERS, TOKEN_FAILURES, TOKEN_FAILURES_PER_S


class Patience:
    """Counts failures by address, of IPv6 by its /64. May be used from several threads."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """Takes the time: seconds that never go back."""
        self._monotonic = monotonic
        self._lock = threading.Lock()
        # Failures that count, and when they were so many; the peer that was quiet longest first.
        self._failures: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._failures)

    def wait_s(self, peer: str) -> int:
        """Whole seconds until a peer may try again; 0 for at once."""
        with self._lock:
            over = self._counted(_network(peer), self._monotonic()) - (TOKEN_FAILURES - 1)
        return math.ceil(over / TOKEN_FAILURES_PER_S) if over > 0 else 0

    def failed(self, peer: str) -> None:
        """Counts a failure."""
        network = _network(peer)
        with self._lock:
            now = self._monotonic()
            self._failures[network] = self._counted(network, now) + 1, now
            self._failures.move_to_end(network)
            if len(self._failures) > MAX_REMEMBERED_PEERS:
                self._failures.popitem(last=False)

    def _counted(self, network: str, now: float) -> float:
        failures, at = self._failures.get(network, (0.0, now))
        return max(0.0, failures - (now - at) * TOKEN_FAILURES_PER_S)


def _network(peer: str) -> str:
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(ip_network((address, 64), strict=False))
    return peer
