"""A flight: messages that go out together, are repeated together, and are packed into as few datagrams as fit.

Knows bytes, sizes and time, and nothing about what a message means (RFC 6347 sections 4.2.3, 4.2.4). A flight holds
unsealed messages: each repetition is sealed anew, under fresh record numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from gateway.dtls.association import Association
from gateway.dtls.errors import ApiMisuse
from gateway.dtls.limits import (
    FALLBACK_DATAGRAM_PAYLOADS,
    LEAST_PIECE,
    MAX_REPEATS,
    MIN_REPEAT_INTERVAL_S,
    REMINDER_INTERVALS,
    REPETITIONS_AT_ONE_SIZE,
    RETRANSMIT_MAX_S,
    SMALL_PLAIN_RECORD,
)
from gateway.dtls.messages.framing import (
    CHANGE_CIPHER_SPEC,
    HANDSHAKE_HEADER_LENGTH,
    HandshakeMessage,
    handshake_header,
)
from gateway.dtls.numbers import ContentType
from gateway.dtls.record import RECORD_HEADER_LENGTH, PlainWriter
from gateway.dtls.sizes import UNLIMITED

_HANDSHAKE: Final = int(ContentType.HANDSHAKE)
_CHANGE_CIPHER_SPEC: Final = int(ContentType.CHANGE_CIPHER_SPEC)
FlightFilter = Callable[[list[HandshakeMessage | None]], list[HandshakeMessage | None]]
"""Turns a flight's items into what is sent instead (tests only)."""


class Sealer:
    """Turns contents into records of the current write epoch: plain, then protected.

    Attributes:
        association: With the keys; None before there are any.
        plain: Writes the records of epoch 0.
        sizes: What a plain record may hold. Protected ones keep to those of the association.
    """

    __slots__ = ("association", "plain", "sizes")

    def __init__(self, first_record: int = 0) -> None:
        self.plain = PlainWriter(first_record)
        self.association: Association | None = None
        self.sizes = UNLIMITED

    @property
    def plain_limit(self) -> int:
        """Bytes that a plain record may hold."""
        # RFC 8449 section 4 leaves plain records alone, but GnuTLS takes none that is larger than its limit. We follow
        # as far as it costs little: below, a certificate would be mostly headers.
        return min(self.sizes.plain, max(self.sizes.send, SMALL_PLAIN_RECORD))

    @property
    def keys(self) -> Association:
        """What writes protected records."""
        if self.association is None:
            raise ApiMisuse("no keys yet")
        return self.association

    def seal(self, content_type: int, content: bytes) -> bytes:
        """A record of the epoch that we write now."""
        association = self.association
        return (
            self.plain.write(content_type, content) if association is None else association.seal(content_type, content)
        )


@dataclass(slots=True)
class Flight:
    """Attributes:
    items: Handshake messages, and None where a ChangeCipherSpec stands; what follows it is protected.
    answers_seq: The peer's message_seq that this flight answers; a repetition of it, or of one before, means that
        the peer did not get this flight. -1 for a flight that answers nothing.
    """

    items: list[HandshakeMessage | None] = field(default_factory=list)
    answers_seq: int = -1

    def datagrams(self, sealer: Sealer, limit: int) -> list[bytes]:
        """The flight as datagrams of at most `limit` bytes of UDP payload, each filled before the next is begun."""
        packer = _Packer(limit)
        seal: Callable[[int, bytes], bytes] = sealer.plain.write
        overhead, content_limit = RECORD_HEADER_LENGTH, sealer.plain_limit
        for message in self.items:
            if message is None:
                packer.add(seal(_CHANGE_CIPHER_SPEC, CHANGE_CIPHER_SPEC))
                keys = sealer.keys
                seal, overhead, content_limit = keys.seal, keys.overhead, keys.sizes.send
                continue
            whole = message.whole
            size = len(whole)
            if overhead + size <= packer.left and size <= content_limit:
                packer.add(seal(_HANDSHAKE, whole))
                continue
            header_length = overhead + HANDSHAKE_HEADER_LENGTH
            body, offset, length = message.body, 0, message.size
            while True:
                room = packer.room(header_length + min(1, length)) - header_length
                if room < min(1, length):  # a connection id may be longer than what is left of a small datagram
                    room = LEAST_PIECE
                size = min(length - offset, room, content_limit - HANDSHAKE_HEADER_LENGTH)
                piece = body[offset : offset + size]
                header = handshake_header(message.type, length, message.message_seq, offset, size)
                packer.add(seal(_HANDSHAKE, header + piece))
                offset += size
                if offset == length:
                    break
        return packer.finish()


