"""What both drivers of a handshake do: records in, messages to the states, flights out, and again when they get lost.

A driver ties three things together that know nothing of each other: reassembly, states, and the flight.
"""

from abc import abstractmethod
from contextlib import suppress
from typing import Final

from gateway.dtls.errors import ALERT_FOR, PSK_REFUSALS, DecodeError, DropReason, FailureReason, HandshakeError
from gateway.dtls.events import HandshakeCompleted, HandshakeFacts, HandshakeFailed
from gateway.dtls.handshake.common import Outbox
from gateway.dtls.handshake.flight import Flight, FlightFilter, Retransmission, Sealer, payload_limit
from gateway.dtls.handshake.reassembly import Reassembler
from gateway.dtls.handshake.states import (
    Established,
    ExpectChangeCipherSpec,
    FinishedState,
    ReadingState,
    State,
    SuspendedState,
)
from gateway.dtls.limits import MAX_EARLY_RECORD_BYTES, MAX_EARLY_RECORDS, MAX_REMEMBERED_RECORDS
from gateway.dtls.messages.framing import (
    CHANGE_CIPHER_SPEC,
    HANDSHAKE_HEADER_LENGTH,
    Alert,
    Fragment,
    decode_fragments,
    decode_whole,
)
from gateway.dtls.numbers import AlertDescription, AlertLevel, ContentType, HandshakeType
from gateway.dtls.record import Record

# Plain integers: in Python 3.11 a member of an enum costs four times as much to look up, and these stand on the path of
# each record.
_HANDSHAKE: Final = int(ContentType.HANDSHAKE)
_CHANGE_CIPHER_SPEC: Final = int(ContentType.CHANGE_CIPHER_SPEC)
_CLIENT_HELLO: Final = int(HandshakeType.CLIENT_HELLO)
_ALERT: Final = int(ContentType.ALERT)
# A connection id hides what is in a record (RFC 9146 section 4).
_APPLICATION_DATA: Final = int(ContentType.APPLICATION_DATA)
_FINISHED_COMES_IN: Final = (_HANDSHAKE, int(ContentType.TLS12_CID))
_TAKES_NO_MESSAGE: Final = (SuspendedState, Established)
_NOT_TRUSTED: Final = "it does not accept our certificate: look at the CA, the host name and the clock that it has"
_MEANS: Final[dict[int, str]] = {
    AlertDescription.BAD_CERTIFICATE: _NOT_TRUSTED,
    AlertDescription.UNSUPPORTED_CERTIFICATE: _NOT_TRUSTED,
    AlertDescription.CERTIFICATE_EXPIRED: _NOT_TRUSTED,
    AlertDescription.CERTIFICATE_UNKNOWN: _NOT_TRUSTED,
    AlertDescription.UNKNOWN_CA: _NOT_TRUSTED,
    AlertDescription.HANDSHAKE_FAILURE: "it found nothing to agree on: look at its suites, groups and signatures",
    AlertDescription.INTERNAL_ERROR: "a fault in it, often too little memory: look at its log",
    AlertDescription.CLOSE_NOTIFY: "it was stopped, or lost patience",
}


