"""What a worker says of itself: in the log where it is alone, else to its supervisor, which speaks for all."""

import time
from collections.abc import Mapping
from typing import Final

from gateway import __version__, is_compiled
from gateway.registry import Counts
from gateway.server.channel import Message
from gateway.server.own_certificates import certificate_doubts
from gateway.server.plan import Plan
from gateway.server.seat import Seat
from gateway.server.service import Bound
from gateway.telemetry import get_logger

ALIVE: Final[Message] = {"kind": "alive"}


class Reports:
    """Of one worker."""

    def __init__(self, seat: Seat | None) -> None:
        """Says nothing yet.

        Args:
            seat: Of one of several; None for a worker that is alone.
        """
        self._seat = seat
        self._log = get_logger("gateway.server")

    def started(self, bound: Bound, counts: Counts, plan: Plan, *, routes: int) -> None:
        """Everything is there."""
        said: dict[str, object] = {
            "devices": counts.devices,
            "trust_anchors": counts.trust_anchors,
            "certificate": bool(plan.certificates),
            "routes": routes,
        }
        if self._seat is None:
            log_start(bound, said)
        else:
            self._seat.channel.send({"kind": "serving", **said})
        self._doubt(plan)

    def alive(self) -> None:
        """Its event loop turns. A supervisor that does not hear so for long takes the worker for stuck."""
        if self._seat is not None:
            self._seat.channel.send(ALIVE)

    def taken_up(self, plan: Plan) -> None:
        """What is in force from now on: the supervisor gives it to a worker that it starts again."""
        if self._seat is not None:
            self._seat.channel.send({"kind": "settings", "settings": plan.settings.model_dump_json()})
        self._doubt(plan)

    def stopping(self, sessions: int) -> None:
        """Its sessions end."""
        if self._seat is None:
            self._log.info("server.stopping", sessions=sessions)
        else:
            self._log.info("worker.stopping", sessions=sessions)

    def stopped(self) -> None:
        """Nothing is left of it. A supervisor sees that for itself."""
        if self._seat is None:
            self._log.info("server.stopped")

    def _doubt(self, plan: Plan) -> None:
        """Says, once for all workers, which of the server's certificates devices may refuse for their dates."""
        if self._seat is not None and self._seat.worker != 0:
            return
        for doubt in certificate_doubts(plan.settings.dtls, plan.certificates, time.time()):
            self._log.warning(
                "server.certificate_doubtful",
                file=str(doubt.file),
                certificate=doubt.certificate,
                state=doubt.state.value,
                not_before=doubt.not_before,
                not_after=doubt.not_after,
                hint=doubt.hint,
            )


def log_start(bound: Bound, said: Mapping[str, object], workers: int = 1) -> None:
    """The line that operators and their scripts wait for.

    Args:
        bound: Where the gateway listens.
        said: Of a worker: devices, trust_anchors, certificate, routes.
        workers: How many serve.
    """
    get_logger("gateway.server").info(
        "server.started",
        version=__version__,
        compiled=is_compiled(),
        udp=str(bound.udp),
        admin=str(bound.admin),
        workers=workers,
        devices=said["devices"],
        trust_anchors=said["trust_anchors"],
        certificate=said["certificate"],
        routes=said["routes"],
    )
