"""From a URL to a registry."""

from pathlib import Path

from gateway.registry.database import Database
from gateway.registry.errors import InvalidValue, Unavailable
from gateway.registry.migrating import check_version, version
from gateway.registry.registry import Registry
from gateway.registry.secrets import Secrets

_SQLITE = "sqlite://"
_IN_MEMORY = (_SQLITE, "sqlite:///:memory:")
_POSTGRESQL = ("postgresql://", "postgres://", "postgresql+asyncpg://")


def open_registry(
    url: str, *, create: bool = False, migrate: bool = False, actor: str = "gateway", secrets: Secrets | None = None
) -> Registry:
    """Opens a registry.

    Args:
        url: `sqlite:///relative.db`, `sqlite:////absolute.db`, `sqlite://` for one in memory that ends with the
            process, or `postgresql://user@host/database`; a password is better in `PGPASSFILE` than in the URL.
        create: Make the file, with mode 0600, if it is not there. Without it a mistyped path is an error rather than
            an empty registry.
        migrate: Bring the schema of PostgreSQL up to date; that of SQLite always is.
        actor: Who makes changes, for the audit trail.
        secrets: The keys that secrets rest under; without, they rest as they are.

    Raises:
        InvalidValue: The URL names no store that we know.
        Unavailable: The store cannot be used.
    """
    return Registry(_database(url, create=create, migrate=migrate), actor=actor, secrets=secrets)


def schema_version(url: str) -> str | None:
    """The version of a registry's schema, without bringing it up to date; None where there is none yet.

    Raises:
        InvalidValue: The URL names no store that we know.
        Unavailable: The store cannot be used.
    """
    if url.startswith(_POSTGRESQL):
        database: Database = _postgres(url, migrate=None)
    else:
        from gateway.registry.sqlite_database import look_into

        database = look_into(_path(url))
    try:
        return database.read(version)
    finally:
        database.close()


def check_schema(url: str) -> None:
    """Whether a registry is of this release, without bringing it up to date.

    Raises:
        InvalidValue: The URL names no store that we know.
        Unavailable: It is of another release or has no schema yet, or the store cannot be used.
    """
    if url in _IN_MEMORY:
        return
    if url.startswith(_POSTGRESQL):
        _postgres(url, migrate=False).close()
        return
    from gateway.registry.sqlite_database import look_into

    path = _path(url)
    database = look_into(path)
    try:
        if not database.read(lambda connection: check_version(connection, str(path))):
            raise Unavailable(
                f"the schema of the registry {path} is older than this release, or not there; bring it up to date with "
                "`gateway db upgrade`, or by a start of the gateway"
            )
    finally:
        database.close()


def _database(url: str, *, create: bool, migrate: bool) -> Database:
    if url.startswith(_POSTGRESQL):
        return _postgres(url, migrate=migrate or create)
    # Neither is imported for the other: together they take a fifth of a second.
    from gateway.registry.sqlite_database import connect

    if url in _IN_MEMORY:
        return connect(None, create=True)
    return connect(_path(url), create=create)


def _path(url: str) -> Path:
    path = url.removeprefix(_SQLITE + "/")
    if path == url or not path or "?" in path:
        shown = url.partition("://")[0] + "://..."  # The rest may hold a password.
        raise InvalidValue(
            f"the registry URL {shown} is not understood; write sqlite:///FILE for a relative path, "
            "sqlite:////FILE for an absolute one, or postgresql://USER@HOST/DATABASE"
        )
    return Path(path)


def _postgres(url: str, *, migrate: bool | None) -> Database:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    from gateway.registry.postgres_database import PostgresDatabase

    try:
        parsed = make_url(url).set(drivername="postgresql+asyncpg")
    except (ArgumentError, ValueError):  # whose text may hold the password
        raise InvalidValue("the registry URL is not understood; write postgresql://USER@HOST/DATABASE") from None
    return PostgresDatabase(parsed, migrate=migrate)
