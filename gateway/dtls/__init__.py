"""The DTLS 1.2 engine, sans-IO: datagrams, replies and time in; datagrams, events and timers out.

Nothing in here opens a socket, reads a clock or draws a random number: the shell passes all three in.
"""

from gateway.dtls.admission import network_of
from gateway.dtls.arrivals import Arrivals
from gateway.dtls.association import Association
from gateway.dtls.client import ClientConfig, ClientConnection
from gateway.dtls.cookie import Address
from gateway.dtls.crypto import DEFAULT_SUITES, KeyExchange, SigningKey
from gateway.dtls.endpoint import ServerEndpoint
from gateway.dtls.errors import (
    ALERT_FOR,
    ApiMisuse,
    DecodeError,
    DropReason,
    FailureReason,
    HandshakeError,
    SequenceExhausted,
)
from gateway.dtls.events import (
    ApplicationData,
    AssociationClosed,
    CertificatePresented,
    Event,
    HandshakeCompleted,
    HandshakeFacts,
    HandshakeFailed,
    PskRequested,
    RawPublicKeyPresented,
    ResumptionRequested,
)
from gateway.dtls.handshake.client_context import ClientParameters, ClientSession
from gateway.dtls.handshake.negotiation import Credential, ServerParameters
from gateway.dtls.numbers import AlertDescription, Authentication, CertificateType, CipherSuite, ContentType
from gateway.dtls.resumption import ResumptionConfig, ResumptionOutcome
from gateway.dtls.server_config import ServerConfig
from gateway.dtls.tickets import TicketKeys

__all__ = [
    "ALERT_FOR",
    "DEFAULT_SUITES",
    "Address",
    "AlertDescription",
    "ApiMisuse",
    "ApplicationData",
    "Arrivals",
    "Association",
    "AssociationClosed",
    "Authentication",
    "CertificatePresented",
    "CertificateType",
    "CipherSuite",
    "ClientConfig",
    "ClientConnection",
    "ClientParameters",
    "ClientSession",
    "ContentType",
    "Credential",
    "DecodeError",
    "DropReason",
    "Event",
    "FailureReason",
    "HandshakeCompleted",
    "HandshakeError",
    "HandshakeFacts",
    "HandshakeFailed",
    "KeyExchange",
    "PskRequested",
    "RawPublicKeyPresented",
    "ResumptionConfig",
    "ResumptionOutcome",
    "ResumptionRequested",
    "SequenceExhausted",
    "ServerConfig",
    "ServerEndpoint",
    "ServerParameters",
    "SigningKey",
    "TicketKeys",
    "network_of",
]
