"""What is answered to those who have not shown that they are where they seem to be. Nothing is kept of any of them.

Each answer goes once for a datagram, is no longer than the datagram, and depends on nothing but it.
"""

from collections import deque
from typing import Final

from gateway.dtls.admission import CookieLoops
from gateway.dtls.cookie import Address
from gateway.dtls.counters import EndpointCounters
from gateway.dtls.delivery import Delivery
from gateway.dtls.errors import DropReason, FailureReason
from gateway.dtls.events import Event, HandshakeFacts, HandshakeFailed
from gateway.dtls.gate import Gate
from gateway.dtls.limits import COOKIE_LOOP_HELLOS, UNKNOWN_SESSION_ALERTS_PER_S
from gateway.dtls.messages.framing import Alert
from gateway.dtls.messages.hello import HelloStart
from gateway.dtls.numbers import AlertDescription, ContentType
from gateway.dtls.record import Record, encode_record

_COOKIE_LOOP: Final = (
    f"{COOKIE_LOOP_HELLOS} ClientHellos of this network within a minute brought a cookie that is not ours: another "
    "gateway behind the same address, a client that changes its hello after the question, or forged packets"
)
_BAD_RECORD_MAC: Final = Alert.fatal(AlertDescription.BAD_RECORD_MAC)


class Strangers:
    """Attributes:
    answers: How many got one.
    """

    __slots__ = (
        "_alert_allowance",
        "_alerted_at",
        "_cookie_loops",
        "_counters",
        "_delivery",
        "_events",
        "_gate",
        "answers",
    )

    def __init__(self, gate: Gate, delivery: Delivery, counters: EndpointCounters, events: deque[Event]) -> None:
        """Works on the endpoint's parts; what happens is added to `events`."""
        self._gate = gate
        self._delivery = delivery
        self._counters = counters
        self._events = events
        self._cookie_loops = CookieLoops()
        self._alert_allowance = float(UNKNOWN_SESSION_ALERTS_PER_S)
        self._alerted_at = float("-inf")
        self.answers = 0

    def lets_in(self, hello: HelloStart, address: Address, size: int, now: float) -> bool:
        """Whether a ClientHello brings a good cookie; without one, it is asked for it.

        Args:
            hello: Its beginning.
            address: Where it came from.
            size: Bytes of the datagram that brought it.
            now: Seconds.
        """
        verdict = self._gate.judge(hello, address, size, now)
        if verdict is None:
            self._counters.hello_verify_valid += 1
            return True
        if not isinstance(verdict, DropReason) and hello.prefix.cookie:
            self._counters.hello_verify_invalid += 1
            self._report_cookie_loop(address, now)
        self._ask(verdict, address)
        return False

    def ask_for_cookie(self, hello: HelloStart, address: Address, size: int, now: float) -> None:
        """Asks for one in any case; arguments as for `lets_in`."""
        self._ask(self._gate.question(hello, address, size, now), address)

    def tell_unknown(self, record: Record, address: Address, size: int, now: float) -> None:
        """Tells the sender of a record of no known session so, now and then.

        Args:
            record: Which it is.
            address: Where it came from.
            size: Bytes of the datagram that brought it.
            now: Seconds.
        """
        rate = float(UNKNOWN_SESSION_ALERTS_PER_S)
        self._alert_allowance = min(rate, self._alert_allowance + rate * max(0.0, now - self._alerted_at))
        self._alerted_at = now
        # RFC 6347 section 4.1.2.7: an alert for what does not authenticate is bad_record_mac. Nothing can protect it.
        answer = encode_record(ContentType.ALERT, record.sequence, _BAD_RECORD_MAC.encode())
        if self._alert_allowance >= 1 and len(answer) <= size:
            self._alert_allowance -= 1
            self.answers += 1
            self._counters.alert("sent", _BAD_RECORD_MAC)
            self._counters.count_sent(answer)
            self._delivery.outgoing.append((answer, address))

    def _ask(self, question: bytes | DropReason, address: Address) -> None:
        if isinstance(question, DropReason):
            self._counters.drops[question] += 1
            return
        self._counters.hello_verify_sent += 1
        self.answers += 1
        self._delivery.outgoing.append((question, address))

    def _report_cookie_loop(self, address: Address, now: float) -> None:
        if self._cookie_loops.report(address, now):
            facts = HandshakeFacts(address, started_at=now, finished_at=now)
            self._events.append(HandshakeFailed(FailureReason.COOKIE_LOOP, _COOKIE_LOOP, None, facts))
