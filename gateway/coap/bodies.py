"""Bodies of responses that are asked for block by block and cannot be made again (RFC 7959 section 2.4).

A body with an ETag that a GET can have again needs none of this. What a handler answered without one, or to a request
that must not run twice, is kept here until the last of it has been fetched or nobody has asked for long.
"""

from typing import Final

from gateway.coap import limits
from gateway.coap.blockwise import TransferKey, transfer_key
from gateway.coap.message import Message
from gateway.coap.peer import Peer
from gateway.coap.shelf import Kept, Shelf

_OVERHEAD_BYTES: Final = 512
"""Beside the payload: options, keys, and the objects that hold them."""


class Body(Kept):
    """A response whose payload is fetched in parts.

    Attributes:
        code: Response code.
        options: Those that each part carries, without Block2 and Size2.
        payload: All of it.
        asked: The payload of the request.
    """

    __slots__ = ("asked", "code", "options", "payload")

    def __init__(
        self,
        peer: Peer,
        key: TransferKey,
        code: int,
        options: list[tuple[int, bytes]],
        payload: bytes,
        asked: bytes,
    ) -> None:
        super().__init__(peer, key, len(payload) + len(asked) + _OVERHEAD_BYTES)
        self.code = code
        self.options = options
        self.payload = payload
        self.asked = asked


class Bodies:
    """The kept bodies of all peers."""

    def __init__(self, lifetime_s: float) -> None:
        """Start without any; a body of which nothing is asked for `lifetime_s` seconds is forgotten."""
        self._shelf: Shelf[Body] = Shelf(lifetime_s)

    def __len__(self) -> int:
        return len(self._shelf)

    @property
    def size(self) -> int:
        """Bytes of memory that all bodies take."""
        return self._shelf.size

    def keep(
        self,
        peer: Peer,
        request: Message,
        code: int,
        options: list[tuple[int, bytes]],
        payload: bytes,
        now: float,
    ) -> bool:
        """Keep a response for the requests that follow this one; it takes the place of an earlier one.

        Returns:
            False when it is too large to be kept.
        """
        body = Body(peer, transfer_key(request), code, options, payload, request.payload)
        shelf = self._shelf
        shelf.expire(now)
        before = shelf.find(peer, body.key)
        if before is not None:
            shelf.remove(before)
        if body.size > limits.BODY_BYTES_OF_ONE:
            return False
        owner = body.owner
        while (oldest := shelf.oldest(owner)) is not None and (
            shelf.count(owner) >= limits.BODIES_OF_ONE or shelf.size_of(owner) + body.size > limits.BODY_BYTES_OF_ONE
        ):
            shelf.remove(oldest)
        while shelf.size + body.size > limits.BODY_BYTES and (stalest := shelf.oldest_of_all()) is not None:
            shelf.remove(stalest)
        shelf.add(body, now)
        return True

    def find(self, peer: Peer, request: Message, now: float) -> Body | None:
        """The body that a request asks for another part of.

        The request may repeat the payload of the first one (FETCH) or leave it out; another payload asks for another
        body (RFC 8132 section 2).
        """
        self._shelf.expire(now)
        body = self._shelf.find(peer, transfer_key(request))
        if body is None or (request.payload and request.payload != body.asked):
            return None
        self._shelf.use(body, now)
        return body

    def forget(self, peer: Peer) -> None:
        """The peer is gone."""
        self._shelf.forget(peer)

    def next_expiry(self) -> float | None:
        """When `expire` has something to do; None when nothing is kept."""
        return self._shelf.next_expiry()

    def expire(self, now: float) -> None:
        """Forget the bodies that nobody has asked for."""
        self._shelf.expire(now)
