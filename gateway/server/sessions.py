"""The engine's events: whose credential it is, when a session begins and ends, and one line about each."""

from time import perf_counter
from typing import assert_never

from gateway.dtls import (
    ApplicationData,
    Association,
    AssociationClosed,
    Authentication,
    CertificatePresented,
    CipherSuite,
    Event,
    FailureReason,
    HandshakeCompleted,
    HandshakeError,
    HandshakeFacts,
    HandshakeFailed,
    PskRequested,
    RawPublicKeyPresented,
    ResumptionRequested,
    ServerEndpoint,
)
from gateway.identity import IdentityRefused, IdentityService, Refusal, remember
from gateway.model import AuthKind, Device
from gateway.server.device_sessions import DeviceSessions
from gateway.server.dispatch import Dispatcher
from gateway.server.failures import Failures
from gateway.server.metrics import AUTH_FOR, CLOSE_REASONS, SessionMetrics
from gateway.server.refusals import handshake_error
from gateway.server.session import Session
from gateway.telemetry import get_logger

_AUTH_KINDS = {
    Authentication.PSK: AuthKind.PSK,
    Authentication.CERTIFICATE: AuthKind.X509,
    Authentication.RAW_PUBLIC_KEY: AuthKind.RPK,
}
_SHOWN_SUITES = 16
_KNOWN_SUITES = frozenset(CipherSuite)


class Sessions:
    """Drains the engine's events. Owns what the log and the metrics say about handshakes and sessions."""

    def __init__(
        self,
        endpoint: ServerEndpoint,
        identity: IdentityService,
        dispatcher: Dispatcher,
        metrics: SessionMetrics,
        failures: Failures,
        of_devices: DeviceSessions,
    ) -> None:
        self._endpoint = endpoint
        self._identity = identity
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._failures = failures
        self._of_devices = of_devices
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
            case PskRequested():
                self._on_psk_requested(event, now)
            case CertificatePresented():
                self._on_certificate_presented(event, now)
            case RawPublicKeyPresented():
                self._on_raw_public_key_presented(event, now)
            case ResumptionRequested():
                self._on_resumption_requested(event, now)
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

    def _on_psk_requested(self, event: PskRequested, now: float) -> None:
        started = perf_counter()
        try:
            answer = self._identity.psk(event.identity)
        except IdentityRefused as refused:
            self._looked_up("psk", started, refused.reason)
            self._endpoint.provide_psk(
                event.handshake, None, now, refusal=handshake_error(refused), context=refused.device
            )
        except Exception as error:
            self._endpoint.provide_psk(event.handshake, None, now, refusal=self._internal(error))
        else:
            self._looked_up("psk", started, None)
            principal = answer.principal
            self._endpoint.provide_psk(
                event.handshake, answer.key, now, context=Session(principal), credential=remember(principal)
            )

    def _on_certificate_presented(self, event: CertificatePresented, now: float) -> None:
        started = perf_counter()
        try:
            principal = self._identity.certificate(event.chain)
        except IdentityRefused as refused:
            self._looked_up("x509", started, refused.reason)
            self._endpoint.certificate_verdict(event.handshake, handshake_error(refused), now, context=refused.device)
        except Exception as error:
            self._endpoint.certificate_verdict(event.handshake, self._internal(error), now)
        else:
            self._looked_up("x509", started, None)
            if principal.created:
                self._log.info(
                    "registry.device_created",
                    device=principal.device.id,
                    tenant=principal.device.tenant_id,
                    anchor=principal.anchor_id,
                    fingerprint=principal.fingerprint,
                )
            self._endpoint.certificate_verdict(
                event.handshake, None, now, context=Session(principal), credential=remember(principal)
            )

    def _on_raw_public_key_presented(self, event: RawPublicKeyPresented, now: float) -> None:
        started = perf_counter()
        try:
            principal = self._identity.raw_public_key(event.public_key)
        except IdentityRefused as refused:
            self._looked_up("rpk", started, refused.reason)
            self._endpoint.certificate_verdict(event.handshake, handshake_error(refused), now, context=refused.device)
        except Exception as error:
            self._endpoint.certificate_verdict(event.handshake, self._internal(error), now)
        else:
            self._looked_up("rpk", started, None)
            self._endpoint.certificate_verdict(
                event.handshake, None, now, context=Session(principal), credential=remember(principal)
            )

    def _on_resumption_requested(self, event: ResumptionRequested, now: float) -> None:
        started = perf_counter()
        auth = _AUTH_KINDS[event.authentication]
        try:
            principal = self._identity.resume(auth, event.identity, event.credential)
        except IdentityRefused as refused:
            # No failure yet: the full handshake that follows says what is wrong, if something is.
            self._looked_up(auth, started, refused.reason)
            self._log.debug("dtls.resumption_refused", reason=refused.reason.value, hint=refused.detail)
            self._endpoint.resumption_verdict(event.handshake, False, now)
        except Exception as error:
            self._internal(error)
            self._endpoint.resumption_verdict(event.handshake, False, now)
        else:
            self._looked_up(auth, started, None)
            self._endpoint.resumption_verdict(event.handshake, True, now, context=Session(principal))

    def _on_completed(self, event: HandshakeCompleted, now: float) -> None:
        association, facts = event.association, event.facts
        session = association.context
        if not isinstance(session, Session):
            raise TypeError("an association without a session")
        session.association = association
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
        duration_ms = round((facts.finished_at - facts.started_at) * 1000, 1)
        suite_offer = _suite_offer(facts.suites_offered)
        self._failures.add(
            facts.address[0],
            reason=event.reason,
            hint=event.detail,
            server_name=facts.server_name,
            chain=facts.chain,
            identity=facts.psk_identity,
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

    def _looked_up(self, kind: str, started: float, refusal: Refusal | None) -> None:
        result = "hit"
        if refusal is Refusal.REGISTRY_UNAVAILABLE:
            result = "error"
        elif refusal is not None:
            result = "miss"
        self._metrics.lookups.add(kind, result)
        self._metrics.lookup_durations.observe(perf_counter() - started, "sqlite")

    def _internal(self, error: Exception) -> HandshakeError:
        """A fault of ours must not end the loop, nor let anybody in."""
        self._log.error("identity.failed", exc_info=error)
        return HandshakeError(FailureReason.INTERNAL_ERROR, f"{type(error).__name__} in the gateway; see the log")


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
