"""The message layer of a client (RFC 7252 sections 4 and 5.3), sans-IO: what a simulated device speaks.

One `Client` for each session. A request becomes a `ClientExchange`, which ends exactly once, with an `Outcome`. A
client may observe (RFC 7641), and may serve what the server asks of it.
"""

from collections.abc import Callable
from typing import Final

from gateway.coap import limits
from gateway.coap.codec import decode, encode, encode_empty
from gateway.coap.errors import DecodeError
from gateway.coap.freshness import Freshness
from gateway.coap.message import Message
from gateway.coap.numbers import is_critical, is_request, is_response
from gateway.coap.parameters import TransmissionParameters
from gateway.coap.timers import Timed, TimerQueue
from gateway.coap.transmission import Outcome

_CON: Final = 0
_NON: Final = 1
_ACK: Final = 2
_RST: Final = 3

# RFC 7252 section 5.3.1: a token is to be hard to guess, and within DTLS nobody can try; four bytes do not repeat soon.
_TOKEN_BYTES: Final = 4


class ClientExchange(Timed):
    """One request and what came of it.

    Attributes:
        request: The message as it was sent.
        datagram: Its bytes.
        outcome: None while it is under way.
        response: The response, when the outcome is RESPONSE.
        acknowledged: An empty ACK came: the request is not repeated any more.
        freshness: Of the notifications, if the request observes; it then ends only with a response that is none.
        retransmissions: How often the request went out again.
        started_at: When it was sent first, in seconds on the caller's clock.
        ended_at: When it ended.
    """

    __slots__ = (
        "acknowledged",
        "datagram",
        "ended_at",
        "freshness",
        "outcome",
        "request",
        "response",
        "retransmissions",
        "started_at",
        "timeout_s",
    )

    def __init__(self, request: Message, datagram: bytes, now: float, *, observing: bool = False) -> None:
        super().__init__()
        self.freshness = Freshness() if observing else None
        self.request = request
        self.datagram = datagram
        self.outcome: Outcome | None = None
        self.response: Message | None = None
        self.acknowledged = False
        self.retransmissions = 0
        self.started_at = now
        self.ended_at = now
        self.timeout_s = 0.0


