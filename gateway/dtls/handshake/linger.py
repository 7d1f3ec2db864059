"""The last flight, kept for a peer that did not get it: the server's, or the client's where a session was resumed.

It is kept for minutes, for every peer, and hardly ever needed. So only the bytes are kept, and what repeats a flight is
made of them when a peer asks.
"""

from typing import Final

from gateway.dtls.association import Association
from gateway.dtls.handshake.flight import Flight, Retransmission, Sealer
from gateway.dtls.limits import LINGER_S
from gateway.dtls.messages.framing import HANDSHAKE_HEADER_LENGTH, HandshakeMessage, decode_whole
from gateway.dtls.sizes import RecordSizes

_CHANGE_CIPHER_SPEC: Final = b"\xff"
"""Stands among the messages, none of which has that type (RFC 5246 section 7.4)."""


class Linger:
    """What an association keeps for a while after the handshake, for a peer that did not get our last flight.

    Attributes:
        client_random: Tells a late copy of the ClientHello from a new one.
    """

    __slots__ = (
        "_ended_at",
        "_limit",
        "_messages",
        "_next_record",
        "_retransmission",
        "_sizes",
        "client_random",
    )

    def __init__(self, client_random: bytes, flight: Flight, sealer: Sealer, limit: int, now: float) -> None:
        self.client_random = client_random
        self._ended_at = now
        self._limit = limit
        self._messages = b"".join([item.whole if item is not None else _CHANGE_CIPHER_SPEC for item in flight.items])
        self._next_record = sealer.plain.next
        self._sizes: RecordSizes = sealer.sizes
        self._retransmission: Retransmission | None = None

    @property
    def expires_at(self) -> float:
        """When to forget this, seconds."""
        return self._ended_at + LINGER_S

    def repeat(self, association: Association, now: float) -> list[bytes]:
        """The last flight again, under new record numbers; empty when it was only just sent."""
        retransmission = self._retransmission
        if retransmission is None:
            self._retransmission = retransmission = Retransmission(0.0)
            retransmission.sent(self._ended_at)
        if not retransmission.asked(now):
            return []
        sealer = Sealer(self._next_record)
        sealer.association, sealer.sizes = association, self._sizes
        datagrams = Flight(_items(self._messages)).datagrams(sealer, self._limit)
        self._next_record = sealer.plain.next
        return datagrams


def _items(messages: bytes) -> list[HandshakeMessage | None]:
    """The items of a flight out of their bytes, one behind the other."""
    items: list[HandshakeMessage | None] = []
    position = 0
    while position < len(messages):
        if messages[position : position + 1] == _CHANGE_CIPHER_SPEC:
            items.append(None)
            position += 1
            continue
        end = position + HANDSHAKE_HEADER_LENGTH + int.from_bytes(messages[position + 1 : position + 4])
        items.append(decode_whole(messages[position:end]))
        position = end
    return items
