"""The message layer of a server (RFC 7252 sections 4 and 5), sans-IO.

`receive` and `reply` are the hot path of the product (DESIGN section 5): one decode, one look-up in the ring of recent
message ids, one pass over the options, one encode. Everything rare lives in the methods below them.

A request is in one of three places, and never in two: in the ring as pending, while its handler runs synchronously; in
`Peer.exchanges`, after `defer`; or in the ring with the bytes that a repetition gets. `receive` enters it as pending
before it hands it out, so no order of calls lets a handler see the same message twice.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Final

from gateway.coap import limits
from gateway.coap.codec import decode, encode_empty, encode_parts, encode_uint
from gateway.coap.counters import Counters
from gateway.coap.errors import DecodeError
from gateway.coap.events import Event
from gateway.coap.link import Link, Outgoing
from gateway.coap.message import Message
from gateway.coap.message_ids import MessageIds
from gateway.coap.numbers import Code, Option, is_response
from gateway.coap.observe import Observation, Observations
from gateway.coap.options import CRITICAL_OPTIONS, OptionFormat, describe_option, find_bad_option
from gateway.coap.outbound import Outbound
from gateway.coap.parameters import TransmissionParameters
from gateway.coap.peer import DEFERRED, Exchange, Peer
from gateway.coap.ring import HEADER_BYTES, OPEN, PENDING, SILENT, Ring, drop_expired, enter, set_response, trim
from gateway.coap.separate import SeparateResponses
from gateway.coap.timers import Timed, TimerQueue
from gateway.coap.transmission import BackOff

_CON: Final = 0
_NON: Final = 1
_ACK: Final = 2
_RST: Final = 3

# Expired ring entries are looked for this many times in EXCHANGE_LIFETIME: an idle peer holds its ring for 1.25 of it.
_SWEEPS: Final = 4


class MessageLayer:
    """One for each server; the state of a session is its `Peer`.

    Attributes:
        counters: See `Counters`.
        parameters: Timing.
        max_payload: Bytes of request payload, more gets 4.13; may change.
        outbound: Sends requests to peers.
        observations: Sends notifications to them.
    """

    def __init__(
        self,
        *,
        random: Callable[[int], bytes],
        parameters: TransmissionParameters | None = None,
        max_payload: int = limits.REQUEST_PAYLOAD_BYTES,
        ring_size: int = limits.DEDUPLICATION_ENTRIES,
        critical_options: Mapping[int, OptionFormat] = CRITICAL_OPTIONS,
        max_observations: int = limits.OBSERVATIONS,
        max_observations_of_one: int = limits.OBSERVATIONS_OF_ONE,
        confirm_every: int = limits.CONFIRM_EVERY,
        confirm_after_s: float = limits.CONFIRM_AFTER_S,
    ) -> None:
        """Make a layer without any state.

        Args:
            random: Gives that many random bytes; for message ids and the spread of retransmissions.
            parameters: Timing; the RFC's by default.
            max_payload: Bytes of request payload, more gets 4.13.
            ring_size: Requests remembered for each peer.
            critical_options: The critical options that do not get 4.02.
            max_observations: Observations at once; a request for one more is answered as if it were none.
            max_observations_of_one: The same for one owner of peers.
            confirm_every: One in so many notifications of an observation is confirmable.
            confirm_after_s: Seconds after which an observation is confirmed again at the latest.

        Raises:
            ValueError: `ring_size` is below 1, or one of the last two out of its range.
        """
        if ring_size < 1:
            raise ValueError("ring_size must be at least 1: without it every repeated request would run again")
        self.counters = Counters()
        self._random = random
        self.parameters = TransmissionParameters() if parameters is None else parameters
        self._lifetime_s = self.parameters.exchange_lifetime_s
        self.max_payload = max_payload
        self._ring_size = ring_size
        self._critical_options = critical_options
        self._outbox: list[tuple[Peer, bytes]] = []
        self._events: deque[Event] = deque()
        self._timers: TimerQueue[Timed] = TimerQueue()
        back_off = BackOff(self.parameters, random, self._timers, self.counters, self._queue)
        self.outbound = Outbound(
            random=random,
            parameters=self.parameters,
            counters=self.counters,
            timers=self._timers,
            back_off=back_off,
            take_id=self._next_message_id,
            queue=self._queue,
            events=self._events,
        )
        self._separate = SeparateResponses(
            parameters=self.parameters,
            counters=self.counters,
            timers=self._timers,
            back_off=back_off,
            ring_size=ring_size,
            take_id=self._next_message_id,
            queue=self._queue,
            on_closed=self.outbound.go_on,
        )
        self.observations = Observations(
            self.outbound,
            self._timers,
            self._events,
            self.counters,
            random,
            max_total=max_observations,
            max_per_owner=max_observations_of_one,
            confirm_every=confirm_every,
            confirm_after_s=confirm_after_s,
        )
        # Peer -> when to look for expired ring entries; always the same time ahead, so in the order of insertion.
        self._sweeps: OrderedDict[Peer, float] = OrderedDict()

    def receive(self, peer: Peer, data: bytes, now: float) -> Message | None:
        """Take one datagram of a peer.

        Args:
            peer: Whose session it came through.
            data: The plaintext.
            now: Seconds on the caller's monotonic clock.

        Returns:
            A request to dispatch, to be followed by `reply`, or by `defer` and later `reply`. None when everything was
            done here; what is to be sent for it waits in `datagrams_to_send`.
        """
        try:
            message = decode(data)
        except DecodeError as error:
            self._on_malformed(peer, error)
            return None
        if peer.link is not None and peer.link.alarm:
            self.outbound.heard(peer.link)
        if message.type > _NON or not 0 < message.code < 0x20:
            self._on_other(peer, message, now)
            return None
        message_id = message.message_id
        ring = peer.ring
        if ring is None:
            ring = self._open_ring(peer, now)
        elif message_id in ring and self._is_duplicate(peer, ring, message, now):
            return None
        if peer.exchanges is not None and self._is_held_up(peer, peer.exchanges, ring, message, now):
            return None
        # `enter`, without the call.
        if len(ring) >= self._ring_size:
            del ring[next(iter(ring))]
        ring[message_id] = (now, PENDING)
        bad = find_bad_option(message.options, self._critical_options)
        if bad >= 0 or len(message.payload) > self.max_payload or message.code > 7:
            self._refuse(peer, message, bad, now)
            return None
        self.counters.requests += 1
        return message

    def reply(
        self,
        peer: Peer,
        request: Message,
        code: int,
        options: list[tuple[int, bytes]],
        payload: bytes,
        now: float,
    ) -> bytes:
        """Answer a request that `receive` returned.

        The answer is piggy-backed for a CON, unless an empty ACK was already sent: then it is a separate confirmable
        message, which the timer repeats until it is acknowledged. A NON gets a NON.

        Args:
            peer: The request's.
            request: What `receive` returned.
            code: Response code.
            options: Options of the response; best in ascending order.
            payload: Payload of the response.
            now: Seconds on the caller's monotonic clock.

        Returns:
            The datagram, to be sent at once. Empty when there is nothing to send: the request was answered before, its
            peer was forgotten, or no message id is free for an answer of ours, which is then lost as in the network.

        Raises:
            ValueError: `code` is no response code, or an option cannot be expressed; the request stays unanswered.
        """
        if not 0x40 <= code < 0xC0:
            raise ValueError(f"{code} is not the code of a CoAP response")
        ring = peer.ring
        message_id = request.message_id
        if ring is None or (entry := ring.get(message_id)) is None or entry[1] is not PENDING:
            return self._separate.reply(peer, request, code, options, payload, now)
        if request.type != _CON:
            own_id = self._next_message_id(peer, now)
            data = encode_parts(_NON, code, max(0, own_id), request.token, options, payload)
            ring[message_id] = (entry[0], SILENT)
            return data if own_id >= 0 else b""
        data = encode_parts(_ACK, code, message_id, request.token, options, payload)
        ring[message_id] = (entry[0], data)
        if len(data) > limits.LARGE_RESPONSE_BYTES:
            trim(ring)
        return data

    def withhold(self, peer: Peer, request: Message, now: float) -> bytes:
        """End a request without a response: nobody wants it (RFC 7967 section 2).

        Returns:
            The empty ACK that a CON still needs, to be sent at once; empty when there is nothing to send.
        """
        ring = peer.ring
        message_id = request.message_id
        if ring is not None and (entry := ring.get(message_id)) is not None and entry[1] is PENDING:
            return self._end_silently(ring, request)
        return self._end_silently(ring, request) if self._separate.withhold(peer, request, now) else b""

    def defer(self, peer: Peer, request: Message, now: float) -> None:
        """Say that the answer takes longer: after PROCESSING_DELAY a CON is acknowledged (RFC 7252 section 5.2.2).

        Harmless for a request that was already answered or deferred, or whose peer was forgotten.
        """
        ring = peer.ring
        if ring is None or (entry := ring.get(request.message_id)) is None or entry[1] is not PENDING:
            return
        ring[request.message_id] = (entry[0], OPEN)
        self._separate.begin(peer, request, now)

    def datagrams_to_send(self) -> list[tuple[Peer, bytes]]:
        """What the layer itself wants sent, oldest first; each is handed out once."""
        outbox = self._outbox
        if outbox:
            self._outbox = []
        return outbox

    def next_event(self) -> Event | None:
        """What happened beside requests, oldest first; None when there is nothing more to tell."""
        return self._events.popleft() if self._events else None

    def next_timer(self) -> float | None:
        """When `handle_timer` is due, on the clock of `now`; None when nothing waits."""
        deadline = self._timers.next_deadline()
        if self._sweeps:
            sweep_at = next(iter(self._sweeps.values()))
            if deadline is None or sweep_at < deadline:
                return sweep_at
        return deadline

    def handle_timer(self, now: float) -> None:
        """Do what is due at `now`: empty ACKs, retransmissions, giving up, and forgetting old message ids."""
        while (item := self._timers.pop_due(now)) is not None:
            if isinstance(item, Exchange):
                self._separate.on_timer(item, now)
            elif isinstance(item, Outgoing):
                self.outbound.on_timer(item, now)
            elif isinstance(item, Link):
                self.outbound.pump(item, now)
            elif isinstance(item, Observation):
                self.observations.on_timer(item, now)
        sweeps = self._sweeps
        while sweeps:
            peer, sweep_at = next(iter(sweeps.items()))
            if sweep_at > now:
                break
            del sweeps[peer]
            if peer.ring is not None:
                self._sweep(peer, peer.ring, now)
            if not sweeps:
                sweeps.clear()  # without it the table stays as large as it ever was

    def forget(self, peer: Peer) -> None:
        """The session is gone: nothing more is sent to this peer, and a late `reply` does nothing.

        Its observations are not gone: `Observations.detach` says what becomes of them.
        """
        peer.ring = None
        self._sweeps.pop(peer, None)
        if peer.link is not None:
            self.outbound.forget(peer, peer.link)
        self._separate.forget(peer)
        if self._outbox:
            self._outbox = [item for item in self._outbox if item[0] is not peer]

    def _open_ring(self, peer: Peer, now: float) -> Ring:
        ring: Ring = {}
        peer.ring = ring
        self._sweeps[peer] = now + self._lifetime_s / _SWEEPS
        return ring

    def _sweep(self, peer: Peer, ring: Ring, now: float) -> None:
        drop_expired(ring, now, self._lifetime_s)
        if ring:
            self._sweeps[peer] = now + self._lifetime_s / _SWEEPS
        else:
            peer.ring = None

    def _is_duplicate(self, peer: Peer, ring: Ring, message: Message, now: float) -> bool:
        """Whether a message id in the ring still is the same message; if so, repeat what it got before."""
        received_at, response = ring[message.message_id]
        lifetime_s = self._lifetime_s if message.type == _CON else self.parameters.non_lifetime_s
        if now - received_at >= lifetime_s:
            del ring[message.message_id]
            return False
        self.counters.duplicates += 1
        # RFC 7252 section 4.3: a duplicate NON is ignored silently.
        if message.type == _CON and len(response) >= HEADER_BYTES:
            self._queue(peer, response)
        return True

    def _is_held_up(self, peer: Peer, exchanges: list[Exchange], ring: Ring, message: Message, now: float) -> bool:
        """Whether open exchanges keep a request from being handed out: it is one of them, or there are too many."""
        for exchange in exchanges:
            if exchange.request_id == message.message_id:
                # So many requests came since that the ring has lost it.
                self.counters.duplicates += 1
                if message.type == _CON and exchange.stage != DEFERRED:
                    self._queue(peer, encode_empty(_ACK, message.message_id))
                return True
        if len(exchanges) < limits.OPEN_EXCHANGES:
            return False
        enter(ring, message.message_id, now, self._ring_size)
        self.counters.refused += 1
        # RFC 7252 section 5.9.3.4: Max-Age says when to try again.
        options = [(int(Option.MAX_AGE), encode_uint(limits.RETRY_AFTER_S))]
        self._queue(peer, self.reply(peer, message, Code.SERVICE_UNAVAILABLE, options, b"", now))
        return True

    def _refuse(self, peer: Peer, message: Message, bad_option: int, now: float) -> None:
        """Answer a request in the ring that no handler must see."""
        self.counters.refused += 1
        options: list[tuple[int, bytes]] = []
        payload = b""
        if bad_option in (Option.PROXY_URI, Option.PROXY_SCHEME):
            code = Code.PROXYING_NOT_SUPPORTED  # RFC 7252 section 5.10.2
        elif bad_option >= 0:
            if message.type == _NON:
                # RFC 7252 section 5.4.1: rejected, which for a NON is a RST or silence; the RST lets the sender know.
                set_response(peer.ring, message.message_id, SILENT)
                self._reset(peer, message.message_id)
                return
            code = Code.BAD_OPTION
            payload = f"option {describe_option(bad_option)} is not supported, or not in this form".encode()
            if len(payload) + HEADER_BYTES + len(message.token) + 1 > peer.max_message:
                payload = b""  # it is for a human; the device goes by the code
        elif len(message.payload) > self.max_payload:
            code = Code.REQUEST_ENTITY_TOO_LARGE
            options = [(int(Option.SIZE1), encode_uint(self.max_payload))]  # RFC 7252 section 5.9.2.9
        else:
            code = Code.METHOD_NOT_ALLOWED  # RFC 7252 section 5.8, for a method that nobody has defined yet
        self._queue(peer, self.reply(peer, message, code, options, payload, now))

    def _end_silently(self, ring: Ring | None, request: Message) -> bytes:
        data = encode_empty(_ACK, request.message_id) if request.type == _CON else b""
        set_response(ring, request.message_id, data or SILENT)
        return data

    def _on_malformed(self, peer: Peer, error: DecodeError) -> None:
        """RFC 7252 section 4.2: a confirmable message that cannot be read is reset, any other ignored (4.3)."""
        self.counters.malformed += 1
        if error.type == _CON and error.message_id is not None:
            self._reset(peer, error.message_id)

    def _on_other(self, peer: Peer, message: Message, now: float) -> None:
        """All that is no request: a ping, an answer to something of ours, or something out of place."""
        if message.type >= _ACK:
            # RFC 7252 section 4.2: an ACK or RST that matches nothing is ignored, and so is one with the wrong code.
            if not self._settle(peer, message, now):
                self.counters.unexpected += 1
        elif is_response(message.code):
            self._on_response(peer, message, now)
        elif message.type == _CON:
            if message.code == 0:
                self.counters.pings += 1
            else:
                self.counters.unexpected += 1
            self._reset(peer, message.message_id)
        else:
            self.counters.unexpected += 1

    def _on_response(self, peer: Peer, message: Message, now: float) -> None:
        """A response that is no ACK: separate, or a notification. One that nobody waits for is reset (section 4.2)."""
        ring = peer.ring
        if ring is not None and message.message_id in ring and self._is_duplicate(peer, ring, message, now):
            return
        if peer.link is None or not self.outbound.take_response(peer.link, message, now):
            self.counters.unexpected += 1
            # Of a NON, too: that is how a server hears that nobody observes any more (RFC 7641 section 3.6).
            self._reset(peer, message.message_id)
            return
        enter(self._open_ring(peer, now) if peer.ring is None else peer.ring, message.message_id, now, self._ring_size)
        if message.type == _CON:
            data = encode_empty(_ACK, message.message_id)
            set_response(peer.ring, message.message_id, data)
            self._queue(peer, data)
        else:
            set_response(peer.ring, message.message_id, SILENT)

    def _settle(self, peer: Peer, message: Message, now: float) -> bool:
        """An ACK or RST ends the transmission of ours that it names."""
        if message.code == 0 and self._separate.settle(peer, message, now):
            return True
        if peer.link is None:
            return False
        if message.type == _RST and message.code:
            return False
        if self.outbound.settle(peer.link, message, now):
            return True
        return message.type == _RST and self.observations.reset(peer, message.message_id, now)

    def _next_message_id(self, peer: Peer, now: float) -> int:
        """RFC 7252 section 4.4: one counter for each endpoint, from a random start; -1 when all are in use."""
        if peer.ids is None:
            peer.ids = MessageIds(int.from_bytes(self._random(2), "big"))
        message_id = peer.ids.take(now, self._lifetime_s)
        self.counters.exhausted += message_id < 0
        return message_id

    def _reset(self, peer: Peer, message_id: int) -> None:
        self.counters.resets_sent += 1
        self._queue(peer, encode_empty(_RST, message_id))

    def _queue(self, peer: Peer, data: bytes) -> None:
        if len(self._outbox) >= limits.QUEUED_DATAGRAMS:
            self.counters.overflows += 1
            return
        self._outbox.append((peer, data))
