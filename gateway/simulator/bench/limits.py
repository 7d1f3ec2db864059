"""Every bound of a benchmark: number, unit, reason. It measures a gateway, and must not be a tool to flood one."""

from typing import Final

MAX_BUSY_DEVICES: Final = 500
"""Devices of a process that are busy at once: more of them only wait longer in the gateway's queue."""

MAX_PROCESSES: Final = 16
"""Load processes: enough to keep a gateway of eight workers busy."""

MAX_ROUND_S: Final = 60.0
"""Seconds of a round: the spread of many short rounds says more than a long one."""

MAX_ROUNDS: Final = 20
"""Rounds of an operation."""

MAX_IDLE_SESSIONS: Final = 50_000
"""Sessions of the measurement of memory, each with a socket of its own in a load process."""

REMOTE_BUSY_DEVICES: Final = 16
"""Devices in all that are busy at once with a gateway on another machine: what a test bench on a desk has."""

REMOTE_OPERATIONS_PER_S: Final = 200
"""Handshakes or requests a second in all, with a gateway on another machine: its operator must hardly notice."""

REMOTE_ROUND_S: Final = 10.0
"""Seconds of a round with a gateway on another machine."""

DRAIN_S: Final = 15.0
"""Seconds for which what was begun in a round may still end: three repetitions of a flight. Longer counts as lost."""

MAX_FAILURES_IN_A_ROW: Final = 20
"""Failures without a success between them after which a process stops: with wrong credentials all of them fail."""

BEGUN_A_TURN: Final = 16
"""Operations begun before answers are read again: a handshake takes the client half a millisecond."""

START_S: Final = 60.0
"""Seconds for a throw-away gateway, or a load process, to be there."""

INTERRUPTED_S: Final = 1.0
"""Seconds that a load process gets to say goodbye when a benchmark is interrupted, in the middle of a round."""

STOP_S: Final = 30.0
"""Seconds for a throw-away gateway, or a load process, to end."""

KEPT_SOCKETS: Final = 64
"""Files that a load process has open beside its devices' sockets."""

CERTIFICATES: Final = 64
"""Devices with a certificate on a throw-away gateway; each load process has its share of them."""
