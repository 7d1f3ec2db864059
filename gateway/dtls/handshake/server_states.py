"""The server's states: what may come next, and what it means (RFC 5246 section 7.3; the order is the `accepts` sets).

States know no time, no datagrams and no retransmission. They are plain classes and no dataclasses, for a compiled
build: mypyc takes every class attribute of a dataclass for a field, and makes a written-out constructor four times as
fast.

    ExpectClientHello -> AwaitResumption -> ExpectChangeCipherSpec -> ExpectResumedFinished -> Established
                            or, when it is refused, as without it:
    ExpectClientHello -+- PSK -> ExpectPskKeyExchange -> AwaitPsk ----------------------------------+
                       +- X.509 -> ExpectCertificate -> ExpectEcdheKeyExchange                       |
                                     -> ExpectCertificateVerify -> AwaitCertificateVerdict ----------+
                       Established <- ExpectFinished <- ExpectChangeCipherSpec <--------------------+
"""

import hmac
from typing import ClassVar, Final

from gateway.dtls.crypto import SUPPORTED_SIGNATURES, KeyShare
from gateway.dtls.errors import ApiMisuse, FailureReason, HandshakeError
from gateway.dtls.handshake import key_schedule
from gateway.dtls.handshake.certificate_types import Presented, own_message, read_presented
from gateway.dtls.handshake.common import Randoms, SessionKeys
from gateway.dtls.handshake.negotiation import Negotiated, answer_connection_ids, negotiate
from gateway.dtls.handshake.server_context import Grant, Hellos, ServerContext, session_keys
from gateway.dtls.handshake.states import (
    Established,
    ExpectChangeCipherSpec,
    FinishedState,
    ReadingState,
    State,
    SuspendedState,
)
from gateway.dtls.limits import MAX_REMEMBERED_SUITES
from gateway.dtls.messages.certificate import CertificateRequest, DigitallySigned
from gateway.dtls.messages.framing import HandshakeMessage
from gateway.dtls.messages.hello import ClientHello, Extensions, NewSessionTicket, ServerHello
from gateway.dtls.messages.key_exchange import (
    EcdheClientKeyExchange,
    EcdheParameters,
    EcdhePskClientKeyExchange,
    EcdhePskServerKeyExchange,
    EcdheServerKeyExchange,
    PskClientKeyExchange,
    PskServerKeyExchange,
)
from gateway.dtls.numbers import Authentication, CertificateType, ClientCertificateType, ExtensionType, HandshakeType
from gateway.dtls.resumption import Offer

_CERTIFICATE_REQUEST: Final = CertificateRequest(
    bytes((ClientCertificateType.ECDSA_SIGN,)), SUPPORTED_SIGNATURES
).encode()


class ExpectClientHello(ReadingState):
    """The gate has verified the cookie, of which nothing is left to check here, or has found that it needs none."""

    __slots__ = ("context",)
    accepts: ClassVar[frozenset[HandshakeType]] = frozenset({HandshakeType.CLIENT_HELLO})

    def __init__(self, context: ServerContext) -> None:
        self.context = context

    def on_message(self, message: HandshakeMessage) -> State:
        context, spared = self.context, self.context.spared
        if spared is not None:
            context.facts.suites_offered = spared.hello.cipher_suites[:MAX_REMEMBERED_SUITES]
            return AwaitResumption(context, message, spared.hello, spared.offer)
        hello = ClientHello.decode(message.body)
        context.facts.suites_offered = hello.cipher_suites[:MAX_REMEMBERED_SUITES]
        if context.sessions is not None:
            parameters = context.agreements.parameters
            raw_public_keys = parameters.raw_public_keys
            offer = context.sessions.find(hello, parameters.usable_suites, raw_public_keys=raw_public_keys)
            if offer is not None:
                return AwaitResumption(context, message, hello, offer)
        return _begin(context, message, hello)


def _begin(context: ServerContext, message: HandshakeMessage, hello: ClientHello) -> State:
    """A full handshake, which nobody gets without a cookie (CVE-2022-2576)."""
    if context.spared is not None:
        raise ApiMisuse("a client that was spared the cookie resumes, or is asked for one")
    negotiated = context.agreements.negotiate(hello)
    answers = _settle(context, message, hello, negotiated)
    hellos = Hellos(negotiated, Randoms(hello.random, context.random(32)))
    # RFC 5246 section 7.4.1.3: an empty session id says that this session will not be resumed by an id.
    session_id = b""
    if context.sessions is not None:
        context.grant = grant = Grant.to(hello, context.sessions)
        session_id = grant.session_id
        if grant.ticket:
            answers[ExtensionType.SESSION_TICKET] = b""
    server_hello = ServerHello(hellos.randoms.server, negotiated.suite.id, answers or None, session_id)
    context.outbox.add(HandshakeType.SERVER_HELLO, server_hello.encode())
    if negotiated.suite.key_exchange.is_psk:
        return _offer_psk(context, hellos)
    return _offer_certificate(context, hellos)


