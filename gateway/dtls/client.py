"""The client's endpoint: one connection to one server, with the same verbs as the server's. The simulated device."""

from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from gateway.dtls.association import Association
from gateway.dtls.connection_id import IdentifiedAssociation
from gateway.dtls.cookie import Address
from gateway.dtls.errors import ApiMisuse, DecodeError, DropReason, FailureReason, HandshakeError, SequenceExhausted
from gateway.dtls.events import ApplicationData, AssociationClosed, Event, HandshakeCompleted
from gateway.dtls.handshake.client import ClientHandshake
from gateway.dtls.handshake.client_context import ClientParameters, ClientSession
from gateway.dtls.handshake.common import KeyLog, Random
from gateway.dtls.handshake.flight import FlightFilter
from gateway.dtls.handshake.linger import Linger
from gateway.dtls.limits import CLIENT_HANDSHAKE_TIMEOUT_S, DEFAULT_DATAGRAM_PAYLOAD, RETRANSMIT_INITIAL_S
from gateway.dtls.messages.framing import Alert
from gateway.dtls.numbers import AlertDescription, AlertLevel, ContentType, HandshakeType, PathMessage
from gateway.dtls.paths import decode_path_message, encode_path_message
from gateway.dtls.record import Record, split_records

_FINISHED: Final = bytes((HandshakeType.FINISHED,))
_CLOSE_NOTIFY: Final = Alert.warning(AlertDescription.CLOSE_NOTIFY).encode()


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """How the client behaves.

    Attributes:
        parameters: What is offered.
        datagram_limit: Bytes of UDP payload that a handshake datagram may have.
        retransmit_initial_s: Seconds to the first repetition of a flight; doubles after that.
        handshake_timeout_s: Seconds that the handshake may take.
        key_log: Gets the secrets of the handshake (NSS key log format, CLIENT_RANDOM lines).
        flight_filter: For tests that need a client that misbehaves: gets each flight before it is first sent and
            returns what is sent instead. The transcript stays what an honest client's would be.
    """

    parameters: ClientParameters
    datagram_limit: int = DEFAULT_DATAGRAM_PAYLOAD
    retransmit_initial_s: float = RETRANSMIT_INITIAL_S
    handshake_timeout_s: float = CLIENT_HANDSHAKE_TIMEOUT_S
    flight_filter: FlightFilter | None = None
    key_log: KeyLog | None = field(default=None, repr=False)


