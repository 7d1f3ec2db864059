"""Every limit of the DTLS engine: number, unit, reason. A container that a peer can grow names its limit here."""

from typing import Final

# --- datagrams and records -------------------------------------------------------------------------------------

MAX_PLAINTEXT: Final = 1 << 14
"""Bytes of plaintext in a record (RFC 5246 section 6.2.1)."""

MIN_RECORD_SIZE_LIMIT: Final = 64
"""Bytes of the smallest record_size_limit that a peer may ask for (RFC 8449 section 4)."""

SMALL_PLAIN_RECORD: Final = 512
"""Bytes of plain records below which a peer's record_size_limit no longer makes them smaller: headers would prevail."""

MAX_RECORD_EXPANSION: Final = 8 + 16
"""Bytes that our AEAD suites add at most: explicit nonce and tag (RFC 5288 section 3, RFC 6655 section 3)."""

MAX_WRITE_SEQUENCE: Final = (1 << 48) - 1
"""Record number that is never reached: the association is closed instead (RFC 6347 section 4.1, "MUST NOT wrap")."""

MAX_GCM_RECORDS: Final = 23_726_566
"""Records that are sealed with one AES-GCM key, 2**24.5 (RFC 9325 section 4.4); then the association is closed. The
other suites' bounds are beyond what a device sends in years: for them MAX_WRITE_SEQUENCE counts."""

REPLAY_WINDOW: Final = 64
"""Records behind the newest one that are still accepted once (RFC 6347 section 4.1.2.6: 64 is preferred)."""

MAX_RECORDS_PER_DATAGRAM: Final = 32
"""Records read from one datagram. The largest honest flight packs about ten; the rest is work for nothing."""

MIN_DATAGRAM_PAYLOAD: Final = 192
"""Bytes of UDP payload below which we refuse to be configured: a handshake fragment would be nearly all header."""

DEFAULT_DATAGRAM_PAYLOAD: Final = 1232
"""Bytes of UDP payload that fit the smallest IPv6 path, 1280 - 40 - 8 (RFC 8200 section 5)."""

FALLBACK_DATAGRAM_PAYLOADS: Final = (512, 256)
"""Bytes of UDP payload of flights that are repeated in vain. 512 fits the 576 bytes that every IPv4 host takes; 256
what is left where a narrow radio link is tunnelled. Less would be mostly headers."""

LEAST_PIECE: Final = 16
"""Bytes of a handshake message in a datagram that headers alone make longer than it should be: a peer's connection id
may have 255 bytes. A Finished is in one piece then."""

REPETITIONS_AT_ONE_SIZE: Final = 2
"""Repetitions of a handshake's flights after which its datagrams get smaller: two losses in a row are bad luck, a third
is perhaps the size."""

# --- hello -----------------------------------------------------------------------------------------------------

MIN_COOKIE_SECRET_LENGTH: Final = 16
"""Bytes of the secret behind the cookies: 128 bits cannot be guessed."""

COOKIE_LENGTH: Final = 16
"""Bytes of cookie: 128 bits cannot be guessed, and the HelloVerifyRequest stays smaller than any ClientHello."""

COOKIE_PERIOD_S: Final = 60.0
"""Seconds after which the cookie key changes; the previous one is accepted too, so a cookie lives 60-120 s: longer
than the slow clients' whole exchange (RFC 7925 section 11: 9 s timer)."""

MAX_HELLO_SEQUENCE: Final = 1 << 32
"""Record number of a ClientHello beyond which it is ignored. Our first records go on from it, and must not run out."""

MAX_HELLO_MESSAGE_SEQ: Final = 255
"""Message number of a ClientHello beyond which it is ignored. Honest ones have 0 or 1, one more for each cookie that
expired on the way; our messages are numbered on from it, in 16 bits."""

MAX_EXTENSIONS: Final = 64
"""Extensions in one hello. The longest seen from real clients has 14."""

MAX_REMEMBERED_SUITES: Final = 128
"""Suites of a ClientHello that are remembered for the operator while the handshake lasts. A hello has room for 8,000,
which would take 300 kB. OpenSSL with everything switched on offers about 130."""

# --- handshake -------------------------------------------------------------------------------------------------

