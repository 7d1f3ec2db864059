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
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

from gateway.dtls.connection_id import ConnectionIds, decode_connection_id, encode_connection_id
from gateway.dtls.cookie import Address
from gateway.dtls.crypto import (
    DEFAULT_SUITES,
    RSA_SIGNATURES,
    SUITES,
    SUPPORTED_GROUPS,
    SUPPORTED_SIGNATURES,
    KeyExchange,
    KeyShare,
    Suite,
)
from gateway.dtls.errors import ApiMisuse, DecodeError, FailureReason, HandshakeError
from gateway.dtls.events import HandshakeFacts
from gateway.dtls.handshake import key_schedule
from gateway.dtls.handshake.certificate_types import (
    X509_ONLY,
    CertificateTypes,
    Presented,
    accept_certificate_types,
    offer_certificate_types,
    own_message,
    read_presented,
)
from gateway.dtls.handshake.common import KeyLog, Outbox, Random, Randoms, SessionKeys, client_side
from gateway.dtls.handshake.negotiation import Credential
from gateway.dtls.handshake.states import (
    Established,
    ExpectChangeCipherSpec,
    FinishedState,
    ReadingState,
    State,
    SuspendedState,
)
from gateway.dtls.handshake.transcript import Transcript
from gateway.dtls.messages import extensions as ext
from gateway.dtls.messages.certificate import CertificateRequest, DigitallySigned
from gateway.dtls.messages.framing import HandshakeMessage
from gateway.dtls.messages.hello import ClientHello, Extensions, HelloVerifyRequest, NewSessionTicket, ServerHello
from gateway.dtls.messages.key_exchange import (
    EcdheClientKeyExchange,
    EcdhePskClientKeyExchange,
    EcdhePskServerKeyExchange,
    EcdheServerKeyExchange,
    PskClientKeyExchange,
    PskServerKeyExchange,
)
from gateway.dtls.numbers import DTLS_1_2, EC_POINT_UNCOMPRESSED, ClientCertificateType, ExtensionType, HandshakeType
from gateway.dtls.sizes import UNLIMITED, RecordSizes, accept_sizes, offer_sizes, with_inner_type

_OWN_ID_LENGTH: Final = 16
_NO_RENEGOTIATION: Final = ext.encode_u8_list(b"")


@dataclass(frozen=True, slots=True)
class ClientSession:
    """What a client keeps of a session, to resume it in a handshake to come.

    Attributes:
        suite: IANA number.
        extended_master_secret: Whether RFC 7627 was negotiated.
        server_name: What the server was called.
        session_id: From the server; empty with a ticket.
        ticket: From the server; empty with an id.
        lifetime_hint: Seconds that the server meant to know the ticket for; 0 if it did not say.
        master: The master secret, 48 bytes.
    """

    suite: int
    extended_master_secret: bool
    server_name: str | None
    session_id: bytes
    ticket: bytes = field(repr=False)
    lifetime_hint: int
    master: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClientParameters:
    """What the client offers.

    Attributes:
        suites: IANA numbers in order of preference; those that need what is missing here are left out.
        psk_identity: With `psk`, offers the PSK suites.
        psk: The pre-shared key.
        credential: Chain and key, for the suites with a server's certificate. Without one they are offered all the same
            if they are listed, and an empty Certificate is sent when asked.
        server_name: Sent as SNI when not None.
        groups: For ECDHE, in order of preference.
        extended_master_secret: Whether to offer RFC 7627.
        max_fragment_length: 512, 1024, 2048 or 4096: asks for records of at most so many bytes (RFC 6066 section 4).
        record_size_limit: Bytes of plaintext that we take in a protected record, to be offered (RFC 8449).
        client_certificate_types: What we can present, in order of preference: `CertificateType.RAW_PUBLIC_KEY` is the
            public key of the credential's leaf (RFC 7250). Empty for X.509 alone.
        server_certificate_types: What the server may present, likewise.
        tickets: Whether to ask for a ticket (RFC 5077).
        session: To be resumed, if the server still knows it; ignored where it does not go with the rest of the offer.
        connection_id: Bytes of the connection id that the client wants in what it receives: 0 for none, and yet to send
            the server's (RFC 9146 section 3). None does not offer the extension.
        path_check: Whether to offer the return routability check (RFC 9853), which needs a connection id.
        extra_extensions: Added to the ClientHello as they are.
    """

    suites: tuple[int, ...] = DEFAULT_SUITES
    psk_identity: bytes | None = None
    psk: bytes | None = field(default=None, repr=False)
    credential: Credential | None = None
    server_name: str | None = None
    groups: tuple[int, ...] = SUPPORTED_GROUPS
    extended_master_secret: bool = True
    max_fragment_length: int | None = None
    record_size_limit: int | None = None
    client_certificate_types: tuple[int, ...] = ()
    server_certificate_types: tuple[int, ...] = ()
    tickets: bool = False
    session: ClientSession | None = None
    connection_id: int | None = None
    path_check: bool = False
    extra_extensions: tuple[tuple[int, bytes], ...] = ()

    def offered_suites(self) -> tuple[int, ...]:
        if self.suites is not DEFAULT_SUITES:
            return self.suites
        psk, certificate = self.psk is not None, self.credential is not None
        return tuple(n for n in self.suites if (psk if SUITES[n].key_exchange.is_psk else certificate))

    def offered_session(self) -> ClientSession | None:
        session = self.session
        if (
            session is None
            or session.suite not in self.offered_suites()
            or session.server_name != self.server_name
            or (session.extended_master_secret and not self.extended_master_secret)
        ):
            return None
        return session


