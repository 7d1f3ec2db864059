"""Value types that every room shares: who a peer is, as the registry knows it. No protocol in here."""

from gateway.model.device import DEFAULT_TENANT, Device, DeviceStatus
from gateway.model.principal import AuthKind, Principal

__all__ = ["DEFAULT_TENANT", "AuthKind", "Device", "DeviceStatus", "Principal"]
