"""From a path as a URI writes it to options (RFC 7252 section 6.4)."""

from collections.abc import Iterable, Mapping
from urllib.parse import unquote

from gateway.coap import Option


def path_segments(path: str) -> list[str]:
    """The segments of a path: split first, then decode.

    Raises:
        ValueError: It does not start with a slash.
    """
    if not path.startswith("/"):
        raise ValueError(f"the path {path!r} must start with a slash")
    return [unquote(segment) for segment in path[1:].split("/")] if path != "/" else []


def uri_options(path: str, query: Mapping[str, str] | Iterable[str] = ()) -> list[tuple[int, bytes]]:
    """Return Uri-Path and Uri-Query; the path may have a query of its own.

    Raises:
        ValueError: The path does not start with a slash.
    """
    location, _, inline = path.partition("?")
    arguments = [unquote(argument) for argument in inline.split("&")] if inline else []
    arguments += [f"{name}={value}" for name, value in query.items()] if isinstance(query, Mapping) else list(query)
    options = [(int(Option.URI_PATH), segment.encode()) for segment in path_segments(location)]
    return options + [(int(Option.URI_QUERY), argument.encode()) for argument in arguments]
