"""The registry: all its parts on one database."""

from types import TracebackType
from typing import Self

from sqlalchemy import Connection, func, select

from gateway.registry.fleet import Fleet
from gateway.registry.importing import Importing
from gateway.registry.issuance import Issuance
from gateway.registry.provisioning import Provisioning
from gateway.registry.records import Counts
from gateway.registry.revocation import Revocation
from gateway.registry.rotation import Rotation
from gateway.registry.tables import credential, tenant, trust_anchor
from gateway.registry.tenants import Tenants
from gateway.registry.trail import Trail


class Registry(Tenants, Provisioning, Importing, Rotation, Fleet, Revocation, Issuance, Trail):
    """Tenants, devices, their credentials, trust anchors, and what became of all of them.

    Changes are atomic and visible to other processes' next read. Every method may raise `Unavailable`. Used from one
    thread at a time.
    """

    @property
    def remote(self) -> bool:
        """Whether reads wait for a network, so that an event loop must leave them to a thread."""
        return self._database.remote

    def touched(self) -> int:
        """A number that changes when somebody else may have written. Cheap, and may change for nothing."""
        return self._database.touched()

    def counts(self) -> Counts:
        """How much there is."""

        def work(connection: Connection) -> Counts:
            tenants, devices = connection.execute(
                select(func.count(), func.coalesce(func.sum(tenant.c.device_count), 0)).select_from(tenant)
            ).one()
            kinds = {
                kind: number
                for kind, number in connection.execute(
                    select(credential.c.kind, func.count()).group_by(credential.c.kind)
                )
            }
            anchors = connection.execute(select(func.count()).select_from(trust_anchor)).scalar_one()
            return Counts(tenants, int(devices), kinds.get("psk", 0), kinds.get("x509", 0), anchors)

        return self._read(work)

    def close(self) -> None:
        """Closes the store; a second call does nothing."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
