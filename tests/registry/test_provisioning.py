"""What any registry backend must do: devices that come by themselves, within what the operator said of their CA."""

import threading
from contextlib import ExitStack
from dataclasses import replace

import pytest

from gateway.model import DeviceStatus
from gateway.registry import (
    AnchorPolicy,
    AnchorUsage,
    CertificateCredential,
    Conflict,
    CrlPolicy,
    InvalidValue,
    LimitReached,
    NotActive,
    NotFound,
    Provision,
    Registry,
    TenantBy,
    open_registry,
)
from tests.registry.conftest import Opener

ADMIT = AnchorPolicy(provision=Provision.ACTIVE)
CERTIFICATE = b"stands for DER"
NOON = 1_700_049_600.0  # 2023-11-15T12:00:00Z
DAY_S = 86_400


@pytest.fixture
def at(registry: Registry) -> list[float]:
    """The registry's clock: the last item is the time."""
    times = [NOON]
    registry._clock = lambda: times[-1]
    return times


def provision(
    registry: Registry, device_id: str, policy: AnchorPolicy, *, serial: str = "1f", tenant: str = "default"
) -> CertificateCredential:
    return registry.provision_device(tenant, device_id, anchor_id="anchor", policy=policy, serial=serial)


def came(registry: Registry, device_id: str, policy: AnchorPolicy, *, serial: str = "1f") -> tuple[str, str]:
    """The status of a new device, and why."""
    assert provision(registry, device_id, policy, serial=serial).created
    record = registry.device_record(device_id)
    return record.device.status.value, record.note


def test_pending_devices_wait_for_an_operator(registry: Registry) -> None:
    policy = AnchorPolicy(provision=Provision.PENDING)
    assert came(registry, "dev", policy) == ("pending", "")
    again = provision(registry, "dev", policy)
    assert (again.created, again.device.status) == (False, DeviceStatus.PENDING)
    registry.set_status("dev", DeviceStatus.ACTIVE)
    assert provision(registry, "dev", policy).device.status is DeviceStatus.ACTIVE


def test_a_device_that_waits_without_a_credential_gets_none(registry: Registry) -> None:
    registry.add_device("dev", status=DeviceStatus.PENDING)
    with pytest.raises(NotActive, match="is pending"):
        provision(registry, "dev", ADMIT)
    assert registry.credentials("dev") == []


def test_a_quota_in_all(registry: Registry, at: list[float]) -> None:
    policy = replace(ADMIT, max_devices=2)
    assert came(registry, "a", policy) == came(registry, "b", policy) == ("active", "")
    assert came(registry, "c", policy) == ("quarantined", "the anchor has admitted its 2 devices")
    at.append(NOON + 10 * DAY_S)
    assert came(registry, "d", policy)[0] == "quarantined"
    # Deleted devices, and an anchor that was taken away between, count as before.
    registry.delete_device("a")
    assert came(registry, "a", policy)[0] == "quarantined"
    assert registry.anchor_usage("anchor") == AnchorUsage(admitted=2, admitted_today=0, quarantined=3)
    assert registry.anchor_usage("other") == AnchorUsage(0, 0, 0)


def test_a_quota_by_the_day(registry: Registry, at: list[float]) -> None:
    policy = replace(ADMIT, max_devices_per_day=1)
    assert came(registry, "a", policy)[0] == "active"
    assert came(registry, "b", policy) == ("quarantined", "the anchor has admitted its 1 devices of today")
    at.append(NOON + DAY_S / 2)  # the next day (UTC) has begun
    assert came(registry, "c", policy)[0] == "active"
    assert registry.anchor_usage("anchor") == AnchorUsage(admitted=2, admitted_today=1, quarantined=1)


