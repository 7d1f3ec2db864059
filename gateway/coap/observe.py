"""Observations of resources of ours (RFC 7641), sans-IO.

An observation belongs to an owner, which is a device, and a token, and not to a session: it goes on in whichever
session of its owner is the newest. What it has to say is the latest state only: one that was not sent when a newer one
comes is never sent (section 4.5.2).
"""

from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING, Any, Final

from gateway.coap import limits
from gateway.coap.codec import decode, encode_parts, encode_uint
from gateway.coap.counters import Counters
from gateway.coap.events import EndOfObservation, Event, ObservationDue, ObservationEnded
from gateway.coap.link import SENT, WAITING, Outgoing
from gateway.coap.numbers import Code
from gateway.coap.peer import Peer
from gateway.coap.timers import Timed, TimerQueue
from gateway.coap.transmission import Outcome

if TYPE_CHECKING:
    from collections import deque

    from gateway.coap.outbound import Outbound

_NON: Final = 1
_OBSERVE: Final = 6
_CONTENT_FORMAT: Final = 12
# No content format is as long: the first response was a 2.03, which has none.
_ANY: Final = b"any"
_SEQUENCE_MASK: Final = 0xFFFFFF
_ERRORS: Final = 0x80  # codes 4.00 and above


class Observation(Timed):
    """One client's interest in one resource. Its timer is the day after which it must confirm (section 4.5).

    Attributes:
        owner: Whose; `Peer.owner`.
        token: The client's.
        peer: Where it goes at present.
        resource: What is observed, in the caller's terms.
        context: The caller's own.
        content_format: Of the first 2.05; all after it have the same (section 4.2).
        ended: Nothing is sent for it any more.
        notification: The one that waits or is not acknowledged.
        last_id: Message id of the newest non-confirmable notification, which a RST may name; -1 before.
        unconfirmed: Non-confirmable notifications since the last one that was acknowledged.
    """

    __slots__ = (
        "content_format",
        "context",
        "ended",
        "last_id",
        "notification",
        "owner",
        "peer",
        "resource",
        "token",
        "unconfirmed",
    )

    def __init__(self, peer: Peer, token: bytes, resource: Hashable, context: Any) -> None:
        super().__init__()
        self.owner = peer.owner
        self.token = token
        self.peer = peer
        self.resource = resource
        self.context = context
        self.content_format: bytes | None = _ANY
        self.ended = False
        self.notification: Notification | None = None
        self.last_id = -1
        # The first notification is confirmable: it shows that the client is there, and how far away.
        self.unconfirmed = limits.CONFIRM_EVERY_MAX


class Notification(Outgoing):
    """A response to an observation.

    Attributes:
        observation: What it is for.
        confirmable: Whether it is to be acknowledged.
        successor: The message for a newer state, when that came while this one was under way.
        superseded: Message ids of those in whose place it was sent.
    """

    __slots__ = ("confirmable", "observation", "successor", "superseded")

    def __init__(self, observation: Observation, datagram: bytes, *, confirmable: bool) -> None:
        super().__init__(observation.peer, observation.token)
        self.observation = observation
        self.datagram = datagram
        self.confirmable = confirmable
        self.successor: bytes | None = None
        self.superseded: tuple[int, ...] = ()


