"""The devices of the tenants."""

import json
from collections.abc import Iterable

from sqlalchemy import Connection, delete, select, tuple_, update

from gateway.model import DEFAULT_TENANT, Device, DeviceStatus
from gateway.registry.checks import check_attributes, check_id, check_tags
from gateway.registry.errors import Conflict
from gateway.registry.records import DeviceRecord
from gateway.registry.rows import DEVICE_COLUMNS, to_device
from gateway.registry.store import Store
from gateway.registry.tables import credential, device, tenant
from gateway.registry.trail import DEVICE, changed

_RECORD = (*DEVICE_COLUMNS, device.c.note, device.c.updated_at, device.c.last_seen_at)


class Devices(Store):
    """Adding, finding, changing and deleting them."""

    def add_device(
        self,
        device_id: str,
        *,
        tenant_id: str = DEFAULT_TENANT,
        status: DeviceStatus = DeviceStatus.ACTIVE,
        tags: Iterable[str] = (),
        attributes: Iterable[tuple[str, str]] = (),
    ) -> Device:
        """Adds a device without credentials: it gets an `add_psk`, or is bound by the first certificate that names it.

        Raises:
            Conflict: It exists.
            InvalidValue: The id, a tag or an attribute is not acceptable.
            LimitReached: The tenant is full.
            NotFound: The tenant does not exist.
        """
        check_id("device", device_id)
        labels, said = check_tags(tags), check_attributes(attributes)

        def work(connection: Connection) -> Device:
            return self._add_device(connection, tenant_id, device_id, status, labels, said)

        return self._write(work)

    def device(self, device_id: str, *, tenant_id: str = DEFAULT_TENANT) -> Device:
        """One device.

        Raises:
            NotFound: It does not exist.
        """
        return self._read(lambda connection: self._existing_device(connection, tenant_id, device_id))

    def device_record(self, device_id: str, *, tenant_id: str = DEFAULT_TENANT) -> DeviceRecord:
        """One device with what only operators ask for.

        Raises:
            NotFound: It does not exist.
        """

        def work(connection: Connection) -> DeviceRecord:
            self._existing_device(connection, tenant_id, device_id)
            row = connection.execute(
                select(*_RECORD).where(device.c.tenant_id == tenant_id, device.c.id == device_id)
            ).one()
            return DeviceRecord(to_device(row), row.note, row.updated_at, row.last_seen_at)

        return self._read(work)

    def list_devices(
        self,
        *,
        tenant_id: str | None = None,
        status: DeviceStatus | None = None,
        tag: str | None = None,
        kind: str | None = None,
        anchor_id: str | None = None,
        seen_before: float | None = None,
        never_seen: bool = False,
        after: tuple[str, str] | None = None,
        limit: int | None = None,
    ) -> list[DeviceRecord]:
        """Devices sorted by tenant and id.

        Args:
            tenant_id: Of this tenant only.
            status: With this status only.
            tag: With this tag only.
            kind: With a usable credential of this kind only: `psk`, `x509` or `rpk`.
            anchor_id: Bound to this trust anchor only.
            seen_before: Last seen before then, or never; seconds since the epoch, UTC.
            never_seen: That never had a session only.
            after: Only those that sort after this tenant and id; for paging.
            limit: At most so many.
        """
        statement = select(*_RECORD).order_by(device.c.tenant_id, device.c.id).limit(limit)
        if tenant_id is not None:
            statement = statement.where(device.c.tenant_id == tenant_id)
        if status is not None:
            statement = statement.where(device.c.status == status.value)
        if tag is not None:
            # Tags hold no quotes, so that this is exactly one of them.
            statement = statement.where(device.c.tags.contains(json.dumps(tag), autoescape=True))
        if kind is not None or anchor_id is not None:
            held = select(1).where(
                credential.c.tenant_id == device.c.tenant_id,
                credential.c.device_id == device.c.id,
                credential.c.status.in_(("active", "next")),
            )
            if kind is not None:
                held = held.where(credential.c.kind == kind)
            if anchor_id is not None:
                held = held.where(credential.c.anchor_id == anchor_id)
            statement = statement.where(held.exists())
        if seen_before is not None:
            statement = statement.where((device.c.last_seen_at < seen_before) | device.c.last_seen_at.is_(None))
        if never_seen:
            statement = statement.where(device.c.last_seen_at.is_(None))
        if after is not None:
            statement = statement.where(tuple_(device.c.tenant_id, device.c.id) > tuple_(*after))
        rows = self._read(lambda connection: connection.execute(statement).all())
        return [DeviceRecord(to_device(row), row.note, row.updated_at, row.last_seen_at) for row in rows]

    def set_status(
        self, device_id: str, status: DeviceStatus, *, tenant_id: str = DEFAULT_TENANT, note: str = ""
    ) -> Device:
        """Enables, disables or quarantines a device.

        Args:
            device_id: The device.
            status: The new one.
            tenant_id: The device's tenant.
            note: Why, for people.

        Raises:
            NotFound: It does not exist.
        """

        def work(connection: Connection) -> Device:
            before = self._existing_device(connection, tenant_id, device_id)
            self._change(connection, tenant_id, device_id, status=status.value, note=note)
            self._audit(
                connection, f"device.{status}", tenant_id, device_id, before=before.status.value, note=note or None
            )
            return self._existing_device(connection, tenant_id, device_id)

        return self._write(work)

    def set_details(
        self,
        device_id: str,
        *,
        tenant_id: str = DEFAULT_TENANT,
        tags: Iterable[str] | None = None,
        attributes: Iterable[tuple[str, str]] | None = None,
    ) -> Device:
        """Gives a device other tags or attributes; None leaves them as they are.

        Raises:
            InvalidValue: A tag or an attribute is not acceptable.
            NotFound: It does not exist.
        """
        values: dict[str, str] = {}
        if tags is not None:
            values["tags"] = json.dumps(labels) if (labels := check_tags(tags)) else ""
        if attributes is not None:
            values["attributes"] = json.dumps(dict(said)) if (said := check_attributes(attributes)) else ""

        def work(connection: Connection) -> Device:
            self._existing_device(connection, tenant_id, device_id)
            if values:
                self._change(connection, tenant_id, device_id, **values)
                self._audit(connection, "device.described", tenant_id, device_id, **values)
            return self._existing_device(connection, tenant_id, device_id)

        return self._write(work)

    def delete_device(self, device_id: str, *, tenant_id: str = DEFAULT_TENANT) -> None:
        """Deletes a device with its credentials.

        Raises:
            NotFound: It does not exist.
        """

        def work(connection: Connection) -> None:
            self._existing_device(connection, tenant_id, device_id)
            connection.execute(delete(device).where(device.c.tenant_id == tenant_id, device.c.id == device_id))
            connection.execute(
                update(tenant).where(tenant.c.id == tenant_id).values(device_count=tenant.c.device_count - 1)
            )
            changed(connection, DEVICE, tenant_id, device_id)
            self._audit(connection, "device.deleted", tenant_id, device_id)

        self._write(work)

    def _add_device(
        self,
        connection: Connection,
        tenant_id: str,
        device_id: str,
        status: DeviceStatus = DeviceStatus.ACTIVE,
        tags: tuple[str, ...] = (),
        attributes: tuple[tuple[str, str], ...] = (),
    ) -> Device:
        self._check_room(connection, tenant_id)
        if self._find_device(connection, tenant_id, device_id) is not None:
            raise Conflict(f"device '{device_id}' exists already in tenant '{tenant_id}'")
        added = self._insert_device(connection, tenant_id, device_id, status, tags=tags, attributes=attributes)
        self._audit(connection, "device.added", tenant_id, device_id)
        return added

    def _change(self, connection: Connection, tenant_id: str, device_id: str, **values: str) -> None:
        connection.execute(
            update(device)
            .where(device.c.tenant_id == tenant_id, device.c.id == device_id)
            .values(updated_at=self._clock(), **values)
        )
        changed(connection, DEVICE, tenant_id, device_id)
