"""The certificates that our own CAs made, and which of them are revoked."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, update

from gateway.registry.errors import Conflict, NotFound
from gateway.registry.records import IssuedCertificate
from gateway.registry.store import Store
from gateway.registry.tables import crl_number, issued_certificate

_columns = issued_certificate.c


class Issuance(Store):
    """The book of the CAs."""

    def record_issued(self, certificates: Sequence[IssuedCertificate]) -> None:
        """Writes certificates down, all or none. One that stands there already is passed over.

        Raises:
            Conflict: Another certificate has the same issuer and serial.
        """
        rows = [
            {
                "issuer_id": each.issuer_id,
                "serial": each.serial,
                "tenant_id": each.tenant_id,
                "device_id": each.device_id,
                "fingerprint": each.fingerprint,
                "not_before": each.not_before,
                "not_after": each.not_after,
            }
            for each in certificates
        ]

        def work(connection: Connection) -> None:
            known: dict[tuple[str, str], str] = {}
            for start in range(0, len(rows), _BATCH):
                part = rows[start : start + _BATCH]
                found = connection.execute(
                    select(_columns.issuer_id, _columns.serial, _columns.fingerprint).where(
                        _columns.serial.in_([row["serial"] for row in part])
                    )
                )
                known |= {(row.issuer_id, row.serial): row.fingerprint for row in found}
            for row in rows:
                there = known.get((str(row["issuer_id"]), str(row["serial"])))
                if there not in (None, row["fingerprint"]):
                    raise Conflict(f"the serial {row['serial']} was given to another certificate, {there}")
            new = [row for row in rows if (row["issuer_id"], row["serial"]) not in known]
            if new:
                connection.execute(insert(issued_certificate), new)
                issuer = str(new[0]["issuer_id"])
                self._audit(connection, "certificates.issued", object=issuer, count=len(new))

        self._write(work)

    def issued(
        self,
        *,
        issuer_id: str | None = None,
        tenant_id: str | None = None,
        device_id: str | None = None,
        serial: str | None = None,
        revoked: bool | None = None,
        after: int | None = None,
        limit: int | None = None,
    ) -> list[tuple[int, IssuedCertificate]]:
        """Issued certificates, oldest first, each with a number that grows.

        Args:
            issuer_id: Of this CA only.
            tenant_id: Of this tenant's devices only.
            device_id: Of devices with this name only.
            serial: With this serial only.
            revoked: Only those that are revoked, or only those that are not.
            after: Only those with a greater number; for paging.
            limit: At most so many.
        """
        statement = select(issued_certificate).order_by(_columns.number).limit(limit)
        for column, value in (
            (_columns.issuer_id, issuer_id),
            (_columns.tenant_id, tenant_id),
            (_columns.device_id, device_id),
            (_columns.serial, serial),
        ):
            if value is not None:
                statement = statement.where(column == value)
        if revoked is not None:
            statement = statement.where(_columns.revoked_at.is_not(None) if revoked else _columns.revoked_at.is_(None))
        if after is not None:
            statement = statement.where(_columns.number > after)
        rows = self._read(lambda connection: connection.execute(statement).all())
        return [(row.number, _issued(row)) for row in rows]

    def revoke_issued(self, issuer_id: str, serial: str, *, reason: str, at: float | None = None) -> IssuedCertificate:
        """Revokes a certificate: from its CA's next list on. A second call changes nothing.

        Args:
            issuer_id: The CA, SHA-256 of its certificate.
            serial: Lower-case hex.
            reason: A name of RFC 5280 section 5.3.1.
            at: Since when, seconds since the epoch, UTC; now by default.

        Raises:
            NotFound: No such certificate was issued.
        """

        def work(connection: Connection) -> IssuedCertificate:
            where = (_columns.issuer_id == issuer_id) & (_columns.serial == serial)
            row = connection.execute(select(issued_certificate).where(where)).first()
            if row is None:
                raise NotFound(f"no certificate with serial {serial} was issued by {issuer_id[:16]}...")
            if row.revoked_at is None:
                revoked_at = self._clock() if at is None else at
                connection.execute(update(issued_certificate).where(where).values(revoked_at=revoked_at, reason=reason))
                self._audit(
                    connection, "certificate.revoked", row.tenant_id, row.device_id, serial=serial, reason=reason
                )
            return _issued(connection.execute(select(issued_certificate).where(where)).one())

        return self._write(work)

    def next_crl_number(self, issuer_id: str) -> int:
        """The number of the next revocation list of a CA; each call gives a greater one."""

        def work(connection: Connection) -> int:
            where = crl_number.c.issuer_id == issuer_id
            last = connection.execute(select(crl_number.c.number).where(where)).scalar()
            if last is None:
                connection.execute(insert(crl_number).values(issuer_id=issuer_id, number=1))
                return 1
            connection.execute(update(crl_number).where(where).values(number=last + 1))
            return int(last) + 1

        return self._write(work)


_BATCH = 500
"""Serials asked for at once: SQLite takes at most 32,766 parameters, and older ones 999."""


def _issued(row: Any) -> IssuedCertificate:
    return IssuedCertificate(
        row.issuer_id,
        row.serial,
        row.tenant_id,
        row.device_id,
        row.fingerprint,
        row.not_before,
        row.not_after,
        row.revoked_at,
        row.reason,
    )
