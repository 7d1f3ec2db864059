"""The server's endpoint: the demultiplexer behind the gate, the handshakes in progress and the associations.

A pure machine: datagrams, replies and time in; datagrams, events and timers out. Everything that a peer can make it
keep is bounded by `limits`.
"""

import heapq
from collections import deque
from dataclasses import dataclass, field, replace
from itertools import chain, islice

from gateway.dtls.admission import Buffers, CookieLoops, Places
from gateway.dtls.arrivals import Rank, greets, resumes
from gateway.dtls.association import Association
from gateway.dtls.connection_id import PROVEN, IdentifiedAssociation
from gateway.dtls.cookie import Address
from gateway.dtls.counters import EndpointCounters
from gateway.dtls.errors import ApiMisuse, DecodeError, DropReason, FailureReason, HandshakeError, SequenceExhausted
from gateway.dtls.events import (
    ApplicationData,
    AssociationClosed,
    Event,
    HandshakeCompleted,
    HandshakeFacts,
    HandshakeFailed,
)
from gateway.dtls.forgeries import Forgeries
from gateway.dtls.gate import Gate, HelloStart, hello_start
from gateway.dtls.handshake.common import KeyLog, Random
from gateway.dtls.handshake.linger import Linger
from gateway.dtls.handshake.negotiation import ServerParameters
from gateway.dtls.handshake.server import NEVER, ServerHandshake
from gateway.dtls.limits import (
    AMPLIFICATION_FACTOR,
    CONNECTION_ID_LENGTH,
    COOKIE_LOOP_HELLOS,
    DEFAULT_DATAGRAM_PAYLOAD,
    EVICTION_SAMPLE,
    HANDSHAKE_TIMEOUT_S,
    IDLE_TIMEOUT_S,
    LINGER_S,
    MAX_ASSOCIATIONS,
    MAX_AUTHENTICATION_FAILURES,
    MAX_HANDSHAKES,
    MAX_PLAINTEXT,
    MAX_REASSEMBLY_TOTAL,
    MAX_SETTLED,
    MAX_WAITING,
    MIN_DATAGRAM_PAYLOAD,
    RETRANSMIT_INITIAL_S,
    SWEEP_INTERVAL_S,
    TIMER_SLACK,
    UNKNOWN_SESSION_ALERTS_PER_S,
)
from gateway.dtls.messages.framing import Alert, decode_fragments
from gateway.dtls.numbers import DTLS_1_2, AlertDescription, AlertLevel, ContentType, HandshakeType, PathMessage
from gateway.dtls.paths import PathChecks, decode_path_message, encode_path_message
from gateway.dtls.questions import Question, Questions
from gateway.dtls.record import Record, encode_record, split_records
from gateway.dtls.resumption import ResumptionConfig, ServerSessions

