"""What a handshake would say of a chain, without anything being changed by asking."""

import time
from collections.abc import Sequence
from dataclasses import replace

from gateway.identity.service import IdentityService
from gateway.model import Device, DeviceStatus, Principal
from gateway.registry import (
    AnchorPolicy,
    CachedReads,
    CertificateCredential,
    Conflict,
    CredentialStatus,
    NotActive,
    NotFound,
    Provision,
    Registry,
    Steps,
    Trust,
    run,
)
from gateway.registry.provisioning import objection


def rehearse(registry: Registry, chain_der: Sequence[bytes], server_name: str | None = None) -> Principal:
    """The answer of `IdentityService.certificate`; its `created` says that the device would be.

    No webhook is asked, and no manifest looked at: both may still refuse or quarantine a device that would be created.

    Args:
        registry: Where devices and trust anchors are.
        chain_der: DER certificates, the device's own first.
        server_name: SNI, if the device sends it.

    Raises:
        IdentityRefused: As there.
        RegistryError: The trust anchors cannot be read.
    """
    return run(IdentityService(_Rehearsal(registry)).certificate(chain_der, server_name))


class _Rehearsal(CachedReads):
    """A registry that answers as it would, and writes nothing."""

    def __init__(self, store: Registry) -> None:
        super().__init__(store)
        self._registry = store

    def trust(self) -> Trust:
        trust = super().trust()
        quiet = [replace(anchor, policy=replace(anchor.policy, webhook="")) for anchor in trust.anchors]
        return replace(trust, anchors=quiet)

    def provision_device(
        self, tenant_id: str, device_id: str, *, anchor_id: str, policy: AnchorPolicy, serial: str = ""
    ) -> Steps[CertificateCredential]:
        """As `Registry.provision_device`, with the credential that it would make."""
        yield from ()
        try:
            device = self._registry.device(device_id, tenant_id=tenant_id)
        except NotFound:
            if policy.provision is Provision.OFF:
                raise
            device = Device(device_id, tenant_id, self._status(device_id, anchor_id, policy))
            return CertificateCredential(device, "", 0, CredentialStatus.ACTIVE, anchor_id, created=True)
        if device.status is not DeviceStatus.ACTIVE:
            raise NotActive(device)
        if self._registry.credentials(device_id, tenant_id=tenant_id):
            raise Conflict(f"device '{device_id}' exists, but was never allowed to use certificates")
        return CertificateCredential(device, "", 0, CredentialStatus.ACTIVE, anchor_id)

    def _status(self, device_id: str, anchor_id: str, policy: AnchorPolicy) -> DeviceStatus:
        usage = self._registry.anchor_usage(anchor_id)
        if objection(policy, usage, device_id, time.time(), expected=True):
            return DeviceStatus.QUARANTINED
        return DeviceStatus.PENDING if policy.provision is Provision.PENDING else DeviceStatus.ACTIVE
