"""Limits of the identity room: number, unit, reason."""

WEBHOOK_TIMEOUT_S = 4.0
"""Seconds for an answer of a webhook: a device repeats after 9 seconds (RFC 7925) and gives up after several."""

MAX_ISSUER_PATHS = 1_024
"""Paths above a device's certificate that are remembered, to judge sessions and tickets by: one for each
intermediate CA in use. A session under one that was forgotten ends at the next change of what is trusted, and its
device comes back."""

SHOWN_IDENTITY_BYTES = 64
"""Bytes of a PSK identity in a log line: enough to recognise it, whatever a stranger sends."""

MAX_RESOLVING = 16
"""Host names of webhooks and revocation lists that are resolved at once, a thread each. A name server that is silent
keeps such a thread for as long as the resolver of the system waits (resolv.conf: by default up to half a minute for
each name that is tried), whoever asked having given up."""
