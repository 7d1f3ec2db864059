"""How a server's endpoint behaves."""

from dataclasses import dataclass, field
from typing import Final

from gateway.dtls.errors import ApiMisuse
from gateway.dtls.handshake.common import KeyLog
from gateway.dtls.handshake.negotiation import ServerParameters
from gateway.dtls.limits import (
    CONNECTION_ID_PREFIX_LENGTH,
    DEFAULT_DATAGRAM_PAYLOAD,
    HANDSHAKE_TIMEOUT_S,
    IDLE_TIMEOUT_S,
    MAX_ASSOCIATIONS,
    MAX_AUTHENTICATION_FAILURES,
    MAX_HANDSHAKES,
    MAX_REASSEMBLY_TOTAL,
    MAX_WAITING,
    MIN_COOKIE_SECRET_LENGTH,
    MIN_DATAGRAM_PAYLOAD,
    SERVER_RETRANSMIT_INITIAL_S,
)
from gateway.dtls.resumption import ResumptionConfig

_FIXED: Final = ("cookie_secret", "connection_ids", "connection_id_prefix", "enhanced_path_check", "max_waiting")
"""Peers hold cookies and connection ids that were made with the first three; the others are built in."""


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """How the endpoint behaves.

    Attributes:
        parameters: What is negotiated.
        cookie_secret: At least 16 random bytes; the same in all processes that share a port.
        datagram_limit: Bytes of UDP payload that a handshake datagram may have.
        retransmit_initial_s: Seconds to the first repetition of a flight; doubles after that.
        handshake_timeout_s: Seconds that a handshake may take.
        idle_timeout_s: Seconds without an authenticated record after which an association is dropped.
        max_handshakes: In progress at once; beyond it the oldest of the network that has most is given up.
        max_associations: Beyond it a stale one is evicted.
        resumption: How sessions are resumed; None for not at all.
        resume_without_cookie: Whether a hello with a ticket that fits needs no cookie, while few handshakes run.
        key_log: Gets the secrets of every handshake, for whoever has to read the traffic (NSS key log format,
            CLIENT_RANDOM lines).
        connection_ids: Whether a client that offers the extension gets a connection id (RFC 9146).
        connection_id_prefix: The first two bytes of our connection ids: node and worker (DESIGN D8).
        enhanced_path_check: Whether a return routability check asks the old address first (RFC 9853).
        alert_unknown_sessions: Whether a protected record of no known session is answered with an alert, now and then.
        max_reassembly: Bytes that all handshakes together buffer; beyond it one that holds much is given up.
        max_waiting: Handshakes that wait for the shell's answer or for their turn to ask; beyond it one fails.
        max_auth_failures: Records of one association with a tag of 8 bytes that may fail to authenticate before it is
            closed.
    """

    parameters: ServerParameters
    cookie_secret: bytes = field(repr=False)
    datagram_limit: int = DEFAULT_DATAGRAM_PAYLOAD
    retransmit_initial_s: float = SERVER_RETRANSMIT_INITIAL_S
    handshake_timeout_s: float = HANDSHAKE_TIMEOUT_S
    idle_timeout_s: float = IDLE_TIMEOUT_S
    max_handshakes: int = MAX_HANDSHAKES
    max_associations: int = MAX_ASSOCIATIONS
    resumption: ResumptionConfig | None = None
    resume_without_cookie: bool = False
    key_log: KeyLog | None = field(default=None, repr=False)
    connection_ids: bool = True
    connection_id_prefix: bytes = bytes(CONNECTION_ID_PREFIX_LENGTH)
    enhanced_path_check: bool = True
    alert_unknown_sessions: bool = False
    max_reassembly: int = MAX_REASSEMBLY_TOTAL
    max_waiting: int = MAX_WAITING
    max_auth_failures: int = MAX_AUTHENTICATION_FAILURES

    def fixed_differences(self, other: "ServerConfig") -> list[str]:
        """What two configurations differ in that an endpoint cannot change once it has peers."""
        names = [name for name in _FIXED if getattr(self, name) != getattr(other, name)]
        if (self.resumption is None) != (other.resumption is None):
            names.append("resumption")
        return names

    def __post_init__(self) -> None:
        if self.datagram_limit < MIN_DATAGRAM_PAYLOAD:
            raise ApiMisuse(f"datagram_limit must be at least {MIN_DATAGRAM_PAYLOAD} bytes")
        if len(self.cookie_secret) < MIN_COOKIE_SECRET_LENGTH:
            raise ApiMisuse(f"cookie_secret must have at least {MIN_COOKIE_SECRET_LENGTH} bytes")
        if len(self.connection_id_prefix) != CONNECTION_ID_PREFIX_LENGTH:
            raise ApiMisuse("connection_id_prefix must have two bytes: node and worker")
