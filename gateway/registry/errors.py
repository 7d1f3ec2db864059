"""What a registry raises. Each text says what the operator can do."""


class RegistryError(Exception):
    """Any failure of the registry."""


class NotFound(RegistryError):
    """The tenant, device, credential or trust anchor does not exist."""


class Conflict(RegistryError):
    """It exists already, or contradicts what exists."""


class InvalidValue(RegistryError):
    """A name, identity or key that the registry does not take."""


class LimitReached(RegistryError):
    """One more would exceed a limit of `limits`."""


class Unavailable(RegistryError):
    """The store cannot be opened, read or written now."""