class Client:
    """The client's end of one session."""

    def __init__(
        self,
        *,
        random: Callable[[int], bytes],
        parameters: TransmissionParameters | None = None,
        serves: bool = False,
    ) -> None:
        """Make a client without open exchanges.

        Args:
            random: Gives that many random bytes; for message ids, tokens and the spread of retransmissions.
            parameters: Timing; the RFC's by default.
            serves: Whether requests of the server are taken; else they are reset.
        """
        self._random = random
        self._parameters = TransmissionParameters() if parameters is None else parameters
        self._serves = serves
        self._requests: list[Message] = []
        # Message ids of the server's requests, oldest first -> until when that is remembered, and the response.
        self._served: dict[int, tuple[float, bytes]] = {}
        self._notifications: list[tuple[ClientExchange, Message]] = []
        self._next_message_id = int.from_bytes(random(2), "big")
        self._exchanges: dict[bytes, ClientExchange] = {}
        self._timers: TimerQueue[ClientExchange] = TimerQueue()
        self._finished: list[ClientExchange] = []
        self._outbox: list[bytes] = []
        # Message ids of separate responses that were acknowledged, oldest first -> until when that is remembered.
        self._acknowledged: dict[int, float] = {}

    def request(
        self,
        code: int,
        options: list[tuple[int, bytes]],
        payload: bytes,
        now: float,
        *,
        confirmable: bool = True,
        observing: bool = False,
        token: bytes | None = None,
    ) -> ClientExchange:
        """Send a request; `finished` tells when it is over.

        RFC 7252 section 4.7 asks for one outstanding request at a time (NSTART); the caller keeps to that or does not.

        Args:
            code: The method.
            options: Options in ascending order.
            payload: Payload.
            now: Seconds on the caller's monotonic clock.
            confirmable: CON, repeated until it is acknowledged, or NON, sent once.
            observing: It has an Observe option of 0: `notifications` has its responses until one is none.
            token: That of an observation that is to end (RFC 7641 section 3.6); a new one by default.

        Raises:
            ValueError: The message cannot be encoded, or its code is no method.
            RuntimeError: There are `limits.CLIENT_EXCHANGES` requests under way.
        """
        if not is_request(code):
            raise ValueError(f"{code} is not the code of a CoAP request")
        if len(self._exchanges) >= limits.CLIENT_EXCHANGES:
            raise RuntimeError(f"{limits.CLIENT_EXCHANGES} requests are under way: wait for one of them to finish")
        type = _CON if confirmable else _NON
        if token is None:
            token = self._new_token()
        message = Message(type, code, self._next_message_id, token, options, payload)
        data = encode(message)
        self._take_id()
        exchange = ClientExchange(message, data, now, observing=observing)
        self._exchanges[message.token] = exchange
        self._outbox.append(data)
        if confirmable:
            exchange.timeout_s = self._parameters.first_timeout_s(self._random(2))
            self._timers.schedule(exchange, now + exchange.timeout_s)
        else:
            self._timers.schedule(exchange, now + self._parameters.non_lifetime_s)
        return exchange

    def receive(self, data: bytes, now: float) -> None:
        """Take one datagram of the server; anything out of place is reset or ignored, never raised."""
        try:
            message = decode(data)
        except DecodeError as error:
            if error.type == _CON and error.message_id is not None:
                self._send_empty(_RST, error.message_id)
            return
        if message.code == 0:
            self._on_empty(message, now)
        elif is_response(message.code) and message.type != _RST:
            self._on_response(message, now)
        elif self._serves and is_request(message.code) and message.type <= _NON:
            self._on_request(message, now)
        elif message.type == _CON:
            # A request, or a reserved code: no context to process it (RFC 7252 section 4.2).
            self._send_empty(_RST, message.message_id)

    def finished(self) -> list[ClientExchange]:
        """The exchanges that ended since the last call, in the order in which they did."""
        finished = self._finished
        self._finished = []
        return finished

    def notifications(self) -> list[tuple[ClientExchange, Message]]:
        """The notifications that came since the last call, without those that are older than what came before."""
        notifications = self._notifications
        self._notifications = []
        return notifications

    def requests(self) -> list[Message]:
        """The server's requests since the last call, each once; `respond` answers."""
        requests = self._requests
        self._requests = []
        return requests

    def respond(
        self, request: Message, code: int, options: list[tuple[int, bytes]], payload: bytes, now: float
    ) -> None:
        """Answer a request of the server: piggy-backed, or a NON by a NON.

        Raises:
            ValueError: The response cannot be encoded, or its code is none of a response.
        """
        if not is_response(code):
            raise ValueError(f"{code} is not the code of a CoAP response")
        type, message_id = (_ACK, request.message_id) if request.type == _CON else (_NON, self._take_id())
        data = encode(Message(type, code, message_id, request.token, options, payload))
        if request.message_id in self._served and request.type == _CON:
            self._served[request.message_id] = now + self._parameters.exchange_lifetime_s, data
        self._outbox.append(data)

    def notify(self, token: bytes, code: int, options: list[tuple[int, bytes]], payload: bytes) -> None:
        """Tell the server, which observes a resource, its new state; non-confirmable.

        Raises:
            ValueError: It cannot be encoded.
        """
        self._outbox.append(encode(Message(_NON, code, self._take_id(), token, options, payload)))

    def cancel(self, exchange: ClientExchange) -> None:
        """Lose interest: nothing more is sent for it, and a response to it is treated as unknown."""
        self._timers.cancel(exchange)
        self._exchanges.pop(exchange.request.token, None)

    def datagrams_to_send(self) -> list[bytes]:
        """What is to be sent, oldest first; each is handed out once."""
        outbox = self._outbox
        self._outbox = []
        return outbox

    def next_timer(self) -> float | None:
        """When `handle_timer` is due, on the clock of `now`; None when nothing waits."""
        return self._timers.next_deadline()

    def handle_timer(self, now: float) -> None:
        """Repeat, or give up, what is due at `now` (RFC 7252 section 4.2)."""
        while (exchange := self._timers.pop_due(now)) is not None:
            if exchange.acknowledged or exchange.request.type == _NON:
                self._finish(exchange, Outcome.UNANSWERED, None, now)
            elif exchange.retransmissions >= self._parameters.max_retransmit:
                self._finish(exchange, Outcome.UNACKNOWLEDGED, None, now)
            else:
                exchange.retransmissions += 1
                exchange.timeout_s *= 2
                self._timers.schedule(exchange, now + exchange.timeout_s)
                self._outbox.append(exchange.datagram)

    def _on_empty(self, message: Message, now: float) -> None:
        if message.type == _CON:
            self._send_empty(_RST, message.message_id)
            return
        exchange = self._find_request(message.message_id)
        if exchange is None or message.type == _NON:
            return
        if message.type == _RST:
            self._finish(exchange, Outcome.RESET, None, now)
        elif exchange.request.type == _CON and not exchange.acknowledged:
            # The separate response may take as long as the handler does; this is when the message id ends.
            exchange.acknowledged = True
            self._timers.schedule(exchange, exchange.started_at + self._parameters.exchange_lifetime_s)

    def _on_response(self, message: Message, now: float) -> None:
        if message.type == _CON and self._acknowledged.get(message.message_id, now) > now:
            # A separate response again: our ACK was lost (RFC 7252 section 4.5).
            self._send_empty(_ACK, message.message_id)
            return
        exchange = self._exchanges.get(message.token)
        if exchange is None or (message.type == _ACK and not _acknowledges(message, exchange.request)):
            # RFC 7252 section 5.3.2: a piggy-backed response matches by message id and token, any other by token.
            # A non-confirmable notification too: that is how the server hears of it (RFC 7641 section 3.6).
            if message.type == _CON or (message.type == _NON and message.observe is not None):
                self._send_empty(_RST, message.message_id)
            return
        if any(is_critical(number) for number, _ in message.options):
            # RFC 7252 section 5.4.1: rejected. No critical option has a meaning in a response to a plain request.
            if message.type == _CON:
                self._send_empty(_RST, message.message_id)
            self._finish(exchange, Outcome.REJECTED, None, now)
            return
        if message.type == _CON:
            self._remember(message.message_id, now)
            self._send_empty(_ACK, message.message_id)
        number = message.observe
        if exchange.freshness is not None and number is not None and message.code < 0x80:
            self._timers.cancel(exchange)
            exchange.acknowledged = True
            if exchange.freshness.is_newer(number, now):
                self._notifications.append((exchange, message))
            return
        # A separate response ends the repetitions even when the empty ACK was lost (RFC 7252 section 5.2.2).
        self._finish(exchange, Outcome.RESPONSE, message, now)

    def _on_request(self, message: Message, now: float) -> None:
        """RFC 7252 section 4.5: what comes again is not done again; a CON gets its answer once more."""
        until, response = self._served.get(message.message_id, (now, b""))
        if until > now:
            if response:
                self._outbox.append(response)
            return
        self._served.pop(message.message_id, None)
        if len(self._served) >= limits.CLIENT_DEDUPLICATION_ENTRIES:
            del self._served[next(iter(self._served))]
        self._served[message.message_id] = now + self._parameters.exchange_lifetime_s, b""
        self._requests.append(message)

    def _finish(self, exchange: ClientExchange, outcome: Outcome, response: Message | None, now: float) -> None:
        self._timers.cancel(exchange)
        del self._exchanges[exchange.request.token]
        exchange.outcome = outcome
        exchange.response = response
        exchange.ended_at = now
        self._finished.append(exchange)

    def _find_request(self, message_id: int) -> ClientExchange | None:
        for exchange in self._exchanges.values():
            if exchange.request.message_id == message_id:
                return exchange
        return None

    def _remember(self, message_id: int, now: float) -> None:
        acknowledged = self._acknowledged
        acknowledged.pop(message_id, None)
        if len(acknowledged) >= limits.CLIENT_DEDUPLICATION_ENTRIES:
            del acknowledged[next(iter(acknowledged))]
        acknowledged[message_id] = now + self._parameters.exchange_lifetime_s

    def _take_id(self) -> int:
        message_id = self._next_message_id
        self._next_message_id = message_id + 1 & 0xFFFF
        return message_id

    def _new_token(self) -> bytes:
        token = self._random(_TOKEN_BYTES)
        while token in self._exchanges:
            token = (int.from_bytes(token, "big") + 1 & 0xFFFFFFFF).to_bytes(_TOKEN_BYTES, "big")
        return token

    def _send_empty(self, type: int, message_id: int) -> None:
        if len(self._outbox) < limits.QUEUED_DATAGRAMS:
            self._outbox.append(encode_empty(type, message_id))


def _acknowledges(message: Message, request: Message) -> bool:
    return request.type == _CON and message.message_id == request.message_id
