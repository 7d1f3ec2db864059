"""What any registry backend must do: bans, revocation lists, issued certificates, who did what, and what changed."""

import threading
from contextlib import ExitStack

import pytest

from gateway.model import DeviceStatus
from gateway.registry import (
    AnchorPolicy,
    Changes,
    Conflict,
    CredentialStatus,
    InvalidValue,
    IssuedCertificate,
    NotFound,
    Provision,
    Registry,
    open_registry,
)
from tests.registry.conftest import Opener

KEY = b"TOP-SECRET-BYTES"
LEAF = "ab" * 32
CA = "cd" * 32


# Bans.


def test_ban_life(open_store: Opener) -> None:
    here, there = open_store(), open_store()
    assert here.ban_certificate(LEAF, "stolen")
    assert not here.ban_certificate(LEAF, "again")
    assert here.ban_certificate(CA)
    assert there.bans() == {LEAF: "stolen", CA: ""}
    there.unban_certificate(LEAF)
    assert here.bans() == {CA: ""}
    with pytest.raises(NotFound):
        here.unban_certificate(LEAF)


@pytest.mark.parametrize("text", ["", "ab" * 31, "ab" * 33, "AB" * 32, "xy" * 32, "a\0" * 32])
def test_what_is_no_fingerprint_is_not_banned(registry: Registry, text: str) -> None:
    with pytest.raises(InvalidValue, match="64 hex digits"):
        registry.ban_certificate(text)


