"""What any registry backend must do: tenants, what is said of devices, lists of them, and who was seen when."""

import pytest

from gateway.model import DeviceStatus
from gateway.registry import Conflict, CredentialStatus, InvalidValue, LimitReached, NotFound, Registry, TenantLimits
from gateway.registry.policy import OnClone
from tests.registry.conftest import Opener

KEY = bytes(range(16))


# Tenants.


def test_tenant_life(registry: Registry) -> None:
    limits = TenantLimits(max_devices=2, psk_until=2e9, psk_ends_with_certificate=True, on_clone=OnClone.QUARANTINE)
    added = registry.add_tenant("acme", "Acme", sni_names=["B.acme.example", "a.acme.example."], limits=limits)
    assert (added.id, added.name, added.active, added.device_count) == ("acme", "Acme", True, 0)
    assert added.sni_names == ("a.acme.example", "b.acme.example")
    assert added.limits == limits
    assert registry.tenant("acme") == added
    changed = registry.set_tenant("acme", active=False)
    assert (changed.active, changed.name, changed.sni_names, changed.limits) == (
        False,
        "Acme",
        added.sni_names,
        limits,
    )
    changed = registry.set_tenant("acme", active=True, name="Acme Ltd", sni_names=["acme.example"])
    assert (changed.active, changed.name, changed.sni_names) == (True, "Acme Ltd", ("acme.example",))
    assert registry.set_tenant("acme", limits=TenantLimits()).limits == TenantLimits()
    registry.delete_tenant("acme")
    for call in (registry.tenant, registry.delete_tenant, registry.set_tenant):
        with pytest.raises(NotFound, match="'acme'"):
            call("acme")


def test_a_server_name_belongs_to_one_tenant(registry: Registry) -> None:
    registry.add_tenant("acme", sni_names=["acme.example"])
    with pytest.raises(Conflict, match=r"acme\.example belongs to tenant 'acme'"):
        registry.add_tenant("other", sni_names=["ACME.example"])
    with pytest.raises(NotFound):
        registry.tenant("other")
    registry.add_tenant("other")
    with pytest.raises(Conflict):
        registry.set_tenant("other", sni_names=["acme.example"])
    registry.set_tenant("acme", sni_names=["acme.example", "two.example"])  # its own one is no conflict
    registry.delete_tenant("acme")
    assert registry.set_tenant("other", sni_names=["acme.example"]).sni_names == ("acme.example",)


@pytest.mark.parametrize(
    "name", ["", "a b", "-x", "x" * 254, "a\0b", "ä.example", "a..b", "a-.b", ".a", "x" * 64, "x-" * 120, "'"]
)
def test_server_names_that_are_refused(registry: Registry, name: str) -> None:
    with pytest.raises(InvalidValue, match="server name"):
        registry.add_tenant("acme", sni_names=[name])


def test_a_tenant_with_devices_and_the_default_one_stay(registry: Registry) -> None:
    registry.add_tenant("acme")
    registry.add_device("dev", tenant_id="acme")
    with pytest.raises(Conflict, match="1 devices"):
        registry.delete_tenant("acme")
    with pytest.raises(Conflict, match="default"):
        registry.delete_tenant("default")
    registry.delete_device("dev", tenant_id="acme")
    registry.delete_tenant("acme")
    assert [each.id for each in registry.tenants()] == ["default"]


def test_a_tenant_s_own_limit(registry: Registry) -> None:
    registry.add_tenant("acme", limits=TenantLimits(max_devices=1))
    registry.add_device("one", tenant_id="acme")
    with pytest.raises(LimitReached, match="gateway tenant set acme --max-devices"):
        registry.add_psk_device("two", b"two", KEY, tenant_id="acme")
    registry.add_device("two")  # others' limits are their own
    assert registry.tenant("acme").device_count == 1
    registry.set_tenant("acme", limits=TenantLimits(max_devices=2))
    registry.add_device("two", tenant_id="acme")


# What is said of devices.


