"""Devices by the thousand: a batch is one transaction, and each of its rows has a result of its own."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import Connection, insert, select, update

from gateway.registry.checks import check_id, check_psk, check_tags, shown_identity
from gateway.registry.credentials import Credentials, new_credential_id
from gateway.registry.errors import InvalidValue
from gateway.registry.limits import MAX_DEVICE_ID_CHARACTERS, MAX_DEVICES_PER_TENANT
from gateway.registry.policy import TenantLimits
from gateway.registry.sealing import sealed_row
from gateway.registry.tables import audit, credential, device, tenant
from gateway.registry.trail import DEVICE, changed


class OnConflict(StrEnum):
    """What becomes of a row whose device is there with other values."""

    FAIL = "fail"
    SKIP = "skip"
    UPDATE = "update"


class Result(StrEnum):
    """What became of a row."""

    ADDED = "added"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class ImportRow:
    """A device to add.

    Attributes:
        line: Where it stands, for the report.
        device_id: Its name.
        tenant_id: Its tenant.
        identity: The identity of its pre-shared key.
        key: The key.
        tags: Its tags; None leaves those that it has.
    """

    line: int
    device_id: str
    tenant_id: str
    identity: bytes
    key: bytes = field(repr=False)
    tags: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class RowResult:
    """What became of a row, and why if it was refused or skipped; never a secret."""

    line: int
    device_id: str
    tenant_id: str
    result: Result
    reason: str = ""


class _Held(NamedTuple):
    """A pre-shared key that is there."""

    device_id: str
    credential_id: str
    key_tag: bytes | None
    status: str


class Known:
    """What an import knows of the store: for a batch, or for a whole dry run, in which rows see those before them.

    A dry run needs about 1 kB a row.
    """

    def __init__(self) -> None:
        self.room: dict[str, int] = {}
        self.labels: dict[tuple[str, str], tuple[str, ...]] = {}
        self.keys: dict[tuple[str, bytes], _Held] = {}
        self.owners: dict[bytes, tuple[str, str]] = {}


class _Plan:
    """What a batch is to write."""

    def __init__(self) -> None:
        self.devices: list[dict[str, Any]] = []
        self.credentials: list[dict[str, Any]] = []
        self.audit: list[dict[str, Any]] = []
        self.added: dict[str, int] = {}
        self.new_keys: list[tuple[str, dict[str, Any]]] = []
        self.new_tags: list[tuple[str, str, str]] = []
        self.changed: dict[tuple[str, str], None] = {}


class Importing(Credentials):
    """Adding many devices with their pre-shared keys."""

    def import_devices(
        self,
        rows: Sequence[ImportRow],
        *,
        on_conflict: OnConflict = OnConflict.FAIL,
        allow_shared_keys: bool = False,
        dry_run: Known | None = None,
    ) -> list[RowResult]:
        """Adds the devices of a batch in one transaction; a row that is refused keeps none of the others back.

        A row whose device, key and tags are there already is left as it is, whatever `on_conflict` says, so that an
        import that was cut off can be made again.

        Args:
            rows: At most some thousand, for other writers wait meanwhile.
            on_conflict: What becomes of rows whose device is there with other values. UPDATE gives it the tags and the
                key; another key under the same identity ends the sessions that began with the old one.
            allow_shared_keys: Takes a key that another device has too.
            dry_run: Writes nothing; the same object for all batches of a file.

        Returns:
            One result a row, in their order.

        Raises:
            Unavailable: The store cannot be used, or its data keys cannot.
        """

        def work(connection: Connection) -> list[RowResult]:
            known = Known() if dry_run is None else dry_run
            key_id = self._sealing_key(connection) if dry_run is None else None
            tag_keys = self._all_keys(connection)
            tags = [[self._secrets.tag(row.key, each) for each in tag_keys] for row in rows]
            _look_up(connection, known, rows, {tag for each in tags for tag in each})
            plan = _Plan()
            results = []
            for row, tags_of_key in zip(rows, tags, strict=True):
                result, reason = _judge(known, row, tags_of_key, on_conflict, allow_shared_keys)
                if result in (Result.ADDED, Result.UPDATED):
                    self._plan(plan, known, row, tags_of_key, key_id)
                shown = row.device_id[:MAX_DEVICE_ID_CHARACTERS], row.tenant_id[:MAX_DEVICE_ID_CHARACTERS]
                results.append(RowResult(row.line, *shown, result, reason))
            if dry_run is None:
                _carry_out(connection, plan)
            return results

        return self._write(work) if dry_run is None else self._read(work)

    def _plan(self, plan: _Plan, known: Known, row: ImportRow, tags_of_key: list[bytes], key_id: str | None) -> None:
        """What a row that is taken changes: in the store, and for the rows after it."""
        now, owner = self._clock(), (row.tenant_id, row.device_id)
        held = known.keys.get((row.tenant_id, row.identity))
        credential_id = held.credential_id if held is not None else new_credential_id()
        secret, key_tag = self._secrets.seal(row.key, key_id, sealed_row(row.tenant_id, credential_id, row.identity))
        stored = {"secret": secret, "key_id": key_id, "key_tag": key_tag, "generation": None, "updated_at": now}
        if held is None:
            plan.credentials.append(
                {
                    "id": credential_id,
                    "tenant_id": row.tenant_id,
                    "device_id": row.device_id,
                    "kind": "psk",
                    "scope": row.tenant_id,
                    "lookup_key": row.identity,
                    "created_at": now,
                    **stored,
                }
            )
        elif held.key_tag not in tags_of_key:
            plan.new_keys.append((credential_id, stored))
        labels = check_tags(row.tags or ())
        stored_labels = json.dumps(labels) if labels else ""
        if owner not in known.labels:
            plan.devices.append(
                {
                    "tenant_id": row.tenant_id,
                    "id": row.device_id,
                    "status": "active",
                    "tags": stored_labels,
                    "created_at": now,
                    "updated_at": now,
                }
            )
            plan.added[row.tenant_id] = plan.added.get(row.tenant_id, 0) + 1
            known.room[row.tenant_id] -= 1
        else:
            plan.changed[owner] = None
            if row.tags is not None and known.labels[owner] != labels:
                plan.new_tags.append((*owner, stored_labels))
        plan.audit.append(
            {
                "at": now,
                "actor": self.actor,
                "action": "device.imported",
                "tenant_id": row.tenant_id,
                "object": row.device_id,
                "detail": json.dumps({"credential": credential_id}),
            }
        )
        known.keys[row.tenant_id, row.identity] = _Held(row.device_id, credential_id, key_tag, "active")
        known.owners.setdefault(key_tag, owner)
        if row.tags is not None or owner not in known.labels:
            known.labels[owner] = labels


def _look_up(connection: Connection, known: Known, rows: Sequence[ImportRow], tags: Iterable[bytes]) -> None:
    """All that the store has of what a batch names. What a dry run would have added stands over it."""
    for found in connection.execute(select(tenant).where(tenant.c.id.in_({row.tenant_id for row in rows}))):
        most = TenantLimits.parse(found.limits).max_devices or MAX_DEVICES_PER_TENANT
        known.room.setdefault(found.id, most - found.device_count)
        mine = [row for row in rows if row.tenant_id == found.id]
        devices = select(device.c.tenant_id, device.c.id, device.c.tags).where(
            device.c.tenant_id == found.id, device.c.id.in_([row.device_id for row in mine])
        )
        for there in connection.execute(devices):
            labels = tuple(json.loads(there.tags)) if there.tags else ()
            known.labels.setdefault((there.tenant_id, there.id), labels)
        keys = select(credential).where(
            credential.c.kind == "psk",
            credential.c.scope == found.id,
            credential.c.lookup_key.in_([row.identity for row in mine]),
        )
        for key in connection.execute(keys):
            tag = bytes(key.key_tag) if key.key_tag is not None else None
            held = _Held(key.device_id, key.id, tag, key.status)
            known.keys.setdefault((found.id, bytes(key.lookup_key)), held)
    owners = select(credential.c.key_tag, credential.c.tenant_id, credential.c.device_id)
    for owner in connection.execute(owners.where(credential.c.key_tag.in_(tags))):
        known.owners.setdefault(bytes(owner.key_tag), (owner.tenant_id, owner.device_id))


def _judge(
    known: Known, row: ImportRow, tags_of_key: list[bytes], on_conflict: OnConflict, allow_shared_keys: bool
) -> tuple[Result, str]:
    refused = _refused(known, row, tags_of_key, allow_shared_keys)
    if refused is not None:
        return Result.REFUSED, refused
    me = row.tenant_id, row.device_id
    if me not in known.labels:
        return Result.ADDED, ""
    held = known.keys.get((row.tenant_id, row.identity))
    differs = []
    if held is None:
        differs.append("no key with this identity")
    elif held.key_tag not in tags_of_key:
        differs.append("another key")
    labels = check_tags(row.tags or ())
    if row.tags is not None and known.labels[me] != labels:
        differs.append("other tags")
    if not differs:
        return Result.UNCHANGED, ""
    if on_conflict is OnConflict.UPDATE:
        return Result.UPDATED, ""
    said = f"the device is there with {' and '.join(differs)}"
    return (Result.SKIPPED if on_conflict is OnConflict.SKIP else Result.REFUSED), said


def _refused(known: Known, row: ImportRow, tags_of_key: list[bytes], allow_shared_keys: bool) -> str | None:
    """Why a row cannot be taken, whatever becomes of conflicts."""
    try:
        check_id("device", row.device_id)
        check_psk(row.identity, row.key, remedy="make one with `openssl rand -hex 16`")
        check_tags(row.tags or ())
    except InvalidValue as error:
        return str(error)
    tenant_id, me = row.tenant_id, (row.tenant_id, row.device_id)
    if tenant_id not in known.room:
        return f"tenant {tenant_id[:MAX_DEVICE_ID_CHARACTERS]!r} does not exist"
    held = known.keys.get((tenant_id, row.identity))
    if held is not None and held.device_id != row.device_id:
        return f"the PSK identity {shown_identity(row.identity)} belongs to device '{held.device_id}'"
    if held is not None and held.status not in ("active", "next"):
        return f"the device's key {held.credential_id} is {held.status}; give the new one another identity"
    owner = next((known.owners[tag] for tag in tags_of_key if tag in known.owners), me)
    if owner != me and not allow_shared_keys:
        return f"device '{owner[1]}' of tenant '{owner[0]}' has the same key; every device needs its own"
    if me not in known.labels and known.room[tenant_id] <= 0:
        return f"tenant '{tenant_id}' has as many devices as it may have"
    return None


def _carry_out(connection: Connection, plan: _Plan) -> None:
    for table, values in ((device, plan.devices), (credential, plan.credentials), (audit, plan.audit)):
        if values:
            connection.execute(insert(table), values)
    for tenant_id, added in plan.added.items():
        connection.execute(
            update(tenant).where(tenant.c.id == tenant_id).values(device_count=tenant.c.device_count + added)
        )
    for credential_id, stored in plan.new_keys:
        connection.execute(
            update(credential)
            .where(credential.c.id == credential_id)
            .values(version=credential.c.version + 1, **stored)
        )
    for tenant_id, device_id, tags in plan.new_tags:
        connection.execute(
            update(device).where(device.c.tenant_id == tenant_id, device.c.id == device_id).values(tags=tags)
        )
    for tenant_id, device_id in plan.changed:
        changed(connection, DEVICE, tenant_id, device_id)
