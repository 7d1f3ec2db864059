"""How pre-shared keys rest in the store, and how keys that are not stored are made.

A stored key is sealed with AES-256-GCM under a data key; data keys are in the store too, wrapped by a master key that
is not (`master_keys`). So a new master key costs one row (`gateway keys rewrap`). Without a master key, device keys are
stored as they are, and rest on the file's mode.

Beside each stored key is its tag, a keyed hash under a key made of the data key: two devices with one key are found
through an index, and whoever has the store without the master key learns from it which rows hold the same key, and
nothing else.

A derived key is HKDF of the derivation key with the tenant, the identity and the generation (docs/psk.md).
"""

import hashlib
import hmac
import os
import uuid
from dataclasses import dataclass, field
from typing import Any

from gateway.registry.errors import InvalidValue, Unavailable
from gateway.registry.limits import KEY_TAG_BYTES, MASTER_KEY_BYTES
from gateway.registry.master_keys import MasterKey, load_master_key

_NONCE_BYTES = 12
_TAG_LABEL = b"dtls-gateway psk tag v1"
_DERIVATION_LABEL = b"dtls-gateway psk v1"


@dataclass(frozen=True, slots=True)
class StoredDataKey:
    """A data key as it is stored.

    Attributes:
        id: Its name in the rows that it sealed.
        provider: The name of the master key that wrapped it.
        wrapped: Itself, wrapped.
    """

    id: str
    provider: str
    wrapped: bytes = field(repr=False)


class Secrets:
    """The master keys of a process, and the data keys that they opened.

    Master keys are read when they are first needed: a command that shows no key and adds none works without them.
    """

    def __init__(self, master_key: str | None = None, derivation_key: str | None = None) -> None:
        """Names the keys.

        Args:
            master_key: What wraps data keys, as `load_master_key` takes it; None for none.
            derivation_key: What device keys are derived from; None for nothing.
        """
        self._master = _Lazy(master_key)
        self._derivation = _Lazy(derivation_key)
        # The cipher's key schedule is a third of the cost of opening a key.
        self._data_keys: dict[str, tuple[Any, bytes]] = {}

    @property
    def sealing(self) -> bool:
        """Whether there is a master key."""
        return self._master.spec is not None

    @property
    def deriving(self) -> bool:
        """Whether there is a derivation key."""
        return self._derivation.spec is not None

    def load(self) -> None:
        """Reads the master keys.

        Raises:
            InvalidValue: What is configured is no key.
            Unavailable: It cannot be read.
        """
        self._master.key()
        self._derivation.key()

    def new_data_key(self) -> StoredDataKey:
        """Makes a data key; it is known from now on."""
        master, key = self._needed_master(), os.urandom(MASTER_KEY_BYTES)
        made = StoredDataKey(uuid.uuid4().hex, master.name, master.wrap(key))
        self._learn(made.id, key)
        return made

    def knows(self, key_id: str) -> bool:
        """Whether a data key was unwrapped already."""
        return key_id in self._data_keys

    def unwrap(self, stored: StoredDataKey) -> None:
        """Opens a data key; it is known from now on.

        Raises:
            Unavailable: There is no master key, or another one wrapped it.
        """
        self._learn(stored.id, self._unwrapped(stored))

    def rewrapped(self, stored: StoredDataKey, master: MasterKey) -> StoredDataKey:
        """A data key under another master key.

        Raises:
            Unavailable: As `unwrap`; or what the new one wrapped it does not unwrap.
        """
        key = self._unwrapped(stored)
        made = StoredDataKey(stored.id, master.name, master.wrap(key))
        if not hmac.compare_digest(_unwrap(master, made), key):
            raise Unavailable(f"the master key {master.name} does not give back what it wraps; nothing was changed")
        return made

    def seal(self, secret: bytes, key_id: str | None, row: bytes) -> tuple[bytes, bytes]:
        """A secret as it is stored, and its tag.

        Args:
            secret: The secret.
            key_id: A known data key; None leaves the secret as it is.
            row: What the row is; a sealed secret opens in no other one.
        """
        if key_id is None:
            return secret, self.tag(secret, None)
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._data_keys[key_id][0].encrypt(nonce, secret, row), self.tag(secret, key_id)

    def open(self, stored: bytes, key_id: str | None, row: bytes) -> bytes:
        """The secret again.

        Args:
            stored: As it is stored.
            key_id: A known data key; None if it was not sealed.
            row: As for `seal`.

        Raises:
            Unavailable: The row is not what was sealed.
        """
        if key_id is None:
            return stored
        from cryptography.exceptions import InvalidTag

        try:
            secret: bytes = self._data_keys[key_id][0].decrypt(stored[:_NONCE_BYTES], stored[_NONCE_BYTES:], row)
        except (InvalidTag, ValueError) as error:
            raise Unavailable(
                "a pre-shared key of the registry does not open: its row was changed by somebody else's program; give "
                "the device a new key with `gateway psk rotate ID`"
            ) from error
        return secret

    def tag(self, secret: bytes, key_id: str | None) -> bytes:
        """What equal secrets under one data key have in common. Of a secret that is not sealed, a plain hash."""
        if key_id is None:
            return hashlib.sha256(_TAG_LABEL + secret).digest()[:KEY_TAG_BYTES]
        return hmac.digest(self._data_keys[key_id][1], secret, "sha256")[:KEY_TAG_BYTES]

    def derive(self, tenant_id: str, identity: bytes, generation: int) -> bytes:
        """The key of an identity that no store holds.

        Raises:
            InvalidValue: There is no derivation key.
            Unavailable: It cannot be read.
        """
        key = self._derivation.key()
        if key is None:
            raise InvalidValue("there is no key to derive from; set [registry] derivation_key")
        return key.derive(derivation_info(tenant_id, identity, generation))

    def _needed_master(self) -> MasterKey:
        master = self._master.key()
        if master is None:
            raise Unavailable(
                "the registry's device keys are sealed, and no master key is configured; set [registry] master_key"
            )
        return master

    def _unwrapped(self, stored: StoredDataKey) -> bytes:
        return _unwrap(self._needed_master(), stored)

    def _learn(self, key_id: str, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._data_keys[key_id] = AESGCM(key), hmac.digest(key, _TAG_LABEL, "sha256")


class _Lazy:
    """A master key that is read when it is first needed."""

    def __init__(self, spec: str | None) -> None:
        self.spec = spec
        self._key: MasterKey | None = None

    def key(self) -> MasterKey | None:
        if self._key is None and self.spec is not None:
            self._key = load_master_key(self.spec)
        return self._key


def derivation_info(tenant_id: str, identity: bytes, generation: int) -> bytes:
    """What a derived key is bound to: each part behind its length, so that no two read alike."""
    tenant = tenant_id.encode()
    parts = (_DERIVATION_LABEL, tenant, identity, generation.to_bytes(4, "big"))
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts)


def _unwrap(master: MasterKey, stored: StoredDataKey) -> bytes:
    try:
        return master.unwrap(stored.wrapped)
    except ValueError as error:
        raise Unavailable(
            f"the master key {master.name} does not open the registry's data key {stored.id[:8]}..., which "
            f"{stored.provider} wrapped; set [registry] master_key to the one that did"
        ) from error
