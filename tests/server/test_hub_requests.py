"""Requests to devices that are connected to another worker; what devices send goes through aiocoap's codec."""

import asyncio
import os
from contextlib import aclosing
from pathlib import Path

import aiocoap  # type: ignore[import-untyped]
import pytest

from gateway.handlers import Code, DeviceBusy, DeviceNotConnected, DeviceRefused, DeviceTimeout, QueueState
from gateway.server import line
from tests.server.support import empty, encoded, no_lines, until
from tests.server.test_command_queue import ASLEEP, next_request, speaks
from tests.server.test_commands import FAST, answer, next_block, respond
from tests.server.workers_together import several

pytestmark = pytest.mark.asyncio


async def test_a_device_of_another_worker_is_asked_like_one_of_ours(tmp_path: Path) -> None:
    async with several(tmp_path, count=3) as workers, workers[1].wire() as device:
        await workers.quiet()
        for app in workers.apps:
            assert app.device("dev1").connected
            asking = asyncio.create_task(app.device("dev1").request("PUT", "/a%20b?x=1", {"on": True}, accept=60))
            request = await device.message()
            assert (request.mtype, request.code, request.payload) == (aiocoap.CON, aiocoap.PUT, b'{"on":true}')
            assert (request.opt.uri_path, request.opt.uri_query, request.opt.accept) == (("a b",), ("x=1",), 60)
            response = aiocoap.Message(code=aiocoap.CHANGED, payload=b"\xa0\x00", content_format=60, etag=b"v1")
            device.send(device.client.data(encoded(response, aiocoap.ACK, request.mid, request.token)))
            got = await asking
            assert (got.code, got.payload, got.content_format, got.etag) == (Code.CHANGED, b"\xa0\x00", 60, b"v1")
        assert await workers[1].samples("gateway_coap_device_requests_total") == {("answered",): 3}
        assert (await workers[0].samples("gateway_hub_exchanges_total"))["answered",] > 0
        no_lines(workers.lines, "warning", "error")


async def test_a_device_that_nobody_has(tmp_path: Path) -> None:
    async with several(tmp_path) as workers:
        app = workers.apps[0]
        assert not app.device("dev1").connected
        with pytest.raises(DeviceNotConnected, match="is not connected"):
            await app.device("dev1").get("/")
        async with workers[1].wire() as there:
            await until(lambda: app.device("dev1").connected)
            there.send(there.client.alert(1, 0, epoch=1))  # close_notify
            await until(lambda: not app.device("dev1").connected)


async def test_the_errors_are_those_of_one_worker(tmp_path: Path) -> None:
    async with several(tmp_path, FAST) as workers, workers[1].wire() as device:
        remote = workers.apps[0].device("dev1")
        asking = asyncio.create_task(remote.get("/reset"))
        request = await device.message()
        device.send(device.client.data(empty(aiocoap.RST, request.mid)))
        with pytest.raises(DeviceRefused, match="rejected"):
            await asking
        with pytest.raises(DeviceTimeout, match="did not acknowledge") as silent:
            await remote.get("/silence")
        assert silent.value.sent
        with pytest.raises(ValueError, match="method"):
            await remote.request("JUMP", "/")
        texts = []
        for app in workers.apps:
            with pytest.raises(ValueError) as wrong:  # noqa: PT011 - the text is that of one worker
                await app.device("dev1").get("/", options=[(65001, bytes(1500))])
            texts.append(str(wrong.value))
        assert texts[0] == texts[1] != ""


async def test_a_busy_device(tmp_path: Path) -> None:
    async with several(tmp_path) as workers, workers[1].wire() as device:
        remote = workers.apps[0].device("dev1")
        waiting = [asyncio.create_task(remote.get(f"/{number}")) for number in range(16)]
        await device.message()
        await workers.quiet()
        with pytest.raises(DeviceBusy, match="16 requests"):
            await remote.get("/one-more")
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await workers.quiet()
        assert (await workers[1].samples("gateway_coap_device_requests_total"))["cancelled",] == 16


