"""What lives through a handshake of the server, whatever its state."""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.dtls.connection_id import ConnectionIds
from gateway.dtls.cookie import Address
from gateway.dtls.crypto import KeyShare, Suite, sha256
from gateway.dtls.events import HandshakeFacts
from gateway.dtls.handshake import key_schedule
from gateway.dtls.handshake.common import KeyLog, Outbox, Random, Randoms, SessionKeys, server_side, settled
from gateway.dtls.handshake.negotiation import Agreements, Negotiated
from gateway.dtls.handshake.transcript import Transcript
from gateway.dtls.messages.hello import ClientHello, NewSessionTicket
from gateway.dtls.numbers import Authentication, ExtensionType, HandshakeType
from gateway.dtls.resumption import Offer, ServerSessions, SessionState


@dataclass(slots=True)
class Grant:
    """How the client will be able to resume this session; promised in the ServerHello, given after its Finished.

    Attributes:
        ticket: A ticket was promised.
        session_id: In the ServerHello; empty with a ticket (RFC 5077 section 3.4).
        authentication: What the client proved itself with.
        credential: The shell's bytes; None while there are none, and where it does not want the session resumed.
    """

    ticket: bool
    session_id: bytes
    authentication: Authentication = Authentication.PSK
    credential: bytes | None = None

    @classmethod
    def to(cls, hello: ClientHello, sessions: ServerSessions) -> "Grant":
        ticket = sessions.tickets and ExtensionType.SESSION_TICKET in (hello.extensions or {})
        return cls(ticket, b"" if ticket else sessions.new_id())

    def fulfil(self, context: "ServerContext", sessions: ServerSessions, keys: SessionKeys) -> None:
        """The client's Finished has verified."""
        ticket, hint = b"", 0
        if self.credential is not None:
            facts, now = context.facts, sessions.now()
            state = SessionState(
                authentication=self.authentication,
                identity=_identity(facts),
                credential=self.credential,
                suite=keys.association.suite.id,
                extended_master_secret=facts.extended_master_secret,
                server_name=facts.server_name,
                authenticated_at=now,
                issued_at=now,
                master=keys.secret,
            )
            if self.ticket:
                ticket = sessions.ticket(state)
                hint = sessions.lifetime_hint(state, now) if ticket else 0
            elif self.session_id:
                sessions.keep(self.session_id, state, keys.association)
        if self.ticket:  # promised: an empty one says that there is none (RFC 5077 section 3.3)
            context.outbox.add(HandshakeType.NEW_SESSION_TICKET, NewSessionTicket(hint, ticket).encode())


def _identity(facts: HandshakeFacts) -> bytes:
    if facts.psk_identity is not None:
        return facts.psk_identity
    return sha256(facts.public_key or facts.chain[0])


@dataclass(slots=True)
class ServerContext:
    """What lives through all states of one handshake.

    It must not lead back to the handshake, which would then stay until the garbage collector comes by.
    """

    address: Address
    agreements: Agreements
    random: Random
    transcript: Transcript
    outbox: Outbox
    facts: HandshakeFacts
    sessions: ServerSessions | None = None
    key_log: KeyLog | None = None
    grant: Grant | None = None
    new_cid: Callable[[], bytes] = bytes
    new_share: Callable[[int], KeyShare] = KeyShare.generate
    cid: bytes = b""
    ids: ConnectionIds | None = None
    spared: "Spared | None" = None


@dataclass(slots=True)
class Spared:
    """Why a client needs no cookie: what its hello resumes.

    Attributes:
        hello: Decoded.
        offer: What its ticket holds.
    """

    hello: ClientHello
    offer: Offer


@dataclass(slots=True)
class Hellos:
    """What the two hellos settled."""

    negotiated: Negotiated
    randoms: Randoms

    def keys(self, context: ServerContext, premaster: bytes) -> SessionKeys:
        """To be called when the transcript ends with ClientKeyExchange (RFC 7627 section 3)."""
        session_hash = context.transcript.digest() if self.negotiated.extended_master_secret else None
        suite, randoms = self.negotiated.suite, self.randoms
        master = key_schedule.master_secret(suite, premaster, randoms.client, randoms.server, session_hash)
        return session_keys(context, suite, master, randoms)


def session_keys(context: ServerContext, suite: Suite, master: bytes, randoms: Randoms) -> SessionKeys:
    """The keys of a session, and the association to come."""
    keys = server_side(context.address, suite, master, randoms, context.ids)
    return settled(keys, randoms, context.outbox, context.key_log)
