"""Several changes in one transaction, and what management asks beside the contract."""

from pathlib import Path

import pytest

from gateway.registry import HEAD, Conflict, NotFound, Registry, Unavailable, open_registry, schema_version
from tests.registry.conftest import Opener


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.db"


@pytest.fixture
def registry(open_store: Opener) -> Registry:
    return open_store()


def test_all_or_nothing(registry: Registry) -> None:
    def work() -> None:
        registry.add_device("dev1")
        registry.add_psk("dev1", b"id1", bytes(16))
        registry.add_device("dev1")

    with pytest.raises(Conflict):
        registry.together(work, write=True)
    assert registry.list_devices() == []
    assert registry.audit_entries() == []
    assert (registry.counts().psk_credentials, registry.writes) == (0, 0)


def test_what_was_read_stays_true_until_the_end(path: Path) -> None:
    """SQLite says so at once; PostgreSQL waits."""
    url = f"sqlite:///{path}"
    with open_registry(url, create=True) as registry, open_registry(url) as other:
        registry.add_device("dev1")

        def work() -> tuple[str, ...]:
            tags = registry.device("dev1").tags
            with pytest.raises(Unavailable, match="locked"):
                other.set_details("dev1", tags=["theirs"])
            return registry.set_details("dev1", tags=[*tags, "ours"]).tags

        assert registry.together(work, write=True) == ("ours",)
        assert registry.writes == 2
        other.set_details("dev1", tags=[*other.device("dev1").tags, "theirs"])
        assert registry.device("dev1").tags == ("ours", "theirs")


def test_a_view_is_of_one_moment(registry: Registry, open_store: Opener) -> None:
    other = open_store()
    registry.add_device("dev1")

    def work() -> list[int]:
        first = len(registry.list_devices())
        other.add_device("dev2")
        return [first, len(registry.list_devices())]

    assert registry.together(work, write=False) == [1, 1]
    assert len(registry.list_devices()) == 2


def test_one_in_the_other_is_one(registry: Registry) -> None:
    def work() -> None:
        registry.together(lambda: registry.add_device("dev1"), write=True)
        raise Conflict("after all")

    with pytest.raises(Conflict):
        registry.together(work, write=True)
    assert registry.list_devices() == []
    registry.together(lambda: registry.add_device("dev1"), write=True)
    assert registry.device("dev1").id == "dev1"


def test_a_credential_by_its_id(registry: Registry) -> None:
    made = registry.add_psk_device("dev1", b"id1", bytes(16))
    owner, found = registry.credential(made.credential_id)
    assert (owner.id, found.psk_identity) == ("dev1", b"id1")
    with pytest.raises(NotFound):
        registry.credential("none")


def test_devices_that_were_never_seen(registry: Registry) -> None:
    for name in ("dev1", "dev2"):
        registry.add_device(name)
    registry.seen([("default", "dev1", 1.0)])
    assert [each.device.id for each in registry.list_devices(never_seen=True)] == ["dev2"]


def test_the_schema_s_version_is_told_without_touching_it(path: Path) -> None:
    url = f"sqlite:///{path}"
    with pytest.raises(Unavailable, match="does not exist"):
        schema_version(url)
    path.touch(0o600)
    assert schema_version(url) is None
    assert path.read_bytes() == b""
    open_registry(url).close()
    assert schema_version(url) == HEAD
