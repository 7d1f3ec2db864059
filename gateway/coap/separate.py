"""Answers that come later than their request: empty acknowledgement and separate response (RFC 7252 section 5.2.2).

A deferred request is an `Exchange` of its peer until its answer is out, and if that is a message of its own until it
is acknowledged. Nothing here is called for a request that is answered at once.
"""

from collections.abc import Callable
from typing import Final

from gateway.coap.codec import encode_empty, encode_parts
from gateway.coap.counters import Counters
from gateway.coap.message import Message
from gateway.coap.parameters import TransmissionParameters
from gateway.coap.peer import ACKNOWLEDGED, DEFERRED, SENT, Exchange, Peer
from gateway.coap.ring import SILENT, enter, set_response
from gateway.coap.timers import Timed, TimerQueue
from gateway.coap.transmission import BackOff

_CON: Final = 0
_NON: Final = 1
_ACK: Final = 2
_RST: Final = 3


class SeparateResponses:
    """One for each layer; the state of a peer is its list of exchanges."""

    def __init__(
        self,
        *,
        parameters: TransmissionParameters,
        counters: Counters,
        timers: TimerQueue[Timed],
        back_off: BackOff,
        ring_size: int,
        take_id: Callable[[Peer, float], int],
        queue: Callable[[Peer, bytes], None],
        on_closed: Callable[[Peer, float], None],
    ) -> None:
        """Make the machine out of parts of the layer.

        Args:
            parameters: Timing.
            counters: Where is counted.
            timers: Where it waits.
            back_off: Repeats.
            ring_size: Requests remembered for each peer.
            take_id: The next message id of our own for a peer; -1 when there is none.
            queue: Takes what is to be sent.
            on_closed: Called when an exchange is over: something else may be sent to its peer.
        """
        self._parameters = parameters
        self._counters = counters
        self._timers = timers
        self._back_off = back_off
        self._ring_size = ring_size
        self._take_id = take_id
        self._queue = queue
        self._on_closed = on_closed

    def begin(self, peer: Peer, request: Message, now: float) -> None:
        """The answer takes longer."""
        exchange = Exchange(peer, request.message_id)
        if peer.exchanges is None:
            peer.exchanges = []
        peer.exchanges.append(exchange)
        if request.type == _CON:
            self._timers.schedule(exchange, now + self._parameters.processing_delay_s)

    def reply(
        self,
        peer: Peer,
        request: Message,
        code: int,
        options: list[tuple[int, bytes]],
        payload: bytes,
        now: float,
    ) -> bytes:
        """See `MessageLayer.reply`; empty for a request that is not waiting for an answer."""
        exchange = peer.find_deferred(request.message_id)
        if exchange is None:
            return b""
        if exchange.stage == DEFERRED:
            return self._reply_in_time(exchange, request, code, options, payload, now)
        message_id = self._take_id(peer, now)
        data = encode_parts(_CON, code, max(0, message_id), request.token, options, payload)
        if message_id < 0:
            self._close(exchange, now)
            return b""
        self._counters.separate_responses += 1
        exchange.stage = SENT
        exchange.message_id = message_id
        exchange.datagram = data
        self._back_off.begin(exchange, now)
        return data

    def withhold(self, peer: Peer, request: Message, now: float) -> bool:
        """There will be no answer. Whether the request still needs its empty ACK."""
        exchange = peer.find_deferred(request.message_id)
        if exchange is None:
            return False
        self._close(exchange, now)
        return exchange.stage == DEFERRED

    def on_timer(self, exchange: Exchange, now: float) -> None:
        """Acknowledge, repeat or give up what is due."""
        if exchange.stage == DEFERRED:
            # PROCESSING_DELAY is over: the client is to stop repeating.
            data = encode_empty(_ACK, exchange.request_id)
            exchange.stage = ACKNOWLEDGED
            set_response(exchange.peer.ring, exchange.request_id, data)
            self._queue(exchange.peer, data)
            self._counters.empty_acks += 1
        elif self._back_off.is_over(exchange):
            self._counters.gave_up += 1
            self._close(exchange, now)
        else:
            self._back_off.again(exchange, now)

    def settle(self, peer: Peer, message: Message, now: float) -> bool:
        """Take an empty ACK or RST; whether it was for one of these."""
        for exchange in peer.exchanges or ():
            if exchange.stage == SENT and exchange.message_id == message.message_id:
                self._close(exchange, now)
                if message.type == _RST:
                    self._counters.resets_received += 1
                return True
        return False

    def forget(self, peer: Peer) -> None:
        """The session is gone."""
        for exchange in peer.exchanges or ():
            self._timers.cancel(exchange)
        peer.exchanges = None

    def _reply_in_time(
        self,
        exchange: Exchange,
        request: Message,
        code: int,
        options: list[tuple[int, bytes]],
        payload: bytes,
        now: float,
    ) -> bytes:
        """The empty ACK has not gone out: the response goes in its place."""
        peer, is_con = exchange.peer, request.type == _CON
        message_id = request.message_id if is_con else self._take_id(peer, now)
        data = encode_parts(_ACK if is_con else _NON, code, max(0, message_id), request.token, options, payload)
        self._close(exchange, now)
        if peer.ring is not None and request.message_id not in peer.ring:
            enter(peer.ring, request.message_id, now, self._ring_size)
        set_response(peer.ring, request.message_id, data if is_con else SILENT)
        return data if message_id >= 0 else b""

    def _close(self, exchange: Exchange, now: float) -> None:
        self._timers.cancel(exchange)
        peer = exchange.peer
        if peer.exchanges is not None:
            peer.exchanges.remove(exchange)
            if not peer.exchanges:
                peer.exchanges = None
        self._on_closed(peer, now)
