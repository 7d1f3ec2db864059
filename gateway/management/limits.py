"""Limits of the management room: number, unit, reason."""

from typing import Final

MAX_PAGE: Final = 1_000
"""Rows of one answer that comes in pages: about 300 kB, and some 20 ms in which the registry is read."""

DEFAULT_PAGE: Final = 100
"""Rows of a page where nobody says."""

MAX_TEXT: Final = 4_096
"""Characters of a name in a request. What the registry takes is far shorter; this bounds what a refusal repeats."""

MAX_NOTE: Final = 1_024
"""Characters of what an operator writes about a device, a ban or a tenant."""

MAX_CERTIFICATES_TEXT: Final = 1024 * 1024
"""Characters of a PEM bundle: several hundred CAs."""

MAX_CRL_TEXT: Final = 24 * 1024 * 1024
"""Characters of a revocation list as PEM: all that the registry keeps. Over HTTP, the size of a body is the bound."""

MAX_PREVIEW_CHAINS: Final = 2_000
"""Chains that are looked at before a CA is trusted: all that a gateway remembers; each costs 0.3 ms."""

MAX_MANIFEST: Final = 100_000
"""Names of a manufacturer's list in one request; below the size of a body."""

REMOTE_TIMEOUT_S: Final = 30.0
"""Seconds that a command waits for another gateway's answer: a write may wait for other writers."""

MAX_ANSWER: Final = 16 * 1024 * 1024
"""Bytes of an answer that a command reads: a page of devices with all their tags and attributes has 5 MB at most."""

MAX_TOKEN_FILE: Final = 64 * 1024
"""Bytes of a file with tokens: several hundred of them."""
