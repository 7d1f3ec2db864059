"""What the message layer remembers of one peer."""

from typing import Any, Final

from gateway.coap import limits
from gateway.coap.ring import Ring
from gateway.coap.timers import Timed

# Stages of an `Exchange`.
DEFERRED: Final = 0  # the handler works, nothing sent yet
ACKNOWLEDGED: Final = 1  # the handler works, the empty ACK is sent
SENT: Final = 2  # the separate response is sent and not acknowledged


class Peer:
    """The message-layer state of one session: an endpoint in the sense of RFC 7252 section 4.4, seen through DTLS.

    It holds nothing until the first request, and the ring goes when its entries are past EXCHANGE_LIFETIME. All
    attributes but `context` belong to `MessageLayer`.

    Attributes:
        context: The caller's own, so that `datagrams_to_send` leads back to the session.
        ring: Recent message ids; see `Ring`.
        exchanges: Deferred requests and unacknowledged separate responses.
        next_message_id: For messages of our own; -1 until the first one.
    """

    __slots__ = ("context", "exchanges", "next_message_id", "ring")

    @property
    def max_message(self) -> int:
        """Bytes of the largest message that can be sent to this peer, for a transport that knows a limit."""
        return limits.MESSAGE_BYTES

    def __init__(self, context: Any = None) -> None:
        self.context = context
        self.ring: Ring | None = None
        self.exchanges: list[Exchange] | None = None
        self.next_message_id = -1

    def find_deferred(self, request_id: int) -> "Exchange | None":
        """The exchange of a deferred request that has no response yet."""
        if self.exchanges is not None:
            for exchange in self.exchanges:
                if exchange.request_id == request_id and exchange.stage != SENT:
                    return exchange
        return None


class Exchange(Timed):
    """A request that was not answered at once, until the answer is out and acknowledged.

    Attributes:
        peer: Whose.
        request_id: Message id of the request.
        stage: DEFERRED, ACKNOWLEDGED or SENT.
        response_id: Message id of the separate response, when SENT.
        response: Its bytes, when SENT.
        timeout_s: The present wait of the back-off, when SENT.
        retransmissions: How often it went out again.
    """

    __slots__ = ("peer", "request_id", "response", "response_id", "retransmissions", "stage", "timeout_s")

    def __init__(self, peer: Peer, request_id: int) -> None:
        super().__init__()
        self.peer = peer
        self.request_id = request_id
        self.stage = DEFERRED
        self.response_id = -1
        self.response = b""
        self.timeout_s = 0.0
        self.retransmissions = 0
