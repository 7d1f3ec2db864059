"""The server's endpoint: the demultiplexer behind the gate, the handshakes in progress and the associations.

A pure machine: datagrams, replies and time in; datagrams, events and timers out. Everything that a peer can make it
keep is bounded by `limits`.
"""

from collections import deque
from dataclasses import replace
from typing import Final

from gateway.dtls.admission import Buffers, CookieLoops
from gateway.dtls.arrivals import Rank, greets, resumes
from gateway.dtls.association import Association
from gateway.dtls.association_table import Associations
from gateway.dtls.connection_id import IdentifiedAssociation
from gateway.dtls.cookie import Address
from gateway.dtls.counters import EndpointCounters
from gateway.dtls.crypto import KeySharePool
from gateway.dtls.delivery import Delivery
from gateway.dtls.errors import ApiMisuse, DecodeError, DropReason, FailureReason, HandshakeError, SequenceExhausted
from gateway.dtls.established import Established
from gateway.dtls.events import (
    Event,
    HandshakeCompleted,
    HandshakeFacts,
    HandshakeFailed,
)
from gateway.dtls.forgeries import Forgeries
from gateway.dtls.gate import Gate, hello_start
from gateway.dtls.handshake.common import Random
from gateway.dtls.handshake.negotiation import Agreements
from gateway.dtls.handshake.server import NEVER, ServerHandshake
from gateway.dtls.handshake.server_states import Spared
from gateway.dtls.handshake_table import Handshakes
from gateway.dtls.limits import (
    CONNECTION_ID_LENGTH,
    CONNECTION_ID_PREFIX_LENGTH,
    COOKIE_LOOP_HELLOS,
    KEY_SHARES_AHEAD,
    MAX_PLAINTEXT,
    UNKNOWN_SESSION_ALERTS_PER_S,
)
from gateway.dtls.messages.framing import Alert
from gateway.dtls.messages.hello import HelloStart
from gateway.dtls.numbers import DTLS_1_2, AlertDescription, ContentType, HandshakeType
from gateway.dtls.questions import Question, Questions
from gateway.dtls.record import RECORD_HEADER_LENGTH, Record, encode_record, split_records
from gateway.dtls.resumption import ServerSessions
from gateway.dtls.server_config import ServerConfig
from gateway.dtls.sparing import spare

