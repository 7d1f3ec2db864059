"""What is particular to the SQLite backend: the file, its mode, its versions, its locks."""

import re
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import DeviceStatus
from gateway.registry import (
    AnchorPolicy,
    Conflict,
    InvalidValue,
    LimitReached,
    NotActive,
    NotFound,
    Provision,
    Registry,
    Unavailable,
    check_schema,
    open_registry,
)
from gateway.registry.sqlite_database import SqliteDatabase, connect
from tests.unprivileged import public_folder, unprivileged

KEY = bytes(16)
ADMIT = AnchorPolicy(provision=Provision.ACTIVE)
CLOSED = AnchorPolicy()


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def test_the_file_and_its_journals_are_for_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    with open_registry(url(path), create=True) as registry:
        registry.add_device("dev")
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == {"registry.db": 0o600, "registry.db-wal": 0o600, "registry.db-shm": 0o600}


def test_a_missing_file_is_an_error_unless_created(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="gateway init"):
        open_registry(url(tmp_path / "registry.db"))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Unavailable, match="folder"):
        open_registry(url(tmp_path / "nowhere" / "registry.db"), create=True)


def test_a_file_open_to_everybody_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    open_registry(url(path), create=True).close()
    path.chmod(0o644)
    with pytest.raises(Unavailable, match=f"chmod 600 {path}"):
        open_registry(url(path))


@pytest.mark.parametrize(("file", "folder"), [(0o000, 0o700), (0o400, 0o700), (0o600, 0o500)], ids=oct)
def test_a_registry_that_this_user_may_not_use_is_named(file: int, folder: int) -> None:
    with public_folder() as place:
        path = place / "registry.db"
        open_registry(url(path), create=True).close()
        path.chmod(file)
        place.chmod(folder)
        with (
            unprivileged(place),
            pytest.raises(Unavailable, match=r"owner and mode|may not") as caught,
            open_registry(url(path)) as registry,
        ):
            registry.check_writable()
        if file != 0o400:  # which is opened for reading
            at_fault = path if folder == 0o700 else place
            assert re.search(rf"cannot be used as a registry: .*; user \d+ may not .*: {at_fault}$", str(caught.value))
        with unprivileged(place):
            place.chmod(0o700)


