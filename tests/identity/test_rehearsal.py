"""Asking beforehand: the same answer as a handshake's, and nothing changed by asking."""

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.identity import IdentityRefused, IdentityService, Refusal, rehearse
from gateway.model import DeviceStatus
from gateway.pki import create_root, issue_device
from gateway.registry import AnchorPolicy, CachedReads, Provision, Registry, open_registry, run

ROOT = create_root("Root")
DEVICE = issue_device(ROOT, "dev-1")
OTHER = create_root("Other")


def registry_with(policy: AnchorPolicy | None) -> Registry:
    registry = open_registry("sqlite://", create=True)
    if policy is not None:
        der = ROOT.certificate.public_bytes(Encoding.DER)
        registry.add_trust_anchor(der, "CN=Root", tenant_ids=("default",), policy=policy)
    return registry


def verdict(registry: Registry, *, rehearsed: bool) -> Refusal | tuple[str, str, bool]:
    chain = DEVICE.presented_der
    try:
        if rehearsed:
            found = rehearse(registry, chain)
        else:
            found = run(IdentityService(CachedReads(registry)).certificate(chain))
    except IdentityRefused as refused:
        return refused.reason
    return found.device.id, found.anchor_id or "", found.created


ACTIVE = AnchorPolicy(provision=Provision.ACTIVE)


@pytest.mark.parametrize(
    ("policy", "device", "credential"),
    [
        (None, None, ""),
        (AnchorPolicy(), None, ""),
        (ACTIVE, None, ""),
        (AnchorPolicy(provision=Provision.PENDING), None, ""),
        (AnchorPolicy(provision=Provision.ACTIVE, name_pattern="meter-.*"), None, ""),
        (AnchorPolicy(provision=Provision.ACTIVE, provision_until=1.0), None, ""),
        (AnchorPolicy(), DeviceStatus.ACTIVE, ""),
        (AnchorPolicy(), DeviceStatus.DISABLED, ""),
        (AnchorPolicy(), DeviceStatus.ACTIVE, "psk"),
        (AnchorPolicy(), DeviceStatus.ACTIVE, "certificate"),
        (ACTIVE, DeviceStatus.QUARANTINED, "certificate"),
        (ACTIVE, DeviceStatus.ACTIVE, "certificate of another CA"),
    ],
    ids=str,
)
def test_the_answer_of_a_handshake_without_its_changes(
    policy: AnchorPolicy | None, device: DeviceStatus | None, credential: str
) -> None:
    with registry_with(policy) as registry:
        if device is not None:
            registry.add_device("dev-1")
            if credential == "psk":
                registry.add_psk("dev-1", b"dev-1", bytes(16))
            elif credential == "certificate":
                registry.allow_certificate("dev-1")
            elif credential:
                der = OTHER.certificate.public_bytes(Encoding.DER)
                other = registry.add_trust_anchor(der, "CN=Other", tenant_ids=("default",), policy=AnchorPolicy())
                registry.allow_certificate("dev-1", anchor_id=other.id)
            registry.set_status("dev-1", device)
        before = registry.counts(), registry.touched, registry.list_devices()
        said = verdict(registry, rehearsed=True)
        assert said == verdict(registry, rehearsed=True)
        assert (registry.counts(), registry.touched, registry.list_devices()) == before
        assert said == verdict(registry, rehearsed=False)


def test_no_webhook_is_asked() -> None:
    """One that is not there would refuse."""
    policy = AnchorPolicy(provision=Provision.ACTIVE, webhook="http://127.0.0.1:9/")
    with registry_with(policy) as registry:
        assert verdict(registry, rehearsed=True) == ("dev-1", registry.trust_anchors()[0].id, True)
