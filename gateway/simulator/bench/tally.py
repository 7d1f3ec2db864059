"""What one load process has counted of one round."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """Counts of a round.

    Attributes:
        done: Operations that succeeded.
        latencies_s: Of each of them, seconds: from before the first datagram of it was made to after the last was read.
        errors: Operations that failed, and sessions that were lost, by text.
        bytes_sent: UDP payload of the operations that succeeded, towards the gateway.
        bytes_received: The same of what came back.
        suites: Handshakes by cipher suite.
        began_at: When the first operation began, seconds on the machine's monotonic clock.
        ended_at: When the last one ended.
        cpu_s: User and system time of the load process.
    """

    done: int = 0
    latencies_s: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    bytes_sent: int = 0
    bytes_received: int = 0
    suites: Counter[str] = field(default_factory=Counter)
    began_at: float = 0.0
    ended_at: float = 0.0
    cpu_s: float = 0.0


def percentile(durations: list[float], percent: int) -> float:
    """The duration that so many percent do not exceed; 0.0 where there is none."""
    ordered = sorted(durations)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else 0.0