_CLOSE_NOTIFY = Alert.warning(AlertDescription.CLOSE_NOTIFY).encode()
_NO_RENEGOTIATION = Alert.warning(AlertDescription.NO_RENEGOTIATION).encode()
_COOKIE_LOOP = (
    f"{COOKIE_LOOP_HELLOS} ClientHellos of this network within a minute brought a cookie that is not ours: another "
    "gateway behind the same address, a client that changes its hello after the question, or forged packets"
)
_CLIENT_HELLO = bytes((HandshakeType.CLIENT_HELLO,))
_FATAL = frozenset({"alert", "authentication_failures"})
"""Ends of an association after which its session cannot be resumed (RFC 5246 section 7.2.2)."""
_BAD_RECORD_MAC = Alert.fatal(AlertDescription.BAD_RECORD_MAC)
_TLS12_CID = int(ContentType.TLS12_CID)
_ID_PREFIX_LENGTH = 2
_PERHAPS_OF_THE_HANDSHAKE = (
    DropReason.NO_SESSION,
    DropReason.BAD_MAC,
    DropReason.REPLAY,
    DropReason.UNKNOWN_CID,
    DropReason.MISSING_CID,
)
_UNKNOWN_SESSION = (DropReason.NO_SESSION, DropReason.UNKNOWN_CID)


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """How the endpoint behaves.

    Attributes:
        parameters: What is negotiated.
        cookie_secret: At least 16 random bytes; the same in all processes that share a port.
        datagram_limit: Bytes of UDP payload that a handshake datagram may have.
        retransmit_initial_s: Seconds to the first repetition of a flight; doubles after that.
        handshake_timeout_s: Seconds that a handshake may take.
        idle_timeout_s: Seconds without an authenticated record after which an association is dropped.
        max_handshakes: In progress at once; beyond it the oldest of the network that has most is given up.
        max_associations: Beyond it a stale one is evicted.
        resumption: How sessions are resumed; None for not at all.
        key_log: Gets the secrets of every handshake, for whoever has to read the traffic (NSS key log format,
            CLIENT_RANDOM lines).
        connection_ids: Whether a client that offers the extension gets a connection id (RFC 9146).
        connection_id_prefix: The first two bytes of our connection ids: node and worker (DESIGN D8).
        enhanced_path_check: Whether a return routability check asks the old address first (RFC 9853).
        alert_unknown_sessions: Whether a protected record of no known session is answered with an alert, now and then.
        max_reassembly: Bytes that all handshakes together buffer; beyond it one that holds much is given up.
        max_waiting: Handshakes that wait for the shell's answer or for their turn to ask; beyond it one fails.
        max_auth_failures: Records of one association with a tag of 8 bytes that may fail to authenticate before it is
            closed.
    """

    parameters: ServerParameters
    cookie_secret: bytes = field(repr=False)
    datagram_limit: int = DEFAULT_DATAGRAM_PAYLOAD
    retransmit_initial_s: float = RETRANSMIT_INITIAL_S
    handshake_timeout_s: float = HANDSHAKE_TIMEOUT_S
    idle_timeout_s: float = IDLE_TIMEOUT_S
    max_handshakes: int = MAX_HANDSHAKES
    max_associations: int = MAX_ASSOCIATIONS
    resumption: ResumptionConfig | None = None
    key_log: KeyLog | None = field(default=None, repr=False)
    connection_ids: bool = True
    connection_id_prefix: bytes = bytes(_ID_PREFIX_LENGTH)
    enhanced_path_check: bool = True
    alert_unknown_sessions: bool = False
    max_reassembly: int = MAX_REASSEMBLY_TOTAL
    max_waiting: int = MAX_WAITING
    max_auth_failures: int = MAX_AUTHENTICATION_FAILURES

    def __post_init__(self) -> None:
        if self.datagram_limit < MIN_DATAGRAM_PAYLOAD:
            raise ApiMisuse(f"datagram_limit must be at least {MIN_DATAGRAM_PAYLOAD} bytes")
        if len(self.cookie_secret) < 16:
            raise ApiMisuse("cookie_secret must have at least 16 bytes")
        if len(self.connection_id_prefix) != _ID_PREFIX_LENGTH:
            raise ApiMisuse("connection_id_prefix must have two bytes: node and worker")


