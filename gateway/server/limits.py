"""Every limit of the shell: number, unit, reason."""

from typing import Final

RECEIVE_BATCH: Final = 64
"""Datagrams read before the event loop gets its turn: enough to make the turn cheap, short enough (2-20 ms) for it."""

HANDSHAKE_BUDGET_S: Final = 0.002
"""Seconds of a wake-up that go into handshakes and whatever else is no application data of a session, at least one
datagram: so much later, and no more, a request is read that comes meanwhile."""

SILENCE_S: Final = 0.02
"""Seconds without a datagram after which the engine works ahead."""

IDLE_STEPS: Final = 4
"""Keys that are made ahead in one turn of the loop, 0.1 ms: so much later, and no more, a datagram is read."""

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

WATCH_INTERVAL_S: Final = 1.0
"""Seconds between two looks at the files of the configuration: ten microseconds for five files."""

WATCH_SETTLE_S: Final = 0.25
"""Seconds after a change for which more of them are waited for: a certificate is replaced by two files."""

MAX_FAILURE_CHAIN: Final = 8 * 1024
"""Bytes of the certificates kept with a failure, the device's own first: four large ones. A stranger who can present
certificates with their keys makes some of them; 19 reasons have any, which is 5 megabytes at the very most."""

COLLECT_AFTER_OBJECTS: Final = 20_000
"""Containers made, less those freed, before the garbage collector looks at the young ones: a few megabytes at most."""

COLLECT_OLDER_AFTER: Final = 20
"""Collections of one generation before the next older one is looked at."""

KEPT_NOTIFICATIONS: Final = 16
"""Notifications of a device that wait for a handler that observes it; beyond it the oldest are left out: an observer is
to have the newest state, and not the history (RFC 7641 section 1.3)."""

NOTIFY_BATCH: Final = 64
"""Observers notified before the event loop gets its turn, and handlers that are asked at once for their state."""

MAX_QUEUED: Final = 10_000
"""Requests that wait for devices that sleep: about 500 bytes each beside their payloads."""

MAX_QUEUED_BYTES: Final = 16 * 1024 * 1024
"""Bytes of their payloads, which may be larger than a datagram: what a small machine can spare."""

MAX_QUEUED_OF_ONE: Final = 16
"""The same for one device. Who commands more than that before it wakes has not thought of what it will do then."""

KEPT_RESULTS: Final = 10_000
"""Queued requests that are over and may be asked for. Their payloads are let go, their answers kept."""

KEPT_RESULT_BYTES: Final = 16 * 1024 * 1024
"""Bytes of their answers, which are the devices' and may have a megabyte each: past it the oldest go."""

KEPT_RESULT_S: Final = 3600.0
"""Seconds for which they are kept: long enough for a back end that asks every few minutes."""

MAX_API_REQUESTS: Final = 32
"""Requests to devices under way on the admin port, a thread each; one more gets 429."""

MAX_API_TIMEOUT_S: Final = 300.0
"""Seconds that such a request may wait for its device."""

MAX_API_EXPIRY_S: Final = 30 * 86400.0
"""Seconds that such a request may wait in the queue."""

API_GRACE_S: Final = 5.0
"""Seconds that a thread of the admin port waits for the event loop beyond the request's own time."""

LOOKUP_THREADS: Final = 5
"""Threads that wait for a registry behind a network or for a webhook: as many as the registry has connections."""

RECHECK_SLICE: Final = 200
"""Sessions looked at before the event loop gets its turn (1-2 ms), when what is trusted has changed."""

RECHECK_INTERVAL_S: Final = 600.0
"""Seconds between two looks at all sessions for what time alone ends: certificates, CAs, a tenant's pre-shared keys. A
look at 50,000 takes half a second, in slices."""

SEEN_INTERVAL_S: Final = 5.0
"""Seconds between two notes to the registry of who was seen: one transaction for all, whatever the number."""

PRUNE_INTERVAL_S: Final = 3600.0
"""Seconds between two cuts of the registry's change log."""

FLEET_INTERVAL_S: Final = 30.0
"""Seconds between two counts of all devices, for the metric of it: a count of a million takes a second or two."""

CLONE_GRACE_S: Final = 5.0
"""Seconds in which an older session may still be heard of after a device began a newer one elsewhere: datagrams that
were under way, and a device that closes the old one late."""

CLONE_WATCH_S: Final = 24 * 3600.0
"""Seconds for which two sessions of a device at different hosts are compared; an idle session lives as long."""

MAX_CLONE_SUSPECTS: Final = 10_000
"""Devices with sessions at two hosts that are watched, 200 bytes each. A fleet that moves to another network fills it;
the oldest suspicion makes room, and its device is suspected again at its next session."""

CRL_FETCH_S: Final = 20.0
"""Seconds for fetching a revocation list, from the name of its server to its last byte: 16 MiB by 7 Mbit/s."""

