"""Block-wise transfer (RFC 7959): the Block options, which transfer a message belongs to, and how a body is cut.

What a server remembers of a transfer lives beside: `Uploads` of bodies that come in, `Bodies` of those that go out.
"""

from typing import Final, NamedTuple, TypeAlias

from gateway.coap.codec import encode_options, encode_uint
from gateway.coap.message import Message
from gateway.coap.numbers import Option, is_no_cache_key

MAX_SZX: Final = 6
"""The largest block has 1024 bytes. 7 is reserved in a datagram (section 2.2), and means something over TCP only."""

MAX_BLOCK_BYTES: Final = 1024

_MAX_NUMBER: Final = 0xFFFFF
_BLOCK1: Final = int(Option.BLOCK1)
_BLOCK2: Final = int(Option.BLOCK2)
_SIZE2: Final = int(Option.SIZE2)
_FIXED_BYTES: Final = 4 + 1  # header and payload marker

# What differs, or may, between the blocks of one transfer. Hop-Limit and No-Response are about one message, and a
# request that observes is answered in blocks that are asked for without Observe (section 3.4).
_NOT_IN_KEY: Final = frozenset(map(int, (Option.OBSERVE, Option.HOP_LIMIT, Option.BLOCK2, Option.BLOCK1, 258)))

TransferKey: TypeAlias = tuple[int, tuple[tuple[int, bytes], ...]]
"""Method and options: all that makes two requests of one peer parts of the same transfer."""


class Block(NamedTuple):
    """The value of a Block1 or Block2 option (section 2.2).

    Attributes:
        number: NUM, which block; counted in blocks of this size.
        more: M, more blocks follow.
        szx: The exponent of the size. 7 can be decoded and must not be used.
    """

    number: int
    more: bool
    szx: int

    @property
    def size(self) -> int:
        """Bytes of a block that is not the last one."""
        return 16 << self.szx

    @property
    def offset(self) -> int:
        """Bytes before this block."""
        return self.number << self.szx + 4

    def smaller(self, szx: int) -> "Block":
        """The same place in blocks of a smaller size, or this block when they are no smaller (sections 2.3 and 2.4)."""
        return Block(self.number << self.szx - szx, self.more, szx) if szx < self.szx else self


class Cut(NamedTuple):
    """What one message carries of a body.

    Attributes:
        start: The first byte.
        end: The one after the last.
        options: Those of the message, Block2 and perhaps Size2 among them, in ascending order.
    """

    start: int
    end: int
    options: list[tuple[int, bytes]]


def decode_block(value: bytes) -> Block:
    """The value of a Block option; total, since the message layer takes no more than its 3 bytes."""
    number = int.from_bytes(value, "big")
    return Block(number >> 4, number & 8 != 0, number & 7)


def encode_block(block: Block) -> bytes:
    """The value of a Block option.

    Raises:
        ValueError: The number has more than its 20 bits, or the size is none.
    """
    if not 0 <= block.number <= _MAX_NUMBER or not 0 <= block.szx <= MAX_SZX:
        raise ValueError(f"there is no block {block.number} of size exponent {block.szx}")
    return encode_uint(block.number << 4 | block.more << 3 | block.szx)


def find_block(message: Message, number: int) -> Block | None:
    """The Block1 or Block2 option of a message; None when there is none."""
    value = message.option(number)
    return None if value is None else decode_block(value)


def transfer_key(message: Message) -> TransferKey:
    """What a request has in common with the others of its transfer.

    The method and the cache key without the block options (section 2.3), which Request-Tag is a part of (RFC 9175
    section 3.2), so that a peer can have several transfers to one resource. Content-Format is one as well: blocks of
    another format are not of this body.
    """
    return message.code, tuple(
        [option for option in message.options if option[0] not in _NOT_IN_KEY and not is_no_cache_key(option[0])]
    )


def szx_for(size: int) -> int:
    """The exponent of the largest block of at most so many bytes.

    Raises:
        ValueError: No block is so small.
    """
    if size < 16:
        raise ValueError(f"a block has at least 16 bytes, not {size}")
    return min(size.bit_length() - 5, MAX_SZX)


def cut_body(
    request: Message, options: list[tuple[int, bytes]], total: int, max_message: int, max_szx: int = MAX_SZX
) -> Cut | None:
    """Choose the part of a response's body that answers a request (section 2.4).

    The block is of the size that the request names, or of a smaller one, in whose numbers its place is then told.

    Args:
        request: What asks; its Block2 says for which part.
        options: The response's, without Block2 and Size2.
        total: Bytes of the body.
        max_message: Bytes of the largest message that can be sent.
        max_szx: The largest size that we like to send.

    Returns:
        The part; None when the body ends before it.

    Raises:
        ValueError: The options leave no room for the smallest block, or cannot be expressed.
    """
    asked = find_block(request, _BLOCK2)
    wanted = Block(0, False, max_szx) if asked is None else asked
    # RFC 7959 section 4: Size2 answers a Size2, and tells with the first block of how much it is one.
    with_size = request.option(_SIZE2) is not None or (wanted.number == 0 and total > wanted.size)
    fixed = [*options, (_SIZE2, encode_uint(total))] if with_size else options
    # A Block2 of any length: 3 bytes at most, and delta and length may take 5 beside them.
    room = max_message - _FIXED_BYTES - len(request.token) - len(encode_options([*fixed, (_BLOCK2, b"\xff\xff\xff")]))
    szx = min(wanted.szx, max_szx)
    while szx >= 0 and 16 << szx > room:
        szx -= 1
    if szx < 0:
        raise ValueError(f"the options leave {room} of {max_message} bytes for the payload, which is no block")
    block = wanted.smaller(szx)
    if block.offset >= max(total, 1) or block.number > _MAX_NUMBER:
        return None
    end = min(block.offset + block.size, total)
    block = Block(block.number, end < total, szx)
    return Cut(block.offset, end, sorted([*fixed, (_BLOCK2, encode_block(block))], key=_number_of))


def _number_of(option: tuple[int, bytes]) -> int:
    return option[0]
