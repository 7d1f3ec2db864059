"""Every limit of the shell: number, unit, reason."""

from typing import Final

RECEIVE_BATCH: Final = 64
"""Datagrams read before the event loop gets its turn: enough to make the turn cheap, short enough (2-20 ms) for it."""

HANDSHAKE_BUDGET_S: Final = 0.002
"""Seconds of a wake-up that go into handshakes and whatever else is no application data of a session, at least one
datagram: so much later, and no more, a request is read that comes meanwhile."""

MAX_POSTPONED: Final = 4
"""Wake-ups in a row that a full batch may leave handshakes for the next one: to get at the requests in the kernel's
queue, which may stand behind a storm."""

MAX_DATAGRAM: Final = 65535
"""Bytes read of one datagram: all that UDP can carry, so that nothing is cut off and taken for forged."""

RECEIVE_BUFFER: Final = 4 * 1024 * 1024
"""Bytes asked of the kernel for datagrams that wait (it grants at most net.core.rmem_max): a reconnect storm of some
thousand devices while a certificate is verified."""

SEND_QUEUE: Final = 4096
"""Datagrams kept while the kernel takes none. UDP may lose datagrams, and above this number it does: counted."""

RETRY_AFTER_S: Final = 5
"""Seconds (Max-Age of a 5.03) after which a device may ask again when too many handlers run."""

MAX_BUCKETS: Final = 100_000
"""Devices, and tenants, whose rate is remembered: about 20 MB. Past it the one that was silent longest starts anew."""

SLOW_HANDLER_S: Final = 0.05
"""Seconds of a plain handler after which it is logged: it stood in everybody's way."""

HEARTBEAT_S: Final = 0.5
"""Seconds between two beats of the event loop, which /livez and the lag metric go by."""

STALL_S: Final = 10.0
"""Seconds without a beat after which /livez fails. No handshake or plain handler may take a hundredth of it."""

MAX_ANCHOR_SERIES: Final = 100
"""Trust anchors whose end is a metric; an operator with more of them watches the earliest in the registry."""

MAX_FAILURES_PER_REASON: Final = 32
"""Failed handshakes remembered of each reason: some thousand in all, about a megabyte."""

MAX_FAILURE_TEXT: Final = 500
"""Characters of a hint or name kept with one: a stranger chooses some of them."""

COLLECT_AFTER_OBJECTS: Final = 20_000
"""Containers made, less those freed, before the garbage collector looks at the young ones: a few megabytes at most."""

COLLECT_OLDER_AFTER: Final = 20
"""Collections of one generation before the next older one is looked at."""
