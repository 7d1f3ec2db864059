"""What is no longer believed: certificates that were banned here, and the revocation lists of their CAs."""

from typing import Any

from sqlalchemy import Connection, delete, insert, select

from gateway.registry.errors import Conflict, InvalidValue, NotFound
from gateway.registry.limits import MAX_BANS, MAX_CRL_BYTES
from gateway.registry.records import CrlRecord
from gateway.registry.store import Store
from gateway.registry.tables import ban, crl
from gateway.registry.trail import TRUST, changed

_HEX_DIGITS = 64


class Revocation(Store):
    """Banning, and keeping lists."""

    def ban_certificate(self, fingerprint: str, reason: str = "") -> bool:
        """Refuses a certificate, and every chain with it in it: a leaf, an intermediate or a trust anchor.

        Args:
            fingerprint: SHA-256 of the certificate, lower-case hex.
            reason: Why, for people.

        Returns:
            Whether it was not banned before.

        Raises:
            InvalidValue: That is no fingerprint.
            Conflict: There are too many bans.
        """
        if len(fingerprint) != _HEX_DIGITS or set(fingerprint) - set("0123456789abcdef"):
            raise InvalidValue(f"{fingerprint[:80]!r} is no SHA-256 fingerprint: 64 hex digits in lower case")

        def work(connection: Connection) -> bool:
            if connection.execute(select(1).where(ban.c.fingerprint == fingerprint)).first() is not None:
                return False
            if len(connection.execute(select(ban.c.fingerprint)).all()) >= MAX_BANS:
                raise Conflict(f"{MAX_BANS} certificates are banned, and all are in memory; revoke by a list instead")
            connection.execute(insert(ban).values(fingerprint=fingerprint, reason=reason, created_at=self._clock()))
            changed(connection, TRUST, key=fingerprint)
            self._audit(connection, "certificate.banned", object=fingerprint, reason=reason or None)
            return True

        return self._write(work)

    def unban_certificate(self, fingerprint: str) -> None:
        """Takes a ban back.

        Raises:
            NotFound: There is none.
        """

        def work(connection: Connection) -> None:
            if connection.execute(delete(ban).where(ban.c.fingerprint == fingerprint)).rowcount == 0:
                raise NotFound(f"the certificate {fingerprint} is not banned")
            changed(connection, TRUST, key=fingerprint)
            self._audit(connection, "certificate.unbanned", object=fingerprint)

        self._write(work)

    def bans(self) -> dict[str, str]:
        """The fingerprints of banned certificates, with the reasons."""
        rows = self._read(lambda connection: connection.execute(select(ban).order_by(ban.c.created_at)).all())
        return {row.fingerprint: row.reason for row in rows}

    def store_crl(
        self,
        issuer: str,
        der: bytes,
        *,
        crl_number: int,
        this_update: float,
        next_update: float | None,
        url: str = "",
    ) -> bool:
        """Keeps the newest revocation list of a CA. Whether it is a good one is for the caller to know.

        Args:
            issuer: SHA-256 of the CA's certificate, lower-case hex.
            der: The list.
            crl_number: Its number; an older one never replaces a newer one (RFC 5280 section 5.2.3).
            this_update: Seconds since the epoch, UTC.
            next_update: The same; None where the list does not say.
            url: Where it was fetched.

        Returns:
            Whether it is new.

        Raises:
            Conflict: There is a newer one already.
            InvalidValue: It is empty or too large.
        """
        if not 1 <= len(der) <= MAX_CRL_BYTES:
            raise InvalidValue(f"a revocation list has 1-{MAX_CRL_BYTES} bytes as DER, this one has {len(der)}")

        def work(connection: Connection) -> bool:
            there = connection.execute(select(crl).where(crl.c.issuer == issuer)).first()
            if there is not None:
                if bytes(there.der) == der:
                    return False
                if (int(there.crl_number), there.this_update) > (crl_number, this_update):
                    raise Conflict(
                        f"the list number {crl_number} is older than the one that is kept, number {there.crl_number}; "
                        "an old list would let revoked devices in again"
                    )
                connection.execute(delete(crl).where(crl.c.issuer == issuer))
            connection.execute(
                insert(crl).values(
                    issuer=issuer,
                    crl_number=str(crl_number),
                    this_update=this_update,
                    next_update=next_update,
                    der=der,
                    url=url,
                    stored_at=self._clock(),
                )
            )
            changed(connection, TRUST, key=issuer)
            self._audit(connection, "crl.stored", object=issuer, number=str(crl_number), url=url or None)
            return True

        return self._write(work)

    def delete_crl(self, issuer: str) -> None:
        """Forgets the list of a CA.

        Raises:
            NotFound: There is none.
        """

        def work(connection: Connection) -> None:
            if connection.execute(delete(crl).where(crl.c.issuer == issuer)).rowcount == 0:
                raise NotFound(f"there is no revocation list of {issuer}")
            changed(connection, TRUST, key=issuer)
            self._audit(connection, "crl.deleted", object=issuer)

        self._write(work)

    def crls(self) -> list[CrlRecord]:
        """The newest list of each CA."""
        rows = self._read(lambda connection: connection.execute(select(crl).order_by(crl.c.issuer)).all())
        return [_crl(row) for row in rows]


def _crl(row: Any) -> CrlRecord:
    return CrlRecord(
        row.issuer, int(row.crl_number), row.this_update, row.next_update, bytes(row.der), row.url, row.stored_at
    )
