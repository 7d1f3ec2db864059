"""What devices prove themselves with: pre-shared keys, raw public keys, and the permission to use certificates."""

import hashlib
import uuid
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from gateway.model import DEFAULT_TENANT, Device
from gateway.registry.checks import check_id, check_psk, check_public_key, shown_identity
from gateway.registry.devices import Devices
from gateway.registry.errors import Conflict, NotFound
from gateway.registry.generations import split_identity
from gateway.registry.records import (
    CertificateCredential,
    CredentialStatus,
    CredentialSummary,
    PskCredential,
    PublicKeyCredential,
    Standing,
)
from gateway.registry.rows import CREDENTIAL_COLUMNS, CREDENTIAL_STATUS, DEVICE_COLUMNS, to_device, to_summary
from gateway.registry.sealing import Sealing, sealed_row
from gateway.registry.tables import anchor_tenant, credential, device, trust_anchor
from gateway.registry.trail import DEVICE, changed

_OF_DEVICE = (device.c.tenant_id == credential.c.tenant_id) & (device.c.id == credential.c.device_id)

# What a handshake looks up: constants, so that the database prepares each of them once.
_FOUND = (
    select(
        *DEVICE_COLUMNS,
        credential.c.id,
        credential.c.version,
        credential.c.status,
        credential.c.anchor_id,
        credential.c.secret,
        credential.c.key_id,
        credential.c.generation,
        credential.c.not_before,
        credential.c.not_after,
    )
    .join_from(credential, device, _OF_DEVICE)
    .where(
        credential.c.kind == bindparam("kind"),
        credential.c.scope == bindparam("scope"),
        credential.c.lookup_key == bindparam("key"),
    )
)

_STANDING = (
    select(*DEVICE_COLUMNS, credential.c.version, credential.c.status, credential.c.not_after)
    .join_from(credential, device, _OF_DEVICE)
    .where(credential.c.id == bindparam("credential_id"))
)


