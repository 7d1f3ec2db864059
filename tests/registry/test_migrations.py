"""The schema: what alembic makes is what the code works with, and what is older or newer is taken over or refused."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from gateway.registry import (
    AnchorPolicy,
    CredentialStatus,
    ImportRow,
    Provision,
    Registry,
    Result,
    Unavailable,
    open_registry,
)
from gateway.registry import migrating as migrating_module
from gateway.registry.migrating import HEAD, version
from gateway.registry.tables import metadata
from tests.registry.postgres import PostgresServer

SCHEMAS = [(Path(__file__).parent / "legacy" / f"{number}.sql").read_text() for number in (1, 2)]


def test_the_schema_that_alembic_makes_is_the_one_of_the_tables(registry: Registry) -> None:
    def compare(connection: Connection) -> tuple[Any, set[str]]:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": differ, "target_metadata": metadata}
        )
        return compare_metadata(context, metadata), set(inspect(connection).get_table_names())

    def differ(context: MigrationContext, _column: object, _meant: object, *defaults: Any) -> bool | None:
        if context.dialect.name != "sqlite":
            return None  # as alembic does it, which does not understand SQLite's ('')
        made, _, meant = defaults
        return (made is None, (made or "").strip("()'")) != (meant is None, (meant or "").strip("()'"))

    difference, tables = registry._read(compare)
    assert difference == []
    assert tables == {*metadata.tables, "alembic_version"}


def test_checks_are_the_same_too(registry: Registry) -> None:
    # Alembic does not compare them.
    def compare(connection: Connection) -> dict[str, tuple[set[str], set[str]]]:
        found = inspect(connection)
        return {
            name: (
                {str(check["name"]) for check in found.get_check_constraints(name)},
                {str(each.name) for each in table.constraints if type(each).__name__ == "CheckConstraint"},
            )
            for name, table in metadata.tables.items()
        }

    for name, (made, meant) in registry._read(compare).items():
        assert made == meant, name


def test_the_version_of_this_release_is_the_last_one() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrating_module.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_a_new_registry_has_the_default_tenant(registry: Registry) -> None:
    assert registry._read(version) == HEAD
    assert [(each.id, each.name, each.active, each.device_count) for each in registry.tenants()] == [
        ("default", "Default", True, 0)
    ]


def test_keys_from_before_tags_get_theirs(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    with open_registry(f"sqlite:///{path}", create=True) as registry:
        registry.add_psk_device("dev", b"dev", KEY)
        registry.allow_certificate("dev")
    connection = sqlite3.connect(path)
    connection.executescript("DROP INDEX credential_of_key; ALTER TABLE credential DROP COLUMN key_tag")
    connection.execute("UPDATE alembic_version SET version_num = '0001'")
    connection.commit()
    connection.close()
    with open_registry(f"sqlite:///{path}") as registry:
        assert registry._read(version) == HEAD
        [same, shared] = registry.import_devices(
            [ImportRow(1, "dev", "default", b"dev", KEY), ImportRow(2, "other", "default", b"other", KEY)]
        )
    assert (same.result, shared.result) == (Result.UNCHANGED, Result.REFUSED)


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    open_registry(f"sqlite:///{path}", create=True).close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(Unavailable, match="schema version 9999"):
        open_registry(f"sqlite:///{path}")


def test_postgresql_is_brought_up_to_date_only_when_told(postgres: PostgresServer) -> None:
    url = postgres.create("untouched")
    with pytest.raises(Unavailable, match="gateway db upgrade"):
        open_registry(url)
    with open_registry(url, migrate=True) as registry:
        assert registry.counts().tenants == 1
    open_registry(url).close()
    postgres.sql("untouched", "UPDATE alembic_version SET version_num = '9999'")
    for migrate in (False, True):
        with pytest.raises(Unavailable, match="schema version 9999") as caught:
            open_registry(url, migrate=migrate)
        assert postgres.password not in str(caught.value)


def test_a_postgresql_database_of_something_else_is_left_alone(postgres: PostgresServer) -> None:
    url = postgres.create("theirs")
    postgres.sql("theirs", "CREATE TABLE tenant (x int)", "CREATE TABLE credential (x int)")
    with pytest.raises(Unavailable, match="something else"):
        open_registry(url, migrate=True)
    assert postgres.sql("theirs", "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == "2"


# Registries from before alembic.

KEY = b"k" * 16
CREDENTIALS = [
    # id, tenant, device, kind, lookup key, secret, key id, anchor, status, version, created, updated
    ("c2", "acme", "dev", "psk", b"id\0\xff", KEY, None, None, "active", 3, 2.0, 3.0),
    ("c1", "acme", "dev", "x509", b"acme\0dev", None, None, "aa", "revoked", 1, 2.0, 2.5),
    ("c3", "default", "dev", "x509", b"default\0dev", None, None, None, "next", 2, 2.0, 2.5),
]
PUBLIC_KEY = ("c4", "default", "dev", "rpk", b"f" * 32, None, None, None, "active", 1, 2.0, 2.5)


@pytest.fixture(params=[1, 2])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A registry file of schema 1 or 2, with something in it."""
    path = tmp_path / "registry.db"
    connection = sqlite3.connect(path)
    for schema in SCHEMAS[: request.param]:
        connection.executescript(schema)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA user_version = {request.param}")
    connection.execute("INSERT INTO tenant (id, name, created_at) VALUES ('acme', 'Acme', 1.5)")
    connection.executemany(
        "INSERT INTO device VALUES (?, ?, ?, ?, ?, ?)",
        [
            ("default", "dev", "active", 0, 1.0, 1.5),
            ("acme", "dev", "quarantined", 1, 2.0, 2.5),
            ("acme", "dev2", "pending", 0, 3.0, 3.5),
        ],
    )
    credentials = [*CREDENTIALS, PUBLIC_KEY] if request.param == 2 else CREDENTIALS
    connection.executemany(f"INSERT INTO credential VALUES ({','.join('?' * 12)})", credentials)
    connection.executemany(
        "INSERT INTO trust_anchor VALUES (?, ?, ?, ?, ?, ?, ?)",
        [("bb", "default", "CN=B", b"der B", 0, 1, 4.0), ("aa", "acme", "CN=A", b"der A", 1, 0, 5.0)],
    )
    connection.executemany("INSERT INTO intermediate VALUES (?, ?, ?)", [("z", b"two", 6.0), ("y", b"one", 7.0)])
    connection.commit()
    connection.close()
    path.chmod(0o600)
    return path


