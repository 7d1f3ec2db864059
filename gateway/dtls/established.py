"""What becomes of the records of established associations, and how associations end."""

from collections import deque
from typing import Final

from gateway.dtls.association import Association
from gateway.dtls.association_table import Associations
from gateway.dtls.connection_id import IdentifiedAssociation
from gateway.dtls.cookie import Address
from gateway.dtls.counters import EndpointCounters
from gateway.dtls.delivery import Delivery
from gateway.dtls.errors import DecodeError, DropReason
from gateway.dtls.events import ApplicationData, AssociationClosed, Event
from gateway.dtls.forgeries import Forgeries
from gateway.dtls.handshake.server import NEVER
from gateway.dtls.limits import MAX_AWAKE_NEWCOMERS, SWEEP_INTERVAL_S
from gateway.dtls.messages.framing import Alert, decode_fragments
from gateway.dtls.numbers import AlertDescription, AlertLevel, ContentType, HandshakeType
from gateway.dtls.record import Record
from gateway.dtls.resumption import ServerSessions

_CLOSE_NOTIFY: Final = Alert.warning(AlertDescription.CLOSE_NOTIFY).encode()
_ACCESS_DENIED: Final = Alert.fatal(AlertDescription.ACCESS_DENIED).encode()
_NO_RENEGOTIATION: Final = Alert.warning(AlertDescription.NO_RENEGOTIATION).encode()
_FATAL: Final = frozenset({"alert", "authentication_failures", "revoked"})
"""Ends of an association after which its session cannot be resumed (RFC 5246 section 7.2.2)."""


class Established:
    """Attributes:
    idle_timeout_s: Seconds of silence after which an association ends; may change.
    next_timer: When `handle_timer` is due, seconds; infinite without associations.
    """

    __slots__ = (
        "_counters",
        "_delivery",
        "_events",
        "_forgeries",
        "_newcomers",
        "_sessions",
        "_table",
        "idle_timeout_s",
        "next_timer",
    )

    def __init__(
        self,
        table: Associations,
        delivery: Delivery,
        forgeries: Forgeries,
        counters: EndpointCounters,
        events: deque[Event],
        sessions: ServerSessions | None,
        idle_timeout_s: float,
    ) -> None:
        """Works on the endpoint's parts; what happens is added to `events`."""
        self._table = table
        self._delivery = delivery
        self._forgeries = forgeries
        self._counters = counters
        self._events = events
        self._sessions = sessions
        # The newest associations, oldest first, and no value: a set in order.
        self._newcomers: dict[Association, None] = {}
        self.idle_timeout_s = idle_timeout_s
        self.next_timer = NEVER

    def enter(self, association: Association, limit: int, now: float) -> None:
        """Takes a new one; where there are `limit` already, a stale one yields."""
        if len(self._table) >= limit:
            self.end(self._table.stalest(), "evicted")
        self._table.enter(association)
        self._newcomers[association] = None
        if len(self._newcomers) > MAX_AWAKE_NEWCOMERS:
            oldest = next(iter(self._newcomers))
            del self._newcomers[oldest]
            if oldest.newest <= 0:  # nothing but its Finished has come
                oldest.rest()
        if self.next_timer == NEVER:
            self.next_timer = now + SWEEP_INTERVAL_S

    def receive(
        self, record: Record, association: Association, address: Address, size: int, now: float
    ) -> DropReason | None:
        """Takes a protected record; says why it was dropped, or None if it was used.

        Args:
            record: As received.
            association: Whose it seems to be.
            address: Where it came from.
            size: Bytes of the datagram that brought it.
            now: Seconds.
        """
        if record.epoch != 1:
            return DropReason.FUTURE_EPOCH
        if self._forgeries.unreachable(association, address):
            return DropReason.OUT_OF_REACH
        newest = association.newest
        opened = association.open_record(record)
        if isinstance(opened, DropReason):
            return opened
        content_type, content = opened
        association.last_heard = now
        if isinstance(association, IdentifiedAssociation) and not (
            # What the old path answers is not yet what the peer prefers.
            content_type == ContentType.RETURN_ROUTABILITY_CHECK and address == association.address
        ):
            self._delivery.locate(association, association.newest > newest, address, size, now)
        dropped: DropReason | None = None
        if content_type == ContentType.APPLICATION_DATA:
            self._events.append(ApplicationData(association, content))
        elif content_type == ContentType.ALERT:
            dropped = self._receive_alert(content, association)
        elif content_type == ContentType.HANDSHAKE:
            dropped = self._receive_handshake(content, association, now)
        elif content_type == ContentType.RETURN_ROUTABILITY_CHECK and isinstance(association, IdentifiedAssociation):
            dropped = self._delivery.receive_path_message(content, association, address, now)
        else:
            dropped = DropReason.UNEXPECTED
        if dropped is None:
            self._counters.count_received(content_type)
        return dropped

    def close(self, association: Association, reason: str) -> None:
        """Sends close_notify and ends the association, if it has not ended."""
        if not association.closed:
            self._delivery.send_alert(association, _CLOSE_NOTIFY)
            self.end(association, reason)

    def expel(self, association: Association) -> None:
        """Sends a fatal access_denied and ends the association, which nobody may resume, if it has not ended."""
        if not association.closed:
            self._delivery.send_alert(association, _ACCESS_DENIED)
            self.end(association, "revoked")

    def end(self, association: Association, reason: str) -> None:
        """Forgets an association, and says nothing to its peer."""
        association.closed = True
        if self._sessions is not None:
            self._sessions.cache.closed(association, fatal=reason in _FATAL)
        self._delivery.forget(association)
        self._table.remove(association)
        self._newcomers.pop(association, None)
        self._events.append(AssociationClosed(association, reason))

    def handle_timer(self, now: float) -> None:
        """Closes associations that were silent for too long; lets the merely quiet ones rest."""
        if now < self.next_timer:
            return
        idle_since = now - self.idle_timeout_s
        quiet_since = now - SWEEP_INTERVAL_S
        for association in self._table.all():
            if association.last_heard <= idle_since:
                self.close(association, "idle")
            elif association.last_heard <= quiet_since:
                association.rest()
        self.next_timer = now + SWEEP_INTERVAL_S if len(self._table) else NEVER

    def _receive_alert(self, content: bytes, association: Association) -> DropReason | None:
        try:
            alert = Alert.decode(content)
        except DecodeError:
            return DropReason.MALFORMED
        self._counters.alert("received", alert)
        if alert.description == AlertDescription.CLOSE_NOTIFY:
            self.close(association, "close_notify")  # RFC 5246 section 7.2.1: it is answered
        elif alert.level == AlertLevel.FATAL:
            self.end(association, "alert")
        return None

    def _receive_handshake(self, content: bytes, association: Association, now: float) -> DropReason | None:
        """A repeated Finished gets the last flight again; a ClientHello is told that there is no renegotiation."""
        try:
            fragments = decode_fragments(content)
        except DecodeError:
            return DropReason.MALFORMED
        if fragments[0].type == HandshakeType.CLIENT_HELLO:
            self._delivery.send_alert(association, _NO_RENEGOTIATION)
            return None
        if fragments[0].type == HandshakeType.FINISHED and self._delivery.repeat_last_flight(association, now):
            return None
        return DropReason.UNEXPECTED
