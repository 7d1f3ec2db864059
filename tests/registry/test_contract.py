"""What any registry backend must do."""

from hashlib import sha256

import pytest

from gateway.model import Device, DeviceStatus
from gateway.registry import (
    AnchorPolicy,
    Conflict,
    CredentialStatus,
    InvalidValue,
    LimitReached,
    NotFound,
    Provision,
    Registry,
)
from tests.registry.conftest import Opener

KEY = bytes(range(16))
CERTIFICATE = b"stands for DER"
ADMIT = AnchorPolicy(provision=Provision.ACTIVE)
CLOSED = AnchorPolicy()


# Pre-shared keys.


def test_a_psk_identity_finds_its_device_and_key(registry: Registry) -> None:
    added = registry.add_psk_device("meter-1", b"id-1", KEY)
    found = registry.find_psk("default", b"id-1")
    assert found == added
    assert (found.device.id, found.key, found.version, found.status) == ("meter-1", KEY, 1, CredentialStatus.ACTIVE)


def test_an_unknown_identity_finds_nothing(registry: Registry) -> None:
    registry.add_psk_device("meter-1", b"id-1", KEY)
    assert registry.find_psk("default", b"id-2") is None
    assert registry.find_psk("default", b"") is None


NEIGHBOURS = [b"id", b"id\0", b"id\0x", b"ID", b"id ", b"\0", b"\xff\xfe", b"\xff\xff", b"\xc3\xa9", b"e\xcc\x81", b"%"]


def test_identities_are_compared_byte_for_byte(registry: Registry) -> None:
    # NUL, invalid UTF-8, case, blanks, two encodings of the same letter, wildcards: all different.
    for number, identity in enumerate(NEIGHBOURS):
        registry.add_psk_device(f"dev{number}", identity, KEY)
    for number, identity in enumerate(NEIGHBOURS):
        found = registry.find_psk("default", identity)
        assert found is not None
        assert found.device.id == f"dev{number}"


def test_an_identity_belongs_to_one_device_of_its_tenant(registry: Registry) -> None:
    registry.add_tenant("acme")
    ours = registry.add_psk_device("meter-1", b"id", KEY)
    theirs = registry.add_psk_device("meter-1", b"id", KEY[::-1], tenant_id="acme")
    assert registry.find_psk("default", b"id") == ours
    assert registry.find_psk("acme", b"id") == theirs
    assert registry.find_psk("ghost", b"id") is None
    with pytest.raises(Conflict, match="meter-1"):
        registry.add_psk_device("meter-2", b"id", KEY)
    with pytest.raises(NotFound):
        registry.device("meter-2")  # nothing of the failed change stays


@pytest.mark.parametrize("length", [1, 128, 256])
def test_identity_lengths_that_are_taken(registry: Registry, length: int) -> None:
    registry.add_psk_device("meter-1", b"i" * length, KEY)
    assert registry.find_psk("default", b"i" * length)


@pytest.mark.parametrize("length", [0, 257])
def test_identity_lengths_that_are_refused(registry: Registry, length: int) -> None:
    with pytest.raises(InvalidValue, match=f"this one has {length}"):
        registry.add_psk_device("meter-1", b"i" * length, KEY)


def test_short_keys_only_when_allowed(registry: Registry) -> None:
    with pytest.raises(InvalidValue, match="at least 16 bytes, this one has 15"):
        registry.add_psk_device("meter-1", b"id", b"k" * 15)
    with pytest.raises(InvalidValue, match="at least 1 "):
        registry.add_psk_device("meter-1", b"id", b"", allow_short_key=True)
    assert registry.add_psk_device("meter-1", b"id", b"k", allow_short_key=True).key == b"k"


def test_keys_have_at_most_64_bytes(registry: Registry) -> None:
    assert registry.add_psk_device("meter-1", b"a", b"k" * 64).key == b"k" * 64
    with pytest.raises(InvalidValue):
        registry.add_psk("meter-1", b"b", b"k" * 65)


