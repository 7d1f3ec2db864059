"""Every bound of this room: number, unit, reason."""

from typing import Final

MAX_CONNECTIONS: Final = 8
"""Connections served at once, one thread each. Two scrapers and two probes are the usual crowd."""

BACKLOG: Final = 16
"""Connections that the kernel keeps waiting."""

IO_TIMEOUT_S: Final = 5.0
"""Seconds that a client may take to send its whole request, and again for each write of the answer; then its thread is
free again. A scraper on the same network needs milliseconds."""

HEARTBEAT_LIMIT_S: Final = 10.0
"""Seconds without a beat after which the event loop counts as stuck: well above any garbage collection or disk stall,
and below what an orchestrator waits before it gives up on a container (three probes of ten seconds)."""

MAX_REASON: Final = 200
"""Characters of what a failing check says about itself."""

MAX_BODY: Final = 64 * 1024
"""Bytes of a request's body: a payload for a device in base64, and the words around it."""
