"""A device, as the registry knows it."""

from dataclasses import dataclass
from enum import StrEnum

DEFAULT_TENANT = "default"


class DeviceStatus(StrEnum):
    """What a device may do. Only an ACTIVE one gets through a handshake."""

    PENDING = "pending"
    ACTIVE = "active"
    DISABLED = "disabled"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class Device:
    """One row of the registry.

    Attributes:
        id: The device's name within its tenant: the one an operator types.
        tenant_id: The tenant that owns the device.
        status: See `DeviceStatus`.
        auto_provisioned: Created by its own first handshake, under a trust anchor that allows it.
        created_at: Seconds since the epoch, UTC.
        tags: For grouping, sorted.
        attributes: What else an operator says of it: names and values, sorted by name.
    """

    id: str
    tenant_id: str = DEFAULT_TENANT
    status: DeviceStatus = DeviceStatus.ACTIVE
    auto_provisioned: bool = False
    created_at: float = 0.0
    tags: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()
