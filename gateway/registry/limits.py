"""Limits of the registry: number, unit, reason."""

MAX_DEVICE_ID_CHARACTERS = 128
"""Characters of a device or tenant id; the same as a device name in a certificate. Keeps index keys small."""

MAX_PSK_IDENTITY_BYTES = 256
"""Bytes of a PSK identity. RFC 4279 section 5.3 obliges to support 128; OpenSSL and Mbed TLS send up to 256."""

MIN_PSK_BYTES = 16
"""Bytes of a pre-shared key. A key below the cipher's 128 bits can be guessed offline from one recorded handshake."""

MAX_PSK_BYTES = 64
"""Bytes of a pre-shared key. RFC 4279 section 5.3 obliges to support 64; more adds nothing to a 256-bit PRF."""

MAX_PUBLIC_KEY_BYTES = 1024
"""Bytes of a raw public key as DER; one on P-256 has 91, RSA-4096 550."""

MAX_DEVICES_PER_TENANT = 1_000_000
"""Devices of a tenant. Whoever holds a factory CA's key can make devices at will; this bounds the disk it costs."""

MAX_CERTIFICATE_BYTES = 8 * 1024
"""Bytes of a stored certificate; a root with RSA-4096 and many extensions has 2,500."""

BUSY_TIMEOUT_MS = 1_000
"""Milliseconds that a write waits for another process's write, the event loop with it. Reads never wait (WAL)."""

MAX_CACHED_CREDENTIALS = 20_000
"""Credentials of each kind that a process keeps in memory, about 1 kB each: the fleet of one process, or nearly."""

CACHE_CHECK_S = 0.5
"""Seconds after which another process's changes are looked for: who disables a device has waited a second at most."""

PAGE_CACHE_KIB = 512
"""KiB of the database's pages that SQLite keeps (its own default is 2,000): the inner pages of the indexes of half a
million devices. What handshakes read again is in memory as values, and the operating system keeps the pages too."""

MAX_CHANGE_LOG_ROWS = 10_000
"""Changes that are kept for other processes' caches. Whoever has missed more forgets everything, which is right too."""

MAX_PATTERN_STEPS = 10_000_000
"""Steps that an anchor's pattern may take on a name of 128 characters, as counted from its text, which is above the
true number: three repetitions without bound count 6 million and take 10 ms of the event loop, the worst known 70."""

MAX_QUARANTINED_PER_ANCHOR = 10_000
"""Devices in quarantine that one trust anchor may bring: enough to see what happens, bounded if a factory's
key leaks."""

MAX_BANS = 10_000
"""Banned certificates, each 64 bytes in the memory of every process. Whoever has more to revoke needs a list."""

MAX_CRL_BYTES = 16 * 1024 * 1024
"""Bytes of a stored revocation list: 400,000 entries of 40 bytes."""

MAX_TAGS = 32
"""Tags of a device; they are in memory while it has a session."""

MAX_TAG_CHARACTERS = 64
"""Characters of a tag, and of an attribute's name."""

MAX_ATTRIBUTES = 32
"""Attributes of a device; they are in memory while it has a session."""

MAX_ATTRIBUTE_CHARACTERS = 256
"""Characters of an attribute's value."""

MAX_TENANTS_NAMED = 3
"""Other tenants with a device of that name that an error names: enough to see that it is not unique, on one line."""

DATABASE_CONNECTIONS = 5
"""Connections of a process to PostgreSQL: as many look-ups at once; its default limit is 100 for all clients."""

DATABASE_CONNECT_S = 3.0
"""Seconds for a connection to PostgreSQL: a device waits 9 seconds before it repeats (RFC 7925)."""

DATABASE_STATEMENT_S = 5.0
"""Seconds for a statement of PostgreSQL."""

DATABASE_REST_S = 1.0
"""Seconds in which PostgreSQL is not asked again after it could not be reached."""

DATABASE_WRITE_LOCK = 0x6474_6C73
"""The number of the advisory lock by which writers to PostgreSQL take turns ("dtls"): anything that nobody else
uses."""

MASTER_KEY_BYTES = 32
"""Bytes of a master key, and of a data key: AES-256."""

DERIVED_PSK_BYTES = 16
"""Bytes of a derived pre-shared key: the cipher suites' 128 bits, and all that small stacks take (tinydtls)."""

KEY_TAG_BYTES = 16
"""Bytes of the tag that finds equal keys: among a million keys no two different ones meet (2^-89)."""

MAX_GENERATION = 2**31 - 1
"""Generations of a derived key: the column's range."""

RESEAL_BATCH = 200
"""Rows that one transaction of `keys rotate` seals anew: some 10 ms, for which other writers wait."""

IMPORT_BATCH = 500
"""Rows that one transaction of an import adds: some 50 ms, for which other writers wait."""

USED_BATCH = 500
"""Credentials that one statement asks for; a database takes some ten thousand parameters."""

MAX_IMPORT_LINE_BYTES = 64 * 1024
"""Bytes of a line of a file of devices: names, a key and 32 tags of 64 characters have below 4 kB."""
