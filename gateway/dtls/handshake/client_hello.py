"""The client's hello, and what the server's makes of it (RFC 5246 section 7.4.1)."""

from typing import Final

from gateway.dtls.connection_id import ConnectionIds, decode_connection_id, encode_connection_id
from gateway.dtls.crypto import RSA_SIGNATURES, SUITES, SUPPORTED_SIGNATURES, KeyExchange
from gateway.dtls.errors import DecodeError, FailureReason, HandshakeError
from gateway.dtls.handshake.certificate_types import accept_certificate_types, offer_certificate_types
from gateway.dtls.handshake.client_context import Agreed, ClientContext, Promised
from gateway.dtls.handshake.common import Randoms
from gateway.dtls.messages import extensions as ext
from gateway.dtls.messages.framing import HandshakeMessage
from gateway.dtls.messages.hello import ClientHello, Extensions, ServerHello
from gateway.dtls.numbers import DTLS_1_2, EC_POINT_UNCOMPRESSED, ExtensionType, HandshakeType
from gateway.dtls.sizes import accept_sizes, offer_sizes

_OWN_ID_LENGTH: Final = 16
_NO_RENEGOTIATION: Final = ext.encode_u8_list(b"")


def offer(context: ClientContext) -> ClientHello:
    """The first ClientHello; it goes into the outbox."""
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
    return hello


def read_answer(context: ClientContext, hello: ClientHello, message: HandshakeMessage) -> tuple[ServerHello, Agreed]:
    """What a ServerHello makes of the offer; it goes into the context and the transcript.

    Raises:
        DecodeError: It is malformed.
        HandshakeError: It says what does not follow from the offer.
    """
    answer = ServerHello.decode(message.body)
    offered, extensions = hello.extensions or {}, answer.extensions or {}
    if answer.version != DTLS_1_2:
        raise HandshakeError(FailureReason.PROTOCOL_VERSION, f"the server chose version {answer.version:#06x}")
    if answer.cipher_suite not in hello.cipher_suites or answer.compression_method:
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
    agreed = Agreed(suite, Randoms(hello.random, answer.random), ems, context.outbox.sizes, types)
    context.facts.suite, context.facts.key_exchange = suite.name, suite.key_exchange
    context.facts.extended_master_secret = ems
    context.transcript.hash_with(suite.hash)
    context.transcript.add(message)
    context.promised = Promised(ExtensionType.SESSION_TICKET in extensions, answer.session_id)
    return answer, agreed


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
