"""The back-off of a confirmable message of ours (RFC 7252 section 4.2): one machine for all that a server starts."""

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from gateway.coap.counters import Counters
from gateway.coap.parameters import TransmissionParameters
from gateway.coap.timers import Timed, TimerQueue

if TYPE_CHECKING:
    from gateway.coap.peer import Peer

NEVER: Final = float("inf")


class Outcome(StrEnum):
    """How something that was sent ended."""

    RESPONSE = "response"
    ACKNOWLEDGED = "acknowledged"  # a notification arrived; a request has no end here, its response is still to come
    SENT = "sent"  # non-confirmable: gone out, and nobody knows what became of it
    RESET = "reset"  # the peer rejected it
    REJECTED = "rejected"  # the response has a critical option that is not known here (5.4.1)
    UNACKNOWLEDGED = "unacknowledged"  # MAX_RETRANSMIT repetitions, and nothing came back
    UNANSWERED = "unanswered"  # no response in time
    UNSENT = "unsent"  # it waited for its turn until its time was over: the peer never saw it
    FORGOTTEN = "forgotten"  # the session ended
    CANCELLED = "cancelled"  # the caller lost interest


class Transmission(Timed):
    """A message of ours, and how often it went out.

    Attributes:
        peer: Whose.
        message_id: Of the message; -1 before it is sent.
        datagram: Its bytes.
        timeout_s: The present wait of the back-off.
        waits_until: When that ends.
        retransmissions: How often it went out again.
    """

    __slots__ = ("datagram", "message_id", "peer", "retransmissions", "timeout_s", "waits_until")

    def __init__(self, peer: "Peer") -> None:
        super().__init__()
        self.peer = peer
        self.message_id = -1
        self.datagram = b""
        self.timeout_s = 0.0
        self.waits_until = NEVER
        self.retransmissions = 0


class BackOff:
    """Waits, repeats and gives up; whose message it is and what follows is its users' business."""

    __slots__ = ("_counters", "_parameters", "_queue", "_random", "_timers")

    def __init__(
        self,
        parameters: TransmissionParameters,
        random: Callable[[int], bytes],
        timers: TimerQueue[Timed],
        counters: Counters,
        queue: Callable[["Peer", bytes], None],
    ) -> None:
        """Make the machine.

        Args:
            parameters: Timing.
            random: Gives that many random bytes, for the spread of the first wait.
            timers: Where it waits.
            counters: Where repetitions are counted.
            queue: Takes what is to be sent again.
        """
        self._parameters = parameters
        self._random = random
        self._timers = timers
        self._counters = counters
        self._queue = queue

    def begin(self, transmission: Transmission, now: float, until: float = NEVER) -> None:
        """The message goes out for the first time; wake it when it is to be repeated, or at `until`."""
        transmission.retransmissions = 0
        transmission.timeout_s = self._parameters.first_timeout_s(self._random(2))
        self._wait(transmission, now, until)

    def is_over(self, transmission: Transmission) -> bool:
        """Whether it went out as often as it may: the wait that has ended was the last one."""
        return transmission.retransmissions >= self._parameters.max_retransmit

    def again(self, transmission: Transmission, now: float, until: float = NEVER) -> None:
        """Nothing came: send it once more and wait twice as long."""
        transmission.retransmissions += 1
        transmission.timeout_s *= 2
        self._wait(transmission, now, until)
        self._queue(transmission.peer, transmission.datagram)
        self._counters.retransmissions += 1

    def _wait(self, transmission: Transmission, now: float, until: float) -> None:
        transmission.waits_until = now + transmission.timeout_s
        self._timers.schedule(transmission, min(transmission.waits_until, until))