def test_a_time_to_come(registry: Registry, at: list[float]) -> None:
    policy = replace(ADMIT, provision_from=NOON + 10, provision_until=NOON + 20)
    assert came(registry, "early", policy) == ("quarantined", "the anchor does not admit devices yet")
    at.append(NOON + 10)
    assert came(registry, "first", policy)[0] == "active"
    at.append(NOON + 20)
    assert came(registry, "last", policy)[0] == "active"
    at.append(NOON + 20.5)
    assert came(registry, "late", policy) == ("quarantined", "the anchor no longer admits devices")


def test_a_pattern_that_names_must_match_whole(registry: Registry) -> None:
    policy = replace(ADMIT, name_pattern="meter-[0-9]+")
    assert came(registry, "meter-12", policy)[0] == "active"
    for name in ("meter-", "Meter-1", "xmeter-1", "meter-1x"):
        assert came(registry, name, policy) == ("quarantined", "its name does not match the anchor's pattern")


def test_a_manifest_of_names_and_serials(registry: Registry) -> None:
    anchor = registry.add_trust_anchor(CERTIFICATE, "CN=Root")
    assert registry.set_manifest(anchor.id, ["gone"]) == 1
    assert registry.set_manifest(anchor.id, ["dev-1", "a1", "dev-1"]) == 2
    policy = replace(ADMIT, manifest=True)

    def status(name: str, serial: str) -> str:
        made = registry.provision_device("default", name, anchor_id=anchor.id, policy=policy, serial=serial)
        return made.device.status.value

    assert status("dev-1", "ff") == status("dev-2", "a1") == "active"
    assert status("gone", "ff") == status("dev-3", "a") == "quarantined"
    assert registry.device_record("dev-3").note == "it is not in the anchor's manifest"
    assert registry.set_manifest(anchor.id, []) == 0
    with pytest.raises(NotFound):
        registry.set_manifest("ghost", ["x"])
    with pytest.raises(InvalidValue):
        registry.set_manifest(anchor.id, ["a b"])


