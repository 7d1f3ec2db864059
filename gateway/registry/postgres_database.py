"""PostgreSQL by asyncpg, on an event loop of its own in a thread: whoever calls may wait, a loop may not.

Transactions are SQLAlchemy's, written as for any database; `run_sync` runs them on the loop's connection.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from gateway.registry.errors import Conflict, RegistryError, Unavailable
from gateway.registry.limits import (
    DATABASE_CONNECT_S,
    DATABASE_CONNECTIONS,
    DATABASE_REST_S,
    DATABASE_STATEMENT_S,
    DATABASE_WRITE_LOCK,
)
from gateway.registry.migrating import check_version, upgrade

T = TypeVar("T")

# Writers take turns over all processes and machines: what is read in a transaction stays true, as with SQLite, and the
# change log's numbers become visible in their order.
_TAKE_TURNS = text(f"SELECT pg_advisory_xact_lock({DATABASE_WRITE_LOCK})")


class PostgresDatabase:
    """`Database` on a pool of connections; may be used from several threads."""

    remote = True

    def __init__(self, url: URL, *, migrate: bool | None) -> None:
        """Connects.

        Args:
            url: With the driver asyncpg.
            migrate: Bring the schema up to date; else one that is not is refused, or with None not looked at.

        Raises:
            Unavailable: It cannot be reached, or its schema is not of this release.
        """
        self._name = f"{url.host or 'localhost'}/{url.database}"
        self._down_until = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="registry", daemon=True)
        self._thread.start()
        self._engine = create_async_engine(
            url,
            pool_size=DATABASE_CONNECTIONS,
            max_overflow=0,
            pool_timeout=DATABASE_STATEMENT_S,
            pool_pre_ping=False,
            connect_args={"timeout": DATABASE_CONNECT_S, "command_timeout": DATABASE_STATEMENT_S},
        )
        try:
            if migrate:
                self.write(lambda connection: upgrade(connection, self._name))
            elif migrate is not None and not self.read(lambda connection: check_version(connection, self._name)):
                raise Unavailable(
                    f"the schema of the registry {self._name} is older than this release; bring it up to date with "
                    "`gateway db upgrade`"
                )
        except BaseException:
            self.close()
            raise

    def row(self, statement: Select[Any], parameters: dict[str, Any]) -> Any:
        return self.read(lambda connection: connection.execute(statement, parameters).first())

    def read(self, work: Callable[[Connection], T]) -> T:
        return self._wait(_read(self._engine, work))

    def write(self, work: Callable[[Connection], T], *, durable: bool = False) -> T:
        # Always durable, unless its administrator has said otherwise.
        return self._wait(_write(self._engine, work))

    def touched(self) -> int:
        # Nothing cheap tells it: the change log itself is read.
        return time.monotonic_ns()

    def scrub(self) -> None:
        """Nothing: what is left of old rows is its own vacuum's to take away."""

    def close(self) -> None:
        if self._loop.is_closed():
            return
        with suppress(Exception):  # what cannot be closed in order is cut off
            asyncio.run_coroutine_threadsafe(self._engine.dispose(), self._loop).result(DATABASE_STATEMENT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if self._loop.is_closed() or time.monotonic() < self._down_until:
            coroutine.close()
            raise Unavailable(f"the registry {self._name} cannot be reached now")
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
        except RegistryError:
            raise
        except IntegrityError as error:
            raise Conflict(f"the registry refuses the change: {error.orig}") from error
        except (DBAPIError, SQLAlchemyError, OSError, TimeoutError) as error:
            if not isinstance(error, DBAPIError) or error.connection_invalidated:
                # Those who wait behind this one need not wait for the same time-out, one after the other.
                self._down_until = time.monotonic() + DATABASE_REST_S
            reason = str(getattr(error, "orig", None) or error) or type(error).__name__
            raise Unavailable(f"the registry {self._name} cannot be used now: {reason}") from error


async def _read(engine: AsyncEngine, work: Callable[[Connection], T]) -> T:
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        return await connection.run_sync(work)


async def _write(engine: AsyncEngine, work: Callable[[Connection], T]) -> T:
    async with engine.begin() as connection:
        await connection.execute(_TAKE_TURNS)
        return await connection.run_sync(work)
