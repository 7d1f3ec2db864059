"""What the engine tells its shell. A handshake that waits does so by an event that is answered later, or never."""

from dataclasses import dataclass, field

from gateway.dtls.association import Association
from gateway.dtls.cookie import Address
from gateway.dtls.crypto import KeyExchange
from gateway.dtls.errors import FailureReason
from gateway.dtls.numbers import Authentication


@dataclass(slots=True)
class HandshakeFacts:
    """What an operator needs to know about a handshake, successful or not. Collected while it runs.

    Attributes:
        address: The peer's address.
        started_at: Seconds; when the cookie had verified (server) or the first message was sent (client).
        finished_at: Seconds; when it ended.
        suites_offered: IANA numbers, in the client's order; the first `MAX_REMEMBERED_SUITES` of them.
        suite: The negotiated suite's name.
        key_exchange: How the peer was to prove itself; None before that is negotiated.
        server_name: SNI.
        psk_identity: As received.
        chain: The peer's certificates, DER, leaf first.
        raw_public_key: Whether the peer was to prove itself by a bare key (RFC 7250).
        public_key: That key, SubjectPublicKeyInfo in DER; empty before it came.
        retransmissions: How often we repeated a flight.
        extended_master_secret: Whether RFC 7627 was negotiated.
        resumed: An abbreviated handshake: the peer proved that it holds the secret of a session before this one.
        connection_id: Whether RFC 9146 was negotiated, in either direction.
    """

    address: Address
    started_at: float
    finished_at: float = 0.0
    suites_offered: tuple[int, ...] = ()
    suite: str | None = None
    key_exchange: KeyExchange | None = None
    server_name: str | None = None
    psk_identity: bytes | None = None
    chain: tuple[bytes, ...] = ()
    retransmissions: int = 0
    extended_master_secret: bool = False
    resumed: bool = False
    connection_id: bool = False
    raw_public_key: bool = False
    public_key: bytes = b""


@dataclass(slots=True)
class PskRequested:
    """Answer with `ServerEndpoint.provide_psk(handshake, ...)`."""

    handshake: int
    identity: bytes
    server_name: str | None


@dataclass(slots=True)
class CertificatePresented:
    """The peer has proven possession of the leaf's key. Answer with `ServerEndpoint.certificate_verdict(...)`."""

    handshake: int
    chain: tuple[bytes, ...]
    server_name: str | None


@dataclass(slots=True)
class RawPublicKeyPresented:
    """The peer has proven possession of a bare key (RFC 7250). Answer with `ServerEndpoint.certificate_verdict(...)`.

    Attributes:
        public_key: SubjectPublicKeyInfo, DER.
    """

    handshake: int
    public_key: bytes
    server_name: str | None


@dataclass(slots=True)
class ResumptionRequested:
    """The peer wants to resume a session that the engine has nothing against. Whether the credential behind it still
    lets anybody in is the shell's to say: answer with `ServerEndpoint.resumption_verdict(...)`.

    The peer has not proven anything yet: it does so by its Finished.

    Attributes:
        authentication: What kind of credential it was.
        identity: The PSK identity, or SHA-256 of the leaf certificate or of the raw public key.
        credential: What the shell gave with its answer when the peer was authenticated.
    """

    handshake: int
    authentication: Authentication
    identity: bytes
    credential: bytes
    server_name: str | None


@dataclass(slots=True)
class HandshakeCompleted:
    """Attributes:
    neighbour: An association with a connection id that was at the same address, and still lives: another device's that
        left this address behind, or the same device's from before it restarted. In that case end it with
        `ServerEndpoint.supersede(...)`.
    """

    association: Association
    facts: HandshakeFacts
    neighbour: Association | None = None


@dataclass(slots=True)
class HandshakeFailed:
    """Attributes:
    reason: Typed.
    detail: Words for the operator.
    alert: Name of the alert that was sent, or received when the reason is peer_alert; None if there was none.
    context: What the shell gave with its reply, for a device that the peer claimed to be and did not prove; or None.
    """

    reason: FailureReason
    detail: str
    alert: str | None
    facts: HandshakeFacts
    context: object | None = None


@dataclass(slots=True)
class ApplicationData:
    association: Association
    data: bytes = field(repr=False)


@dataclass(slots=True)
class AssociationClosed:
    """Attributes:
    reason: close_notify, alert, superseded, idle, evicted, exhausted, authentication_failures, local.
    """

    association: Association
    reason: str


Event = (
    PskRequested
    | CertificatePresented
    | RawPublicKeyPresented
    | ResumptionRequested
    | HandshakeCompleted
    | HandshakeFailed
    | ApplicationData
    | AssociationClosed
)
