"""What the store needs of a database. Two have it: `sqlite_database` and `postgres_database`.

Statements and transactions are the same for both, as plain functions of a SQLAlchemy `Connection`. Writers of all
processes take turns, so that what a transaction read stays true until it ends, and so that the change log is in the
order in which its readers see it.
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Select

T = TypeVar("T")


class Database(Protocol):
    """One store. Every method may raise `Unavailable`.

    Attributes:
        remote: Reads wait for a network. Then they must not be made in an event loop.
    """

    remote: bool

    def row(self, statement: Select[Any], parameters: dict[str, Any]) -> Any:
        """The first row of a statement, or None: the short way for what a handshake asks."""

    def read(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` on one state of the store."""

    def write(self, work: Callable[[Connection], T], *, durable: bool = False) -> T:
        """Runs `work` while no other process writes; all that it does is done, or nothing.

        Args:
            work: The transaction.
            durable: Outlives a power cut as soon as this returns, as far as the disk keeps its word. Without it, one
                may undo the last transactions, in order, but no part of one.

        Raises:
            Conflict: A constraint refused the change.
        """

    def touched(self) -> int:
        """A number that changes when somebody else may have written. Cheap, and may change for nothing."""

    def scrub(self) -> None:
        """Lets go of what was deleted or replaced: no copy of it stays in files that the store writes by itself."""

    def close(self) -> None:
        """A second call does nothing."""
