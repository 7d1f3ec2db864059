"""The handshakes in progress: how they begin, what they send and ask, and how they end."""

from collections import deque
from dataclasses import replace

from gateway.dtls.admission import Buffers
from gateway.dtls.association_table import Associations
from gateway.dtls.cookie import Address
from gateway.dtls.counters import EndpointCounters
from gateway.dtls.crypto import KeySharePool
from gateway.dtls.delivery import Delivery
from gateway.dtls.errors import DropReason, FailureReason
from gateway.dtls.established import Established
from gateway.dtls.events import Event, HandshakeCompleted, HandshakeFailed
from gateway.dtls.handshake.common import Random
from gateway.dtls.handshake.negotiation import Agreements
from gateway.dtls.handshake.server import ServerHandshake
from gateway.dtls.handshake.server_context import Spared
from gateway.dtls.handshake_table import Handshakes
from gateway.dtls.limits import CONNECTION_ID_LENGTH, CONNECTION_ID_PREFIX_LENGTH, KEY_SHARES_AHEAD
from gateway.dtls.messages.hello import HelloStart
from gateway.dtls.questions import Question, Questions
from gateway.dtls.resumption import ServerSessions
from gateway.dtls.server_config import ServerConfig


class Handshaking:
    """Attributes:
    shares: Keys of handshakes to come.
    """

    __slots__ = (
        "_agreements",
        "_asked",
        "_associations",
        "_buffers",
        "_config",
        "_counters",
        "_delivery",
        "_established",
        "_events",
        "_questions",
        "_random",
        "_reserved_ids",
        "_sessions",
        "_table",
        "shares",
    )

    def __init__(
        self,
        table: Handshakes,
        associations: Associations,
        established: Established,
        delivery: Delivery,
        counters: EndpointCounters,
        events: deque[Event],
        sessions: ServerSessions | None,
        config: ServerConfig,
        random: Random,
    ) -> None:
        """Works on the endpoint's parts; what happens is added to `events`."""
        self._table = table
        self._associations = associations
        self._established = established
        self._delivery = delivery
        self._counters = counters
        self._events = events
        self._sessions = sessions
        self._config = config
        self._random = random
        self._agreements = Agreements(config.parameters)
        self._buffers = Buffers()
        self._questions = Questions(config.max_waiting)
        # What the handshake at hand asks; nearly always empty.
        self._asked: deque[Event] = deque()
        self._reserved_ids: set[bytes] = set()
        self.shares = KeySharePool(KEY_SHARES_AHEAD)

    def reconfigure(self, config: ServerConfig) -> None:
        """Handshakes from now on go by this. Those in progress have the one before."""
        self._config = config
        self._agreements = Agreements(config.parameters)  # what was agreed on holds for the certificate before

    def begin(
        self,
        hello: HelloStart,
        old: ServerHandshake | None,
        address: Address,
        now: float,
        spared: Spared | None = None,
    ) -> ServerHandshake | None:
        """Begins a handshake with a client that has shown its address, or is spared that.

        Args:
            hello: The beginning of its ClientHello.
            old: What it had begun before from the same address, which yields.
            address: Where it is.
            now: Seconds.
            spared: What it resumes without a cookie.

        Returns:
            The handshake; None where the hello is a late copy of one whose handshake has ended.
        """
        random = hello.prefix.random
        if random in (self._table.settled.get(address), self._lingering_random(address)):
            self._counters.drops[DropReason.STALE_HELLO] += 1
            return None
        if old is not None:
            old.abandon(FailureReason.SUPERSEDED, now)
            self.settle(old, now)
        if len(self._table) >= self._config.max_handshakes:
            # The newcomer may be honest; the oldest has had more time than an honest one needs.
            self._give_up(self._table.next_to_go(), FailureReason.EVICTED, now)
        handshake = ServerHandshake(
            id=self._table.next_number(),
            address=address,
            hello=hello,
            agreements=self._agreements,
            random=self._random,
            datagram_limit=self._config.datagram_limit,
            retransmit_initial=self._config.retransmit_initial_s,
            deadline=now + self._config.handshake_timeout_s,
            now=now,
            sessions=self._sessions,
            key_log=self._config.key_log,
            new_cid=self._reserve_id,
            new_share=self.shares.take,
            on_event=self._asked.append,
            spared=spared,
        )
        self._table.enter(handshake)
        return handshake

    def answered(self, number: int) -> ServerHandshake | None:
        """The handshake whose question the shell answers; None when it has ended or has been answered before."""
        handshake = self._table.numbered(number)
        if handshake is not None:
            self._questions.close(number)
        return handshake

    def settle(self, handshake: ServerHandshake, now: float) -> None:
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
            self._table.schedule(handshake)
        buffered, buffers = handshake.buffered, self._buffers
        if buffered or buffers.total:  # nearly never
            buffers.account(handshake.id, buffered)
            while buffers.total > self._config.max_reassembly:
                self._give_up_number(buffers.next_to_go(), FailureReason.BUFFERS_FULL, now)

    def withdraw(self, handshake: ServerHandshake) -> None:
        """Forgets a handshake without a word, as if it had not begun."""
        self._table.remove(handshake)
        self._buffers.account(handshake.id, 0)
        handshake.declined()

    def shut_down(self, now: float) -> None:
        """Ends them all."""
        for handshake in list(self._table.values()):
            self._give_up(handshake, FailureReason.SHUTDOWN, now)

    @property
    def next_timer(self) -> float:
        """When `handle_timer` is due, seconds; `NEVER` if never."""
        return min(self._table.next_timer, self._questions.next_timer)

    def handle_timer(self, now: float) -> None:
        """Repeats flights, gives handshakes up, puts the questions whose turn it is."""
        for handshake in self._table.due(now):
            handshake.handle_timer(now)
            self.settle(handshake, now)
        if self._questions.next_timer <= now:
            self._events += self._questions.due(now)

    def suspect(self, address: Address, now: float) -> bool:
        """Whether a newcomer from this network had better go last where not all can be served."""
        return self._questions.suspect(address, now)

    def _reserve_id(self) -> bytes:
        """A connection id that nobody has; empty where they are switched off."""
        if not self._config.connection_ids:
            return b""
        prefix = self._config.connection_id_prefix
        while True:
            cid = prefix + self._random(CONNECTION_ID_LENGTH - CONNECTION_ID_PREFIX_LENGTH)
            if cid not in self._associations.by_id and cid not in self._reserved_ids:
                self._reserved_ids.add(cid)
                return cid

    def _lingering_random(self, address: Address) -> bytes | None:
        association = self._associations.by_address.get(address)
        linger = self._delivery.lingering.get(association) if association is not None else None
        return linger.client_random if linger is not None else None

    def _send_flight(self, handshake: ServerHandshake) -> None:
        address, cid_length, outgoing = handshake.facts.address, len(handshake.peer_cid), self._delivery.outgoing
        for datagram in handshake.datagrams:
            if handshake.spared:
                if len(datagram) > handshake.credit:
                    break  # the client repeats its hello, which brings more
                handshake.credit -= len(datagram)
            self._counters.count_sent(datagram, cid_length)
            outgoing.append((datagram, address))
        handshake.datagrams.clear()

    def _conclude(self, handshake: ServerHandshake, outcome: HandshakeCompleted | HandshakeFailed, now: float) -> None:
        """A handshake has ended."""
        if not self._table.remove(handshake):
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
                self._counters.alerts[direction, "fatal", outcome.alert] += 1
            self._table.remember_settled(outcome.facts.address, handshake.client_random)
            if handshake.resumed_id and outcome.alert is not None and self._sessions is not None:
                self._sessions.cache.forget(handshake.resumed_id)  # RFC 5246 section 7.2.2
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
                    self._counters.questions_held += 1
                    continue
            self._events.append(event)

    def _give_up_number(self, number: int, reason: FailureReason, now: float) -> None:
        handshake = self._table.numbered(number)
        if handshake is not None:
            self._give_up(handshake, reason, now)
        else:  # whoever asks goes on until there is room: what is not there must not be found again
            self._buffers.account(number, 0)
            self._questions.close(number)

    def _give_up(self, handshake: ServerHandshake, reason: FailureReason, now: float) -> None:
        handshake.abandon(reason, now)
        self.settle(handshake, now)

    def _establish(self, handshake: ServerHandshake, outcome: HandshakeCompleted, now: float) -> None:
        association = outcome.association
        association.context = handshake.context
        association.last_heard = now
        self._delivery.lingering[association] = handshake.linger(now)
        self._table.settled.pop(association.address, None)
        old = self._associations.by_address.get(association.address)
        if old is not None and not old.cid:
            self._established.end(old, "superseded")
        else:
            outcome.neighbour = old  # found by its id wherever it is now (checklist 7.10)
        self._established.enter(association, self._config.max_associations, now)