MAX_HANDSHAKE_MESSAGE: Final = 16 * 1024
"""Bytes of one handshake message. Four certificates of a large RSA chain are about 8 kB."""

MAX_REASSEMBLY_BYTES: Final = 32 * 1024
"""Bytes that one handshake buffers for messages that are incomplete or early."""

MAX_REMEMBERED_OFFERS: Final = 64
"""Different offers of clients of which is remembered what was agreed on: firmwares in use, a few hundred bytes each."""

MAX_REMEMBERED_OFFER: Final = 512
"""Bytes of an offer that is worth remembering; one with a ticket in it does not come again."""

MAX_FRAGMENTS: Final = 160
"""Fragments kept of one message: 16 kB in pieces of about 100 bytes."""

MAX_FUTURE_MESSAGES: Final = 6
"""Messages ahead of the expected one that are buffered: the longest flight of a client has five."""

MAX_EARLY_RECORDS: Final = 2
"""Records of the next epoch kept while the handshake cannot open them yet (RFC 6347 section 4.1)."""

MAX_EARLY_RECORD_BYTES: Final = 512
"""Bytes of such a record. Finished has 40 to 48; a first request of a device that does not wait fits too."""

PIECE_OVERHEAD: Final = 120
"""Bytes that a kept fragment costs beside its data, counted against MAX_REASSEMBLY_BYTES."""

MAX_REPEATS: Final = 16
"""Times that a flight goes out again because the peer repeats its own. More only serves who amplifies."""

MAX_REMEMBERED_RECORDS: Final = 64
"""Plain records of one handshake of which is known what they carried: three copies of a flight in twenty pieces. A
ChangeCipherSpec after one that was not remembered counts as one after a record that got lost."""

MAX_HANDSHAKES: Final = 10_000
"""Handshakes in progress at once: about 5 kB each, and at most about 30 kB when a peer fills every buffer."""

KEY_SHARES_AHEAD: Final = 64
"""Ephemeral keys of one group that are made ahead, 1.5 kB each: the first ones of a burst of handshakes take them."""

SPARED_SHARE: Final = 8
"""With one in so many places for handshakes taken, a client that resumes needs a cookie like everybody: who repeats
somebody's hello from forged addresses may take no place from those that showed theirs."""

MAX_REASSEMBLY_TOTAL: Final = 32 * 1024 * 1024
"""Bytes that all handshakes together buffer for incomplete and early messages: 8,000 devices that are each in the
middle of a certificate chain of 4 kB. Beyond it, the handshake that holds most of the oldest is given up."""

USUAL_TRANSCRIPT: Final = 16 * 1024
"""Bytes of messages that a handshake keeps until it ends and that do not count against MAX_REASSEMBLY_TOTAL: our chain
and the device's, of 4 kB each, with much to spare. A hello and a chain of 16 kB each, of ten thousand, would be 300 MB.
"""

MAX_WAITING: Final = 4096
"""Handshakes that wait for the shell's answer, or for their turn to ask. A registry that answers within 100 ms lets
40,000 a second pass; beyond this number it is too slow for whoever comes, and a device does better to come again."""

BACKOFF_FREE: Final = 5
"""Failures of one credential from one network without a consequence: typing errors, a restart, a slow registry."""

BACKOFF_FIRST_S: Final = 0.5
"""Seconds that the next look at that credential waits; doubles with each further failure."""

BACKOFF_CAP_S: Final = 8.0
"""Seconds of the longest wait: within the patience of every client seen (the least, of 15 s, repeats its flight at 1,
3, 7 s), so that a device that has the right key gets in also while somebody else tries wrong ones in its name."""

BACKOFF_DECAY_S: Final = 15.0
"""Seconds in which one failure of a credential is forgotten."""

NETWORK_BACKOFF_FREE: Final = 64
"""Failures of one network without a consequence. Behind the addresses of one mobile operator are thousands of
devices."""

NETWORK_BACKOFF_FIRST_S: Final = 0.25
NETWORK_BACKOFF_CAP_S: Final = 2.0
"""Seconds that the next look at any credential from that network waits, at first and at most: also honest devices
wait."""

