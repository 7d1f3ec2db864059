"""The client's states (RFC 5246 section 7.3).

ExpectServerHello -+- PSK -> ExpectPskHint ------------------------------------------------------------+
                   +- ECDHE_PSK -> ExpectEcdhePskParameters -> ExpectServerHelloDone ------------------+
   (hello again    +- X.509 -> ExpectServerCertificate -> ExpectEcdheParameters                        |
    when verified)       -> ExpectCertificateRequest -> ExpectServerHelloDone -> AwaitServerVerdict ---+
    Established <- ExpectServerFinished <- ExpectChangeCipherSpec <- [ExpectNewSessionTicket] <--------+

    A session is resumed: ExpectServerHello -> [ExpectNewSessionTicket] -> ExpectChangeCipherSpec
                                                           -> ExpectResumedServerFinished -> Established
"""

import hmac
from dataclasses import dataclass, replace
from typing import ClassVar

from gateway.dtls.crypto import (
    KeyExchange,
    KeyShare,
)
from gateway.dtls.errors import ApiMisuse, DecodeError, FailureReason, HandshakeError
from gateway.dtls.handshake import key_schedule
from gateway.dtls.handshake.certificate_types import (
    Presented,
    own_message,
    read_presented,
)
from gateway.dtls.handshake.client_context import Agreed, ClientContext, ClientSession, session_keys
from gateway.dtls.handshake.client_hello import offer, read_answer
from gateway.dtls.handshake.common import SessionKeys
from gateway.dtls.handshake.negotiation import Credential
from gateway.dtls.handshake.states import (
    Established,
    ExpectChangeCipherSpec,
    FinishedState,
    ReadingState,
    State,
    SuspendedState,
)
from gateway.dtls.messages.certificate import CertificateRequest, DigitallySigned
from gateway.dtls.messages.framing import HandshakeMessage
from gateway.dtls.messages.hello import ClientHello, HelloVerifyRequest, NewSessionTicket
from gateway.dtls.messages.key_exchange import (
    EcdheClientKeyExchange,
    EcdhePskClientKeyExchange,
    EcdhePskServerKeyExchange,
    EcdheServerKeyExchange,
    PskClientKeyExchange,
    PskServerKeyExchange,
)
from gateway.dtls.numbers import ClientCertificateType, HandshakeType


def first_hello(context: ClientContext) -> "ExpectServerHello":
    """Puts the ClientHello into the outbox."""
    return ExpectServerHello(context, offer(context))


class ExpectServerHello(ReadingState):
    __slots__ = ("context", "hello")
    accepts: ClassVar[frozenset[HandshakeType]] = frozenset(
        {HandshakeType.HELLO_VERIFY_REQUEST, HandshakeType.SERVER_HELLO}
    )

    def __init__(self, context: ClientContext, hello: ClientHello) -> None:
        self.context = context
        self.hello = hello

    def on_message(self, message: HandshakeMessage) -> State:
        context = self.context
        if message.type == HandshakeType.HELLO_VERIFY_REQUEST:
            return self._again(HelloVerifyRequest.decode(message.body).cookie)
        answer, agreed = read_answer(context, self.hello, message)
        if answer.session_id and answer.session_id == self.hello.session_id:
            return self._resume(agreed)
        if agreed.suite.key_exchange is KeyExchange.PSK:
            return ExpectPskHint(context, agreed)
        if agreed.suite.key_exchange is KeyExchange.ECDHE_PSK:
            return ExpectEcdhePskParameters(context, agreed)
        return ExpectServerCertificate(context, agreed)

    def _resume(self, agreed: Agreed) -> State:
        context, session = self.context, self.context.parameters.offered_session()
        if session is None or agreed.suite.id != session.suite:  # RFC 5246 section 7.4.1.3: the same suite
            raise HandshakeError(FailureReason.ILLEGAL_PARAMETER, "the server resumes a session with another suite")
        if agreed.extended_master_secret != session.extended_master_secret:  # RFC 7627 section 5.3: abort
            raise HandshakeError(
                FailureReason.RESUMPTION_MISMATCH, "the server resumes a session with another kind of master secret"
            )
        context.facts.resumed = True
        keys = session_keys(context, agreed.suite, session.master, agreed.randoms)
        refusal = HandshakeError(FailureReason.FINISHED_MISMATCH, "the server's Finished does not authenticate")
        finished = ExpectChangeCipherSpec(ExpectResumedServerFinished(keys, refusal, context))
        return ExpectNewSessionTicket(context, finished) if context.promised.ticket else finished

    def _again(self, cookie: bytes) -> "ExpectServerHello":
        # RFC 6347 section 4.2.6: neither the first hello nor this answer is part of the transcript.
        self.context.transcript.restart()
        hello = replace(self.hello, cookie=cookie)
        self.context.outbox.add(HandshakeType.CLIENT_HELLO, hello.encode())
        return ExpectServerHello(self.context, hello)


