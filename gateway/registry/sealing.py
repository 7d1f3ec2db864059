"""Stored keys: sealing them, opening them, and giving them other data keys and data keys another master key.

The invariant: a row's data key is in the store as long as the row is. Writers take turns, so whoever seals asks within
its transaction which data key is the active one, and an old one goes in a transaction that sees no row of it. A
rotation that is cut off leaves rows under two data keys, both there; the next one goes on with it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from gateway.registry.errors import Conflict, Unavailable
from gateway.registry.limits import RESEAL_BATCH
from gateway.registry.master_keys import load_master_key
from gateway.registry.secrets import StoredDataKey
from gateway.registry.store import Store
from gateway.registry.tables import credential, data_key

_PURPOSE = "psk"
_DATA_KEYS = select(data_key).where(data_key.c.purpose == _PURPOSE).order_by(data_key.c.number)
_ACTIVE = select(data_key.c.id).where(data_key.c.purpose == _PURPOSE, data_key.c.state == "active")
_RESEALED = (
    update(credential)
    .where(credential.c.number == bindparam("n"))
    .values(secret=bindparam("s"), key_id=bindparam("k"), key_tag=bindparam("t"))
)


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key, for people.

    Attributes:
        id: Its name.
        provider: The master key that wraps it.
        active: Whether new keys are sealed under it.
        created_at: Seconds since the epoch, UTC.
        sealed: How many device keys are sealed under it.
    """

    id: str
    provider: str
    active: bool
    created_at: float
    sealed: int


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """How the device keys of a registry rest.

    Attributes:
        data_keys: Oldest first.
        plain: Keys that are stored as they are.
        derived: Keys that are not stored.
        opens: Whether the configured master key opens all data keys; None if none is configured.
    """

    data_keys: tuple[DataKey, ...]
    plain: int
    derived: int
    opens: bool | None


@dataclass(frozen=True, slots=True)
class Resealed:
    """What a rotation came to.

    Attributes:
        key_id: The data key that all device keys are sealed under now.
        resumed: It went on with a rotation that had been cut off.
        sealed: How many device keys were sealed under it.
        failed: How many do not open, and stay as they are.
    """

    key_id: str
    resumed: bool
    sealed: int
    failed: int


