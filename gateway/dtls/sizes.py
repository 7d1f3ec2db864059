"""How large a record may be: max_fragment_length (RFC 6066 section 4) and record_size_limit (RFC 8449).

Each handshake settles it anew, a resuming one too: `answer_sizes` for the server, `offer_sizes` and `accept_sizes` for
the client. What is settled is one `RecordSizes`, of which the common ones exist once for all associations.
"""

from dataclasses import dataclass, replace
from typing import Final

from gateway.dtls.errors import DecodeError, FailureReason, HandshakeError
from gateway.dtls.limits import MAX_PLAINTEXT, MIN_RECORD_SIZE_LIMIT
from gateway.dtls.messages.hello import Extensions
from gateway.dtls.numbers import ExtensionType


@dataclass(frozen=True, slots=True)
class RecordSizes:
    """Bytes of plaintext that one record may hold.

    Attributes:
        send: In a protected record to the peer.
        receive: In a protected record from the peer.
        plain: In a record of epoch 0, either way.
    """

    send: int = MAX_PLAINTEXT
    receive: int = MAX_PLAINTEXT
    plain: int = MAX_PLAINTEXT


UNLIMITED: Final = RecordSizes()
"""What holds where nothing was negotiated: the protocol's own limit."""

_UNLIMITED_INSIDE: Final = RecordSizes(send=MAX_PLAINTEXT - 1)

# RFC 6066 section 4: 2^9, 2^10, 2^11, 2^12. It holds in both directions, for plain records too.
_BY_CODE: Final = {code: RecordSizes(1 << code + 8, 1 << code + 8, 1 << code + 8) for code in range(1, 5)}
_CODE_OF: Final = {sizes.send: code for code, sizes in _BY_CODE.items()}

MAX_FRAGMENT_LENGTHS: Final = tuple(_CODE_OF)
"""The values of max_fragment_length, in bytes."""


def answer_sizes(offered: Extensions, answers: Extensions, own_limit: int) -> RecordSizes:
    """The server's part: what holds from the ServerHello on, with what has to stand in it put into `answers`.

    RFC 8449 section 5: where a client sends both, max_fragment_length is ignored.

    Args:
        offered: The ClientHello's extensions.
        answers: The ServerHello's.
        own_limit: Bytes of plaintext that we take in a protected record; told to clients that speak RFC 8449.

    Raises:
        DecodeError: A broken body.
        HandshakeError: illegal_parameter, for a value that no client may send.
    """
    body = offered.get(ExtensionType.RECORD_SIZE_LIMIT)
    if body is not None:
        theirs = _decode_limit(body)
        answers[ExtensionType.RECORD_SIZE_LIMIT] = own_limit.to_bytes(2)
        # RFC 8449 section 4: a larger limit than ours may belong to an extension that we do not know.
        return _limits(min(theirs, MAX_PLAINTEXT), own_limit)
    body = offered.get(ExtensionType.MAX_FRAGMENT_LENGTH)
    if body is None:
        return UNLIMITED
    sizes = _decode_code(body)
    answers[ExtensionType.MAX_FRAGMENT_LENGTH] = body
    return sizes


def offer_sizes(extensions: Extensions, max_fragment_length: int | None, record_size_limit: int | None) -> None:
    """The client's offer, put into its `extensions`.

    Args:
        extensions: The ClientHello's.
        max_fragment_length: One of `MAX_FRAGMENT_LENGTHS`, or None.
        record_size_limit: Bytes of plaintext that we take in a protected record, or None.
    """
    if max_fragment_length is not None:
        extensions[ExtensionType.MAX_FRAGMENT_LENGTH] = bytes((_CODE_OF[max_fragment_length],))
    if record_size_limit is not None:
        extensions[ExtensionType.RECORD_SIZE_LIMIT] = record_size_limit.to_bytes(2)


def accept_sizes(offered: Extensions, answers: Extensions) -> RecordSizes:
    """The client's reading of the ServerHello, which answers nothing that was not offered.

    Raises:
        DecodeError: A broken body.
        HandshakeError: illegal_parameter: another length than ours, a limit outside the protocol, or both at once.
    """
    length, limit = answers.get(ExtensionType.MAX_FRAGMENT_LENGTH), answers.get(ExtensionType.RECORD_SIZE_LIMIT)
    if limit is not None:
        if length is not None:  # RFC 8449 section 5
            raise _illegal("the server answers max_fragment_length and record_size_limit")
        theirs = _decode_limit(limit)
        if theirs > MAX_PLAINTEXT:
            raise _illegal(f"record_size_limit of {theirs} bytes, the protocol has {MAX_PLAINTEXT}")
        return _limits(theirs, _decode_limit(offered[ExtensionType.RECORD_SIZE_LIMIT]))
    if length is None:
        return UNLIMITED
    if length != offered[ExtensionType.MAX_FRAGMENT_LENGTH]:
        raise _illegal("the server answers another max_fragment_length than was offered")
    return _decode_code(length)


def with_inner_type(sizes: RecordSizes) -> RecordSizes:
    """The sizes of content where each protected record also holds its real type (RFC 9146 section 4).

    RFC 8449 section 4 counts it; what RFC 6066 means by it nobody says, so that we leave room for it too.
    """
    return _UNLIMITED_INSIDE if sizes is UNLIMITED else replace(sizes, send=sizes.send - 1)


def _limits(send: int, receive: int) -> RecordSizes:
    """RFC 8449 section 4: unprotected messages are not subject to the limit."""
    sizes = RecordSizes(send, receive)
    return UNLIMITED if sizes == UNLIMITED else sizes


def _decode_limit(body: bytes) -> int:
    if len(body) != 2:
        raise DecodeError("record_size_limit has two bytes")
    limit = int.from_bytes(body)
    if limit < MIN_RECORD_SIZE_LIMIT:
        raise _illegal(f"record_size_limit of {limit} bytes, the least is {MIN_RECORD_SIZE_LIMIT}")
    return limit


def _decode_code(body: bytes) -> RecordSizes:
    if len(body) != 1:
        raise DecodeError("max_fragment_length has one byte")
    sizes = _BY_CODE.get(body[0])
    if sizes is None:
        raise _illegal(f"max_fragment_length code {body[0]}, allowed are 1 to 4")
    return sizes


def _illegal(detail: str) -> HandshakeError:
    return HandshakeError(FailureReason.ILLEGAL_PARAMETER, detail)
