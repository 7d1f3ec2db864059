"""From a URL to a registry."""

from pathlib import Path

from gateway.registry.database import connect
from gateway.registry.errors import InvalidValue
from gateway.registry.interface import Registry
from gateway.registry.sqlite import SqliteRegistry

_SQLITE = "sqlite://"


def open_registry(url: str, *, create: bool = False) -> Registry:
    """Opens a registry.

    Args:
        url: `sqlite:///relative.db`, `sqlite:////absolute.db`, or `sqlite://` for one in memory that ends with the
            process.
        create: Make the file, with mode 0600, if it is not there. Without it a mistyped path is an error rather than
            an empty registry.

    Raises:
        InvalidValue: The URL names no store that we know.
        Unavailable: The store cannot be used.
    """
    if url in (_SQLITE, "sqlite:///:memory:"):
        return SqliteRegistry(connect(None, create=True))
    path = url.removeprefix(_SQLITE + "/")
    if path == url or not path or "?" in path:
        shown = url.partition("://")[0] + "://..."  # The rest may hold a password.
        raise InvalidValue(
            f"the registry URL {shown} is not understood; write sqlite:///FILE for a relative path, "
            "sqlite:////FILE for an absolute one"
        )
    return SqliteRegistry(connect(Path(path), create=create))
