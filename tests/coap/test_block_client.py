"""The client's side of block-wise transfer (RFC 7959): exchanges of its section 3, and a model of a server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.coap import BlockError, BlockTransfer, Code, Message, encode, limits
from gateway.coap.blockwise import Block, decode_block, encode_block
from tests.coap.strategies import unhurried

PATH = [(11, b"status")]
BLOCK2, BLOCK1, SIZE2, SIZE1, ETAG, REQUEST_TAG = 23, 27, 28, 60, 4, 292


def response(
    code: int, payload: bytes = b"", block2: Block | None = None, block1: Block | None = None, etag: bytes = b""
) -> Message:
    options = [(ETAG, etag)] if etag else []
    options += [(BLOCK2, encode_block(block2))] if block2 else []
    options += [(BLOCK1, encode_block(block1))] if block1 else []
    return Message(2, code, 1, b"t", options, payload)


def block_of(transfer: BlockTransfer, number: int) -> Block | None:
    for have, value in transfer.options:
        if have == number:
            return decode_block(value)
    return None


def test_what_fits_is_left_as_it_is() -> None:
    transfer = BlockTransfer(Code.POST, PATH, b"1", 1152)
    assert (transfer.options, transfer.payload, transfer.in_blocks) == (PATH, b"1", False)
    answer = response(Code.CHANGED, b"2")
    assert transfer.take(answer)
    assert transfer.response is answer


def test_figure_2_simple_download() -> None:
    # 2:0/1/128, 2:1/1/128, 2:2/0/128.
    transfer = BlockTransfer(Code.GET, PATH, b"", 1152)
    assert not transfer.take(response(Code.CONTENT, b"a" * 128, Block(0, True, 3), etag=b"v"))
    assert transfer.options == [*PATH, (BLOCK2, encode_block(Block(1, False, 3)))]
    assert not transfer.take(response(Code.CONTENT, b"b" * 128, Block(1, True, 3), etag=b"v"))
    assert block_of(transfer, BLOCK2) == Block(2, False, 3)
    assert transfer.take(response(Code.CONTENT, b"c", Block(2, False, 3), etag=b"v"))
    assert transfer.response is not None
    assert transfer.response.payload == b"a" * 128 + b"b" * 128 + b"c"
    assert transfer.response.options == [(ETAG, b"v")]


def test_figure_6_simple_upload_and_figure_7_late_negotiation() -> None:
    # 1:0/1/128 is answered 1:0/1/32: it goes on with 1:4/1/32.
    body = bytes(range(150))
    transfer = BlockTransfer(Code.PUT, PATH, body, 160)
    first = block_of(transfer, BLOCK1)
    assert first == Block(0, True, 3)
    assert (SIZE1, b"\x96") in transfer.options
    assert transfer.payload == body[:128]
    assert not transfer.take(response(Code.CONTINUE, block1=Block(0, True, 1)))
    assert block_of(transfer, BLOCK1) == Block(4, False, 1)
    assert transfer.payload == body[128:]
    assert SIZE1 not in [number for number, _ in transfer.options]
    assert transfer.take(response(Code.CHANGED, block1=Block(4, False, 1)))


def test_figure_11_upload_and_download() -> None:
    transfer = BlockTransfer(Code.POST, PATH, bytes(100), 90)
    assert not transfer.take(response(Code.CONTINUE, block1=Block(0, True, 1)))
    assert not transfer.take(response(Code.CONTINUE, block1=Block(1, True, 1)))
    assert not transfer.take(response(Code.CONTINUE, block1=Block(2, True, 1)))
    assert not transfer.take(response(Code.CHANGED, b"x" * 32, Block(0, True, 1), Block(3, False, 1)))
    # The rest of the answer is asked for without the request's body (section 3.3).
    assert transfer.options == [*PATH, (BLOCK2, encode_block(Block(1, False, 1)))]
    assert transfer.payload == b""
    assert transfer.take(response(Code.CHANGED, b"y", Block(1, False, 1)))
    assert transfer.response is not None
    assert (transfer.response.code, transfer.response.payload) == (Code.CHANGED, b"x" * 32 + b"y")


def test_a_body_in_blocks_has_its_tag_in_every_message_and_what_fits_has_none() -> None:
    # RFC 9175 section 3.4: the blocks of the answer are asked for with the tag of the request's.
    tag = (REQUEST_TAG, b"\x07")
    transfer = BlockTransfer(Code.POST, PATH, bytes(100), 90, request_tag=b"\x07")
    sent = [transfer.options]
    for answer in (
        response(Code.CONTINUE, block1=Block(0, True, 1)),
        response(Code.CONTINUE, block1=Block(1, True, 1)),
        response(Code.CONTINUE, block1=Block(2, True, 1)),
        response(Code.CHANGED, b"x" * 32, Block(0, True, 1), Block(3, False, 1)),
    ):
        assert not transfer.take(answer)
        sent.append(transfer.options)
    assert all(options.count(tag) == 1 and options == sorted(options) for options in sent)
    assert len(encode(Message(0, Code.POST, 1, b"12345678", sent[0], transfer.payload))) <= 90
    assert BlockTransfer(Code.POST, PATH, b"1", 1152, request_tag=b"\x07").options == PATH
    # Whoever sets one of its own knows why.
    own = BlockTransfer(Code.PUT, [*PATH, (REQUEST_TAG, b"own")], bytes(2000), 1152, request_tag=b"\x07")
    assert [value for number, value in own.options if number == REQUEST_TAG] == [b"own"]


def test_a_fetch_says_with_each_block_what_it_asks_for() -> None:
    transfer = BlockTransfer(Code.FETCH, PATH, b"query", 1152)
    assert not transfer.take(response(Code.CONTENT, bytes(16), Block(0, True, 0)))
    assert transfer.payload == b"query"


def test_the_rest_of_a_notification_is_asked_for_without_observe() -> None:
    transfer = BlockTransfer(Code.GET, [(6, b""), *PATH], b"", 1152)
    assert not transfer.take(response(Code.CONTENT, bytes(16), Block(0, True, 0)))
    assert transfer.options == [*PATH, (BLOCK2, encode_block(Block(1, False, 0)))]


def test_too_large_a_block_is_sent_again_in_smaller_ones() -> None:
    # Section 2.9.3.
    transfer = BlockTransfer(Code.PUT, PATH, bytes(3000), 1152)
    assert block_of(transfer, BLOCK1) == Block(0, True, 6)
    assert not transfer.take(response(Code.REQUEST_ENTITY_TOO_LARGE, block1=Block(0, True, 2)))
    assert block_of(transfer, BLOCK1) == Block(0, True, 2)
    assert len(transfer.payload) == 64
    refused = response(Code.REQUEST_ENTITY_TOO_LARGE, block1=Block(0, True, 2))
    assert transfer.take(refused)
    assert transfer.response is refused


@pytest.mark.parametrize("code", [Code.REQUEST_ENTITY_INCOMPLETE, Code.REQUEST_ENTITY_TOO_LARGE, Code.NOT_FOUND])
def test_an_error_in_the_midst_is_the_answer(code: int) -> None:
    transfer = BlockTransfer(Code.PUT, PATH, bytes(3000), 1152)
    assert not transfer.take(response(Code.CONTINUE, block1=Block(0, True, 6)))
    assert transfer.take(response(code))
    assert transfer.response is not None
    assert transfer.response.code == code


def test_a_server_that_answers_without_the_rest() -> None:
    transfer = BlockTransfer(Code.PUT, PATH, bytes(3000), 1152)
    assert transfer.take(response(Code.CHANGED))


def test_a_continue_for_another_block() -> None:
    transfer = BlockTransfer(Code.PUT, PATH, bytes(3000), 1152)
    with pytest.raises(BlockError, match="not for block 0"):
        transfer.take(response(Code.CONTINUE, block1=Block(1, True, 6)))


@pytest.mark.parametrize(
    ("second", "match"),
    [
        (response(Code.CONTENT, bytes(16), Block(2, True, 0), etag=b"v"), "byte 32 came in place of byte 16"),
        (response(Code.CONTENT, bytes(16), Block(0, True, 0), etag=b"v"), "byte 0 came"),
        (response(Code.CONTENT, bytes(15), Block(1, True, 0), etag=b"v"), "a block of 16 bytes has 15"),
        (response(Code.CONTENT, bytes(16), Block(1, True, 0), etag=b"w"), "changed while"),
        (response(Code.CONTENT, bytes(16), Block(1, True, 0)), "changed while"),
        (response(Code.CONTENT, bytes(16), etag=b"v"), "goes on as another"),
        (response(Code.NOT_FOUND, bytes(16), Block(1, True, 0), etag=b"v"), "goes on as another"),
    ],
)
def test_blocks_that_do_not_fit_together(second: Message, match: str) -> None:
    transfer = BlockTransfer(Code.GET, PATH, b"", 1152)
    assert not transfer.take(response(Code.CONTENT, bytes(16), Block(0, True, 0), etag=b"v"))
    with pytest.raises(BlockError, match=match):
        transfer.take(second)


def test_a_first_block_that_is_none() -> None:
    for value in (Block(3, True, 0), Block(1, False, 0)):
        with pytest.raises(BlockError, match="in place of byte 0"):
            BlockTransfer(Code.GET, PATH, b"", 1152).take(response(Code.CONTENT, bytes(16), value))
    reserved = Message(2, Code.CONTENT, 1, b"", [(BLOCK2, b"\x0f")], bytes(16))
    with pytest.raises(BlockError):
        BlockTransfer(Code.GET, PATH, b"", 1152).take(reserved)


def test_an_answer_without_an_end() -> None:
    transfer = BlockTransfer(Code.GET, PATH, b"", 1152)
    for number in range(limits.DOWNLOAD_BYTES // 1024):
        assert not transfer.take(response(Code.CONTENT, bytes(1024), Block(number, True, 6)))
    with pytest.raises(BlockError, match="larger than"):
        transfer.take(response(Code.CONTENT, bytes(1024), Block(number + 1, True, 6)))


def test_whoever_speaks_of_blocks_is_left_alone() -> None:
    options = [*PATH, (BLOCK2, encode_block(Block(7, False, 2)))]
    transfer = BlockTransfer(Code.GET, options, b"", 1152)
    assert transfer.options == options
    answer = response(Code.CONTENT, bytes(64), Block(7, True, 2))
    assert transfer.take(answer)
    assert transfer.response is answer


def test_no_room_for_a_block() -> None:
    with pytest.raises(ValueError, match="at least 16 bytes"):
        BlockTransfer(Code.PUT, [(11, b"x" * 200)], bytes(100), 220)


@unhurried
@given(
    st.binary(max_size=700),
    st.binary(max_size=700),
    st.integers(64, 1200),
    st.lists(st.integers(0, 6), min_size=1, max_size=20),
)
def test_any_bodies_by_a_server_that_changes_its_mind(
    body: bytes, answer: bytes, max_message: int, sizes: list[int]
) -> None:
    """A model of a server: it takes blocks in order, asks for smaller ones when it likes, and cuts its answer."""
    transfer = BlockTransfer(Code.POST, PATH, body, max_message)
    got, at = b"", 0
    while True:
        encoded = 13 + sum(len(value) + 5 for _, value in transfer.options) + len(transfer.payload)
        assert encoded <= max_message + 16 or not transfer.in_blocks
        block1, block2 = block_of(transfer, BLOCK1), block_of(transfer, BLOCK2)
        wish = sizes[at % len(sizes)]
        at += 1
        if block2 is None:
            got += transfer.payload
            if block1 is not None and block1.more:
                assert len(transfer.payload) == block1.size
                assert block1.offset == len(got) - block1.size
                szx = min(wish, block1.szx)
                assert not transfer.take(response(Code.CONTINUE, block1=Block(block1.number, True, szx)))
                continue
        asked = Block(0, False, wish) if block2 is None else block2
        part = answer[asked.offset : asked.offset + asked.size]
        more = asked.offset + asked.size < len(answer)
        if transfer.take(response(Code.CHANGED, part, Block(asked.number, more, asked.szx), block1)):
            break
    assert got == body
    assert transfer.response is not None
    assert transfer.response.payload == answer