class Observations:
    """All observations of a server.

    Attributes:
        max_total: Observations at once; may change, and ends none then.
        max_per_owner: Observations of one owner at once; likewise.
    """

    def __init__(
        self,
        outbound: "Outbound",
        timers: TimerQueue[Timed],
        events: "deque[Event]",
        counters: Counters,
        random: Callable[[int], bytes],
        *,
        max_total: int,
        max_per_owner: int,
        confirm_every: int,
        confirm_after_s: float,
    ) -> None:
        """Make it without any.

        Args:
            outbound: Sends notifications.
            timers: Where observations wait.
            events: Where ends are told.
            counters: Where is counted.
            random: Gives that many random bytes, for the first number.
            max_total: Observations at once.
            max_per_owner: Observations of one owner at once.
            confirm_every: One in so many notifications of an observation is confirmable.
            confirm_after_s: Seconds after which an observation is confirmed again at the latest.

        Raises:
            ValueError: `confirm_every` is out of range, or `confirm_after_s` more than RFC 7641 allows.
        """
        if not 1 <= confirm_every <= limits.CONFIRM_EVERY_MAX:
            raise ValueError(f"confirm_every must be 1 to {limits.CONFIRM_EVERY_MAX}")
        if not 0 < confirm_after_s <= limits.CONFIRM_AFTER_S:
            raise ValueError("confirm_after_s must be above 0 and at most 24 hours (RFC 7641 section 4.5)")
        self._outbound = outbound
        self._timers = timers
        self._events = events
        self._counters = counters
        self.max_total = max_total
        self.max_per_owner = max_per_owner
        self._confirm_every = confirm_every
        self._confirm_after_s = confirm_after_s
        # One sequence for all: each observer sees it rise, and it cannot go round in the 256 seconds of section 4.4.
        self._sequence = int.from_bytes(random(3), "big")
        self._by_owner: dict[Hashable, dict[bytes, Observation]] = {}
        self._by_resource: dict[Hashable, dict[Observation, None]] = {}
        self._count = 0
        outbound.on_notified = self._on_notified
        outbound.renew = self._renew

    def __len__(self) -> int:
        """How many there are."""
        return self._count

    def register(
        self,
        peer: Peer,
        token: bytes,
        resource: Hashable,
        now: float,
        *,
        code: int = Code.CONTENT,
        options: Iterable[tuple[int, bytes]] = (),
        context: Any = None,
    ) -> Observation | None:
        """Enter a client into the list of observers, or bring its entry up to date (section 4.1).

        Args:
            peer: The client.
            token: Its token.
            resource: What it observes.
            now: Seconds on the caller's monotonic clock.
            code: Of the response to the registration.
            options: Of that response.
            context: The caller's own.

        Returns:
            The observation, whose first response is to have `observe_option`; None when there are too many, and then
            the response is to have none.
        """
        owner = peer.owner
        known = self._by_owner.get(owner, {})
        observation = known.get(token)
        if observation is not None:
            if observation.resource == resource:
                self._move(observation, peer, now, keep=False)
                observation.context = context
                observation.content_format = _content_format(options) if code == Code.CONTENT else _ANY
                self._timers.schedule(observation, now + self._confirm_after_s)
                return observation
            self.end(observation, EndOfObservation.REPLACED, now)
        if self._count >= self.max_total or len(known) >= self.max_per_owner:
            self._counters.observations_refused += 1
            return None
        observation = Observation(peer, token, resource, context)
        observation.content_format = _content_format(options) if code == Code.CONTENT else _ANY
        self._by_owner.setdefault(owner, {})[token] = observation
        self._by_resource.setdefault(resource, {})[observation] = None
        self._count += 1
        self._outbound.link(peer).observers += 1
        self._timers.schedule(observation, now + self._confirm_after_s)
        return observation

    def deregister(self, peer: Peer, token: bytes, now: float) -> bool:
        """Take a client off the list (section 3.6); whether it was on it."""
        observation = self._by_owner.get(peer.owner, {}).get(token)
        if observation is None:
            return False
        self.end(observation, EndOfObservation.DEREGISTERED, now)
        return True

    def find(self, resource: Hashable, owner: Hashable | None = None) -> list[Observation]:
        """Who observes a resource: all, or those of one owner."""
        if owner is None:
            return list(self._by_resource.get(resource, ()))
        return [each for each in self._by_owner.get(owner, {}).values() if each.resource == resource]

    def observe_option(self) -> tuple[int, bytes]:
        """The next number, as the option of a response or notification (section 4.4)."""
        self._sequence = self._sequence + 1 & _SEQUENCE_MASK
        return _OBSERVE, encode_uint(self._sequence)

    def notify(
        self,
        observation: Observation,
        code: int,
        options: list[tuple[int, bytes]],
        payload: bytes,
        now: float,
        *,
        confirmable: bool = False,
    ) -> None:
        """Say the resource's new state, or why there is none: an error is the last that the client hears (section 4.2).

        A 2.05 in another content format than the first one becomes 4.06, and so the last.

        Args:
            observation: To whom; one that has ended hears nothing.
            code: Response code.
            options: Options without Observe; best in ascending order.
            payload: Payload.
            now: Seconds on the caller's monotonic clock.
            confirmable: Whether it must be acknowledged; some are in any case.

        Raises:
            ValueError: `code` is no response code, an option cannot be expressed, or the message is larger than may be
                sent.
        """
        if not 0x40 <= code < 0xC0:
            raise ValueError(f"{code} is not the code of a CoAP response")
        if observation.ended:
            return
        if code == Code.CONTENT:
            if observation.content_format is _ANY:
                observation.content_format = _content_format(options)
            elif _content_format(options) != observation.content_format:
                code, options, payload = Code.NOT_ACCEPTABLE, [], b""
        error = code >= _ERRORS
        numbered = options if error else [self.observe_option(), *options]
        datagram = encode_parts(_NON, code, 0, observation.token, numbered, payload)
        if len(datagram) > observation.peer.max_message:
            raise ValueError(
                f"a notification of {len(datagram)} bytes is too large: {observation.peer.max_message} fit"
            )
        confirmable = confirmable or error or observation.unconfirmed >= self._confirm_every - 1
        notification = observation.notification
        if notification is None:
            self._submit(observation, datagram, now, confirmable=confirmable)
        elif notification.stage == WAITING:
            notification.datagram = datagram
            notification.confirmable = notification.confirmable or confirmable
            self._counters.notifications_skipped += 1
        else:
            self._counters.notifications_skipped += notification.successor is not None
            notification.successor = datagram
        if error:
            self._leave(observation, EndOfObservation.ERROR)

    def end(self, observation: Observation, reason: EndOfObservation, now: float) -> None:
        """Send nothing more for it; harmless when it has ended."""
        if observation.ended:
            return
        self._leave(observation, reason)
        if observation.notification is not None:
            self._outbound.withdraw(observation.notification, now)
            observation.notification = None

    def attach(self, peer: Peer, now: float) -> None:
        """This is the newest session of its owner: what the owner observes goes there from now on."""
        for observation in self._by_owner.get(peer.owner, {}).values():
            self._move(observation, peer, now, keep=True)

    def detach(self, peer: Peer, heir: Peer | None, now: float) -> None:
        """A session has ended. Its observations go on in another one of the owner, or end with it."""
        for observation in list(self._by_owner.get(peer.owner, {}).values()):
            if observation.peer is not peer:
                continue
            if heir is None:
                self.end(observation, EndOfObservation.SESSION_ENDED, now)
            else:
                self._move(observation, heir, now, keep=True)

    def reset(self, peer: Peer, message_id: int, now: float) -> bool:
        """A client rejected a message: whether it was a non-confirmable notification (section 3.6)."""
        for observation in self._by_owner.get(peer.owner, {}).values():
            if observation.peer is peer and observation.last_id == message_id:
                self.end(observation, EndOfObservation.RESET, now)
                return True
        return False

    def on_timer(self, observation: Observation, now: float) -> None:
        """The day is over: the next notification is confirmable, and there is to be one."""
        observation.unconfirmed = limits.CONFIRM_EVERY_MAX
        self._timers.schedule(observation, now + self._confirm_after_s)
        self._events.append(ObservationDue(observation))

    def _submit(self, observation: Observation, datagram: bytes, now: float, *, confirmable: bool) -> None:
        notification = Notification(observation, datagram, confirmable=confirmable)
        observation.notification = notification
        self._outbound.submit(self._outbound.link(observation.peer), notification, now)

    def _renew(self, datagram: bytes) -> bytes:
        """The same state as a new notification: an error has no number, and stays what it is."""
        message = decode(datagram)
        options = [self.observe_option() if option[0] == _OBSERVE else option for option in message.options]
        return encode_parts(_NON, message.code, 0, message.token, options, message.payload)

    def _on_notified(self, notification: Notification, outcome: Outcome, now: float) -> None:
        observation = notification.observation
        observation.notification = None
        successor = notification.successor
        if outcome is Outcome.SENT:
            observation.last_id = notification.message_id
            observation.unconfirmed += 1
        elif observation.ended:
            if outcome is Outcome.ACKNOWLEDGED and successor is not None:  # which is the error that ended it
                self._submit(observation, successor, now, confirmable=True)
        elif outcome is Outcome.ACKNOWLEDGED:
            observation.unconfirmed = 0
            self._timers.schedule(observation, now + self._confirm_after_s)
            if successor is not None:
                self._submit(observation, successor, now, confirmable=self._confirm_every == 1)
        else:
            reset = outcome is Outcome.RESET
            self.end(observation, EndOfObservation.RESET if reset else EndOfObservation.TIMED_OUT, now)

    def _move(self, observation: Observation, peer: Peer, now: float, *, keep: bool) -> None:
        """Let it go on with another session; what is under way is sent there anew, or is out of date (`keep`)."""
        notification, old = observation.notification, observation.peer
        if peer is old and (keep or notification is None or notification.stage == SENT):
            if notification is not None and not keep:
                notification.successor = None
            return
        if notification is not None:
            self._outbound.withdraw(notification, now)
            observation.notification = None
        if peer is not old:
            observation.peer = peer
            observation.last_id = -1
            self._outbound.link(peer).observers += 1
            if old.link is not None:
                old.link.observers -= 1
                self._outbound.release(old.link)
        if notification is not None and keep:
            newest = notification.datagram if notification.successor is None else notification.successor
            self._submit(observation, newest, now, confirmable=notification.confirmable)

    def _leave(self, observation: Observation, reason: EndOfObservation) -> None:
        observation.ended = True
        self._timers.cancel(observation)
        mine = self._by_owner[observation.owner]
        del mine[observation.token]
        if not mine:
            del self._by_owner[observation.owner]
        others = self._by_resource[observation.resource]
        del others[observation]
        if not others:
            del self._by_resource[observation.resource]
        self._count -= 1
        if observation.peer.link is not None:
            observation.peer.link.observers -= 1
            self._outbound.release(observation.peer.link)
        self._events.append(ObservationEnded(observation, reason))


def _content_format(options: Iterable[tuple[int, bytes]]) -> bytes | None:
    for number, value in options:
        if number == _CONTENT_FORMAT:
            return value.lstrip(b"\0")
    return None
