"""What a server needs to take a client back without a full handshake, and the two places where it is kept.

A client that knows tickets keeps its session itself, sealed by us (`tickets`): it costs us nothing. For one that knows
session ids only (tinydtls, nRF modems), we keep it, in a bounded cache. In both cases the client has to prove by its
Finished that it has the session's secret; a ticket or an id alone opens nothing.

The engine judges what it knows: suite, server name, age, extended master secret. Whether the credential still lets
anybody in is the shell's to say, each time (`ResumptionRequested`).
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from gateway.dtls.association import Association
from gateway.dtls.crypto import SUITES, Suite
from gateway.dtls.errors import ApiMisuse, DecodeError, FailureReason, HandshakeError
from gateway.dtls.limits import (
    MAX_CACHED_SESSIONS,
    MAX_CACHED_SESSIONS_PER_IDENTITY,
    MAX_CLOCK_SKEW_S,
    MAX_RESUMED_NAME,
    MAX_TICKET,
    MAX_TICKET_LIFETIME_S,
    SESSION_ID_LENGTH,
    TICKET_LIFETIME_S,
)
from gateway.dtls.messages import extensions as ext
from gateway.dtls.messages.hello import ClientHello
from gateway.dtls.numbers import Authentication, ExtensionType
from gateway.dtls.tickets import TicketKeys
from gateway.dtls.wire import Reader

_FORMAT: Final = 1
_EXTENDED_MASTER_SECRET: Final = 1
_HAS_NAME: Final = 2
_AUTHENTICATIONS: Final = {int(member): member for member in Authentication}
_MAX_FIELD: Final = 0xFFFF


class ResumptionOutcome(StrEnum):
    """What became of an offer to resume; a closed label set for metrics. All but the first give a full handshake."""

    RESUMED = "resumed"
    UNKNOWN = "unknown"
    """A ticket that we did not seal or forgot the key of, or an id that is not kept (any more)."""
    EXPIRED = "expired"
    CHANGED = "changed"
    """Another server name, a suite that is not offered or not allowed, an extended master secret that is new, or a kind
    of credential that is switched off."""
    REFUSED = "refused"
    """By the shell: device, credential or trust anchor are not what they were."""


@dataclass(slots=True)
class SessionState:
    """What is kept of a session. Never changed, and yet not frozen: one is made in most handshakes.

    Attributes:
        authentication: What kind of credential it began with.
        identity: The PSK identity, or SHA-256 of the leaf certificate.
        credential: The shell's own bytes, by which it finds the credential again.
        suite: IANA number.
        extended_master_secret: Whether RFC 7627 was negotiated.
        server_name: SNI.
        authenticated_at: When the credential was proven, in a full handshake; whole seconds, UTC.
        issued_at: When this was written down; whole seconds, UTC.
        master: The master secret, 48 bytes.
    """

    authentication: Authentication
    identity: bytes
    credential: bytes
    suite: int
    extended_master_secret: bool
    server_name: str | None
    authenticated_at: int
    issued_at: int
    master: bytes = field(repr=False)

    @classmethod
    def decode(cls, content: bytes) -> "SessionState":
        """Raises `DecodeError` for a format that is not this version's, too."""
        reader = Reader(content)
        version, kind, suite, flags = reader.u8(), reader.u8(), reader.u16(), reader.u8()
        authentication = _AUTHENTICATIONS.get(kind)
        if version != _FORMAT or authentication is None or flags & ~(_EXTENDED_MASTER_SECRET | _HAS_NAME):
            raise DecodeError("a session of another version")
        authenticated_at, issued_at = int.from_bytes(reader.take(5)), int.from_bytes(reader.take(5))
        master = reader.take(48)
        try:
            name = reader.opaque(1).decode("ascii")
        except UnicodeDecodeError as error:
            raise DecodeError("host name is not ASCII") from error
        identity, credential = reader.opaque(2), reader.opaque(2)
        reader.finish()
        return cls(
            authentication=authentication,
            identity=identity,
            credential=credential,
            suite=suite,
            extended_master_secret=bool(flags & _EXTENDED_MASTER_SECRET),
            server_name=name if flags & _HAS_NAME else None,
            authenticated_at=authenticated_at,
            issued_at=issued_at,
            master=master,
        )

    def encode(self) -> bytes:
        flags = _EXTENDED_MASTER_SECRET * self.extended_master_secret + _HAS_NAME * (self.server_name is not None)
        name = (self.server_name or "").encode("ascii")
        return b"%c%c%b%c%b%b%b%c%b%b%b%b%b" % (
            _FORMAT,
            self.authentication,
            self.suite.to_bytes(2),
            flags,
            self.authenticated_at.to_bytes(5),
            self.issued_at.to_bytes(5),
            self.master,
            len(name),
            name,
            len(self.identity).to_bytes(2),
            self.identity,
            len(self.credential).to_bytes(2),
            self.credential,
        )