def test_bans_are_bounded(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.registry.revocation.MAX_BANS", 2)
    for digit in "12":
        registry.ban_certificate(digit * 64)
    with pytest.raises(Conflict, match="by a list"):
        registry.ban_certificate("3" * 64)
    assert not registry.ban_certificate("1" * 64)


# Revocation lists.


def test_the_newest_list_of_each_ca_is_kept(registry: Registry) -> None:
    large = 2**159 + 1  # RFC 5280 section 5.2.3: up to 20 octets
    assert registry.store_crl(CA, b"one", crl_number=1, this_update=10.0, next_update=20.0, url="http://x/")
    assert not registry.store_crl(CA, b"one", crl_number=1, this_update=10.0, next_update=20.0)
    assert registry.store_crl(LEAF, b"other", crl_number=large, this_update=1.0, next_update=None)
    first, second = registry.crls()
    assert (first.issuer, first.der, first.crl_number, first.next_update) == (LEAF, b"other", large, None)
    assert (second.der, second.this_update, second.next_update, second.url) == (b"one", 10.0, 20.0, "http://x/")
    assert registry.store_crl(CA, b"three", crl_number=3, this_update=30.0, next_update=None)
    with pytest.raises(Conflict, match="number 2 is older"):
        registry.store_crl(CA, b"two", crl_number=2, this_update=40.0, next_update=None)
    with pytest.raises(Conflict):
        registry.store_crl(CA, b"three, but earlier", crl_number=3, this_update=29.0, next_update=None)
    assert [each.der for each in registry.crls()] == [b"other", b"three"]
    registry.delete_crl(CA)
    assert [each.der for each in registry.crls()] == [b"other"]
    with pytest.raises(NotFound):
        registry.delete_crl(CA)


def test_numbers_of_lists_are_compared_as_numbers(registry: Registry) -> None:
    registry.store_crl(CA, b"nine", crl_number=9, this_update=1.0, next_update=None)
    assert registry.store_crl(CA, b"ten", crl_number=10, this_update=2.0, next_update=None)


def test_lists_of_no_possible_size_are_refused(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.registry.revocation.MAX_CRL_BYTES", 10)
    for size in (0, 11):
        with pytest.raises(InvalidValue, match=f"this one has {size}"):
            registry.store_crl(CA, bytes(size), crl_number=1, this_update=0.0, next_update=None)


# What our own CAs issued.


def issued(serial: str, *, device: str = "dev", tenant: str = "default", issuer: str = CA) -> IssuedCertificate:
    return IssuedCertificate(issuer, serial, tenant, device, f"{serial:>064}", 1.0, 2.0)


def test_the_book_of_the_cas(registry: Registry) -> None:
    book = [issued("a1"), issued("a2", device="other"), issued("a1", issuer=LEAF), issued("a3", tenant="acme")]
    registry.record_issued(book)
    registry.record_issued(book)  # the same ones again
    numbers = [number for number, _ in registry.issued()]
    assert numbers == sorted(set(numbers))
    assert [each for _, each in registry.issued()] == book

    def found(**filters: object) -> list[IssuedCertificate]:
        return [each for _, each in registry.issued(**filters)]  # type: ignore[arg-type]

    assert found(issuer_id=CA) == [book[0], book[1], book[3]]
    assert found(serial="a1") == [book[0], book[2]]
    assert found(tenant_id="acme") == [book[3]]
    assert found(device_id="other") == [book[1]]
    assert found(after=numbers[1], limit=1) == [book[2]]
    assert found(revoked=True) == []
    assert found(revoked=False) == book


def test_a_serial_is_given_once_and_a_batch_is_all_or_nothing(registry: Registry) -> None:
    registry.record_issued([issued("a1")])
    other = IssuedCertificate(CA, "a1", "default", "dev", "f" * 64, 1.0, 2.0)
    with pytest.raises(Conflict, match="serial a1"):
        registry.record_issued([issued("a2"), other])
    with pytest.raises(Conflict):
        registry.record_issued([issued("a3"), IssuedCertificate(CA, "a3", "default", "dev", "f" * 64, 1.0, 2.0)])
    assert [each.serial for _, each in registry.issued()] == ["a1"]


def test_a_large_batch(registry: Registry) -> None:
    registry.record_issued([issued(f"{number:x}") for number in range(1200)])
    registry.record_issued([issued(f"{number:x}") for number in range(1300)])
    assert len(registry.issued()) == 1300


def test_revoking_what_was_issued(registry: Registry) -> None:
    registry.record_issued([issued("a1"), issued("a2")])
    revoked = registry.revoke_issued(CA, "a1", reason="keyCompromise", at=5.0)
    assert (revoked.revoked_at, revoked.reason) == (5.0, "keyCompromise")
    assert registry.revoke_issued(CA, "a1", reason="superseded", at=9.0) == revoked
    assert [each for _, each in registry.issued(revoked=True)] == [revoked]
    assert [each.serial for _, each in registry.issued(revoked=False)] == ["a2"]
    with pytest.raises(NotFound):
        registry.revoke_issued(LEAF, "a1", reason="keyCompromise")


def test_numbers_of_our_own_lists_grow_and_are_given_once(registry_url: str) -> None:
    with ExitStack() as stack:
        stores = [stack.enter_context(open_registry(registry_url, create=True)) for _ in range(3)]
        given: list[int] = []

        def work(store: Registry) -> None:
            given.extend(store.next_crl_number(CA) for _ in range(10))

        threads = [threading.Thread(target=work, args=(store,)) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(given) == list(range(1, 31))
        assert stores[0].next_crl_number(LEAF) == 1


# Who did what.


def test_the_audit_trail_says_who_did_what(open_store: Opener, registry_url: str) -> None:
    with open_registry(registry_url, create=True, actor="cli:root") as registry:
        registry.add_tenant("acme")
        registry.add_psk_device("dev", b"id", KEY, tenant_id="acme")
        registry.set_status("dev", DeviceStatus.DISABLED, tenant_id="acme", note="stolen")
        registry.add_device("dev2")
        before = registry.audit_entries()
        with pytest.raises(Conflict):
            registry.add_device("dev2")
        registry.find_psk("default", b"id")
        assert registry.audit_entries() == before  # neither what failed nor what was read
    actions = [(each.action, each.tenant_id, each.object) for each in before]
    assert actions == [
        ("device.added", "default", "dev2"),
        ("device.disabled", "acme", "dev"),
        ("credential.added", "acme", "dev"),
        ("device.added", "acme", "dev"),
        ("tenant.added", "acme", "acme"),
    ]
    assert {each.actor for each in before} == {"cli:root"}
    assert before[1].detail == {"before": "active", "note": "stolen"}
    assert [each.number for each in before] == sorted((each.number for each in before), reverse=True)
    reader = open_store()
    assert reader.audit_entries(tenant_id="acme") == before[1:]
    assert reader.audit_entries(before=before[1].number, limit=2) == before[2:4]


def test_no_secret_is_in_the_trail(registry: Registry) -> None:
    registry.add_psk_device("dev", b"id", KEY)
    registry.add_psk("dev", b"id-2", KEY)
    shown = repr(registry.audit_entries()) + repr(registry.changes_since(0))
    for secret in (KEY.decode(), KEY.hex(), "SECRET"):
        assert secret not in shown


# What changed.


def test_the_change_log_tells_what_to_forget(open_store: Opener) -> None:
    here, there = open_store(), open_store()
    seen = here.changes_since(-1).seq

    def changes() -> Changes:
        nonlocal seen
        found = here.changes_since(seen)
        seen = found.seq
        return found

    def device(*names: str, tenant: str = "default") -> Changes:
        return Changes(seen, tuple((tenant, name) for name in names))

    assert not changes()
    credential = there.add_psk_device("dev", b"id", KEY).credential_id
    assert not changes()  # nobody has a copy of what is new
    there.set_status("dev", DeviceStatus.DISABLED)
    assert changes() == device("dev")
    there.set_details("dev", tags=["x"])
    there.set_credential_status(credential, CredentialStatus.REVOKED)
    assert changes() == device("dev")
    there.add_device("dev2")
    there.allow_certificate("dev2")
    changes()
    there.allow_certificate("dev2")
    there.delete_device("dev")
    assert changes() == device("dev2", "dev")
    there.add_tenant("acme")
    there.set_tenant("acme", active=False)
    assert changes() == Changes(seen, tenants=True)
    anchor = there.add_trust_anchor(b"der", "CN=Root")
    assert changes() == Changes(seen, trust=True)
    for change in (
        lambda: there.set_trust_anchor(anchor.id, policy=AnchorPolicy(provision=Provision.ACTIVE)),
        lambda: there.add_intermediate(b"der"),
        lambda: there.ban_certificate(LEAF),
        lambda: there.unban_certificate(LEAF),
        lambda: there.store_crl(CA, b"crl", crl_number=1, this_update=0.0, next_update=None),
        lambda: there.delete_crl(CA),
        lambda: there.delete_trust_anchor(anchor.id),
    ):
        change()
        assert changes() == Changes(seen, trust=True)
    there.set_tenant("acme", name="Acme")
    there.set_status("dev2", DeviceStatus.DISABLED)
    there.add_intermediate(b"der 2")
    assert changes() == Changes(seen, (("default", "dev2"),), trust=True, tenants=True)
    there.record_issued([issued("a1")])
    there.next_crl_number(CA)
    there.prune()
    assert not changes()


def test_a_reader_that_comes_too_late_forgets_everything(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.registry.trail.MAX_CHANGE_LOG_ROWS", 3)
    registry.add_device("dev")
    start = registry.changes_since(-1).seq
    for _ in range(10):
        registry.set_status("dev", DeviceStatus.ACTIVE)
    assert registry.changes_since(start) == Changes(start + 10, (("default", "dev"),))
    assert registry.prune() >= 7
    assert registry.prune() == 0
    assert registry.changes_since(start) == Changes(start + 10, everything=True)
    assert registry.changes_since(start + 6) == Changes(start + 10, everything=True)
    assert registry.changes_since(start + 7) == Changes(start + 10, (("default", "dev"),))
    assert not registry.changes_since(start + 10)
    # A log that is behind the reader's is another one: the registry was put back to an older state.
    assert registry.changes_since(start + 11) == Changes(start + 10, everything=True)


def test_numbers_of_changes_go_on_after_all_were_pruned(open_store: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.registry.trail.MAX_CHANGE_LOG_ROWS", 1)
    registry = open_store()
    registry.add_device("dev")
    for _ in range(3):
        registry.set_status("dev", DeviceStatus.ACTIVE)
        registry.prune()
    last = registry.changes_since(-1).seq
    registry.close()
    again = open_store()
    again.set_status("dev", DeviceStatus.DISABLED)
    assert again.changes_since(last) == Changes(last + 1, (("default", "dev"),))


def test_writes_are_counted(registry: Registry) -> None:
    before = registry.writes
    registry.add_device("dev")
    with pytest.raises(Conflict):
        registry.add_device("dev")
    registry.counts()
    assert registry.writes == before + 1
