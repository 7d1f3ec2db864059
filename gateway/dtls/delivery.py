"""Where the peers are, and what may be sent there (RFC 9146 section 6, RFC 9853, DESIGN D8).

An association without a connection id is where its handshake was. One with an id moves with its newest record, and
until the new address has shown that it is the peer's, no more than three times the bytes received from there go to it.
Where the peer knows the return routability check, that decides.
"""

from gateway.dtls.association import Association
from gateway.dtls.association_table import Associations
from gateway.dtls.connection_id import PROVEN, IdentifiedAssociation
from gateway.dtls.cookie import Address
from gateway.dtls.counters import EndpointCounters
from gateway.dtls.errors import DecodeError, DropReason, SequenceExhausted
from gateway.dtls.handshake.common import Random
from gateway.dtls.handshake.linger import Linger
from gateway.dtls.handshake_table import Handshakes
from gateway.dtls.limits import AMPLIFICATION_FACTOR
from gateway.dtls.messages.framing import Alert
from gateway.dtls.numbers import ContentType, PathMessage
from gateway.dtls.paths import PathChecks, decode_path_message, encode_path_message


class Delivery:
    """Attributes:
    outgoing: What is to be sent next, in order; `take` it.
    lingering: What is kept for peers that did not get our last flight: in the order in which it expires.
    checks: Return routability checks in progress.
    """

    __slots__ = ("_associations", "_booked", "_counters", "_handshakes", "checks", "lingering", "outgoing")

    def __init__(
        self,
        associations: Associations,
        handshakes: Handshakes,
        counters: EndpointCounters,
        random: Random,
        *,
        enhanced: bool,
    ) -> None:
        """Begins with nothing to send.

        Args:
            associations: The endpoint's.
            handshakes: The endpoint's; remembers whose late hellos are to be ignored at an address left behind.
            counters: The endpoint's.
            random: Gives the cookies of challenges.
            enhanced: Whether a return routability check asks the old address first (RFC 9853).
        """
        self._associations = associations
        self._handshakes = handshakes
        self._counters = counters
        self.outgoing: list[tuple[bytes, Address]] = []
        self.lingering: dict[Association, Linger] = {}
        self.checks = PathChecks(random, enhanced=enhanced, challenge=self._send_path_message, rebind=self._validated)
        # The association that the datagram at hand has been booked for: its bytes count once, for all its records.
        self._booked: Association | None = None

    def take(self) -> list[tuple[bytes, Address]]:
        """What has to go out, in order; each is given once."""
        outgoing, self.outgoing = self.outgoing, []
        return outgoing

    def next_datagram(self) -> None:
        """Whatever is located from now on came in another datagram."""
        self._booked = None

    def emit(self, association: Association, datagram: bytes) -> bool:
        """Sends to the peer, or does not if that would be more than an unproven address may get; says which."""
        address = association.address
        if isinstance(association, IdentifiedAssociation) and association.credit != PROVEN:
            if not self._afford(association, datagram):
                return False
            address = self.checks.candidate(association) or address
        self.outgoing.append((datagram, address))
        return True

    def send_alert(self, association: Association, content: bytes) -> None:
        try:
            record = association.seal(ContentType.ALERT, content)
        except SequenceExhausted:
            return
        if self.emit(association, record):
            self._counters.alert("sent", Alert.decode(content))
            self._counters.sent[ContentType.ALERT] += 1

    def repeat_last_flight(self, association: Association, now: float) -> bool:
        """Sends what ended the handshake once more, if it is still kept; says whether it is."""
        linger = self.lingering.get(association)
        if linger is None:
            return False
        for datagram in linger.repeat(association, now):
            if self.emit(association, datagram):
                self._counters.count_sent(datagram, len(association.peer_cid))
        return True

    def locate(self, association: IdentifiedAssociation, newer: bool, address: Address, size: int, now: float) -> None:
        """A record has authenticated: what it says about where the peer is.

        Args:
            association: Whose record it was.
            newer: Whether it is the newest so far. An older one says nothing: it was overtaken, or is a copy.
            address: Where it came from.
            size: Bytes of the datagram that brought it.
            now: Seconds.
        """
        if address == association.address:
            if association.credit != PROVEN and newer and self._booked is not association:
                self.checks.forget(association)
                association.credit = PROVEN
            if association.credit == PROVEN:
                self._associations.settle_at(association, address)
            return
        if not newer or self._booked is association:
            return
        self._booked = association
        if association.path_check:
            self.checks.observe(association, address, size, now)
            if association.credit != PROVEN:
                self._associations.leave(association)  # what comes meanwhile must not take the direct path
        else:
            self._rebind(association, address)
            association.credit = AMPLIFICATION_FACTOR * size

    def receive_path_message(
        self, content: bytes, association: IdentifiedAssociation, source: Address, now: float
    ) -> DropReason | None:
        """RFC 9853 sections 4 and 5. A kind of message that we do not know is ignored."""
        if not association.path_check:
            return DropReason.UNEXPECTED
        try:
            message = decode_path_message(content)
        except DecodeError:
            return DropReason.MALFORMED
        if message is None:
            return None
        kind, cookie = message
        if kind == PathMessage.CHALLENGE:
            preferred = source in (association.address, self.checks.candidate(association))
            answer = encode_path_message(PathMessage.RESPONSE if preferred else PathMessage.DROP, cookie)
            self._send_path_message(association, answer, source)
            return None
        return None if self.checks.answered(association, kind, cookie, source, now) else DropReason.UNEXPECTED

    def forget(self, association: Association) -> None:
        """It has been closed."""
        linger = self.lingering.pop(association, None)
        if linger is not None:
            self._handshakes.remember_settled(association.address, linger.client_random)
        if isinstance(association, IdentifiedAssociation):
            self.checks.forget(association)

    @property
    def next_timer(self) -> float:
        """When `handle_timer` is due, seconds; perhaps too early; infinite if never."""
        at = self.checks.timer
        for linger in self.lingering.values():
            return min(at, linger.expires_at)
        return at

    def handle_timer(self, now: float) -> None:
        """Repeats challenges, and forgets last flights that nobody will ask for any more."""
        while self.lingering:
            association, linger = next(iter(self.lingering.items()))
            if linger.expires_at > now:
                break
            del self.lingering[association]
        self.checks.handle_timer(now)

    def _rebind(self, association: IdentifiedAssociation, address: Address) -> None:
        """The peer is at another address now."""
        self._associations.leave(association)
        linger = self.lingering.get(association)
        if linger is not None:
            self._handshakes.remember_settled(association.address, linger.client_random)
        association.address = address
        self._counters.address_changes += 1

    def _validated(self, association: IdentifiedAssociation, address: Address) -> None:
        """The peer has shown that it is at another address now."""
        self._rebind(association, address)
        self._associations.settle_at(association, address)

    def _send_path_message(self, association: IdentifiedAssociation, content: bytes, address: Address) -> None:
        try:
            record = association.seal(ContentType.RETURN_ROUTABILITY_CHECK, content)
        except SequenceExhausted:
            return
        if address != association.address and not self._afford(association, record):
            return
        self._counters.sent[ContentType.RETURN_ROUTABILITY_CHECK] += 1
        self.outgoing.append((record, address))

    def _afford(self, association: IdentifiedAssociation, datagram: bytes) -> bool:
        if association.credit == PROVEN:
            return True
        if len(datagram) > association.credit:
            self._counters.withheld += 1
            return False
        association.credit -= len(datagram)
        return True
