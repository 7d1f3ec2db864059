"""How far a fleet has come on its way from pre-shared keys to certificates, and what hastens it."""

from dataclasses import dataclass, replace

from sqlalchemy import ColumnElement, Connection, and_, case, func, select, update

from gateway.registry.errors import InvalidValue, NotFound
from gateway.registry.policy import TenantLimits
from gateway.registry.store import Store
from gateway.registry.tables import credential, tenant
from gateway.registry.trail import TENANT, changed


@dataclass(frozen=True, slots=True)
class Migration:
    """Devices by the credentials that they may use now; a device is counted once.

    Attributes:
        psk: With pre-shared keys only.
        both: With pre-shared keys and certificates.
        x509: With certificates only.
        seen_psk: Devices whose last session, since then, began with a pre-shared key.
        seen_x509: The same with a certificate.
    """

    psk: int
    both: int
    x509: int
    seen_psk: int
    seen_x509: int


class Fleet(Store):
    """Setting and counting."""

    def set_migration(self, tenant_id: str, *, until: float = 0.0, after_first_certificate: bool = False) -> None:
        """Says when a tenant's pre-shared keys end.

        Args:
            tenant_id: The tenant.
            until: Seconds since the epoch, UTC, after which they are refused; 0 for never.
            after_first_certificate: A device's are retired at its first session with a certificate.

        Raises:
            NotFound: The tenant does not exist.
        """
        if not 0 <= until < float("inf"):
            raise InvalidValue("the end of pre-shared keys is a time, or 0 for none")

        def work(connection: Connection) -> None:
            row = connection.execute(select(tenant.c.limits).where(tenant.c.id == tenant_id)).first()
            if row is None:
                raise NotFound(f"tenant '{tenant_id}' does not exist; add it with `gateway tenant add`")
            limits = replace(
                TenantLimits.parse(row.limits), psk_until=until, psk_ends_with_certificate=after_first_certificate
            )
            connection.execute(update(tenant).where(tenant.c.id == tenant_id).values(limits=limits.encode()))
            changed(connection, TENANT, tenant_id)
            self._audit(
                connection,
                "tenant.migration",
                tenant_id,
                tenant_id,
                psk_until=until,
                psk_ends_with_certificate=after_first_certificate,
            )

        self._write(work)

    def migration_status(self, *, since: float, tenant_id: str | None = None) -> Migration:
        """Counts devices; takes a second for each million.

        Args:
            since: Seconds since the epoch, UTC: what was used before it does not count as seen.
            tenant_id: Of this tenant only.
        """
        now = self._clock()
        of_kind = {kind: credential.c.kind == kind for kind in ("psk", "x509")}
        good = credential.c.status.in_(("active", "next")) & (
            credential.c.not_after.is_(None) | (credential.c.not_after >= now)
        )
        each = (
            select(
                *(func.max(case((good & is_kind, 1), else_=0)).label(kind) for kind, is_kind in of_kind.items()),
                *(
                    func.max(case((is_kind, credential.c.last_used_at), else_=None)).label(f"{kind}_used")
                    for kind, is_kind in of_kind.items()
                ),
            )
            .where(credential.c.kind.in_(tuple(of_kind)))
            .group_by(credential.c.tenant_id, credential.c.device_id)
        )
        if tenant_id is not None:
            each = each.where(credential.c.tenant_id == tenant_id)
        d = each.subquery()
        psk_used, x509_used = func.coalesce(d.c.psk_used, -1.0), func.coalesce(d.c.x509_used, -1.0)

        def count(*conditions: ColumnElement[bool]) -> ColumnElement[int]:
            return func.count(case((and_(*conditions), 1), else_=None))

        statement = select(
            count(d.c.psk == 1, d.c.x509 == 0),
            count(d.c.psk == 1, d.c.x509 == 1),
            count(d.c.psk == 0, d.c.x509 == 1),
            count(psk_used >= since, psk_used > x509_used),
            count(x509_used >= since, x509_used >= psk_used),
        )
        row = self._read(lambda connection: connection.execute(statement).one())
        return Migration(*row)