class ExpectPskHint(ReadingState):
    __slots__ = ("agreed", "context")
    accepts: ClassVar[frozenset[HandshakeType]] = frozenset(
        {HandshakeType.SERVER_KEY_EXCHANGE, HandshakeType.SERVER_HELLO_DONE}
    )

    def __init__(self, context: ClientContext, agreed: Agreed) -> None:
        self.context = context
        self.agreed = agreed

    def on_message(self, message: HandshakeMessage) -> State:
        self.context.transcript.add(message)
        if message.type == HandshakeType.SERVER_HELLO_DONE:
            _check_empty(message)
            return _finish_psk(self.context, self.agreed, None)
        PskServerKeyExchange.decode(message.body)
        return ExpectServerHelloDone(self.context, self.agreed, None)


class ExpectEcdhePskParameters(ReadingState):
    __slots__ = ("agreed", "context")
    accepts: ClassVar[frozenset[HandshakeType]] = frozenset({HandshakeType.SERVER_KEY_EXCHANGE})

    def __init__(self, context: ClientContext, agreed: Agreed) -> None:
        self.context = context
        self.agreed = agreed

    def on_message(self, message: HandshakeMessage) -> State:
        parameters = EcdhePskServerKeyExchange.decode(message.body).parameters
        _check_group(self.context, parameters.group)
        self.context.transcript.add(message)
        share = ServerShare((), parameters.group, parameters.public)
        return ExpectServerHelloDone(self.context, self.agreed, share)


class ExpectServerCertificate(ReadingState):
    __slots__ = ("agreed", "context")
    accepts: ClassVar[frozenset[HandshakeType]] = frozenset({HandshakeType.CERTIFICATE})

    def __init__(self, context: ClientContext, agreed: Agreed) -> None:
        self.context = context
        self.agreed = agreed

    def on_message(self, message: HandshakeMessage) -> State:
        presented = read_presented(message.body, self.agreed.certificate_types.server, rsa_too=True)
        if presented is None:
            raise HandshakeError(FailureReason.NO_CERTIFICATE, "the server sent no certificate")
        self.context.facts.chain, self.context.facts.public_key = presented.chain, presented.public_key
        self.context.transcript.add(message)
        return ExpectEcdheParameters(self.context, self.agreed, presented)


@dataclass(slots=True)
class ServerShare:
    """What the server's part of an ECDHE handshake brought; no chain for ECDHE_PSK."""

    chain: tuple[bytes, ...]
    group: int
    public: bytes
    request: CertificateRequest | None = None
    public_key: bytes = b""


class ExpectEcdheParameters(ReadingState):
    __slots__ = ("agreed", "context", "presented")
    accepts: ClassVar[frozenset[HandshakeType]] = frozenset({HandshakeType.SERVER_KEY_EXCHANGE})

    def __init__(self, context: ClientContext, agreed: Agreed, presented: Presented) -> None:
        self.context = context
        self.agreed = agreed
        self.presented = presented

    def on_message(self, message: HandshakeMessage) -> State:
        exchange = EcdheServerKeyExchange.decode(message.body)
        parameters, signed, randoms = exchange.parameters, exchange.signed, self.agreed.randoms
        signed_data = randoms.client + randoms.server + parameters.encode()
        key = self.presented.key
        if key.is_rsa is not (self.agreed.suite.key_exchange is KeyExchange.ECDHE_RSA):
            raise HandshakeError(FailureReason.ILLEGAL_PARAMETER, "the server's certificate does not fit the suite")
        key.verify(signed.scheme, signed.signature, signed_data)
        _check_group(self.context, parameters.group)
        self.context.transcript.add(message)
        presented = self.presented
        share = ServerShare(presented.chain, parameters.group, parameters.public, public_key=presented.public_key)
        return ExpectCertificateRequest(self.context, self.agreed, share)


