"""The schema's version, and bringing it up to date with alembic (`migrations`)."""

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from gateway.registry.errors import Unavailable
from gateway.registry.legacy import is_legacy, set_aside, take_over

HEAD = "0002"
"""The version that this release works with. Known here too, for asking alembic takes a fifth of a second."""

_VERSION_TABLE = "alembic_version"


def version(connection: Connection) -> str | None:
    """The version of a database's schema; None where there is none yet."""
    if not inspect(connection).has_table(_VERSION_TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {_VERSION_TABLE}")).scalar()  # noqa: S608  a constant
    return str(found) if found is not None else None


def check_version(connection: Connection, name: str) -> bool:
    """Whether the schema is the one of this release; if not, `upgrade` makes it so.

    Args:
        connection: To the database.
        name: What to call the database in an error.

    Raises:
        Unavailable: It is a newer one, or the database is something else's.
    """
    found = version(connection)
    if found is None and inspect(connection).get_table_names() and not is_legacy(connection):
        raise Unavailable(f"{name} is a database of something else; give the registry one of its own")
    if found is not None and found > HEAD:
        raise Unavailable(
            f"the registry {name} has schema version {found}, this release knows {HEAD}; use the release that made it, "
            "or a newer one"
        )
    return found == HEAD


def upgrade(connection: Connection, name: str) -> bool:
    """Brings the schema up to date, within the caller's transaction.

    Returns:
        Whether there was anything to do.

    Raises:
        Unavailable: As `check_version`.
    """
    if check_version(connection, name):  # another process may have been first
        return False
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    legacy = version(connection) is None and is_legacy(connection)
    if legacy:
        set_aside(connection)
    command.upgrade(config, HEAD)
    if legacy:
        take_over(connection)
    return True
