"""What a client offers, and what lives through its handshake, whatever the state."""

from dataclasses import dataclass, field

from gateway.dtls.connection_id import ConnectionIds
from gateway.dtls.cookie import Address
from gateway.dtls.crypto import DEFAULT_SUITES, SUITES, SUPPORTED_GROUPS, Suite
from gateway.dtls.events import HandshakeFacts
from gateway.dtls.handshake import key_schedule
from gateway.dtls.handshake.certificate_types import X509_ONLY, CertificateTypes
from gateway.dtls.handshake.common import KeyLog, Outbox, Random, Randoms, SessionKeys, client_side, settled
from gateway.dtls.handshake.negotiation import Credential
from gateway.dtls.handshake.transcript import Transcript
from gateway.dtls.messages.hello import NewSessionTicket
from gateway.dtls.sizes import UNLIMITED, RecordSizes


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
        return session_keys(context, suite, master, randoms)


def session_keys(context: ClientContext, suite: Suite, master: bytes, randoms: Randoms) -> SessionKeys:
    """The keys of a session, and the association to come."""
    keys = client_side(context.address, suite, master, randoms, context.ids)
    return settled(keys, randoms, context.outbox, context.key_log)