def _settle(
    context: ServerContext, message: HandshakeMessage, hello: ClientHello, negotiated: Negotiated
) -> Extensions:
    """Writes down what the ClientHello has come to, and gives the extensions of the ServerHello."""
    offered, answers = hello.extensions or {}, negotiated.extensions.copy()
    # RFC 9146 section 3: ids are agreed on anew in every handshake, and a new one links no two sessions.
    if not context.cid and ExtensionType.CONNECTION_ID in offered:
        context.cid = context.new_cid()
    context.ids = answer_connection_ids(offered, answers, context.cid)
    context.facts.suite = negotiated.suite.name
    context.facts.key_exchange = negotiated.suite.key_exchange
    context.facts.server_name = negotiated.server_name
    context.facts.extended_master_secret = negotiated.extended_master_secret
    context.facts.connection_id = context.ids is not None
    context.facts.raw_public_key = negotiated.certificate_types.client == CertificateType.RAW_PUBLIC_KEY
    context.outbox.sizes = negotiated.sizes
    context.transcript.hash_with(negotiated.suite.hash)
    context.transcript.add(message)
    return answers


class AwaitResumption(SuspendedState):
    """The shell says whether the credential behind the session still lets anybody in."""

    __slots__ = ("context", "hello", "message", "offer")

    def __init__(self, context: ServerContext, message: HandshakeMessage, hello: ClientHello, offer: Offer) -> None:
        self.context = context
        self.message = message
        self.hello = hello
        self.offer = offer

    def declined(self) -> State:
        return _begin(self.context, self.message, self.hello)

    def accepted(self) -> State:
        """RFC 5246 section 7.3, figure 2; RFC 5077 section 3.1, figure 2."""
        context, offer, state = self.context, self.offer, self.offer.state
        context.facts.resumed = True
        if state.authentication is Authentication.PSK:
            context.facts.psk_identity = state.identity
        negotiated = negotiate(self.hello, context.agreements.parameters, offer.suite)
        answers = _settle(context, self.message, self.hello, negotiated)
        context.facts.raw_public_key = state.authentication is Authentication.RAW_PUBLIC_KEY
        ticket = context.sessions.renewed(offer) if context.sessions is not None else b""
        if ticket:
            answers[ExtensionType.SESSION_TICKET] = b""
        randoms = Randoms(self.hello.random, context.random(32))
        keys = session_keys(context, offer.suite, state.master, randoms)
        # The client's own session id says yes, also where it brought a ticket (RFC 5077 section 3.4).
        server_hello = ServerHello(randoms.server, offer.suite.id, answers or None, self.hello.session_id)
        outbox = context.outbox
        outbox.add(HandshakeType.SERVER_HELLO, server_hello.encode())
        if ticket and context.sessions is not None:
            renewal = NewSessionTicket(context.sessions.lifetime_hint(state, context.sessions.now()), ticket)
            outbox.add(HandshakeType.NEW_SESSION_TICKET, renewal.encode())
        outbox.add_change_cipher_spec()
        ours = key_schedule.verify_data(keys.master, key_schedule.SERVER_FINISHED, context.transcript.digest())
        outbox.add(HandshakeType.FINISHED, ours)
        mismatch = HandshakeError(
            FailureReason.FINISHED_MISMATCH, "who resumes the session does not have its secret, or damaged the record"
        )
        return ExpectChangeCipherSpec(ExpectResumedFinished(keys, mismatch, context, offer))


def _offer_psk(context: ServerContext, hellos: Hellos) -> "ExpectPskKeyExchange":
    hint, group = context.agreements.parameters.psk_hint, hellos.negotiated.group
    share = context.new_share(group) if group is not None else None
    if share is not None:  # RFC 5489 section 2: "the ServerKeyExchange message is always sent"
        exchange = EcdhePskServerKeyExchange(hint or b"", EcdheParameters(share.group, share.public))
        context.outbox.add(HandshakeType.SERVER_KEY_EXCHANGE, exchange.encode())
    elif hint is not None:
        context.outbox.add(HandshakeType.SERVER_KEY_EXCHANGE, PskServerKeyExchange(hint).encode())
    context.outbox.add(HandshakeType.SERVER_HELLO_DONE, b"")
    return ExpectPskKeyExchange(context, hellos, share)


