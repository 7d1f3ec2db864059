"""The server's driver of one handshake."""

from collections.abc import Callable
from typing import Final

from gateway.dtls.cookie import Address
from gateway.dtls.crypto import KeyShare
from gateway.dtls.errors import ApiMisuse, DecodeError, DropReason, FailureReason, HandshakeError
from gateway.dtls.events import (
    CertificatePresented,
    Event,
    HandshakeFacts,
    PskRequested,
    RawPublicKeyPresented,
    ResumptionRequested,
)
from gateway.dtls.handshake.common import KeyLog, Outbox, Random
from gateway.dtls.handshake.driver import Driver
from gateway.dtls.handshake.flight import Flight, Sealer
from gateway.dtls.handshake.linger import Linger
from gateway.dtls.handshake.negotiation import Agreements
from gateway.dtls.handshake.server_context import ServerContext, Spared
from gateway.dtls.handshake.server_states import (
    AwaitCertificateVerdict,
    AwaitPsk,
    AwaitResumption,
    ExpectClientHello,
)
from gateway.dtls.handshake.states import SuspendedState
from gateway.dtls.handshake.transcript import Transcript
from gateway.dtls.limits import USUAL_TRANSCRIPT
from gateway.dtls.messages.hello import HelloStart
from gateway.dtls.numbers import Authentication, ContentType
from gateway.dtls.record import Record
from gateway.dtls.resumption import ServerSessions

NEVER: Final = float("inf")
_ALERT: Final = int(ContentType.ALERT)
_WRONG_KEY: Final = (
    "the device's key is not the one on record: compare them, hex and text are often mixed up; `gateway device import "
    "FILE --on-conflict update` puts another one on record, `gateway psk rotate` gives the device its next one"
)