def test_tags_and_attributes(registry: Registry) -> None:
    added = registry.add_device("dev", tags=["roof", "berlin", "roof"], attributes=[("site", "4"), ("Ort", "Köln 'x'")])
    assert added.tags == ("berlin", "roof")
    assert added.attributes == (("Ort", "Köln 'x'"), ("site", "4"))
    assert registry.device("dev") == added
    changed = registry.set_details("dev", tags=[])
    assert (changed.tags, changed.attributes) == ((), added.attributes)
    changed = registry.set_details("dev", attributes=[])
    assert (changed.tags, changed.attributes) == ((), ())
    with pytest.raises(NotFound):
        registry.set_details("ghost", tags=["x"])


@pytest.mark.parametrize("tag", ["", "a b", '"', "'", "%", "_", "a\0", "ä", "x" * 65])
def test_tags_that_are_refused(registry: Registry, tag: str) -> None:
    with pytest.raises(InvalidValue):
        registry.add_device("dev", tags=[tag])
    with pytest.raises(InvalidValue):
        registry.add_device("dev", attributes=[(tag, "value")])


def test_more_than_a_device_may_have(registry: Registry) -> None:
    registry.add_device("dev", tags=[f"t{n}" for n in range(32)], attributes=[(f"a{n}", "x" * 256) for n in range(32)])
    with pytest.raises(InvalidValue, match="32 tags"):
        registry.set_details("dev", tags=[f"t{n}" for n in range(33)])
    with pytest.raises(InvalidValue, match="32 attributes"):
        registry.set_details("dev", attributes=[(f"a{n}", "") for n in range(33)])
    for value in ("x" * 257, "a\0b"):
        with pytest.raises(InvalidValue, match="no NUL"):
            registry.set_details("dev", attributes=[("a", value)])


def test_a_record_says_why_and_when(registry: Registry) -> None:
    registry.add_device("dev", status=DeviceStatus.PENDING)
    before = registry.device_record("dev")
    assert (before.device.status, before.note, before.last_seen_at) == (DeviceStatus.PENDING, "", None)
    registry.set_status("dev", DeviceStatus.QUARANTINED, note="two at once")
    after = registry.device_record("dev")
    assert (after.device.status, after.note) == (DeviceStatus.QUARANTINED, "two at once")
    assert after.updated_at >= before.updated_at
    with pytest.raises(NotFound):
        registry.device_record("ghost")


def test_a_device_of_another_tenant_is_not_to_be_added(registry: Registry) -> None:
    with pytest.raises(NotFound, match=r"not exist in tenant 'default'; add it with `gateway device add`$"):
        registry.device("dev")
    for name in ("beta", "acme", "delta", "gamma"):
        registry.add_tenant(name)
        registry.add_device("dev", tenant_id=name)
    with pytest.raises(
        NotFound, match=r"not exist in tenant 'default', but in 'acme', 'beta', 'delta': say --tenant acme$"
    ):
        registry.set_details("dev", tags=["x"])


# Lists.


@pytest.fixture
def fleet(registry: Registry) -> Registry:
    registry.add_tenant("acme")
    registry.add_device("a", tags=["roof", "x"])
    registry.add_psk_device("b", b"b", KEY)
    registry.add_device("c", status=DeviceStatus.DISABLED, tags=["roof-2", "oof"])
    registry.add_device("a", tenant_id="acme", tags=["roof"])
    registry.add_rpk_device("B", b"key", tenant_id="acme")
    return registry


def names(registry: Registry, **filters: object) -> list[str]:
    found = registry.list_devices(**filters)  # type: ignore[arg-type]
    return [f"{each.device.tenant_id}/{each.device.id}" for each in found]


def test_lists_are_sorted_byte_by_byte(fleet: Registry) -> None:
    assert names(fleet) == ["acme/B", "acme/a", "default/a", "default/b", "default/c"]


