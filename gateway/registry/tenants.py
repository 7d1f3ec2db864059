"""The owners of devices."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from gateway.registry.checks import check_id
from gateway.registry.errors import Conflict, InvalidValue, NotFound
from gateway.registry.policy import TenantLimits
from gateway.registry.records import Tenant
from gateway.registry.store import Store
from gateway.registry.tables import tenant, tenant_sni
from gateway.registry.trail import TENANT, changed

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*", re.ASCII)


class Tenants(Store):
    """Adding, finding and changing them. The tenant "default" is there from the start."""

    def add_tenant(
        self, tenant_id: str, name: str = "", *, sni_names: Sequence[str] = (), limits: TenantLimits | None = None
    ) -> Tenant:
        """Adds a tenant.

        Raises:
            Conflict: It exists, or another tenant has one of its server names.
            InvalidValue: The id or a server name is not acceptable.
        """
        check_id("tenant", tenant_id)
        names = _server_names(sni_names)

        def work(connection: Connection) -> Tenant:
            if connection.execute(select(1).where(tenant.c.id == tenant_id)).first() is not None:
                raise Conflict(f"tenant '{tenant_id}' exists already")
            connection.execute(
                insert(tenant).values(
                    id=tenant_id,
                    name=name,
                    limits=(limits or TenantLimits()).encode(),
                    created_at=self._clock(),
                )
            )
            _set_names(connection, tenant_id, names)
            changed(connection, TENANT, tenant_id)
            self._audit(connection, "tenant.added", tenant_id, tenant_id)
            return _tenant(connection, tenant_id)

        return self._write(work)

    def set_tenant(
        self,
        tenant_id: str,
        *,
        name: str | None = None,
        active: bool | None = None,
        sni_names: Sequence[str] | None = None,
        limits: TenantLimits | None = None,
    ) -> Tenant:
        """Changes what is given and leaves the rest.

        Raises:
            Conflict: Another tenant has one of the server names.
            InvalidValue: A server name is not acceptable.
            NotFound: The tenant does not exist.
        """
        names = None if sni_names is None else _server_names(sni_names)
        values: dict[str, Any] = {}
        if name is not None:
            values["name"] = name
        if active is not None:
            values["status"] = "active" if active else "disabled"
        if limits is not None:
            values["limits"] = limits.encode()

        def work(connection: Connection) -> Tenant:
            _tenant(connection, tenant_id)
            if values:
                connection.execute(update(tenant).where(tenant.c.id == tenant_id).values(**values))
            if names is not None:
                _set_names(connection, tenant_id, names)
            changed(connection, TENANT, tenant_id)
            self._audit(connection, "tenant.changed", tenant_id, tenant_id, sni_names=names, **values)
            return _tenant(connection, tenant_id)

        return self._write(work)

    def delete_tenant(self, tenant_id: str) -> None:
        """Deletes a tenant that has no device.

        Raises:
            Conflict: It has devices, or it is the default one.
            NotFound: It does not exist.
        """

        def work(connection: Connection) -> None:
            there = _tenant(connection, tenant_id)
            if tenant_id == "default":
                raise Conflict("the tenant 'default' stays; disable it with `gateway tenant set default --disable`")
            if there.device_count:
                raise Conflict(f"tenant '{tenant_id}' has {there.device_count} devices; delete them first")
            connection.execute(delete(tenant).where(tenant.c.id == tenant_id))
            changed(connection, TENANT, tenant_id)
            self._audit(connection, "tenant.deleted", tenant_id, tenant_id)

        self._write(work)

    def tenants(self) -> list[Tenant]:
        """All tenants, sorted by id."""
        return self._read(_tenants)

    def tenant(self, tenant_id: str) -> Tenant:
        """One tenant.

        Raises:
            NotFound: It does not exist.
        """
        return self._read(lambda connection: _tenant(connection, tenant_id))


def _server_names(names: Iterable[str]) -> tuple[str, ...]:
    lowered = tuple(dict.fromkeys(name.lower().removesuffix(".") for name in names))
    for name in lowered:
        if _HOST_NAME.fullmatch(name) is None:
            raise InvalidValue(f"{name!r} cannot be a server name: use a DNS name such as acme.example.com")
    return lowered


def _set_names(connection: Connection, tenant_id: str, names: Sequence[str]) -> None:
    for row in connection.execute(select(tenant_sni).where(tenant_sni.c.name.in_(names))):
        if row.tenant_id != tenant_id:
            raise Conflict(f"the server name {row.name} belongs to tenant '{row.tenant_id}' already")
    connection.execute(delete(tenant_sni).where(tenant_sni.c.tenant_id == tenant_id))
    if names:
        connection.execute(insert(tenant_sni), [{"name": name, "tenant_id": tenant_id} for name in names])


def _tenant(connection: Connection, tenant_id: str) -> Tenant:
    found = _tenants(connection, tenant_id)
    if not found:
        raise NotFound(f"tenant '{tenant_id}' does not exist; add it with `gateway tenant add`")
    return found[0]


def _tenants(connection: Connection, tenant_id: str | None = None) -> list[Tenant]:
    tenants = select(tenant).order_by(tenant.c.id)
    servers = select(tenant_sni).order_by(tenant_sni.c.name)
    if tenant_id is not None:
        tenants = tenants.where(tenant.c.id == tenant_id)
        servers = servers.where(tenant_sni.c.tenant_id == tenant_id)
    names: dict[str, tuple[str, ...]] = {}
    for row in connection.execute(servers):
        names[row.tenant_id] = (*names.get(row.tenant_id, ()), row.name)
    return [
        Tenant(
            row.id,
            row.name,
            row.status == "active",
            names.get(row.id, ()),
            TenantLimits.parse(row.limits),
            row.device_count,
        )
        for row in connection.execute(tenants)
    ]