def payload_limit(configured: int, repetitions: int) -> int:
    """Bytes of UDP payload of a handshake whose flights were repeated so often (RFC 6347 section 4.1.1.1).

    The path may be narrower than configured, and nobody tells. What got smaller stays so: the count never falls.
    """
    if repetitions <= REPETITIONS_AT_ONE_SIZE:
        return configured
    step = min((repetitions - 1) // REPETITIONS_AT_ONE_SIZE, len(FALLBACK_DATAGRAM_PAYLOADS))
    return min(configured, FALLBACK_DATAGRAM_PAYLOADS[step - 1])


class _Packer:
    """Fills datagrams with records."""

    __slots__ = ("_current", "_done", "_limit", "left")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._current = b""
        self._done: list[bytes] = []
        self.left = limit
        """Bytes left in the datagram that is being filled."""

    def room(self, at_least: int) -> int:
        """Bytes left in the datagram, after beginning a new one if fewer than `at_least` are."""
        if self.left < at_least:
            self._flush()
        return self.left

    def add(self, record: bytes) -> None:
        if len(record) > self.left:
            self._flush()
        self._current += record
        self.left -= len(record)

    def finish(self) -> list[bytes]:
        self._flush()
        return self._done

    def _flush(self) -> None:
        if self._current:
            self._done.append(self._current)
        self._current = b""
        self.left = self._limit


class Retransmission:
    """When a flight goes out again: on time, doubling, or when the peer repeats its own (RFC 6347 section 4.2.4).

    Attributes:
        at: When the flight is due again, seconds; None while nothing is awaited from the peer.
        count: Repetitions so far.
    """

    __slots__ = ("_answered", "_asked", "_initial", "_interval", "_last_sent", "at", "count")

    def __init__(self, initial: float) -> None:
        self._initial = initial
        self._interval = initial
        self._last_sent = float("-inf")
        self._asked = 0
        self._answered = False
        self.at: float | None = None
        self.count = 0

    def sent(self, now: float) -> None:
        """A new flight went out: the interval starts over."""
        self._interval = self._initial
        self._asked = 0
        self._answered = False
        self._last_sent = now
        self.at = now + self._interval

    def due(self, now: float) -> bool:
        """Whether to repeat now; if so, the next repetition is twice as far away."""
        if self.at is None or now < self.at:
            return False
        self._interval = min(2 * self._interval, RETRANSMIT_MAX_S)
        self.at = now + self._interval
        self._last_sent = now
        self.count += 1
        return True

    def asked(self, now: float) -> bool:
        """Whether to repeat because the peer did; a storm of its repetitions is answered once in a while."""
        if now - self._last_sent < MIN_REPEAT_INTERVAL_S or self._asked >= MAX_REPEATS:
            return False
        self._last_sent = now
        self._asked += 1
        self.count += 1
        return True

    def answered(self, now: float) -> None:
        """The peer has begun to answer, so it has the flight. What is missing of the answer, it repeats of itself.

        RFC 6347 section 4.2.4 lets ours run on. RFC 9147 section 7.1 knows better: any part of the answer acknowledges
        the flight. To repeat it costs air time for nothing, and crosses the peer's repetition if both timers began with
        the usual second; at that moment GnuTLS 3.7 forgets what it was about to repeat. So the flight goes out much
        later, to remind a peer without a timer.
        """
        if self.at is not None and not self._answered:
            self._answered = True
            self._interval = min(REMINDER_INTERVALS * self._initial, RETRANSMIT_MAX_S)
            self.at = now + self._interval

    def stop(self) -> None:
        self.at = None
