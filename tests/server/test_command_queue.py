"""Requests that wait for devices that sleep; the devices' messages go through aiocoap's codec."""

import asyncio
from pathlib import Path
from typing import Any

import aiocoap  # type: ignore[import-untyped]
import pytest

from gateway.handlers import App, Code, DeviceBusy, DeviceNotConnected, DeviceRefused, DeviceTimeout, QueueState
from gateway.server import command_queue
from gateway.server.limits import MAX_QUEUED_OF_ONE
from tests.server.support import PATIENCE_S, Gateway, WireDevice, empty, encoded, running, until
from tests.server.test_commands import FAST, answer

pytestmark = pytest.mark.asyncio

ASLEEP = {"coap__awake_time": 0}


async def waiting(gateway: Gateway) -> int:
    return sum((await gateway.samples("gateway_coap_queued_requests")).values())


async def speaks(device: WireDevice) -> None:
    """Sends a request of its own, without waiting for the answer."""
    device.send(device.client.data(device.request(aiocoap.GET, "/nowhere", confirmable=False)))


async def next_request(device: WireDevice) -> aiocoap.Message:
    """The next request of the gateway, past answers of it."""
    while not (message := await device.message()).code.is_request():
        pass
    return message


async def test_for_a_device_that_is_not_connected(tmp_path: Path) -> None:
    app = App()
    async with running(tmp_path, app) as gateway:
        queued = [app.device("dev1").queue("PUT", f"/{number}", b"1") for number in range(3)]
        assert {each.state for each in queued} == {QueueState.QUEUED}
        assert (queued[0].response, queued[0].error, queued[0].device) == (None, None, "dev1")
        assert await waiting(gateway) == 3
        async with gateway.wire() as device:
            for number in range(3):
                request = await next_request(device)
                assert (request.code, request.opt.uri_path) == (aiocoap.PUT, (str(number),))
                answer(device, request, code=aiocoap.CHANGED)
                assert (await queued[number].wait()).code == Code.CHANGED
        assert {each.state for each in queued} == {QueueState.DONE}
        assert await waiting(gateway) == 0
        assert [line["result"] for line in gateway.events("coap.queued_request_ended")] == ["done"] * 3
        found = app.queued(queued[1].id)
        assert found is queued[1]
        assert (await found.wait()).code == Code.CHANGED
        assert app.queued("0" * 32) is None


async def test_for_a_device_that_spoke_just_now(tmp_path: Path) -> None:
    app = App()
    async with running(tmp_path, app) as gateway, gateway.wire() as device:
        queued = app.device("dev1").queue("GET", "/a")
        assert queued.state is QueueState.SENT
        assert not queued.cancel()
        answer(device, await device.message(), b"1")
        assert (await queued.wait()).payload == b"1"


async def test_for_a_device_that_sleeps_until_it_speaks(tmp_path: Path) -> None:
    app = App()
    async with running(tmp_path, app, **ASLEEP) as gateway, gateway.wire() as device:
        queued = app.device("dev1").queue("POST", "/a", b"1")
        other = app.device("dev1").queue("GET", "/b")
        assert (queued.state, other.state) == (QueueState.QUEUED, QueueState.QUEUED)
        await speaks(device)
        answer(device, await next_request(device), b"a")
        answer(device, await next_request(device), b"b")
        assert ((await queued.wait()).payload, (await other.wait()).payload) == (b"a", b"b")


async def test_for_a_device_whose_newest_session_ends(tmp_path: Path) -> None:
    """It has an older one, and speaks there next."""
    app = App()
    async with running(tmp_path, app, **ASLEEP) as gateway, gateway.wire() as older, gateway.wire() as newer:
        queued = app.device("dev1").queue("GET", "/a")
        newer.send(newer.client.alert(1, 0, epoch=1))
        await gateway.event("dtls.session_closed")
        assert queued.state is QueueState.QUEUED
        await speaks(older)
        answer(older, await next_request(older), b"1")
        assert (await queued.wait()).payload == b"1"


async def test_an_idempotent_request_without_an_answer_is_sent_again(tmp_path: Path) -> None:
    app = App()
    async with running(tmp_path, app, **FAST, **ASLEEP) as gateway, gateway.wire() as device:
        queued = app.device("dev1").queue("PUT", "/a", b"1")
        await speaks(device)
        first = await next_request(device)
        assert (await device.message()).mid == first.mid  # once more, and given up
        await until(lambda: queued.state is QueueState.QUEUED)
        await speaks(device)
        again = await next_request(device)
        assert again.mid != first.mid
        answer(device, again, code=aiocoap.CHANGED)
        assert (await queued.wait()).code == Code.CHANGED