def test_a_device_may_have_several_keys_and_a_certificate(registry: Registry) -> None:
    registry.add_psk_device("meter-1", b"old", KEY)
    registry.add_psk("meter-1", b"new", KEY[::-1])
    registry.allow_certificate("meter-1")
    kinds = [(c.kind, c.psk_identity) for c in registry.credentials("meter-1")]
    assert kinds == [("psk", b"old"), ("psk", b"new"), ("x509", None)]
    for identity in (b"old", b"new"):
        found = registry.find_psk("default", identity)
        assert found is not None
        assert found.device.id == "meter-1"
    certificate = registry.find_certificate_device("default", "meter-1")
    assert certificate is not None
    assert certificate.device.id == "meter-1"


# Raw public keys.

SPKI = b"stands for a SubjectPublicKeyInfo"
SPKI_SHA256 = sha256(SPKI).digest()


def test_a_public_key_finds_its_device_by_its_sha_256(registry: Registry) -> None:
    added = registry.add_rpk_device("meter-1", SPKI)
    found = registry.find_rpk(SPKI_SHA256)
    assert found == added
    assert (found.device.id, found.version, found.status) == ("meter-1", 1, CredentialStatus.ACTIVE)
    assert registry.find_rpk(sha256(b"another").digest()) is None
    assert registry.find_rpk(SPKI) is None
    assert registry.find_rpk(b"") is None


def test_a_public_key_belongs_to_one_device(registry: Registry) -> None:
    registry.add_rpk_device("meter-1", SPKI)
    with pytest.raises(Conflict, match=f"{SPKI_SHA256.hex()} belongs to device 'meter-1'"):
        registry.add_rpk_device("meter-2", SPKI)
    with pytest.raises(NotFound):
        registry.device("meter-2")  # nothing of the failed change stays
    with pytest.raises(Conflict):
        registry.add_rpk("meter-1", SPKI)


def test_a_public_key_beside_other_credentials(registry: Registry) -> None:
    # The same bytes as a PSK identity are another credential.
    registry.add_psk_device("meter-1", SPKI_SHA256, KEY)
    registry.add_rpk("meter-1", SPKI)
    registry.add_rpk("meter-1", SPKI + b"2")
    shown = [(each.kind, each.psk_identity, each.public_key) for each in registry.credentials("meter-1")]
    assert shown == [
        ("psk", SPKI_SHA256, None),
        ("rpk", None, SPKI_SHA256.hex()),
        ("rpk", None, sha256(SPKI + b"2").hexdigest()),
    ]
    psk, rpk = registry.find_psk("default", SPKI_SHA256), registry.find_rpk(SPKI_SHA256)
    assert psk is not None
    assert rpk is not None
    assert psk.credential_id != rpk.credential_id


def test_a_public_key_is_revoked_with_a_new_version_and_deleted_with_its_device(registry: Registry) -> None:
    added = registry.add_rpk_device("meter-1", SPKI)
    registry.set_credential_status(added.credential_id, CredentialStatus.REVOKED)
    found = registry.find_rpk(SPKI_SHA256)
    assert found is not None
    assert (found.status, found.version) == (CredentialStatus.REVOKED, 2)
    registry.delete_device("meter-1")
    assert registry.find_rpk(SPKI_SHA256) is None
    registry.add_rpk_device("meter-2", SPKI)


@pytest.mark.parametrize("size", [0, 1025])
def test_public_keys_of_no_possible_size_are_refused(registry: Registry, size: int) -> None:
    with pytest.raises(InvalidValue, match=f"this one has {size}"):
        registry.add_rpk_device("meter-1", bytes(size))
    registry.add_device("meter-2")
    with pytest.raises(InvalidValue):
        registry.add_rpk("meter-2", bytes(size))


def test_a_device_with_a_public_key_takes_no_certificate_unasked(registry: Registry) -> None:
    registry.add_rpk_device("meter-1", SPKI)
    with pytest.raises(Conflict):
        registry.provision_device("default", "meter-1", anchor_id="anchor", policy=ADMIT)


def test_no_secret_in_any_repr(registry: Registry) -> None:
    found = registry.add_psk_device("meter-1", b"id", b"TOP-SECRET-BYTES")
    assert "SECRET" not in repr(found)
    assert "SECRET" not in repr(registry.credentials("meter-1"))


# Devices.