class Driver:
    """One handshake.

    Attributes:
        deadline: When the handshake is given up, seconds.
        outcome: How it ended; None while it runs.
        datagrams: To be sent to the peer; the owner takes them.
        facts: For the operator.
    """

    __slots__ = (
        "_early",
        "_flight",
        "_flight_filter",
        "_held_change_cipher_spec",
        "_limit",
        "_message_in",
        "_outbox",
        "_reassembler",
        "_retransmission",
        "_sealer",
        "_state",
        "datagrams",
        "deadline",
        "facts",
        "outcome",
    )

    def __init__(
        self,
        *,
        state: State,
        facts: HandshakeFacts,
        outbox: Outbox,
        sealer: Sealer,
        peer_seq: int,
        datagram_limit: int,
        retransmit_initial: float,
        deadline: float,
        flight_filter: FlightFilter | None = None,
    ) -> None:
        self.deadline = deadline
        self.facts = facts
        self.outcome: HandshakeCompleted | HandshakeFailed | None = None
        self.datagrams: list[bytes] = []
        self._state = state
        self._outbox = outbox
        self._reassembler = Reassembler(peer_seq)
        self._sealer = sealer
        self._flight = Flight()
        self._flight_filter = flight_filter
        self._retransmission = Retransmission(retransmit_initial)
        self._limit = datagram_limit
        # Record number of the newest ChangeCipherSpec, and which message the plain records before it carried.
        self._held_change_cipher_spec = -1
        self._message_in: dict[int, int] = {}
        self._early: list[Record] = []

    @property
    def buffered(self) -> int:
        """Bytes held of messages that are incomplete or early."""
        return self._reassembler.buffered

    @property
    def timer(self) -> float:
        """When `handle_timer` is due next, seconds."""
        at = self._retransmission.at
        return self.deadline if at is None else min(at, self.deadline)

    def receive(self, record: Record, now: float) -> DropReason | None:
        """Takes one record of epoch 0 or 1; says why it was dropped, or None if it was used."""
        return self._receive(record, now)

    def _receive(self, record: Record, now: float) -> DropReason | None:
        try:
            if record.epoch == 0:
                return self._receive_plain(record, now)
            if record.epoch == 1:
                return self._receive_protected(record, now)
        except DecodeError as error:
            self._fail(HandshakeError(FailureReason.DECODE_ERROR, str(error)), now)
            return None
        except HandshakeError as error:
            self._fail(error, now)
            return None
        return DropReason.FUTURE_EPOCH

    def handle_timer(self, now: float) -> None:
        if self.outcome is not None:
            return
        if now >= self.deadline:
            self._fail(self._timed_out(), now)
        elif self._retransmission.due(now):
            self._send_flight()

    def abandon(self, reason: FailureReason, now: float, detail: str = "") -> None:
        """Ends the handshake, if it has not ended."""
        if self.outcome is None:
            self._fail(HandshakeError(reason, detail), now)

    @abstractmethod
    def _suspended(self, state: SuspendedState) -> None:
        """Tells the shell what this state waits for."""

    # --- records ---------------------------------------------------------------------------------------------------

    def _receive_plain(self, record: Record, now: float) -> DropReason | None:
        # The header is on top, because wolfSSL counts a fragment of a message without it.
        limit = self._outbox.sizes.plain + HANDSHAKE_HEADER_LENGTH
        if len(record.fragment) > limit and record.fragment[0] != _CLIENT_HELLO:
            return DropReason.TOO_LARGE  # a repeated hello may be larger: it was sent before anything was settled
        if record.content_type == _HANDSHAKE:
            if isinstance(self._state, FinishedState):
                return self._receive_late(record, now)
            return self._receive_handshake(record.fragment, now, record.sequence)
        if record.content_type == _CHANGE_CIPHER_SPEC:
            return self._receive_change_cipher_spec(record, now)
        if record.content_type == ContentType.APPLICATION_DATA:
            return DropReason.EPOCH_ZERO_DATA
        if record.content_type == _ALERT:
            if isinstance(self._state, FinishedState):
                return DropReason.OLD_EPOCH  # what is not protected no longer has a say
            return self._receive_alert(record.fragment, now)
        return DropReason.UNEXPECTED

    def _receive_handshake(self, content: bytes, now: float, plain_number: int | None = None) -> DropReason | None:
        whole = decode_whole(content)
        if whole is not None and self._reassembler.add_due(whole):
            self._remember_record(plain_number, whole.message_seq)
            self._advance(now)
            return None
        try:
            fragments = decode_fragments(content)
        except DecodeError:
            return DropReason.MALFORMED  # an invalid record, not yet a message (RFC 6347 section 4.1.2.7)
        self._remember_record(plain_number, fragments[-1].message_seq)
        dropped = None
        answers, add, asked = self._flight.answers_seq, self._reassembler.add, False
        for fragment in fragments:
            dropped = add(fragment) or dropped
            asked |= fragment.message_seq <= answers
        if asked:
            self._repeat_if_asked(fragments, now)
        self._advance(now)
        return dropped

    def _remember_record(self, plain_number: int | None, message_seq: int) -> None:
        if plain_number is not None and len(self._message_in) < MAX_REMEMBERED_RECORDS:
            self._message_in[plain_number] = message_seq

    def _receive_late(self, record: Record, now: float) -> DropReason:
        """Plain handshake records after ChangeCipherSpec: repetitions, which ask for our flight if it got lost, or
        forgeries. They no longer have a say."""
        with suppress(DecodeError):
            self._repeat_if_asked(decode_fragments(record.fragment), now)
        return DropReason.OLD_EPOCH

    def _repeat_if_asked(self, fragments: list[Fragment], now: float) -> None:
        """The peer repeats what our flight answers, so it did not get our flight (RFC 6347 section 4.2.4)."""
        answers = self._flight.answers_seq
        for fragment in fragments:
            if fragment.message_seq <= answers and _begins_something(fragment):
                if self._flight.items and self._retransmission.asked(now):
                    self._send_flight()
                return

    def _receive_change_cipher_spec(self, record: Record, now: float) -> DropReason | None:
        if record.fragment != CHANGE_CIPHER_SPEC:
            return DropReason.MALFORMED
        if isinstance(self._state, FinishedState):
            return DropReason.UNEXPECTED  # a repetition; exactly one counts
        self._held_change_cipher_spec = max(self._held_change_cipher_spec, record.sequence)
        self._advance(now)
        return None

    def _change_cipher_spec_has_come(self) -> bool:
        """Whether a ChangeCipherSpec has come that was sent after the flight's last message.

        The record before it carried that message, or got lost. In the second case the message came in another copy of
        the flight, whose own ChangeCipherSpec may be lost in turn.
        """
        if self._held_change_cipher_spec < 0:
            return False
        follows = self._message_in.get(self._held_change_cipher_spec - 1)
        return follows is None or follows >= self._reassembler.next_seq - 1

    def _receive_protected(self, record: Record, now: float) -> DropReason | None:
        if not isinstance(self._state, FinishedState):
            if record.content_type == _APPLICATION_DATA:
                return DropReason.EARLY_DATA  # it overtook the Finished, whose place it must not take
            if len(self._early) >= MAX_EARLY_RECORDS or len(record.fragment) > MAX_EARLY_RECORD_BYTES:
                return DropReason.BUFFER_FULL
            self._early.append(record)
            return None
        opened = self._state.keys.association.open_record(record)
        if isinstance(opened, DropReason):
            if opened is DropReason.BAD_MAC and record.content_type in _FINISHED_COMES_IN:
                # The first protected record shows a wrong key. Waiting for a time-out instead would protect nothing:
                # up to here every message of the handshake could be forged by the same attacker.
                raise self._state.refusal
            return opened
        content_type, content = opened
        if content_type == _HANDSHAKE:
            return self._receive_handshake(content, now)
        return self._receive_alert(content, now) if content_type == _ALERT else DropReason.UNEXPECTED

    def _receive_alert(self, content: bytes, now: float) -> DropReason | None:
        try:
            alert = Alert.decode(content)
        except DecodeError:
            return DropReason.MALFORMED
        if alert.level != AlertLevel.FATAL and alert.description != AlertDescription.CLOSE_NOTIFY:
            return None
        self._end(HandshakeFailed(FailureReason.PEER_ALERT, _heard(alert), alert.name, self.facts), now)
        return None

    # --- states ----------------------------------------------------------------------------------------------------

    def _advance(self, now: float) -> None:
        """Feeds whole messages, and the ChangeCipherSpec at its place, to the states until one has to wait."""
        while self.outcome is None:
            state = self._state
            if isinstance(state, _TAKES_NO_MESSAGE):
                return
            message = self._reassembler.next_message()
            if message is not None:
                if not isinstance(state, ReadingState) or message.type not in state.accepts:
                    raise HandshakeError(
                        FailureReason.UNEXPECTED_MESSAGE, f"{_type_name(message.type)} in {type(state).__name__}"
                    )
                self._state = state.on_message(message)
                self._entered(message.message_seq, now)
            elif isinstance(state, ExpectChangeCipherSpec) and self._change_cipher_spec_has_come():
                self._state = state.on_change_cipher_spec()
                self._reassembler.clear()
                self._replay_early(now)
            else:
                return

    def _entered(self, message_seq: int, now: float) -> None:
        """What the new state wants done: send a flight, ask the shell, or finish."""
        items = self._outbox.take()
        state = self._state
        if items:
            if self._flight_filter is not None:
                items = self._flight_filter(items)
            self._flight = Flight(items, answers_seq=message_seq)
            self._sealer.sizes = self._outbox.sizes
            keys = state.write_keys()
            if keys is not None:
                self._sealer.association = keys.association
            self._send_flight()
            self._retransmission.sent(now)
        if isinstance(state, SuspendedState):
            self._retransmission.stop()  # the peer has said its part; it is us who are slow
            self._suspended(state)
        elif isinstance(state, Established):
            self._end(HandshakeCompleted(state.keys.association, self.facts), now)

    def _resume(self, state: State, now: float) -> None:
        """After an answer of the shell: goes on in `state`, and with what came meanwhile."""
        self._state = state
        try:
            self._entered(self._reassembler.next_seq - 1, now)
            self._advance(now)
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
        self.datagrams += self._flight.datagrams(self._sealer, self._payload_limit())

    def _payload_limit(self) -> int:
        return payload_limit(self._limit, self._retransmission.count)

    def _fail(self, error: HandshakeError, now: float) -> None:
        description = ALERT_FOR[error.reason]
        kind = self.facts.key_exchange
        if kind is not None and kind.is_psk and error.reason in PSK_REFUSALS:
            # Whatever the registry said of the identity, the peer learns that the key did not fit, and no more.
            description = AlertDescription.DECRYPT_ERROR
        alert = Alert.fatal(description) if description is not None else None
        if alert is not None:
            # RFC 5246 section 7.2: protected as the current write state says, which our ChangeCipherSpec has changed.
            self.datagrams.append(self._sealer.seal(_ALERT, alert.encode()))
        self._end(HandshakeFailed(error.reason, error.detail, alert.name if alert else None, self.facts), now)

    def _timed_out(self) -> HandshakeError:
        awaited = _awaited(self._state)
        missing = self._reassembler.missing()
        if missing is not None:
            return HandshakeError(FailureReason.FRAGMENT_TIMEOUT, f"waited for {awaited}; only {missing} came")
        return HandshakeError(FailureReason.TIMEOUT, f"waited for {awaited}, which did not come")

    def _end(self, outcome: HandshakeCompleted | HandshakeFailed, now: float) -> None:
        self.facts.finished_at = now
        self.facts.retransmissions = self._retransmission.count
        self._retransmission.stop()
        self.outcome = outcome


def _heard(alert: Alert) -> str:
    number = f" {alert.description}" if alert.name == "unknown" else ""
    means = _MEANS.get(alert.description)
    return f"the peer sent the alert {alert.name}{number}" + (f"; {means}" if means is not None else "")


def _begins_something(fragment: Fragment) -> bool:
    """Whether a fragment is the first of a message that has one: an empty one costs too little to send."""
    return not fragment.offset and bool(fragment.data or fragment.type == HandshakeType.SERVER_HELLO_DONE)


def _awaited(state: State) -> str:
    """In words for whoever has the peer in hand."""
    if isinstance(state, SuspendedState):
        return "the answer to whether it may come in"
    if isinstance(state, ExpectChangeCipherSpec):
        return "the peer's change_cipher_spec"
    names = " or ".join(sorted(each.name.lower() for each in state.accepts))
    return f"the peer's {names or 'next message'}"


def _type_name(message_type: int) -> str:
    try:
        return HandshakeType(message_type).name.lower()
    except ValueError:
        return f"handshake message {message_type}"
