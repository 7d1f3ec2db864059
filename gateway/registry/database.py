"""One SQLite file: opening, pragmas, migrations, transactions, and its errors as ours."""

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from gateway.registry.errors import Conflict, RegistryError, Unavailable
from gateway.registry.limits import BUSY_TIMEOUT_MS, PAGE_CACHE_KIB
from gateway.registry.schema import MIGRATIONS

Row = tuple[object, ...]


def connect(path: Path | None, *, create: bool, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> sqlite3.Connection:
    """Opens a registry file in autocommit mode and brings its schema up to date.

    Args:
        path: The file; None for a database in memory.
        create: Make the file if it is not there.
        busy_timeout_ms: How long a write waits for another process's write.

    Raises:
        Unavailable: The file is missing, not a registry, made by a newer release, or open to every user.
    """
    if path is not None:
        _prepare_file(path, create=create)
    target = ":memory:" if path is None else f"file:{quote(str(path.absolute()))}?mode=rw"
    try:
        connection = sqlite3.connect(target, uri=True, isolation_level=None, timeout=busy_timeout_ms / 1000)
    except sqlite3.Error as error:
        raise Unavailable(f"cannot open the registry {path}: {error}") from error
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute(f"PRAGMA cache_size = -{PAGE_CACHE_KIB}")
        _migrate(connection, path)
        # Write-ahead log: readers never wait for the writer of another process. NORMAL: a power cut may lose the last
        # commits, never the file. Set last, for it marks the file, which may turn out not to be ours.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.Error as error:
        connection.close()
        raise Unavailable(f"{path} cannot be used as a registry: {error}") from error
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """A write transaction that takes the write lock at once, so that what is read inside stays true.

    Raises:
        Conflict: A constraint of the schema refused the change.
        Unavailable: The store failed, or another process held the lock too long.
    """
    with translated():
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        try:
            connection.execute("COMMIT")
        except sqlite3.Error:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """A read transaction: the reads inside see one state, and wait for nobody.

    Raises:
        Unavailable: The store failed.
    """
    with translated():
        connection.execute("BEGIN")
        try:
            yield
        finally:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")


@contextmanager
def translated() -> Iterator[None]:
    """Turns errors of sqlite3 into `RegistryError`."""
    try:
        yield
    except sqlite3.Error as error:
        raise failure(error) from error


def failure(error: sqlite3.Error) -> RegistryError:
    """The `RegistryError` for an error of sqlite3."""
    if isinstance(error, sqlite3.IntegrityError):
        return Conflict(f"the registry refuses the change: {error}")
    return Unavailable(f"the registry cannot be used now: {error}; check its disk, its file and who else has it open")


def _prepare_file(path: Path, *, create: bool) -> None:
    try:
        if create:
            # SQLite would make it with the umask's mode; its -wal and -shm files follow the mode of this one.
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        folder = path.parent
        if not folder.is_dir():
            raise Unavailable(f"the folder {folder} of the registry {path} does not exist; create it") from error
        raise Unavailable(f"the registry {path} does not exist; create it with `gateway init`") from error
    except OSError as error:
        raise Unavailable(f"cannot open the registry {path}: {error.strerror}") from error
    if mode & stat.S_IRWXO:
        raise Unavailable(
            f"every user of this machine may open the registry {path}, which holds device keys; run `chmod 600 {path}`"
        )


def _migrate(connection: sqlite3.Connection, path: Path | None) -> None:
    if _version(connection) == len(MIGRATIONS):
        return
    with transaction(connection):
        # Read again under the lock: another process may have migrated meanwhile.
        version = _version(connection)
        if version > len(MIGRATIONS):
            raise Unavailable(
                f"the registry {path} has schema version {version}, this release knows {len(MIGRATIONS)}; "
                "use the release that made it, or a newer one"
            )
        if version == 0 and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise Unavailable(f"{path} is a database of something else; give the registry a file of its own")
        for script in MIGRATIONS[version:]:
            for statement in _statements(script):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _statements(script: str) -> Iterator[str]:
    # `executescript` would commit the transaction that a migration must not leave.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