class ServerHandshake(Driver):
    """One handshake whose client has shown its address by a cookie, or is spared that because it resumes a session.

    Attributes:
        credit: Bytes that may be sent to a client that was spared the cookie: no more than have come from it, until it
            has finished.
        id: The number by which the shell answers.
        hello: The beginning of the ClientHello that the gate let in.
        client_random: Of the same.
        context: The shell's object for the association to come.
        resumed_id: Under which the session is kept that is being resumed; empty where there is none.
        spared: The client has shown no cookie.
        scheduled_at: For the endpoint: when the timer that it has set is due, or `NEVER`; perhaps too early.
    """

    __slots__ = (
        "_context",
        "_on_event",
        "client_random",
        "context",
        "credit",
        "hello",
        "id",
        "resumed_id",
        "scheduled_at",
        "spared",
    )

    def __init__(
        self,
        *,
        id: int,
        address: Address,
        hello: HelloStart,
        agreements: Agreements,
        random: Random,
        datagram_limit: int,
        retransmit_initial: float,
        deadline: float,
        now: float,
        on_event: Callable[[Event], None],
        sessions: ServerSessions | None = None,
        key_log: KeyLog | None = None,
        new_cid: Callable[[], bytes] = bytes,
        new_share: Callable[[int], KeyShare] = KeyShare.generate,
        spared: Spared | None = None,
    ) -> None:
        self.id = id
        self.credit = 0
        self.hello = hello
        self.client_random = hello.prefix.random
        self.context: object = None
        self.resumed_id = b""
        self.scheduled_at = NEVER
        self.spared = spared is not None
        self._on_event = on_event
        facts = HandshakeFacts(address, started_at=now)
        transcript = Transcript()
        # RFC 6347 section 4.2.2: we number on from the ClientHello (1, after the HelloVerifyRequest's 0).
        outbox = Outbox(transcript, hello.message_seq)
        self._context = ServerContext(
            address,
            agreements,
            random,
            transcript,
            outbox,
            facts,
            sessions,
            key_log,
            new_cid=new_cid,
            new_share=new_share,
            spared=spared,
        )
        super().__init__(
            state=ExpectClientHello(self._context),
            facts=facts,
            outbox=outbox,
            # RFC 6347 section 4.2.1: the ServerHello's record number is the ClientHello's; the HelloVerifyRequest had
            # that of the hello before, and a number that comes twice would be taken for a replay.
            sealer=Sealer(hello.sequence),
            peer_seq=hello.message_seq,
            datagram_limit=datagram_limit,
            retransmit_initial=retransmit_initial,
            deadline=deadline,
        )

    @property
    def buffered(self) -> int:
        """Also counts what of the transcript no usual handshake has: it is kept as long as what is incomplete."""
        unusual = self._context.transcript.size - USUAL_TRANSCRIPT
        return self._reassembler.buffered + unusual if unusual > 0 else self._reassembler.buffered

    def receive(self, record: Record, now: float) -> DropReason | None:
        flight = self._flight
        dropped = self._receive(record, now)
        used = dropped is None and record.content_type != _ALERT
        # A client that resumes has no timer for its last flight, which is the last of all: a part of it that got lost
        # comes again only when ours does.
        if used and flight.items and self._flight is flight and not self.facts.resumed:
            self._retransmission.answered(now)
        return dropped

    @property
    def cid(self) -> bytes:
        """The connection id that the association will have; empty for none."""
        return self._context.cid

    @property
    def peer_cid(self) -> bytes:
        """The client's connection id in the protected records that we send; empty for none."""
        association = self._sealer.association
        return association.peer_cid if association is not None else b""

    def provide_psk(
        self,
        psk: bytes | None,
        refusal: HandshakeError | None,
        now: float,
        context: object,
        credential: bytes | None = None,
    ) -> None:
        """The answer to `PskRequested`; ignored, with its context, where none is awaited."""
        state = self._state
        if self.outcome is None and isinstance(state, AwaitPsk):
            self.context = context
            self._grant(Authentication.PSK, credential)
            reason = refusal or HandshakeError(FailureReason.WRONG_KEY, _WRONG_KEY)
            self._resume(state.on_psk(psk, reason), now)

    def certificate_verdict(
        self, refusal: HandshakeError | None, now: float, context: object, credential: bytes | None = None
    ) -> None:
        """The answer to `CertificatePresented` or `RawPublicKeyPresented`.

        Ignored, with its context, where none is awaited.
        """
        state = self._state
        if self.outcome is not None or not isinstance(state, AwaitCertificateVerdict):
            return
        self.context = context
        raw = bool(state.presented.public_key)
        self._grant(Authentication.RAW_PUBLIC_KEY if raw else Authentication.CERTIFICATE, credential)
        if refusal is not None:
            self._fail(refusal, now)
        else:
            self._resume(state.accepted(), now)

    def resumption_verdict(self, accepted: bool, now: float, context: object) -> None:
        """The answer to `ResumptionRequested`; ignored, with its context, where none is awaited."""
        state = self._state
        if self.outcome is not None or not isinstance(state, AwaitResumption):
            return
        if accepted:
            self.context = context
            self.resumed_id = state.offer.session_id
        elif self._context.sessions is not None:
            self._context.sessions.refused(state.offer)
        try:
            following = state.accepted() if accepted else state.declined()
        except DecodeError as error:
            self._fail(HandshakeError(FailureReason.DECODE_ERROR, str(error)), now)
        except HandshakeError as error:
            self._fail(error, now)
        else:
            self._resume(following, now)

    def declined(self) -> None:
        """The client was spared the cookie, and may not resume: this handshake is over, without an outcome."""
        context = self._context
        if context.spared is not None and context.sessions is not None:
            context.sessions.refused(context.spared.offer)

    def linger(self, now: float) -> Linger:
        # Where a session was resumed, the client has the last word, and what we keep is only who it was.
        flight = Flight() if self.facts.resumed else self._flight
        return Linger(self.client_random, flight, self._sealer, self._payload_limit(), now)

    def _grant(self, authentication: Authentication, credential: bytes | None) -> None:
        grant = self._context.grant
        if grant is not None:
            grant.authentication, grant.credential = authentication, credential

    def _suspended(self, state: SuspendedState) -> None:
        name = self.facts.server_name
        if isinstance(state, AwaitPsk):
            self._on_event(PskRequested(self.id, state.identity, name))
        elif isinstance(state, AwaitCertificateVerdict):
            presented = state.presented
            if presented.public_key:
                self._on_event(RawPublicKeyPresented(self.id, presented.public_key, name))
            else:
                self._on_event(CertificatePresented(self.id, presented.chain, name))
        elif isinstance(state, AwaitResumption):
            session = state.offer.state
            self._on_event(
                ResumptionRequested(
                    self.id, session.authentication, session.identity, session.credential, session.server_name
                )
            )
        else:
            raise ApiMisuse(f"nobody answers {type(state).__name__}")
