"""Bodies of requests that come in blocks (RFC 7959 section 2.5), put together or passed on block by block.

A block goes by its place in bytes, so that the size may change in the middle. It must stand where the body ends so far:
what is before or behind that place gets 4.08, and the upload goes on unharmed. Repetitions are no mistake, because an
acknowledgement may have been lost or late: the newest block or an older one again, and the first, which begins anew.
"""

from typing import Any, Final, NamedTuple

from gateway.coap import limits
from gateway.coap.blockwise import Block, TransferKey, transfer_key
from gateway.coap.codec import encode_uint
from gateway.coap.message import Message
from gateway.coap.numbers import Code, Option
from gateway.coap.peer import Peer
from gateway.coap.shelf import Kept, Shelf

_SIZE1: Final = int(Option.SIZE1)
_SIZE1_BYTES: Final = 4
_RETRY_LATER: Final = [(int(Option.MAX_AGE), encode_uint(limits.RETRY_AFTER_S))]


class Refusal(NamedTuple):
    """Why a block is not taken, as a response.

    Attributes:
        code: An error code.
        options: Options of the response.
        reason: A diagnostic payload.
    """

    code: int
    options: list[tuple[int, bytes]]
    reason: str


class Upload(Kept):
    """A body of which blocks have come.

    Attributes:
        received: Bytes so far.
        complete: The last block has come.
        repeated: The newest message brought a block that was there already.
        context: The caller's own; None at the first block.
    """

    __slots__ = ("_data", "_last", "_last_block", "complete", "context", "received", "repeated")

    def __init__(self, peer: Peer, key: TransferKey, *, keep: bool) -> None:
        super().__init__(peer, key, limits.UPLOAD_OVERHEAD_BYTES)
        self.received = 0
        self.complete = False
        self.repeated = False
        self.context: Any = None
        self._data: bytearray | None = bytearray() if keep else None
        self._last = b""
        self._last_block: Block | None = None

    @property
    def body(self) -> bytes:
        """All that has come; empty when it is passed on and not kept."""
        return bytes(self._data or b"")

    @property
    def held(self) -> int:
        """Bytes of memory that it takes."""
        return limits.UPLOAD_OVERHEAD_BYTES + (len(self._last) if self._data is None else len(self._data))

    def has(self, block: Block, payload: bytes) -> bool:
        """Whether this is the newest block once more, or an older one but the first, with which a body begins anew.

        A path slower than ACK_TIMEOUT brings two acknowledgements of a block, each of which libcoap 4.3 answers with
        the next one. What was passed on is known by its place alone.
        """
        newest, end = self._last_block, block.offset + block.size
        if newest is None:
            return False
        if block == newest:
            return payload == self._last
        if block.number == 0 or not block.more or block.szx != newest.szx or end > self.received:
            return False
        return self._data is None or self._data[block.offset : end] == payload

    def append(self, block: Block, payload: bytes) -> None:
        """Take the block that comes next."""
        if self._data is not None:
            self._data += payload
        self.received += len(payload)
        self.complete = not block.more
        self.repeated = False
        self._last = payload
        self._last_block = block