class ClientConnection:
    """One handshake, then one association.

    Attributes:
        association: None before the handshake has completed and after the association has closed.
        session: What a later connection can resume (`ClientParameters.session`); None before the handshake has
            completed, where the server offers nothing, and after a fatal alert (RFC 5246 section 7.2.2).
        drops: Records dropped, by reason.
    """

    def __init__(self, config: ClientConfig, address: Address, random: Random, now: float) -> None:
        self.association: Association | None = None
        self.session: ClientSession | None = None
        self._linger: Linger | None = None
        self.drops = dict.fromkeys(DropReason, 0)
        self._address = address
        self._cid_length = config.parameters.connection_id or 0
        self._path_answers: list[bytes] = []
        self._events: deque[Event] = deque()
        self._outgoing: list[bytes] = []
        self._handshake: ClientHandshake | None = ClientHandshake(
            address=address,
            parameters=config.parameters,
            random=random,
            datagram_limit=config.datagram_limit,
            retransmit_initial=config.retransmit_initial_s,
            deadline=now + config.handshake_timeout_s,
            now=now,
            on_event=self._events.append,
            flight_filter=config.flight_filter,
            key_log=config.key_log,
        )
        self._handshake.start(now)
        self._collect(self._handshake, now)

    def receive_datagram(self, datagram: bytes, now: float) -> None:
        """Takes a datagram from the server. Never raises for what is in it."""
        self._receive(datagram, now, PathMessage.RESPONSE)
        self._outgoing += self._path_answers
        self._path_answers.clear()

    def receive_on_old_path(self, datagram: bytes, now: float) -> list[bytes]:
        """Takes a datagram that came to an address that the client has left.

        Returns:
            What goes out from that address, and from no other: to a return routability check, that this path is no
            longer in use (RFC 9853 section 5).
        """
        self._receive(datagram, now, PathMessage.DROP)
        answers, self._path_answers = self._path_answers, []
        return answers

    def datagrams_to_send(self) -> list[bytes]:
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def next_event(self) -> Event | None:
        return self._events.popleft() if self._events else None

    def next_timer(self) -> float | None:
        return self._handshake.timer if self._handshake is not None else None

    def handle_timer(self, now: float) -> None:
        if self._handshake is not None:
            self._handshake.handle_timer(now)
            self._collect(self._handshake, now)

    def certificate_verdict(self, refusal: HandshakeError | None, now: float) -> None:
        """Answers `CertificatePresented` and `RawPublicKeyPresented`: None trusts the server.

        No-op where nothing is asked.
        """
        if self._handshake is not None:
            self._handshake.certificate_verdict(refusal, now)
            self._collect(self._handshake, now)

    def send(self, data: bytes, now: float) -> None:
        """Queues application data; a no-op without an association.

        Raises:
            ApiMisuse: More bytes than the server takes in one record: `association.sizes.send`.
        """
        if self.association is not None:
            if len(data) > self.association.sizes.send:
                raise ApiMisuse(f"{len(data)} bytes do not fit a record: the peer takes {self.association.sizes.send}")
            try:
                self._outgoing.append(self.association.seal(ContentType.APPLICATION_DATA, data))
            except SequenceExhausted:
                self._closed(self.association, "exhausted")

    def close(self, now: float) -> None:
        """Sends close_notify, or gives the handshake up."""
        if self._handshake is not None:
            self._handshake.abandon(FailureReason.SHUTDOWN, now)
            self._collect(self._handshake, now)
        elif self.association is not None:
            self._send_close_notify(self.association)
            self._closed(self.association, "local")

    def _receive(self, datagram: bytes, now: float, path_answer: PathMessage) -> None:
        records, whole = split_records(datagram, self._cid_length)
        if not whole:
            self.drops[DropReason.MALFORMED] += 1
        for record in records:
            dropped = self._receive_record(record, now, path_answer)
            if dropped is not None:
                self.drops[dropped] += 1

    def _receive_record(self, record: Record, now: float, path_answer: PathMessage) -> DropReason | None:
        if self._handshake is not None:
            dropped = self._handshake.receive(record, now)
            self._collect(self._handshake, now)
            return dropped
        if self.association is None or record.epoch != 1:
            return DropReason.NO_SESSION if self.association is None else DropReason.OLD_EPOCH
        opened = self.association.open_record(record)
        if isinstance(opened, DropReason):
            return opened
        content_type, content = opened
        self.association.last_heard = now
        if content_type == ContentType.APPLICATION_DATA:
            self._events.append(ApplicationData(self.association, content))
        elif content_type == ContentType.RETURN_ROUTABILITY_CHECK:
            return self._receive_path_message(content, self.association, path_answer)
        elif content_type == ContentType.ALERT and len(content) == 2:
            if content[1] == AlertDescription.CLOSE_NOTIFY:
                self._send_close_notify(self.association)  # RFC 5246 section 7.2.1
                self._closed(self.association, "close_notify")
            elif content[0] == AlertLevel.FATAL:
                self.session = None
                self._closed(self.association, "alert")
        elif content_type == ContentType.HANDSHAKE:
            return self._repeat(self.association, content, now)
        else:
            return DropReason.UNEXPECTED
        return None

    def _repeat(self, association: Association, content: bytes, now: float) -> DropReason | None:
        """A repeated Finished of the server: it did not get ours, if ours was the last (RFC 6347 section 4.2.4)."""
        if self._linger is None or self._linger.expires_at <= now or content[:1] != _FINISHED:
            return DropReason.REPEATED
        self._outgoing += self._linger.repeat(association, now)
        return None

    def _receive_path_message(self, content: bytes, association: Association, answer: PathMessage) -> DropReason | None:
        """Answers a challenge; the client makes none itself, so that an answer is none (RFC 9853 section 5)."""
        if not isinstance(association, IdentifiedAssociation) or not association.path_check:
            return DropReason.UNEXPECTED
        try:
            message = decode_path_message(content)
        except DecodeError:
            return DropReason.MALFORMED
        if message is None:
            return None
        kind, cookie = message
        if kind != PathMessage.CHALLENGE:
            return DropReason.UNEXPECTED
        with suppress(SequenceExhausted):
            body = encode_path_message(answer, cookie)
            self._path_answers.append(association.seal(ContentType.RETURN_ROUTABILITY_CHECK, body))
        return None

    def _collect(self, handshake: ClientHandshake, now: float) -> None:
        self._outgoing += handshake.datagrams
        handshake.datagrams.clear()
        outcome = handshake.outcome
        if outcome is not None and self._handshake is not None:
            self._handshake = None
            if isinstance(outcome, HandshakeCompleted):
                self.association = outcome.association
                self.association.last_heard = now
                self.session = handshake.session
                self._linger = handshake.linger(now)
            self._events.append(outcome)

    def _send_close_notify(self, association: Association) -> None:
        with suppress(SequenceExhausted):
            self._outgoing.append(association.seal(ContentType.ALERT, _CLOSE_NOTIFY))

    def _closed(self, association: Association, reason: str) -> None:
        association.closed = True
        self.association = None
        self._events.append(AssociationClosed(association, reason))
