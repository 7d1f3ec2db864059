"""Every bound of this room: number, unit, reason."""

from typing import Final

SEGMENT_BYTES: Final = 255
"""Bytes of one Uri-Path segment. RFC 7252 section 5.10, table 4: a longer literal in a template could never match."""

ETAG_BYTES: Final = 8
"""Bytes of an ETag. RFC 7252 section 5.10.6: 1 to 8."""

UINT32_MAX: Final = 0xFFFF_FFFF
"""Largest Max-Age, in seconds. RFC 7252 section 5.10.5: a uint of at most 4 bytes."""

MAX_RESPONSE_BYTES: Final = 1152
"""Bytes of a response as a CoAP message, header and options included. RFC 7252 section 4.6: so much may be sent where
nothing is known of the path (1024 bytes of payload fit it); a larger one may be lost, and so may each repetition."""

STREAM_NAME_CHARACTERS: Final = 64
"""Characters of a telemetry stream's name: fits a column, a topic segment and a metric name of most back ends."""

TELEMETRY_BUFFER_BYTES: Final = 8 * 1024 * 1024
"""Bytes of telemetry lines waiting for the file: about 30,000 events of 250 bytes, so that a disk that stalls for
seconds loses nothing, and memory stays small when it stalls for good."""

TELEMETRY_FLUSH_INTERVAL_S: Final = 0.2
"""Seconds that a line waits at most before it is written: long enough to gather a batch, short enough for a human."""

TELEMETRY_RETRY_AFTER_S: Final = 5
"""Seconds after which a device may send again what the full buffer refused (Max-Age of the 5.03)."""

TELEMETRY_CLOSE_TIMEOUT_S: Final = 5.0
"""Seconds that stopping waits for the last lines; a pipe that nobody reads must not hold the process."""

BODY_BYTES: Final = 65_536
"""Bytes of a request's body where neither route nor configuration says otherwise: a log or a picture, not a flood."""

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
"""Bytes that a route may allow for a body that is held in memory: a quarter of what all uploads together may take."""

MAX_STREAM_BYTES: Final = 1024 * 1024 * 1024
"""Bytes that a route may allow for a body that is streamed. RFC 7959 section 2.2: 2**20 blocks of 1024 bytes."""

STREAMS: Final = 1000
"""Handlers that take a stream at once, where the configuration says nothing else: each may hold a file open, of which a
process has 1024 by default. One more gets 5.03."""

STREAMS_OF_ONE: Final = 4
"""Those of one device, in the midst of an upload or cleaning up after one: as many as it may have uploads."""

STREAM_RETRY_AFTER_S: Final = 5
"""Seconds (Max-Age of that 5.03) after which a device may try again: some block of another upload has come by then."""

STREAM_GRACE_S: Final = 30.0
"""Seconds that a handler may go on when the rest of its stream will not come, where the configuration says nothing
else; a handler that does not notice is cancelled then."""

MESSAGE_PAYLOAD_BYTES: Final = 16_384
"""Bytes of payload in one message. RFC 5246 section 6.2.1: a record carries no more."""

FIRMWARE_ETAGS: Final = 1024
"""Files whose ETag is remembered: far more than a fleet has versions. A file beyond them is read once more, whole."""

CBOR_DEPTH: Final = 64
"""Containers within containers of a device's CBOR: deeper than any format of a device, far from the stack's end."""

LOCATION_BYTES: Final = 255
"""Bytes of one Location-Path or Location-Query. RFC 7252 section 5.10, table 4."""

SENML_NAME_CHARACTERS: Final = 255
"""Characters of a SenML record's name, base name included. RFC 8428 section 4.5.1 knows no bound, and a base name is
copied into each record, of which 64 KiB hold 20,000; 255 fit a Uri-Path segment, and a URN with a path behind it."""

SENML_UNIT_CHARACTERS: Final = 64
"""Characters of a SenML record's unit, which may come from the base as well. The longest one that is registered has
below 16 (RFC 8428 section 12.1, RFC 8798)."""
