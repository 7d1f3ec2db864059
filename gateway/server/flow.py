"""How many requests a device and a tenant may send, and how many handlers may work for one device at once.

Rates are token buckets: a request takes a token, tokens come back with time, and so many are there at first as may be
spent in a burst. Whoever has none is told when the next one is there (4.29 with Max-Age, RFC 8516): nothing is dropped
in silence. A bucket belongs to the identity, so a new session does not fill it.
"""

import math
from collections import Counter, OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway.config import CoapSettings
from gateway.model import Device
from gateway.server.limits import MAX_BUCKETS

_PER_MINUTE: Final = 60


@dataclass(frozen=True, slots=True)
class Rate:
    """Attributes:
    per_minute: Requests; 0 for no limit.
    burst: Requests that may come at once after a silence, at least one.
    """

    per_minute: int
    burst: int


class Refused(NamedTuple):
    """Attributes:
    scope: What is over its limit: "device" or "tenant".
    retry_after_s: Seconds after which it is worth trying again.
    """

    scope: str
    retry_after_s: int


class Buckets:
    """The buckets of one rate, by owner. One that is full again is no different from none."""

    def __init__(self, rate: Rate) -> None:
        self._per_second = rate.per_minute / _PER_MINUTE
        self._burst = float(rate.burst)
        # Owner -> tokens, and when there were so many; the one used longest ago first.
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, owner: Hashable, now: float) -> float:
        """Takes a token. Returns 0, or the seconds until there is one: then none was taken."""
        tokens, at = self._buckets.get(owner, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._per_second)
        if tokens < 1:
            self._put(owner, tokens, now)
            return (1 - tokens) / self._per_second
        self._put(owner, tokens - 1, now)
        return 0.0

    def give_back(self, owner: Hashable, now: float) -> None:
        """Returns a token that was taken and not used."""
        tokens, at = self._buckets.get(owner, (self._burst, now))
        self._put(owner, min(self._burst, tokens + 1), at)

    def _put(self, owner: Hashable, tokens: float, now: float) -> None:
        self._buckets[owner] = tokens, now
        self._buckets.move_to_end(owner)
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)


class Rates:
    """The rates of devices and tenants."""

    def __init__(self, device: Rate, tenant: Rate) -> None:
        self._devices = Buckets(device) if device.per_minute else None
        self._tenants = Buckets(tenant) if tenant.per_minute else None

    @classmethod
    def of(cls, device: Rate, tenant: Rate) -> "Rates | None":
        """None where nothing is limited, so that nothing is looked at."""
        return cls(device, tenant) if device.per_minute or tenant.per_minute else None

    def refuse(self, device: Device, now: float) -> Refused | None:
        """Counts a request of a device; says why it is not to be served, if so."""
        owner = device.tenant_id, device.id
        if self._devices is not None and (wait_s := self._devices.take(owner, now)):
            return Refused("device", math.ceil(wait_s))
        if self._tenants is not None and (wait_s := self._tenants.take(device.tenant_id, now)):
            if self._devices is not None:
                # It is not this device that asks too much.
                self._devices.give_back(owner, now)
            return Refused("tenant", math.ceil(wait_s))
        return None


def rates_of(coap: CoapSettings) -> Rates | None:
    """The rates that a configuration sets."""
    return Rates.of(
        Rate(coap.device_requests_per_minute, coap.device_burst),
        Rate(coap.tenant_requests_per_minute, coap.tenant_burst),
    )


class Running:
    """Handlers that work for each device.

    Attributes:
        limit: How many may work for one device at once; may change.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._counts: Counter[tuple[str, str]] = Counter()

    def is_full(self, device: Device) -> bool:
        return self._counts[device.tenant_id, device.id] >= self.limit

    def begin(self, device: Device) -> None:
        self._counts[device.tenant_id, device.id] += 1

    def end(self, device: Device) -> None:
        owner = device.tenant_id, device.id
        self._counts[owner] -= 1
        if self._counts[owner] <= 0:
            del self._counts[owner]

    def __len__(self) -> int:
        """Devices for which one works."""
        return len(self._counts)
