"""How much a peer may make the CoAP engine remember, and why that much."""

from typing import Final

# Requests remembered for de-duplication, for each peer. A client has NSTART = 1 confirmable request outstanding (RFC
# 7252 section 4.7), and DTLS drops replays before they come here, so the newest one nearly always does; 16 leaves room
# for a client with a burst of NON reports in flight.
DEDUPLICATION_ENTRIES: Final = 16

# Bytes. Responses above the first size are kept for repetition only while those of one peer fit into the second one:
# together with 16 small ones a peer holds 16 * 256 + 4096 = 8 kB at the very most.
LARGE_RESPONSE_BYTES: Final = 256
LARGE_RESPONSES_BYTES: Final = 4096

# Deferred requests and unacknowledged separate responses, for each peer; a new request past them gets 5.03. NSTART = 1
# again: eight is a client that ignores it, and a peer that never acknowledges holds eight datagrams for 93 s.
OPEN_EXCHANGES: Final = 8

# Datagrams queued until the shell fetches them, for all peers. The shell drains after every batch of at most some
# hundred datagrams, and each queues at most one; past it they are dropped as the network would.
QUEUED_DATAGRAMS: Final = 4096

# Bytes of request payload; more gets 4.13. RFC 7252 section 4.6 assumes 1024; whatever fits into one datagram of IPv6's
# minimum MTU is let through, so that only datagrams that IP had to fragment are refused.
REQUEST_PAYLOAD_BYTES: Final = 1280

# Bytes of a message to a peer of whom nothing else is known. RFC 7252 section 4.6: what fits a path of which nothing is
# known.
MESSAGE_BYTES: Final = 1152

# Seconds that the Max-Age of a 5.03 asks an overloading peer to wait: one worst-case ACK_TIMEOUT, rounded up.
RETRY_AFTER_S: Final = 5

# Requests of one client under way at once, requests without answer included.
CLIENT_EXCHANGES: Final = 64

# Separate responses a client remembers by message id, to acknowledge their repetitions without delivering them twice.
CLIENT_DEDUPLICATION_ENTRIES: Final = 16

# Requests of ours to one peer, those that observe its resources included; whoever asks for more is told so. A device
# answers one at a time (NSTART = 1): sixteen are minutes of work for one on a slow link.
OUTGOING_REQUESTS: Final = 16

# Events of notifications from peers that wait for the shell, which fetches them after every batch of some hundred
# datagrams; past it a notification is lost as in the network, and the next one brings the same state.
QUEUED_EVENTS: Final = 4096

# Seconds between two non-confirmable notifications to a peer whose round-trip time is not known (RFC 7641 section
# 4.5.1).
NON_GAP_S: Final = 3.0

# Observations at once. One device with more than sixteen does not know what it asked for; each costs about 2 kB
# with the request that the caller keeps of it, so that the second one is 200 MB.
OBSERVATIONS_OF_ONE: Final = 16
OBSERVATIONS: Final = 100_000

# Each tenth notification of an observation is confirmable: a client that went away is noticed after ten, and nine in
# ten cost one datagram. The second number is the most that may be configured.
CONFIRM_EVERY: Final = 10
CONFIRM_EVERY_MAX: Final = 1000

# Seconds after which a client must have confirmed that it still observes (RFC 7641 section 4.5).
CONFIRM_AFTER_S: Final = 24 * 3600.0

# Repetitions of a notification under one message id; after them it goes out as a new one. Several clients, libcoap up
# to 4.3.4 among them, do not acknowledge a repeated response a second time: who loses their one ACK would never hear
# of them again.
REPETITIONS_OF_ONE_ID: Final = 2

# Uploads that one device may have begun at once, by Request-Tag, to different resources or in several sessions. It has
# one, and one that it gave up; past it the one that was left longest goes.
UPLOADS_OF_ONE: Final = 4

# Uploads of all peers: a fleet of 10,000 that is asked for its logs at the same time. More get 5.03.
UPLOADS: Final = 10_000

# Bytes of the uploads of one device, in all its sessions, beyond which those that it left are given up: several small
# bodies fit, and the bound of a route's own body holds for the one that goes on.
UPLOAD_BYTES_OF_ONE: Final = 1024 * 1024

# Bytes of all uploads together: what a small machine can spare. More get 5.03 and try again.
UPLOAD_BYTES: Final = 64 * 1024 * 1024

# Bytes that an upload is counted as beside its body: its options, which hold up to a datagram, and the objects.
UPLOAD_OVERHEAD_BYTES: Final = 1024

# Responses kept for one device until their blocks are fetched. A client fetches one at a time.
BODIES_OF_ONE: Final = 4

# Bytes of them, which is the largest body that can be sent without an ETag; what is larger is a file and has one.
BODY_BYTES_OF_ONE: Final = 1024 * 1024

# Bytes of kept responses in all. Past it the one goes that nobody asked for longest: a GET of it runs again.
BODY_BYTES: Final = 64 * 1024 * 1024

# Bytes of a peer's response that are put together out of blocks: a device's log. It sends them only when asked.
DOWNLOAD_BYTES: Final = 1024 * 1024
