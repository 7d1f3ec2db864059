"""What the admin port passes on to whoever answers it: requests below a path, as plain values."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A request.

    Attributes:
        method: "POST".
        path: Decoded, without the query.
        content_type: Of the body, without parameters, in lower case; empty when there is none.
        origin: What a browser says of the page that sends it; empty from anybody else.
        body: As it came.
    """

    method: str
    path: str
    content_type: str
    origin: str
    body: bytes


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """An answer.

    Attributes:
        status: HTTP's.
        body: A JSON object.
        headers: Further ones.
    """

    status: int
    body: dict[str, Any]
    headers: tuple[tuple[str, str], ...] = ()


Api: TypeAlias = Callable[[ApiRequest], ApiAnswer]
"""Runs in a thread of the admin server, which is taken as long."""