_COOKIE_LOOP: Final = (
    f"{COOKIE_LOOP_HELLOS} ClientHellos of this network within a minute brought a cookie that is not ours: another "
    "gateway behind the same address, a client that changes its hello after the question, or forged packets"
)
_CLIENT_HELLO: Final = bytes((HandshakeType.CLIENT_HELLO,))
_BAD_RECORD_MAC: Final = Alert.fatal(AlertDescription.BAD_RECORD_MAC)
# Plain integers: in Python 3.11 a member of an enum costs four times as much to look up.
_HANDSHAKE: Final = int(ContentType.HANDSHAKE)
_TLS12_CID: Final = int(ContentType.TLS12_CID)
_PERHAPS_OF_THE_HANDSHAKE: Final = (
    DropReason.NO_SESSION,
    DropReason.BAD_MAC,
    DropReason.REPLAY,
    DropReason.UNKNOWN_CID,
    DropReason.MISSING_CID,
)
_UNKNOWN_SESSION: Final = (DropReason.NO_SESSION, DropReason.UNKNOWN_CID)


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
        self.counters = EndpointCounters()
        self.sessions = ServerSessions(config.resumption, random) if config.resumption is not None else None
        self._random = random
        self._gate = Gate(config.cookie_secret)
        self._agreements = Agreements(config.parameters)
        self._table = Associations()
        self.associations = self._table.by_address
        self.associations_by_id = self._table.by_id
        self._handshakes = Handshakes()
        self._delivery = Delivery(
            self._table, self._handshakes, self.counters, random, enhanced=config.enhanced_path_check
        )
        self._buffers = Buffers()
        self._questions = Questions(config.max_waiting)
        self._asked: deque[Event] = deque()
        self._cookie_loops = CookieLoops()
        self._shares = KeySharePool(KEY_SHARES_AHEAD)
        self._forgeries = Forgeries(config.max_auth_failures)
        self._cid_length = CONNECTION_ID_LENGTH if config.connection_ids else 0
        self._reserved_ids: set[bytes] = set()
        self._stateless_answers = 0
        self._alert_allowance = float(UNKNOWN_SESSION_ALERTS_PER_S)
        self._alerted_at = float("-inf")
        self._events: deque[Event] = deque()
        self._established = Established(
            self._table,
            self._delivery,
            self._forgeries,
            self.counters,
            self._events,
            self.sessions,
            config.idle_timeout_s,
        )

    # --- the six verbs ---------------------------------------------------------------------------------------------

    def receive_datagram(self, datagram: bytes, address: Address, now: float) -> None:
        """Takes a datagram from the network. Never raises for what is in it."""
        records, whole = split_records(datagram, self._cid_length)
        if not whole:
            self._drop(DropReason.MALFORMED)
        self._delivery.next_datagram()
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
        self._delivery.next_datagram()
        self._delivery.locate(association, association.newest > newest, address, len(datagram), now)
        association.last_heard = now
        return association, plaintext

    def datagrams_to_send(self) -> list[tuple[bytes, Address]]:
        """What has to go out, in order; each is given once."""
        return self._delivery.take()

    def next_event(self) -> Event | None:
        return self._events.popleft() if self._events else None

    def next_timer(self) -> float | None:
        """When `handle_timer` is due next, seconds; None if never."""
        at = min(
            self._handshakes.next_timer,
            self._established.next_timer,
            self._delivery.next_timer,
            self._questions.next_timer,
        )
        return at if at != NEVER else None

    def handle_timer(self, now: float) -> None:
        """Repeats flights, gives handshakes up, drops idle associations. May be called early or late."""
        for handshake in self._handshakes.due(now):
            handshake.handle_timer(now)
            self._settle(handshake, now)
        if self._questions.next_timer <= now:
            self._events += self._questions.due(now)
        self._established.handle_timer(now)
        self._delivery.handle_timer(now)

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
            self._established.end(association, "exhausted")
        else:
            self.counters.application_data_sent += self._delivery.emit(association, record)

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
        waiting = self._handshakes.numbered(handshake)
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
        waiting = self._handshakes.numbered(handshake)
        if waiting is not None:
            self._questions.close(handshake)
            waiting.certificate_verdict(refusal, now, context, credential)
            self._settle(waiting, now)

    def resumption_verdict(self, handshake: int, accepted: bool, now: float, *, context: object = None) -> None:
        """Answers `ResumptionRequested`: False gives a full handshake in the same exchange.

        No-op under the same conditions as `provide_psk`.
        """
        waiting = self._handshakes.numbered(handshake)
        if waiting is not None:
            self._questions.close(handshake)
            if waiting.spared and not accepted:
                self._ask_for_cookie(waiting, now)
                return
            waiting.resumption_verdict(accepted, now, context)
            self._settle(waiting, now)

    def reconfigure(self, config: ServerConfig) -> None:
        """Goes by another configuration from now on.

        Associations and handshakes in progress go on as they are: a handshake ends with the certificate that it began
        with. An idle association is judged by the new time at the next sweep. Tickets stay good as long as the ticket
        keys open them.

        Raises:
            ApiMisuse: The configuration differs in what cannot change (`ServerConfig.fixed_differences`); nothing has
                changed.
        """
        if fixed := self.config.fixed_differences(config):
            raise ApiMisuse(f"cannot change while the endpoint lives: {', '.join(fixed)}")
        self.config = config
        # Handshakes in progress have the one before; what was agreed on there holds for its certificate.
        self._agreements = Agreements(config.parameters)
        self._established.idle_timeout_s = config.idle_timeout_s
        self._forgeries.short_tag = config.max_auth_failures
        if self.sessions is not None and config.resumption is not None:
            self.sessions.reconfigure(config.resumption)

    def close(self, association: Association, now: float, reason: str = "local") -> None:
        """Sends close_notify and forgets the association."""
        self._established.close(association, reason)

    def expel(self, association: Association) -> None:
        """Ends an association whose peer is no longer let in: a fatal access_denied, and nothing to resume."""
        self._established.expel(association)

    def supersede(self, association: Association) -> None:
        """Forgets an association whose peer has made another one; says nothing to it, for nobody would listen."""
        if not association.closed:
            self._established.end(association, "superseded")

    def shut_down(self, now: float) -> None:
        """Ends every handshake and closes every association with close_notify."""
        for handshake in list(self._handshakes.values()):
            handshake.abandon(FailureReason.SHUTDOWN, now)
            self._settle(handshake, now)
        for association in self.all_associations():
            self._established.close(association, "drain")

    def all_associations(self) -> list[Association]:
        """Every established association; takes time and memory in proportion."""
        return self._table.all()

    @property
    def has_idle_work(self) -> bool:
        """Whether `do_idle_work` has something to do."""
        return not self._shares.is_full

    def do_idle_work(self) -> None:
        """Makes one key for a handshake to come, 25 us of work (P-384: 150): for when nobody waits."""
        self._shares.make_one()

    @property
    def association_count(self) -> int:
        return len(self._table)

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
        handshake = self._handshakes.at(address)
        if record.epoch == 0:
            self._receive_plain(record, handshake, address, size, now)
            return
        if record.version != DTLS_1_2:
            self._drop(DropReason.BAD_VERSION)
            return
        association, outcome = self._addressee(record, address)
        if association is not None:
            outcome = self._established.receive(record, association, address, size, now)
            if outcome is DropReason.BAD_MAC:
                self._forgeries.failed(association, address)
        mine = association is not None and record.content_type == _TLS12_CID
        if handshake is not None and not mine and outcome in _PERHAPS_OF_THE_HANDSHAKE:
            # RFC 6347 section 4.2.8: the old association serves until the new one's Finished verifies. Both number
            # their records of epoch 1 from 0, so that what is a replay for the old one may be new for the other.
            if handshake.spared:
                handshake.credit += RECORD_HEADER_LENGTH + len(record.fragment)
            failed, outcome = outcome, handshake.receive(record, now)
            if association is not None and failed is DropReason.BAD_MAC and outcome is None:
                association.authentication_failures -= 1  # no forgery: the handshake has a use for it
            if outcome is None:
                self.counters.count_received(record.content_type)
            self._settle(handshake, now)
        if association is not None and not association.closed and self._forgeries.exhausted(association):
            self._established.end(association, "authentication_failures")
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
        if not self.config.alert_unknown_sessions or address in self._handshakes.settled:
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
            self._delivery.outgoing.append((answer, address))

    def _receive_plain(
        self, record: Record, handshake: ServerHandshake | None, address: Address, size: int, now: float
    ) -> None:
        if record.version >> 8 != DTLS_1_2 >> 8:  # the first flight says FEFF or FEFD, as the client likes
            self._drop(DropReason.BAD_VERSION)
            return
        if len(record.fragment) > MAX_PLAINTEXT:
            self._drop(DropReason.MALFORMED)
            return
        if record.content_type == _HANDSHAKE:
            handshake = self._pass_gate(record, handshake, address, size, now)
            if handshake is None:
                return
        elif handshake is None:
            data = record.content_type == ContentType.APPLICATION_DATA
            self._drop(DropReason.EPOCH_ZERO_DATA if data else DropReason.NO_SESSION)
            return
        if handshake.spared:
            handshake.credit += RECORD_HEADER_LENGTH + len(record.fragment)
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
        repeated = handshake is not None and handshake.client_random == hello.prefix.random
        if handshake is not None and repeated and (hello.prefix.cookie or handshake.spared):
            return handshake  # a repetition, or a copy
        if handshake is None and not hello.prefix.cookie and (spared := self._spare(hello, record)) is not None:
            return self._admit(hello, None, address, now, spared)
        verdict = self._gate.judge(hello, address, size, now)
        if isinstance(verdict, DropReason):
            self._drop(verdict)
        elif verdict is not None:
            if hello.prefix.cookie:
                self.counters.hello_verify_invalid += 1
                self._report_cookie_loop(address, now)
            self.counters.hello_verify_sent += 1
            self._stateless_answers += 1
            self._delivery.outgoing.append((verdict, address))
        else:
            self.counters.hello_verify_valid += 1
            return self._admit(hello, handshake, address, now)
        return None

    def _spare(self, hello: HelloStart, record: Record) -> Spared | None:
        return spare(self.config, self.sessions, hello, record, len(self._handshakes))

    def _ask_for_cookie(self, handshake: ServerHandshake, now: float) -> None:
        """A client that was spared the cookie may not resume. It begins anew, with a cookie."""
        hello, address = handshake.hello, handshake.facts.address
        self._handshakes.remove(handshake)
        self._buffers.account(handshake.id, 0)
        handshake.declined()
        question = self._gate.question(hello, address, handshake.credit, now)
        if isinstance(question, DropReason):
            self._drop(question)
        else:
            self.counters.hello_verify_sent += 1
            self._delivery.outgoing.append((question, address))

    def _admit(
        self,
        hello: HelloStart,
        old: ServerHandshake | None,
        address: Address,
        now: float,
        spared: Spared | None = None,
    ) -> ServerHandshake | None:
        """Begins a handshake for a client that has shown its address or is spared that; one that it had begun before
        yields."""
        random = hello.prefix.random
        if random in (self._handshakes.settled.get(address), self._lingering_random(address)):
            self._drop(DropReason.STALE_HELLO)  # a late copy of a hello whose handshake has ended
            return None
        if old is not None:
            old.abandon(FailureReason.SUPERSEDED, now)
            self._settle(old, now)
        if len(self._handshakes) >= self.config.max_handshakes:
            # The newcomer may be honest; the oldest has had more time than an honest one needs.
            self._give_up(self._handshakes.next_to_go(), FailureReason.EVICTED, now)
        handshake = ServerHandshake(
            id=self._handshakes.next_number(),
            address=address,
            hello=hello,
            agreements=self._agreements,
            random=self._random,
            datagram_limit=self.config.datagram_limit,
            retransmit_initial=self.config.retransmit_initial_s,
            deadline=now + self.config.handshake_timeout_s,
            now=now,
            sessions=self.sessions,
            key_log=self.config.key_log,
            new_cid=self._reserve_id,
            new_share=self._shares.take,
            on_event=self._asked.append,
            spared=spared,
        )
        self._handshakes.enter(handshake)
        return handshake

    def _reserve_id(self) -> bytes:
        """A connection id that nobody has; empty where they are switched off."""
        if not self._cid_length:
            return b""
        prefix = self.config.connection_id_prefix
        while True:
            cid = prefix + self._random(CONNECTION_ID_LENGTH - CONNECTION_ID_PREFIX_LENGTH)
            if cid not in self.associations_by_id and cid not in self._reserved_ids:
                self._reserved_ids.add(cid)
                return cid

    def _lingering_random(self, address: Address) -> bytes | None:
        association = self.associations.get(address)
        linger = self._delivery.lingering.get(association) if association is not None else None
        return linger.client_random if linger is not None else None

    # --- handshakes ------------------------------------------------------------------------------------------------

    def _settle(self, handshake: ServerHandshake, now: float) -> None:
        """Takes what a handshake wants sent; ends it if it has ended, else sets its timer."""
        if handshake.datagrams:
            self._send_flight(handshake)
        if self._asked:
            self._put_questions(handshake, now)
        outcome = handshake.outcome
        if outcome is not None:
            self._conclude(handshake, outcome, now)
            return
        if handshake.timer < handshake.scheduled_at:
            self._handshakes.schedule(handshake)
        buffered, buffers = handshake.buffered, self._buffers
        if buffered or buffers.total:  # nearly never
            buffers.account(handshake.id, buffered)
            while buffers.total > self.config.max_reassembly:
                self._give_up_number(buffers.next_to_go(), FailureReason.BUFFERS_FULL, now)

    def _send_flight(self, handshake: ServerHandshake) -> None:
        address, cid_length, outgoing = handshake.facts.address, len(handshake.peer_cid), self._delivery.outgoing
        for datagram in handshake.datagrams:
            if handshake.spared:
                if len(datagram) > handshake.credit:
                    break  # the client repeats its hello, which brings more
                handshake.credit -= len(datagram)
            self.counters.count_sent(datagram, cid_length)
            outgoing.append((datagram, address))
        handshake.datagrams.clear()

    def _conclude(self, handshake: ServerHandshake, outcome: HandshakeCompleted | HandshakeFailed, now: float) -> None:
        """A handshake has ended."""
        if not self._handshakes.remove(handshake):
            return  # concluded before
        self._buffers.account(handshake.id, 0)
        self._reserved_ids.discard(handshake.cid)
        self._questions.close(handshake.id)
        if isinstance(outcome, HandshakeCompleted):
            self._questions.succeeded(outcome.facts, now)
            self._establish(handshake, outcome, now)
        else:
            if not handshake.spared:
                self._questions.failed(outcome.facts, outcome.reason, now)
            if outcome.alert is not None:
                direction = "received" if outcome.reason is FailureReason.PEER_ALERT else "sent"
                self.counters.alerts[direction, "fatal", outcome.alert] += 1
            self._handshakes.remember_settled(outcome.facts.address, handshake.client_random)
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
                    self._give_up_number(yields, FailureReason.TOO_MANY_WAITING, now)
                room, wait = self._questions.ask(event, handshake.facts.address, now)
                if not room:
                    handshake.abandon(FailureReason.TOO_MANY_WAITING, now)
                    return
                if wait:
                    self.counters.questions_held += 1
                    continue
            self._events.append(event)

    def _give_up_number(self, number: int, reason: FailureReason, now: float) -> None:
        handshake = self._handshakes.numbered(number)
        if handshake is not None:
            self._give_up(handshake, reason, now)
        else:  # whoever asks goes on until there is room: what is not there must not be found again
            self._buffers.account(number, 0)
            self._questions.close(number)

    def _give_up(self, handshake: ServerHandshake, reason: FailureReason, now: float) -> None:
        handshake.abandon(reason, now)
        self._settle(handshake, now)

    def _report_cookie_loop(self, address: Address, now: float) -> None:
        if self._cookie_loops.report(address, now):
            facts = HandshakeFacts(address, started_at=now, finished_at=now)
            self._events.append(HandshakeFailed(FailureReason.COOKIE_LOOP, _COOKIE_LOOP, None, facts))

    def _establish(self, handshake: ServerHandshake, outcome: HandshakeCompleted, now: float) -> None:
        association = outcome.association
        association.context = handshake.context
        association.last_heard = now
        self._delivery.lingering[association] = handshake.linger(now)
        self._handshakes.settled.pop(association.address, None)
        old = self.associations.get(association.address)
        if old is not None and not old.cid:
            self._established.end(old, "superseded")
        else:
            outcome.neighbour = old  # found by its id wherever it is now (checklist 7.10)
        self._established.enter(association, self.config.max_associations, now)

    def _drop(self, reason: DropReason) -> None:
        self.counters.drops[reason] += 1