class ExpectCertificateRequest(ReadingState):
    __slots__ = ("agreed", "context", "share")
    accepts: ClassVar[frozenset[HandshakeType]] = frozenset(
        {HandshakeType.CERTIFICATE_REQUEST, HandshakeType.SERVER_HELLO_DONE}
    )

    def __init__(self, context: ClientContext, agreed: Agreed, share: ServerShare) -> None:
        self.context = context
        self.agreed = agreed
        self.share = share

    def on_message(self, message: HandshakeMessage) -> State:
        self.context.transcript.add(message)
        if message.type == HandshakeType.SERVER_HELLO_DONE:
            _check_empty(message)
            return AwaitServerVerdict(self.context, self.agreed, self.share)
        request = CertificateRequest.decode(message.body)
        return ExpectServerHelloDone(self.context, self.agreed, replace(self.share, request=request))


class ExpectServerHelloDone(ReadingState):
    """Attributes:
    share: None for plain PSK.
    """

    __slots__ = ("agreed", "context", "share")
    accepts: ClassVar[frozenset[HandshakeType]] = frozenset({HandshakeType.SERVER_HELLO_DONE})

    def __init__(self, context: ClientContext, agreed: Agreed, share: ServerShare | None) -> None:
        self.context = context
        self.agreed = agreed
        self.share = share

    def on_message(self, message: HandshakeMessage) -> State:
        _check_empty(message)
        self.context.transcript.add(message)
        if self.share is None or self.agreed.suite.key_exchange.is_psk:
            return _finish_psk(self.context, self.agreed, self.share)
        return AwaitServerVerdict(self.context, self.agreed, self.share)


class AwaitServerVerdict(SuspendedState):
    """The shell decides whether to trust the server's certificate."""

    __slots__ = ("agreed", "context", "share")

    def __init__(self, context: ClientContext, agreed: Agreed, share: ServerShare) -> None:
        self.context = context
        self.agreed = agreed
        self.share = share

    def accepted(self) -> State:
        context, share = self.context, self.share
        proof = _suitable(context.parameters.credential, share.request)
        ours = KeyShare.generate(share.group)
        if share.request is not None:  # RFC 5246 section 7.4.6: with nothing in it, if nothing is suitable
            message = own_message(proof[0].chain if proof else (), self.agreed.certificate_types.client)
            context.outbox.add(HandshakeType.CERTIFICATE, message)
        context.outbox.add(HandshakeType.CLIENT_KEY_EXCHANGE, EcdheClientKeyExchange(ours.public).encode())
        keys = self.agreed.keys(context, ours.agree(share.public))
        if proof is not None:
            credential, scheme = proof
            signed = DigitallySigned(scheme, credential.key.sign(scheme, context.transcript.content()))
            context.outbox.add(HandshakeType.CERTIFICATE_VERIFY, signed.encode())
        return _finish(context, keys)


def _suitable(credential: Credential | None, request: CertificateRequest | None) -> tuple[Credential, int] | None:
    """Our certificate and the scheme to sign with, if the server asks for a certificate and takes such a one."""
    if credential is None or request is None or ClientCertificateType.ECDSA_SIGN not in request.certificate_types:
        return None
    scheme = credential.key.choose(request.signature_algorithms)
    return (credential, scheme) if scheme is not None else None


def _check_empty(done: HandshakeMessage) -> None:
    if done.body:  # RFC 5246 section 7.4.5
        raise DecodeError("ServerHelloDone with something in it")


def _check_group(context: ClientContext, group: int) -> None:
    if group not in context.parameters.groups:
        raise HandshakeError(FailureReason.ILLEGAL_PARAMETER, "the server chose a group that was not offered")


