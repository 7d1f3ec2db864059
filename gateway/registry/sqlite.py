"""The registry in one SQLite file, read synchronously: an indexed read is 9 us, a thread hop 500 us."""

import hashlib
import sqlite3
import sys
import time
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from gateway.model import DEFAULT_TENANT, Device, DeviceStatus
from gateway.registry.checks import check_certificate, check_id, check_psk, check_public_key, shown_identity
from gateway.registry.database import failure, snapshot, transaction, translated
from gateway.registry.errors import Conflict, LimitReached, NotActive, NotFound
from gateway.registry.limits import MAX_DEVICES_PER_TENANT
from gateway.registry.records import (
    AnchorRecord,
    CertificateCredential,
    Counts,
    CredentialStatus,
    CredentialSummary,
    PskCredential,
    PublicKeyCredential,
)

_DEVICE = "d.id, d.tenant_id, d.status, d.auto_provisioned, d.created_at"
_JOIN = "FROM credential c JOIN device d ON d.tenant_id = c.tenant_id AND d.id = c.device_id"
_FIND_PSK = f"SELECT {_DEVICE}, c.secret, c.id, c.version, c.status {_JOIN} WHERE c.kind = 'psk' AND c.lookup_key = ?"
_FIND_RPK = f"SELECT {_DEVICE}, c.id, c.version, c.status {_JOIN} WHERE c.kind = 'rpk' AND c.lookup_key = ?"
_FIND_CERTIFICATE = (
    f"SELECT {_DEVICE}, c.id, c.version, c.status, c.anchor_id {_JOIN} WHERE c.kind = 'x509' AND c.lookup_key = ?"
)
_FIND_DEVICE = f"SELECT {_DEVICE} FROM device d WHERE d.tenant_id = ? AND d.id = ?"  # noqa: S608  a constant
_LIST_DEVICES = (
    f"SELECT {_DEVICE} FROM device d "  # noqa: S608  constants of this module
    "WHERE (?1 IS NULL OR d.tenant_id = ?1) AND (?2 IS NULL OR d.id > ?2) ORDER BY d.tenant_id, d.id LIMIT ?3"
)
_ANCHOR = "id, tenant_id, subject, certificate, auto_provision, strict, created_at"

# Faster than the enum's constructor, on the way of every handshake.
_DEVICE_STATUS: dict[str, DeviceStatus] = {status.value: status for status in DeviceStatus}
_CREDENTIAL_STATUS: dict[str, CredentialStatus] = {status.value: status for status in CredentialStatus}


