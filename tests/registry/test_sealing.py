"""Device keys at rest: sealed, sealed anew, and never lost."""

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import select, update

from gateway.registry import (
    Conflict,
    InvalidValue,
    Registry,
    Secrets,
    Unavailable,
    create_master_key,
    open_registry,
)
from gateway.registry.limits import RESEAL_BATCH
from gateway.registry.tables import credential, data_key

Open = Callable[..., Registry]


def key_of(number: int) -> bytes:
    return b"KEY-OF-%09d" % number


def identity_of(number: int) -> bytes:
    return b"id-%d" % number


@pytest.fixture
def master(tmp_path: Path) -> str:
    create_master_key(tmp_path / "master.key")
    return f"file:{tmp_path / 'master.key'}"


@pytest.fixture
def opened(registry_url: str) -> Iterator[Open]:
    """Opens the registry as another process would, with a master key or without one."""
    with ExitStack() as stack:
        yield lambda master=None: stack.enter_context(open_registry(registry_url, create=True, secrets=Secrets(master)))


def add(registry: Registry, *numbers: int) -> None:
    for number in numbers:
        registry.add_psk_device(f"dev{number}", identity_of(number), key_of(number))


def all_open(registry: Registry, count: int) -> None:
    for number in range(count):
        found = registry.find_psk("default", identity_of(number))
        assert found is not None
        assert found.key == key_of(number)


def stored(registry: Registry) -> list[tuple[bytes, str | None]]:
    rows = registry._read(lambda c: c.execute(select(credential.c.secret, credential.c.key_id)).all())
    return [(bytes(row.secret), row.key_id) for row in rows]


def test_with_a_master_key_nothing_is_stored_as_it_is(opened: Open, master: str) -> None:
    registry = opened(master)
    add(registry, 0, 1)
    for secret, key_id in stored(registry):
        assert b"KEY" not in secret
        assert key_id is not None
    all_open(registry, 2)
    all_open(opened(master), 2)  # another process, with nothing in memory


def test_keys_from_before_the_master_key_stay_readable_and_are_sealed_by_a_rotation(opened: Open, master: str) -> None:
    add(opened(), 0, 1)
    registry = opened(master)
    add(registry, 2)
    all_open(registry, 3)
    status = registry.key_status()
    assert (status.plain, [each.sealed for each in status.data_keys], status.opens) == (2, [1], True)
    done = registry.rotate_keys()
    assert (done.resumed, done.sealed, done.failed) == (False, 3, 0)
    assert {key_id for _, key_id in stored(registry)} == {done.key_id}
    status = registry.key_status()
    assert (status.plain, [(each.id, each.sealed) for each in status.data_keys]) == (0, [(done.key_id, 3)])
    all_open(opened(master), 3)


def test_sealed_keys_need_the_master_key_and_nothing_is_added_unsealed_beside_them(
    opened: Open, master: str, tmp_path: Path
) -> None:
    add(opened(master), 0)
    create_master_key(tmp_path / "other.key")
    for registry in (opened(), opened(f"file:{tmp_path / 'other.key'}")):
        with pytest.raises(Unavailable, match="master_key"):
            registry.find_psk("default", identity_of(0))
        with pytest.raises(Unavailable, match="master_key"):
            add(registry, 1)
        with pytest.raises(Unavailable, match="master_key"):
            registry.check_keys()
    assert [record.device.id for record in opened().list_devices()] == ["dev0"]  # no key is needed for that


def test_a_row_that_was_moved_does_not_open(opened: Open, master: str) -> None:
    registry = opened(master)
    add(registry, 0, 1)
    [(first, _), _] = stored(registry)
    registry._write(
        lambda c: c.execute(update(credential).where(credential.c.device_id == "dev1").values(secret=first))
    )
    with pytest.raises(Unavailable, match="changed"):
        registry.find_psk("default", identity_of(1))


def test_a_rotation_without_a_master_key_is_refused(opened: Open) -> None:
    registry = opened()
    add(registry, 0)
    with pytest.raises(Conflict, match="master_key"):
        registry.rotate_keys()
    all_open(registry, 1)


def test_a_rotation_ends_no_session_and_tells_nobody(opened: Open, master: str) -> None:
    registry = opened(master)
    add(registry, 0)
    before, seq = registry.credentials("dev0"), registry.changes_since(-1).seq
    registry.rotate_keys()
    assert registry.credentials("dev0") == before
    assert not registry.changes_since(seq)


def test_a_rotation_that_is_cut_off_goes_on(opened: Open, master: str) -> None:
    count = 3 * RESEAL_BATCH
    registry = opened(master)
    for number in range(count):
        add(registry, number)

    def cut_off(sealed: int) -> None:
        if sealed >= RESEAL_BATCH:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        registry.rotate_keys(cut_off)
    other = opened(master)
    all_open(other, count)
    assert sorted(each.sealed for each in other.key_status().data_keys) == [RESEAL_BATCH, 2 * RESEAL_BATCH]
    add(other, count)  # sealed under the new one
    done = other.rotate_keys()
    assert (done.resumed, done.sealed) == (True, 2 * RESEAL_BATCH)
    assert [each.sealed for each in other.key_status().data_keys] == [count + 1]
    all_open(registry, count + 1)