def test_an_old_registry_is_taken_over_whole(old: Path) -> None:
    with open_registry(f"sqlite:///{old}") as registry:
        assert [(each.id, each.name, each.active, each.device_count) for each in registry.tenants()] == [
            ("acme", "Acme", True, 2),
            ("default", "Default", True, 1),
        ]
        devices = [
            (d.tenant_id, d.id, d.status.value, d.auto_provisioned, d.created_at, each.updated_at)
            for each in registry.list_devices()
            for d in [each.device]
        ]
        assert devices == [
            ("acme", "dev", "quarantined", True, 2.0, 2.5),
            ("acme", "dev2", "pending", False, 3.0, 3.5),
            ("default", "dev", "active", False, 1.0, 1.5),
        ]
        psk = registry.find_psk("acme", b"id\0\xff")
        assert psk is not None
        assert (psk.key, psk.credential_id, psk.version, psk.status) == (KEY, "c2", 3, CredentialStatus.ACTIVE)
        assert psk.device == registry.device("dev", tenant_id="acme")
        assert registry.find_psk("default", b"id\0\xff") is None  # it is its tenant's now
        theirs, ours = (registry.find_certificate_device(tenant, "dev") for tenant in ("acme", "default"))
        assert theirs is not None
        assert ours is not None
        assert (theirs.credential_id, theirs.anchor_id, theirs.status) == ("c1", "aa", CredentialStatus.REVOKED)
        assert (ours.credential_id, ours.anchor_id, ours.version) == ("c3", None, 2)
        shown = registry.credentials("dev", tenant_id="acme")
        assert [each.credential_id for each in shown] == ["c2", "c1"]  # in the order in which they were added
        assert [(each.id, each.tenant_ids, each.subject, each.certificate) for each in registry.trust_anchors()] == [
            ("bb", ("default",), "CN=B", b"der B"),
            ("aa", ("acme",), "CN=A", b"der A"),
        ]
        assert [each.policy for each in registry.trust_anchors()] == [
            AnchorPolicy(strict=True),
            AnchorPolicy(provision=Provision.ACTIVE),
        ]
        assert [each.created_at for each in registry.trust_anchors()] == [4.0, 5.0]
        assert registry.intermediates() == [b"two", b"one"]


def test_a_key_of_an_old_registry_is_found_again(old: Path) -> None:
    with open_registry(f"sqlite:///{old}") as registry:
        [found] = registry.import_devices([ImportRow(1, "other", "default", b"other", KEY)])
        assert "device 'dev' of tenant 'acme' has the same key" in found.reason


def test_raw_public_keys_of_an_old_registry(old: Path) -> None:
    with open_registry(f"sqlite:///{old}") as registry:
        found = registry.find_rpk(b"f" * 32)
        kinds = [each.kind for each in registry.credentials("dev")]
        if found is None:  # the first schema had none
            assert kinds == ["x509"]
        else:
            assert (found.credential_id, kinds) == ("c4", ["x509", "rpk"])


def test_nothing_old_is_left_of_an_old_registry(old: Path) -> None:
    for _ in range(2):  # the second time there is nothing to do
        open_registry(f"sqlite:///{old}").close()
    connection = sqlite3.connect(old)
    assert connection.execute("PRAGMA user_version").fetchone() == (0,)
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table','trigger')")}
    assert names == {*metadata.tables, "alembic_version", "sqlite_sequence"}
    connection.close()


def test_an_old_registry_works_on(old: Path) -> None:
    with open_registry(f"sqlite:///{old}") as registry:
        registry.delete_device("dev", tenant_id="acme")
        assert registry.tenant("acme").device_count == 1
        registry.add_psk("dev", b"id", KEY)
        registry.add_psk_device("dev3", b"id", KEY, tenant_id="acme")
        assert registry.counts().devices == 3


def test_a_take_over_that_fails_leaves_the_old_registry(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dump() -> list[str]:
        connection = sqlite3.connect(old)
        lines = [*connection.iterdump(), str(connection.execute("PRAGMA user_version").fetchone())]
        connection.close()
        return lines

    before = dump()
    with monkeypatch.context() as patch:
        patch.setattr("gateway.registry.legacy._COPY", ("INSERT INTO nowhere VALUES (1)",))
        with pytest.raises(Unavailable):
            open_registry(f"sqlite:///{old}")
    assert dump() == before
    open_registry(f"sqlite:///{old}").close()


def test_an_unknown_old_version_is_refused(old: Path) -> None:
    connection = sqlite3.connect(old)
    connection.execute("PRAGMA user_version = 3")
    connection.close()
    with pytest.raises(Unavailable, match="something else"):
        open_registry(f"sqlite:///{old}")
