"""Messages between supervisor and workers: in order, whole, bounded, and without waiting."""

import asyncio
import json
import socket
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from gateway.server.channel import Channel, ChannelError, Message, Switchboard, channel_pair, receive_message
from gateway.server.limits import MAX_CHANNEL_BACKLOG, MAX_CHANNEL_MESSAGE
from tests.server.support import until


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = channel_pair()
    yield one, other
    one.close()
    other.close()


def written(message: object) -> bytes:
    body = json.dumps(message).encode()
    return len(body).to_bytes(4) + body


@pytest.mark.asyncio
async def test_messages_arrive_whole_and_in_order_whatever_their_size(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    loop = asyncio.get_running_loop()
    one, other = Channel(ends[0]), Channel(ends[1])
    got: list[Message] = []
    other.on("count", got.append)
    sent = [{"kind": "count", "n": n, "fill": "é" * size} for n, size in enumerate([0, 1, 1_000_000, 300_000, 7])]
    assert one.send(sent[0])  # before the start it waits
    one.start(loop)
    other.start(loop)
    for message in sent[1:]:
        assert one.send(message)
    await until(lambda: len(got) == len(sent))
    assert got == sent
    one.close()
    other.close()


@pytest.mark.asyncio
async def test_an_end_that_does_not_read_costs_the_other_no_wait_and_a_bounded_memory(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    loop = asyncio.get_running_loop()
    one, other = Channel(ends[0]), Channel(ends[1])
    one.start(loop)
    message = {"kind": "x", "fill": "f" * 1_000_000}
    taken = 0
    while one.send(message):
        taken += 1
        assert taken <= MAX_CHANNEL_BACKLOG // 1_000_000 + 2  # and what the kernel holds
    assert one.refused == 1
    got: list[Message] = []
    other.on("x", got.append)
    other.start(loop)
    await until(lambda: len(got) == taken)
    assert one.send(message)  # there is room again
    await until(lambda: len(got) == taken + 1)
    with pytest.raises(ValueError, match="are the most"):
        one.send({"kind": "x", "fill": "f" * MAX_CHANNEL_MESSAGE})
    one.close()
    other.close()


@pytest.mark.asyncio
async def test_the_end_of_the_other_side_is_told_once_and_sending_to_it_is_refused(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    told: list[str] = []
    one = Channel(ends[0], on_close=lambda: told.append("gone"))
    one.start(asyncio.get_running_loop())
    ends[1].close()
    await until(lambda: told == ["gone"])
    assert not one.send({"kind": "x"})
    one.close()
    assert told == ["gone"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "data",
    [b"\xff\xff\xff\xff", b"\0\0\0\1{", written([]), written({"no": "kind"}), written({"kind": 1}), b"\0\0\0\0"],
    ids=["too long", "no JSON", "no object", "no kind", "kind is no text", "empty"],
)
async def test_what_is_no_message_ends_the_channel(ends: tuple[socket.socket, socket.socket], data: bytes) -> None:
    told: list[str] = []
    one = Channel(ends[0], on_close=lambda: told.append("gone"))
    with capture_logs() as lines:
        one.start(asyncio.get_running_loop())
        ends[1].sendall(data)
        await until(lambda: told == ["gone"])
    assert [line["event"] for line in lines] == ["worker.channel_failed"]


@pytest.mark.asyncio
async def test_a_handler_that_fails_and_a_kind_that_nobody_knows_end_nothing(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    got: list[Message] = []

    def fail(message: Message) -> None:
        raise RuntimeError("a bug")

    one = Channel(ends[0])
    one.on("bad", fail)
    one.on("good", got.append)
    with capture_logs() as lines:
        one.start(asyncio.get_running_loop())
        ends[1].sendall(written({"kind": "bad"}) + written({"kind": "unknown"}) + written({"kind": "good"}))
        await until(lambda: len(got) == 1)
    assert [line["event"] for line in lines] == ["server.fault", "server.fault"]
    one.close()


def test_the_first_message_is_taken_without_the_second(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[0].sendall(written({"kind": "begin"}) + written({"kind": "more"}))
    assert receive_message(ends[1]) == {"kind": "begin"}
    assert receive_message(ends[1]) == {"kind": "more"}
    ends[0].sendall(b"\0\0")
    ends[0].close()
    with pytest.raises(ChannelError, match="gone"):
        receive_message(ends[1])


@pytest.mark.asyncio
async def test_the_switchboard_knows_who_speaks_and_who_is_there(ends: tuple[socket.socket, socket.socket]) -> None:
    loop = asyncio.get_running_loop()
    board = Switchboard()
    seen: list[object] = []
    board.on("ask", lambda worker, message: seen.append((worker, message["n"])))
    board.listen(lambda worker, there: seen.append((worker, there)))
    mine, worker = Channel(ends[0]), Channel(ends[1])
    answers: list[Message] = []
    worker.on("answer", answers.append)
    board.plug(3, mine)
    mine.start(loop)
    worker.start(loop)
    worker.send({"kind": "ask", "n": 1})
    await until(lambda: (3, 1) in seen)
    assert board.workers == [3]
    assert board.send(3, {"kind": "answer"})
    assert not board.send(0, {"kind": "answer"})
    await until(lambda: len(answers) == 1)
    board.unplug(3)
    board.unplug(3)
    assert seen == [(3, True), (3, 1), (3, False)]
    assert not board.send(3, {"kind": "answer"})
    worker.close()
