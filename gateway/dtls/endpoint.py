"""The server's endpoint: the demultiplexer behind the gate, the handshakes in progress and the associations.

A pure machine: datagrams, replies and time in; datagrams, events and timers out. Everything that a peer can make it
keep is bounded by `limits`.
"""

from collections import deque
from typing import Final

from gateway.dtls.arrivals import Rank, greets, resumes
from gateway.dtls.association import Association
from gateway.dtls.association_table import Associations
from gateway.dtls.connection_id import IdentifiedAssociation
from gateway.dtls.cookie import Address
from gateway.dtls.counters import EndpointCounters
from gateway.dtls.delivery import Delivery
from gateway.dtls.errors import ApiMisuse, DecodeError, DropReason, FailureReason, HandshakeError, SequenceExhausted
from gateway.dtls.established import Established
from gateway.dtls.events import Event
from gateway.dtls.forgeries import Forgeries
from gateway.dtls.gate import Gate, hello_start
from gateway.dtls.handshake.common import Random
from gateway.dtls.handshake.server import NEVER, ServerHandshake
from gateway.dtls.handshake.server_context import Spared
from gateway.dtls.handshake_table import Handshakes
from gateway.dtls.handshaking import Handshaking
from gateway.dtls.limits import CONNECTION_ID_LENGTH, MAX_PLAINTEXT
from gateway.dtls.messages.hello import HelloStart
from gateway.dtls.numbers import DTLS_1_2, ContentType, HandshakeType
from gateway.dtls.record import RECORD_HEADER_LENGTH, Record, split_records
from gateway.dtls.resumption import ServerSessions
from gateway.dtls.server_config import ServerConfig
from gateway.dtls.sparing import spare
from gateway.dtls.strangers import Strangers

_CLIENT_HELLO: Final = bytes((HandshakeType.CLIENT_HELLO,))
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
        self._table = Associations()
        self.associations = self._table.by_address
        self.associations_by_id = self._table.by_id
        self._handshakes = Handshakes()
        self._delivery = Delivery(
            self._table, self._handshakes, self.counters, random, enhanced=config.enhanced_path_check
        )
        self._forgeries = Forgeries(config.max_auth_failures)
        self._cid_length = CONNECTION_ID_LENGTH if config.connection_ids else 0
        self._events: deque[Event] = deque()
        self._strangers = Strangers(Gate(config.cookie_secret), self._delivery, self.counters, self._events)
        self._established = Established(
            self._table,
            self._delivery,
            self._forgeries,
            self.counters,
            self._events,
            self.sessions,
            config.idle_timeout_s,
        )
        self._handshaking = Handshaking(
            self._handshakes,
            self._table,
            self._established,
            self._delivery,
            self.counters,
            self._events,
            self.sessions,
            config,
            random,
        )

    # --- the six verbs ---------------------------------------------------------------------------------------------

    def receive_datagram(self, datagram: bytes, address: Address, now: float) -> None:
        """Takes a datagram from the network. Never raises for what is in it."""
        records, whole = split_records(datagram, self._cid_length)
        if not whole:
            self._drop(DropReason.MALFORMED)
        self._delivery.next_datagram()
        answers = self._strangers.answers
        for record in records:
            self._receive_record(record, address, len(datagram), now)
            if self._strangers.answers != answers:
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
        at = min(self._handshaking.next_timer, self._established.next_timer, self._delivery.next_timer)
        return at if at != NEVER else None

    def handle_timer(self, now: float) -> None:
        """Repeats flights, gives handshakes up, drops idle associations. May be called early or late."""
        self._handshaking.handle_timer(now)
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
        waiting = self._handshaking.answered(handshake)
        if waiting is not None:
            waiting.provide_psk(psk, refusal, now, context, credential)
            self._handshaking.settle(waiting, now)

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
        waiting = self._handshaking.answered(handshake)
        if waiting is not None:
            waiting.certificate_verdict(refusal, now, context, credential)
            self._handshaking.settle(waiting, now)

    def resumption_verdict(self, handshake: int, accepted: bool, now: float, *, context: object = None) -> None:
        """Answers `ResumptionRequested`: False gives a full handshake in the same exchange.

        No-op under the same conditions as `provide_psk`.
        """
        waiting = self._handshaking.answered(handshake)
        if waiting is not None:
            if waiting.spared and not accepted:
                # A client that was spared the cookie may not resume. It begins anew, with a cookie.
                self._handshaking.withdraw(waiting)
                self._strangers.ask_for_cookie(waiting.hello, waiting.facts.address, waiting.credit, now)
                return
            waiting.resumption_verdict(accepted, now, context)
            self._handshaking.settle(waiting, now)

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
        self._handshaking.reconfigure(config)
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
        self._handshaking.shut_down(now)
        for association in self.all_associations():
            self._established.close(association, "drain")

    def all_associations(self) -> list[Association]:
        """Every established association; takes time and memory in proportion."""
        return self._table.all()

    @property
    def has_idle_work(self) -> bool:
        """Whether `do_idle_work` has something to do."""
        return not self._handshaking.shares.is_full

    def do_idle_work(self) -> None:
        """Makes one key for a handshake to come, 25 us of work (P-384: 150): for when nobody waits."""
        self._handshaking.shares.make_one()

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
        if self._handshaking.suspect(address, now):
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
            self._handshaking.settle(handshake, now)
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
        if self.config.alert_unknown_sessions and address not in self._handshakes.settled:
            self._strangers.tell_unknown(record, address, size, now)

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
        self._handshaking.settle(handshake, now)

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
            return self._handshaking.begin(hello, None, address, now, spared)
        if self._strangers.lets_in(hello, address, size, now):
            return self._handshaking.begin(hello, handshake, address, now)
        return None

    def _spare(self, hello: HelloStart, record: Record) -> Spared | None:
        return spare(self.config, self.sessions, hello, record, len(self._handshakes))

    def _drop(self, reason: DropReason) -> None:
        self.counters.drops[reason] += 1
