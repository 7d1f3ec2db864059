"""What every registry backend does. SQLite is the first; the contract tests run against each."""

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from gateway.model import DEFAULT_TENANT, Device, DeviceStatus
from gateway.registry.records import (
    AnchorRecord,
    CertificateCredential,
    Counts,
    CredentialStatus,
    CredentialSummary,
    PskCredential,
    PublicKeyCredential,
)


class HandshakeReads(Protocol):
    """What a handshake asks. Every method may raise `Unavailable`."""

    def find_psk(self, identity: bytes) -> PskCredential | None:
        """The pre-shared key of an identity, compared byte for byte; None when there is none."""

    def find_rpk(self, fingerprint: bytes) -> PublicKeyCredential | None:
        """The device of a raw public key, by the SHA-256 of its SubjectPublicKeyInfo; None when there is none."""

    def find_certificate_device(self, tenant_id: str, device_id: str) -> CertificateCredential | None:
        """A device with its permission to use certificates; None when either is missing."""

    def provision_device(
        self, tenant_id: str, device_id: str, *, anchor_id: str, create: bool
    ) -> CertificateCredential:
        """Answers a certificate of a device without a certificate credential, in one transaction.

        A device that does not exist is created, bound to the anchor, if `create` says so. A device that an operator
        added without any credential takes its first certificate, and is bound to that one's anchor. Two calls at once
        for one device give the same credential; `created` is true for one of them only.

        Whatever is refused is refused by reading, without waiting for another process's write.

        Raises:
            NotFound: The device does not exist and `create` is false.
            NotActive: The device exists without a certificate credential, and is disabled, pending or quarantined.
            Conflict: The device exists with other credentials only: a certificate was never allowed for it.
            InvalidValue: The id cannot be a device's.
            LimitReached: The tenant is full.
        """

    def anchor_revision(self) -> int:
        """A number that changes whenever trust anchors or intermediates change, in whichever process."""

    def trust_anchors(self) -> list[AnchorRecord]:
        """All trust anchors, oldest first."""

    def intermediates(self) -> Sequence[bytes]:
        """The stored intermediates, DER."""

    def own_changes(self) -> int:
        """A number that changes with every change made through this object. Costs nothing."""

    def foreign_changes(self) -> int:
        """A number that changes with every change of the store by anybody else, in whichever process."""


class Registry(HandshakeReads, Protocol):
    """Tenants, devices, their credentials, and trust anchors.

    Changes are atomic and visible to other processes' next read. Every method may raise `Unavailable`.
    """

    def add_tenant(self, tenant_id: str, name: str = "") -> None:
        """Adds a tenant; the default one exists from the start.

        Raises:
            Conflict: It exists.
            InvalidValue: The id is not acceptable.
        """

    def tenants(self) -> list[str]:
        """The ids of all tenants, sorted."""

    def add_device(
        self, device_id: str, *, tenant_id: str = DEFAULT_TENANT, status: DeviceStatus = DeviceStatus.ACTIVE
    ) -> Device:
        """Adds a device without credentials: it gets an `add_psk`, or is bound by the first certificate that names it.

        Raises:
            Conflict: It exists.
            InvalidValue: The id is not acceptable.
            LimitReached: The tenant is full.
            NotFound: The tenant does not exist.
        """

    def add_psk_device(
        self,
        device_id: str,
        identity: bytes,
        key: bytes,
        *,
        tenant_id: str = DEFAULT_TENANT,
        allow_short_key: bool = False,
    ) -> PskCredential:
        """`add_device` and `add_psk` in one transaction; raises what they raise."""

    def device(self, device_id: str, *, tenant_id: str = DEFAULT_TENANT) -> Device:
        """One device.

        Raises:
            NotFound: It does not exist.
        """

    def list_devices(
        self, *, tenant_id: str | None = None, after: str | None = None, limit: int | None = None
    ) -> list[Device]:
        """Devices sorted by tenant and id.

        Args:
            tenant_id: Of this tenant only.
            after: Only those whose id sorts after this one; for paging within a tenant.
            limit: At most so many.
        """

    def set_status(self, device_id: str, status: DeviceStatus, *, tenant_id: str = DEFAULT_TENANT) -> Device:
        """Enables, disables or quarantines a device.

        Raises:
            NotFound: It does not exist.
        """

    def delete_device(self, device_id: str, *, tenant_id: str = DEFAULT_TENANT) -> None:
        """Deletes a device with its credentials.

        Raises:
            NotFound: It does not exist.
        """

    def add_psk(
        self,
        device_id: str,
        identity: bytes,
        key: bytes,
        *,
        tenant_id: str = DEFAULT_TENANT,
        allow_short_key: bool = False,
    ) -> PskCredential:
        """Gives a device a pre-shared key; a device may have several.

        Args:
            device_id: The device.
            identity: 1-256 bytes, any; unique in the whole registry.
            key: 16-64 bytes.
            tenant_id: The device's tenant.
            allow_short_key: Takes keys below 16 bytes, for devices that cannot be changed.

        Raises:
            Conflict: The identity is taken.
            InvalidValue: The identity's or the key's length is not acceptable.
            NotFound: The device does not exist.
        """

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

    def add_rpk_device(
        self, device_id: str, public_key: bytes, *, tenant_id: str = DEFAULT_TENANT
    ) -> PublicKeyCredential:
        """`add_device` and `add_rpk` in one transaction; raises what they raise."""

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

    def credentials(self, device_id: str, *, tenant_id: str = DEFAULT_TENANT) -> list[CredentialSummary]:
        """The credentials of a device, oldest first.

        Raises:
            NotFound: The device does not exist.
        """

    def set_credential_status(self, credential_id: str, status: CredentialStatus) -> None:
        """Retires or revokes a credential; its version grows.

        Raises:
            NotFound: It does not exist.
        """

    def add_trust_anchor(
        self,
        certificate: bytes,
        subject: str,
        *,
        tenant_id: str = DEFAULT_TENANT,
        auto_provision: bool = False,
        strict: bool = False,
    ) -> AnchorRecord:
        """Trusts a CA to name a tenant's devices.

        Args:
            certificate: DER. Whether it is a usable CA is for the caller to know.
            subject: Its subject as text, for lists.
            tenant_id: The tenant.
            auto_provision: Devices seen for the first time under it are created.
            strict: CAs under it must follow the web PKI's profile.

        Raises:
            Conflict: It is trusted already, in whichever tenant.
            InvalidValue: It is empty or too large.
            NotFound: The tenant does not exist.
        """

    def set_auto_provision(self, anchor_id: str, auto_provision: bool) -> AnchorRecord:
        """Switches auto-provisioning of an anchor.

        Raises:
            NotFound: It does not exist.
        """

    def delete_trust_anchor(self, anchor_id: str) -> None:
        """No longer trusts a CA. Devices bound to it stay, and are refused until allowed anew.

        Raises:
            NotFound: It does not exist.
        """

    def add_intermediate(self, certificate: bytes) -> bool:
        """Keeps an intermediate CA's certificate for devices that do not send it; it is not trusted by that.

        Args:
            certificate: DER.

        Returns:
            Whether it was new.

        Raises:
            InvalidValue: It is empty or too large.
        """

    def counts(self) -> Counts:
        """How much there is."""

    def close(self) -> None:
        """Closes the store; a second call does nothing."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
