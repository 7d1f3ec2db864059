"""What the message layer remembers of one peer."""

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Final

from gateway.coap import limits
from gateway.coap.compiling import mypyc_attr
from gateway.coap.message_ids import MessageIds
from gateway.coap.ring import Ring
from gateway.coap.transmission import Transmission

if TYPE_CHECKING:
    from gateway.coap.link import Link

# Stages of an `Exchange`.
DEFERRED: Final = 0  # the handler works, nothing sent yet
ACKNOWLEDGED: Final = 1  # the handler works, the empty ACK is sent
SENT: Final = 2  # the separate response is sent and not acknowledged


@mypyc_attr(allow_interpreted_subclasses=True)
class Peer:
    """The message-layer state of one session: an endpoint in the sense of RFC 7252 section 4.4, seen through DTLS.

    It holds nothing until the first request, and the ring goes when its entries are past EXCHANGE_LIFETIME. All
    attributes but `context` belong to `MessageLayer`.

    Attributes:
        context: The caller's own, so that `datagrams_to_send` leads back to the session.
        ring: Recent message ids; see `Ring`.
        exchanges: Deferred requests and unacknowledged separate responses.
        ids: Message ids of our own; None until the first one.
        link: What we started; None while there is nothing.
    """

    __slots__ = ("context", "exchanges", "ids", "link", "ring")

    @property
    def max_message(self) -> int:
        """Bytes of the largest message that can be sent to this peer, for a transport that knows a limit."""
        return limits.MESSAGE_BYTES

    @property
    def owner(self) -> Hashable:
        """Whose session it is: a device that comes back in another one still is the same (RFC 7641), and what all its
        sessions make us keep is counted together."""
        return self

    def __init__(self, context: Any = None) -> None:
        self.context = context
        self.ring: Ring | None = None
        self.exchanges: list[Exchange] | None = None
        self.ids: MessageIds | None = None
        self.link: Link | None = None

    def find_deferred(self, request_id: int) -> "Exchange | None":
        """The exchange of a deferred request that has no response yet."""
        if self.exchanges is not None:
            for exchange in self.exchanges:
                if exchange.request_id == request_id and exchange.stage != SENT:
                    return exchange
        return None

    @property
    def unacknowledged(self) -> int:
        """Separate responses that were sent and not acknowledged."""
        return 0 if self.exchanges is None else sum(exchange.stage == SENT for exchange in self.exchanges)


class Exchange(Transmission):
    """A request that was not answered at once, until the answer is out and acknowledged.

    Once it is SENT, message id and datagram are those of the separate response.

    Attributes:
        request_id: Message id of the request.
        stage: DEFERRED, ACKNOWLEDGED or SENT.
    """

    __slots__ = ("request_id", "stage")

    def __init__(self, peer: Peer, request_id: int) -> None:
        super().__init__(peer)
        self.request_id = request_id
        self.stage = DEFERRED