def test_device_life(registry: Registry) -> None:
    added = registry.add_device("meter-1")
    assert added == Device("meter-1", "default", DeviceStatus.ACTIVE, False, added.created_at)
    assert registry.device("meter-1") == added
    assert registry.set_status("meter-1", DeviceStatus.DISABLED).status is DeviceStatus.DISABLED
    assert registry.device("meter-1").status is DeviceStatus.DISABLED
    registry.delete_device("meter-1")
    with pytest.raises(NotFound):
        registry.device("meter-1")


def test_a_status_reaches_the_credentials_look_up(registry: Registry) -> None:
    registry.add_psk_device("meter-1", b"id", KEY)
    registry.set_status("meter-1", DeviceStatus.QUARANTINED)
    found = registry.find_psk("default", b"id")
    assert found is not None
    assert found.device.status is DeviceStatus.QUARANTINED


def test_deleting_a_device_deletes_its_credentials(registry: Registry) -> None:
    first = registry.add_psk_device("meter-1", b"id", KEY)
    registry.allow_certificate("meter-1")
    registry.delete_device("meter-1")
    assert registry.find_psk("default", b"id") is None
    assert registry.find_certificate_device("default", "meter-1") is None
    # The id of a credential is never used again: a session that remembers the old one stays void.
    assert registry.add_psk_device("meter-1", b"id", KEY).credential_id != first.credential_id


def test_adding_twice_is_a_conflict(registry: Registry) -> None:
    registry.add_device("meter-1")
    with pytest.raises(Conflict, match="meter-1"):
        registry.add_device("meter-1")


@pytest.mark.parametrize("call", ["set_status", "delete_device", "add_psk", "allow_certificate", "credentials"])
def test_an_unknown_device_is_not_found(registry: Registry, call: str) -> None:
    arguments = {"set_status": (DeviceStatus.ACTIVE,), "add_psk": (b"id", KEY)}
    with pytest.raises(NotFound, match="ghost"):
        getattr(registry, call)("ghost", *arguments.get(call, ()))


@pytest.mark.parametrize("bad", ["", "-x", " x", "a b", "a\0b", "a\nb", "ä", "x" * 129, "a;b", "$(id)", "'"])
def test_ids_that_are_refused(registry: Registry, bad: str) -> None:
    with pytest.raises(InvalidValue):
        registry.add_device(bad)
    with pytest.raises(InvalidValue):
        registry.provision_device("default", bad, anchor_id="a", policy=ADMIT)
    with pytest.raises(InvalidValue):
        registry.add_tenant(bad)


def test_lists_are_sorted_and_paged(registry: Registry) -> None:
    for number in (3, 1, 2, 5, 4):
        registry.add_device(f"dev{number}")
    assert [each.device.id for each in registry.list_devices()] == ["dev1", "dev2", "dev3", "dev4", "dev5"]
    assert [each.device.id for each in registry.list_devices(after=("default", "dev2"), limit=2)] == ["dev3", "dev4"]
    assert registry.list_devices(tenant_id="ghost") == []


def test_tenants_keep_their_devices_apart(registry: Registry) -> None:
    registry.add_tenant("acme", "Acme")
    registry.add_device("dev")
    registry.add_device("dev", tenant_id="acme")
    registry.set_status("dev", DeviceStatus.DISABLED, tenant_id="acme")
    assert registry.device("dev").status is DeviceStatus.ACTIVE
    assert [each.device.tenant_id for each in registry.list_devices()] == ["acme", "default"]
    assert [each.id for each in registry.tenants()] == ["acme", "default"]
    with pytest.raises(NotFound, match="tenant 'ghost'"):
        registry.add_device("dev", tenant_id="ghost")
    with pytest.raises(Conflict):
        registry.add_tenant("acme")


def test_counts(registry: Registry) -> None:
    registry.add_psk_device("a", b"a", KEY)
    registry.add_device("b")
    registry.allow_certificate("b")
    registry.add_device("c")
    registry.delete_device("c")
    registry.add_trust_anchor(CERTIFICATE, "CN=Root")
    counts = registry.counts()
    assert (counts.tenants, counts.devices, counts.psk_credentials) == (1, 2, 1)
    assert (counts.certificate_credentials, counts.trust_anchors) == (1, 1)