class Sealing(Store):
    """What the other parts seal and open with, and the commands `gateway keys`."""

    def check_keys(self) -> None:
        """Reads the configured master keys and opens all data keys, for whoever is to need them soon.

        Raises:
            InvalidValue: What is configured is no key.
            Unavailable: A key cannot be read, one does not open, or there is no master key for them.
        """
        self._secrets.load()
        for stored in self._read(_stored_keys):
            self._secrets.unwrap(stored)

    def key_status(self) -> KeyStatus:
        """How the device keys rest."""

        def work(connection: Connection) -> tuple[list[Any], dict[str | None, int], int]:
            psk = credential.c.kind == "psk"
            counted = connection.execute(
                select(credential.c.key_id, func.count())
                .where(psk, credential.c.secret.is_not(None))
                .group_by(credential.c.key_id)
            )
            derived = connection.execute(select(func.count()).where(psk, credential.c.secret.is_(None))).scalar_one()
            return list(connection.execute(_DATA_KEYS)), {key: number for key, number in counted}, derived

        rows, sealed, derived = self._read(work)
        keys = [DataKey(r.id, r.provider, r.state == "active", r.created_at, sealed.get(r.id, 0)) for r in rows]
        opens: bool | None = None
        if self._secrets.sealing:
            try:
                for row in rows:
                    self._secrets.unwrap(StoredDataKey(row.id, row.provider, row.wrapped))
                opens = True
            except Unavailable:
                opens = False
        return KeyStatus(tuple(keys), sealed.get(None, 0), derived, opens)

    def rotate_keys(self, progress: Callable[[int], None] = lambda sealed: None) -> Resealed:
        """Seals all device keys under a new data key, and removes those that are not used any more.

        May be cut off at any time: called again, it goes on. Devices notice nothing.

        Args:
            progress: Told how many rows were sealed anew so far.

        Raises:
            Conflict: No master key is configured.
            Unavailable: The master key does not open the data keys.
        """
        if not self._secrets.sealing:
            raise Conflict("there is nothing to seal with; set [registry] master_key, then run this again")
        self.check_keys()
        key_id, resumed = self._write(self._begin_rotation, durable=True)
        sealed, failed = 0, 0
        last: int | None = 0
        while last is not None:
            last, done, bad = self._write(partial(self._reseal, key_id=key_id, after=last))
            sealed, failed = sealed + done, failed + bad
            progress(sealed)
        self._write(lambda connection: self._end_rotation(connection, key_id, sealed, failed))
        self._database.scrub()
        return Resealed(key_id, resumed, sealed, failed)

    def rewrap_keys(self, spec: str) -> int:
        """Wraps the data keys with another master key, all or none; on the disk when this returns.

        Args:
            spec: The new one, as `load_master_key` takes it.

        Returns:
            How many data keys there are.

        Raises:
            InvalidValue: The new one is none.
            Unavailable: One of the two cannot be read, or the old one does not open the data keys.
        """
        master = load_master_key(spec)

        def work(connection: Connection) -> int:
            keys = _stored_keys(connection)
            for stored in keys:
                made = self._secrets.rewrapped(stored, master)
                connection.execute(
                    update(data_key)
                    .where(data_key.c.id == made.id)
                    .values(provider=made.provider, wrapped=made.wrapped)
                )
            self._audit(connection, "keys.rewrapped", object=master.name, data_keys=len(keys))
            return len(keys)

        return self._write(work, durable=True)

    def _sealing_key(self, connection: Connection) -> str | None:
        """The data key that this transaction seals under, made if there is none; None without a master key.

        Raises:
            Unavailable: Others seal here, and this process has no master key.
        """
        found = connection.execute(_ACTIVE).scalar()
        if not self._secrets.sealing:
            if found is not None:
                raise Unavailable(
                    "the registry's device keys are sealed, and no master key is configured; set [registry] master_key"
                )
            return None
        if found is None:
            return self._add_data_key(connection)
        self._know(connection, str(found))
        return str(found)

    def _open_secret(
        self, stored: bytes, key_id: str | None, row: bytes, connection: Connection | None = None
    ) -> bytes:
        if key_id is not None and not self._secrets.knows(key_id):
            if connection is None:
                self._read(lambda opened: self._know(opened, key_id))
            else:
                self._know(connection, key_id)
        return self._secrets.open(stored, key_id, row)

    def _all_keys(self, connection: Connection) -> list[str | None]:
        """All data keys, known from now on, and None for what is not sealed."""
        names: list[str | None] = [None]
        for stored in _stored_keys(connection):
            if not self._secrets.knows(stored.id):
                self._secrets.unwrap(stored)
            names.append(stored.id)
        return names

    def _know(self, connection: Connection, key_id: str) -> None:
        if self._secrets.knows(key_id):
            return
        for stored in _stored_keys(connection):
            if stored.id == key_id:
                self._secrets.unwrap(stored)
                return
        raise Unavailable(f"the data key {key_id[:8]}... of the registry is not there; restore the registry's backup")

    def _add_data_key(self, connection: Connection) -> str:
        made = self._secrets.new_data_key()
        connection.execute(
            insert(data_key).values(
                id=made.id,
                provider=made.provider,
                wrapped=made.wrapped,
                purpose=_PURPOSE,
                state="active",
                created_at=self._clock(),
            )
        )
        self._audit(connection, "keys.created", object=made.id, provider=made.provider)
        return made.id

    def _begin_rotation(self, connection: Connection) -> tuple[str, bool]:
        states = {row.state: row.id for row in connection.execute(_DATA_KEYS)}
        if "old" in states and "active" in states:
            return states["active"], True
        connection.execute(update(data_key).where(data_key.c.purpose == _PURPOSE).values(state="old"))
        return self._add_data_key(connection), False

    def _reseal(self, connection: Connection, key_id: str, after: int) -> tuple[int | None, int, int]:
        """One batch: the last row's number (None at the end), how many were sealed, how many do not open.

        Raises:
            Conflict: Another rotation has begun since; what this one seals might be under a key that is removed.
        """
        if connection.execute(_ACTIVE).scalar() != key_id:
            raise Conflict("somebody else rotates the keys at the same time; nothing is lost, run this again after it")
        rows = connection.execute(
            select(credential)
            .where(
                credential.c.kind == "psk",
                credential.c.secret.is_not(None),
                credential.c.key_id.is_distinct_from(key_id),
                credential.c.number > after,
            )
            .order_by(credential.c.number)
            .limit(RESEAL_BATCH)
        ).all()
        if not rows:
            return None, 0, 0
        changes = []
        for row in rows:
            place = sealed_row(row.tenant_id, row.id, bytes(row.lookup_key))
            try:
                secret = self._open_secret(bytes(row.secret), row.key_id, place, connection)
            except Unavailable:
                continue
            sealed, tag = self._secrets.seal(secret, key_id, place)
            changes.append({"n": row.number, "s": sealed, "k": key_id, "t": tag})
        if changes:
            connection.execute(_RESEALED, changes)
        return rows[-1].number, len(changes), len(rows) - len(changes)

    def _end_rotation(self, connection: Connection, key_id: str, sealed: int, failed: int) -> None:
        used = select(1).where(credential.c.key_id == data_key.c.id).exists()
        connection.execute(delete(data_key).where(data_key.c.purpose == _PURPOSE, data_key.c.state == "old", ~used))
        self._audit(connection, "keys.rotated", object=key_id, sealed=sealed, failed=failed or None)


def sealed_row(tenant_id: str, credential_id: str, identity: bytes) -> bytes:
    """What a sealed key is bound to: in another tenant's row, or under another identity, it does not open."""
    return b"\0".join((tenant_id.encode(), credential_id.encode(), identity))


def _stored_keys(connection: Connection) -> list[StoredDataKey]:
    return [StoredDataKey(row.id, row.provider, bytes(row.wrapped)) for row in connection.execute(_DATA_KEYS)]
