"""From one pre-shared key of a device to the next, and from pre-shared keys to certificates.

A new key waits as `next`, and is as good as the old one, which gets an end. The first session with the new key makes
it the active one and retires those before it: their version grows, which ends their sessions and tickets. That of the
new key does not, or the session that proved it would end with them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from gateway.model import DEFAULT_TENANT
from gateway.registry.checks import check_psk
from gateway.registry.credentials import Credentials
from gateway.registry.errors import Conflict, InvalidValue, NotFound
from gateway.registry.generations import join_identity, split_identity
from gateway.registry.limits import USED_BATCH
from gateway.registry.policy import TenantLimits
from gateway.registry.records import CredentialStatus, PskCredential
from gateway.registry.tables import credential, device, tenant
from gateway.registry.trail import DEVICE, changed

_SEEN_DEVICE = (
    update(device)
    .where(device.c.tenant_id == bindparam("t"), device.c.id == bindparam("d"))
    .values(last_seen_at=bindparam("at"))
)
_USED_CREDENTIAL = update(credential).where(credential.c.id == bindparam("c")).values(last_used_at=bindparam("at"))
_LIVE = ("active", "next")


@dataclass(frozen=True, slots=True)
class Rotated:
    """A rotation that has begun.

    Attributes:
        credential: The new key.
        identity: Its identity.
        generation: Of a derived key, else None.
        old_until: Seconds since the epoch, UTC: after it the old keys are refused, whether the new one was used or not.
    """

    credential: PskCredential
    identity: bytes
    generation: int | None
    old_until: float


class Rotation(Credentials):
    """Rotating, retiring and revoking pre-shared keys, and what their use brings about."""

    def rotate_psk(
        self,
        device_id: str,
        key: bytes | None,
        *,
        overlap_s: float,
        identity: bytes | None = None,
        tenant_id: str = DEFAULT_TENANT,
    ) -> Rotated:
        """Gives a device its next pre-shared key, beside those that it has.

        Args:
            device_id: The device.
            key: 16-64 bytes; None for the derived one.
            overlap_s: Seconds for which its active keys stay good, unless the new one is used before.
            identity: Of the new key; by default the one that it used last, or else its first one, with the next
                generation (`generations`). Derived keys have no other one.
            tenant_id: The device's tenant.

        Raises:
            Conflict: A rotation is under way, the device has no active pre-shared key, or the identity is taken.
            InvalidValue: The identity's or the key's length is not acceptable, or there is no key to derive from.
            NotFound: The device does not exist.
        """
        if overlap_s < 0:
            raise InvalidValue("the overlap is a time from 0 on")
        if key is None and identity is not None:
            raise InvalidValue("a derived key goes by the next generation of the device's identity: leave it away")
        if identity is not None:
            check_psk(identity, key)

        def work(connection: Connection) -> Rotated:
            owner = self._existing_device(connection, tenant_id, device_id)
            live = _psks(connection, tenant_id, device_id)
            active = [row for row in live if row.status == "active"]
            waiting = [row for row in live if row.status == "next"]
            if waiting:
                raise Conflict(
                    f"device '{device_id}' has not used its next key {waiting[0].id} yet; wait, or take that one back "
                    f"with `gateway psk revoke {device_id} {waiting[0].id}`"
                )
            if not active:
                raise Conflict(
                    f"device '{device_id}' has no pre-shared key; add one with `gateway psk add {device_id}`"
                )
            name = identity
            if name is None:
                name = self._next_identity(connection, _counted_up(active), tenant_id)
                check_psk(name, key)
            until = self._clock() + overlap_s
            for row in active:
                ends = until if row.not_after is None else min(until, row.not_after)
                connection.execute(
                    update(credential).where(credential.c.id == row.id).values(not_after=ends, updated_at=self._clock())
                )
            made = self._insert_psk(connection, owner, name, key, CredentialStatus.NEXT)
            changed(connection, DEVICE, tenant_id, device_id)
            self._audit(
                connection, "psk.rotated", tenant_id, device_id, credential=made.credential_id, old_until=round(until)
            )
            generation = split_identity(name, tenant_id)[1] if key is None else None
            return Rotated(made, name, generation, until)

        return self._write(work)

    def end_psk(
        self, device_id: str, credential_id: str, status: CredentialStatus, *, tenant_id: str = DEFAULT_TENANT
    ) -> None:
        """Retires or revokes one pre-shared key of a device, with the sessions that it began.

        Args:
            device_id: The device.
            credential_id: The key's row.
            status: RETIRED or REVOKED.
            tenant_id: The device's tenant.

        Raises:
            NotFound: The device has no such key.
        """

        def work(connection: Connection) -> None:
            self._existing_device(connection, tenant_id, device_id)
            found = [row for row in self._of_device(connection, tenant_id, device_id) if row.kind == "psk"]
            if credential_id not in [row.credential_id for row in found]:
                raise NotFound(
                    f"device '{device_id}' has no pre-shared key {credential_id}; list them with "
                    f"`gateway psk list {device_id}`"
                )
            self._change_credential(connection, credential_id, status=status.value)

        self._write(work)

    def seen(self, devices: Iterable[tuple[str, str, float]], credentials: Iterable[tuple[str, float]] = ()) -> None:
        """Notes when devices last had a session, and credentials began one; those that are gone by now are passed over.

        The first use of a next pre-shared key retires those before it. The use of a certificate retires all, where the
        tenant says so.

        Args:
            devices: (tenant, device, seconds since the epoch).
            credentials: (credential id, seconds since the epoch).
        """
        by_device = [{"t": t, "d": d, "at": at} for t, d, at in devices]
        by_credential = [{"c": c, "at": at} for c, at in credentials]

        def work(connection: Connection) -> None:
            if by_device:
                connection.execute(_SEEN_DEVICE, by_device)
            if by_credential:
                connection.execute(_USED_CREDENTIAL, by_credential)
                ending = _tenants_that_end_psks(connection)
                for start in range(0, len(by_credential), USED_BATCH):
                    used = [str(each["c"]) for each in by_credential[start : start + USED_BATCH]]
                    self._promote(connection, used)
                    if ending:
                        self._end_psks(connection, used, ending)

        self._write(work)

    def _promote(self, connection: Connection, used: Sequence[str]) -> None:
        rows = connection.execute(
            select(credential)
            .where(credential.c.status == "next", credential.c.id.in_(used))
            .order_by(credential.c.number)
        ).all()
        for row in rows:
            connection.execute(
                update(credential).where(credential.c.id == row.id).values(status="active", updated_at=self._clock())
            )
            changed(connection, DEVICE, row.tenant_id, row.device_id)
            self._audit(connection, "psk.promoted", row.tenant_id, row.device_id, credential=row.id)
            for older in _psks(connection, row.tenant_id, row.device_id):
                if older.number < row.number:
                    self._change_credential(connection, older.id, status="retired")

    def _end_psks(self, connection: Connection, used: Sequence[str], tenants: Sequence[str]) -> None:
        certificate, psk = credential.alias("certificate"), credential.alias("psk")
        same = (certificate.c.tenant_id == psk.c.tenant_id) & (certificate.c.device_id == psk.c.device_id)
        ended = connection.execute(
            select(psk.c.id)
            .join_from(certificate, psk, same)
            .where(
                certificate.c.id.in_(used),
                certificate.c.kind == "x509",
                certificate.c.tenant_id.in_(tenants),
                psk.c.kind == "psk",
                psk.c.status.in_(_LIVE),
            )
        ).all()
        for row in ended:
            self._change_credential(connection, row.id, status="retired")

    def _next_identity(self, connection: Connection, newest: bytes, tenant_id: str) -> bytes:
        base, generation = split_identity(newest, tenant_id)
        while True:
            generation += 1
            name = join_identity(base, generation, tenant_id)
            # Generations that were revoked, or taken back, are not used again.
            if self._taken(connection, "psk", tenant_id, name) is None:
                return name


def _psks(connection: Connection, tenant_id: str, device_id: str) -> Sequence[Any]:
    """The pre-shared keys of a device that are good, oldest first."""
    return connection.execute(
        select(credential)
        .where(
            credential.c.tenant_id == tenant_id,
            credential.c.device_id == device_id,
            credential.c.kind == "psk",
            credential.c.status.in_(_LIVE),
        )
        .order_by(credential.c.number)
    ).all()


def _counted_up(active: Sequence[Any]) -> bytes:
    """The identity that a device counts up by itself: the one that it goes by, whatever it was given beside it."""
    return bytes(max(active, key=lambda row: row.last_used_at or 0.0).lookup_key)


def _tenants_that_end_psks(connection: Connection) -> list[str]:
    rows = connection.execute(
        select(tenant.c.id, tenant.c.limits).where(tenant.c.limits.contains("psk_ends_with_certificate"))
    )
    return [row.id for row in rows if TenantLimits.parse(row.limits).psk_ends_with_certificate]
