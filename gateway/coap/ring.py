"""The recent message ids of one peer, and what a repetition of each gets (RFC 7252 section 4.5).

A dict in the order of arrival: message id -> (received at, response). It is bounded in entries by whoever enters one,
and in bytes by `set_response`.
"""

from typing import Final, TypeAlias

from gateway.coap import limits

Ring: TypeAlias = dict[int, tuple[float, bytes]]

# What an entry holds in place of a response. No message is shorter than its header, so none is mistaken for one.
PENDING: Final = b""  # handed out, not answered, not deferred
OPEN: Final = b"o"  # deferred, nothing sent yet
SILENT: Final = b"s"  # over and done, and a repetition gets nothing
HEADER_BYTES: Final = 4


def enter(ring: Ring, message_id: int, now: float, size: int) -> None:
    """Enter a new message id as pending, at the expense of the oldest one when `size` are there."""
    if len(ring) >= size:
        del ring[next(iter(ring))]
    ring[message_id] = (now, PENDING)


def set_response(ring: Ring | None, message_id: int, response: bytes) -> None:
    """What a repetition of this request gets from now on, if the ring still knows it."""
    if ring is None or message_id not in ring:
        return
    ring[message_id] = (ring[message_id][0], response)
    if len(response) > limits.LARGE_RESPONSE_BYTES:
        trim(ring)


def trim(ring: Ring) -> None:
    """Forget the oldest large responses until the rest is within its limit; the newest always stays."""
    large = [message_id for message_id, entry in ring.items() if len(entry[1]) > limits.LARGE_RESPONSE_BYTES]
    excess = sum(len(ring[message_id][1]) for message_id in large) - limits.LARGE_RESPONSES_BYTES
    for message_id in large[:-1]:
        if excess <= 0:
            return
        excess -= len(ring.pop(message_id)[1])


def drop_expired(ring: Ring, now: float, lifetime_s: float) -> None:
    """Forget the message ids that may be used again."""
    for message_id in [message_id for message_id, entry in ring.items() if now - entry[0] >= lifetime_s]:
        del ring[message_id]
