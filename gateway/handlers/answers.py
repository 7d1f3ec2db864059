"""From what a handler returned to a response."""

from typing import Any, Final

from gateway.coap import Code, Option
from gateway.handlers.conditions import LAST_CONDITION, valid
from gateway.handlers.request import Request
from gateway.handlers.response import Reject, Response
from gateway.handlers.routing import Route

_ACCEPT: Final = int(Option.ACCEPT)
_AFTER_CONDITIONS: Final = [(LAST_CONDITION + 1, b"")]


def respond(request: Request, route: Route, result: Any) -> Response:
    """Make a response of what a handler returned.

    Raises:
        TypeError: It returned something else.
        ValueError: What it returned cannot be encoded.
    """
    if isinstance(result, Response):
        response = result
    elif result is None:
        return Response(code=route.default_code)
    elif isinstance(result, Reject):
        raise result
    elif isinstance(result, str | bytes | dict | list):
        response = Response(result, route.default_code)
    else:
        raise TypeError(
            f"{route.invocation.location} returned {type(result).__name__}; a handler returns Response, str, bytes, "
            "dict, list or None"
        )
    asked = request.message.options
    if asked and asked[0][0] > LAST_CONDITION and asked[-1][0] < _ACCEPT:
        return response  # no ETag, and no Accept
    if response.options and response.ok:
        etag = response.etag if asked[:1] < _AFTER_CONDITIONS else None
        if response.code == Code.CONTENT and (newest := valid(request.message, etag)) is not None:
            return newest
        # RFC 7252 section 5.10.4: what cannot be given in the accepted format is 4.06.
        accept = request.accept
        if accept is not None and response.content_format not in (accept, None):
            return Response(f"available as content format {response.content_format}", Code.NOT_ACCEPTABLE)
    return response