async def test_a_post_without_an_answer_is_not_sent_again(tmp_path: Path) -> None:
    """The device may have done it; and what waits behind it goes out when the device speaks."""
    app = App()
    async with running(tmp_path, app, **FAST, **ASLEEP) as gateway, gateway.wire() as device:
        queued, behind = app.device("dev1").queue("POST", "/a"), app.device("dev1").queue("GET", "/b")
        await speaks(device)
        await next_request(device)
        with pytest.raises(DeviceTimeout, match="did not acknowledge") as caught:
            await queued.wait()
        assert caught.value.sent
        assert queued.state is QueueState.FAILED
        assert behind.state is QueueState.QUEUED
        await speaks(device)
        while (request := await next_request(device)).opt.uri_path == ("a",):
            pass  # the repetition of the first
        answer(device, request, b"b")
        assert (await behind.wait()).payload == b"b"


async def test_a_session_that_ends_meanwhile(tmp_path: Path) -> None:
    app = App()
    async with running(tmp_path, app, **ASLEEP) as gateway:
        async with gateway.wire() as device:
            post, get = app.device("dev1").queue("POST", "/a"), app.device("dev1").queue("GET", "/b")
            await speaks(device)
            await next_request(device)
            device.send(device.client.alert(1, 0, epoch=1))
            with pytest.raises(DeviceNotConnected):
                await post.wait()
        async with gateway.wire() as device:
            request = await next_request(device)
            assert request.opt.uri_path == ("b",)
            device.send(device.client.alert(1, 0, epoch=1))
        async with gateway.wire() as device:
            answer(device, await next_request(device), b"b")
            assert (await get.wait()).payload == b"b"


async def test_rejected(tmp_path: Path) -> None:
    app = App()
    async with running(tmp_path, app) as gateway, gateway.wire() as device:
        queued, behind = app.device("dev1").queue("GET", "/a"), app.device("dev1").queue("GET", "/b")
        device.send(device.client.data(empty(aiocoap.RST, (await device.message()).mid)))
        with pytest.raises(DeviceRefused):
            await queued.wait()
        answer(device, await device.message(), b"b")
        assert (await behind.wait()).payload == b"b"


async def test_one_that_cannot_be_sent_stands_in_nobodys_way(tmp_path: Path) -> None:
    app = App()
    async with running(tmp_path, app) as gateway:
        queued, behind = app.device("dev1").queue("GET", "/" + "x" * 1200), app.device("dev1").queue("GET", "/b")
        async with gateway.wire() as device:
            answer(device, await next_request(device), b"b")
            assert (await behind.wait()).payload == b"b"
        with pytest.raises(DeviceRefused, match="at least 16 bytes"):
            await queued.wait()


async def test_a_large_one(tmp_path: Path) -> None:
    app = App()
    async with running(tmp_path, app) as gateway:
        queued = app.device("dev1").queue("PUT", "/a", bytes(2000))
        async with gateway.wire() as device:
            for _ in range(2):
                request = await next_request(device)
                block = request.opt.block1
                response = aiocoap.Message(code=aiocoap.CONTINUE if block.more else aiocoap.CHANGED, block1=block)
                device.send(device.client.data(encoded(response, aiocoap.ACK, request.mid, request.token)))
            assert (await queued.wait()).code == Code.CHANGED


async def first_of_two_blocks(device: WireDevice, request: aiocoap.Message) -> None:
    """The device has done it, and its answer does not fit one message."""
    response = aiocoap.Message(code=aiocoap.CHANGED, payload=bytes(16), block2=(0, True, 0))
    device.send(device.client.data(encoded(response, aiocoap.ACK, request.mid, request.token)))


@pytest.mark.parametrize("silent", [True, False])
async def test_a_post_whose_answer_comes_in_part_is_not_done_twice(tmp_path: Path, silent: bool) -> None:
    app = App()
    async with running(tmp_path, app, **FAST) as gateway:
        queued = app.device("dev1").queue("POST", "/a")
        async with gateway.wire() as device:
            request = await next_request(device)
            await first_of_two_blocks(device, request)
            assert (await next_request(device)).opt.block2.block_number == 1
            if not silent:
                device.send(device.client.alert(1, 0, epoch=1))
            with pytest.raises((DeviceNotConnected, DeviceTimeout)):
                await queued.wait()
        async with gateway.wire() as device:
            answered = await device.ask(device.request(aiocoap.GET, "/nowhere"))
            assert answered.code is aiocoap.NOT_FOUND
        assert queued.state is QueueState.FAILED


async def test_a_post_whose_next_block_finds_no_session_is_not_done_twice(tmp_path: Path) -> None:
    """The session ends in the very moment in which the first block of the answer has come."""
    app = App()
    async with running(tmp_path, app, **FAST) as gateway:
        queued = app.device("dev1").queue("POST", "/a")
        async with gateway.wire() as device:
            await first_of_two_blocks(device, await next_request(device))
            device.send(device.client.alert(1, 0, epoch=1))
            async with asyncio.timeout(PATIENCE_S):
                with pytest.raises((DeviceNotConnected, DeviceTimeout)):
                    await queued.wait()
        async with gateway.wire() as device:
            assert (await device.ask(device.request(aiocoap.GET, "/nowhere"))).code is aiocoap.NOT_FOUND