# Certificates and provisioning.


def test_provisioning_creates_device_and_credential_at_once(registry: Registry) -> None:
    made = registry.provision_device("default", "dev", anchor_id="anchor", policy=ADMIT)
    assert made.created
    assert made.device.auto_provisioned
    assert made.anchor_id == "anchor"
    found = registry.find_certificate_device("default", "dev")
    assert found is not None
    assert (found.credential_id, found.device, found.created) == (made.credential_id, made.device, False)


def test_provisioning_twice_gives_the_same_credential(open_store: Opener) -> None:
    # Two workers' handshakes of one device: both looked, both found nothing, both provision.
    here, there = open_store(), open_store()
    assert here.find_certificate_device("default", "dev") is None
    assert there.find_certificate_device("default", "dev") is None
    first = here.provision_device("default", "dev", anchor_id="anchor", policy=ADMIT)
    second = there.provision_device("default", "dev", anchor_id="anchor", policy=ADMIT)
    assert (first.created, second.created) == (True, False)
    assert first.credential_id == second.credential_id
    assert here.counts() == there.counts()
    assert here.counts().devices == here.counts().certificate_credentials == 1


def test_provisioning_without_leave_creates_nothing(registry: Registry) -> None:
    with pytest.raises(NotFound, match="dev"):
        registry.provision_device("default", "dev", anchor_id="anchor", policy=CLOSED)
    assert registry.counts().devices == 0


def test_a_device_added_without_credentials_is_bound_by_its_first_certificate(registry: Registry) -> None:
    registry.add_device("dev")
    made = registry.provision_device("default", "dev", anchor_id="anchor", policy=CLOSED)
    assert (made.created, made.anchor_id, made.device.auto_provisioned) == (False, "anchor", False)
    later = registry.provision_device("default", "dev", anchor_id="other", policy=ADMIT)
    assert (later.credential_id, later.anchor_id) == (made.credential_id, "anchor")


def test_a_psk_device_takes_no_certificate_unasked(registry: Registry) -> None:
    registry.add_psk_device("dev", b"id", KEY)
    with pytest.raises(Conflict, match="never allowed"):
        registry.provision_device("default", "dev", anchor_id="anchor", policy=ADMIT)
    assert registry.find_certificate_device("default", "dev") is None


def test_allowing_a_certificate_anew_changes_its_version(registry: Registry) -> None:
    made = registry.provision_device("default", "dev", anchor_id="anchor", policy=ADMIT)
    again = registry.allow_certificate("dev")
    assert (again.credential_id, again.version, again.anchor_id) == (made.credential_id, made.version + 1, None)
    assert registry.find_certificate_device("default", "dev") == again
    with pytest.raises(NotFound, match="ghost"):
        registry.allow_certificate("dev", anchor_id="ghost")


def test_a_device_cannot_be_bound_to_another_tenants_anchor(registry: Registry) -> None:
    registry.add_tenant("acme")
    theirs = registry.add_trust_anchor(CERTIFICATE, "CN=Root", tenant_ids=("acme",))
    registry.add_device("dev")
    registry.add_device("dev", tenant_id="acme")
    with pytest.raises(Conflict, match="tenant 'acme'"):
        registry.allow_certificate("dev", anchor_id=theirs.id)
    assert registry.find_certificate_device("default", "dev") is None
    assert registry.allow_certificate("dev", tenant_id="acme", anchor_id=theirs.id).anchor_id == theirs.id


@pytest.mark.parametrize(
    ("identity", "shown"),
    [(b"meter-7", "'meter-7'"), (b"it's", '"it\'s"'), (b"a\0b", "0x610062"), (b"\xff", "0xff"), (b"a\n", "0x610a")],
)
def test_a_taken_identity_is_shown_as_text_or_hex(registry: Registry, identity: bytes, shown: str) -> None:
    registry.add_psk_device("dev", identity, KEY)
    with pytest.raises(Conflict) as caught:
        registry.add_psk_device("dev2", identity, KEY)
    assert f"the PSK identity {shown} belongs to device 'dev'" in str(caught.value)


