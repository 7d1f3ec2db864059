"""One SQLite file. Read in place: an indexed read is 9 us by the driver itself, a hop to a thread 500 us."""

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from sqlalchemy import Connection, Select, StaticPool, create_engine
from sqlalchemy.dialects.sqlite import dialect
from sqlalchemy.exc import DBAPIError, IntegrityError

from gateway.registry.errors import Conflict, RegistryError, Unavailable
from gateway.registry.limits import BUSY_TIMEOUT_MS, PAGE_CACHE_KIB
from gateway.registry.migrating import check_version, upgrade

T = TypeVar("T")

_DIALECT = dialect(paramstyle="qmark")


class SqliteDatabase:
    """`Database` on one connection; used from one thread at a time."""

    remote = False

    def __init__(self, raw: sqlite3.Connection) -> None:
        """Takes an open connection in autocommit mode; see `connect`."""
        self._raw = raw
        self._engine = create_engine("sqlite://", creator=lambda: raw, poolclass=StaticPool)
        self._connection = self._engine.connect()
        self._statements: dict[int, tuple[str, tuple[str, ...]]] = {}

    def row(self, statement: Select[Any], parameters: dict[str, Any]) -> Any:
        # By identity: such statements are constants of modules, and hashing one costs more than its read.
        known = self._statements.get(id(statement))
        if known is None:
            compiled = statement.compile(dialect=_DIALECT)
            known = self._statements[id(statement)] = str(compiled), tuple(compiled.positiontup or ())
        sql, names = known
        try:
            return self._raw.execute(sql, [parameters[name] for name in names]).fetchone()
        except sqlite3.Error as error:
            raise failure(error) from error

    def read(self, work: Callable[[Connection], T]) -> T:
        return self._run("BEGIN", work)

    def write(self, work: Callable[[Connection], T], *, durable: bool = False) -> T:
        # Takes the write lock at once: a transaction that wants it later may find that it has read old things.
        if not durable:
            return self._run("BEGIN IMMEDIATE", work)
        try:
            self._raw.execute("PRAGMA synchronous = FULL")
            return self._run("BEGIN IMMEDIATE", work)
        except sqlite3.Error as error:
            raise failure(error) from error
        finally:
            with suppress(sqlite3.Error):
                self._raw.execute("PRAGMA synchronous = NORMAL")

    def touched(self) -> int:
        try:
            (version,) = self._raw.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error as error:
            raise failure(error) from error
        return int(version)

    def scrub(self) -> None:
        # Replaced cells are overwritten (secure_delete), but the log still has the pages as they were. Readers of other
        # processes may hold it open: then it is cut at a later checkpoint.
        with suppress(sqlite3.Error):
            self._raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._connection.close()
        self._engine.dispose()
        self._raw.close()

    def _run(self, begin: str, work: Callable[[Connection], T]) -> T:
        connection = self._connection
        try:
            if connection.closed:
                raise Unavailable("the registry is closed")
            try:
                connection.exec_driver_sql(begin)
                result = work(connection)
                connection.commit()
            except BaseException:
                with suppress(DBAPIError, sqlite3.Error):
                    connection.rollback()
                raise
        except DBAPIError as error:
            raise failure(error.orig or error) from error
        except sqlite3.Error as error:
            raise failure(error) from error
        return result


def connect(path: Path | None, *, create: bool, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> SqliteDatabase:
    """Opens a registry file and brings its schema up to date.

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
        raw = sqlite3.connect(
            target, uri=True, isolation_level=None, timeout=busy_timeout_ms / 1000, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise _cannot_open(path, error) from error
    database = None
    try:
        raw.execute("PRAGMA foreign_keys = ON")
        raw.execute("PRAGMA trusted_schema = OFF")
        # Keys of devices that were deleted, or sealed since, do not linger in unused parts of the file.
        raw.execute("PRAGMA secure_delete = ON")
        raw.execute(f"PRAGMA cache_size = -{PAGE_CACHE_KIB}")
        database = SqliteDatabase(raw)
        if not database.read(lambda connection: check_version(connection, str(path))):
            database.write(lambda connection: upgrade(connection, str(path)))
        # Write-ahead log: readers never wait for the writer of another process. NORMAL: a power cut may lose the last
        # commits, never the file. Set last, for it marks the file, which may turn out not to be ours.
        raw.execute("PRAGMA journal_mode = WAL")
        raw.execute("PRAGMA synchronous = NORMAL")
    except BaseException as error:
        if database is not None:
            database.close()
        raw.close()
        cause = _cause(error)
        if cause is not None:
            raise _cannot_open(path, cause) from error
        raise
    return database


def look_into(path: Path) -> SqliteDatabase:
    """Opens a registry file as it is, for reading.

    Raises:
        Unavailable: The file is missing, or open to every user.
    """
    _prepare_file(path, create=False)
    try:
        uri = f"file:{quote(str(path.absolute()))}?mode=ro"
        return SqliteDatabase(sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False))
    except sqlite3.Error as error:
        raise _cannot_open(path, error) from error


def failure(error: BaseException) -> RegistryError:
    """The `RegistryError` for an error of sqlite3."""
    if isinstance(error, sqlite3.IntegrityError | IntegrityError):
        return Conflict(f"the registry refuses the change: {error}")
    return Unavailable(f"the registry cannot be used now: {error}; {_remedy(error)}")


def _cause(error: BaseException) -> sqlite3.Error | None:
    """The error of sqlite3 in or behind another one."""
    while not isinstance(error, sqlite3.Error):
        behind = error.orig if isinstance(error, DBAPIError) else error.__cause__
        if behind is None:
            return None
        error = behind
    return error


def _cannot_open(path: Path | None, error: sqlite3.Error) -> Unavailable:
    text = f"{path} cannot be used as a registry: {error}"
    for what, mode, may in (
        (path, os.R_OK | os.W_OK, "may not read and write this file"),
        (path and path.parent, os.W_OK | os.X_OK, "may not make files in this folder, where -wal and -shm are made"),
    ):
        if what is not None and not os.access(what, mode, effective_ids=True):
            return Unavailable(f"{text}; user {os.geteuid()} {may}, or its disk is read-only: {what}")
    return Unavailable(f"{text}; {_remedy(error)}")


def _remedy(error: BaseException) -> str:
    # The extended codes of SQLite have the kind of error in their lowest byte.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return _REMEDIES.get(code, "check its disk, its file and who else has it open")


_ACCESS = (
    "check owner and mode of its file and of the folder, where -wal and -shm are made, and that the disk is writable"
)
_REMEDIES = {
    sqlite3.SQLITE_FULL: "make room on its disk",
    sqlite3.SQLITE_IOERR: "see whether its disk is full, or broken",
    sqlite3.SQLITE_READONLY: _ACCESS,
    sqlite3.SQLITE_CANTOPEN: _ACCESS,
    sqlite3.SQLITE_NOTADB: "put its file back from a backup, or name another one in [registry] url",
    sqlite3.SQLITE_CORRUPT: "put its file back from a backup",
    sqlite3.SQLITE_BUSY: "see who else has it open, and writes for long",
}


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
