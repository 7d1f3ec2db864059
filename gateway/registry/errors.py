"""What a registry raises. Each text says what the operator can do."""

from gateway.model import Device


class RegistryError(Exception):
    """Any failure of the registry."""


class NotFound(RegistryError):
    """The tenant, device, credential or trust anchor does not exist."""


class Conflict(RegistryError):
    """It exists already, or contradicts what exists."""


class NotActive(RegistryError):
    """The device is disabled, pending or quarantined, and gets no credential by itself.

    Attributes:
        device: The device.
    """

    def __init__(self, device: Device) -> None:
        super().__init__(f"device '{device.id}' is {device.status}; enable it with `gateway device enable`")
        self.device = device


class InvalidValue(RegistryError):
    """A name, identity or key that the registry does not take."""


class LimitReached(RegistryError):
    """One more would exceed a limit of `limits`."""


class Unavailable(RegistryError):
    """The store cannot be opened, read or written now."""