def test_a_credential_is_revoked_with_a_new_version(registry: Registry) -> None:
    made = registry.add_psk_device("dev", b"id", KEY)
    registry.set_credential_status(made.credential_id, CredentialStatus.REVOKED)
    found = registry.find_psk("default", b"id")
    assert found is not None
    assert (found.status, found.version) == (CredentialStatus.REVOKED, 2)
    with pytest.raises(NotFound):
        registry.set_credential_status("ghost", CredentialStatus.REVOKED)


def test_a_full_tenant_takes_no_more(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.registry.store.MAX_DEVICES_PER_TENANT", 20)
    for number in range(20):
        registry.provision_device("default", f"dev{number}", anchor_id="anchor", policy=ADMIT)
    for number in range(20, 120):
        with pytest.raises(LimitReached):
            registry.provision_device("default", f"dev{number}", anchor_id="anchor", policy=ADMIT)
    assert registry.counts().devices == 20
    registry.delete_device("dev0")
    assert registry.provision_device("default", "dev20", anchor_id="anchor", policy=ADMIT).created


# Trust anchors.


def test_trust_anchor_life(registry: Registry) -> None:
    added = registry.add_trust_anchor(CERTIFICATE, "CN=Root", policy=ADMIT)
    # printf 'stands for DER' | sha256sum
    assert added.id == "1c749679e6efedb8ddf05a834b488ad231e0690bad612c6ca91981ded7df819b"
    assert registry.trust_anchors() == [added]
    assert not registry.set_trust_anchor(added.id, policy=CLOSED).auto_provision
    registry.delete_trust_anchor(added.id)
    assert registry.trust_anchors() == []
    with pytest.raises(NotFound):
        registry.delete_trust_anchor(added.id)
    with pytest.raises(NotFound):
        registry.set_trust_anchor(added.id, policy=ADMIT)


def test_an_anchor_belongs_to_one_tenant(registry: Registry) -> None:
    registry.add_tenant("acme")
    registry.add_trust_anchor(CERTIFICATE, "CN=Root")
    with pytest.raises(Conflict, match="tenant 'default'"):
        registry.add_trust_anchor(CERTIFICATE, "CN=Root", tenant_ids=("acme",))
    with pytest.raises(NotFound):
        registry.add_trust_anchor(b"other", "CN=Other", tenant_ids=("ghost",))


@pytest.mark.parametrize("size", [0, 8193])
def test_certificates_of_no_possible_size_are_refused(registry: Registry, size: int) -> None:
    with pytest.raises(InvalidValue):
        registry.add_trust_anchor(b"x" * size, "CN=Root")
    with pytest.raises(InvalidValue):
        registry.add_intermediate(b"x" * size)


def test_intermediates_are_kept_once(registry: Registry) -> None:
    assert registry.add_intermediate(b"one")
    assert not registry.add_intermediate(b"one")
    assert registry.add_intermediate(b"two")
    assert list(registry.intermediates()) == [b"one", b"two"]


# Another process.


def test_what_another_process_writes_is_seen_at_the_next_look_up(open_store: Opener) -> None:
    server, command_line = open_store(), open_store()
    assert server.find_psk("default", b"id") is None
    command_line.add_psk_device("dev", b"id", KEY)
    found = server.find_psk("default", b"id")
    assert found is not None
    command_line.set_status("dev", DeviceStatus.DISABLED)
    found = server.find_psk("default", b"id")
    assert found is not None
    assert found.device.status is DeviceStatus.DISABLED
    command_line.delete_device("dev")
    assert server.find_psk("default", b"id") is None


def test_what_was_written_is_there_after_reopening(open_store: Opener) -> None:
    with open_store() as first:
        first.add_psk_device("dev", b"id", KEY)
    with open_store() as second:
        assert second.find_psk("default", b"id") is not None


def test_closing_twice_is_fine(open_store: Opener) -> None:
    registry = open_store()
    registry.close()
    registry.close()


def test_asking_whether_it_can_be_written_changes_nothing(registry: Registry) -> None:
    registry.add_device("dev")
    before = registry.audit_entries(limit=10), registry.changes_since(-1)
    registry.check_writable()
    assert (registry.audit_entries(limit=10), registry.changes_since(-1)) == before
