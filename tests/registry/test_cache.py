"""The cache in front of the registry: what it saves, and when it must not."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gateway.model import DeviceStatus
from gateway.registry import (
    CachedReads,
    Changes,
    CredentialStatus,
    PskCredential,
    Registry,
    Steps,
    Unavailable,
    open_registry,
    run,
)
from gateway.registry.limits import CACHE_CHECK_S, MAX_CACHED_CREDENTIALS
from tests.registry.conftest import Opener


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cached(registry: Registry, clock: Clock) -> CachedReads:
    registry.add_psk_device("meter-1", b"id-1", b"k" * 16)
    registry.allow_certificate("meter-1")
    return CachedReads(registry, clock)


def psk(cached: CachedReads, identity: bytes = b"id-1") -> PskCredential | None:
    return run(cached.find_psk("default", identity))


def certificate(cached: CachedReads, device_id: str = "meter-1") -> object:
    return run(cached.find_certificate_device("default", device_id))


def look(cached: CachedReads, clock: Clock) -> None:
    """What is done every `CACHE_CHECK_S`: for a store behind a network by the owner of the event loop."""
    clock.now += CACHE_CHECK_S
    cached.refresh()
    if cached.remote:
        cached.apply(cached.fetch())


def test_a_second_read_does_not_ask_the_store(cached: CachedReads, registry: Registry) -> None:
    first = psk(cached), certificate(cached), cached.tenant("default")
    assert None not in first
    registry.close()
    assert first == (psk(cached), certificate(cached), cached.tenant("default"))


def test_public_keys_are_kept_and_forgotten_as_the_others(
    cached: CachedReads, registry: Registry, clock: Clock
) -> None:
    digest = sha256(b"key").digest()
    assert run(cached.find_rpk(digest)) is None
    registry.add_rpk("meter-1", b"key")
    first = run(cached.find_rpk(digest))
    assert first is not None
    registry.set_credential_status(first.credential_id, CredentialStatus.REVOKED)
    look(cached, clock)
    second = run(cached.find_rpk(digest))
    assert second is not None
    assert second.status is CredentialStatus.REVOKED
    registry.close()
    assert run(cached.find_rpk(digest)) == second
    with pytest.raises(Unavailable):
        run(cached.find_rpk(bytes(32)))


def test_what_is_not_there_is_asked_for_again(cached: CachedReads, registry: Registry) -> None:
    assert psk(cached, b"id-2") is None
    assert certificate(cached, "meter-2") is None
    registry.close()
    with pytest.raises(Unavailable):
        psk(cached, b"id-2")
    with pytest.raises(Unavailable):
        certificate(cached, "meter-2")


def test_own_changes_to_a_file_are_seen_at_once(cached: CachedReads, registry: Registry) -> None:
    assert psk(cached) is not None
    registry.set_status("meter-1", DeviceStatus.DISABLED)
    if cached.remote:  # not before it is told
        cached.apply(cached.fetch())
    found = psk(cached)
    assert found is not None
    assert found.device.status is DeviceStatus.DISABLED


@pytest.mark.parametrize("change", ["disabled", "revoked", "deleted", "rotated", "described"])
def test_changes_of_another_process_are_seen_within_the_interval(
    change: str, cached: CachedReads, open_store: Opener, clock: Clock
) -> None:
    before = psk(cached)
    assert before is not None
    other = open_store()
    if change == "disabled":
        other.set_status("meter-1", DeviceStatus.DISABLED)
    elif change == "revoked":
        other.set_credential_status(before.credential_id, CredentialStatus.REVOKED)
    elif change == "deleted":
        other.delete_device("meter-1")
    elif change == "described":
        other.set_details("meter-1", tags=["roof"])
    else:
        other.delete_device("meter-1")
        other.add_psk_device("meter-1", b"id-1", b"n" * 16)
    look(cached, clock)
    assert psk(cached) == other.find_psk("default", b"id-1") != before


def test_other_devices_stay_in_memory(cached: CachedReads, registry: Registry, clock: Clock) -> None:
    registry.add_psk_device("meter-2", b"id-2", b"k" * 16)
    kept = psk(cached, b"id-2")
    psk(cached)
    registry.set_status("meter-1", DeviceStatus.DISABLED)
    look(cached, clock)
    psk(cached)
    registry.close()
    assert psk(cached, b"id-2") == kept is not None


def test_tenants_and_their_server_names_are_followed(cached: CachedReads, open_store: Opener, clock: Clock) -> None:
    other = open_store()
    assert cached.tenant("acme") is None
    other.add_tenant("acme", sni_names=["acme.example.com"])
    look(cached, clock)
    acme = cached.tenant("acme")
    assert acme is not None
    assert acme.active
    assert cached.tenant_of_server_name("ACME.example.com") == "acme"
    assert cached.tenant_of_server_name("example.com") is None
    other.set_tenant("acme", active=False, sni_names=[])
    look(cached, clock)
    acme = cached.tenant("acme")
    assert acme is not None
    assert not acme.active
    assert cached.tenant_of_server_name("acme.example.com") is None
    other.delete_tenant("acme")
    look(cached, clock)
    assert cached.tenant("acme") is None


def test_listeners_are_told_after_the_cache_has_forgotten(
    cached: CachedReads, open_store: Opener, clock: Clock
) -> None:
    told: list[Changes] = []
    seen: list[PskCredential | None] = []
    cached.on_change(told.append)
    cached.on_change(lambda changes: seen.append(psk(cached)))
    psk(cached)
    other = open_store()
    other.set_status("meter-1", DeviceStatus.DISABLED)
    other.add_intermediate(b"der")
    look(cached, clock)
    psk(cached)
    [changes] = told
    assert (changes.devices, changes.trust, changes.tenants, changes.everything) == (
        (("default", "meter-1"),),
        True,
        False,
        False,
    )
    assert seen == [other.find_psk("default", b"id-1")]


def test_whoever_missed_too_much_forgets_everything(
    cached: CachedReads, open_store: Opener, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = psk(cached), certificate(cached)
    told: list[Changes] = []
    cached.on_change(told.append)
    other = open_store()
    monkeypatch.setattr("gateway.registry.trail.MAX_CHANGE_LOG_ROWS", 2)
    other.set_status("meter-1", DeviceStatus.DISABLED)
    other.add_tenant("acme")
    for number in range(3):
        other.add_intermediate(b"der %d" % number)
    other.prune()
    look(cached, clock)
    assert psk(cached) == other.find_psk("default", b"id-1") != before[0]
    assert certificate(cached) == other.find_certificate_device("default", "meter-1") != before[1]
    assert cached.tenant("acme") is not None
    assert [changes.everything for changes in told] == [True]


def test_what_is_read_while_something_changes_is_not_kept(cached: CachedReads, registry: Registry) -> None:
    # A look-up in a thread: it has read the old state, then the change is applied, then it comes back.
    cached._store = Remote(registry)  # type: ignore[assignment]  # stands in for every method
    steps: Steps[PskCredential | None] = cached.find_psk("default", b"id-1")
    work = next(steps)
    old = work()
    registry.set_status("meter-1", DeviceStatus.DISABLED)
    cached.apply(cached.fetch())
    with pytest.raises(StopIteration) as end:
        steps.send(old)
    assert end.value.value == old
    # It was good for that one answer, whose session the watch looks at; the next one reads anew.
    found = psk(cached)
    assert found is not None
    assert found.device.status is DeviceStatus.DISABLED


def test_a_store_behind_a_network_is_never_read_in_place(cached: CachedReads, registry: Registry) -> None:
    cached._store = Remote(registry, forbidden=True)  # type: ignore[assignment]
    for steps in (
        cached.find_psk("default", b"id-1"),
        cached.find_rpk(bytes(32)),
        cached.find_certificate_device("default", "meter-1"),
        cached.standing("x"),
    ):
        next(steps)  # work to be done elsewhere
        steps.close()
    assert cached.tenant("default") is not None
    assert cached.tenant_of_server_name("x") is None


class Remote:
    """A store as if it were behind a network; with `forbidden`, one that nobody may read."""

    remote = True

    def __init__(self, registry: Registry, *, forbidden: bool = False) -> None:
        self._registry = registry
        self._forbidden = forbidden

    def __getattr__(self, name: str) -> Any:
        assert not self._forbidden, f"{name} was called in the event loop"
        return getattr(self._registry, name)


def test_a_standing_is_never_out_of_memory(cached: CachedReads, registry: Registry) -> None:
    found = psk(cached)
    assert found is not None
    first = run(cached.standing(found.credential_id))
    assert first is not None
    registry.set_credential_status(found.credential_id, CredentialStatus.REVOKED)
    second = run(cached.standing(found.credential_id))
    assert second is not None
    assert (second.version, second.status) == (first.version + 1, CredentialStatus.REVOKED)


def test_the_interval_is_below_a_second() -> None:
    assert CACHE_CHECK_S < 1


def test_a_file_is_asked_for_changes_once_an_interval(clock: Clock, tmp_path: Path) -> None:
    with open_registry(f"sqlite:///{tmp_path / 'registry.db'}", create=True) as registry:
        registry.add_psk_device("meter-1", b"id-1", b"k" * 16)
        asked: list[str] = []

        class Counting:
            def __getattr__(self, name: str) -> object:
                asked.append(name)
                return getattr(registry, name)

        cached = CachedReads(Counting(), clock)  # type: ignore[arg-type]  # stands in for every method
        psk(cached)
        asked.clear()
        for _ in range(10):
            psk(cached)
        assert asked.count("touched") == 0
        clock.now += CACHE_CHECK_S
        for _ in range(10):
            psk(cached)
        assert asked.count("touched") == 1
        assert "changes_since" not in asked  # nothing was written: the log need not be read


def test_the_cache_is_bounded(cached: CachedReads, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_CACHED_CREDENTIALS <= 100_000
    monkeypatch.setattr("gateway.registry.cache.MAX_CACHED_CREDENTIALS", 3)
    for number in range(2, 7):
        registry.add_psk_device(f"meter-{number}", b"id-%d" % number, b"k" * 16)
    for number in range(1, 7):
        assert psk(cached, b"id-%d" % number) is not None
    registry.close()
    kept = []
    for number in range(1, 7):
        try:
            psk(cached, b"id-%d" % number)
            kept.append(number)
        except Unavailable:
            pass
    assert kept == [4, 5, 6]
