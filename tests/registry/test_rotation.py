"""From one pre-shared key to the next, and to certificates."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.registry import (
    Conflict,
    CredentialStatus,
    InvalidValue,
    Migration,
    NotFound,
    PskCredential,
    Registry,
    Secrets,
    TenantLimits,
    create_master_key,
    join_identity,
    open_registry,
    split_identity,
)
from gateway.registry.limits import MAX_GENERATION

OLD, NEW = b"O" * 16, b"N" * 16
ACTIVE, NEXT = CredentialStatus.ACTIVE, CredentialStatus.NEXT
RETIRED, REVOKED = CredentialStatus.RETIRED, CredentialStatus.REVOKED


def psk(registry: Registry, identity: bytes) -> PskCredential:
    found = registry.find_psk("default", identity)
    assert found is not None
    return found


def states(registry: Registry, device_id: str = "dev") -> list[tuple[bytes | None, CredentialStatus, int]]:
    return [(each.psk_identity, each.status, each.version) for each in registry.credentials(device_id)]


# Names.


@pytest.mark.parametrize(
    ("base", "generation", "full"),
    [
        (b"meter-7", 1, b"meter-7"),
        (b"meter-7", 2, b"meter-7#2"),
        (b"meter-7", 13, b"meter-7#13"),
        (b"meter-7@acme", 2, b"meter-7#2@acme"),
        (b"meter-7@other", 2, b"meter-7@other#2"),
        (b"@acme", 2, b"@acme#2"),
        (b"\x00\xff", 2, b"\x00\xff#2"),
    ],
)
def test_generations_are_in_the_identity(base: bytes, generation: int, full: bytes) -> None:
    assert join_identity(base, generation, "acme") == full
    assert split_identity(full, "acme") == (base, generation)


@pytest.mark.parametrize("identity", [b"a#1", b"a#0", b"a#02", b"a#", b"#2", b"a#x", b"a#99999999999", b"a# 2"])
def test_what_is_no_generation(identity: bytes) -> None:
    assert split_identity(identity, "acme") == (identity, 1)


@given(st.binary(min_size=1, max_size=64), st.integers(1, MAX_GENERATION))
def test_names_come_apart_as_they_were_put_together(identity: bytes, generation: int) -> None:
    base, _ = split_identity(identity, "acme")
    if split_identity(base, "acme") == (base, 1):
        assert split_identity(join_identity(base, generation, "acme"), "acme") == (base, generation)


@pytest.mark.parametrize("generation", [0, -1, MAX_GENERATION + 1])
def test_generations_are_counted_from_one(generation: int) -> None:
    with pytest.raises(InvalidValue):
        join_identity(b"a", generation, "acme")


# Rotation.


def test_old_and_new_are_good_until_the_new_one_is_used(registry: Registry) -> None:
    registry.add_psk_device("dev", b"dev", OLD)
    registry._clock = lambda: 1000.0
    made = registry.rotate_psk("dev", NEW, overlap_s=60)
    assert (made.identity, made.old_until, made.generation) == (b"dev#2", 1060.0, None)
    old, new = psk(registry, b"dev"), psk(registry, b"dev#2")
    assert (old.key, old.status, old.version, old.not_after) == (OLD, ACTIVE, 1, 1060.0)
    assert (new.key, new.status, new.version, new.not_after) == (NEW, NEXT, 1, None)
    registry.seen([("default", "dev", 1001.0)], [(old.credential_id, 1001.0)])  # the old one changes nothing
    assert states(registry) == [(b"dev", ACTIVE, 1), (b"dev#2", NEXT, 1)]
    registry.seen([], [(new.credential_id, 1002.0)])
    # The new one's version stays: the session that proved it goes on. The old one's sessions end.
    assert states(registry) == [(b"dev", RETIRED, 2), (b"dev#2", ACTIVE, 1)]
    assert [each.action for each in registry.audit_entries(limit=3)] == [
        "credential.changed",
        "psk.promoted",
        "psk.rotated",
    ]
    registry.seen([], [(new.credential_id, 1003.0)])
    assert states(registry) == [(b"dev", RETIRED, 2), (b"dev#2", ACTIVE, 1)]


def test_a_rotation_is_told_to_other_processes(registry: Registry) -> None:
    registry.add_psk_device("dev", b"dev", OLD)
    seq = registry.changes_since(-1).seq
    made = registry.rotate_psk("dev", NEW, overlap_s=60)
    changes = registry.changes_since(seq)
    assert changes.devices == (("default", "dev"),)
    registry.seen([], [(made.credential.credential_id, 1.0)])
    assert registry.changes_since(changes.seq).devices == (("default", "dev"),)


def test_generations_go_on_and_never_come_back(registry: Registry) -> None:
    registry.add_psk_device("dev", b"dev", OLD)
    for generation in (2, 3, 4):
        made = registry.rotate_psk("dev", bytes([generation]) * 16, overlap_s=60)
        assert made.identity == b"dev#%d" % generation
        registry.seen([], [(made.credential.credential_id, 1.0)])
    taken_back = registry.rotate_psk("dev", NEW, overlap_s=60)
    registry.end_psk("dev", taken_back.credential.credential_id, REVOKED)
    assert registry.rotate_psk("dev", NEW, overlap_s=60).identity == b"dev#6"


def test_the_identity_that_the_device_goes_by_is_counted_up(registry: Registry) -> None:
    """Firmware knows its own name, and not the spare one that an operator gave it."""
    first = registry.add_psk_device("dev", b"dev", OLD)
    spare = registry.add_psk("dev", b"spare", b"S" * 16)

    def next_one() -> bytes:
        made = registry.rotate_psk("dev", NEW, overlap_s=60)
        registry.end_psk("dev", made.credential.credential_id, REVOKED)
        return made.identity

    assert next_one() == b"dev#2"
    registry.seen([], [(spare.credential_id, 1.0)])
    assert next_one() == b"spare#2"
    registry.seen([], [(first.credential_id, 2.0)])
    assert next_one() == b"dev#3"


def test_an_end_that_was_set_is_not_put_off(registry: Registry) -> None:
    registry.add_psk_device("dev", b"dev", OLD)
    registry._clock = lambda: 1000.0
    first = registry.rotate_psk("dev", NEW, overlap_s=10)
    registry.end_psk("dev", first.credential.credential_id, REVOKED)
    registry.rotate_psk("dev", NEW, overlap_s=1000)
    assert psk(registry, b"dev").not_after == 1010.0


def test_what_was_added_after_a_rotation_is_not_retired_by_it(registry: Registry) -> None:
    registry.add_psk_device("dev", b"dev", OLD)
    made = registry.rotate_psk("dev", NEW, overlap_s=60)
    registry.add_psk("dev", b"spare", b"S" * 16)
    registry.seen([], [(made.credential.credential_id, 1.0)])
    assert states(registry) == [(b"dev", RETIRED, 2), (b"dev#2", ACTIVE, 1), (b"spare", ACTIVE, 1)]


def test_an_identity_of_ones_own(registry: Registry) -> None:
    registry.add_psk_device("dev", b"dev", OLD)
    registry.add_psk_device("other", b"taken", b"T" * 16)
    with pytest.raises(Conflict, match="other"):
        registry.rotate_psk("dev", NEW, overlap_s=60, identity=b"taken")
    assert psk(registry, b"dev").not_after is None  # nothing of the failed change stays
    assert registry.rotate_psk("dev", NEW, overlap_s=60, identity=b"own").identity == b"own"


def test_what_cannot_be_rotated(registry: Registry) -> None:
    with pytest.raises(NotFound):
        registry.rotate_psk("dev", NEW, overlap_s=60)
    registry.add_device("dev")
    with pytest.raises(Conflict, match="psk add"):
        registry.rotate_psk("dev", NEW, overlap_s=60)
    registry.add_psk("dev", b"dev", OLD)
    for key in (b"short", b"x" * 65):
        with pytest.raises(InvalidValue):
            registry.rotate_psk("dev", key, overlap_s=60, identity=b"new")
        with pytest.raises(InvalidValue):
            registry.rotate_psk("dev", key, overlap_s=60)
    with pytest.raises(InvalidValue, match="overlap"):
        registry.rotate_psk("dev", NEW, overlap_s=-1)
    registry.rotate_psk("dev", NEW, overlap_s=60)
    with pytest.raises(Conflict, match="psk revoke dev"):
        registry.rotate_psk("dev", NEW, overlap_s=60)


def test_only_a_devices_own_keys_are_ended(registry: Registry) -> None:
    registry.add_psk_device("dev", b"dev", OLD)
    other = registry.add_psk_device("other", b"other", NEW)
    certificate = registry.allow_certificate("dev")
    for credential_id in (other.credential_id, certificate.credential_id, "none"):
        with pytest.raises(NotFound, match="psk list dev"):
            registry.end_psk("dev", credential_id, RETIRED)
    registry.end_psk("dev", psk(registry, b"dev").credential_id, RETIRED)
    assert states(registry)[0] == (b"dev", RETIRED, 2)
    assert psk(registry, b"other").status is ACTIVE


def test_use_of_what_is_gone_is_passed_over(registry: Registry) -> None:
    registry.add_psk_device("dev", b"dev", OLD)
    made = registry.rotate_psk("dev", NEW, overlap_s=60)
    registry.delete_device("dev")
    registry.seen([("default", "dev", 1.0)], [(made.credential.credential_id, 1.0)])
    assert registry.find_psk("default", b"dev#2") is None


def test_many_are_promoted_at_once(registry: Registry) -> None:
    used = []
    for number in range(600):
        registry.add_psk_device(f"dev{number}", b"id%d" % number, b"%016d" % number)
        used.append(registry.rotate_psk(f"dev{number}", NEW, overlap_s=60).credential.credential_id)
    registry.seen([], [(each, 1.0) for each in used])
    for number in range(600):
        assert [status for _, status, _ in states(registry, f"dev{number}")] == [RETIRED, ACTIVE]


# Derived keys.


@pytest.fixture
def deriving(registry_url: str, tmp_path: Path) -> Iterator[Registry]:
    create_master_key(tmp_path / "derivation.key")
    secrets = Secrets(None, f"file:{tmp_path / 'derivation.key'}")
    with open_registry(registry_url, create=True, secrets=secrets) as registry:
        yield registry


def test_of_a_derived_key_nothing_is_stored(deriving: Registry) -> None:
    added = deriving.add_psk_device("dev", b"dev", None)
    found = psk(deriving, b"dev")
    assert found == added
    assert found.key == deriving._secrets.derive("default", b"dev", 1)
    assert len(found.key) == 16
    [row] = deriving.credentials("dev")
    assert row.generation == 1
    status = deriving.key_status()
    assert (status.plain, status.derived, status.data_keys) == (0, 1, ())


def test_two_generations_live_until_the_new_one_is_used(deriving: Registry) -> None:
    deriving.add_psk_device("dev", b"dev", None)
    made = deriving.rotate_psk("dev", None, overlap_s=60)
    assert (made.identity, made.generation) == (b"dev#2", 2)
    old, new = psk(deriving, b"dev"), psk(deriving, b"dev#2")
    assert (old.key, new.key) == tuple(
        deriving._secrets.derive("default", identity, generation)
        for identity, generation in ((b"dev", 1), (b"dev#2", 2))
    )
    assert old.key != new.key
    deriving.seen([], [(new.credential_id, 1.0)])
    assert states(deriving) == [(b"dev", RETIRED, 2), (b"dev#2", ACTIVE, 1)]


def test_the_identity_says_the_generation(deriving: Registry) -> None:
    deriving.add_psk_device("dev", b"dev#5", None)
    assert [each.generation for each in deriving.credentials("dev")] == [5]
    assert deriving.rotate_psk("dev", None, overlap_s=60).identity == b"dev#6"
    with pytest.raises(InvalidValue, match="next generation"):
        deriving.rotate_psk("dev", None, overlap_s=60, identity=b"own")


def test_from_a_stored_key_to_a_derived_one(deriving: Registry) -> None:
    deriving.add_psk_device("dev", b"dev", OLD)
    made = deriving.rotate_psk("dev", None, overlap_s=60)
    assert (psk(deriving, b"dev").key, psk(deriving, b"dev#2").key) == (OLD, made.credential.key)


def test_without_a_derivation_key(registry: Registry) -> None:
    with pytest.raises(InvalidValue, match="derivation_key"):
        registry.add_psk_device("dev", b"dev", None)
    with pytest.raises(NotFound):
        registry.device("dev")


# To certificates.


def test_the_first_certificate_ends_pre_shared_keys_where_the_tenant_says_so(registry: Registry) -> None:
    registry.add_tenant("acme")
    for tenant in ("default", "acme"):
        registry.add_psk_device("dev", b"dev", OLD, tenant_id=tenant)
        registry.rotate_psk("dev", NEW, overlap_s=60, tenant_id=tenant)
    registry.set_migration("acme", after_first_certificate=True)
    used = [registry.allow_certificate("dev", tenant_id=tenant).credential_id for tenant in ("default", "acme")]
    registry.seen([], [(each, 1.0) for each in used])

    def of(tenant: str) -> list[CredentialStatus]:
        return [each.status for each in registry.credentials("dev", tenant_id=tenant)]

    assert of("default") == [ACTIVE, NEXT, ACTIVE]
    assert of("acme") == [RETIRED, RETIRED, ACTIVE]
    versions = [each.version for each in registry.credentials("dev", tenant_id="acme")]
    registry.seen([], [(each, 2.0) for each in used])
    assert [each.version for each in registry.credentials("dev", tenant_id="acme")] == versions


def test_a_pre_shared_key_ends_nothing_then(registry: Registry) -> None:
    registry.set_migration("default", after_first_certificate=True)
    added = registry.add_psk_device("dev", b"dev", OLD)
    registry.allow_certificate("dev")
    registry.seen([], [(added.credential_id, 1.0)])
    assert [each.status for each in registry.credentials("dev")] == [ACTIVE, ACTIVE]


def test_the_end_of_pre_shared_keys_is_set_beside_other_limits(registry: Registry) -> None:
    registry.set_tenant("default", limits=TenantLimits(max_devices=7))
    registry.set_migration("default", until=2_000_000_000.0, after_first_certificate=True)
    expected = TenantLimits(max_devices=7, psk_until=2_000_000_000.0, psk_ends_with_certificate=True)
    assert registry.tenant("default").limits == expected
    registry.set_migration("default")
    assert registry.tenant("default").limits == TenantLimits(max_devices=7)
    with pytest.raises(NotFound):
        registry.set_migration("nobody")
    with pytest.raises(InvalidValue):
        registry.set_migration("default", until=float("inf"))


def test_devices_are_counted_by_what_they_may_use(registry: Registry) -> None:
    registry.add_tenant("acme")
    certificates = {}
    for number in range(6):
        registry.add_psk_device(f"psk{number}", b"p%d" % number, b"%016d" % number)
    for number in range(3):
        registry.add_psk_device(f"both{number}", b"b%d" % number, b"B%015d" % number)
        certificates[number] = registry.allow_certificate(f"both{number}").credential_id
    registry.add_device("x509", tenant_id="acme")
    registry.allow_certificate("x509", tenant_id="acme")
    registry.add_device("nothing")
    registry.end_psk("both0", psk(registry, b"b0").credential_id, RETIRED)
    registry.end_psk("psk0", psk(registry, b"p0").credential_id, REVOKED)
    registry.seen(
        [],
        [
            (psk(registry, b"p1").credential_id, 100.0),
            (psk(registry, b"p2").credential_id, 10.0),
            (psk(registry, b"b1").credential_id, 100.0),
            (certificates[1], 200.0),
            (psk(registry, b"b2").credential_id, 300.0),
            (certificates[2], 200.0),
        ],
    )
    assert registry.migration_status(since=50.0) == Migration(psk=5, both=2, x509=2, seen_psk=2, seen_x509=1)
    assert registry.migration_status(since=250.0, tenant_id="default") == Migration(5, 2, 1, 1, 0)
    assert registry.migration_status(since=0.0, tenant_id="acme") == Migration(0, 0, 1, 0, 0)
