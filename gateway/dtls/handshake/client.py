"""The client's driver of one handshake."""

from collections.abc import Callable

from gateway.dtls.cookie import Address
from gateway.dtls.errors import ApiMisuse, HandshakeError
from gateway.dtls.events import CertificatePresented, Event, HandshakeFacts, RawPublicKeyPresented
from gateway.dtls.handshake.client_context import ClientContext, ClientParameters, ClientSession
from gateway.dtls.handshake.client_states import AwaitServerVerdict, first_hello
from gateway.dtls.handshake.common import KeyLog, Outbox, Random
from gateway.dtls.handshake.driver import Driver
from gateway.dtls.handshake.flight import FlightFilter, Sealer
from gateway.dtls.handshake.linger import Linger
from gateway.dtls.handshake.states import SuspendedState
from gateway.dtls.handshake.transcript import Transcript


class ClientHandshake(Driver):
    """A handshake from its first ClientHello, which `start` sends."""

    __slots__ = ("_context", "_on_event")

    def __init__(
        self,
        *,
        address: Address,
        parameters: ClientParameters,
        random: Random,
        datagram_limit: int,
        retransmit_initial: float,
        deadline: float,
        now: float,
        on_event: Callable[[Event], None],
        flight_filter: FlightFilter | None,
        key_log: KeyLog | None = None,
    ) -> None:
        self._on_event = on_event
        facts = HandshakeFacts(address, started_at=now)
        transcript = Transcript()
        outbox = Outbox(transcript, 0)
        self._context = ClientContext(address, parameters, random, transcript, outbox, facts, key_log)
        super().__init__(
            state=first_hello(self._context),
            facts=facts,
            outbox=outbox,
            sealer=Sealer(0),
            peer_seq=0,
            datagram_limit=datagram_limit,
            retransmit_initial=retransmit_initial,
            deadline=deadline,
            flight_filter=flight_filter,
        )

    @property
    def session(self) -> ClientSession | None:
        """What can be resumed later, once the handshake has completed."""
        return self._context.promised.session

    def linger(self, now: float) -> Linger | None:
        """Our flight, for a server that did not get it, if ours was the last one."""
        if not self.facts.resumed:
            return None
        return Linger(b"", self._flight, self._sealer, self._payload_limit(), now)

    def start(self, now: float) -> None:
        self._entered(-1, now)

    def certificate_verdict(self, refusal: HandshakeError | None, now: float) -> None:
        """The answer to `CertificatePresented` or `RawPublicKeyPresented`; ignored where none is awaited."""
        state = self._state
        if self.outcome is not None or not isinstance(state, AwaitServerVerdict):
            return
        try:
            if refusal is not None:
                raise refusal
            self._resume(state.accepted(), now)
        except HandshakeError as error:
            self._fail(error, now)

    def _suspended(self, state: SuspendedState) -> None:
        if not isinstance(state, AwaitServerVerdict):
            raise ApiMisuse(f"nobody answers {type(state).__name__}")
        name, share = self._context.parameters.server_name, state.share
        if share.public_key:
            self._on_event(RawPublicKeyPresented(0, share.public_key, name))
        else:
            self._on_event(CertificatePresented(0, share.chain, name))