@dataclass(slots=True)
class Promised:
    """How the session can be resumed later, as far as the server has said.

    Attributes:
        ticket: A NewSessionTicket will come.
        session_id: Of the ServerHello.
        given: What came.
        session: The whole; None before the server's Finished has verified, and where nothing can be resumed.
    """

    ticket: bool = False
    session_id: bytes = b""
    given: NewSessionTicket | None = None
    session: ClientSession | None = None


@dataclass(slots=True)
class ClientContext:
    """What lives through all states of one handshake."""

    address: Address
    parameters: ClientParameters
    random: Random
    transcript: Transcript
    outbox: Outbox
    facts: HandshakeFacts
    key_log: KeyLog | None = None
    promised: Promised = field(default_factory=Promised)
    ids: ConnectionIds | None = None


@dataclass(slots=True)
class Agreed:
    """What the two hellos settled."""

    suite: Suite
    randoms: Randoms
    extended_master_secret: bool
    sizes: RecordSizes = UNLIMITED
    certificate_types: CertificateTypes = X509_ONLY

    def keys(self, context: ClientContext, premaster: bytes) -> SessionKeys:
        """To be called when the transcript ends with ClientKeyExchange (RFC 7627 section 3)."""
        session_hash = context.transcript.digest() if self.extended_master_secret else None
        suite, randoms = self.suite, self.randoms
        master = key_schedule.master_secret(suite, premaster, randoms.client, randoms.server, session_hash)
        return _keys(context, suite, master, randoms)


def _keys(context: ClientContext, suite: Suite, master: bytes, randoms: Randoms) -> SessionKeys:
    if context.key_log is not None:
        context.key_log(randoms.client, master)
    keys = client_side(context.address, suite, master, randoms, context.ids)
    keys.association.sizes = context.outbox.sizes
    if keys.association.peer_cid:
        keys.association.sizes = with_inner_type(context.outbox.sizes)
    return keys


