"""What all parts of the registry stand on: the database, the time, who acts, and the audit trail."""

import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection, delete, false, insert, select

from gateway.model import Device, DeviceStatus
from gateway.registry.database import Database
from gateway.registry.errors import LimitReached, NotFound
from gateway.registry.limits import MAX_DEVICES_PER_TENANT, MAX_TENANTS_NAMED
from gateway.registry.policy import TenantLimits
from gateway.registry.rows import DEVICE_COLUMNS, to_device
from gateway.registry.secrets import Secrets
from gateway.registry.tables import audit, device, tenant

T = TypeVar("T")


class Store:
    """Base of the registry's parts.

    Attributes:
        actor: Who makes the changes, for the audit trail.
        writes: Grows with each transaction that this object made.
    """

    def __init__(
        self,
        database: Database,
        *,
        actor: str = "gateway",
        secrets: Secrets | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Works on an open database.

        Args:
            database: Closed by `close`.
            actor: See the class.
            secrets: The keys that secrets rest under; without, they rest as they are.
            clock: Seconds since the epoch, UTC.
        """
        self._database = database
        self._secrets = secrets if secrets is not None else Secrets()
        self._clock = clock
        self.actor = actor
        self.writes = 0
        self._joined: Connection | None = None

    def together(self, work: Callable[[], T], *, write: bool) -> T:
        """Makes all that `work` asks of this object one transaction: all of it is done, or nothing.

        What it reads stays true until its end, so that a change may depend on it. The reads that handshakes make
        (`find_psk` and its like) are not part of it.

        Args:
            work: Without waiting for anything else: other writers wait for it.
            write: Whether it changes anything.
        """

        if self._joined is not None:
            return work()

        def whole(connection: Connection) -> T:
            self._joined = connection
            try:
                return work()
            finally:
                self._joined = None

        # An operator who was told that it is done may pull the plug.
        return self._write(whole, durable=True) if write else self._read(whole)

    def check_writable(self) -> None:
        """Whether changes can be made. Changes nothing.

        Raises:
            Unavailable: None can: devices are not noted as seen, and none comes by itself.
        """
        self._write(lambda connection: connection.execute(delete(audit).where(false())))

    def _read(self, work: Callable[[Connection], T]) -> T:
        if self._joined is not None:
            return work(self._joined)
        return self._database.read(work)

    def _write(self, work: Callable[[Connection], T], *, durable: bool = False) -> T:
        if self._joined is not None:
            return work(self._joined)
        result = self._database.write(work, durable=durable)
        self.writes += 1
        return result

    def _audit(self, connection: Connection, action: str, tenant_id: str = "", object: str = "", **detail: Any) -> None:
        said = {name: value for name, value in detail.items() if value is not None}
        connection.execute(
            insert(audit).values(
                at=self._clock(),
                actor=self.actor,
                action=action,
                tenant_id=tenant_id,
                object=object,
                detail=json.dumps(said, sort_keys=True) if said else "",
            )
        )

    def _find_device(self, connection: Connection, tenant_id: str, device_id: str) -> Device | None:
        row = connection.execute(
            select(*DEVICE_COLUMNS).where(device.c.tenant_id == tenant_id, device.c.id == device_id)
        ).first()
        return None if row is None else to_device(row)

    def _existing_device(self, connection: Connection, tenant_id: str, device_id: str) -> Device:
        found = self._find_device(connection, tenant_id, device_id)
        if found is None:
            raise NotFound(_no_device(connection, tenant_id, device_id))
        return found

    def _check_room(self, connection: Connection, tenant_id: str, more: int = 1) -> None:
        row = connection.execute(select(tenant.c.device_count, tenant.c.limits).where(tenant.c.id == tenant_id)).first()
        if row is None:
            raise NotFound(f"tenant '{tenant_id}' does not exist; add it with `gateway tenant add`")
        most = TenantLimits.parse(row.limits).max_devices or MAX_DEVICES_PER_TENANT
        if row.device_count + more > most:
            raise LimitReached(
                f"tenant '{tenant_id}' has {row.device_count} devices, and {most} is the most; delete unused ones, or "
                f"raise its limit with `gateway tenant set {tenant_id} --max-devices N`"
            )

    def _insert_device(
        self,
        connection: Connection,
        tenant_id: str,
        device_id: str,
        status: DeviceStatus = DeviceStatus.ACTIVE,
        *,
        note: str = "",
        auto_provisioned: bool = False,
        tags: tuple[str, ...] = (),
        attributes: tuple[tuple[str, str], ...] = (),
    ) -> Device:
        now = self._clock()
        connection.execute(
            insert(device).values(
                tenant_id=tenant_id,
                id=device_id,
                status=status.value,
                note=note,
                auto_provisioned=auto_provisioned,
                tags=json.dumps(tags) if tags else "",
                attributes=json.dumps(dict(attributes)) if attributes else "",
                created_at=now,
                updated_at=now,
            )
        )
        connection.execute(
            tenant.update().where(tenant.c.id == tenant_id).values(device_count=tenant.c.device_count + 1)
        )
        return Device(device_id, tenant_id, status, auto_provisioned, now, tags, attributes)


def _no_device(connection: Connection, tenant_id: str, device_id: str) -> str:
    """What to do about a device that is not there: whoever adds one that another tenant has makes a second one."""
    # Tenant by tenant, which is how devices are found; by their names alone, all rows would be read.
    there = (device.c.tenant_id == tenant.c.id) & (device.c.id == device_id)
    elsewhere = select(tenant.c.id).where(select(1).where(there).exists()).order_by(tenant.c.id)
    names = list(connection.execute(elsewhere.limit(MAX_TENANTS_NAMED)).scalars())
    text = f"device '{device_id}' does not exist in tenant '{tenant_id}'"
    if not names:
        return f"{text}; add it with `gateway device add`"
    listed = ", ".join(f"'{name}'" for name in names)
    return f"{text}, but in {listed}: say --tenant {names[0]}"
