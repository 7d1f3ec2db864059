"""The certificates that are trusted to name devices, and those that help to verify them."""

import hashlib
import hmac
import os
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, delete, func, insert, select, update

from gateway.model import DEFAULT_TENANT
from gateway.registry.checks import check_certificate, check_device_name
from gateway.registry.errors import Conflict, InvalidValue, NotFound
from gateway.registry.patterns import check_name_pattern
from gateway.registry.policy import AnchorPolicy
from gateway.registry.records import AnchorRecord, AnchorUsage
from gateway.registry.store import Store
from gateway.registry.tables import (
    anchor_manifest,
    anchor_tenant,
    anchor_usage,
    intermediate,
    setting,
    tenant,
    trust_anchor,
)
from gateway.registry.trail import TRUST, changed

_NO_POLICY = AnchorPolicy()
_DAY_S = 86_400
_CODE_SECRET = "registration_code"  # noqa: S105  the name of a row
_CODE_DIGITS = 40


class Anchors(Store):
    """Trusting and no longer trusting."""

    def add_trust_anchor(
        self,
        certificate: bytes,
        subject: str,
        *,
        tenant_ids: Sequence[str] = (DEFAULT_TENANT,),
        policy: AnchorPolicy = _NO_POLICY,
    ) -> AnchorRecord:
        """Trusts a CA to name devices.

        Args:
            certificate: DER. Whether it is a usable CA is for the caller to know.
            subject: Its subject as text, for lists.
            tenant_ids: Whose devices.
            policy: How far.

        Raises:
            Conflict: It is trusted already.
            InvalidValue: The certificate is empty or too large, or the policy contradicts itself.
            NotFound: A tenant does not exist.
        """
        check_certificate(certificate)
        check_policy(policy, tenant_ids)
        anchor_id = hashlib.sha256(certificate).hexdigest()

        def work(connection: Connection) -> AnchorRecord:
            _check_tenants(connection, tenant_ids)
            if connection.execute(select(1).where(trust_anchor.c.id == anchor_id)).first() is not None:
                there = _anchor(connection, anchor_id)
                raise Conflict(
                    f"the certificate {anchor_id} is trusted already, for tenant '{', '.join(there.tenant_ids)}'"
                )
            connection.execute(
                insert(trust_anchor).values(
                    id=anchor_id,
                    subject=subject,
                    certificate=certificate,
                    policy=policy.encode(),
                    created_at=self._clock(),
                )
            )
            _set_tenants(connection, anchor_id, tenant_ids)
            changed(connection, TRUST, key=anchor_id)
            self._audit(
                connection, "anchor.trusted", tenant_ids[0], anchor_id, subject=subject, policy=policy.as_json()
            )
            return _anchor(connection, anchor_id)

        return self._write(work)

    def set_trust_anchor(
        self, anchor_id: str, *, policy: AnchorPolicy | None = None, tenant_ids: Sequence[str] | None = None
    ) -> AnchorRecord:
        """Changes how far an anchor is trusted, or for which tenants; None leaves either as it is.

        Raises:
            InvalidValue: The policy contradicts itself.
            NotFound: The anchor or a tenant does not exist.
        """

        def work(connection: Connection) -> AnchorRecord:
            before = _anchor(connection, anchor_id)
            after = policy if policy is not None else before.policy
            names = tuple(tenant_ids) if tenant_ids is not None else before.tenant_ids
            check_policy(after, names)
            if names != before.tenant_ids:
                _check_tenants(connection, names)
                _set_tenants(connection, anchor_id, names)
            connection.execute(update(trust_anchor).where(trust_anchor.c.id == anchor_id).values(policy=after.encode()))
            changed(connection, TRUST, key=anchor_id)
            self._audit(connection, "anchor.changed", names[0], anchor_id, tenants=names, policy=after.as_json())
            return _anchor(connection, anchor_id)

        return self._write(work)

    def delete_trust_anchor(self, anchor_id: str) -> None:
        """No longer trusts a CA. Devices bound to it stay, and are refused until allowed anew.

        Raises:
            NotFound: It does not exist.
        """

        def work(connection: Connection) -> None:
            there = _anchor(connection, anchor_id)
            connection.execute(delete(trust_anchor).where(trust_anchor.c.id == anchor_id))
            changed(connection, TRUST, key=anchor_id)
            self._audit(connection, "anchor.untrusted", there.tenant_id, anchor_id, subject=there.subject)

        self._write(work)

    def trust_anchors(self) -> list[AnchorRecord]:
        """All trust anchors, oldest first."""
        return self._read(_anchors)

    def anchor_usage(self, anchor_id: str) -> AnchorUsage:
        """How many devices came by themselves under an anchor, also one that is no longer trusted."""
        return self._read(lambda connection: usage_of(connection, anchor_id, self._today()))

    def set_manifest(self, anchor_id: str, names: Iterable[str]) -> int:
        """Says which devices a manufacturer will make, in place of what was said before. Returns how many.

        Raises:
            InvalidValue: A name that no device can have.
            NotFound: The anchor does not exist.
        """
        expected = dict.fromkeys(names)
        for name in expected:
            check_device_name(name)

        def work(connection: Connection) -> int:
            there = _anchor(connection, anchor_id)
            connection.execute(delete(anchor_manifest).where(anchor_manifest.c.anchor_id == anchor_id))
            if expected:
                connection.execute(insert(anchor_manifest), [{"anchor_id": anchor_id, "name": n} for n in expected])
            self._audit(connection, "anchor.manifest_set", there.tenant_id, anchor_id, names=len(expected))
            return len(expected)

        return self._write(work)

    def add_intermediate(self, certificate: bytes) -> bool:
        """Keeps an intermediate CA's certificate for devices that do not send it; it is not trusted by that.

        Args:
            certificate: DER.

        Returns:
            Whether it was new.

        Raises:
            InvalidValue: It is empty or too large.
        """
        check_certificate(certificate)
        id = hashlib.sha256(certificate).hexdigest()

        def work(connection: Connection) -> bool:
            if connection.execute(select(1).where(intermediate.c.id == id)).first() is not None:
                return False
            connection.execute(insert(intermediate).values(id=id, certificate=certificate, created_at=self._clock()))
            changed(connection, TRUST, key=id)
            self._audit(connection, "intermediate.added", object=id)
            return True

        return self._write(work)

    def intermediates(self) -> list[bytes]:
        """The stored intermediates, DER, oldest first."""
        statement = select(intermediate.c.certificate).order_by(intermediate.c.number)
        rows = self._read(lambda connection: connection.execute(statement).all())
        return [bytes(row.certificate) for row in rows]

    def registration_code(self, anchor_id: str) -> str:
        """The code by which the holder of a CA's key shows that they hold it; the same at each call.

        Of this registry only: a certificate with it that was made for another one proves nothing here.
        """

        def work(connection: Connection) -> bytes:
            found = connection.execute(select(setting.c.value).where(setting.c.name == _CODE_SECRET)).scalar()
            if found is None:
                found = os.urandom(32)
                connection.execute(insert(setting).values(name=_CODE_SECRET, value=found))
            return bytes(found)

        secret = self._write(work)
        return hmac.digest(secret, anchor_id.encode(), "sha256").hex()[:_CODE_DIGITS]

    def _today(self) -> int:
        return int(self._clock() // _DAY_S)


def usage_of(connection: Connection, anchor_id: str, today: int) -> AnchorUsage:
    """How many devices came by themselves under an anchor."""
    columns = anchor_usage.c
    total, quarantined = connection.execute(
        select(func.coalesce(func.sum(columns.admitted), 0), func.coalesce(func.sum(columns.quarantined), 0)).where(
            columns.anchor_id == anchor_id
        )
    ).one()
    day = connection.execute(
        select(columns.admitted).where(columns.anchor_id == anchor_id, columns.day == today)
    ).scalar()
    return AnchorUsage(int(total), int(day or 0), int(quarantined))


def check_policy(policy: AnchorPolicy, tenant_ids: Sequence[str]) -> None:
    """Whether a policy is one that can be followed.

    Raises:
        InvalidValue: It contradicts itself, a pattern or a URL is none, or a pattern could take long.
    """
    if not tenant_ids:
        raise InvalidValue("a trust anchor names devices of at least one tenant")
    if len(set(tenant_ids)) > 1 and policy.tenant_by == "anchor":
        raise InvalidValue(
            "an anchor of several tenants needs another way to tell them apart: tenant_by sni or organization"
        )
    check_name_pattern(policy.name_pattern)
    for url in (policy.webhook, *policy.crl_url.split()):
        if url and not url.startswith(("https://", "http://")):
            raise InvalidValue(f"a URL must begin with https:// or http://, not {url[:40]!r}")
    if policy.webhook.startswith("http://") and not _is_loopback(policy.webhook):
        raise InvalidValue("a webhook outside this machine needs https://: whoever is on the way could admit devices")
    if policy.provision_until and policy.provision_until <= policy.provision_from:
        raise InvalidValue("provision_until must be later than provision_from")


def _is_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # another name, or no URL
        return False


def _anchor(connection: Connection, anchor_id: str) -> AnchorRecord:
    found = [record for record in _anchors(connection, anchor_id)]
    if not found:
        raise NotFound(f"trust anchor '{anchor_id}' does not exist; add it with `gateway ca trust FILE`")
    return found[0]


def _anchors(connection: Connection, anchor_id: str | None = None) -> list[AnchorRecord]:
    anchors = select(trust_anchor).order_by(trust_anchor.c.number)
    owners = select(anchor_tenant).order_by(anchor_tenant.c.tenant_id)
    if anchor_id is not None:
        anchors = anchors.where(trust_anchor.c.id == anchor_id)
        owners = owners.where(anchor_tenant.c.anchor_id == anchor_id)
    tenants: dict[str, tuple[str, ...]] = {}
    for row in connection.execute(owners):
        tenants[row.anchor_id] = (*tenants.get(row.anchor_id, ()), row.tenant_id)
    # An anchor whose last tenant was deleted names nobody's devices.
    return [_record(row, tenants[row.id]) for row in connection.execute(anchors) if row.id in tenants]


def _record(row: Any, tenants: tuple[str, ...]) -> AnchorRecord:
    policy = AnchorPolicy.parse(row.policy)
    return AnchorRecord(row.id, tenants, row.subject, bytes(row.certificate), policy, row.created_at)


def _check_tenants(connection: Connection, tenant_ids: Sequence[str]) -> None:
    known = {row.id for row in connection.execute(select(tenant.c.id).where(tenant.c.id.in_(tenant_ids)))}
    for name in tenant_ids:
        if name not in known:
            raise NotFound(f"tenant '{name}' does not exist; add it with `gateway tenant add`")


def _set_tenants(connection: Connection, anchor_id: str, tenant_ids: Sequence[str]) -> None:
    connection.execute(delete(anchor_tenant).where(anchor_tenant.c.anchor_id == anchor_id))
    rows = [{"anchor_id": anchor_id, "tenant_id": name} for name in dict.fromkeys(tenant_ids)]
    connection.execute(insert(anchor_tenant), rows)