def test_pages_go_on_where_the_last_one_ended(fleet: Registry) -> None:
    pages, after = [], None
    while page := fleet.list_devices(after=after, limit=2):
        pages.append([f"{each.device.tenant_id}/{each.device.id}" for each in page])
        after = page[-1].device.tenant_id, page[-1].device.id
    assert pages == [["acme/B", "acme/a"], ["default/a", "default/b"], ["default/c"]]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"tenant_id": "acme"}, ["acme/B", "acme/a"]),
        ({"status": DeviceStatus.DISABLED}, ["default/c"]),
        ({"tag": "roof"}, ["acme/a", "default/a"]),
        ({"tag": "oof"}, ["default/c"]),
        ({"tag": "%"}, []),
        ({"tag": "r__f"}, []),
        ({"kind": "psk"}, ["default/b"]),
        ({"kind": "rpk"}, ["acme/B"]),
        ({"kind": "x509"}, []),
        ({"tag": "roof", "tenant_id": "acme"}, ["acme/a"]),
        ({"tag": "roof", "kind": "psk"}, []),
        ({"status": DeviceStatus.ACTIVE, "limit": 1}, ["acme/B"]),
    ],
)
def test_filters(fleet: Registry, filters: dict[str, object], found: list[str]) -> None:
    assert names(fleet, **filters) == found


def test_filters_by_credential_pass_over_those_that_are_of_no_use(fleet: Registry) -> None:
    anchor = fleet.add_trust_anchor(b"stands for DER", "CN=Root")
    bound = fleet.allow_certificate("a", anchor_id=anchor.id)
    assert names(fleet, kind="x509") == names(fleet, anchor_id=anchor.id) == ["default/a"]
    assert names(fleet, anchor_id="other") == names(fleet, anchor_id=anchor.id, kind="psk") == []
    fleet.set_credential_status(bound.credential_id, CredentialStatus.REVOKED)
    assert names(fleet, kind="x509") == names(fleet, anchor_id=anchor.id) == []


def test_who_was_seen_when(fleet: Registry) -> None:
    held = fleet.credentials("b")[0]
    assert held.last_used_at is None
    fleet.seen(
        [("default", "a", 100.5), ("default", "b", 200.0), ("acme", "ghost", 1.0)], [(held.credential_id, 200.0)]
    )
    assert fleet.device_record("a").last_seen_at == 100.5
    assert fleet.credentials("b")[0].last_used_at == 200.0
    assert names(fleet, seen_before=200.0) == ["acme/B", "acme/a", "default/a", "default/c"]
    assert fleet.credentials("b")[0].version == held.version
    fleet.seen([], [])


def test_being_seen_is_no_change_that_others_must_know(fleet: Registry) -> None:
    before = fleet.changes_since(-1).seq
    fleet.seen([("default", "a", 100.5)], [("x", 1.0)])
    assert not fleet.changes_since(before)


# The standing of a credential.


def test_a_standing_is_of_device_and_credential(registry: Registry) -> None:
    added = registry.add_psk_device("dev", b"id", KEY)
    first = registry.standing(added.credential_id)
    assert first is not None
    assert (first.device, first.version, first.status, first.not_after) == (
        added.device,
        1,
        CredentialStatus.ACTIVE,
        None,
    )
    registry.set_status("dev", DeviceStatus.DISABLED)
    registry.set_credential_status(added.credential_id, CredentialStatus.RETIRED)
    second = registry.standing(added.credential_id)
    assert second is not None
    assert (second.device.status, second.version, second.status) == (
        DeviceStatus.DISABLED,
        2,
        CredentialStatus.RETIRED,
    )
    registry.delete_device("dev")
    assert registry.standing(added.credential_id) is None
    assert registry.standing("") is None


HOSTILE = ["", "a\0b", "\0", "ä", "a' OR '1'='1", '"; DROP TABLE device; --', "%", "x" * 10_000, "\ud800", "\U0001f600"]


@pytest.mark.parametrize("text", HOSTILE)
def test_whatever_a_peer_sends_is_looked_up_and_found_nowhere(open_store: Opener, text: str) -> None:
    # Names in certificates and identities are a stranger's bytes; an identity's suffix and SNI name tenants.
    registry = open_store()
    registry.add_psk_device("dev", b"id", KEY)
    encoded = text.encode("utf-8", "surrogatepass")
    assert registry.find_psk("default", encoded) is None
    assert registry.find_rpk(encoded) is None
    assert registry.find_certificate_device("default", text) is None
    assert registry.counts().devices == 1
