"""How pre-shared keys rest in the store, and how keys that are not stored are made.

The seam between the store and whoever holds the master key. Without a master key, secrets are stored as they are, and
rest on the file's mode.
"""

from typing import Protocol

from gateway.registry.errors import InvalidValue, Unavailable


class Secrets(Protocol):
    """Seals and opens secrets, and derives keys."""

    def seal(self, secret: bytes, row: bytes) -> tuple[bytes, str | None]:
        """A secret as it is stored, with the id of the key that it is sealed under (None: not sealed).

        Args:
            secret: The secret.
            row: What the row is; a sealed secret opens in no other one.
        """

    def open(self, stored: bytes, key_id: str | None, row: bytes) -> bytes:
        """The secret again.

        Raises:
            Unavailable: The key is not there, or the row was tampered with.
        """

    def derive(self, tenant_id: str, identity: bytes, generation: int) -> bytes:
        """The key of an identity that no store holds.

        Raises:
            Unavailable: There is no master key.
        """


class PlainSecrets:
    """`Secrets` without a master key."""

    def seal(self, secret: bytes, row: bytes) -> tuple[bytes, str | None]:
        return secret, None

    def open(self, stored: bytes, key_id: str | None, row: bytes) -> bytes:
        if key_id is not None:
            raise Unavailable(
                "the registry's secrets are sealed, and no master key is configured; set [registry] master_key"
            )
        return stored

    def derive(self, tenant_id: str, identity: bytes, generation: int) -> bytes:
        raise InvalidValue("keys are derived from a master key; set [registry] master_key")
