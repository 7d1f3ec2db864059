"""What is under way to one peer by our own doing: requests, notifications, and what its answers are held against.

A peer has a `Link` from the first such message on, and loses it when nothing is left of them.
"""

from collections import deque
from typing import Any, Final

from gateway.coap.freshness import Freshness
from gateway.coap.message import Message
from gateway.coap.peer import Peer
from gateway.coap.timers import Timed
from gateway.coap.transmission import NEVER, Outcome, Transmission

# Stages of an `Outgoing`.
WAITING: Final = 0  # in the queue of its peer
SENT: Final = 1  # gone out, not acknowledged
ANSWERING: Final = 2  # a request that was acknowledged, or an observation: responses are still to come
ENDED: Final = 3


class Outgoing(Transmission):
    """A message that we start. It ends exactly once, with an `Outcome`.

    Attributes:
        token: Its token.
        stage: WAITING, SENT, ANSWERING or ENDED.
        outcome: None until it has ended.
        sent_at: When it went out first, in seconds on the caller's clock.
        until: When it is given up whatever it waits for.
    """

    __slots__ = ("outcome", "sent_at", "stage", "token", "until")

    def __init__(self, peer: Peer, token: bytes) -> None:
        super().__init__(peer)
        self.token = token
        self.stage = WAITING
        self.outcome: Outcome | None = None
        self.sent_at = 0.0
        self.until = NEVER


class OutgoingRequest(Outgoing):
    """A request to the peer.

    Attributes:
        code: Its method.
        observing: It asks for notifications: its responses come as `NotificationReceived`, and it goes on after them.
        response: The response, when the outcome is RESPONSE.
        context: The caller's own.
        freshness: Of the notifications, if it observes.
    """

    __slots__ = ("code", "context", "freshness", "observing", "response")

    def __init__(self, peer: Peer, token: bytes, code: int, *, observing: bool, context: Any) -> None:
        super().__init__(peer, token)
        self.code = code
        self.observing = observing
        self.context = context
        self.response: Message | None = None
        self.freshness = Freshness() if observing else None


class Link(Timed):
    """The state of what we started with one peer. Its timer is that of a queue that may not go on yet.

    Attributes:
        peer: Whose.
        waiting: What may not be sent yet, oldest first.
        sent: What is not acknowledged: NSTART at most.
        requests: Token -> request that was sent and may get a response.
        observers: Observations of this peer that exist (RFC 7641); while there are some the link is kept.
        rtt_s: Smoothed round-trip time; None until it was measured.
        rtt_is_bound: It is no measurement but the most that it can be.
        next_non_at: Before this no other non-confirmable notification goes out (RFC 7641 section 4.5.1).
        alarm: Whoever sends here wants to know when the peer speaks.
    """

    __slots__ = ("alarm", "next_non_at", "observers", "peer", "requests", "rtt_is_bound", "rtt_s", "sent", "waiting")

    def __init__(self, peer: Peer) -> None:
        super().__init__()
        self.peer = peer
        self.waiting: deque[Outgoing] = deque()
        self.sent: list[Outgoing] = []
        self.requests: dict[bytes, OutgoingRequest] = {}
        self.observers = 0
        self.rtt_s: float | None = None
        self.rtt_is_bound = False
        self.next_non_at = 0.0
        self.alarm = False

    @property
    def is_idle(self) -> bool:
        """Nothing needs it any more."""
        return not (self.waiting or self.sent or self.requests or self.observers or self.alarm)

    def find_sent(self, message_id: int) -> Outgoing | None:
        """What was sent with that message id and is not acknowledged."""
        for outgoing in self.sent:
            if outgoing.message_id == message_id:
                return outgoing
        return None

    def measure(self, outgoing: Outgoing, now: float) -> None:
        """An acknowledgement came.

        Of a message that went out twice nobody knows which one it is for (Karn), but the time since the first is the
        most that it can be: better than nothing known, until something is.
        """
        sample = now - outgoing.sent_at
        if outgoing.retransmissions:
            if self.rtt_s is None:
                self.rtt_s, self.rtt_is_bound = sample, True
        elif self.rtt_s is None or self.rtt_is_bound:
            self.rtt_s, self.rtt_is_bound = sample, False
        else:
            self.rtt_s += (sample - self.rtt_s) / 8
