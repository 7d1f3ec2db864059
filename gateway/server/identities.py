"""The engine's questions: who is it? Each is answered by the identity room, at once or when a look-up has ended."""

from collections.abc import Callable
from time import perf_counter
from typing import Final, assert_never

from gateway.dtls import (
    Authentication,
    CertificatePresented,
    FailureReason,
    HandshakeError,
    PskRequested,
    RawPublicKeyPresented,
    ResumptionRequested,
    ServerEndpoint,
)
from gateway.identity import IdentityRefused, IdentityService, PskAnswer, Refusal, remember
from gateway.model import AuthKind, Principal
from gateway.server.lookups import Lookups
from gateway.server.metrics import SessionMetrics
from gateway.server.refusals import handshake_error
from gateway.server.session import Session
from gateway.telemetry import get_logger

Question = PskRequested | CertificatePresented | RawPublicKeyPresented | ResumptionRequested

_AUTH_KINDS: Final = {
    Authentication.PSK: AuthKind.PSK,
    Authentication.CERTIFICATE: AuthKind.X509,
    Authentication.RAW_PUBLIC_KEY: AuthKind.RPK,
}


class Identities:
    """From a question to its answer, with what log and metrics say about the look-up."""

    def __init__(
        self,
        endpoint: ServerEndpoint,
        identity: IdentityService,
        metrics: SessionMetrics,
        lookups: Lookups,
        *,
        backend: str,
        clock: Callable[[], float],
    ) -> None:
        """Connects the two.

        Args:
            endpoint: Who asks.
            identity: Who knows.
            metrics: Where look-ups are counted.
            lookups: Where they run.
            backend: The registry's kind, for the metrics.
            clock: The engine's time, for answers that come late.
        """
        self._endpoint = endpoint
        self._identity = identity
        self._metrics = metrics
        self._lookups = lookups
        self._backend = backend
        self._clock = clock
        self._log = get_logger("gateway.server").bind()

    def answer(self, question: Question, now: float) -> None:
        """Answers at once if nothing has to wait. An answer to a handshake that has ended meanwhile does nothing."""
        started = perf_counter()
        handshake = question.handshake
        match question:
            case PskRequested():

                def on_psk(answer: PskAnswer | None, error: Exception | None) -> None:
                    self._answer_psk(handshake, answer, self._judge("psk", started, error))

                self._lookups.run(self._identity.psk(question.identity, question.server_name), on_psk)
            case CertificatePresented():

                def on_chain(principal: Principal | None, error: Exception | None) -> None:
                    self._answer_certificate(handshake, principal, self._judge("x509", started, error))

                self._lookups.run(self._identity.certificate(question.chain, question.server_name), on_chain)
            case RawPublicKeyPresented():

                def on_key(principal: Principal | None, error: Exception | None) -> None:
                    self._answer_certificate(handshake, principal, self._judge("rpk", started, error))

                self._lookups.run(self._identity.raw_public_key(question.public_key), on_key)
            case ResumptionRequested():
                auth = _AUTH_KINDS[question.authentication]

                def on_session(principal: Principal | None, error: Exception | None) -> None:
                    self._answer_resumption(handshake, principal, self._judge(auth.value, started, error))

                self._lookups.run(
                    self._identity.resume(auth, question.identity, question.credential, question.server_name),
                    on_session,
                )
            case _:
                assert_never(question)

    def _answer_psk(
        self, handshake: int, answer: PskAnswer | None, refused: IdentityRefused | Exception | None
    ) -> None:
        now = self._clock()
        if answer is None:
            self._endpoint.provide_psk(
                handshake, None, now, refusal=_told(refused), context=getattr(refused, "device", None)
            )
            return
        principal = answer.principal
        self._endpoint.provide_psk(
            handshake, answer.key, now, context=Session(principal), credential=remember(principal)
        )

    def _answer_certificate(self, handshake: int, principal: Principal | None, refused: Exception | None) -> None:
        now = self._clock()
        if principal is None:
            self._endpoint.certificate_verdict(handshake, _told(refused), now, context=getattr(refused, "device", None))
            return
        if principal.created:
            self._log.info(
                "registry.device_created",
                device=principal.device.id,
                tenant=principal.device.tenant_id,
                anchor=principal.anchor_id,
                fingerprint=principal.fingerprint,
            )
        self._endpoint.certificate_verdict(
            handshake, None, now, context=Session(principal), credential=remember(principal)
        )

    def _answer_resumption(self, handshake: int, principal: Principal | None, refused: Exception | None) -> None:
        now = self._clock()
        if principal is None:
            # No failure yet: the full handshake that follows says what is wrong, if something is.
            if isinstance(refused, IdentityRefused):
                self._log.debug("dtls.resumption_refused", reason=refused.reason.value, hint=refused.detail)
            self._endpoint.resumption_verdict(handshake, False, now)
            return
        self._endpoint.resumption_verdict(handshake, True, now, context=Session(principal))

    def _judge(self, kind: str, started: float, error: Exception | None) -> Exception | None:
        """Counts a look-up, and says aloud what should not have happened."""
        if error is not None and not isinstance(error, IdentityRefused):
            # A fault of ours must not end the loop, nor let anybody in.
            self._log.error("identity.failed", exc_info=error)
            return error
        result = "hit"
        if error is not None:
            result = "error" if error.reason is Refusal.REGISTRY_UNAVAILABLE else "miss"
        self._metrics.lookups.add(kind, result)
        self._metrics.lookup_durations.observe(perf_counter() - started, self._backend)
        return error


def _told(refused: Exception | None) -> HandshakeError:
    if isinstance(refused, IdentityRefused):
        return handshake_error(refused)
    return HandshakeError(FailureReason.INTERNAL_ERROR, f"{type(refused).__name__} in the gateway; see the log")