class Uploads:
    """The uploads of all peers.

    Attributes:
        abandoned: Contexts of uploads that will not be completed; the caller takes them out.
    """

    def __init__(self, lifetime_s: float) -> None:
        """Start without any; an upload whose next block does not come for `lifetime_s` seconds is given up."""
        self.abandoned: list[Any] = []
        self._shelf: Shelf[Upload] = Shelf(lifetime_s)

    def __len__(self) -> int:
        return len(self._shelf)

    @property
    def size(self) -> int:
        """Bytes of memory that all uploads take."""
        return self._shelf.size

    def receive(
        self, peer: Peer, message: Message, block: Block, now: float, *, max_body: int, keep: bool = True
    ) -> Upload | Refusal:
        """Take one block.

        Args:
            peer: Who sends it; uploads of different peers never mix, and those of one owner are bounded together.
            message: The request.
            block: Its Block1.
            now: Seconds on the caller's monotonic clock.
            max_body: Bytes that the body may have.
            keep: Put the body together; without it the caller passes each block on.

        Returns:
            The upload with this block, or what to answer instead. One that is complete and kept is not known here any
            more; one that is passed on stays until `finish`, so that the last block again finds it.
        """
        payload = message.payload
        if len(payload) > block.size or (block.more and len(payload) < block.size):
            return Refusal(Code.BAD_REQUEST, [], f"a block of {block.size} bytes has {len(payload)}")
        self.expire(now)
        key = transfer_key(message)
        upload = self._shelf.find(peer, key)
        if upload is not None and upload.has(block, payload):
            upload.repeated = True
            self._shelf.use(upload, now)
            return upload
        if block.number == 0:
            if upload is not None:
                self._abandon(upload)
            started = self._start(peer, key, message, max_body, now, keep=keep)
            if isinstance(started, Refusal):
                return started
            upload = started
        elif upload is None or upload.complete:
            return Refusal(Code.REQUEST_ENTITY_INCOMPLETE, [], "no such transfer: begin with block 0")
        elif block.offset != upload.received:
            return Refusal(Code.REQUEST_ENTITY_INCOMPLETE, [], f"the next block begins at byte {upload.received}")
        return self._append(upload, block, payload, max_body, now, keep=keep)

    def finish(self, upload: Upload) -> None:
        """Forget an upload that is done with; harmless when it is forgotten already."""
        self._shelf.remove(upload)

    def forget(self, peer: Peer) -> None:
        """The peer is gone."""
        for upload in self._shelf.forget(peer):
            self._give_up(upload)

    def next_expiry(self) -> float | None:
        """When `expire` has something to do; None when there is no upload."""
        return self._shelf.next_expiry()

    def expire(self, now: float) -> None:
        """Give up the uploads whose next block did not come."""
        for upload in self._shelf.expire(now):
            self._give_up(upload)

    def _start(
        self, peer: Peer, key: TransferKey, message: Message, max_body: int, now: float, *, keep: bool
    ) -> Upload | Refusal:
        announced = message.uint_option(_SIZE1, _SIZE1_BYTES)
        if announced is not None and announced > max_body:
            return _too_large(max_body)
        owner = peer.owner
        if self._shelf.count(owner) >= limits.UPLOADS_OF_ONE and (oldest := self._shelf.oldest(owner)) is not None:
            self._abandon(oldest)
        if len(self._shelf) >= limits.UPLOADS:
            return Refusal(Code.SERVICE_UNAVAILABLE, _RETRY_LATER, "too many uploads at once")
        upload = Upload(peer, key, keep=keep)
        self._shelf.add(upload, now)
        return upload

    def _append(
        self, upload: Upload, block: Block, payload: bytes, max_body: int, now: float, *, keep: bool
    ) -> Upload | Refusal:
        if upload.received + len(payload) > max_body:
            self._abandon(upload)
            return _too_large(max_body)
        upload.append(block, payload)
        if upload.complete and keep:
            self._shelf.remove(upload)
            return upload
        self._shelf.use(upload, now, upload.held)
        # What this owner has begun and not gone on with makes room first. Alone, an upload is bounded by `max_body`.
        while self._shelf.size_of(upload.owner) > limits.UPLOAD_BYTES_OF_ONE:
            oldest = self._shelf.oldest(upload.owner)
            if oldest is None or oldest is upload:
                break
            self._abandon(oldest)
        if self._shelf.size > limits.UPLOAD_BYTES:
            self._abandon(upload)
            return Refusal(Code.SERVICE_UNAVAILABLE, _RETRY_LATER, "too much is being uploaded at once")
        return upload

    def _abandon(self, upload: Upload) -> None:
        self._shelf.remove(upload)
        self._give_up(upload)

    def _give_up(self, upload: Upload) -> None:
        if upload.context is not None:
            self.abandoned.append(upload.context)


def _too_large(max_body: int) -> Refusal:
    """RFC 7959 section 2.9.3: Size1 says how much would do."""
    return Refusal(Code.REQUEST_ENTITY_TOO_LARGE, [(_SIZE1, encode_uint(max_body))], f"at most {max_body} bytes")