def test_quarantine_is_bounded(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.registry.provisioning.MAX_QUARANTINED_PER_ANCHOR", 2)
    policy = replace(ADMIT, max_devices=1)
    for name in ("a", "b", "c"):
        provision(registry, name, policy)
    for name in ("d", "e"):
        with pytest.raises(LimitReached, match="--status quarantined"):
            provision(registry, name, policy)
    assert registry.counts().devices == 3
    assert not provision(registry, "b", policy).created


def test_a_tenant_that_is_not_there(registry: Registry) -> None:
    with pytest.raises(NotFound, match="tenant 'ghost'"):
        provision(registry, "dev", ADMIT, tenant="ghost")


def test_two_connections_that_provision_the_same_device_at_once(registry_url: str) -> None:
    # Both have looked, and found nothing, before either writes.
    policy = replace(ADMIT, max_devices=8)
    with ExitStack() as stack:
        stores = [stack.enter_context(open_registry(registry_url, create=True)) for _ in range(4)]
        gate = threading.Barrier(len(stores))
        made: list[list[CertificateCredential]] = [[] for _ in stores]

        def work(number: int) -> None:
            for name in range(10):
                gate.wait(30)
                made[number].append(provision(stores[number], f"dev{name}", policy))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(len(stores))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for together in zip(*made, strict=True):
            assert len({each.credential_id for each in together}) == 1
            assert sum(each.created for each in together) == 1
        # Nor is a quota exceeded by coming at once.
        assert stores[0].anchor_usage("anchor") == AnchorUsage(8, 8, 2)
        counts = stores[0].counts()
        assert (counts.devices, counts.certificate_credentials) == (10, 10)


# The policy itself.


def test_a_policy_is_kept_as_it_was_said(open_store: Opener) -> None:
    policy = AnchorPolicy(
        strict=True,
        provision=Provision.PENDING,
        webhook="https://example.com/admit",
        tenant_by=TenantBy.SNI,
        identity_rule="cn",
        crl=CrlPolicy.FAIL_CLOSED,
        crl_url="http://example.com/crl",
        expired_grace_s=1.5,
        max_devices=1,
        max_devices_per_day=2,
        provision_from=3.0,
        provision_until=4.0,
        name_pattern="x+",
        manifest=True,
    )
    here = open_store()
    here.add_tenant("acme")
    added = here.add_trust_anchor(CERTIFICATE, "CN=Root", tenant_ids=["default", "acme"], policy=policy)
    assert added.policy == policy
    assert added.tenant_ids == ("acme", "default")
    assert open_store().trust_anchors() == [added]
    changed = here.set_trust_anchor(added.id, tenant_ids=["acme"])
    assert (changed.policy, changed.tenant_ids) == (policy, ("acme",))
    assert open_store().trust_anchors() == [changed]


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (AnchorPolicy(name_pattern="("), "no regular expression"),
        (AnchorPolicy(name_pattern="acme-([a-z0-9]+-?)+"), "could take very long"),
        (AnchorPolicy(webhook="ftp://x"), "https://"),
        (AnchorPolicy(webhook="http://example.com"), "needs https"),
        (AnchorPolicy(webhook="http://127.example.com/"), "needs https"),
        (AnchorPolicy(webhook="http://127.0.0.1:80@example.com/"), "needs https"),
        (AnchorPolicy(webhook="http://[::1/"), "needs https"),
        (AnchorPolicy(webhook="http://localhost.example.com/"), "needs https"),
        (AnchorPolicy(crl_url="file:///etc/passwd"), "https://"),
        (AnchorPolicy(provision_from=2.0, provision_until=1.0), "later"),
    ],
)
def test_policies_that_are_refused(registry: Registry, policy: AnchorPolicy, text: str) -> None:
    with pytest.raises(InvalidValue, match=text):
        registry.add_trust_anchor(CERTIFICATE, "CN=Root", policy=policy)
    anchor = registry.add_trust_anchor(CERTIFICATE, "CN=Root")
    with pytest.raises(InvalidValue, match=text):
        registry.set_trust_anchor(anchor.id, policy=policy)
    assert registry.trust_anchors() == [anchor]


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "127.1.2.3", "localhost", "[::1]:80", "user:word@localhost"])
def test_a_webhook_on_this_machine_needs_no_https(registry: Registry, host: str) -> None:
    policy = AnchorPolicy(webhook=f"http://{host}/admit")
    assert registry.add_trust_anchor(CERTIFICATE, "CN=Root", policy=policy).policy == policy


def test_an_anchor_of_several_tenants_says_how_they_are_told_apart(registry: Registry) -> None:
    registry.add_tenant("acme")
    for names, text in ((["default", "acme"], "tenant_by"), ([], "at least one tenant")):
        with pytest.raises(InvalidValue, match=text):
            registry.add_trust_anchor(CERTIFICATE, "CN=Root", tenant_ids=names)
    with pytest.raises(NotFound, match="ghost"):
        registry.add_trust_anchor(CERTIFICATE, "CN=Root", tenant_ids=["ghost"])
    anchor = registry.add_trust_anchor(CERTIFICATE, "CN=Root")
    with pytest.raises(InvalidValue):
        registry.set_trust_anchor(anchor.id, tenant_ids=["default", "acme"])
    with pytest.raises(NotFound):
        registry.set_trust_anchor(anchor.id, tenant_ids=["ghost"])
    assert registry.trust_anchors() == [anchor]


def test_a_device_may_be_bound_to_an_anchor_of_several_tenants(registry: Registry) -> None:
    registry.add_tenant("acme")
    registry.add_tenant("other")
    anchor = registry.add_trust_anchor(
        CERTIFICATE, "CN=Root", tenant_ids=["default", "acme"], policy=AnchorPolicy(tenant_by=TenantBy.SNI)
    )
    for tenant in ("acme", "default"):
        registry.add_device("dev", tenant_id=tenant)
        assert registry.allow_certificate("dev", tenant_id=tenant, anchor_id=anchor.id).anchor_id == anchor.id
    registry.add_device("dev", tenant_id="other")
    with pytest.raises(Conflict):
        registry.allow_certificate("dev", tenant_id="other", anchor_id=anchor.id)