def _offer_certificate(context: ServerContext, hellos: Hellos) -> "ExpectCertificate":
    negotiated = hellos.negotiated
    credential, group, scheme = negotiated.credential, negotiated.group, negotiated.signature_scheme
    if credential is None or group is None or scheme is None:
        raise ApiMisuse("a certificate suite was negotiated without a certificate")
    share = context.new_share(group)
    parameters = EcdheParameters(group, share.public)
    # RFC 8422 section 5.4: signed over both randoms and the parameters.
    signature = credential.key.sign(scheme, hellos.randoms.client + hellos.randoms.server + parameters.encode())
    key_exchange = EcdheServerKeyExchange(parameters, DigitallySigned(scheme, signature))
    if hellos.negotiated.certificate_types.server == CertificateType.X509:
        context.outbox.add(HandshakeType.CERTIFICATE, credential.message)
    else:
        context.outbox.add(HandshakeType.CERTIFICATE, own_message(credential.chain, CertificateType.RAW_PUBLIC_KEY))
    context.outbox.add(HandshakeType.SERVER_KEY_EXCHANGE, key_exchange.encode())
    context.outbox.add(HandshakeType.CERTIFICATE_REQUEST, _CERTIFICATE_REQUEST)
    context.outbox.add(HandshakeType.SERVER_HELLO_DONE, b"")
    return ExpectCertificate(context, hellos, share)


class ExpectPskKeyExchange(ReadingState):
    """Attributes:
    share: Our ephemeral key; None for plain PSK.
    """

    __slots__ = ("context", "hellos", "share")
    accepts: ClassVar[frozenset[HandshakeType]] = frozenset({HandshakeType.CLIENT_KEY_EXCHANGE})

    def __init__(self, context: ServerContext, hellos: Hellos, share: KeyShare | None) -> None:
        self.context = context
        self.hellos = hellos
        self.share = share

    def on_message(self, message: HandshakeMessage) -> State:
        context = self.context
        shared = None
        if self.share is None:
            identity = PskClientKeyExchange.decode(message.body).identity
        else:
            exchange = EcdhePskClientKeyExchange.decode(message.body)
            identity, shared = exchange.identity, self.share.agree(exchange.public)
        context.facts.psk_identity = identity
        context.transcript.add(message)
        return AwaitPsk(context, self.hellos, identity, shared)


class AwaitPsk(SuspendedState):
    """The shell looks the identity up.

    Attributes:
        shared: What the ephemeral keys gave; None for plain PSK.
    """

    __slots__ = ("context", "hellos", "identity", "shared")

    def __init__(self, context: ServerContext, hellos: Hellos, identity: bytes, shared: bytes | None) -> None:
        self.context = context
        self.hellos = hellos
        self.identity = identity
        self.shared = shared

    def on_psk(self, psk: bytes | None, refusal: HandshakeError) -> State:
        """Goes on with the key, or without one as if there were one.

        Args:
            psk: The key; None if there is none, or none that may be used.
            refusal: Why the handshake will have failed if the client's Finished does not verify. With `psk` None it
                never does: a random key does the same work and fails in the same way (RFC 4279 section 2).
        """
        secret = psk if psk is not None else self.context.random(16)
        keys = self.hellos.keys(self.context, key_schedule.psk_premaster(secret, self.shared))
        return ExpectChangeCipherSpec(ExpectFinished(keys, refusal, self.context, hopeless=psk is None))


class ExpectCertificate(ReadingState):
    __slots__ = ("context", "hellos", "share")
    accepts: ClassVar[frozenset[HandshakeType]] = frozenset({HandshakeType.CERTIFICATE})

    def __init__(self, context: ServerContext, hellos: Hellos, share: KeyShare) -> None:
        self.context = context
        self.hellos = hellos
        self.share = share

    def on_message(self, message: HandshakeMessage) -> State:
        context = self.context
        presented = read_presented(message.body, self.hellos.negotiated.certificate_types.client)
        if presented is None:  # RFC 5246 section 7.4.6: handshake_failure where a certificate is required
            raise HandshakeError(
                FailureReason.NO_CERTIFICATE,
                # A client whose certificate fits none of the kinds that we ask for sends none either.
                "the device sent no certificate; give it one with a P-256, P-384 or Ed25519 key, or a pre-shared key",
            )
        context.facts.chain, context.facts.public_key = presented.chain, presented.public_key
        context.transcript.add(message)
        return ExpectEcdheKeyExchange(context, self.hellos, self.share, presented)


