"""Puts handshake messages together again: in order, once each, within bounds (RFC 6347 sections 4.2.2, 4.2.3)."""

from gateway.dtls.errors import DropReason, FailureReason, HandshakeError
from gateway.dtls.limits import (
    MAX_FRAGMENTS,
    MAX_FUTURE_MESSAGES,
    MAX_HANDSHAKE_MESSAGE,
    MAX_REASSEMBLY_BYTES,
    PIECE_OVERHEAD,
)
from gateway.dtls.messages.framing import HANDSHAKE_HEADER_LENGTH, Fragment, HandshakeMessage


class _Partial:
    """A message of which some bytes have come. Memory grows with what was received, not with what is claimed."""

    __slots__ = ("buffered", "length", "pieces", "received", "type")

    def __init__(self, message_type: int, length: int) -> None:
        self.type = message_type
        self.length = length
        self.received = 0
        self.buffered = 0
        self.pieces: list[tuple[int, bytes]] = []

    def assemble(self) -> bytes | None:
        """The body, or None while a gap is left. Where pieces overlap, the one that begins first counts."""
        body = bytearray()
        for offset, data in sorted(self.pieces, key=lambda piece: piece[0]):
            have = len(body)
            if offset > have:
                return None
            body += data[have - offset :] if have - offset < len(data) else b""
        return bytes(body) if len(body) == self.length else None


class Reassembler:
    """Takes fragments in any order and gives whole messages in message_seq order.

    Attributes:
        next_seq: message_seq of the message that is due.
        buffered: Bytes held, with what they cost beside themselves.
    """

    __slots__ = ("_partials", "_whole", "buffered", "next_seq")

    def __init__(self, next_seq: int) -> None:
        self.next_seq = next_seq
        self._whole: dict[int, HandshakeMessage] = {}
        self._partials: dict[int, _Partial] = {}
        self.buffered = 0

    def add(self, fragment: Fragment) -> DropReason | None:
        """Keeps a fragment of the expected message or of one soon after it, or says why not.

        Raises:
            HandshakeError: The message that is due is larger than we ever accept.
        """
        number, length, data = fragment.message_seq, fragment.length, fragment.data
        ahead = number - self.next_seq
        if ahead < 0:
            return DropReason.REPEATED
        if ahead > MAX_FUTURE_MESSAGES:
            return DropReason.BUFFER_FULL
        if length > MAX_HANDSHAKE_MESSAGE:
            if ahead == 0:
                raise HandshakeError(FailureReason.HANDSHAKE_TOO_LARGE, f"a message of {length} bytes")
            return DropReason.BUFFER_FULL
        if not data and length:
            return DropReason.BAD_FRAGMENT  # brings nothing; many of them would only cost time
        whole = self._whole.get(number)
        if whole is not None:
            same = whole.type == fragment.type and whole.size == length
            return None if same else DropReason.BAD_FRAGMENT
        if self.buffered + len(data) + PIECE_OVERHEAD > MAX_REASSEMBLY_BYTES:
            return DropReason.BUFFER_FULL
        if len(data) == length and number not in self._partials:  # in one piece, as nearly always
            self._whole[number] = HandshakeMessage.of(fragment.type, number, data)
            self.buffered += length + PIECE_OVERHEAD
            return None
        return self._add_piece(fragment)

    def add_due(self, message: HandshakeMessage) -> bool:
        """Takes the message that is due while nothing else is held, as nearly always. False for others: `add` them."""
        size = len(message.whole) - HANDSHAKE_HEADER_LENGTH  # `size`, without the call
        if message.message_seq != self.next_seq or self.buffered or size > MAX_HANDSHAKE_MESSAGE:
            return False
        self._whole[self.next_seq] = message
        self.buffered = size + PIECE_OVERHEAD
        return True

    def missing(self) -> str | None:
        """What of the message that is due has not come, in words; None when nothing of it has."""
        partial = self._partials.get(self.next_seq)
        if partial is None:
            return None
        have, reach = 0, 0
        for offset, data in sorted(partial.pieces):
            end = offset + len(data)
            have += max(0, end - max(offset, reach))
            reach = max(reach, end)
        return f"{have} of {partial.length} bytes of message {self.next_seq} in {len(partial.pieces)} fragments"

    def next_message(self) -> HandshakeMessage | None:
        """The message that is due, once it is whole."""
        message = self._whole.pop(self.next_seq, None)
        if message is not None:
            self.buffered -= len(message.whole) - HANDSHAKE_HEADER_LENGTH + PIECE_OVERHEAD
            self.next_seq += 1
        return message

    def clear(self) -> None:
        """Forgets whatever is incomplete or early: what epoch 0 left behind says nothing about epoch 1."""
        self._whole.clear()
        self._partials.clear()
        self.buffered = 0

    def _add_piece(self, fragment: Fragment) -> DropReason | None:
        number, data = fragment.message_seq, fragment.data
        partial = self._partials.get(number)
        if partial is None:
            partial = self._partials[number] = _Partial(fragment.type, fragment.length)
        elif partial.type != fragment.type or partial.length != fragment.length:
            return DropReason.BAD_FRAGMENT
        if len(partial.pieces) >= MAX_FRAGMENTS:
            return DropReason.BUFFER_FULL
        if (fragment.offset, data) not in partial.pieces:
            size = len(data) + PIECE_OVERHEAD
            partial.pieces.append((fragment.offset, data))
            partial.received += len(data)
            partial.buffered += size
            self.buffered += size
            if partial.received >= partial.length:
                self._complete(number, partial)
        return None

    def _complete(self, number: int, partial: _Partial) -> None:
        body = partial.assemble()
        if body is not None:
            del self._partials[number]
            self._whole[number] = HandshakeMessage.of(partial.type, number, body)
            self.buffered += len(body) + PIECE_OVERHEAD - partial.buffered
