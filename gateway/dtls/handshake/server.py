"""The server's driver of one handshake: records in, datagrams and events out. Ties states, flight and time together."""

from collections.abc import Callable
from contextlib import suppress

from gateway.dtls.cookie import Address
from gateway.dtls.crypto import KeyExchange
from gateway.dtls.errors import ALERT_FOR, PSK_REFUSALS, DecodeError, DropReason, FailureReason, HandshakeError
from gateway.dtls.events import (
    CertificatePresented,
    Event,
    HandshakeCompleted,
    HandshakeFacts,
    HandshakeFailed,
    PskRequested,
)
from gateway.dtls.handshake.common import Outbox, Random
from gateway.dtls.handshake.flight import Flight, Retransmission, Sealer
from gateway.dtls.handshake.negotiation import ServerParameters
from gateway.dtls.handshake.reassembly import Reassembler
from gateway.dtls.handshake.server_states import (
    AwaitCertificateVerdict,
    AwaitPsk,
    Established,
    ExpectChangeCipherSpec,
    ExpectClientHello,
    ExpectFinished,
    ReadingState,
    ServerContext,
    ServerState,
)
from gateway.dtls.handshake.transcript import Transcript
from gateway.dtls.limits import MAX_EARLY_RECORDS
from gateway.dtls.messages.framing import CHANGE_CIPHER_SPEC, Alert, Fragment, decode_fragments
from gateway.dtls.numbers import AlertDescription, AlertLevel, ContentType, HandshakeType
from gateway.dtls.record import Record


class Linger:
    """What an association keeps for a while after the handshake, for a peer that did not get our last flight.

    Attributes:
        client_random: Tells a late copy of the ClientHello from a new one.
        expires_at: When to forget this, seconds.
    """

    __slots__ = ("_flight", "_limit", "_retransmission", "_sealer", "client_random", "expires_at")

    def __init__(
        self, client_random: bytes, expires_at: float, flight: Flight, sealer: Sealer, limit: int, now: float
    ) -> None:
        self.client_random = client_random
        self.expires_at = expires_at
        self._flight = flight
        self._sealer = sealer
        self._limit = limit
        self._retransmission = Retransmission(0.0)
        self._retransmission.sent(now)

    def repeat(self, now: float) -> list[bytes]:
        """The last flight again, under new record numbers; empty when it was only just sent."""
        return self._flight.datagrams(self._sealer, self._limit) if self._retransmission.asked(now) else []


