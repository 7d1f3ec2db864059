"""What the admin port passes on to whoever answers it: requests below a path, as plain values."""

from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeAlias

from gateway.admin.limits import MAX_BODY


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A request.

    Attributes:
        method: "POST".
        path: Decoded, without the query.
        content_type: Of the body, without parameters, in lower case; empty when there is none.
        origin: What a browser says of the page that sends it; empty from anybody else.
        body: As it came.
        raw_path: As it came, so that an encoded slash is none.
        query: As it came, without the question mark.
        authorization: Who says to be let in, as it came.
        if_match: Only if the thing still is as this says; empty for in any case.
        peer: IP address of whoever asks.
        principal: Whom `Guarded.admit` found it to be.
    """

    method: str
    path: str
    content_type: str
    origin: str
    body: bytes
    raw_path: str = ""
    query: str = ""
    authorization: str = field(default="", repr=False)
    if_match: str = ""
    peer: str = ""
    principal: str = ""


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """An answer.

    Attributes:
        status: HTTP's.
        body: A JSON object.
        headers: Further ones.
        content_type: Of the body.
    """

    status: int
    body: dict[str, Any]
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"


Api: TypeAlias = Callable[[ApiRequest], ApiAnswer]
"""Runs in a thread of the admin server, which is taken as long."""


def _refuse(status: HTTPStatus, text: str) -> ApiAnswer:
    return ApiAnswer(status.value, {"error": text})


@dataclass(frozen=True, slots=True)
class Guarded:
    """An API that looks at a request before its body is read.

    Attributes:
        admit: Takes the request without its body; gives it back with its principal, or the refusal.
        api: Answers those that were let in.
        max_body: Bytes of a body.
        refuse: Answers a body that is too large, or does not come.
    """

    admit: Callable[[ApiRequest], ApiRequest | ApiAnswer]
    api: Api
    max_body: int = MAX_BODY
    refuse: Callable[[HTTPStatus, str], ApiAnswer] = _refuse
