"""Block options and how a body is cut (RFC 7959): the RFC's own examples, and properties over every size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.coap import (
    Block,
    Message,
    cut_body,
    decode_block,
    decode_uint,
    encode,
    encode_block,
    find_block,
    szx_for,
    transfer_key,
)
from tests.coap.strategies import unhurried

GET, POST = 1, 2
ETAG, OBSERVE, URI_PATH, CONTENT_FORMAT, ACCEPT, BLOCK2, BLOCK1, SIZE2, SIZE1 = 4, 6, 11, 12, 17, 23, 27, 28, 60
ECHO, NO_RESPONSE, REQUEST_TAG = 252, 258, 292


def get(*options: tuple[int, bytes], token: bytes = b"") -> Message:
    return Message(0, GET, 1, token, sorted(options))


def block2(number: int, szx: int, more: bool = False) -> tuple[int, bytes]:
    return BLOCK2, encode_block(Block(number, more, szx))


@pytest.mark.parametrize(
    ("data", "number", "more", "size"),
    [
        # RFC 7959 figures 2 to 12, written there as number/more/size.
        ("", 0, False, 16),
        ("0e", 0, True, 1024),
        ("0b", 0, True, 128),
        ("1b", 1, True, 128),
        ("23", 2, False, 128),
        ("52", 5, False, 64),
        ("0a", 0, True, 64),
        # Section 2.2: the number has 4, 12 or 20 bits.
        ("f6", 15, False, 1024),
        ("0106", 16, False, 1024),
        ("fff8", 4095, True, 16),
        ("fffffe", 0xFFFFF, True, 1024),
    ],
)
def test_block_values(data: str, number: int, more: bool, size: int) -> None:
    block = decode_block(bytes.fromhex(data))
    assert (block.number, block.more, block.size) == (number, more, size)
    assert block.offset == number * size
    assert encode_block(block).hex() == data


@given(st.binary(max_size=3))
def test_every_value_is_a_block_and_its_own_inverse(data: bytes) -> None:
    block = decode_block(data)
    if block.szx == 7:
        # Section 2.2: "reserved, i.e., MUST NOT be sent".
        with pytest.raises(ValueError, match="no block"):
            encode_block(block)
    else:
        assert encode_block(block) == data.lstrip(b"\0")


@pytest.mark.parametrize("block", [Block(1 << 20, False, 0), Block(-1, False, 0), Block(0, False, -1)])
def test_what_is_no_block_is_not_encoded(block: Block) -> None:
    with pytest.raises(ValueError, match="no block"):
        encode_block(block)


def test_a_smaller_size_keeps_the_place() -> None:
    # Section 2.3 figure 8: after one block of 128 bytes the next one is number 4 of 32.
    assert Block(1, True, 3).smaller(1) == Block(4, True, 1)
    assert Block(1, True, 3).smaller(1).offset == Block(1, True, 3).offset
    assert Block(7, False, 2).smaller(2) == Block(7, False, 2)
    assert Block(7, False, 2).smaller(6) == Block(7, False, 2)


@pytest.mark.parametrize(("size", "szx"), [(16, 0), (31, 0), (32, 1), (512, 5), (1023, 5), (1024, 6), (70_000, 6)])
def test_the_largest_block_within_a_size(size: int, szx: int) -> None:
    assert szx_for(size) == szx


def test_no_block_is_smaller_than_16_bytes() -> None:
    with pytest.raises(ValueError, match="at least 16"):
        szx_for(15)


def test_find_block() -> None:
    assert find_block(get(block2(3, 2)), BLOCK2) == Block(3, False, 2)
    assert find_block(get(block2(3, 2)), BLOCK1) is None


def test_blocks_of_one_transfer_have_one_key() -> None:
    """Section 2.3, and RFC 7252 section 5.4.6 for what is no part of the cache key."""
    path = (URI_PATH, b"a")
    plain = transfer_key(get(path))
    for same in [
        (BLOCK1, b"\x0e"), (BLOCK2, b"\x0e"), (SIZE1, b"\x10"), (SIZE2, b""), (ECHO, b"x"), (OBSERVE, b""),
        (NO_RESPONSE, b"\x02"), (16, b"\x05"),
    ]:  # fmt: skip
        assert transfer_key(get(path, same)) == plain, same
    for other in [(CONTENT_FORMAT, b"\x32"), (ACCEPT, b"\x32"), (REQUEST_TAG, b"1"), (URI_PATH, b"b"), (15, b"q=1")]:
        assert transfer_key(get(path, other)) != plain, other
    assert transfer_key(Message(0, POST, 1, b"", [path])) != plain
    # The token and the message id are each request's own.
    assert transfer_key(Message(1, GET, 99, b"tt", [path])) == plain


def test_a_body_in_blocks_of_128_as_in_the_rfc() -> None:
    """Section 3.2 figure 2: 2.05 with 2:0/1/128, 2:1/1/128, 2:2/0/128."""
    cuts = [cut_body(get(block2(number, 3)), [], 300, 1152) for number in range(3)]
    assert [cut and (cut.start, cut.end) for cut in cuts] == [(0, 128), (128, 256), (256, 300)]
    assert [cut and dict(cut.options)[BLOCK2].hex() for cut in cuts] == ["0b", "1b", "23"]


def test_the_size_is_told_with_the_first_block_and_when_it_is_asked() -> None:
    """Section 4."""
    first, second = (cut_body(get(block2(number, 6)), [], 5000, 1152) for number in range(2))
    assert first is not None
    assert second is not None
    assert decode_uint(dict(first.options)[SIZE2]) == 5000
    assert SIZE2 not in dict(second.options)
    asked = cut_body(get(block2(1, 6), (SIZE2, b"")), [], 5000, 1152)
    assert asked is not None
    assert decode_uint(dict(asked.options)[SIZE2]) == 5000


def test_a_size_that_is_asked_for_stays_when_the_body_fits() -> None:
    cut = cut_body(get(block2(0, 6), (SIZE2, b"")), [(ETAG, b"e")], 3, 1152)
    assert cut is not None
    assert (cut.start, cut.end, [number for number, _ in cut.options]) == (0, 3, [ETAG, BLOCK2, SIZE2])
    assert decode_block(dict(cut.options)[BLOCK2]) == Block(0, False, 6)


@pytest.mark.parametrize(("total", "number"), [(0, 1), (128, 1), (129, 2), (300, 3), (300, 0xFFFFF)])
def test_beyond_the_end_there_is_nothing(total: int, number: int) -> None:
    assert cut_body(get(block2(number, 3)), [], total, 1152) is None


def test_nothing_is_the_first_block_of_nothing() -> None:
    cut = cut_body(get(block2(0, 3)), [], 0, 1152)
    assert cut is not None
    assert (cut.start, cut.end) == (0, 0)


def test_a_number_that_the_smaller_size_cannot_express() -> None:
    # Block 0xFFFFF of 1024 bytes lies behind all blocks of 64 bytes that a number can name.
    assert cut_body(get(block2(0xFFFFF, 6)), [], 2**40, 128) is None


def test_options_that_leave_no_room() -> None:
    with pytest.raises(ValueError, match="no block"):
        cut_body(get(), [(ETAG, bytes(8)), (8, bytes(40))], 5000, 64)


options_of_a_response = st.lists(
    st.one_of(
        st.tuples(st.just(ETAG), st.binary(min_size=1, max_size=8)),
        st.tuples(st.just(CONTENT_FORMAT), st.binary(max_size=2)),
        st.tuples(st.just(BLOCK1), st.just(b"\x06")),
        st.tuples(st.just(8), st.binary(max_size=20)),
    ),
    max_size=4,
    unique_by=lambda option: option[0],
)


@unhurried
@given(
    st.integers(0, 6000),
    st.one_of(st.none(), st.integers(0, 6)),
    st.integers(64, 1400),
    st.integers(0, 6),
    st.binary(max_size=8),
    options_of_a_response,
)
def test_every_body_comes_whole_and_every_message_fits(
    total: int, asked: int | None, max_message: int, liked: int, token: bytes, options: list[tuple[int, bytes]]
) -> None:
    body = bytes(n * 7 & 0xFF for n in range(total))
    received = b""
    request = get(token=token) if asked is None else get(block2(0, asked), token=token)
    while True:
        try:
            cut = cut_body(request, options, total, max_message, liked)
        except ValueError:
            # Only where the smallest block does not fit.
            smallest = Message(2, 69, 1, token, [*options, (BLOCK2, b"\xff\xff\xff")], bytes(16))
            assert len(encode(smallest)) + 5 > max_message
            return
        assert cut is not None
        block = decode_block(dict(cut.options)[BLOCK2])
        assert cut.start == block.offset == len(received)
        assert cut.options == sorted(cut.options, key=lambda option: option[0])
        assert block.szx <= min(liked, 6 if asked is None else asked)
        received += body[cut.start : cut.end]
        message = Message(2, 69, 1, token, cut.options, body[cut.start : cut.end])
        assert len(encode(message)) <= max_message
        if not block.more:
            break
        assert cut.end - cut.start == block.size
        # A client goes on in the size that it was given (section 2.4).
        request = get(block2(block.number + 1, block.szx), token=token)
    assert received == body


@unhurried
@given(st.integers(1, 100_000), st.integers(0, 6), st.integers(0, 6), st.data())
def test_the_size_may_change_at_every_block(total: int, first: int, second: int, data: st.DataObject) -> None:
    """Late negotiation: any place that both sizes can name continues the body."""
    number = data.draw(st.integers(0, max(0, (total - 1) >> first + 4)))
    cut = cut_body(get(block2(number, first)), [], total, 1152, second)
    assert cut is not None
    assert cut.start == number << first + 4
    assert cut.end == min(total, cut.start + (16 << min(first, second)))
