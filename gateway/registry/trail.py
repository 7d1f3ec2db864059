"""The two logs that every change writes: who did it (audit), and what other processes must forget (change log)."""

import json
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select

from gateway.registry.limits import MAX_CHANGE_LOG_ROWS
from gateway.registry.records import AuditEntry, Changes
from gateway.registry.store import Store
from gateway.registry.tables import audit, change_log

DEVICE = "device"
TRUST = "trust"
TENANT = "tenant"


def changed(connection: Connection, kind: str, tenant_id: str = "", key: str = "") -> None:
    """Tells every process, this one too, that copies of a row are outdated. New rows have no copies."""
    connection.execute(insert(change_log).values(kind=kind, tenant_id=tenant_id, key=key))


class Trail(Store):
    """Reading both logs."""

    def audit_entries(
        self, *, before: int | None = None, limit: int = 100, tenant_id: str | None = None
    ) -> list[AuditEntry]:
        """Who changed what, newest first.

        Args:
            before: Only entries with a smaller number; for paging.
            limit: At most so many.
            tenant_id: Of this tenant only.
        """
        statement = select(audit).order_by(audit.c.number.desc()).limit(limit)
        if before is not None:
            statement = statement.where(audit.c.number < before)
        if tenant_id is not None:
            statement = statement.where(audit.c.tenant_id == tenant_id)
        rows = self._read(lambda connection: connection.execute(statement).all())
        return [
            AuditEntry(r.number, r.at, r.actor, r.action, r.tenant_id, r.object, json.loads(r.detail or "{}"))
            for r in rows
        ]

    def changes_since(self, seq: int) -> Changes:
        """What changed after a change that was seen; -1 asks for where the log stands."""

        def work(connection: Connection) -> tuple[int, int, list[Any]]:
            first, last = connection.execute(
                select(func.coalesce(func.min(change_log.c.seq), 0), func.coalesce(func.max(change_log.c.seq), 0))
            ).one()
            if seq < 0 or last == seq:
                return first, last, []
            statement = select(change_log.c.kind, change_log.c.tenant_id, change_log.c.key).where(
                change_log.c.seq > seq
            )
            return first, last, list(connection.execute(statement.order_by(change_log.c.seq)))

        first, last, rows = self._read(work)
        if seq < 0:
            return Changes(last)
        if last < seq or (last > seq and first > seq + 1):
            return Changes(last, everything=True)
        devices = dict.fromkeys((row.tenant_id, row.key) for row in rows if row.kind == DEVICE)
        kinds = {row.kind for row in rows}
        return Changes(last, tuple(devices), trust=TRUST in kinds, tenants=TENANT in kinds)

    def prune(self) -> int:
        """Forgets changes that every process has long seen. Returns how many."""

        def work(connection: Connection) -> int:
            last = connection.execute(select(func.max(change_log.c.seq))).scalar() or 0
            gone = connection.execute(delete(change_log).where(change_log.c.seq <= last - MAX_CHANGE_LOG_ROWS))
            return gone.rowcount

        return self._write(work)