@dataclass(slots=True)
class Offer:
    """A session that a client may resume, if the shell agrees.

    Attributes:
        state: What is known of it.
        session_id: Under which it is kept here; empty for one that came as a ticket.
        renew: The client should get a new ticket: the old one's key is past, or half of its time.
    """

    state: SessionState
    session_id: bytes = b""
    renew: bool = False

    @property
    def suite(self) -> Suite:
        return SUITES[self.state.suite]


@dataclass(frozen=True, slots=True)
class ResumptionConfig:
    """Whether and how sessions are resumed.

    Attributes:
        clock: The time of day, seconds, UTC: tickets outlive processes and go from one to the other.
        ticket_keys: Without them there are no tickets.
        lifetime_s: Seconds after the full authentication for which a session can be resumed.
        max_sessions: Sessions kept for clients without tickets; 0 for none.
    """

    clock: Callable[[], float]
    ticket_keys: TicketKeys | None = None
    lifetime_s: float = TICKET_LIFETIME_S
    max_sessions: int = MAX_CACHED_SESSIONS

    def __post_init__(self) -> None:
        if not 0 < self.lifetime_s <= MAX_TICKET_LIFETIME_S:
            raise ApiMisuse(f"lifetime_s must be above 0 and at most {MAX_TICKET_LIFETIME_S:.0f}")


class ServerSessions:
    """Attributes:
    cache: Sessions by id.
    outcomes: What became of the offers, for metrics.
    """

    __slots__ = ("_config", "_random", "cache", "outcomes")

    def __init__(self, config: ResumptionConfig, random: Callable[[int], bytes]) -> None:
        self._config = config
        self._random = random
        self.cache = SessionCache(config.max_sessions)
        self.outcomes: Counter[ResumptionOutcome] = Counter()

    def reconfigure(self, config: ResumptionConfig) -> None:
        """Goes by another configuration from now on. Sessions kept by id stay; how many there can be stays."""
        self._config = config

    @property
    def tickets(self) -> bool:
        """Whether tickets are given out."""
        return self._config.ticket_keys is not None

    def now(self) -> int:
        return int(self._config.clock())

    def find(self, hello: ClientHello, allowed: tuple[int, ...], *, raw_public_keys: bool = True) -> Offer | None:
        """The session that a ClientHello wants to resume, if there is one and the hello fits it.

        Args:
            hello: With a good cookie.
            allowed: The suites that the server takes now.
            raw_public_keys: Whether it takes raw public keys now; a ticket may be from when it did.

        Raises:
            HandshakeError: The session has an extended master secret, and the hello does not offer one (RFC 7627
                section 5.3: abort).
            DecodeError: The hello's server_name cannot be read.
        """
        offered = hello.extensions or {}
        ticket = offered.get(ExtensionType.SESSION_TICKET)
        if ticket and self.tickets:  # RFC 5077 section 3.4: with a ticket, the id is no longer one to look up
            offer = self._open(ticket)
        elif hello.session_id:
            state = self.cache.find(hello.session_id)
            offer = Offer(state, hello.session_id) if state is not None else None
        else:
            return None
        outcome = ResumptionOutcome.UNKNOWN
        if offer is not None:
            outcome = self._judge(offer.state, hello, allowed, raw_public_keys)
            if outcome is ResumptionOutcome.RESUMED:
                return offer
        self.outcomes[outcome] += 1
        return None

    def find_without_cookie(
        self, hello: ClientHello, allowed: tuple[int, ...], *, raw_public_keys: bool = True
    ) -> Offer | None:
        """As `find`, for a hello that need not show a cookie if a ticket fits it (RFC 6347 section 4.2.1).

        A ticket that has to be renewed does not fit: with the new one our answer would be larger than the hello. For
        what does not fit the client is asked for a cookie, and the hello with that is judged, and counted.
        """
        ticket = (hello.extensions or {}).get(ExtensionType.SESSION_TICKET)
        offer = self._open(ticket) if ticket and self.tickets else None
        if offer is None or offer.renew:
            return None
        try:
            outcome = self._judge(offer.state, hello, allowed, raw_public_keys)
        except (DecodeError, HandshakeError):
            return None
        return offer if outcome is ResumptionOutcome.RESUMED else None

    def ticket(self, state: SessionState) -> bytes:
        """A ticket; empty, which means none (RFC 5077 section 3.3), where it would be too large."""
        keys = self._config.ticket_keys
        if keys is None or not _keepable(state):
            return b""
        ticket = keys.seal(state.encode(), self._random, state.issued_at)
        return ticket if len(ticket) <= MAX_TICKET else b""

    def renewed(self, offer: Offer) -> bytes:
        """The ticket that follows an old one: the same session, of the same age."""
        return self.ticket(replace(offer.state, issued_at=self.now())) if offer.renew else b""

    def lifetime_hint(self, state: SessionState, now: int) -> int:
        """Seconds for which the session can still be resumed."""
        return max(0, int(state.authenticated_at + self._config.lifetime_s) - now)

    def new_id(self) -> bytes:
        """An id for a session that is to be kept here; empty where none are."""
        return self._random(SESSION_ID_LENGTH) if self._config.max_sessions else b""

    def keep(self, session_id: bytes, state: SessionState, association: Association) -> None:
        """Keeps a session whose Finished has verified."""
        if _keepable(state):
            self.cache.add(session_id, state, association)

    def resumed(self, offer: Offer, association: Association) -> None:
        """The client has proven that it has the session's secret."""
        self.outcomes[ResumptionOutcome.RESUMED] += 1
        if offer.session_id:
            self.cache.used(offer.session_id, association)

    def refused(self, offer: Offer) -> None:
        """The shell does not want the session to go on."""
        self.outcomes[ResumptionOutcome.REFUSED] += 1
        if offer.session_id:
            self.cache.forget(offer.session_id)

    def _open(self, ticket: bytes) -> Offer | None:
        keys = self._config.ticket_keys
        opened = keys.open(ticket, self._config.clock()) if keys is not None else None
        if opened is None:
            return None
        content, past = opened
        try:
            state = SessionState.decode(content)
        except DecodeError:
            return None  # of an older or a newer version of ours
        stale = self.now() - state.issued_at >= self._config.lifetime_s / 2
        return Offer(state, renew=past or stale)

    def _judge(
        self, state: SessionState, hello: ClientHello, allowed: tuple[int, ...], raw_public_keys: bool
    ) -> ResumptionOutcome:
        if state.authentication is Authentication.RAW_PUBLIC_KEY and not raw_public_keys:
            return ResumptionOutcome.CHANGED
        offered = hello.extensions or {}
        age = self.now() - state.authenticated_at
        if not -MAX_CLOCK_SKEW_S <= age < self._config.lifetime_s:
            return ResumptionOutcome.EXPIRED
        name = offered.get(ExtensionType.SERVER_NAME)
        if (ext.decode_server_name(name) if name is not None else None) != state.server_name:
            return ResumptionOutcome.CHANGED
        if state.suite not in hello.cipher_suites or state.suite not in allowed:
            return ResumptionOutcome.CHANGED
        extended = ExtensionType.EXTENDED_MASTER_SECRET in offered
        if state.extended_master_secret and not extended:
            raise HandshakeError(
                FailureReason.RESUMPTION_MISMATCH,
                "the client wants to resume a session that has an extended master secret, and no longer offers one",
            )
        return ResumptionOutcome.RESUMED if extended == state.extended_master_secret else ResumptionOutcome.CHANGED