class Credentials(Devices, Sealing):
    """Adding, finding and changing them."""

    def find_psk(self, tenant_id: str, identity: bytes) -> PskCredential | None:
        """The pre-shared key of an identity of a tenant, compared byte for byte; None when there is none."""
        row = self._database.row(_FOUND, {"kind": "psk", "scope": tenant_id, "key": identity})
        return None if row is None else self._psk(row, identity)

    def find_rpk(self, fingerprint: bytes) -> PublicKeyCredential | None:
        """The device of a raw public key, by the SHA-256 of its SubjectPublicKeyInfo; None when there is none."""
        row = self._database.row(_FOUND, {"kind": "rpk", "scope": "", "key": fingerprint})
        if row is None:
            return None
        return PublicKeyCredential(to_device(row), row[7], row[8], CREDENTIAL_STATUS[row[9]])

    def find_certificate_device(self, tenant_id: str, device_id: str) -> CertificateCredential | None:
        """A device with its permission to use certificates; None when either is missing."""
        row = self._database.row(_FOUND, {"kind": "x509", "scope": tenant_id, "key": _certificate_key(device_id)})
        if row is None:
            return None
        return CertificateCredential(to_device(row), row[7], row[8], CREDENTIAL_STATUS[row[9]], row[10])

    def standing(self, credential_id: str) -> Standing | None:
        """What became of a credential and its device; None when either is gone."""
        row = self._database.row(_STANDING, {"credential_id": credential_id})
        if row is None:
            return None
        return Standing(to_device(row), row[7], CREDENTIAL_STATUS[row[8]], row[9])

    def add_psk_device(
        self,
        device_id: str,
        identity: bytes,
        key: bytes | None,
        *,
        tenant_id: str = DEFAULT_TENANT,
        allow_short_key: bool = False,
    ) -> PskCredential:
        """`add_device` and `add_psk` in one transaction; raises what they raise."""
        check_id("device", device_id)
        check_psk(identity, key, allow_short_key=allow_short_key)

        def work(connection: Connection) -> PskCredential:
            return self._insert_psk(connection, self._add_device(connection, tenant_id, device_id), identity, key)

        return self._write(work)

    def add_psk(
        self,
        device_id: str,
        identity: bytes,
        key: bytes | None,
        *,
        tenant_id: str = DEFAULT_TENANT,
        allow_short_key: bool = False,
    ) -> PskCredential:
        """Gives a device a pre-shared key; a device may have several.

        Args:
            device_id: The device.
            identity: 1-256 bytes, any; unique in its tenant.
            key: 16-64 bytes; None for the derived one, of which nothing is stored.
            tenant_id: The device's tenant.
            allow_short_key: Takes keys below 16 bytes, for devices that cannot be changed.

        Raises:
            Conflict: The identity is taken.
            InvalidValue: The identity's or the key's length is not acceptable; there is no key to derive from.
            NotFound: The device does not exist.
        """
        check_psk(identity, key, allow_short_key=allow_short_key)

        def work(connection: Connection) -> PskCredential:
            found = self._existing_device(connection, tenant_id, device_id)
            return self._insert_psk(connection, found, identity, key)

        return self._write(work)

    def add_rpk(self, device_id: str, public_key: bytes, *, tenant_id: str = DEFAULT_TENANT) -> PublicKeyCredential:
        """Lets a device prove itself by a raw public key (RFC 7250); a device may have several.

        Args:
            device_id: The device.
            public_key: Its SubjectPublicKeyInfo, DER; unique in the whole registry. Whether it is a usable key is for
                the caller to know.
            tenant_id: The device's tenant.

        Raises:
            Conflict: The key is taken.
            InvalidValue: It is empty or too large.
            NotFound: The device does not exist.
        """
        check_public_key(public_key)

        def work(connection: Connection) -> PublicKeyCredential:
            return self._insert_rpk(connection, self._existing_device(connection, tenant_id, device_id), public_key)

        return self._write(work)

    def add_rpk_device(
        self, device_id: str, public_key: bytes, *, tenant_id: str = DEFAULT_TENANT
    ) -> PublicKeyCredential:
        """`add_device` and `add_rpk` in one transaction; raises what they raise."""
        check_id("device", device_id)
        check_public_key(public_key)

        def work(connection: Connection) -> PublicKeyCredential:
            return self._insert_rpk(connection, self._add_device(connection, tenant_id, device_id), public_key)

        return self._write(work)

    def allow_certificate(
        self, device_id: str, *, tenant_id: str = DEFAULT_TENANT, anchor_id: str | None = None
    ) -> CertificateCredential:
        """Lets a device use certificates, beside what it has; called again, sets the anchor anew.

        The one way to a device that is bound to no anchor: its first certificate does not bind it then.

        Args:
            device_id: The device.
            tenant_id: Its tenant.
            anchor_id: The only trust anchor that may name the device; None for any of the tenant's.

        Raises:
            Conflict: The anchor is another tenant's.
            NotFound: The device or the anchor does not exist.
        """

        def work(connection: Connection) -> CertificateCredential:
            found = self._existing_device(connection, tenant_id, device_id)
            if anchor_id is not None:
                _check_anchor(connection, anchor_id, tenant_id, device_id)
            there = connection.execute(
                select(credential.c.id, credential.c.version).where(
                    credential.c.kind == "x509",
                    credential.c.scope == tenant_id,
                    credential.c.lookup_key == _certificate_key(device_id),
                )
            ).first()
            self._audit(connection, "certificate.allowed", tenant_id, device_id, anchor=anchor_id)
            if there is None:
                return self._insert_certificate(connection, found, anchor_id)
            self._change_credential(connection, there.id, anchor_id=anchor_id, status="active")
            return CertificateCredential(found, there.id, there.version + 1, CredentialStatus.ACTIVE, anchor_id)

        return self._write(work)

    def credentials(self, device_id: str, *, tenant_id: str = DEFAULT_TENANT) -> list[CredentialSummary]:
        """The credentials of a device, oldest first.

        Raises:
            NotFound: The device does not exist.
        """

        def work(connection: Connection) -> list[CredentialSummary]:
            self._existing_device(connection, tenant_id, device_id)
            return self._of_device(connection, tenant_id, device_id)

        return self._read(work)

    def credential(self, credential_id: str) -> tuple[Device, CredentialSummary]:
        """One credential, and whose it is.

        Raises:
            NotFound: It does not exist.
        """

        def work(connection: Connection) -> tuple[Device, CredentialSummary]:
            row = connection.execute(
                select(credential.c.tenant_id, credential.c.device_id, *CREDENTIAL_COLUMNS).where(
                    credential.c.id == credential_id
                )
            ).first()
            if row is None:
                raise _no_credential(credential_id)
            return self._existing_device(connection, row.tenant_id, row.device_id), to_summary(row)

        return self._read(work)

    def set_credential_status(self, credential_id: str, status: CredentialStatus) -> None:
        """Retires or revokes a credential; its version grows.

        Raises:
            NotFound: It does not exist.
        """

        def work(connection: Connection) -> None:
            self._change_credential(connection, credential_id, status=status.value)

        self._write(work)

    def _of_device(self, connection: Connection, tenant_id: str, device_id: str) -> list[CredentialSummary]:
        rows = connection.execute(
            select(*CREDENTIAL_COLUMNS)
            .where(credential.c.tenant_id == tenant_id, credential.c.device_id == device_id)
            .order_by(credential.c.number)
        )
        return [to_summary(row) for row in rows]

    def _change_credential(self, connection: Connection, credential_id: str, **values: Any) -> None:
        """Changes a row in a way that ends what began with it: sessions and tickets remember the version.

        Raises:
            NotFound: It does not exist.
        """
        row = connection.execute(
            select(credential.c.tenant_id, credential.c.device_id, credential.c.kind, credential.c.status).where(
                credential.c.id == credential_id
            )
        ).first()
        if row is None:
            raise _no_credential(credential_id)
        connection.execute(
            update(credential)
            .where(credential.c.id == credential_id)
            .values(version=credential.c.version + 1, updated_at=self._clock(), **values)
        )
        changed(connection, DEVICE, row.tenant_id, row.device_id)
        status = values.get("status", row.status)
        self._audit(
            connection,
            "credential.changed",
            row.tenant_id,
            row.device_id,
            credential=credential_id,
            kind=row.kind,
            before=row.status,
            status=status,
        )

    def _psk(self, row: Any, identity: bytes) -> PskCredential:
        found, key_id, generation = to_device(row), row[12], row[13]
        if generation is not None:
            key = self._secrets.derive(found.tenant_id, identity, generation)
        else:
            key = self._open_secret(bytes(row[11]), key_id, sealed_row(found.tenant_id, row[7], identity))
        return PskCredential(found, key, row[7], row[8], CREDENTIAL_STATUS[row[9]], row[14], row[15])

    def _insert_psk(
        self,
        connection: Connection,
        owner: Device,
        identity: bytes,
        key: bytes | None,
        status: CredentialStatus = CredentialStatus.ACTIVE,
    ) -> PskCredential:
        taken = self._taken(connection, "psk", owner.tenant_id, identity)
        if taken is not None:
            raise Conflict(
                f"the PSK identity {shown_identity(identity)} belongs to device '{taken}' already; choose another one"
            )
        credential_id, scope = new_credential_id(), owner.tenant_id
        if key is None:
            _, generation = split_identity(identity, scope)
            key = self._secrets.derive(scope, identity, generation)
            values: dict[str, Any] = {"generation": generation}
        else:
            values = self._stored(connection, scope, credential_id, identity, key)
        self._insert_credential(
            connection, owner, "psk", identity, credential_id, scope=scope, status=status.value, **values
        )
        return PskCredential(owner, key, credential_id, 1, status)

    def _stored(
        self, connection: Connection, tenant_id: str, credential_id: str, identity: bytes, key: bytes
    ) -> dict[str, Any]:
        """The columns of a stored key."""
        key_id = self._sealing_key(connection)
        secret, tag = self._secrets.seal(key, key_id, sealed_row(tenant_id, credential_id, identity))
        return {"secret": secret, "key_id": key_id, "key_tag": tag}

    def _insert_rpk(self, connection: Connection, owner: Device, public_key: bytes) -> PublicKeyCredential:
        fingerprint = hashlib.sha256(public_key).digest()
        taken = self._taken(connection, "rpk", "", fingerprint)
        if taken is not None:
            raise Conflict(
                f"the public key {fingerprint.hex()} belongs to device '{taken}' already; every device needs its own"
            )
        credential_id = new_credential_id()
        self._insert_credential(connection, owner, "rpk", fingerprint, credential_id, scope="")
        return PublicKeyCredential(owner, credential_id, 1, CredentialStatus.ACTIVE)

    def _insert_certificate(
        self, connection: Connection, owner: Device, anchor_id: str | None, *, created: bool = False
    ) -> CertificateCredential:
        credential_id = new_credential_id()
        key = _certificate_key(owner.id)
        self._insert_credential(
            connection, owner, "x509", key, credential_id, scope=owner.tenant_id, anchor_id=anchor_id
        )
        return CertificateCredential(owner, credential_id, 1, CredentialStatus.ACTIVE, anchor_id, created)

    def _insert_credential(
        self, connection: Connection, owner: Device, kind: str, key: bytes, credential_id: str, **values: Any
    ) -> None:
        now = self._clock()
        connection.execute(
            insert(credential).values(
                id=credential_id,
                tenant_id=owner.tenant_id,
                device_id=owner.id,
                kind=kind,
                lookup_key=key,
                created_at=now,
                updated_at=now,
                **values,
            )
        )
        self._audit(connection, "credential.added", owner.tenant_id, owner.id, credential=credential_id, kind=kind)

    def _taken(self, connection: Connection, kind: str, scope: str, key: bytes) -> str | None:
        found = connection.execute(
            select(credential.c.device_id).where(
                credential.c.kind == kind, credential.c.scope == scope, credential.c.lookup_key == key
            )
        ).scalar()
        return None if found is None else str(found)


def new_credential_id() -> str:
    """Random, not counted: a deleted and re-created device must not revive sessions of the old credential."""
    return uuid.uuid4().hex


def _no_credential(credential_id: str) -> NotFound:
    return NotFound(f"credential '{credential_id}' does not exist; list them with `gateway device show ID`")


def _certificate_key(device_id: str) -> bytes:
    # A name that cannot be a device's is found nowhere.
    return device_id.encode("utf-8", "surrogatepass")


def _check_anchor(connection: Connection, anchor_id: str, tenant_id: str, device_id: str) -> None:
    if connection.execute(select(1).where(trust_anchor.c.id == anchor_id)).first() is None:
        raise NotFound(f"trust anchor '{anchor_id}' does not exist; add it with `gateway ca trust FILE`")
    tenants = connection.execute(select(anchor_tenant.c.tenant_id).where(anchor_tenant.c.anchor_id == anchor_id))
    names = [row.tenant_id for row in tenants]
    if tenant_id not in names:
        raise Conflict(
            f"the trust anchor {anchor_id} names devices of tenant '{', '.join(sorted(names))}', and device "
            f"'{device_id}' is of tenant '{tenant_id}'; name an anchor of that one"
        )