def test_a_registry_without_its_schema_is_left_without(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    path.touch(0o600)
    with pytest.raises(Unavailable, match="`gateway db upgrade`"):
        check_schema(url(path))
    assert path.read_bytes() == b""
    open_registry(url(path)).close()
    check_schema(url(path))
    check_schema("sqlite://")


def test_what_is_no_database_is_said_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    path.write_text("x" * 5000)
    path.chmod(0o600)
    with pytest.raises(Unavailable, match=r"registry\.db cannot be used .* not a database; put its file back"):
        open_registry(url(path))


def test_a_full_disk_is_said_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    with open_registry(url(path), create=True) as registry:
        database = registry._database
        assert isinstance(database, SqliteDatabase)
        (pages,) = database._raw.execute("PRAGMA page_count").fetchone()
        database._raw.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(Unavailable, match="make room on its disk"):
            registry.together(lambda: [registry.add_device(f"dev{number}") for number in range(10_000)], write=True)


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    text, other = tmp_path / "notes.txt", tmp_path / "other.db"
    text.write_text("not a database, but a longer text than a header of one hundred bytes would be" * 3)
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    for path in (text, other):
        path.chmod(0o600)
        before = path.read_bytes()
        with pytest.raises(Unavailable):
            open_registry(url(path))
        assert path.read_bytes() == before


def test_relative_and_memory_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_registry("sqlite:///odd name?.db".replace("?", "%"), create=True) as registry:
        registry.add_device("dev")
    assert (tmp_path / "odd name%.db").exists()
    with open_registry("sqlite://") as memory:
        memory.add_device("dev")
        assert memory.counts().devices == 1


@pytest.mark.parametrize(
    "bad",
    ["", "registry.db", "sqlite:registry.db", "sqlite:///", "mysql://u:secret@h/d", "postgresql://u:secret@h:x/d"],
)
def test_urls_that_are_not_understood(bad: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        open_registry(bad)
    assert "postgresql://USER@HOST/DATABASE" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_readers_do_not_wait_for_a_writer_and_writers_give_up_readably(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    with open_registry(url(path), create=True) as first:
        first.add_psk_device("dev", b"id", KEY)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM device")
    with Registry(connect(path, create=False, busy_timeout_ms=1)) as registry:
        assert registry.find_psk("default", b"id") is not None  # the last committed state
        with pytest.raises(Unavailable, match="locked"):
            registry.add_device("dev2")
        writer.execute("ROLLBACK")
        registry.add_device("dev2")
    writer.close()


def test_using_a_closed_registry_is_unavailable(tmp_path: Path) -> None:
    registry = open_registry(url(tmp_path / "registry.db"), create=True)
    registry.close()
    for call in (
        lambda: registry.find_psk("default", b"x"),
        registry.trust_anchors,
        lambda: registry.add_device("d"),
    ):
        with pytest.raises(Unavailable):
            call()


PROVISION = """
import sys
from gateway.registry import AnchorPolicy, Provision, open_registry
ADMIT = AnchorPolicy(provision=Provision.ACTIVE)
with open_registry(sys.argv[1]) as registry:
    sys.stdin.readline()
    for number in range(50):
        made = registry.provision_device("default", f"dev{number}", anchor_id="anchor", policy=ADMIT)
        print(made.credential_id, made.created)
"""


def test_processes_that_provision_the_same_devices_agree(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    open_registry(url(path), create=True).close()
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", PROVISION, url(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    outputs = [worker.communicate()[0].splitlines() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    ids = [[line.split()[0] for line in lines] for lines in outputs]
    assert ids[0] == ids[1] == ids[2]
    assert len(set(ids[0])) == 50
    assert sum(line.endswith("True") for lines in outputs for line in lines) == 50
    with open_registry(url(path)) as registry:
        assert registry.counts().devices == 50


@settings(max_examples=50, deadline=None)
@given(identities=st.lists(st.binary(min_size=1, max_size=40), unique=True, max_size=8), probe=st.binary(max_size=40))
def test_the_identity_map_is_a_dictionary(identities: list[bytes], probe: bytes) -> None:
    with open_registry("sqlite://") as registry:
        for number, identity in enumerate(identities):
            registry.add_psk_device(f"dev{number}", identity, KEY)
        model = {identity: f"dev{number}" for number, identity in enumerate(identities)}
        for identity in (*identities, probe):
            found = registry.find_psk("default", identity)
            assert (found.device.id if found else None) == model.get(identity)


def test_hot_look_ups_use_an_index() -> None:
    database = connect(None, create=True)
    seen: list[str] = []
    database._raw.set_trace_callback(seen.append)
    with Registry(database) as registry:
        registry.find_psk("default", b"id")
        registry.find_rpk(bytes(32))
        registry.find_certificate_device("default", "dev")
        registry.standing("credential")
        database._raw.set_trace_callback(None)
        assert len(seen) == 4
        for statement in seen:
            plan = [row[3] for row in database._raw.execute(f"EXPLAIN QUERY PLAN {statement}")]
            assert plan
            assert all(step.startswith("SEARCH") for step in plan), plan


def test_a_certificate_that_is_refused_takes_no_write_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "registry.db"
    with open_registry(url(path), create=True) as first:
        first.add_psk_device("keyed", b"id", KEY)
        first.add_device("off", status=DeviceStatus.DISABLED)
        bound = first.provision_device("default", "bound", anchor_id="anchor", policy=ADMIT)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    with Registry(connect(path, create=False, busy_timeout_ms=1)) as registry:
        with pytest.raises(NotFound):
            registry.provision_device("default", "nobody", anchor_id="anchor", policy=CLOSED)
        with pytest.raises(Conflict):
            registry.provision_device("default", "keyed", anchor_id="anchor", policy=ADMIT)
        with pytest.raises(NotActive):
            registry.provision_device("default", "off", anchor_id="anchor", policy=ADMIT)
        again = registry.provision_device("default", "bound", anchor_id="anchor", policy=ADMIT)
        assert again.credential_id == bound.credential_id
        with pytest.raises(Unavailable, match="locked"):
            registry.provision_device("default", "nobody", anchor_id="anchor", policy=ADMIT)
        monkeypatch.setattr("gateway.registry.store.MAX_DEVICES_PER_TENANT", 3)
        with pytest.raises(LimitReached):
            registry.provision_device("default", "nobody", anchor_id="anchor", policy=ADMIT)
        writer.execute("ROLLBACK")
        assert registry.counts().devices == 3
    writer.close()