NETWORK_BACKOFF_DECAY_S: Final = 1.0
"""Seconds in which one failure of a network is forgotten: a failure a second, a thousand devices with a wrong key that
try each quarter of an hour, has no consequence."""

MAX_BACKOFF_ENTRIES: Final = 4096
"""Credentials, and networks, whose failures are remembered: 200 bytes each."""

COOKIE_LOOP_HELLOS: Final = 8
"""ClientHellos of one network with a cookie that is not ours, in one period of the cookie, after which this is reported
once. An honest client has one whose cookie is too old; eight are a middlebox or another gateway behind the address."""

COOKIE_LOOP_SLOTS: Final = 256
"""Networks that are told apart while counting those, as slots of one fixed array: nothing grows with who sends."""

HANDSHAKE_TIMEOUT_S: Final = 120.0
"""Seconds from the verified cookie to Finished. Slow radio links retransmit at 9, 18, 36 s (RFC 7925 section 11)."""

RETRANSMIT_INITIAL_S: Final = 1.0
"""Seconds to a client's first retransmission (RFC 6347 section 4.2.4.1)."""

SERVER_RETRANSMIT_INITIAL_S: Final = 2.0
"""Seconds to a server's first retransmission: later than the client's, which is a second as a rule and brings whatever
is missing. If both were the same, the repetitions would cross each time a client's whole flight got lost: twice the air
time, and libcoap on GnuTLS 3.7 then repeats nothing any more. With 1.2 s it never got through, from 1.5 s on it did."""

REMINDER_INTERVALS: Final = 10
"""Initial intervals after which a flight goes out again although the peer has begun to answer it: time for four
repetitions of the peer's own, after 1, 3, 7 and 15 s, and away from the fifth (31 s)."""

RETRANSMIT_MAX_S: Final = 60.0
"""Seconds at which the doubling stops (RFC 6347 section 4.2.4.1)."""

MIN_REPEAT_INTERVAL_S: Final = 0.2
"""Seconds between two repetitions of a flight that the peer's own repetition asked for."""

LINGER_S: Final = 240.0
"""Seconds that the last flight is kept for a peer that did not get it: two maximum segment lifetimes (RFC 6347
section 4.2.4)."""

TIMER_SLACK: Final = 64
"""Timers of ended handshakes that are kept before they are cleared away."""

CLIENT_HANDSHAKE_TIMEOUT_S: Final = LINGER_S
"""Seconds that our client tries: as long as a server answers for its last flight. In 120 s the doubling leaves only
seven attempts, and at 20% loss one handshake in some thousands loses them all."""

MAX_SETTLED: Final = 4096
"""Failed handshakes remembered, so that a late copy of their ClientHello does not begin another one."""

MAX_CERTIFICATES: Final = 8
"""Certificates in one chain; the path is bounded again, at 4, by the verifier."""

MIN_RSA_BITS: Final = 2048
"""Bits of a server's RSA key (RFC 9325 section 4.5: at least 2048)."""

MAX_RSA_BITS: Final = 4096
"""Bits of a server's RSA key: a signature with 4096 bits costs about 5 ms, fifty times what a whole handshake costs
otherwise, and what every client can make a server do must not be dearer."""

MAX_PSK_IDENTITY: Final = 1024
"""Bytes of a PSK identity; RFC 4279 section 5.3 asks for 128 at least."""

# --- resumption ------------------------------------------------------------------------------------------------

TICKET_LIFETIME_S: Final = 24 * 3600.0
"""Seconds after the full authentication for which a session can be resumed, unless it is configured."""

MAX_TICKET_LIFETIME_S: Final = 7 * 24 * 3600.0
"""Seconds that can be configured for it, and how long a ticket key is in use at most (RFC 9325 section 3.4)."""

MAX_CLOCK_SKEW_S: Final = 300
"""Seconds by which a session may seem to be from the future: the clocks of two machines that share ticket keys."""

MAX_TICKET: Final = 1024
"""Bytes of a ticket that is given out or looked at. One with usual names has about 200; the client keeps it in flash
and sends it over its radio."""

MAX_TICKET_SECRETS: Final = 3
"""Secrets that open tickets at once: the one in use, the one before, and the one to come."""