async def test_a_busy_device_does_not_keep_a_request_beyond_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = App()
    async with running(tmp_path, app) as gateway, gateway.wire():
        asking = [asyncio.create_task(app.device("dev1").get("/a")) for _ in range(16)]
        await asyncio.sleep(0)
        assert gateway.worker._pushes is not None
        commands = gateway.worker._pushes.commands
        original = commands.perform

        async def late(*arguments: Any) -> Any:
            await asyncio.sleep(0.05)  # its time passes meanwhile
            return await original(*arguments)

        monkeypatch.setattr(commands, "perform", late)
        queued = app.device("dev1").queue("GET", "/b", expires=0.01)
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises((DeviceTimeout, DeviceBusy)):
                await queued.wait()
        assert await waiting(gateway) == 0
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


async def test_answers_that_are_kept_are_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_queue, "KEPT_RESULT_BYTES", 2500, raising=False)
    app = App()
    async with running(tmp_path, app) as gateway, gateway.wire() as device:
        done = []
        for _ in range(5):
            queued = app.device("dev1").queue("GET", "/log")
            answer(device, await next_request(device), bytes(1000))
            await queued.wait()
            done.append(queued)
        assert [app.queued(each.id) is not None for each in done] == [False] * 3 + [True] * 2


async def test_expired(tmp_path: Path) -> None:
    app = App()
    async with running(tmp_path, app) as gateway:
        queued = app.device("dev1").queue("GET", "/a", expires=0.02)
        with pytest.raises(DeviceTimeout, match="did not speak in time") as caught:
            await queued.wait()
        assert (queued.state, caught.value.sent) == (QueueState.EXPIRED, False)
        assert await waiting(gateway) == 0


async def test_expired_on_its_way(tmp_path: Path) -> None:
    app = App()
    async with running(tmp_path, app) as gateway, gateway.wire() as device:
        queued = app.device("dev1").queue("GET", "/a", expires=0.05)
        await device.message()
        with pytest.raises(DeviceTimeout) as caught:
            await queued.wait()
        assert (queued.state, caught.value.sent) == (QueueState.FAILED, True)


async def test_taken_back(tmp_path: Path) -> None:
    app = App()
    async with running(tmp_path, app) as gateway:
        queued = app.device("dev1").queue("GET", "/a")
        assert queued.cancel()
        assert not queued.cancel()
        with pytest.raises(DeviceTimeout, match="taken back"):
            await queued.wait()
        async with gateway.wire() as device:
            assert (await device.ask(device.request(aiocoap.GET, "/nowhere"))).code is aiocoap.NOT_FOUND


async def test_a_flood_for_one_device(tmp_path: Path) -> None:
    app = App()
    async with running(tmp_path, app) as gateway:
        for _ in range(MAX_QUEUED_OF_ONE):
            app.device("dev1").queue("GET", "/a")
        for _ in range(3):
            with pytest.raises(DeviceBusy, match="this device"):
                app.device("dev1").queue("GET", "/a")
        assert await waiting(gateway) == MAX_QUEUED_OF_ONE
        app.device("dev2").queue("GET", "/a")


async def test_a_flood_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_queue, "MAX_QUEUED", 50)
    monkeypatch.setattr(command_queue, "KEPT_RESULTS", 20)
    app = App()
    async with running(tmp_path, app) as gateway:
        queued = [app.device(f"dev{number}").queue("GET", "/a") for number in range(50)]
        with pytest.raises(DeviceBusy, match="wait for devices"):
            app.device("dev99").queue("GET", "/a")
        for each in queued:
            each.cancel()
        assert await waiting(gateway) == 0
        # Of those that are over the newest are known.
        assert [app.queued(each.id) is not None for each in queued] == [False] * 30 + [True] * 20


async def test_a_flood_of_large_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_queue, "MAX_QUEUED_BYTES", 10_000)
    app = App()
    async with running(tmp_path, app):
        queued = [app.device(f"dev{number}").queue("PUT", "/a", bytes(2000)) for number in range(5)]
        with pytest.raises(DeviceBusy, match="bytes wait"):
            app.device("dev9").queue("PUT", "/a", b"1")
        queued[0].cancel()
        app.device("dev9").queue("PUT", "/a", bytes(2000))
        with pytest.raises(DeviceBusy, match="bytes wait"):
            app.device("dev9").queue("PUT", "/a", b"1")


async def test_results_are_kept_for_an_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = App()
    async with running(tmp_path, app):
        queued = app.device("dev1").queue("GET", "/a")
        queued.cancel()
        assert app.queued(queued.id) is queued
        monkeypatch.setattr(command_queue, "KEPT_RESULT_S", 0.0)
        assert app.queued(queued.id) is None