MAX_CRL_FETCHES: Final = 8
"""Revocation lists that are fetched at once, a thread and at most 32 MiB each. Lists of CAs that do not answer are
tried ever more rarely, so that they seldom fill it; if they do, another list waits until one of them has failed."""

CRL_LOOK_S: Final = 5.0
"""Seconds between two looks at which revocation lists are due; so soon is one fetched after its URL was set."""

CRL_REFRESH_MIN_S: Final = 60.0
"""Seconds between two fetches of a list at least, whatever its nextUpdate says."""

CRL_REFRESH_MAX_S: Final = 6 * 3600.0
"""Seconds between two fetches of a list at most: a CA may publish before its time, when a factory's key has leaked."""

CRL_RETRY_FIRST_S: Final = 60.0
"""Seconds until the second try of a list that could not be had; each further one takes twice as long."""

CRL_RETRY_MAX_S: Final = 3600.0
"""Seconds between two tries at most."""

MAX_CHANNEL_MESSAGE: Final = 4 * 1024 * 1024
"""Bytes of a message between supervisor and worker: a body of a megabyte in base64, and the words around it."""

MAX_CHANNEL_BACKLOG: Final = 16 * 1024 * 1024
"""Bytes that wait for the other end to read them; it is a process of ours, and reads unless it hangs."""

CHANNEL_READ: Final = 256 * 1024
"""Bytes read before the event loop gets its turn: what the kernel holds of such a socket."""

WORKER_RETRY_FIRST_S: Final = 0.1
"""Seconds until a worker that ended is started again; each further time takes twice as long."""

WORKER_RETRY_MAX_S: Final = 30.0
"""Seconds until then at most: a registry that was down is noticed soon, and a start costs a second of a processor."""

WORKER_STEADY_S: Final = 60.0
"""Seconds after which a worker that ends counts as one that ran, and the wait begins anew."""

WORKER_LAST_WORDS_S: Final = 1.0
"""Seconds for which what a worker said before it ended is read: it is there already, and ends with the process."""

WORKER_STOP_S: Final = 10.0
"""Seconds that a worker has to stop beyond `server.shutdown_grace`: its writers of telemetry have some of them."""

WORKER_STACK_S: Final = 2.0
"""Seconds that a stuck worker has to print where it is before it is killed: it takes milliseconds, if it can at all."""

ASK_WORKER_S: Final = 5.0
"""Seconds for a page of one worker. It takes milliseconds where there is processor time; a scrape has ten seconds."""

ASK_THREADS: Final = 8
"""Workers that are asked at once."""

MAX_WORKER_ANSWER: Final = 64 * 1024 * 1024
"""Bytes of an answer of one worker: more than all failures with their certificates, or an answer of a device, have."""

DEVICE_API_S: Final = MAX_API_TIMEOUT_S + 2 * API_GRACE_S
"""Seconds for a request to a device through a worker, which keeps to its own time."""

MAX_PLACES: Final = 4_000_000
"""Devices whose places the supervisor keeps, 300 bytes each: 20 workers full of sessions, one for each device."""

MAX_WANTED: Final = MAX_QUEUED
"""Devices that one worker may wait for at the hub: as many as requests may wait there."""

HUB_BATCH_BYTES: Final = 64 * 1024
"""Bytes of what is told the hub or a worker in one message, about: a millisecond of the other's time. A larger item
goes alone."""

HUB_NAMES: Final = 3000
"""Devices named in one message when a worker is told of many: as many as such a message holds."""

HUB_RETRY_S: Final = 1.0
"""Seconds until a worker and the hub begin anew, after a message between them was lost: by then there is room."""

MAX_EXCHANGES: Final = 10_000
"""Requests of one worker that others do for it, observations among them: 1 kB each beside their bodies."""

MAX_PARCEL_BYTES: Final = 2 * 1024 * 1024
"""Bytes of a request or response that is handed to another worker: two of the largest bodies, and in base64 within a
message of a channel."""

COLLEAGUE_S: Final = 5.0
"""Seconds that another worker may take for what it does at once. One that hangs for longer is as good as gone."""

CLONE_ASK_S: Final = 1.0
"""Seconds that another worker may take to say where a session is now. The watch of the registry waits for it."""

MAX_YIELDS: Final = 32
"""Sessions of a device that are ended one after the other when it has too many, and tries of it. A handshake in each of
so many workers at once is more than a device does; its next handshake ends what is left."""

SYNC_SLICE: Final = 200
"""Devices of which the hub is told anew before the event loop gets its turn (about a millisecond)."""

MAX_DETOURS: Final = 3
"""Workers that are tried for one request to a device that makes new sessions meanwhile."""

MAX_MIRRORED: Final = 8 * MAX_QUEUED
"""Queued requests of other workers that are known here, 600 bytes each: as many as eight of them take."""