def test_a_rotation_gives_way_to_one_that_began_later(opened: Open, master: str) -> None:
    """Else it would seal rows under a data key that the later one removes."""
    first, second = opened(master), opened(master)
    for number in range(RESEAL_BATCH + 1):
        add(first, number)
    others: list[object] = []

    def meanwhile(sealed: int) -> None:
        if not others:
            others.append(second.rotate_keys())  # ends the first one's work
            others.append(second.rotate_keys())

    with pytest.raises(Conflict, match="same time"):
        first.rotate_keys(meanwhile)
    all_open(opened(master), RESEAL_BATCH + 1)


def test_a_data_key_stays_as_long_as_a_row_needs_it(opened: Open, master: str) -> None:
    registry = opened(master)
    add(registry, 0, 1)
    registry._write(
        lambda c: c.execute(update(credential).where(credential.c.device_id == "dev1").values(secret=b"x" * 44))
    )
    done = registry.rotate_keys()
    assert (done.sealed, done.failed) == (1, 1)
    assert [each.sealed for each in registry.key_status().data_keys] == [1, 1]
    all_open(opened(master), 1)
    registry.delete_device("dev1")
    registry.rotate_keys()
    assert [each.sealed for each in registry.key_status().data_keys] == [1]


def test_a_new_master_key_wraps_all_or_nothing(opened: Open, master: str, tmp_path: Path) -> None:
    registry = opened(master)
    add(registry, 0)
    create_master_key(tmp_path / "new.key")
    new = f"file:{tmp_path / 'new.key'}"
    with pytest.raises(InvalidValue):
        registry.rewrap_keys("file")
    with pytest.raises(Unavailable):
        registry.rewrap_keys(f"{new}.not-there")
    all_open(opened(master), 1)
    assert registry.rewrap_keys(new) == 1
    all_open(registry, 1)  # what is opened stays so
    all_open(opened(new), 1)
    with pytest.raises(Unavailable, match="does not open"):
        opened(master).find_psk("default", identity_of(0))
    [wrapped] = registry.key_status().data_keys
    assert wrapped.provider == new


def test_nothing_secret_is_in_the_tables_that_people_read(opened: Open, master: str) -> None:
    registry = opened(master)
    add(registry, 0)
    registry.rotate_psk("dev0", b"SECOND-KEY-OF-0!", overlap_s=60)
    registry.rotate_keys()
    said = repr(registry.audit_entries(limit=1000)) + repr(registry.key_status()) + repr(registry.credentials("dev0"))
    for key in (key_of(0), b"SECOND-KEY-OF-0!"):
        assert key.decode() not in said
        assert key.hex() not in said
    wrapped = registry._read(lambda c: c.execute(select(data_key.c.wrapped)).scalars().all())
    assert all(bytes(each).hex() not in said for each in wrapped)


def test_no_copy_of_a_key_stays_in_the_files(tmp_path: Path, master: str) -> None:
    url = f"sqlite:///{tmp_path / 'files.db'}"
    with open_registry(url, create=True) as registry:
        for number in range(50):
            add(registry, number)
        registry.delete_device("dev0")
    files = [tmp_path / "files.db", tmp_path / "files.db-wal"]
    assert key_of(1) in files[0].read_bytes()
    with open_registry(url, secrets=Secrets(master)) as registry:
        registry.rotate_keys()
        for file in files:
            assert b"KEY-OF" not in file.read_bytes()


KILLED = """
import sys
from gateway.registry import Secrets, open_registry
with open_registry(sys.argv[1], secrets=Secrets(sys.argv[2])) as registry:
    print("ready", flush=True)
    while True:
        registry.rotate_keys()
"""


def test_killed_at_any_time_it_loses_no_key(tmp_path: Path, master: str) -> None:
    count = 2 * RESEAL_BATCH + 50
    url = f"sqlite:///{tmp_path / 'killed.db'}"
    with open_registry(url, create=True) as registry:
        for number in range(count):
            add(registry, number)
    moment = random.Random(5)
    for _ in range(12):
        process = subprocess.Popen([sys.executable, "-c", KILLED, url, master], stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process.stdout:
            assert process.stdout.readline() == b"ready\n"
            time.sleep(moment.uniform(0, 0.15))
            process.kill()
            process.wait()
        with open_registry(url, secrets=Secrets(master)) as registry:
            all_open(registry, count)
    with open_registry(url, secrets=Secrets(master)) as registry:
        registry.rotate_keys()
        registry.rotate_keys()
        all_open(registry, count)
        status = registry.key_status()
        assert (status.plain, [each.sealed for each in status.data_keys]) == (0, [count])