MAX_CACHED_SESSIONS: Final = 10_000
"""Sessions kept for clients that know session ids only: about 600 bytes each. Beyond it the stalest one goes."""

MAX_CACHED_SESSIONS_PER_IDENTITY: Final = 2
"""Sessions kept of one identity: the newest, and the one before, whose client may not have got our last flight. Who
holds one device's key drives no other device out."""

SESSION_ID_LENGTH: Final = 32
"""Bytes of a session id, the most that RFC 5246 section 7.4.1.2 allows: nobody guesses one."""

MAX_RESUMED_NAME: Final = 255
"""Characters of a server name that a session is kept with; longer ones are no DNS names (RFC 1035 section 2.3.4)."""
# --- connection ids --------------------------------------------------------------------------------------------

CONNECTION_ID_LENGTH: Final = 8
"""Bytes of the server's connection ids: one names the node, one the worker, six are random. 2**48 make a hit among
200,000 sessions a matter of a billion guesses, of which each still fails to authenticate."""

CONNECTION_ID_PREFIX_LENGTH: Final = 2
"""Of these, the bytes that name node and worker."""

AMPLIFICATION_FACTOR: Final = 3
"""Bytes sent to an address that has not shown itself to be the peer's, for each byte received from there (RFC 9853
section 5; the number is QUIC's, RFC 9000 section 8)."""

MAX_PATH_CHECKS: Final = 4096
"""Return routability checks at once: about 500 bytes each. Beyond it a session keeps its old address until
its next record."""

PATH_CHECK_TIMEOUT_S: Final = 1.0
"""Seconds for the answer to a challenge where the round-trip time is unknown (RFC 9853 section 5.5)."""

PATH_CHECK_ROUND_TRIPS: Final = 3
"""Round-trip times for the answer where one is known (RFC 9853 section 5.5); also challenges sent in that time, one a
round trip (section 5.3)."""

MIN_PATH_CHECK_TIMEOUT_S: Final = 0.1
"""Seconds that a challenge gets at least: the new path may be slower than the one whose round trip was measured."""

UNKNOWN_SESSION_ALERTS_PER_S: Final = 50
"""Alerts a second for records of unknown sessions, with `unknown_session = "alert"`: 750 bytes, whoever asks."""

MAX_ARRIVALS: Final = 65_536
"""Datagrams of handshakes that wait for CPU time, some 250 bytes each beside their own: a hello of each of 50,000
devices that lost their gateway at the same moment. What finds no place is repeated by its sender, later each time."""

MAX_ARRIVALS_BYTES: Final = 16 * 1024 * 1024
"""Bytes of them: those hellos, or the certificates of 10,000 handshakes that are under way."""

TURNS_OF_THE_FIRST: Final = 8
"""Every so many datagrams of handshakes, those have a turn that are not first in order, one kind after the other."""

# --- associations ----------------------------------------------------------------------------------------------

MAX_ASSOCIATIONS: Final = 200_000
"""Established associations; beyond it a stale one is evicted."""

EVICTION_SAMPLE: Final = 16
"""Oldest associations of which the stalest is evicted."""

IDLE_TIMEOUT_S: Final = 24 * 3600.0
"""Seconds without an authenticated record after which an association is dropped: devices sleep for hours."""

SWEEP_INTERVAL_S: Final = 60.0
"""Seconds between two searches for idle associations: precise enough for a timeout of hours."""

MAX_AWAKE_NEWCOMERS: Final = 1024
"""New associations that have sent nothing yet and keep their cipher objects, about 1 kB each, for a first request: a
second of a storm of handshakes. Without a bound, 50,000 devices that come back at once would hold 50 MB of them."""

MAX_AUTHENTICATION_FAILURES: Final = 1 << 20
"""Records of one association that failed to authenticate. With an 8-byte tag each has a chance of 2**-64; 2**20 keep
the forger's chance below 2**-44 (RFC 9325 section 4.4)."""

MAX_AUTHENTICATION_FAILURES_LONG_TAG: Final = 1 << 23
"""The same where the tag has 16 bytes: what RFC 9147 section 4.5.3 gives for AES-CCM, and less than for the others."""
