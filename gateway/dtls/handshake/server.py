"""The server's driver of one handshake."""

from collections.abc import Callable

from gateway.dtls.cookie import Address
from gateway.dtls.errors import ApiMisuse, DropReason, FailureReason, HandshakeError
from gateway.dtls.events import CertificatePresented, Event, HandshakeFacts, PskRequested
from gateway.dtls.handshake.common import Outbox, Random
from gateway.dtls.handshake.driver import Driver
from gateway.dtls.handshake.flight import Flight, Retransmission, Sealer
from gateway.dtls.handshake.negotiation import ServerParameters
from gateway.dtls.handshake.server_states import AwaitCertificateVerdict, AwaitPsk, ExpectClientHello, ServerContext
from gateway.dtls.handshake.states import SuspendedState
from gateway.dtls.handshake.transcript import Transcript
from gateway.dtls.numbers import ContentType
from gateway.dtls.record import Record

NEVER = float("inf")


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


class ServerHandshake(Driver):
    """One handshake whose cookie has verified.

    Attributes:
        id: The number by which the shell answers.
        client_random: Of the ClientHello that the gate let in.
        context: The shell's object for the association to come.
        scheduled_at: For the endpoint: when the timer that it has set is due, or `NEVER`; perhaps too early.
    """

    __slots__ = ("_on_event", "client_random", "context", "id", "scheduled_at")

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
        self.context: object = None
        self.scheduled_at = NEVER
        self._on_event = on_event
        facts = HandshakeFacts(address, started_at=now)
        transcript = Transcript()
        # RFC 6347 section 4.2.2: we number on from the ClientHello (1, after the HelloVerifyRequest's 0).
        outbox = Outbox(transcript, first_seq)
        super().__init__(
            state=ExpectClientHello(ServerContext(address, parameters, random, transcript, outbox, facts)),
            facts=facts,
            outbox=outbox,
            # RFC 6347 section 4.2.1: the ServerHello's record number is the ClientHello's; the HelloVerifyRequest had
            # that of the hello before, and a number that comes twice would be taken for a replay.
            sealer=Sealer(first_record),
            peer_seq=first_seq,
            datagram_limit=datagram_limit,
            retransmit_initial=retransmit_initial,
            deadline=deadline,
        )

    def receive(self, record: Record, now: float) -> DropReason | None:
        flight = self._flight
        dropped = super().receive(record, now)
        used = dropped is None and record.content_type != ContentType.ALERT
        if used and flight.items and self._flight is flight:
            self._retransmission.answered(now)
        return dropped

    def provide_psk(self, psk: bytes | None, refusal: HandshakeError | None, now: float, context: object) -> None:
        """The answer to `PskRequested`; ignored, with its context, where none is awaited."""
        state = self._state
        if self.outcome is None and isinstance(state, AwaitPsk):
            self.context = context
            reason = refusal or HandshakeError(FailureReason.WRONG_KEY, "the device's key is not the one on record")
            self._resume(state.on_psk(psk, reason), now)

    def certificate_verdict(self, refusal: HandshakeError | None, now: float, context: object) -> None:
        """The answer to `CertificatePresented`; ignored, with its context, where none is awaited."""
        state = self._state
        if self.outcome is not None or not isinstance(state, AwaitCertificateVerdict):
            return
        self.context = context
        if refusal is not None:
            self._fail(refusal, now)
        else:
            self._resume(state.accepted(), now)

    def linger(self, expires_at: float, now: float) -> Linger:
        return Linger(self.client_random, expires_at, self._flight, self._sealer, self._payload_limit(), now)

    def _suspended(self, state: SuspendedState) -> None:
        name = self.facts.server_name
        if isinstance(state, AwaitPsk):
            self._on_event(PskRequested(self.id, state.identity, name))
        elif isinstance(state, AwaitCertificateVerdict):
            self._on_event(CertificatePresented(self.id, state.chain, name))
        else:
            raise ApiMisuse(f"nobody answers {type(state).__name__}")
