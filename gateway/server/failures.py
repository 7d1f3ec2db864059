"""The last handshakes that failed, for whoever asks why a device cannot connect.

Kept by reason, a few of each, so that a flood of one kind does not push the others out; what repeats from one host is
one entry with a number. Plain values only: no keys, no bytes of strangers. Written by the event loop, read by the
threads of the admin server, which only ever see whole entries.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from gateway.dtls import FailureReason
from gateway.server.limits import MAX_FAILURE_TEXT, MAX_FAILURES_PER_REASON
from gateway.server.remedies import REMEDY_FOR


@dataclass(frozen=True, slots=True)
class Failure:
    """A handshake that failed, or several of the same kind from the same host.

    Attributes:
        last_at: When the newest of them ended, seconds since the epoch.
        first_at: When the oldest of them did.
        count: How many they were.
        reason: See `FailureReason`.
        hint: What the log line says.
        peer: Address and port of the newest.
        device: The one that the peer claimed to be and did not prove to be; None where it named none that exists.
        tenant: Its tenant.
        alert: Name of the alert that was sent or received.
        auth: How the peer was to prove itself.
        suite: What was negotiated.
        suite_offer: What the peer offered.
        server_name: What the peer called us.
        duration_ms: From the verified cookie to the end.
        retransmissions: Flights that were sent again.
    """

    last_at: float
    first_at: float
    count: int
    reason: FailureReason
    hint: str
    peer: str
    device: str | None
    tenant: str | None
    alert: str | None
    auth: str
    suite: str | None
    suite_offer: tuple[str, ...]
    server_name: str | None
    duration_ms: float
    retransmissions: int

    def as_json(self) -> dict[str, Any]:
        """Plain values, times as RFC 3339, with what to do about it."""
        shown = asdict(self)
        shown["last_at"], shown["first_at"] = _shown(self.last_at), _shown(self.first_at)
        shown["reason"] = self.reason.value
        shown["suite_offer"] = list(self.suite_offer)
        return {**shown, "remedy": REMEDY_FOR[self.reason]}


class Failures:
    """A bounded memory of failures."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """With a clock that gives seconds since the epoch."""
        self._clock = clock
        self._kept: dict[FailureReason, dict[tuple[str, ...], Failure]] = {reason: {} for reason in FailureReason}

    def __len__(self) -> int:
        return sum(map(len, self._kept.values()))

    def add(
        self,
        host: str,
        *,
        reason: FailureReason,
        hint: str,
        server_name: str | None,
        **facts: Any,
    ) -> None:
        """Keeps one; the newest of its reason stay.

        Args:
            host: Where it came from, without the port.
            reason: Typed.
            hint: Words for the operator; perhaps with a stranger's words in them.
            server_name: A stranger's word.
            facts: The other attributes of `Failure` but the times and the number.
        """
        now = self._clock()
        hint = hint[:MAX_FAILURE_TEXT]
        name = server_name[:MAX_FAILURE_TEXT] if server_name is not None else None
        kept = self._kept[reason]
        key = (host, facts["device"] or "", hint)
        before = kept.pop(key, None)
        failure = Failure(last_at=now, first_at=now, count=1, reason=reason, hint=hint, server_name=name, **facts)
        if before is not None:
            failure = replace(failure, first_at=before.first_at, count=before.count + 1)
        while len(kept) >= MAX_FAILURES_PER_REASON:
            del kept[next(iter(kept))]
        kept[key] = failure

    def newest(self) -> list[Failure]:
        """All that are kept, the newest first; safe in any thread."""
        found = [failure for kept in self._kept.values() for failure in list(kept.values())]
        return sorted(found, key=lambda failure: failure.last_at, reverse=True)


def _shown(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
