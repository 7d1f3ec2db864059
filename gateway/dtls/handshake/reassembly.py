"""Puts handshake messages together again: in order, once each, within bounds (RFC 6347 sections 4.2.2, 4.2.3)."""

from gateway.dtls.errors import DropReason, FailureReason, HandshakeError
from gateway.dtls.limits import (
    MAX_FRAGMENTS,
    MAX_FUTURE_MESSAGES,
    MAX_HANDSHAKE_MESSAGE,
    MAX_REASSEMBLY_BYTES,
    PIECE_OVERHEAD,
)
from gateway.dtls.messages.framing import Fragment, HandshakeMessage


class _Partial:
    """A message of which some bytes have come. Memory grows with what was received, not with what is claimed."""

    __slots__ = ("length", "pieces", "type")

    def __init__(self, message_type: int, length: int) -> None:
        self.type = message_type
        self.length = length
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
    """Takes fragments in any order and gives whole messages in message_seq order."""

    __slots__ = ("_buffered", "_partials", "next_seq")

    def __init__(self, next_seq: int) -> None:
        self.next_seq = next_seq
        self._partials: dict[int, _Partial] = {}
        self._buffered = 0

    def add(self, fragment: Fragment) -> DropReason | None:
        """Keeps a fragment of the expected message or of one soon after it, or says why not.

        Raises:
            HandshakeError: The message that is due is larger than we ever accept.
        """
        ahead = fragment.message_seq - self.next_seq
        if ahead < 0:
            return DropReason.REPEATED
        if ahead > MAX_FUTURE_MESSAGES:
            return DropReason.BUFFER_FULL
        if fragment.length > MAX_HANDSHAKE_MESSAGE:
            if ahead == 0:
                raise HandshakeError(FailureReason.HANDSHAKE_TOO_LARGE, f"a message of {fragment.length} bytes")
            return DropReason.BUFFER_FULL
        if not fragment.data and fragment.length:
            return DropReason.BAD_FRAGMENT  # brings nothing; many of them would only cost time
        partial = self._partials.get(fragment.message_seq)
        if partial is None:
            partial = self._partials[fragment.message_seq] = _Partial(fragment.type, fragment.length)
        elif (partial.type, partial.length) != (fragment.type, fragment.length):
            return DropReason.BAD_FRAGMENT
        if (
            len(partial.pieces) >= MAX_FRAGMENTS
            or self._buffered + len(fragment.data) + PIECE_OVERHEAD > MAX_REASSEMBLY_BYTES
        ):
            return DropReason.BUFFER_FULL
        if (fragment.offset, fragment.data) not in partial.pieces:
            partial.pieces.append((fragment.offset, fragment.data))
            self._buffered += len(fragment.data) + PIECE_OVERHEAD
        return None

    def next_message(self) -> HandshakeMessage | None:
        """The message that is due, once it is whole."""
        partial = self._partials.get(self.next_seq)
        if partial is None:
            return None
        body = partial.assemble()
        if body is None:
            return None
        message = HandshakeMessage(partial.type, self.next_seq, body)
        self._drop(self.next_seq)
        self.next_seq += 1
        return message

    def clear(self) -> None:
        """Forgets whatever is incomplete or early: what epoch 0 left behind says nothing about epoch 1."""
        self._partials.clear()
        self._buffered = 0

    def _drop(self, message_seq: int) -> None:
        partial = self._partials.pop(message_seq)
        self._buffered -= sum(len(data) + PIECE_OVERHEAD for _, data in partial.pieces)