async def test_bodies_of_a_megabyte(tmp_path: Path) -> None:
    body, got = os.urandom(1024 * 1024), bytearray()
    async with several(tmp_path) as workers, workers[1].wire() as device:
        remote = workers.apps[0].device("dev1")
        asking = asyncio.create_task(remote.put("/firmware", body))
        while len(got) < len(body):
            request = await next_block(device, aiocoap.PUT)
            block = request.opt.block1
            got += request.payload
            code = aiocoap.CONTINUE if block.more else aiocoap.CHANGED
            await respond(device, request, code, block1=(block.block_number, block.more, block.size_exponent))
        assert (await asking).code == Code.CHANGED
        assert got == body
        asking = asyncio.create_task(remote.get("/log"))
        for start in range(0, len(body), 1024):
            request = await next_block(device, aiocoap.GET)
            more = start + 1024 < len(body)
            payload = body[start : start + 1024]
            await respond(device, request, aiocoap.CONTENT, payload=payload, block2=(start // 1024, more, 6))
        assert (await asking).payload == body
        assert workers.events("hub.message_lost") == []


async def test_more_at_once_than_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "MAX_EXCHANGES", 3)
    async with several(tmp_path) as workers, workers[1].wire() as device:
        remote = workers.apps[0].device("dev1")
        waiting = [asyncio.create_task(remote.get(f"/{number}")) for number in range(3)]
        await device.message()
        with pytest.raises(DeviceBusy, match="other workers"):
            await remote.get("/one-more")
        assert (await workers[0].samples("gateway_hub_exchanges_total"))["full",] == 1
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert workers.together(0).line._exchanges == {}


# --- where the newest session is -----------------------------------------------------------------------------------


async def test_the_newest_session_is_asked_wherever_it_is(tmp_path: Path) -> None:
    """A device restarts and comes to another worker, again and again; the old sessions are there still."""
    async with several(tmp_path, count=3) as workers:
        wires = [workers[each].wire() for each in (0, 1, 0, 2, 1)]
        for device in wires:
            await device.connect()
            await workers.quiet()
            for app in workers.apps:
                asking = asyncio.create_task(app.device("dev1").get("/"))
                answer(device, await device.message(), b"here")
                assert (await asking).payload == b"here"
        # And back: each one leaves, and the one before it is the newest again. Four may be there.
        for device, before in zip(reversed(wires[2:]), reversed(wires[1:-1]), strict=True):
            device.send(device.client.alert(1, 0, epoch=1))
            await device.alert()
            device.udp.close()
            await workers.quiet()
            for app in workers.apps:
                asking = asyncio.create_task(app.device("dev1").get("/"))
                answer(before, await next_request(before), b"there")
                assert (await asking).payload == b"there"
        for device in wires[:2]:
            device.udp.close()


async def test_what_never_went_out_goes_to_where_the_device_has_gone(tmp_path: Path) -> None:
    async with several(tmp_path, count=3) as workers:
        first = workers[1].wire()
        await first.connect()
        remote = workers.apps[0].device("dev1")
        ahead = asyncio.create_task(remote.get("/ahead"))  # NSTART: the next one waits behind it
        await first.message()
        behind = asyncio.create_task(remote.get("/behind"))
        await workers.quiet()
        async with workers[2].wire() as second:
            await workers.quiet()
            first.send(first.client.alert(1, 0, epoch=1))
            request = await second.message()
            assert request.opt.uri_path == ("behind",)
            answer(second, request, b"done")
            assert (await behind).payload == b"done"
            with pytest.raises(DeviceNotConnected, match="ended before it answered"):
                await ahead
        first.udp.close()


# --- observing -----------------------------------------------------------------------------------------------------


def notification(request: aiocoap.Message, number: int, payload: bytes) -> bytes:
    message = aiocoap.Message(code=aiocoap.CONTENT, payload=payload, observe=number)
    return encoded(message, aiocoap.NON, 40000 + number, request.token)


async def test_observing_a_device_of_another_worker(tmp_path: Path) -> None:
    async with several(tmp_path) as workers, workers[1].wire() as device:
        async with aclosing(workers.apps[0].device("dev1").observe("/temperature")) as states:
            first = asyncio.create_task(anext(states))
            request = await device.message()
            assert request.opt.observe == 0
            response = aiocoap.Message(code=aiocoap.CONTENT, payload=b"20", observe=1)
            device.send(device.client.data(encoded(response, aiocoap.ACK, request.mid, request.token)))
            assert (await first).payload == b"20"
            for number in range(2, 5):
                device.send(device.client.data(notification(request, number, b"%d" % number)))
                assert (await anext(states)).payload == b"%d" % number
        # Whoever observed has seen enough: the device is told so by a reset (RFC 7641 section 3.6).
        await until(lambda: workers.together(1).line._tasks == {})
        late = notification(request, 9, b"9")
        device.send(device.client.data(late))
        reset = await device.message()
        assert (reset.mtype, reset.mid) == (aiocoap.RST, 40009)


@pytest.mark.parametrize("observer", [0, 1, 2])
async def test_observing_goes_on_in_a_new_session_at_another_worker(tmp_path: Path, observer: int) -> None:
    async with several(tmp_path, count=3) as workers:
        first = workers[1].wire()
        await first.connect()
        await workers.quiet()
        async with aclosing(workers.apps[observer].device("dev1").observe("/t")) as states:
            waiting = asyncio.create_task(anext(states))
            request = await first.message()
            response = aiocoap.Message(code=aiocoap.CONTENT, payload=b"1", observe=1)
            first.send(first.client.data(encoded(response, aiocoap.ACK, request.mid, request.token)))
            assert (await waiting).payload == b"1"
            async with workers[2].wire() as second:
                await workers.quiet()
                waiting = asyncio.create_task(anext(states))
                first.send(first.client.alert(1, 0, epoch=1))
                request = await second.message()
                assert request.opt.observe == 0
                response = aiocoap.Message(code=aiocoap.CONTENT, payload=b"2", observe=1)
                second.send(second.client.data(encoded(response, aiocoap.ACK, request.mid, request.token)))
                assert (await waiting).payload == b"2"
                waiting = asyncio.create_task(anext(states))
                second.send(second.client.alert(1, 0, epoch=1))
                with pytest.raises(DeviceNotConnected):
                    await waiting
        first.udp.close()


# --- a worker that dies --------------------------------------------------------------------------------------------


async def test_a_worker_that_dies_while_it_asks_for_us(tmp_path: Path) -> None:
    async with several(tmp_path, count=3) as workers, workers[1].wire() as device:
        remote = workers.apps[0].device("dev1")
        asking = asyncio.create_task(remote.get("/"))
        watching = workers.apps[2].device("dev1").observe("/t")
        seen = asyncio.create_task(anext(watching))
        await device.message()
        await workers.quiet()
        workers.die(1)
        with pytest.raises(DeviceNotConnected, match="worker ended before it answered"):
            await asking
        with pytest.raises(DeviceNotConnected):
            await seen
        await workers.quiet()
        assert not remote.connected
        assert len(workers.hub.directory) == 0
        assert workers.together(0).line.workers == {2}
        async with workers[2].wire() as again:
            asking = asyncio.create_task(remote.get("/"))
            answer(again, await again.message(), b"back")
            assert (await asking).payload == b"back"


async def test_a_worker_that_dies_while_we_ask_leaves_nothing_behind(tmp_path: Path) -> None:
    async with several(tmp_path) as workers, workers[1].wire() as device:
        asking = asyncio.create_task(workers.apps[0].device("dev1").get("/"))
        await device.message()
        workers.die(0)
        await until(lambda: workers.together(1).line._tasks == {})
        assert workers.hub._workers[1].does == set()
        assert (await workers[1].samples("gateway_coap_device_requests_total"))["cancelled",] == 1
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def test_a_queued_post_in_a_worker_that_dies_is_not_done_twice(tmp_path: Path) -> None:
    async with several(tmp_path, ASLEEP) as workers, workers[1].wire() as device:
        await workers.quiet()
        post = workers.apps[0].device("dev1").queue("POST", "/a")
        get = workers.apps[0].device("dev1").queue("GET", "/b")
        await workers.quiet()
        await speaks(device)
        await next_request(device)
        workers.die(1)
        await until(lambda: post.state is QueueState.FAILED)
        assert get.state is QueueState.QUEUED
