"""Conditional requests (RFC 7252 sections 5.10.6 and 5.10.8): ETag, If-Match and If-None-Match."""

from typing import Final

from gateway.coap import Code, Message, Option, find_block
from gateway.handlers.response import Response

_IF_MATCH: Final = int(Option.IF_MATCH)
_IF_NONE_MATCH: Final = int(Option.IF_NONE_MATCH)
_ETAG: Final = int(Option.ETAG)
_BLOCK2: Final = int(Option.BLOCK2)

LAST_CONDITION: Final = _IF_NONE_MATCH
"""Options come in ascending order: a request whose first one is larger has no condition."""


def find_condition(message: Message) -> int | None:
    """The number of the first option that must not be ignored where no ETag is declared; None when there is none."""
    for number, _ in message.options:
        if number in (_IF_MATCH, _IF_NONE_MATCH):
            return number
        if number > LAST_CONDITION:
            break
    return None


def judge(message: Message, current: bytes | None) -> Response | None:
    """The answer to a request whose condition is not fulfilled, or which has the newest version; None to go on.

    Args:
        message: The request.
        current: The ETag of what is there, None when nothing is.
    """
    wanted = message.option_values(_IF_MATCH)
    # An empty If-Match asks for the existence only.
    if wanted and (current is None or (b"" not in wanted and current not in wanted)):
        return Response(code=Code.PRECONDITION_FAILED)
    if message.option(_IF_NONE_MATCH) is not None and current is not None:
        return Response(code=Code.PRECONDITION_FAILED)
    return valid(message, current)


def valid(message: Message, current: bytes | None) -> Response | None:
    """2.03 for a GET or FETCH that names this ETag as one of those it has; None for any other request.

    A later block is asked for because it is not there, whatever else is.
    """
    if current is None or message.code not in (Code.GET, Code.FETCH) or current not in message.option_values(_ETAG):
        return None
    block = find_block(message, _BLOCK2)
    if block is not None and block.number:
        return None
    return Response(code=Code.VALID, etag=current)
