"""The engine's events: when a session begins and ends, and one line about each."""

from collections.abc import Callable
from typing import Final, assert_never

from gateway.dtls import (
    ApplicationData,
    Association,
    AssociationClosed,
    CertificatePresented,
    CipherSuite,
    Event,
    HandshakeCompleted,
    HandshakeFacts,
    HandshakeFailed,
    PskRequested,
    RawPublicKeyPresented,
    ResumptionRequested,
    ServerEndpoint,
)
from gateway.model import AuthKind, Device
from gateway.server.device_sessions import DeviceSessions
from gateway.server.dispatch import Dispatcher
from gateway.server.failures import Failures
from gateway.server.identities import Identities
from gateway.server.metrics import AUTH_FOR, CLOSE_REASONS, SessionMetrics
from gateway.server.presented import claimed_identity
from gateway.server.session import Session
from gateway.telemetry import get_logger

_SHOWN_SUITES: Final = 16
_KNOWN_SUITES: Final = frozenset(CipherSuite)


class Sessions:
    """Drains the engine's events. Owns what the log and the metrics say about handshakes and sessions."""

    def __init__(
        self,
        endpoint: ServerEndpoint,
        identities: Identities,
        dispatcher: Dispatcher,
        metrics: SessionMetrics,
        failures: Failures,
        of_devices: DeviceSessions,
        on_entered: Callable[[Session, float], None],
    ) -> None:
        self._endpoint = endpoint
        self._identities = identities
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._failures = failures
        self._of_devices = of_devices
        self._on_entered = on_entered
        self._log = get_logger("gateway.server").bind()  # bound once: the line of a handshake is on its path

    def follow_log_level(self) -> None:
        """The least important lines to write are others now: a logger that is bound does not notice."""
        self._log = get_logger("gateway.server").bind()

    def drain(self, now: float) -> None:
        """Handles every event that waits."""
        while (event := self._endpoint.next_event()) is not None:
            try:
                self._on_event(event, now)
            except Exception as fault:  # a bug of ours in one event must not take the others along
                self._log.error("server.fault", exc_info=fault)

    def _on_event(self, event: Event, now: float) -> None:
        match event:
            case PskRequested() | CertificatePresented() | RawPublicKeyPresented() | ResumptionRequested():
                self._identities.answer(event, now)
            case HandshakeCompleted():
                self._on_completed(event, now)
            case HandshakeFailed():
                self._on_failed(event)
            case ApplicationData():
                self._on_application_data(event, now)
            case AssociationClosed():
                self._on_closed(event)
            case _:
                assert_never(event)

    def _on_completed(self, event: HandshakeCompleted, now: float) -> None:
        association, facts = event.association, event.facts
        session = association.context
        if not isinstance(session, Session):
            raise TypeError("an association without a session")
        session.association = association
        session.datagram_limit = self._endpoint.config.datagram_limit
        auth, device = session.principal.auth, session.principal.device
        duration = facts.finished_at - facts.started_at
        metrics = self._metrics
        mode = _mode(facts)
        metrics.handshakes.add(auth, mode, "success", "none")
        metrics.durations.observe(duration, auth, mode)
        metrics.retransmissions.add("server", by=facts.retransmissions)
        metrics.suites.add(facts.suite or "none")
        metrics.sessions[auth, _cid_label(association)] += 1
        self._log.info(
            "dtls.handshake_completed",
            device=device.id,
            tenant=device.tenant_id,
            auth=auth.value,
            mode=mode,
            suite=facts.suite,
            peer=_peer(facts),
            duration_ms=round(duration * 1000, 1),
            retransmissions=facts.retransmissions,
            connection_id=facts.connection_id,
        )
        self._end_predecessor(event.neighbour, session)
        self._on_entered(session, facts.started_at)
        stalest = self._of_devices.enter(session)
        if stalest is not None and stalest.association is not None:
            self._endpoint.close(stalest.association, now, "too_many")

    def _end_predecessor(self, neighbour: Association | None, session: Session) -> None:
        """A device that restarted behind the same address does not come back to its old session.

        Another device's session lives on: it left the address behind, and is found by its connection id.
        """
        if neighbour is None or not isinstance(neighbour.context, Session):
            return
        before, now = neighbour.context.principal.device, session.principal.device
        if (before.id, before.tenant_id) == (now.id, now.tenant_id):
            self._endpoint.supersede(neighbour)

    def _on_failed(self, event: HandshakeFailed) -> None:
        facts = event.facts
        auth = AuthKind.RPK if facts.raw_public_key else AUTH_FOR[facts.key_exchange]
        metrics = self._metrics
        metrics.handshakes.add(auth, _mode(facts), "failure", event.reason)
        metrics.retransmissions.add("server", by=facts.retransmissions)
        claimed = _claimed(event.context)
        identity = claimed_identity(facts.psk_identity, facts.chain)
        duration_ms = round((facts.finished_at - facts.started_at) * 1000, 1)
        suite_offer = _suite_offer(facts.suites_offered)
        self._failures.add(
            facts.address[0],
            reason=event.reason,
            hint=event.detail,
            server_name=facts.server_name,
            chain=facts.chain,
            identity=identity,
            peer=_peer(facts),
            device=claimed.id if claimed is not None else None,
            tenant=claimed.tenant_id if claimed is not None else None,
            alert=event.alert,
            auth=auth.value,
            suite=facts.suite,
            suite_offer=tuple(suite_offer),
            duration_ms=duration_ms,
            retransmissions=facts.retransmissions,
        )
        self._log.warning(
            "dtls.handshake_failed",
            reason=event.reason.value,
            claimed_device=claimed.id if claimed is not None else None,
            claimed_identity=identity,
            hint=event.detail,
            alert=event.alert,
            auth=auth.value,
            mode=_mode(facts),
            peer=_peer(facts),
            suite=facts.suite,
            suite_offer=suite_offer,
            server_name=facts.server_name,
            duration_ms=duration_ms,
            retransmissions=facts.retransmissions,
        )

    def _on_application_data(self, event: ApplicationData, now: float) -> None:
        session = event.association.context
        if isinstance(session, Session) and not event.association.closed:
            reply = self._dispatcher.receive(session, event.data, now)
            if reply:
                self._endpoint.send(event.association, reply, now)

    def _on_closed(self, event: AssociationClosed) -> None:
        session = event.association.context
        if not isinstance(session, Session):
            return
        self._dispatcher.forget(session)
        self._of_devices.leave(session)
        session.association = None  # they refer to each other, and would wait for the garbage collector
        principal = session.principal
        reason = CLOSE_REASONS[event.reason]
        self._metrics.closed.add(reason)
        self._metrics.sessions[principal.auth, _cid_label(event.association)] -= 1
        self._log.info(
            "dtls.session_closed", device=principal.device.id, tenant=principal.device.tenant_id, reason=event.reason
        )


def _mode(facts: HandshakeFacts) -> str:
    return "resumed" if facts.resumed else "full"


def _peer(facts: HandshakeFacts) -> str:
    host, port = facts.address[0].removeprefix("::ffff:"), facts.address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _cid_label(association: Association) -> str:
    return "yes" if association.cid else "no"


def _claimed(context: object) -> Device | None:
    """The device of the registry that a refused peer named; the context of one that was looked up and not let in."""
    if isinstance(context, Session):
        return context.principal.device
    return context if isinstance(context, Device) else None


def _suite_offer(offered: tuple[int, ...]) -> list[str]:
    """What the device offered: first what we know, by name, then numbers, and how many are left out."""
    known = [CipherSuite(number).name for number in offered if number in _KNOWN_SUITES]
    shown = known + [f"0x{number:04X}" for number in offered if number not in _KNOWN_SUITES]
    more = len(shown) - _SHOWN_SUITES
    return [*shown[:_SHOWN_SUITES], f"and {more} more"] if more > 0 else shown
