"""Value types that every room shares: who a peer is, as the registry knows it. No protocol in here."""

from gateway.model.device import DEFAULT_TENANT, Device, DeviceStatus
from gateway.model.principal import TWIN_LENGTH, AuthKind, Principal

__all__ = ["DEFAULT_TENANT", "TWIN_LENGTH", "AuthKind", "Device", "DeviceStatus", "Principal"]
