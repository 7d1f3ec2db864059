"""What the message layer has to tell beside requests: `MessageLayer.next_event`."""

from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from gateway.coap.link import OutgoingRequest
from gateway.coap.message import Message
from gateway.coap.peer import Peer

if TYPE_CHECKING:
    from gateway.coap.observe import Observation


class EndOfObservation(StrEnum):
    """Why an observation of a resource of ours ended (RFC 7641)."""

    DEREGISTERED = "deregistered"  # 3.6: a GET with Observe 1
    RESET = "reset"  # 3.6: the client rejected a notification
    REPLACED = "replaced"  # 4.1: its token stands for another resource now
    TIMED_OUT = "timed_out"  # 4.5: nobody acknowledged a notification
    ERROR = "error"  # 4.2: the notification was an error
    SESSION_ENDED = "session_ended"  # the client's last session
    CANCELLED = "cancelled"  # the caller


class RequestEnded:
    """A request of ours is over; its `outcome` says how."""

    __slots__ = ("request",)

    def __init__(self, request: OutgoingRequest) -> None:
        self.request = request


class NotificationReceived:
    """A peer answered a request that observes one of its resources. Stale ones are left out (RFC 7641 section 3.4)."""

    __slots__ = ("message", "request")

    def __init__(self, request: OutgoingRequest, message: Message) -> None:
        self.request = request
        self.message = message


class PeerHeard:
    """A peer spoke for which `Outbound.watch` was called; said once."""

    __slots__ = ("peer",)

    def __init__(self, peer: Peer) -> None:
        self.peer = peer


class ObservationEnded:
    """An observation of a resource of ours is over."""

    __slots__ = ("observation", "reason")

    def __init__(self, observation: "Observation", reason: EndOfObservation) -> None:
        self.observation = observation
        self.reason = reason


class ObservationDue:
    """Nobody has confirmed for long that it still observes: it is to be notified, and will have to."""

    __slots__ = ("observation",)

    def __init__(self, observation: "Observation") -> None:
        self.observation = observation


Event: TypeAlias = RequestEnded | NotificationReceived | PeerHeard | ObservationEnded | ObservationDue