class ExpectEcdheKeyExchange(ReadingState):
    __slots__ = ("context", "hellos", "presented", "share")
    accepts: ClassVar[frozenset[HandshakeType]] = frozenset({HandshakeType.CLIENT_KEY_EXCHANGE})

    def __init__(self, context: ServerContext, hellos: Hellos, share: KeyShare, presented: Presented) -> None:
        self.context = context
        self.hellos = hellos
        self.share = share
        self.presented = presented

    def on_message(self, message: HandshakeMessage) -> State:
        context = self.context
        premaster = self.share.agree(EcdheClientKeyExchange.decode(message.body).public)
        context.transcript.add(message)
        return ExpectCertificateVerify(context, self.hellos.keys(context, premaster), self.presented)


class ExpectCertificateVerify(ReadingState):
    __slots__ = ("context", "keys", "presented")
    accepts: ClassVar[frozenset[HandshakeType]] = frozenset({HandshakeType.CERTIFICATE_VERIFY})

    def __init__(self, context: ServerContext, keys: SessionKeys, presented: Presented) -> None:
        self.context = context
        self.keys = keys
        self.presented = presented

    def on_message(self, message: HandshakeMessage) -> State:
        context = self.context
        signed = DigitallySigned.decode(message.body)
        self.presented.key.verify(signed.scheme, signed.signature, context.transcript.content())
        context.transcript.add(message)
        return AwaitCertificateVerdict(context, self.keys, self.presented)


class AwaitCertificateVerdict(SuspendedState):
    """Possession is proven; the shell decides what the chain, or the bare key, is worth (DESIGN D5b)."""

    __slots__ = ("context", "keys", "presented")

    def __init__(self, context: ServerContext, keys: SessionKeys, presented: Presented) -> None:
        self.context = context
        self.keys = keys
        self.presented = presented

    def accepted(self) -> State:
        mismatch = HandshakeError(FailureReason.FINISHED_MISMATCH, "the client's Finished does not authenticate")
        return ExpectChangeCipherSpec(ExpectFinished(self.keys, mismatch, self.context))


class ExpectFinished(FinishedState):
    """Attributes:
    hopeless: There was no key to use; the handshake fails whatever comes.
    """

    __slots__ = ("context", "hopeless")
    accepts: ClassVar[frozenset[HandshakeType]] = frozenset({HandshakeType.FINISHED})

    def __init__(
        self, keys: SessionKeys, refusal: HandshakeError, context: ServerContext, hopeless: bool = False
    ) -> None:
        super().__init__(keys, refusal)
        self.context = context
        self.hopeless = hopeless

    def on_message(self, message: HandshakeMessage) -> State:
        master, transcript, outbox = self.keys.master, self.context.transcript, self.context.outbox
        expected = key_schedule.verify_data(master, key_schedule.CLIENT_FINISHED, transcript.digest())
        if not hmac.compare_digest(expected, message.body) or self.hopeless:
            raise self.refusal
        transcript.add(message)
        if self.context.grant is not None and self.context.sessions is not None:
            self.context.grant.fulfil(self.context, self.context.sessions, self.keys)
        outbox.add_change_cipher_spec()
        ours = key_schedule.verify_data(master, key_schedule.SERVER_FINISHED, transcript.digest())
        outbox.add(HandshakeType.FINISHED, ours)
        return Established(self.keys)


class ExpectResumedFinished(FinishedState):
    """Our Finished went out first; the client's is the last message, and nothing answers it."""

    __slots__ = ("context", "offer")
    accepts: ClassVar[frozenset[HandshakeType]] = frozenset({HandshakeType.FINISHED})

    def __init__(self, keys: SessionKeys, refusal: HandshakeError, context: ServerContext, offer: Offer) -> None:
        super().__init__(keys, refusal)
        self.context = context
        self.offer = offer

    def on_message(self, message: HandshakeMessage) -> State:
        digest = self.context.transcript.digest()
        expected = key_schedule.verify_data(self.keys.master, key_schedule.CLIENT_FINISHED, digest)
        if not hmac.compare_digest(expected, message.body):
            raise self.refusal
        if self.context.sessions is not None:
            self.context.sessions.resumed(self.offer, self.keys.association)
        return Established(self.keys)