def first_hello(context: ClientContext) -> "ExpectServerHello":
    """Puts the ClientHello into the outbox."""
    parameters = context.parameters
    suites = parameters.offered_suites()
    extensions: Extensions = {ExtensionType.RENEGOTIATION_INFO: _NO_RENEGOTIATION}
    if parameters.server_name is not None:
        extensions[ExtensionType.SERVER_NAME] = ext.encode_server_name(parameters.server_name)
    if parameters.extended_master_secret:
        extensions[ExtensionType.EXTENDED_MASTER_SECRET] = b""
    kinds = {SUITES[n].key_exchange for n in suites}
    if any(kind.is_ephemeral for kind in kinds):
        extensions[ExtensionType.SUPPORTED_GROUPS] = ext.encode_u16_list(parameters.groups)
        extensions[ExtensionType.EC_POINT_FORMATS] = ext.encode_u8_list(bytes((EC_POINT_UNCOMPRESSED,)))
    if not all(kind.is_psk for kind in kinds):
        schemes = SUPPORTED_SIGNATURES + (RSA_SIGNATURES if KeyExchange.ECDHE_RSA in kinds else ())
        extensions[ExtensionType.SIGNATURE_ALGORITHMS] = ext.encode_u16_list(schemes)
        offer_certificate_types(extensions, parameters.client_certificate_types, parameters.server_certificate_types)
    offer_sizes(extensions, parameters.max_fragment_length, parameters.record_size_limit)
    session, session_id = parameters.offered_session(), b""
    if session is not None:
        # With a ticket, an id of our own: the server says yes by it (RFC 5077 section 3.4).
        session_id = context.random(_OWN_ID_LENGTH) if session.ticket else session.session_id
    if parameters.tickets or (session is not None and session.ticket):
        extensions[ExtensionType.SESSION_TICKET] = session.ticket if session is not None else b""
    _offer_connection_id(context, extensions)
    extensions.update(parameters.extra_extensions)
    hello = ClientHello(context.random(32), suites, extensions, session_id)
    context.facts.suites_offered = suites
    context.outbox.add(HandshakeType.CLIENT_HELLO, hello.encode())
    return ExpectServerHello(context, hello)


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
        answer = ServerHello.decode(message.body)
        offered, extensions = self.hello.extensions or {}, answer.extensions or {}
        if answer.version != DTLS_1_2:
            raise HandshakeError(FailureReason.PROTOCOL_VERSION, f"the server chose version {answer.version:#06x}")
        if answer.cipher_suite not in self.hello.cipher_suites or answer.compression_method:
            raise HandshakeError(FailureReason.ILLEGAL_PARAMETER, "the server chose what was not offered")
        if not extensions.keys() <= offered.keys():  # RFC 5246 section 7.4.1.4
            raise HandshakeError(FailureReason.UNSUPPORTED_EXTENSION, "the server answers an extension never offered")
        if extensions.get(ExtensionType.EXTENDED_MASTER_SECRET):  # RFC 7627 section 5.1: it is empty
            raise DecodeError("extended_master_secret with something in it")
        if extensions.get(ExtensionType.RENEGOTIATION_INFO, _NO_RENEGOTIATION) != _NO_RENEGOTIATION:
            # RFC 5746 section 3.4: this is no first handshake to the server, so somebody stands between us.
            raise HandshakeError(FailureReason.INSECURE_RENEGOTIATION, "the server speaks of a handshake before this")
        if extensions.get(ExtensionType.SESSION_TICKET):  # RFC 5077 section 3.2: it is empty
            raise DecodeError("session_ticket with something in it")
        suite = SUITES[answer.cipher_suite]
        ems = ExtensionType.EXTENDED_MASTER_SECRET in extensions
        context.outbox.sizes = accept_sizes(offered, extensions)
        context.ids = ids = _connection_ids(offered, extensions)
        context.facts.connection_id = ids is not None and bool(ids.ours or ids.peers)
        types = accept_certificate_types(offered, extensions)
        agreed = Agreed(suite, Randoms(self.hello.random, answer.random), ems, context.outbox.sizes, types)
        context.facts.suite, context.facts.key_exchange = suite.name, suite.key_exchange
        context.facts.extended_master_secret = ems
        context.transcript.hash_with(suite.hash)
        context.transcript.add(message)
        context.promised = Promised(ExtensionType.SESSION_TICKET in extensions, answer.session_id)
        if answer.session_id and answer.session_id == self.hello.session_id:
            return self._resume(agreed)
        if suite.key_exchange is KeyExchange.PSK:
            return ExpectPskHint(context, agreed)
        if suite.key_exchange is KeyExchange.ECDHE_PSK:
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
        keys = _keys(context, agreed.suite, session.master, agreed.randoms)
        refusal = HandshakeError(FailureReason.FINISHED_MISMATCH, "the server's Finished does not authenticate")
        finished = ExpectChangeCipherSpec(ExpectResumedServerFinished(keys, refusal, context))
        return ExpectNewSessionTicket(context, finished) if context.promised.ticket else finished

    def _again(self, cookie: bytes) -> "ExpectServerHello":
        # RFC 6347 section 4.2.6: neither the first hello nor this answer is part of the transcript.
        self.context.transcript.restart()
        hello = replace(self.hello, cookie=cookie)
        self.context.outbox.add(HandshakeType.CLIENT_HELLO, hello.encode())
        return ExpectServerHello(self.context, hello)


def _offer_connection_id(context: ClientContext, extensions: Extensions) -> None:
    length = context.parameters.connection_id
    if length is not None:
        extensions[ExtensionType.CONNECTION_ID] = encode_connection_id(context.random(length) if length else b"")
        if context.parameters.path_check:
            extensions[ExtensionType.RETURN_ROUTABILITY_CHECK] = b""


def _connection_ids(offered: Extensions, answers: Extensions) -> ConnectionIds | None:
    """What the two hellos say of connection ids (RFC 9146 section 3, RFC 9853 section 3)."""
    theirs = answers.get(ExtensionType.CONNECTION_ID)
    path_check = answers.get(ExtensionType.RETURN_ROUTABILITY_CHECK)
    if path_check:
        raise DecodeError("return_routability_check with something in it")
    if theirs is None:
        if path_check is not None:
            raise HandshakeError(FailureReason.ILLEGAL_PARAMETER, "return routability check without a connection id")
        return None
    ours = decode_connection_id(offered[ExtensionType.CONNECTION_ID])
    return ConnectionIds(ours, decode_connection_id(theirs), path_check is not None)


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