class ServerEndpoint:
    """Attributes:
    associations: Established sessions by address: those without a connection id, and of those with one the newest that
        has shown itself to be there. Read only, for the shell's direct path: `associations.get(address)`, then
        `Association.open_application(datagram)`, then `open_from_elsewhere`.
    associations_by_id: Those with a connection id. Read only.
    counters: Plain integers for metrics.
    sessions: What clients can resume; None where nothing is resumed.
    """

    def __init__(self, config: ServerConfig, random: Random) -> None:
        self.config = config
        self.associations: dict[Address, Association] = {}
        self.associations_by_id: dict[bytes, IdentifiedAssociation] = {}
        self.counters = EndpointCounters()
        self.sessions = ServerSessions(config.resumption, random) if config.resumption is not None else None
        self._random = random
        self._gate = Gate(config.cookie_secret)
        self._handshakes: dict[Address, ServerHandshake] = {}
        self._by_id: dict[int, ServerHandshake] = {}
        self._places = Places()
        self._buffers = Buffers()
        self._questions = Questions(config.max_waiting)
        self._asked: deque[Event] = deque()
        self._cookie_loops = CookieLoops()
        self._forgeries = Forgeries(config.max_auth_failures)
        self._next_id = 1
        self._timers: list[tuple[float, int]] = []
        # What is kept for peers that did not get our last flight: in the order in which it expires.
        self._lingering: dict[Association, Linger] = {}
        self._settled: dict[Address, bytes] = {}
        self._anonymous = 0
        self._cid_length = CONNECTION_ID_LENGTH if config.connection_ids else 0
        self._reserved_ids: set[bytes] = set()
        self._paths = PathChecks(
            random, enhanced=config.enhanced_path_check, challenge=self._send_path_message, rebind=self._validated
        )
        # The association that the datagram at hand has been booked for: its bytes count once, for all its records.
        self._booked: Association | None = None
        self._stateless_answers = 0
        self._alert_allowance = float(UNKNOWN_SESSION_ALERTS_PER_S)
        self._alerted_at = float("-inf")
        self._sweep_at: float | None = None
        self._outgoing: list[tuple[bytes, Address]] = []
        self._events: deque[Event] = deque()

    # --- the six verbs ---------------------------------------------------------------------------------------------

    def receive_datagram(self, datagram: bytes, address: Address, now: float) -> None:
        """Takes a datagram from the network. Never raises for what is in it."""
        records, whole = split_records(datagram, self._cid_length)
        if not whole:
            self._drop(DropReason.MALFORMED)
        self._booked = None
        answers = self._stateless_answers
        for record in records:
            self._receive_record(record, address, len(datagram), now)
            if self._stateless_answers != answers:
                break  # one question, one answer: what follows in the datagram is not for a stranger to ask

    def open_from_elsewhere(
        self, datagram: bytes, address: Address, now: float
    ) -> tuple[IdentifiedAssociation, bytes] | None:
        """The direct path of a datagram that finds its association by its connection id, not by its address.

        Returns:
            Association and plaintext, with the address policy applied; answer with `send`, which keeps to the limits.
            None for anything that is not exactly one valid record of application data: then `receive_datagram` decides.
        """
        association = self.associations_by_id.get(datagram[11:19])
        if association is None or self._forgeries.unreachable(association, address):
            return None
        newest = association.newest
        plaintext = association.open_application(datagram)
        if plaintext is None:
            return None
        self._booked = None
        self._locate(association, association.newest > newest, address, len(datagram), now)
        association.last_heard = now
        return association, plaintext

    def datagrams_to_send(self) -> list[tuple[bytes, Address]]:
        """What has to go out, in order; each is given once."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def next_event(self) -> Event | None:
        return self._events.popleft() if self._events else None

    def next_timer(self) -> float | None:
        """When `handle_timer` is due next, seconds; None if never."""
        times = [self._timers[0][0]] if self._timers else []
        if self._lingering:
            times.append(next(iter(self._lingering.values())).expires_at)
        if self._sweep_at is not None:
            times.append(self._sweep_at)
        if self._paths:
            times.append(self._paths.timer)
        questions = self._questions.next_timer
        if questions != NEVER:
            times.append(questions)
        return min(times, default=None)

    def handle_timer(self, now: float) -> None:
        """Repeats flights, gives handshakes up, drops idle associations. May be called early or late."""
        while self._timers and self._timers[0][0] <= now:
            due, number = heapq.heappop(self._timers)
            handshake = self._by_id.get(number)
            if handshake is not None and handshake.scheduled_at == due:
                handshake.scheduled_at = NEVER
                handshake.handle_timer(now)
                self._settle(handshake, now)
        while self._lingering:
            association, linger = next(iter(self._lingering.items()))
            if linger.expires_at > now:
                break
            del self._lingering[association]
        if self._questions.next_timer <= now:
            self._events += self._questions.due(now)
        if self._sweep_at is not None and self._sweep_at <= now:
            self._sweep(now)
        self._paths.handle_timer(now)

    def send(self, association: Association, data: bytes, now: float) -> None:
        """Protects application data and queues it; a no-op for an association that is closed.

        Raises:
            ApiMisuse: More bytes than `association.sizes.send`, which says what the peer takes in one record. Nothing
                is cut: a datagram's worth of application data is one record (RFC 6347 section 4.1.1).
        """
        if len(data) > association.sizes.send:
            raise ApiMisuse(f"{len(data)} bytes do not fit a record: the peer takes {association.sizes.send}")
        if association.closed:
            return
        try:
            record = association.seal(ContentType.APPLICATION_DATA, data)
        except SequenceExhausted:
            self._close(association, "exhausted")
        else:
            self.counters.application_data_sent += self._emit(association, record)

    # --- replies and orders of the shell ---------------------------------------------------------------------------

    def provide_psk(
        self,
        handshake: int,
        psk: bytes | None,
        now: float,
        *,
        context: object = None,
        refusal: HandshakeError | None = None,
        credential: bytes | None = None,
    ) -> None:
        """Answers `PskRequested`. A late answer, a second one, or one for a handshake that has ended is a no-op.

        Args:
            handshake: From the event.
            psk: The key, or None: the handshake then goes on as if there were one and fails as a wrong key does.
            now: Seconds.
            context: Becomes `Association.context`.
            refusal: The reason to report when `psk` is None.
            credential: By which `ResumptionRequested` will ask again; None if the session must not be resumed.
        """
        if psk is None and refusal is None:
            refusal = HandshakeError(FailureReason.UNKNOWN_IDENTITY)
        waiting = self._by_id.get(handshake)
        if waiting is not None:
            self._questions.close(handshake)
            waiting.provide_psk(psk, refusal, now, context, credential)
            self._settle(waiting, now)

    def certificate_verdict(
        self,
        handshake: int,
        refusal: HandshakeError | None,
        now: float,
        *,
        context: object = None,
        credential: bytes | None = None,
    ) -> None:
        """Answers `CertificatePresented` and `RawPublicKeyPresented`: None accepts.

        No-op under the same conditions as `provide_psk`.
        """
        waiting = self._by_id.get(handshake)
        if waiting is not None:
            self._questions.close(handshake)
            waiting.certificate_verdict(refusal, now, context, credential)
            self._settle(waiting, now)

    def resumption_verdict(self, handshake: int, accepted: bool, now: float, *, context: object = None) -> None:
        """Answers `ResumptionRequested`: False gives a full handshake in the same exchange.

        No-op under the same conditions as `provide_psk`.
        """
        waiting = self._by_id.get(handshake)
        if waiting is not None:
            self._questions.close(handshake)
            waiting.resumption_verdict(accepted, now, context)
            self._settle(waiting, now)

    def close(self, association: Association, now: float, reason: str = "local") -> None:
        """Sends close_notify and forgets the association."""
        if not association.closed:
            self._send_alert(association, _CLOSE_NOTIFY)
            self._close(association, reason)

    def supersede(self, association: Association) -> None:
        """Forgets an association whose peer has made another one; says nothing to it, for nobody would listen."""
        if not association.closed:
            self._close(association, "superseded")

    def shut_down(self, now: float) -> None:
        """Ends every handshake and closes every association with close_notify."""
        for handshake in list(self._handshakes.values()):
            handshake.abandon(FailureReason.SHUTDOWN, now)
            self._settle(handshake, now)
        for association in self.all_associations():
            self.close(association, now, "drain")

    def all_associations(self) -> list[Association]:
        """Every established association; takes time and memory in proportion."""
        anonymous = [association for association in self.associations.values() if not association.cid]
        return [*anonymous, *self.associations_by_id.values()]

    @property
    def association_count(self) -> int:
        return self._anonymous + len(self.associations_by_id)

    @property
    def handshakes_in_progress(self) -> int:
        return len(self._handshakes)

    def rank(self, datagram: bytes, address: Address, now: float) -> Rank:
        """How urgent a datagram is that is no application data of a session: a guess from its first bytes."""
        known = (
            address in self.associations or address in self._handshakes or datagram[11:19] in self.associations_by_id
        )
        if known and not greets(datagram):
            return Rank.KNOWN
        if self._questions.suspect(address, now):
            return Rank.SUSPECT
        return Rank.RETURNING if resumes(datagram) else Rank.NEW

    # --- demultiplexing --------------------------------------------------------------------------------------------

    def _receive_record(self, record: Record, address: Address, size: int, now: float) -> None:
        handshake = self._handshakes.get(address)
        if record.epoch == 0:
            self._receive_plain(record, handshake, address, size, now)
            return
        if record.version != DTLS_1_2:
            self._drop(DropReason.BAD_VERSION)
            return
        association, outcome = self._addressee(record, address)
        if association is not None:
            outcome = self._receive_protected(record, association, address, size, now)
            if outcome is DropReason.BAD_MAC:
                self._forgeries.failed(association, address)
        mine = association is not None and record.content_type == _TLS12_CID
        if handshake is not None and not mine and outcome in _PERHAPS_OF_THE_HANDSHAKE:
            # RFC 6347 section 4.2.8: the old association serves until the new one's Finished verifies. Both number
            # their records of epoch 1 from 0, so that what is a replay for the old one may be new for the other.
            failed, outcome = outcome, handshake.receive(record, now)
            if association is not None and failed is DropReason.BAD_MAC and outcome is None:
                association.authentication_failures -= 1  # no forgery: the handshake has a use for it
            if outcome is None:
                self.counters.count_received(record.content_type)
            self._settle(handshake, now)
        if association is not None and not association.closed and self._forgeries.exhausted(association):
            self._close(association, "authentication_failures")
        if outcome is not None:
            self._drop(outcome)
            if outcome in _UNKNOWN_SESSION and handshake is None:
                self._answer_unknown(record, address, size, now)

    def _addressee(self, record: Record, address: Address) -> tuple[Association | None, DropReason | None]:
        """Whose record this is, by its id if it has one (RFC 9146 section 4), and why it is dropped if nobody's."""
        if record.content_type == _TLS12_CID:
            return self.associations_by_id.get(record.cid), DropReason.UNKNOWN_CID
        return self.associations.get(address), DropReason.NO_SESSION

    def _answer_unknown(self, record: Record, address: Address, size: int, now: float) -> None:
        """Tells the sender of a record of no known session so, if that is wanted: once a datagram, now and then."""
        if not self.config.alert_unknown_sessions or address in self._settled:
            return
        rate = float(UNKNOWN_SESSION_ALERTS_PER_S)
        self._alert_allowance = min(rate, self._alert_allowance + rate * max(0.0, now - self._alerted_at))
        self._alerted_at = now
        # RFC 6347 section 4.1.2.7: an alert for what does not authenticate is bad_record_mac. Nothing can protect it.
        answer = encode_record(ContentType.ALERT, record.sequence, _BAD_RECORD_MAC.encode())
        if self._alert_allowance >= 1 and len(answer) <= size:
            self._alert_allowance -= 1
            self._stateless_answers += 1
            self.counters.alert("sent", _BAD_RECORD_MAC)
            self.counters.count_sent(answer)
            self._outgoing.append((answer, address))

    def _receive_plain(
        self, record: Record, handshake: ServerHandshake | None, address: Address, size: int, now: float
    ) -> None:
        if record.version >> 8 != DTLS_1_2 >> 8:  # the first flight says FEFF or FEFD, as the client likes
            self._drop(DropReason.BAD_VERSION)
            return
        if len(record.fragment) > MAX_PLAINTEXT:
            self._drop(DropReason.MALFORMED)
            return
        if record.content_type == ContentType.HANDSHAKE:
            handshake = self._pass_gate(record, handshake, address, size, now)
            if handshake is None:
                return
        elif handshake is None:
            data = record.content_type == ContentType.APPLICATION_DATA
            self._drop(DropReason.EPOCH_ZERO_DATA if data else DropReason.NO_SESSION)
            return
        dropped = handshake.receive(record, now)
        if dropped is not None:
            self._drop(dropped)
        else:
            self.counters.count_received(record.content_type)
        self._settle(handshake, now)

    # --- the gate --------------------------------------------------------------------------------------------------

    def _pass_gate(
        self, record: Record, handshake: ServerHandshake | None, address: Address, size: int, now: float
    ) -> ServerHandshake | None:
        """The handshake that a plain handshake record belongs to, begun if need be; None when it ends here."""
        if handshake is not None and record.fragment[:1] != _CLIENT_HELLO:
            return handshake
        try:
            hello = hello_start(record)
        except DecodeError:
            if handshake is None:
                self._drop(DropReason.MALFORMED)
            return handshake
        if hello is None:
            if handshake is None:
                self._drop(DropReason.NO_SESSION)
            return handshake
        if handshake is not None and handshake.client_random == hello.prefix.random and hello.prefix.cookie:
            return handshake  # a repetition, or a copy
        verdict = self._gate.judge(hello, address, size, now)
        if isinstance(verdict, DropReason):
            self._drop(verdict)
        elif verdict is not None:
            if hello.prefix.cookie:
                self.counters.hello_verify_invalid += 1
                self._report_cookie_loop(address, now)
            self.counters.hello_verify_sent += 1
            self._stateless_answers += 1
            self._outgoing.append((verdict, address))
        else:
            self.counters.hello_verify_valid += 1
            return self._admit(hello, handshake, address, now)
        return None

    def _admit(
        self, hello: HelloStart, old: ServerHandshake | None, address: Address, now: float
    ) -> ServerHandshake | None:
        """Begins a handshake for a client that has shown its address; one that it had begun before yields."""
        random = hello.prefix.random
        if random in (self._settled.get(address), self._lingering_random(address)):
            self._drop(DropReason.STALE_HELLO)  # a late copy of a hello whose handshake has ended
            return None
        if old is not None:
            old.abandon(FailureReason.SUPERSEDED, now)
            self._settle(old, now)
        if len(self._handshakes) >= self.config.max_handshakes:
            # The newcomer may be honest; the oldest has had more time than an honest one needs.
            self._give_up(self._places.next_to_go(), FailureReason.EVICTED, now)
        handshake = ServerHandshake(
            id=self._next_id,
            address=address,
            client_random=random,
            first_seq=hello.message_seq,
            first_record=hello.sequence,
            parameters=self.config.parameters,
            random=self._random,
            datagram_limit=self.config.datagram_limit,
            retransmit_initial=self.config.retransmit_initial_s,
            deadline=now + self.config.handshake_timeout_s,
            now=now,
            sessions=self.sessions,
            key_log=self.config.key_log,
            new_cid=self._reserve_id,
            on_event=self._asked.append,
        )
        self._next_id += 1
        self._places.enter(handshake.id, address)
        self._handshakes[address] = handshake
        self._by_id[handshake.id] = handshake
        return handshake

    def _reserve_id(self) -> bytes:
        """A connection id that nobody has; empty where they are switched off."""
        if not self._cid_length:
            return b""
        prefix = self.config.connection_id_prefix
        while True:
            cid = prefix + self._random(CONNECTION_ID_LENGTH - _ID_PREFIX_LENGTH)
            if cid not in self.associations_by_id and cid not in self._reserved_ids:
                self._reserved_ids.add(cid)
                return cid

    def _lingering_random(self, address: Address) -> bytes | None:
        association = self.associations.get(address)
        linger = self._lingering.get(association) if association is not None else None
        return linger.client_random if linger is not None else None

    # --- handshakes ------------------------------------------------------------------------------------------------

    def _settle(self, handshake: ServerHandshake, now: float) -> None:
        """Takes what a handshake wants sent; ends it if it has ended, else sets its timer."""
        address = handshake.facts.address
        for datagram in handshake.datagrams:
            self.counters.count_sent(datagram, len(handshake.peer_cid))
            self._outgoing.append((datagram, address))
        handshake.datagrams.clear()
        if self._asked:
            self._put_questions(handshake, now)
        outcome = handshake.outcome
        self._buffers.account(handshake.id, handshake.buffered if outcome is None else 0)
        if outcome is None:
            timer = handshake.timer
            if timer < handshake.scheduled_at:  # one that comes too early costs less than one that is moved
                self._set_timer(handshake, timer)
            while self._buffers.total > self.config.max_reassembly:
                self._give_up(self._buffers.next_to_go(), FailureReason.BUFFERS_FULL, now)
            return
        if self._by_id.pop(handshake.id, None) is None:
            return  # settled before
        del self._handshakes[address]
        self._reserved_ids.discard(handshake.cid)
        self._places.leave(handshake.id)
        self._questions.close(handshake.id)
        if isinstance(outcome, HandshakeCompleted):
            self._questions.succeeded(outcome.facts, now)
            self._establish(handshake, outcome, now)
        else:
            self._questions.failed(outcome.facts, outcome.reason, now)
            if outcome.alert is not None:
                direction = "received" if outcome.reason is FailureReason.PEER_ALERT else "sent"
                self.counters.alerts[direction, "fatal", outcome.alert] += 1
            self._remember_settled(address, handshake.client_random)
            if handshake.resumed_id and outcome.alert is not None and self.sessions is not None:
                self.sessions.cache.forget(handshake.resumed_id)  # RFC 5246 section 7.2.2
            outcome = replace(outcome, context=handshake.context)
        self._events.append(outcome)

    def _put_questions(self, handshake: ServerHandshake, now: float) -> None:
        """What a handshake has asked goes to the shell, at once or later, or ends it when too many wait."""
        while self._asked:
            event = self._asked.popleft()
            if isinstance(event, Question):
                if (yields := self._questions.next_to_go()) is not None:
                    self._give_up(yields, FailureReason.TOO_MANY_WAITING, now)
                room, wait = self._questions.ask(event, handshake.facts.address, now)
                if not room:
                    handshake.abandon(FailureReason.TOO_MANY_WAITING, now)
                    return
                if wait:
                    self.counters.questions_held += 1
                    continue
            self._events.append(event)

    def _give_up(self, number: int, reason: FailureReason, now: float) -> None:
        handshake = self._by_id[number]
        handshake.abandon(reason, now)
        self._settle(handshake, now)

    def _report_cookie_loop(self, address: Address, now: float) -> None:
        if self._cookie_loops.report(address, now):
            facts = HandshakeFacts(address, started_at=now, finished_at=now)
            self._events.append(HandshakeFailed(FailureReason.COOKIE_LOOP, _COOKIE_LOOP, None, facts))

    def _set_timer(self, handshake: ServerHandshake, at: float) -> None:
        """Entries of handshakes that have ended stay until they outnumber the others."""
        handshake.scheduled_at = at
        heapq.heappush(self._timers, (at, handshake.id))
        if len(self._timers) > 2 * len(self._by_id) + TIMER_SLACK:
            self._timers = [(each.scheduled_at, each.id) for each in self._by_id.values()]
            heapq.heapify(self._timers)

    def _remember_settled(self, address: Address, client_random: bytes) -> None:
        self._settled.pop(address, None)
        while len(self._settled) >= MAX_SETTLED:
            del self._settled[next(iter(self._settled))]
        self._settled[address] = client_random

    def _establish(self, handshake: ServerHandshake, outcome: HandshakeCompleted, now: float) -> None:
        association = outcome.association
        association.context = handshake.context
        association.last_heard = now
        self._lingering[association] = handshake.linger(now + LINGER_S, now)
        self._settled.pop(association.address, None)
        old = self.associations.get(association.address)
        if old is not None and not old.cid:
            self._close(old, "superseded")
        else:
            outcome.neighbour = old  # found by its id wherever it is now (checklist 7.10)
        if self.association_count >= self.config.max_associations:
            # The stalest of a few of the oldest: to search them all would stop everybody for milliseconds.
            oldest = chain(
                islice(self.associations.values(), EVICTION_SAMPLE),
                islice(self.associations_by_id.values(), EVICTION_SAMPLE),
            )
            self._close(min(oldest, key=lambda association: association.last_heard), "evicted")
        self.associations[association.address] = association
        if isinstance(association, IdentifiedAssociation):
            self.associations_by_id[association.cid] = association
        else:
            self._anonymous += 1
        if self._sweep_at is None:
            self._sweep_at = now + SWEEP_INTERVAL_S

    # --- associations ----------------------------------------------------------------------------------------------

    def _receive_protected(
        self, record: Record, association: Association, address: Address, size: int, now: float
    ) -> DropReason | None:
        if record.epoch != 1:
            return DropReason.FUTURE_EPOCH
        if self._forgeries.unreachable(association, address):
            return DropReason.OUT_OF_REACH
        newest = association.newest
        opened = association.open_record(record)
        if isinstance(opened, DropReason):
            return opened
        content_type, content = opened
        association.last_heard = now
        if isinstance(association, IdentifiedAssociation) and not (
            # What the old path answers is not yet what the peer prefers.
            content_type == ContentType.RETURN_ROUTABILITY_CHECK and address == association.address
        ):
            self._locate(association, association.newest > newest, address, size, now)
        dropped: DropReason | None = None
        if content_type == ContentType.APPLICATION_DATA:
            self._events.append(ApplicationData(association, content))
        elif content_type == ContentType.ALERT:
            dropped = self._receive_alert(content, association)
        elif content_type == ContentType.HANDSHAKE:
            dropped = self._receive_handshake(content, association, now)
        elif content_type == ContentType.RETURN_ROUTABILITY_CHECK and isinstance(association, IdentifiedAssociation):
            dropped = self._receive_path_message(content, association, address, now)
        else:
            dropped = DropReason.UNEXPECTED
        if dropped is None:
            self.counters.count_received(content_type)
        return dropped

    def _receive_alert(self, content: bytes, association: Association) -> DropReason | None:
        try:
            alert = Alert.decode(content)
        except DecodeError:
            return DropReason.MALFORMED
        self.counters.alert("received", alert)
        if alert.description == AlertDescription.CLOSE_NOTIFY:
            self._send_alert(association, _CLOSE_NOTIFY)  # RFC 5246 section 7.2.1
            self._close(association, "close_notify")
        elif alert.level == AlertLevel.FATAL:
            self._close(association, "alert")
        return None

    def _receive_handshake(self, content: bytes, association: Association, now: float) -> DropReason | None:
        """A repeated Finished gets the last flight again; a ClientHello is told that there is no renegotiation."""
        try:
            fragments = decode_fragments(content)
        except DecodeError:
            return DropReason.MALFORMED
        if fragments[0].type == HandshakeType.CLIENT_HELLO:
            self._send_alert(association, _NO_RENEGOTIATION)
            return None
        linger = self._lingering.get(association)
        if fragments[0].type == HandshakeType.FINISHED and linger is not None:
            for datagram in linger.repeat(now):
                if self._emit(association, datagram):
                    self.counters.count_sent(datagram, len(association.peer_cid))
            return None
        return DropReason.UNEXPECTED

    def _send_alert(self, association: Association, content: bytes) -> None:
        try:
            record = association.seal(ContentType.ALERT, content)
        except SequenceExhausted:
            return
        if self._emit(association, record):
            self.counters.alert("sent", Alert.decode(content))
            self.counters.sent[ContentType.ALERT] += 1

    def _close(self, association: Association, reason: str) -> None:
        association.closed = True
        if self.sessions is not None:
            self.sessions.cache.closed(association, fatal=reason in _FATAL)
        linger = self._lingering.pop(association, None)
        if linger is not None:
            self._remember_settled(association.address, linger.client_random)
        self._leave(association)
        if isinstance(association, IdentifiedAssociation):
            self._paths.forget(association)
            del self.associations_by_id[association.cid]
        else:
            self._anonymous -= 1
        self._events.append(AssociationClosed(association, reason))

    def _sweep(self, now: float) -> None:
        """Drops associations that were silent for too long; lets the merely quiet ones rest."""
        idle_since = now - self.config.idle_timeout_s
        quiet_since = now - SWEEP_INTERVAL_S
        for association in self.all_associations():
            if association.last_heard <= idle_since:
                self.close(association, now, "idle")
            elif association.last_heard <= quiet_since:
                association.rest()
        self._sweep_at = now + SWEEP_INTERVAL_S if self.association_count else None

    # --- addresses of associations with a connection id ------------------------------------------------------------

    def _locate(self, association: IdentifiedAssociation, newer: bool, address: Address, size: int, now: float) -> None:
        """A record has authenticated: what it says about where the peer is (RFC 9146 section 6, DESIGN D8).

        Args:
            association: Whose record it was.
            newer: Whether it is the newest so far. An older one says nothing: it was overtaken, or is a copy.
            address: Where it came from.
            size: Bytes of the datagram that brought it.
            now: Seconds.
        """
        if address == association.address:
            if association.credit != PROVEN and newer and self._booked is not association:
                self._paths.forget(association)
                association.credit = PROVEN
            if association.credit == PROVEN:
                self._settle_at(association, address)
            return
        if not newer or self._booked is association:
            return
        self._booked = association
        if association.path_check:
            self._paths.observe(association, address, size, now)
            if association.credit != PROVEN:
                self._leave(association)  # what comes meanwhile must not take the direct path
        else:
            self._rebind(association, address)
            association.credit = AMPLIFICATION_FACTOR * size

    def _rebind(self, association: IdentifiedAssociation, address: Address) -> None:
        """The peer is at another address now."""
        self._leave(association)
        linger = self._lingering.get(association)
        if linger is not None:
            self._remember_settled(association.address, linger.client_random)
        association.address = address
        self.counters.address_changes += 1

    def _validated(self, association: IdentifiedAssociation, address: Address) -> None:
        """The peer has shown that it is at another address now."""
        self._rebind(association, address)
        self._settle_at(association, address)

    def _settle_at(self, association: IdentifiedAssociation, address: Address) -> None:
        """Makes it the one that is found by its address, except where one lives that is found by nothing else."""
        other = self.associations.get(address)
        if other is None or other.cid:
            self.associations[address] = association

    def _leave(self, association: Association) -> None:
        if self.associations.get(association.address) is association:
            del self.associations[association.address]

    def _receive_path_message(
        self, content: bytes, association: IdentifiedAssociation, source: Address, now: float
    ) -> DropReason | None:
        """RFC 9853 sections 4 and 5. A kind of message that we do not know is ignored."""
        if not association.path_check:
            return DropReason.UNEXPECTED
        try:
            message = decode_path_message(content)
        except DecodeError:
            return DropReason.MALFORMED
        if message is None:
            return None
        kind, cookie = message
        if kind == PathMessage.CHALLENGE:
            preferred = source in (association.address, self._paths.candidate(association))
            answer = encode_path_message(PathMessage.RESPONSE if preferred else PathMessage.DROP, cookie)
            self._send_path_message(association, answer, source)
            return None
        return None if self._paths.answered(association, kind, cookie, source, now) else DropReason.UNEXPECTED

    def _send_path_message(self, association: IdentifiedAssociation, content: bytes, address: Address) -> None:
        try:
            record = association.seal(ContentType.RETURN_ROUTABILITY_CHECK, content)
        except SequenceExhausted:
            return
        if address != association.address and not self._afford(association, record):
            return
        self.counters.sent[ContentType.RETURN_ROUTABILITY_CHECK] += 1
        self._outgoing.append((record, address))

    def _emit(self, association: Association, datagram: bytes) -> bool:
        """Sends to the peer, or does not if that would be more than an unproven address may get; says which."""
        address = association.address
        if isinstance(association, IdentifiedAssociation) and association.credit != PROVEN:
            if not self._afford(association, datagram):
                return False
            address = self._paths.candidate(association) or address
        self._outgoing.append((datagram, address))
        return True

    def _afford(self, association: IdentifiedAssociation, datagram: bytes) -> bool:
        if association.credit == PROVEN:
            return True
        if len(datagram) > association.credit:
            self.counters.withheld += 1
            return False
        association.credit -= len(datagram)
        return True

    def _drop(self, reason: DropReason) -> None:
        self.counters.drops[reason] += 1
