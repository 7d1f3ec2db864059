"""Which workers have sessions of which device, and which of them has the newest: a table without any I/O.

A worker says of a device how many sessions it has there, and when the newest of them began or was last heard of. The
order of the workers goes by that time, which is one clock for all processes of a machine. So it does not matter in
which order the workers' messages come, nor that a worker tells everything a second time.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

from gateway.server.limits import MAX_PLACES


class Place(NamedTuple):
    """A worker that has sessions of a device.

    Attributes:
        worker: Its number.
        sessions: How many of the device are there.
        at: When the newest of them began or was last heard of, in seconds of the machine's monotonic clock.
    """

    worker: int
    sessions: int
    at: float


class DirectoryFull(Exception):
    """More devices than a machine can have sessions with: a bug of ours."""


def name_of(tenant: str, device: str) -> int:
    """A device in eight bytes, the same in every process; two devices with one name are not to be met."""
    text = f"{tenant}\0{device}".encode(errors="surrogatepass")  # anything may be asked after
    return int.from_bytes(blake2b(text, digest_size=8).digest())


class Directory:
    """The places of each device, the newest last."""

    def __init__(self) -> None:
        """Knows of no device."""
        self._places: dict[str, dict[str, tuple[Place, ...]]] = {}
        self._count = 0

    def __len__(self) -> int:
        """How many devices have a session."""
        return self._count

    def of(self, tenant: str, device: str) -> tuple[Place, ...]:
        """Where a device has sessions, the newest last."""
        return self._places.get(tenant, {}).get(device, ())

    def newest(self, tenant: str, device: str) -> int | None:
        """The worker that has the newest session; None for a device that has none."""
        places = self.of(tenant, device)
        return places[-1].worker if places else None

    def put(self, tenant: str, device: str, place: Place) -> tuple[Place, ...]:
        """Takes what a worker says of a device; no sessions take the worker away.

        Returns:
            The places before.

        Raises:
            DirectoryFull: There are `MAX_PLACES` devices already.
        """
        before = self.of(tenant, device)
        if not before and place.sessions and self._count >= MAX_PLACES:
            raise DirectoryFull(f"{MAX_PLACES} devices")
        devices = self._places.setdefault(tenant, {})
        after: tuple[Place, ...]
        if not before or (len(before) == 1 and before[0].worker == place.worker):  # nearly always
            after = (place,) if place.sessions else ()
        else:
            others = [each for each in before if each.worker != place.worker]
            after = tuple(sorted([*others, place] if place.sessions else others, key=_at))
        if after:
            self._count += not before
            devices[device] = after
        elif before:
            del devices[device]
            self._count -= 1
        if not devices:
            del self._places[tenant]
        return before

    def held_by(self, worker: int) -> list[tuple[str, str]]:
        """The devices with sessions in a worker; takes time in proportion to all."""
        return [
            (tenant, device)
            for tenant, devices in self._places.items()
            for device, places in devices.items()
            if any(place.worker == worker for place in places)
        ]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Tenant and device of all."""
        return ((tenant, device) for tenant, devices in self._places.items() for device in devices)


def _at(place: Place) -> float:
    return place.at
