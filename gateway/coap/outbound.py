"""What a server starts itself: requests to a peer and notifications, under NSTART (RFC 7252 sections 4.2, 4.7 and 5.3).

Everything confirmable goes through the same back-off as separate responses do. A peer has NSTART messages under way,
its unacknowledged separate responses counted; what comes on top waits in the peer's queue. Nothing here is called for a
peer that only asks.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from gateway.coap import limits
from gateway.coap.codec import encode_parts
from gateway.coap.counters import Counters
from gateway.coap.events import Event, NotificationReceived, PeerHeard, RequestEnded
from gateway.coap.link import ANSWERING, ENDED, SENT, WAITING, Link, Outgoing, OutgoingRequest
from gateway.coap.message import Message
from gateway.coap.numbers import Option, is_critical, is_request
from gateway.coap.observe import Notification
from gateway.coap.parameters import TransmissionParameters
from gateway.coap.peer import Peer
from gateway.coap.timers import Timed, TimerQueue
from gateway.coap.transmission import NEVER, BackOff, Outcome

_CON: Final = 0
_NON: Final = 1
_ACK: Final = 2
_RST: Final = 3

_TOKEN_BYTES: Final = 4

# The critical options that mean something in a response (RFC 7959): the caller sees to them.
_UNDERSTOOD: Final = frozenset({int(Option.BLOCK1), int(Option.BLOCK2)})


class OutboundFull(Exception):
    """`limits.OUTGOING_REQUESTS` requests to this peer are under way: wait for one of them to end."""


class Outbound:
    """One for each layer; the state of a peer is its `Link`.

    Attributes:
        on_notified: Called when a notification has ended: by whoever makes them.
        renew: Makes the message of a notification anew, with a number of its own.
    """

    def __init__(
        self,
        *,
        random: Callable[[int], bytes],
        parameters: TransmissionParameters,
        counters: Counters,
        timers: TimerQueue[Timed],
        back_off: BackOff,
        take_id: Callable[[Peer, float], int],
        queue: Callable[[Peer, bytes], None],
        events: deque[Event],
    ) -> None:
        """Make the machine out of parts of the layer.

        Args:
            random: Gives that many random bytes, for tokens.
            parameters: Timing.
            counters: Where is counted.
            timers: Where it waits.
            back_off: Repeats.
            take_id: The next message id of our own for a peer; -1 when there is none.
            queue: Takes what is to be sent.
            events: Where what happened is told.
        """
        self.on_notified: Callable[[Notification, Outcome, float], None] = _ignore
        self.renew: Callable[[bytes], bytes] = bytes
        self._random = random
        self._parameters = parameters
        self._lifetime_s = parameters.exchange_lifetime_s
        self._counters = counters
        self._timers = timers
        self._back_off = back_off
        self._take_id = take_id
        self._queue = queue
        self._events = events

    def request(
        self,
        peer: Peer,
        code: int,
        options: list[tuple[int, bytes]],
        payload: bytes,
        now: float,
        *,
        within_s: float,
        observing: bool = False,
        context: Any = None,
    ) -> OutgoingRequest:
        """Ask a peer something; `RequestEnded` tells when it is over.

        Args:
            peer: Whom.
            code: The method.
            options: Options; best in ascending order.
            payload: Payload.
            now: Seconds on the caller's monotonic clock.
            within_s: Seconds after which it is given up, however far it is; of one that observes, without a response.
            observing: It has an Observe option of 0: responses with one are notifications, and it goes on after them.
            context: The caller's own.

        Raises:
            ValueError: `code` is no method, an option cannot be expressed, or the message is larger than may be sent.
            OutboundFull: Too many requests to this peer are under way.
        """
        if not is_request(code):
            raise ValueError(f"{code} is not the code of a CoAP request")
        link = peer.link
        requests: dict[bytes, OutgoingRequest] = {} if link is None else link.requests
        if len(requests) >= limits.OUTGOING_REQUESTS:
            raise OutboundFull(f"{limits.OUTGOING_REQUESTS} requests to this peer are under way")
        request = OutgoingRequest(peer, self._new_token(requests), code, observing=observing, context=context)
        request.datagram = encode_parts(_CON, code, 0, request.token, options, payload)
        if len(request.datagram) > peer.max_message:
            raise ValueError(f"a request of {len(request.datagram)} bytes is too large: {peer.max_message} fit")
        request.until = now + within_s
        link = self.link(peer)
        link.requests[request.token] = request
        self._timers.schedule(request, request.until)
        self.submit(link, request, now)
        return request

    def cancel(self, request: OutgoingRequest, now: float) -> None:
        """Lose interest: no event follows, and a response that comes all the same is reset.

        That also ends an observation of the peer's resource (RFC 7641 section 3.6).
        """
        if request.stage != ENDED:
            self._remove(request, Outcome.CANCELLED)
            self.go_on(request.peer, now)

    def watch(self, peer: Peer) -> None:
        """Tell by `PeerHeard` when this peer speaks next."""
        self.link(peer).alarm = True

    def heard(self, link: Link) -> None:
        """A watched peer spoke."""
        link.alarm = False
        self._events.append(PeerHeard(link.peer))
        self.release(link)

    def link(self, peer: Peer) -> Link:
        """The peer's link, made when there is none."""
        if peer.link is None:
            peer.link = Link(peer)
        return peer.link

    def release(self, link: Link) -> None:
        """Forget the link if nothing needs it."""
        if link.is_idle and link.peer.link is link:
            self._timers.cancel(link)
            link.peer.link = None

    def submit(self, link: Link, outgoing: Outgoing, now: float) -> None:
        """Send it when its turn comes, which may be now."""
        link.waiting.append(outgoing)
        self.pump(link, now)

    def pump(self, link: Link, now: float) -> None:
        """Send what may be sent; wait for what keeps the rest."""
        peer, nstart = link.peer, self._parameters.nstart
        waiting, kept = link.waiting, deque[Outgoing]()
        wake_at = NEVER
        while waiting and len(link.sent) + peer.unacknowledged < nstart:
            outgoing = waiting.popleft()
            if isinstance(outgoing, Notification) and now < link.next_non_at:
                # RFC 7641 section 4.5.1: the one before it counts as under way for a round-trip time. Requests do not
                # wait for that.
                kept.append(outgoing)
                wake_at = link.next_non_at
                continue
            message_id = self._take_id(peer, now)
            if message_id < 0:
                kept.append(outgoing)
                wake_at = peer.ids.free_at(self._lifetime_s) if peer.ids is not None else now
                break
            self._transmit(link, outgoing, message_id, now)
        if kept:
            kept.extend(waiting)
            link.waiting = kept
        if wake_at < NEVER:
            self._timers.schedule(link, wake_at)

    def go_on(self, peer: Peer, now: float) -> None:
        """Something to this peer has ended: what waits may be sent."""
        if peer.link is not None:
            self.pump(peer.link, now)
            self.release(peer.link)

    def on_timer(self, outgoing: Outgoing, now: float) -> None:
        """Repeat or give up what is due."""
        if outgoing.stage == SENT and self._back_off.is_over(outgoing) and now >= outgoing.waits_until:
            self._counters.gave_up += 1
            self._end(outgoing, Outcome.UNACKNOWLEDGED, None, now)
        elif now >= outgoing.until:
            self._end(outgoing, Outcome.UNSENT if outgoing.stage == WAITING else Outcome.UNANSWERED, None, now)
        else:
            if isinstance(outgoing, Notification):
                if outgoing.successor is None and outgoing.retransmissions >= limits.REPETITIONS_OF_ONE_ID:
                    outgoing.successor = self.renew(outgoing.datagram)
                if outgoing.successor is not None:
                    self._supersede(outgoing, now)
            self._back_off.again(outgoing, now, outgoing.until)

    def settle(self, link: Link, message: Message, now: float) -> bool:
        """Take an ACK, with or without a response, or a RST; whether it was for something of ours."""
        outgoing = link.find_sent(message.message_id)
        if outgoing is None:
            return self._settle_superseded(link, message, now)
        if message.type == _RST:
            self._counters.resets_received += 1
            self._end(outgoing, Outcome.RESET, None, now)
        elif message.code:
            # RFC 7252 section 5.3.2: a piggy-backed response matches by message id and token.
            if message.token != outgoing.token or not isinstance(outgoing, OutgoingRequest):
                return False
            link.measure(outgoing, now)
            self._take(outgoing, message, now)
        else:
            link.measure(outgoing, now)
            if isinstance(outgoing, OutgoingRequest):
                self._acknowledged(link, outgoing)
                self.pump(link, now)
            else:
                self._end(outgoing, Outcome.ACKNOWLEDGED, None, now)
        return True

    def take_response(self, link: Link, message: Message, now: float) -> bool:
        """Take a response that comes as a message of its own; False when nobody waits for it, or must not have it."""
        request = link.requests.get(message.token)
        if request is None or request.stage == WAITING:
            return False
        if request.stage == SENT:
            # RFC 7252 section 5.2.2: it came before the empty ACK, and says the same.
            self._acknowledged(link, request)
        return self._take(request, message, now)

    def forget(self, peer: Peer, link: Link) -> None:
        """The session is gone: its requests end, and its notifications wait for what becomes of their observations."""
        self._timers.cancel(link)
        peer.link = None
        for outgoing in (*link.sent, *link.waiting):
            if isinstance(outgoing, Notification):
                self._timers.cancel(outgoing)
                outgoing.stage = WAITING
        for request in list(link.requests.values()):
            self._remove(request, Outcome.FORGOTTEN)
            self._events.append(RequestEnded(request))

    def withdraw(self, outgoing: Outgoing, now: float) -> None:
        """Take a notification back that its observation no longer needs."""
        if outgoing.stage != ENDED:
            self._remove(outgoing, Outcome.CANCELLED)
            self.go_on(outgoing.peer, now)

    def _transmit(self, link: Link, outgoing: Outgoing, message_id: int, now: float) -> None:
        outgoing.message_id = message_id
        outgoing.sent_at = now
        confirmable = not isinstance(outgoing, Notification) or outgoing.confirmable
        outgoing.datagram = _stamp(outgoing.datagram, _CON if confirmable else _NON, message_id)
        self._queue(link.peer, outgoing.datagram)
        if confirmable:
            outgoing.stage = SENT
            link.sent.append(outgoing)
            self._back_off.begin(outgoing, now, outgoing.until)
        if isinstance(outgoing, Notification):
            self._counters.notifications += 1
            if not confirmable:
                # RFC 7641 section 4.5.1: not more than one a round-trip time, or every three seconds.
                link.next_non_at = now + (limits.NON_GAP_S if link.rtt_s is None else link.rtt_s)
                self._end(outgoing, Outcome.SENT, None, now)
        else:
            self._counters.requests_sent += 1

    def _supersede(self, notification: Notification, now: float) -> None:
        """RFC 7641 section 4.5.2: the newer state goes out in place of a repetition, and as often as was left."""
        message_id = self._take_id(notification.peer, now)
        if message_id < 0 or notification.successor is None:
            return
        notification.superseded += (notification.message_id,)
        notification.message_id = message_id
        notification.datagram = _stamp(notification.successor, _CON, message_id)
        notification.successor = None

    def _settle_superseded(self, link: Link, message: Message, now: float) -> bool:
        """RFC 7641 section 4.5.2: who answers a superseded notification is there, and is heard."""
        for outgoing in link.sent:
            if isinstance(outgoing, Notification) and message.message_id in outgoing.superseded and not message.code:
                if message.type == _RST:
                    self._counters.resets_received += 1
                    self._end(outgoing, Outcome.RESET, None, now)
                else:
                    outgoing.retransmissions = 0
                return True
        return False

    def _acknowledged(self, link: Link, request: OutgoingRequest) -> None:
        """It is not repeated any more; the response may take as long as the caller waits."""
        request.stage = ANSWERING
        link.sent.remove(request)
        self._timers.schedule(request, request.until)

    def _take(self, request: OutgoingRequest, message: Message, now: float) -> bool:
        if any(is_critical(number) and number not in _UNDERSTOOD for number, _ in message.options):
            # RFC 7252 section 5.4.1.
            self._end(request, Outcome.REJECTED, None, now)
            return False
        number = message.observe
        if request.freshness is None or number is None or message.code >= 0x80:
            self._end(request, Outcome.RESPONSE, message, now)
            return True
        link = request.peer.link
        if request.stage == SENT and link is not None:
            self._acknowledged(link, request)
        request.until = NEVER
        self._timers.cancel(request)
        if request.freshness.is_newer(number, now):
            if len(self._events) < limits.QUEUED_EVENTS:
                self._events.append(NotificationReceived(request, message))
            else:
                self._counters.overflows += 1
        if link is not None:
            self.pump(link, now)
        return True

    def _end(self, outgoing: Outgoing, outcome: Outcome, response: Message | None, now: float) -> None:
        self._remove(outgoing, outcome)
        if isinstance(outgoing, OutgoingRequest):
            outgoing.response = response
            self._events.append(RequestEnded(outgoing))
        elif isinstance(outgoing, Notification):
            self.on_notified(outgoing, outcome, now)
        if outcome is not Outcome.SENT:  # that one is in the midst of `pump`
            self.go_on(outgoing.peer, now)

    def _remove(self, outgoing: Outgoing, outcome: Outcome) -> None:
        self._timers.cancel(outgoing)
        link = outgoing.peer.link
        if link is not None:
            if outgoing in link.sent:
                link.sent.remove(outgoing)
            elif outgoing in link.waiting:
                link.waiting.remove(outgoing)
            if isinstance(outgoing, OutgoingRequest):
                link.requests.pop(outgoing.token, None)
        outgoing.stage = ENDED
        outgoing.outcome = outcome

    def _new_token(self, taken: dict[bytes, OutgoingRequest]) -> bytes:
        # RFC 7252 section 5.3.1: hard to guess, and within DTLS nobody can try; four bytes do not repeat soon.
        token = self._random(_TOKEN_BYTES)
        while token in taken:
            token = (int.from_bytes(token, "big") + 1 & 0xFFFFFFFF).to_bytes(_TOKEN_BYTES, "big")
        return token


def _stamp(datagram: bytes, type: int, message_id: int) -> bytes:
    """The message with another type and message id."""
    return bytes((datagram[0] & 0xCF | type << 4, datagram[1])) + message_id.to_bytes(2, "big") + datagram[4:]


def _ignore(notification: Notification, outcome: Outcome, now: float) -> None:
    """Until somebody makes notifications."""