def _finish_psk(context: ClientContext, agreed: Agreed, share: ServerShare | None) -> State:
    identity, psk = context.parameters.psk_identity, context.parameters.psk
    if identity is None or psk is None:
        raise ApiMisuse("a PSK suite was offered without a key")
    context.facts.psk_identity = identity
    if share is None:
        premaster = key_schedule.psk_premaster(psk)
        exchange = PskClientKeyExchange(identity).encode()
    else:
        ours = KeyShare.generate(share.group)
        premaster = key_schedule.psk_premaster(psk, ours.agree(share.public))
        exchange = EcdhePskClientKeyExchange(identity, ours.public).encode()
    context.outbox.add(HandshakeType.CLIENT_KEY_EXCHANGE, exchange)
    return _finish(context, agreed.keys(context, premaster))


def _finish(context: ClientContext, keys: SessionKeys) -> State:
    finished = key_schedule.verify_data(keys.master, key_schedule.CLIENT_FINISHED, context.transcript.digest())
    context.outbox.add_change_cipher_spec()
    context.outbox.add(HandshakeType.FINISHED, finished)
    refusal = HandshakeError(FailureReason.FINISHED_MISMATCH, "the server's Finished does not authenticate")
    following = ExpectChangeCipherSpec(ExpectServerFinished(keys, refusal, context))
    return ExpectNewSessionTicket(context, following) if context.promised.ticket else following


class ExpectNewSessionTicket(ReadingState):
    """The server has promised a ticket; it comes before its ChangeCipherSpec (RFC 5077 section 3.3)."""

    __slots__ = ("context", "then")
    accepts: ClassVar[frozenset[HandshakeType]] = frozenset({HandshakeType.NEW_SESSION_TICKET})

    def __init__(self, context: ClientContext, then: ExpectChangeCipherSpec) -> None:
        self.context = context
        self.then = then

    def write_keys(self) -> SessionKeys:
        return self.then.write_keys()

    def on_message(self, message: HandshakeMessage) -> State:
        self.context.promised.given = NewSessionTicket.decode(message.body)
        self.context.transcript.add(message)
        return self.then


class ExpectServerFinished(FinishedState):
    __slots__ = ("context",)
    accepts: ClassVar[frozenset[HandshakeType]] = frozenset({HandshakeType.FINISHED})

    def __init__(self, keys: SessionKeys, refusal: HandshakeError, context: ClientContext) -> None:
        super().__init__(keys, refusal)
        self.context = context

    def on_message(self, message: HandshakeMessage) -> State:
        _verify(self.context, self.keys, message, self.refusal)
        _save(self.context, self.keys)
        return Established(self.keys)


class ExpectResumedServerFinished(FinishedState):
    """The server's Finished comes first; ours is the last message."""

    __slots__ = ("context",)
    accepts: ClassVar[frozenset[HandshakeType]] = frozenset({HandshakeType.FINISHED})

    def __init__(self, keys: SessionKeys, refusal: HandshakeError, context: ClientContext) -> None:
        super().__init__(keys, refusal)
        self.context = context

    def on_message(self, message: HandshakeMessage) -> State:
        context = self.context
        _verify(context, self.keys, message, self.refusal)
        context.transcript.add(message)
        ours = key_schedule.verify_data(self.keys.master, key_schedule.CLIENT_FINISHED, context.transcript.digest())
        context.outbox.add_change_cipher_spec()
        context.outbox.add(HandshakeType.FINISHED, ours)
        _save(context, self.keys)
        return Established(self.keys)


def _verify(context: ClientContext, keys: SessionKeys, finished: HandshakeMessage, refusal: HandshakeError) -> None:
    expected = key_schedule.verify_data(keys.master, key_schedule.SERVER_FINISHED, context.transcript.digest())
    if not hmac.compare_digest(expected, finished.body):
        raise refusal


def _save(context: ClientContext, keys: SessionKeys) -> None:
    """The server's Finished has verified: what it gave to resume by is worth keeping (RFC 5077 section 3.3)."""
    promised = context.promised
    if context.facts.resumed and promised.given is None:
        promised.session = context.parameters.session  # no new ticket: the old one goes on
        return
    ticket = promised.given.ticket if promised.given is not None else b""
    session_id = b"" if promised.ticket else promised.session_id
    if ticket or session_id:
        promised.session = ClientSession(
            suite=keys.association.suite.id,
            extended_master_secret=context.facts.extended_master_secret,
            server_name=context.parameters.server_name,
            session_id=session_id,
            ticket=ticket,
            lifetime_hint=promised.given.lifetime_hint if promised.given is not None else 0,
            master=keys.secret,
        )