class SqliteRegistry:
    """`Registry` on one connection; used from one thread. See `interface` for the methods' contracts."""

    def __init__(self, connection: sqlite3.Connection, *, clock: Callable[[], float] = time.time) -> None:
        self._connection = connection
        self._clock = clock

    def find_psk(self, identity: bytes) -> PskCredential | None:
        try:
            row = self._connection.execute(_FIND_PSK, (identity,)).fetchone()
        except sqlite3.Error as error:
            raise failure(error) from error
        if row is None:
            return None
        return PskCredential(_device(row), row[5], row[6], row[7], _CREDENTIAL_STATUS[row[8]])

    def find_rpk(self, fingerprint: bytes) -> PublicKeyCredential | None:
        try:
            row = self._connection.execute(_FIND_RPK, (fingerprint,)).fetchone()
        except sqlite3.Error as error:
            raise failure(error) from error
        if row is None:
            return None
        return PublicKeyCredential(_device(row), row[5], row[6], _CREDENTIAL_STATUS[row[7]])

    def find_certificate_device(self, tenant_id: str, device_id: str) -> CertificateCredential | None:
        try:
            row = self._connection.execute(_FIND_CERTIFICATE, (_certificate_key(tenant_id, device_id),)).fetchone()
        except sqlite3.Error as error:
            raise failure(error) from error
        if row is None:
            return None
        return CertificateCredential(_device(row), row[5], row[6], _CREDENTIAL_STATUS[row[7]], row[8])

    def provision_device(
        self, tenant_id: str, device_id: str, *, anchor_id: str, create: bool
    ) -> CertificateCredential:
        check_id("device", device_id)
        # A refusal must cost no write lock: a stranger's certificate would wait for another process with it.
        with snapshot(self._connection):
            there = self._provisionable(tenant_id, device_id, create=create)
        if isinstance(there, CertificateCredential):
            return there
        with transaction(self._connection):
            # Another handshake of the same device, here or in another process, may have been first.
            there = self._provisionable(tenant_id, device_id, create=create)
            if isinstance(there, CertificateCredential):
                return there
            if there is not None:
                return self._insert_certificate(there, anchor_id)
            device = self._insert_device(tenant_id, device_id, DeviceStatus.ACTIVE, auto_provisioned=True)
            return self._insert_certificate(device, anchor_id, created=True)

    def anchor_revision(self) -> int:
        try:
            row = self._connection.execute("SELECT number FROM revision WHERE subject = 'trust'").fetchone()
        except sqlite3.Error as error:
            raise failure(error) from error
        return int(row[0])

    def own_changes(self) -> int:
        try:
            return self._connection.total_changes
        except sqlite3.Error as error:
            raise failure(error) from error

    def foreign_changes(self) -> int:
        try:
            row = self._connection.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error as error:
            raise failure(error) from error
        return int(row[0])

    def add_tenant(self, tenant_id: str, name: str = "") -> None:
        check_id("tenant", tenant_id)
        with transaction(self._connection) as connection:
            if connection.execute("SELECT 1 FROM tenant WHERE id = ?", (tenant_id,)).fetchone():
                raise Conflict(f"tenant '{tenant_id}' exists already")
            connection.execute(
                "INSERT INTO tenant (id, name, created_at) VALUES (?, ?, ?)", (tenant_id, name, self._clock())
            )

    def tenants(self) -> list[str]:
        return [row[0] for row in self._read("SELECT id FROM tenant ORDER BY id")]

    def add_device(
        self, device_id: str, *, tenant_id: str = DEFAULT_TENANT, status: DeviceStatus = DeviceStatus.ACTIVE
    ) -> Device:
        check_id("device", device_id)
        with transaction(self._connection):
            return self._insert_device(tenant_id, device_id, status, auto_provisioned=False)

    def add_psk_device(
        self,
        device_id: str,
        identity: bytes,
        key: bytes,
        *,
        tenant_id: str = DEFAULT_TENANT,
        allow_short_key: bool = False,
    ) -> PskCredential:
        check_id("device", device_id)
        check_psk(identity, key, allow_short_key=allow_short_key)
        with transaction(self._connection):
            device = self._insert_device(tenant_id, device_id, DeviceStatus.ACTIVE, auto_provisioned=False)
            return self._insert_psk(device, identity, key)

    def device(self, device_id: str, *, tenant_id: str = DEFAULT_TENANT) -> Device:
        with translated():
            return self._existing(tenant_id, device_id)

    def list_devices(
        self, *, tenant_id: str | None = None, after: str | None = None, limit: int | None = None
    ) -> list[Device]:
        rows = self._read(_LIST_DEVICES, (tenant_id, after, -1 if limit is None else limit))
        return [_device(row) for row in rows]

    def set_status(self, device_id: str, status: DeviceStatus, *, tenant_id: str = DEFAULT_TENANT) -> Device:
        with transaction(self._connection) as connection:
            self._existing(tenant_id, device_id)
            connection.execute(
                "UPDATE device SET status = ?, updated_at = ? WHERE tenant_id = ? AND id = ?",
                (status.value, self._clock(), tenant_id, device_id),
            )
            return self._existing(tenant_id, device_id)

    def delete_device(self, device_id: str, *, tenant_id: str = DEFAULT_TENANT) -> None:
        with transaction(self._connection) as connection:
            self._existing(tenant_id, device_id)
            connection.execute("DELETE FROM device WHERE tenant_id = ? AND id = ?", (tenant_id, device_id))

    def add_psk(
        self,
        device_id: str,
        identity: bytes,
        key: bytes,
        *,
        tenant_id: str = DEFAULT_TENANT,
        allow_short_key: bool = False,
    ) -> PskCredential:
        check_psk(identity, key, allow_short_key=allow_short_key)
        with transaction(self._connection):
            return self._insert_psk(self._existing(tenant_id, device_id), identity, key)

    def add_rpk(self, device_id: str, public_key: bytes, *, tenant_id: str = DEFAULT_TENANT) -> PublicKeyCredential:
        check_public_key(public_key)
        with transaction(self._connection):
            return self._insert_rpk(self._existing(tenant_id, device_id), public_key)

    def add_rpk_device(
        self, device_id: str, public_key: bytes, *, tenant_id: str = DEFAULT_TENANT
    ) -> PublicKeyCredential:
        check_id("device", device_id)
        check_public_key(public_key)
        with transaction(self._connection):
            device = self._insert_device(tenant_id, device_id, DeviceStatus.ACTIVE, auto_provisioned=False)
            return self._insert_rpk(device, public_key)

    def allow_certificate(
        self, device_id: str, *, tenant_id: str = DEFAULT_TENANT, anchor_id: str | None = None
    ) -> CertificateCredential:
        with transaction(self._connection) as connection:
            device = self._existing(tenant_id, device_id)
            if anchor_id is not None and (anchor := self._anchor(anchor_id)).tenant_id != tenant_id:
                raise Conflict(
                    f"the trust anchor {anchor_id} names devices of tenant '{anchor.tenant_id}', and device "
                    f"'{device_id}' is of tenant '{tenant_id}'; name an anchor of that one"
                )
            found = self.find_certificate_device(tenant_id, device_id)
            if found is None:
                return self._insert_certificate(device, anchor_id)
            connection.execute(
                "UPDATE credential SET anchor_id = ?, status = 'active', version = version + 1, updated_at = ? "
                "WHERE id = ?",
                (anchor_id, self._clock(), found.credential_id),
            )
            return CertificateCredential(
                device, found.credential_id, found.version + 1, CredentialStatus.ACTIVE, anchor_id
            )

    def credentials(self, device_id: str, *, tenant_id: str = DEFAULT_TENANT) -> list[CredentialSummary]:
        with translated():
            self._existing(tenant_id, device_id)
        rows = self._read(
            "SELECT id, kind, lookup_key, anchor_id, version, status FROM credential "
            "WHERE tenant_id = ? AND device_id = ? ORDER BY created_at, rowid",
            (tenant_id, device_id),
        )
        return [_summary(row) for row in rows]

    def set_credential_status(self, credential_id: str, status: CredentialStatus) -> None:
        with transaction(self._connection) as connection:
            changed = connection.execute(
                "UPDATE credential SET status = ?, version = version + 1, updated_at = ? WHERE id = ?",
                (status.value, self._clock(), credential_id),
            )
            if changed.rowcount == 0:
                raise NotFound(f"credential '{credential_id}' does not exist; list them with `gateway device show ID`")

    def add_trust_anchor(
        self,
        certificate: bytes,
        subject: str,
        *,
        tenant_id: str = DEFAULT_TENANT,
        auto_provision: bool = False,
        strict: bool = False,
    ) -> AnchorRecord:
        check_certificate(certificate)
        anchor_id = hashlib.sha256(certificate).hexdigest()
        record = AnchorRecord(anchor_id, tenant_id, subject, certificate, auto_provision, strict, self._clock())
        with transaction(self._connection) as connection:
            self._tenant_size(tenant_id)
            there = connection.execute("SELECT tenant_id FROM trust_anchor WHERE id = ?", (anchor_id,)).fetchone()
            if there:
                raise Conflict(f"the certificate {anchor_id} is trusted already, for tenant '{there[0]}'")
            connection.execute(
                f"INSERT INTO trust_anchor ({_ANCHOR}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608  a constant
                (anchor_id, tenant_id, subject, certificate, auto_provision, strict, record.created_at),
            )
        return record

    def set_auto_provision(self, anchor_id: str, auto_provision: bool) -> AnchorRecord:
        with transaction(self._connection) as connection:
            connection.execute("UPDATE trust_anchor SET auto_provision = ? WHERE id = ?", (auto_provision, anchor_id))
            return self._anchor(anchor_id)

    def delete_trust_anchor(self, anchor_id: str) -> None:
        with transaction(self._connection) as connection:
            self._anchor(anchor_id)
            connection.execute("DELETE FROM trust_anchor WHERE id = ?", (anchor_id,))

    def trust_anchors(self) -> list[AnchorRecord]:
        rows = self._read(f"SELECT {_ANCHOR} FROM trust_anchor ORDER BY created_at, rowid")  # noqa: S608  a constant
        return [_anchor_record(row) for row in rows]

    def add_intermediate(self, certificate: bytes) -> bool:
        check_certificate(certificate)
        with transaction(self._connection) as connection:
            added = connection.execute(
                "INSERT INTO intermediate (id, certificate, created_at) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING",
                (hashlib.sha256(certificate).hexdigest(), certificate, self._clock()),
            )
            return added.rowcount > 0

    def intermediates(self) -> list[bytes]:
        return [row[0] for row in self._read("SELECT certificate FROM intermediate ORDER BY created_at, rowid")]

    def counts(self) -> Counts:
        (row,) = self._read(
            "SELECT count(*), coalesce(sum(device_count), 0), "
            "(SELECT count(*) FROM credential WHERE kind = 'psk'), "
            "(SELECT count(*) FROM credential WHERE kind = 'x509'), "
            "(SELECT count(*) FROM trust_anchor) FROM tenant"
        )
        return Counts(*row)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, statement: str, values: tuple[object, ...] = ()) -> list[Any]:
        with translated():
            return self._connection.execute(statement, values).fetchall()

    def _provisionable(self, tenant_id: str, device_id: str, *, create: bool) -> CertificateCredential | Device | None:
        """What a first certificate meets: a credential after all, a device without one, or None for one to create.

        Raises what `provision_device` raises.
        """
        found = self.find_certificate_device(tenant_id, device_id)
        if found is not None:
            return found
        device = self._find(tenant_id, device_id)
        if device is None:
            if not create:
                raise NotFound(f"device '{device_id}' does not exist in tenant '{tenant_id}'")
            self._check_room(tenant_id)
            return None
        if device.status is not DeviceStatus.ACTIVE:
            raise NotActive(device)
        if self._count("SELECT count(*) FROM credential WHERE tenant_id = ? AND device_id = ?", device):
            raise Conflict(f"device '{device_id}' exists, but was never allowed to use certificates")
        return device

    def _find(self, tenant_id: str, device_id: str) -> Device | None:
        row = self._connection.execute(_FIND_DEVICE, (tenant_id, device_id)).fetchone()
        return None if row is None else _device(row)

    def _existing(self, tenant_id: str, device_id: str) -> Device:
        device = self._find(tenant_id, device_id)
        if device is None:
            raise NotFound(
                f"device '{device_id}' does not exist in tenant '{tenant_id}'; add it with `gateway device add`"
            )
        return device

    def _anchor(self, anchor_id: str) -> AnchorRecord:
        row = self._connection.execute(
            f"SELECT {_ANCHOR} FROM trust_anchor WHERE id = ?",  # noqa: S608  a constant
            (anchor_id,),
        ).fetchone()
        if row is None:
            raise NotFound(f"trust anchor '{anchor_id}' does not exist; add it with `gateway ca trust FILE`")
        return _anchor_record(row)

    def _tenant_size(self, tenant_id: str) -> int:
        row = self._connection.execute("SELECT device_count FROM tenant WHERE id = ?", (tenant_id,)).fetchone()
        if row is None:
            raise NotFound(f"tenant '{tenant_id}' does not exist")
        return int(row[0])

    def _check_room(self, tenant_id: str) -> None:
        if self._tenant_size(tenant_id) >= MAX_DEVICES_PER_TENANT:
            raise LimitReached(
                f"tenant '{tenant_id}' has {MAX_DEVICES_PER_TENANT} devices, the most there may be; delete unused ones"
            )

    def _count(self, statement: str, device: Device) -> int:
        return int(self._connection.execute(statement, (device.tenant_id, device.id)).fetchone()[0])

    def _insert_device(self, tenant_id: str, device_id: str, status: DeviceStatus, *, auto_provisioned: bool) -> Device:
        self._check_room(tenant_id)
        if self._find(tenant_id, device_id) is not None:
            raise Conflict(f"device '{device_id}' exists already in tenant '{tenant_id}'")
        now = self._clock()
        self._connection.execute(
            "INSERT INTO device (tenant_id, id, status, auto_provisioned, created_at, updated_at) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (tenant_id, device_id, status.value, auto_provisioned, now, now),
        )
        return Device(device_id, tenant_id, status, auto_provisioned, now)

    def _insert_psk(self, device: Device, identity: bytes, key: bytes) -> PskCredential:
        taken = self._connection.execute(_FIND_PSK, (identity,)).fetchone()
        if taken:
            raise Conflict(
                f"the PSK identity {shown_identity(identity)} belongs to device '{taken[0]}' already; "
                "choose another one"
            )
        credential_id = self._insert_credential(device, "psk", identity, secret=key)
        return PskCredential(device, key, credential_id, 1, CredentialStatus.ACTIVE)

    def _insert_rpk(self, device: Device, public_key: bytes) -> PublicKeyCredential:
        fingerprint = hashlib.sha256(public_key).digest()
        taken = self._connection.execute(_FIND_RPK, (fingerprint,)).fetchone()
        if taken:
            raise Conflict(
                f"the public key {fingerprint.hex()} belongs to device '{taken[0]}' already; every device needs its own"
            )
        credential_id = self._insert_credential(device, "rpk", fingerprint)
        return PublicKeyCredential(device, credential_id, 1, CredentialStatus.ACTIVE)

    def _insert_certificate(
        self, device: Device, anchor_id: str | None, *, created: bool = False
    ) -> CertificateCredential:
        key = _certificate_key(device.tenant_id, device.id)
        credential_id = self._insert_credential(device, "x509", key, anchor_id=anchor_id)
        return CertificateCredential(device, credential_id, 1, CredentialStatus.ACTIVE, anchor_id, created)

    def _insert_credential(
        self, device: Device, kind: str, key: bytes, *, secret: bytes | None = None, anchor_id: str | None = None
    ) -> str:
        # Random, not counted: a deleted and re-created device must not revive sessions of the old credential.
        credential_id = uuid.uuid4().hex
        now = self._clock()
        self._connection.execute(
            "INSERT INTO credential (id, tenant_id, device_id, kind, lookup_key, secret, anchor_id, status, "
            "created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, 'active', ?, ?)",
            (credential_id, device.tenant_id, device.id, kind, key, secret, anchor_id, now, now),
        )
        return credential_id


def _certificate_key(tenant_id: str, device_id: str) -> bytes:
    # Neither part can hold a NUL (`checks.check_id`), so no two pairs share a key. Anything else is found nowhere.
    return f"{tenant_id}\0{device_id}".encode("utf-8", "surrogatepass")


def _device(row: Any) -> Device:
    # A tenant has thousands of devices, and each row would bring its name anew.
    return Device(row[0], sys.intern(row[1]), _DEVICE_STATUS[row[2]], row[3] == 1, row[4])


def _summary(row: Any) -> CredentialSummary:
    kind, lookup_key = row[1], row[2]
    return CredentialSummary(
        row[0],
        kind,
        lookup_key if kind == "psk" else None,
        row[3],
        row[4],
        _CREDENTIAL_STATUS[row[5]],
        lookup_key.hex() if kind == "rpk" else None,
    )


def _anchor_record(row: Any) -> AnchorRecord:
    return AnchorRecord(row[0], row[1], row[2], row[3], row[4] == 1, row[5] == 1, row[6])
