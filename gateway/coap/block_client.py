"""The client's side of block-wise transfer (RFC 7959), sans-IO: one request in as many messages as it takes.

    transfer = BlockTransfer(code, options, payload, max_message)
    while not transfer.take(<the response to transfer.options and transfer.payload>):
        ...
    transfer.response

Whoever gives options of its own about blocks does all of this by itself: its messages are left as they are.
"""

from typing import Final

from gateway.coap import limits
from gateway.coap.blockwise import Block, decode_block, encode_block, szx_for
from gateway.coap.codec import encode_options, encode_uint
from gateway.coap.message import Message
from gateway.coap.numbers import Code, Option

_BLOCK1: Final = int(Option.BLOCK1)
_BLOCK2: Final = int(Option.BLOCK2)
_SIZE1: Final = int(Option.SIZE1)
_SIZE2: Final = int(Option.SIZE2)
_OBSERVE: Final = int(Option.OBSERVE)
_ETAG: Final = int(Option.ETAG)
_REQUEST_TAG: Final = int(Option.REQUEST_TAG)
_FIXED_BYTES: Final = 4 + 8 + 1  # header, token, payload marker


class BlockError(Exception):
    """Blocks that do not fit together, or too many of them; the text says which."""


class BlockTransfer:
    """A request and its response, of any size.

    Attributes:
        options: Of the next message.
        payload: Of the next message.
        response: The whole response, once `take` has said so.
    """

    def __init__(
        self,
        code: int,
        options: list[tuple[int, bytes]],
        payload: bytes,
        max_message: int,
        *,
        request_tag: bytes | None = None,
    ) -> None:
        """Begin a transfer.

        Args:
            code: The method.
            options: The request's, in ascending order.
            payload: The whole of it.
            max_message: Bytes of the largest message that can be sent.
            request_tag: Goes with a body in blocks, 0 to 8 bytes; another one for each request to the same peer, so
                that a late block of one that was given up is not taken for one of this (RFC 9175 section 3.5.1).

        Raises:
            ValueError: The options leave no room for a block, or cannot be expressed.
        """
        self.response: Message | None = None
        self.options = options
        self.payload = payload
        self._code = code
        self._request_options = options
        self._body = payload
        self._plain = any(number in (_BLOCK1, _BLOCK2) for number, _ in options)
        self._sent: Block | None = None
        self._first: Message | None = None
        self._received = bytearray()
        if not self._plain and _FIXED_BYTES + len(encode_options(options)) + len(payload) > max_message:
            if request_tag is not None and not any(number == _REQUEST_TAG for number, _ in options):
                # Where the answer comes in blocks too, they are asked for with it (RFC 9175 section 3.4).
                self._request_options = options = sorted([*options, (_REQUEST_TAG, request_tag)], key=_number_of)
            # Block1 and Size1 of any length: delta, length and value take 2 + 3 and 2 + 4 bytes at most.
            room = max_message - _FIXED_BYTES - len(encode_options(options)) - 11
            self._send_block(Block(0, True, szx_for(room)))

    @property
    def in_blocks(self) -> bool:
        """Whether the request's own body goes in blocks."""
        return self._sent is not None

    def take(self, response: Message) -> bool:
        """Take the response to the present message; True when it was the last one, and `response` is there.

        Raises:
            BlockError: It does not continue what came before.
        """
        if self._plain:
            self.response = response
            return True
        if self._sent is not None and self._go_on_sending(self._sent, response):
            return False
        return self._receive(response)

    def _go_on_sending(self, sent: Block, response: Message) -> bool:
        value = response.option(_BLOCK1)
        answer = None if value is None else decode_block(value)
        if response.code == Code.REQUEST_ENTITY_TOO_LARGE:
            # Section 2.9.3: what is too large may be the block; then it names a size that is not.
            if answer is None or sent.number != 0 or not answer.szx < sent.szx:
                return False
            self._send_block(Block(0, True, answer.szx))
            return True
        if not sent.more or response.code >> 5 != 2:
            return False
        if answer is None or answer.number != sent.number:
            if response.code == Code.CONTINUE:
                raise BlockError(f"2.31 is not for block {sent.number}")
            return False  # it has answered without the rest
        # Section 2.3: the server may ask for smaller blocks, from the next one on, whose number then counts in them.
        offset, szx = sent.offset + sent.size, min(sent.szx, answer.szx)
        self._send_block(Block(offset >> szx + 4, True, szx))
        return True

    def _send_block(self, block: Block) -> None:
        end = block.offset + block.size
        block = Block(block.number, end < len(self._body), block.szx)
        options = [*self._request_options, (_BLOCK1, encode_block(block))]
        if block.number == 0:
            options.append((_SIZE1, encode_uint(len(self._body))))
        self.options = sorted(options, key=_number_of)
        self.payload = self._body[block.offset : end]
        self._sent = block

    def _receive(self, response: Message) -> bool:
        value = response.option(_BLOCK2)
        block = None if value is None else decode_block(value)
        first = self._first
        if first is not None:
            if response.code != first.code or block is None:
                raise BlockError("an answer in blocks goes on as another one")
            if response.option(_ETAG) != first.option(_ETAG):
                raise BlockError("the resource changed while its blocks were fetched")
        elif block is None or (block.number == 0 and not block.more) or response.code >> 5 != 2:
            self.response = response
            return True
        if block.offset != len(self._received) or block.szx == 7:
            raise BlockError(f"byte {block.offset} came in place of byte {len(self._received)}")
        if block.more and len(response.payload) != block.size:
            raise BlockError(f"a block of {block.size} bytes has {len(response.payload)}")
        if len(self._received) + len(response.payload) > limits.DOWNLOAD_BYTES:
            raise BlockError(f"the answer is larger than {limits.DOWNLOAD_BYTES} bytes")
        self._first = first or response
        self._received += response.payload
        if block.more:
            self._ask_for(Block(len(self._received) >> block.szx + 4, False, block.szx))
            return False
        first = self._first
        options = [option for option in first.options if option[0] not in (_BLOCK1, _BLOCK2, _SIZE2)]
        self.response = Message(
            response.type, first.code, response.message_id, first.token, options, bytes(self._received)
        )
        return True

    def _ask_for(self, block: Block) -> None:
        # Section 3.4: the rest of a notification is asked for without Observe.
        options = [option for option in self._request_options if option[0] != _OBSERVE]
        self.options = sorted([*options, (_BLOCK2, encode_block(block))], key=_number_of)
        # A FETCH says with its payload what it asks for (RFC 8132); the body of another method has been processed.
        self.payload = self._body if self._code == Code.FETCH and self._sent is None else b""
        self._sent = None


def _number_of(option: tuple[int, bytes]) -> int:
    return option[0]
