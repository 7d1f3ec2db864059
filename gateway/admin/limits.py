"""Every bound of this room: number, unit, reason."""

from typing import Final

MAX_CONNECTIONS: Final = 8
"""Connections served at once, one thread each. Two scrapers and two probes are the usual crowd. One more takes the
place of the oldest that has not sent its request."""

YIELD_S: Final = 1.0
"""Seconds in which the thread of such a connection has to notice. It is woken up, and needs a millisecond."""

BACKLOG: Final = 16
"""Connections that the kernel keeps waiting."""

IO_TIMEOUT_S: Final = 5.0
"""Seconds that a client may take to send its whole request, and again for each write of the answer; then its thread is
free again. A scraper on the same network needs milliseconds."""

HEARTBEAT_LIMIT_S: Final = 10.0
"""Seconds without a beat after which the event loop counts as stuck: well above any garbage collection or disk stall,
and below what an orchestrator waits before it gives up on a container (three probes of ten seconds)."""

MAX_SHOWN_HOST: Final = 253
"""Characters of a refused Host in the refusal: what a name in the DNS can have."""

MAX_REASON: Final = 200
"""Characters of what a failing check says about itself."""

MAX_BODY: Final = 64 * 1024
"""Bytes of a request's body: a payload for a device in base64, and the words around it."""

MAX_MANAGEMENT_BODY: Final = 4 * 1024 * 1024
"""Bytes of a request's body to the management API: a manufacturer's list of 100,000 serials. Read only for those with a
token."""

MAX_TOKENS: Final = 100
"""Tokens in a file; each is compared with every one."""

MIN_TOKEN: Final = 32
"""Characters of a token: 192 bits in base64. Nobody remembers tokens, so nothing speaks for a shorter one, and nothing
else stands against guessing: a right token is let in after any number of wrong ones."""

MAX_TOKEN: Final = 256
"""Characters of a token."""

TOKEN_FAILURES: Final = 10
"""Wrong tokens that one address may show at once before further ones get 429: somebody who has mixed up files."""

TOKEN_FAILURES_PER_S: Final = 0.2
"""And how many it may show from then on, a second."""

MAX_REMEMBERED_PEERS: Final = 1_024
"""Addresses whose wrong tokens are counted; the one that was quiet longest is forgotten for a new one."""
