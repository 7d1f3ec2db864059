"""Devices that come by themselves, and how far a manufacturer's CA may bring them."""

import re

from sqlalchemy import Connection, exists, insert, select, update

from gateway.model import Device, DeviceStatus
from gateway.registry.anchors import Anchors, usage_of
from gateway.registry.checks import check_id
from gateway.registry.credentials import Credentials
from gateway.registry.errors import Conflict, LimitReached, NotActive, NotFound
from gateway.registry.limits import MAX_QUARANTINED_PER_ANCHOR
from gateway.registry.policy import AnchorPolicy, Provision
from gateway.registry.records import AnchorUsage, CertificateCredential
from gateway.registry.tables import anchor_manifest, anchor_usage


class Provisioning(Credentials, Anchors):
    """Answers certificates of devices that have no certificate credential yet."""

    def provision_device(
        self, tenant_id: str, device_id: str, *, anchor_id: str, policy: AnchorPolicy, serial: str = ""
    ) -> CertificateCredential:
        """Finds or makes the device of a certificate, in one transaction.

        A device that does not exist is created as the policy says, bound to the anchor: active, pending, or, beyond
        the policy's limits, quarantined. A device that an operator added without any credential takes its first
        certificate, and is bound to that one's anchor. Two calls at once for one device give the same credential;
        `created` is true for one of them only.

        Whatever is refused is refused by reading, without waiting for another process's write.

        Args:
            tenant_id: The tenant that the certificate belongs to.
            device_id: The name in the certificate.
            anchor_id: The trust anchor that verified it.
            policy: The anchor's.
            serial: The certificate's, lower-case hex; for the manifest.

        Raises:
            NotFound: The device does not exist, and none may come by itself.
            NotActive: The device exists without a certificate credential, and is disabled, pending or quarantined.
            Conflict: The device exists with other credentials only: a certificate was never allowed for it.
            InvalidValue: The id cannot be a device's.
            LimitReached: The tenant is full, or too many devices of this anchor are in quarantine.
        """
        check_id("device", device_id)

        def look(connection: Connection) -> Device | CertificateCredential | None:
            return self._provisionable(connection, tenant_id, device_id, policy)

        # A refusal must cost no write lock: a stranger's certificate would wait for another process with it.
        there = self._read(look)
        if isinstance(there, CertificateCredential):
            return there

        def work(connection: Connection) -> CertificateCredential:
            # Another handshake of the same device, here or in another process, may have been first.
            there = look(connection)
            if isinstance(there, CertificateCredential):
                return there
            if there is not None:
                return self._insert_certificate(connection, there, anchor_id)
            return self._admit(connection, tenant_id, device_id, anchor_id, policy, serial)

        return self._write(work)

    def _provisionable(
        self, connection: Connection, tenant_id: str, device_id: str, policy: AnchorPolicy
    ) -> Device | CertificateCredential | None:
        """What there is: the credential, a device that may take its first one, or None for one to be created."""
        found = self._find_device(connection, tenant_id, device_id)
        if found is None:
            if policy.provision is Provision.OFF:
                raise NotFound(f"device '{device_id}' does not exist in tenant '{tenant_id}'")
            self._check_room(connection, tenant_id)
            return None
        held = self._of_device(connection, tenant_id, device_id)
        for each in held:
            if each.kind == "x509":
                return CertificateCredential(found, each.credential_id, each.version, each.status, each.anchor_id)
        if found.status is not DeviceStatus.ACTIVE:
            raise NotActive(found)
        if held:
            raise Conflict(f"device '{device_id}' exists, but was never allowed to use certificates")
        return found

    def _admit(
        self, connection: Connection, tenant_id: str, device_id: str, anchor_id: str, policy: AnchorPolicy, serial: str
    ) -> CertificateCredential:
        today = self._today()
        usage = usage_of(connection, anchor_id, today)
        expected = not policy.manifest or bool(
            connection.execute(
                select(1).where(
                    anchor_manifest.c.anchor_id == anchor_id, anchor_manifest.c.name.in_((device_id, serial))
                )
            ).first()
        )
        note = objection(policy, usage, device_id, self._clock(), expected=expected)
        if note and usage.quarantined >= MAX_QUARANTINED_PER_ANCHOR:
            raise LimitReached(
                f"device '{device_id}' may not come by itself: {note}; {usage.quarantined} devices of this anchor are "
                "in quarantine already, and no more are kept: look at them with "
                "`gateway device list --status quarantined`"
            )
        if note:
            status = DeviceStatus.QUARANTINED
        else:
            status = DeviceStatus.PENDING if policy.provision is Provision.PENDING else DeviceStatus.ACTIVE
        added = self._insert_device(connection, tenant_id, device_id, status, note=note, auto_provisioned=True)
        _count(connection, anchor_id, today, quarantined=bool(note))
        self._audit(
            connection,
            "device.provisioned",
            tenant_id,
            device_id,
            anchor=anchor_id,
            status=status.value,
            note=note or None,
        )
        return self._insert_certificate(connection, added, anchor_id, created=True)


def objection(policy: AnchorPolicy, usage: AnchorUsage, device_id: str, now: float, *, expected: bool) -> str:
    """Why a device may not come by itself under an anchor that lets devices come; empty when it may."""
    if policy.provision_from and now < policy.provision_from:
        return "the anchor does not admit devices yet"
    if policy.provision_until and now > policy.provision_until:
        return "the anchor no longer admits devices"
    if policy.name_pattern and re.fullmatch(policy.name_pattern, device_id) is None:
        return "its name does not match the anchor's pattern"
    if not expected:
        return "it is not in the anchor's manifest"
    if policy.max_devices and usage.admitted >= policy.max_devices:
        return f"the anchor has admitted its {policy.max_devices} devices"
    if policy.max_devices_per_day and usage.admitted_today >= policy.max_devices_per_day:
        return f"the anchor has admitted its {policy.max_devices_per_day} devices of today"
    return ""


def _count(connection: Connection, anchor_id: str, day: int, *, quarantined: bool) -> None:
    columns = anchor_usage.c
    where = (columns.anchor_id == anchor_id) & (columns.day == day)
    if not connection.execute(select(exists().where(where))).scalar():
        connection.execute(insert(anchor_usage).values(anchor_id=anchor_id, day=day))
    column = columns.quarantined if quarantined else columns.admitted
    connection.execute(update(anchor_usage).where(where).values({column: column + 1}))
