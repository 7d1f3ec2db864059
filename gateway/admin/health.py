"""What `/livez` and `/readyz` answer. Both come from plain callables, so that any room can add a check."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.admin.limits import HEARTBEAT_LIMIT_S, MAX_REASON
from gateway.telemetry import get_logger

Check = Callable[[], str | None]
"""Returns None when all is well, else one sentence on what is not. Runs in a thread of the admin server."""


@dataclass(frozen=True, slots=True)
class Health:
    """An answer.

    Attributes:
        ok: 200 or 503.
        body: What the JSON body says.
    """

    ok: bool
    body: dict[str, Any]


def liveness(loop_age_s: float, limit_s: float = HEARTBEAT_LIMIT_S) -> Health:
    """Whether the event loop still turns. Nothing else: a restart would not repair a registry.

    Args:
        loop_age_s: Seconds since the loop's last heartbeat.
        limit_s: More than this is stuck.
    """
    alive = loop_age_s <= limit_s
    return Health(
        alive,
        {"status": "alive" if alive else "stuck", "loop_age_seconds": round(loop_age_s, 3), "limit_seconds": limit_s},
    )


def readiness(checks: Mapping[str, Check]) -> Health:
    """Whether devices should be sent here: every check must pass. One that raises has failed."""
    answers = {name: _run(name, check) for name, check in checks.items()}
    failing = sorted(name for name, problem in answers.items() if problem is not None)
    body = {
        "status": "not ready" if failing else "ready",
        "failing": failing,
        "checks": {name: "ok" if problem is None else problem for name, problem in answers.items()},
    }
    return Health(not failing, body)


def _run(name: str, check: Check) -> str | None:
    try:
        problem = check()
    except Exception as error:
        # The text of the exception may hold a path or an address of the inside: it goes to the log, not to the port.
        get_logger("gateway.admin").exception("health.check_failed", check=name)
        return f"check raised {type(error).__name__}"
    return None if problem is None else problem[:MAX_REASON]