class SessionCache:
    """Sessions by id: at most so many, and at most a few of one identity; the stalest goes first.

    A session whose association ends by a fatal alert is resumed no more (RFC 5246 section 7.2.2). To know whose it is,
    the cache remembers the association that used it last; nothing here grows with the number of associations.
    """

    __slots__ = ("_by_association", "_by_identity", "_kept", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # In the order of the last use.
        self._kept: dict[bytes, _Kept] = {}
        self._by_identity: dict[tuple[Authentication, bytes], tuple[bytes, ...]] = {}
        self._by_association: dict[Association, bytes] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, session_id: bytes) -> SessionState | None:
        kept = self._kept.get(session_id)
        return kept.state if kept is not None else None

    def add(self, session_id: bytes, state: SessionState, association: Association) -> None:
        """Keeps a session; others yield where there are too many."""
        if self._limit < 1:
            return
        while len(own := self._by_identity.get(_identity(state), ())) >= MAX_CACHED_SESSIONS_PER_IDENTITY:
            self.forget(own[0])
        while len(self._kept) >= self._limit:
            self.forget(next(iter(self._kept)))
        self._kept[session_id] = _Kept(state, association)
        self._by_identity[_identity(state)] = (*self._by_identity.get(_identity(state), ()), session_id)
        self._by_association[association] = session_id

    def used(self, session_id: bytes, association: Association) -> None:
        """The session was resumed: it is the freshest one now, and this association's."""
        kept = self._kept.pop(session_id, None)
        if kept is None:
            return
        self._kept[session_id] = kept
        if kept.association is not None:
            del self._by_association[kept.association]
        kept.association = association
        self._by_association[association] = session_id

    def closed(self, association: Association, *, fatal: bool) -> None:
        """An association has ended, perhaps by a fatal alert."""
        session_id = self._by_association.pop(association, None)
        if session_id is None:
            return
        self._kept[session_id].association = None
        if fatal:
            self.forget(session_id)

    def forget(self, session_id: bytes) -> None:
        """The session cannot be resumed any more."""
        kept = self._kept.pop(session_id, None)
        if kept is None:
            return
        if kept.association is not None:
            del self._by_association[kept.association]
        identity = _identity(kept.state)
        left = tuple(each for each in self._by_identity[identity] if each != session_id)
        if left:
            self._by_identity[identity] = left
        else:
            del self._by_identity[identity]


@dataclass(slots=True)
class _Kept:
    """Attributes:
    association: That used the session last; None when it has ended.
    """

    state: SessionState
    association: Association | None


def _identity(state: SessionState) -> tuple[Authentication, bytes]:
    return state.authentication, state.identity


def _keepable(state: SessionState) -> bool:
    name = state.server_name or ""
    return len(name) <= MAX_RESUMED_NAME and max(len(state.identity), len(state.credential)) <= _MAX_FIELD