class ServerHandshake:
    """One handshake whose cookie has verified.

    Attributes:
        id: The number by which the shell answers.
        client_random: Of the ClientHello that the gate let in.
        deadline: When the handshake is given up, seconds.
        outcome: How it ended; None while it runs.
        datagrams: To be sent to the peer; the endpoint takes them.
        facts: For the operator.
        context: The shell's object for the association to come.
        scheduled_at: For the endpoint: the timer it has set; None if none.
    """

    __slots__ = (
        "_context",
        "_early",
        "_flight",
        "_held_change_cipher_spec",
        "_last_record",
        "_limit",
        "_on_event",
        "_reassembler",
        "_retransmission",
        "_sealer",
        "_state",
        "client_random",
        "context",
        "datagrams",
        "deadline",
        "facts",
        "id",
        "outcome",
        "scheduled_at",
    )

    def __init__(
        self,
        *,
        id: int,
        address: Address,
        client_random: bytes,
        first_seq: int,
        first_record: int,
        parameters: ServerParameters,
        random: Random,
        datagram_limit: int,
        retransmit_initial: float,
        deadline: float,
        now: float,
        on_event: Callable[[Event], None],
    ) -> None:
        self.id = id
        self.client_random = client_random
        self.deadline = deadline
        self.facts = HandshakeFacts(address, started_at=now)
        self.outcome: HandshakeCompleted | HandshakeFailed | None = None
        self.datagrams: list[bytes] = []
        self.context: object = None
        self.scheduled_at: float | None = None
        self._on_event = on_event
        transcript = Transcript()
        # RFC 6347 section 4.2.2: we number on from the ClientHello (1, after the HelloVerifyRequest's 0).
        self._context = ServerContext(
            address, parameters, random, transcript, Outbox(transcript, first_seq), self.facts
        )
        self._state: ServerState = ExpectClientHello()
        self._reassembler = Reassembler(first_seq)
        # RFC 6347 section 4.2.1: the ServerHello's record number is the ClientHello's; the HelloVerifyRequest had the
        # number of the hello before, and a number that comes twice would be taken for a replay.
        self._sealer = Sealer(first_record)
        self._flight = Flight()
        self._retransmission = Retransmission(retransmit_initial)
        self._limit = datagram_limit
        # Record number of the newest record that completed a message, and of a ChangeCipherSpec that came too early.
        self._last_record = -1
        self._held_change_cipher_spec = -1
        self._early: list[Record] = []

    @property
    def timer(self) -> float:
        """When `handle_timer` is due next, seconds."""
        at = self._retransmission.at
        return self.deadline if at is None else min(at, self.deadline)

    @property
    def awaits_finished(self) -> bool:
        return isinstance(self._state, ExpectFinished)

    def receive(self, record: Record, now: float) -> DropReason | None:
        """Takes one record of epoch 0 or 1; says why it was dropped, or None if it was used."""
        try:
            if record.epoch == 0:
                return self._receive_plain(record, now)
            if record.epoch == 1:
                return self._receive_protected(record, now)
            return DropReason.FUTURE_EPOCH
        except DecodeError as error:
            self._fail(HandshakeError(FailureReason.DECODE_ERROR, str(error)), now)
        except HandshakeError as error:
            self._fail(error, now)
        return None

    def provide_psk(self, psk: bytes | None, refusal: HandshakeError | None, now: float) -> None:
        """The answer to `PskRequested`; ignored where none is awaited."""
        if self.outcome is None and isinstance(self._state, AwaitPsk):
            reason = refusal or HandshakeError(FailureReason.WRONG_KEY, "the device's key is not the one on record")
            self._state = self._state.on_psk(self._context, psk, reason)
            self._resume(now)

    def certificate_verdict(self, refusal: HandshakeError | None, now: float) -> None:
        """The answer to `CertificatePresented`; ignored where none is awaited."""
        if self.outcome is None and isinstance(self._state, AwaitCertificateVerdict):
            try:
                self._state = self._state.on_verdict(refusal)
            except HandshakeError as error:
                self._fail(error, now)
            else:
                self._resume(now)

    def handle_timer(self, now: float) -> None:
        if self.outcome is not None:
            return
        if now >= self.deadline:
            self._fail(HandshakeError(FailureReason.TIMEOUT, f"gave up in {type(self._state).__name__}"), now)
        elif self._retransmission.due(now):
            self._send_flight()

    def abandon(self, reason: FailureReason, now: float) -> None:
        if self.outcome is None:
            self._fail(HandshakeError(reason), now)

    def linger(self, expires_at: float, now: float) -> Linger:
        return Linger(self.client_random, expires_at, self._flight, self._sealer, self._limit, now)

    # --- records ---------------------------------------------------------------------------------------------------

    def _receive_plain(self, record: Record, now: float) -> DropReason | None:
        if record.content_type == ContentType.HANDSHAKE:
            if self.awaits_finished:
                return self._receive_late(record, now)
            return self._receive_handshake(record.fragment, record.sequence, now)
        if record.content_type == ContentType.CHANGE_CIPHER_SPEC:
            return self._receive_change_cipher_spec(record, now)
        if record.content_type == ContentType.ALERT:
            return self._receive_alert(record.fragment, now)
        if record.content_type == ContentType.APPLICATION_DATA:
            return DropReason.EPOCH_ZERO_DATA
        return DropReason.UNEXPECTED

    def _receive_handshake(self, content: bytes, sequence: int, now: float) -> DropReason | None:
        try:
            fragments = decode_fragments(content)
        except DecodeError:
            return DropReason.MALFORMED  # an invalid record, not yet a message (RFC 6347 section 4.1.2.7)
        dropped = None
        for fragment in fragments:
            if fragment.message_seq < self._reassembler.next_seq:
                dropped = DropReason.REPEATED
            else:
                dropped = self._reassembler.add(fragment) or dropped
        self._repeat_if_asked(fragments, now)
        self._advance(now, sequence)
        return dropped

    def _receive_late(self, record: Record, now: float) -> DropReason:
        """Plain handshake records after ChangeCipherSpec: repetitions, which ask for our flight if it got lost, or
        forgeries. They no longer have a say."""
        with suppress(DecodeError):
            self._repeat_if_asked(decode_fragments(record.fragment), now)
        return DropReason.OLD_EPOCH

    def _repeat_if_asked(self, fragments: list[Fragment], now: float) -> None:
        """The peer repeats what our flight answers, so it did not get our flight (RFC 6347 section 4.2.4)."""
        asked = any(f.message_seq <= self._flight.answers_seq and not f.offset for f in fragments)
        if asked and self._flight.items and self._retransmission.asked(now):
            self._send_flight()

    def _receive_change_cipher_spec(self, record: Record, now: float) -> DropReason | None:
        if record.fragment != CHANGE_CIPHER_SPEC:
            return DropReason.MALFORMED
        if self.awaits_finished:
            return DropReason.UNEXPECTED  # a repetition; exactly one counts
        self._held_change_cipher_spec = max(self._held_change_cipher_spec, record.sequence)
        self._advance(now, -1)
        return None

    def _receive_protected(self, record: Record, now: float) -> DropReason | None:
        if not isinstance(self._state, ExpectFinished):
            if len(self._early) >= MAX_EARLY_RECORDS:
                return DropReason.BUFFER_FULL
            self._early.append(record)
            return None
        content = self._state.keys.association.open(record.content_type, record.number, record.fragment)
        if isinstance(content, DropReason):
            if content is DropReason.BAD_MAC and record.content_type == ContentType.HANDSHAKE:
                # The first protected record shows a wrong key. Waiting for a time-out instead would protect nothing:
                # up to here every message of the handshake could be forged by the same attacker.
                raise self._state.refusal
            return content
        if record.content_type == ContentType.ALERT:
            return self._receive_alert(content, now)
        if record.content_type != ContentType.HANDSHAKE:
            return DropReason.UNEXPECTED
        return self._receive_handshake(content, record.sequence, now)

    def _receive_alert(self, content: bytes, now: float) -> DropReason | None:
        try:
            alert = Alert.decode(content)
        except DecodeError:
            return DropReason.MALFORMED
        if alert.level != AlertLevel.FATAL and alert.description != AlertDescription.CLOSE_NOTIFY:
            return None
        self._end(
            HandshakeFailed(FailureReason.PEER_ALERT, f"the device sent {alert.name}", alert.name, self.facts), now
        )
        return None

    # --- states ----------------------------------------------------------------------------------------------------

    def _advance(self, now: float, sequence: int) -> None:
        """Feeds whole messages, and the ChangeCipherSpec at its place, to the states until one has to wait.

        Args:
            now: Seconds.
            sequence: Number of the record that brought the news; -1 if none did.
        """
        while self.outcome is None:
            state = self._state
            if isinstance(state, AwaitPsk | AwaitCertificateVerdict | Established):
                return
            message = self._reassembler.next_message()
            if message is not None:
                if not isinstance(state, ReadingState) or message.type not in state.accepts:
                    raise HandshakeError(
                        FailureReason.UNEXPECTED_MESSAGE, f"{_type_name(message.type)} in {type(state).__name__}"
                    )
                self._last_record = max(self._last_record, sequence)
                self._state = state.on_message(self._context, message)
                self._entered(message.message_seq, now)
            elif isinstance(state, ExpectChangeCipherSpec) and self._held_change_cipher_spec > self._last_record:
                # It was sent after the messages that it must follow, wherever the network put it.
                self._state = state.on_change_cipher_spec()
                self._reassembler.clear()
                self._replay_early(now)
            else:
                return

    def _entered(self, message_seq: int, now: float) -> None:
        """What the new state wants done: send a flight, ask the shell, or finish."""
        items = self._context.outbox.take()
        state = self._state
        if items:
            if isinstance(state, Established):
                self._sealer.association = state.keys.association
            self._flight = Flight(items, answers_seq=message_seq)
            self._send_flight()
            self._retransmission.sent(now)
        if isinstance(state, AwaitPsk):
            self._retransmission.stop()
            name = self.facts.server_name
            self._on_event(PskRequested(self.id, state.identity, name))
        elif isinstance(state, AwaitCertificateVerdict):
            self._retransmission.stop()
            self._on_event(CertificatePresented(self.id, state.chain, self.facts.server_name))
        elif isinstance(state, Established):
            self._end(HandshakeCompleted(state.keys.association, self.facts), now)

    def _resume(self, now: float) -> None:
        """After an answer of the shell."""
        try:
            self._advance(now, -1)
        except DecodeError as error:
            self._fail(HandshakeError(FailureReason.DECODE_ERROR, str(error)), now)
        except HandshakeError as error:
            self._fail(error, now)

    def _replay_early(self, now: float) -> None:
        early, self._early = self._early, []
        for record in early:
            if self.outcome is None:
                self._receive_protected(record, now)

    # --- output ----------------------------------------------------------------------------------------------------

    def _send_flight(self) -> None:
        self.datagrams += self._flight.datagrams(self._sealer, self._limit)

    def _fail(self, error: HandshakeError, now: float) -> None:
        description = ALERT_FOR[error.reason]
        if self.facts.key_exchange is KeyExchange.PSK and error.reason in PSK_REFUSALS:
            # Whatever the registry said of the identity, the peer learns that the key did not fit, and no more.
            description = AlertDescription.DECRYPT_ERROR
        alert = Alert.fatal(description) if description is not None else None
        if alert is not None:
            self.datagrams.append(self._sealer.seal(ContentType.ALERT, alert.encode(), protected=False))
        self._end(HandshakeFailed(error.reason, error.detail, alert.name if alert else None, self.facts), now)

    def _end(self, outcome: HandshakeCompleted | HandshakeFailed, now: float) -> None:
        self.facts.finished_at = now
        self.facts.retransmissions = self._retransmission.count
        self._retransmission.stop()
        self.outcome = outcome


def _type_name(message_type: int) -> str:
    try:
        return HandshakeType(message_type).name.lower()
    except ValueError:
        return f"handshake message {message_type}"
