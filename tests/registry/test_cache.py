"""The cache in front of the registry: what it saves, and when it must not."""

from collections.abc import Callable
from hashlib import sha256

import pytest

from gateway.model import DeviceStatus
from gateway.registry import CachedReads, CredentialStatus, Registry, Unavailable
from gateway.registry.limits import CACHE_CHECK_S, MAX_CACHED_CREDENTIALS

Opener = Callable[[], Registry]


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


def test_a_second_read_does_not_ask_the_store(cached: CachedReads, registry: Registry) -> None:
    first = cached.find_psk(b"id-1"), cached.find_certificate_device("default", "meter-1"), cached.anchor_revision()
    assert None not in first
    registry.close()
    second = cached.find_psk(b"id-1"), cached.find_certificate_device("default", "meter-1"), cached.anchor_revision()
    assert first == second


def test_public_keys_are_kept_and_forgotten_as_the_others(cached: CachedReads, registry: Registry) -> None:
    digest = sha256(b"key").digest()
    assert cached.find_rpk(digest) is None
    registry.add_rpk("meter-1", b"key")
    first = cached.find_rpk(digest)
    assert first is not None
    registry.set_credential_status(first.credential_id, CredentialStatus.REVOKED)
    second = cached.find_rpk(digest)
    assert second is not None
    assert second.status is CredentialStatus.REVOKED
    registry.close()
    assert cached.find_rpk(digest) == second
    with pytest.raises(Unavailable):
        cached.find_rpk(bytes(32))


def test_what_is_not_there_is_asked_for_again(cached: CachedReads, registry: Registry) -> None:
    assert cached.find_psk(b"id-2") is None
    assert cached.find_certificate_device("default", "meter-2") is None
    registry.close()
    with pytest.raises(Unavailable):
        cached.find_psk(b"id-2")
    with pytest.raises(Unavailable):
        cached.find_certificate_device("default", "meter-2")


def test_own_changes_are_seen_at_once(cached: CachedReads, registry: Registry) -> None:
    assert cached.find_psk(b"id-1") is not None
    registry.set_status("meter-1", DeviceStatus.DISABLED)
    found = cached.find_psk(b"id-1")
    assert found is not None
    assert found.device.status is DeviceStatus.DISABLED


@pytest.mark.parametrize("change", ["disabled", "revoked", "deleted", "rotated"])
def test_changes_of_another_process_are_seen_within_the_interval(
    change: str, cached: CachedReads, open_store: Opener, clock: Clock
) -> None:
    before = cached.find_psk(b"id-1")
    assert before is not None
    other = open_store()
    if change == "disabled":
        other.set_status("meter-1", DeviceStatus.DISABLED)
    elif change == "revoked":
        other.set_credential_status(before.credential_id, CredentialStatus.REVOKED)
    elif change == "deleted":
        other.delete_device("meter-1")
    else:
        other.delete_device("meter-1")
        other.add_psk_device("meter-1", b"id-1", b"n" * 16)
    clock.now += CACHE_CHECK_S
    assert cached.find_psk(b"id-1") == other.find_psk(b"id-1") != before


def test_new_anchors_of_another_process_are_seen_within_the_interval(
    cached: CachedReads, open_store: Opener, clock: Clock
) -> None:
    before = cached.anchor_revision()
    open_store().add_intermediate(b"der")
    clock.now += CACHE_CHECK_S
    assert cached.anchor_revision() != before


def test_the_interval_is_below_a_second() -> None:
    assert CACHE_CHECK_S < 1


def test_the_store_is_asked_for_changes_once_an_interval(registry: Registry, clock: Clock) -> None:
    asked = 0

    class Counting:
        def __getattr__(self, name: str) -> object:
            nonlocal asked
            asked += name == "foreign_changes"
            return getattr(registry, name)

    cached = CachedReads(Counting(), clock)  # type: ignore[arg-type]  # stands in for every method
    for _ in range(10):
        cached.find_psk(b"id-1")
    assert asked == 1
    clock.now += CACHE_CHECK_S
    cached.find_psk(b"id-1")
    assert asked == 2


def test_the_cache_is_bounded(cached: CachedReads, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_CACHED_CREDENTIALS <= 100_000
    monkeypatch.setattr("gateway.registry.cache.MAX_CACHED_CREDENTIALS", 3)
    for number in range(2, 7):
        registry.add_psk_device(f"meter-{number}", b"id-%d" % number, b"k" * 16)
    for number in range(1, 7):
        assert cached.find_psk(b"id-%d" % number) is not None
    registry.close()
    kept = []
    for number in range(1, 7):
        try:
            cached.find_psk(b"id-%d" % number)
            kept.append(number)
        except Unavailable:
            pass
    assert kept == [4, 5, 6]
