"""Requests from the cloud to devices; what the device sends and reads goes through aiocoap's codec."""

import asyncio
import os
from contextlib import aclosing
from pathlib import Path

import aiocoap  # type: ignore[import-untyped]
import pytest

from gateway.coap import limits
from gateway.handlers import (
    App,
    Code,
    Content,
    DeviceBusy,
    DeviceNotConnected,
    DeviceRefused,
    DeviceTimeout,
    Request,
    Response,
)
from gateway.simulator import DeviceIdentity, DeviceResources, SimulatedDevice
from tests.server.support import PSK, PSK_IDENTITY, Gateway, WireDevice, empty, encoded, no_lines, running, until

pytestmark = pytest.mark.asyncio

FAST = {"coap__ack_timeout": 0.1, "coap__max_retransmit": 1, "coap__processing_delay": 0.05}


def serving(gateway: Gateway, resources: DeviceResources | None = None) -> SimulatedDevice:
    identity = DeviceIdentity("psk", psk_identity=PSK_IDENTITY, psk=PSK)
    if resources is None:
        resources = DeviceResources({"/status": b"ok"})
    return SimulatedDevice(identity, "127.0.0.1", gateway.port, resources=resources)


def answer(
    device: WireDevice, request: aiocoap.Message, payload: bytes = b"", code: aiocoap.Code = aiocoap.CONTENT
) -> None:
    """Piggy-backed."""
    response = aiocoap.Message(code=code, payload=payload)
    device.send(device.client.data(encoded(response, aiocoap.ACK, request.mid, request.token)))


async def test_a_request_on_the_wire(tmp_path: Path) -> None:
    app = App()
    async with running(tmp_path, app) as gateway, gateway.wire() as device:
        asking = asyncio.create_task(
            app.device("dev1").request("PUT", "/a%20b/c?x=1", {"on": True}, query={"y": "2"}, accept=60)
        )
        request = await device.message()
        assert (request.mtype, request.code) == (aiocoap.CON, aiocoap.PUT)
        assert (request.opt.uri_path, request.opt.uri_query) == (("a b", "c"), ("x=1", "y=2"))
        assert (request.opt.content_format, request.opt.accept, request.payload) == (50, 60, b'{"on":true}')
        assert len(request.token) == 4
        response = aiocoap.Message(code=aiocoap.CHANGED, payload=b"\xa0", content_format=60, etag=b"v1")
        device.send(device.client.data(encoded(response, aiocoap.ACK, request.mid, request.token)))
        got = await asking
        assert (got.code, got.payload, got.content_format, got.etag) == (Code.CHANGED, b"\xa0", 60, b"v1")
        assert await gateway.samples("gateway_coap_device_requests_total") == {("answered",): 1}
        no_lines(gateway.lines, "warning", "error")


async def test_a_separate_response(tmp_path: Path) -> None:
    app = App()
    async with running(tmp_path, app) as gateway, gateway.wire() as device:
        asking = asyncio.create_task(app.device("dev1").get("/slow"))
        request = await device.message()
        device.send(device.client.data(empty(aiocoap.ACK, request.mid)))
        response = aiocoap.Message(code=aiocoap.CONTENT, payload=b"at last")
        for _ in range(2):  # the device did not get our ACK
            device.send(device.client.data(encoded(response, aiocoap.CON, 4711, request.token)))
            acknowledgement = await device.message()
            assert (acknowledgement.mtype, acknowledgement.code, acknowledgement.mid) == (
                aiocoap.ACK,
                aiocoap.EMPTY,
                4711,
            )
        assert (await asking).payload == b"at last"


async def test_repeated_until_it_is_acknowledged(tmp_path: Path) -> None:
    app = App()
    async with running(tmp_path, app, **FAST) as gateway, gateway.wire() as device:
        asking = asyncio.create_task(app.device("dev1").get("/a"))
        first, again = await device.message(), await device.message()
        assert (first.mid, first.token) == (again.mid, again.token)
        answer(device, again, b"1")
        assert (await asking).payload == b"1"
        with pytest.raises(DeviceTimeout, match="did not acknowledge") as caught:
            await app.device("dev1").get("/a")
        assert (caught.value.code, caught.value.sent) == (Code.GATEWAY_TIMEOUT, True)
        assert await gateway.samples("gateway_coap_device_requests_total") == {("answered",): 1, ("timed_out",): 1}


async def test_a_time_limit_of_the_caller(tmp_path: Path) -> None:
    app = App()
    async with running(tmp_path, app) as gateway, gateway.wire() as device:
        first = asyncio.create_task(app.device("dev1").get("/a", timeout=0.1))
        second = asyncio.create_task(app.device("dev1").get("/b", timeout=0.05))
        request = await device.message()
        with pytest.raises(DeviceTimeout, match="earlier requests") as caught:
            await second
        assert not caught.value.sent
        with pytest.raises(DeviceTimeout, match="did not answer in time"):
            await first
        answer(device, request)  # too late, and to nobody
        response = aiocoap.Message(code=aiocoap.CONTENT)
        device.send(device.client.data(encoded(response, aiocoap.CON, 5, request.token)))
        reset = await device.message()
        assert (reset.mtype, reset.mid) == (aiocoap.RST, 5)


async def test_one_after_the_other(tmp_path: Path) -> None:
    # RFC 7252 section 4.7: NSTART = 1.
    app = App()
    async with running(tmp_path, app) as gateway, gateway.wire() as device:
        asking = [asyncio.create_task(app.device("dev1").get(f"/{number}")) for number in range(5)]
        for number in range(5):
            request = await device.message()
            assert request.opt.uri_path == (str(number),)
            # Nothing else is on its way: the gateway answers a request of the device first.
            assert (await device.ask(device.request(aiocoap.GET, "/nowhere"))).code is aiocoap.NOT_FOUND
            answer(device, request, b"%d" % number)
            assert (await asking[number]).payload == b"%d" % number


async def test_too_many_at_once(tmp_path: Path) -> None:
    app = App()
    async with running(tmp_path, app) as gateway, gateway.wire():
        asking = [asyncio.create_task(app.device("dev1").get("/a")) for _ in range(limits.OUTGOING_REQUESTS)]
        await asyncio.sleep(0)
        with pytest.raises(DeviceBusy, match="under way") as caught:
            await app.device("dev1").get("/a")
        assert (caught.value.code, caught.value.max_age) == (Code.SERVICE_UNAVAILABLE, 5)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        assert await gateway.samples("gateway_coap_device_requests_total") == {("cancelled",): len(asking)}
        # There is room again.
        with pytest.raises(DeviceTimeout):
            await app.device("dev1").get("/a", timeout=0.01)


async def test_rejected(tmp_path: Path) -> None:
    app = App()
    async with running(tmp_path, app) as gateway, gateway.wire() as device:
        asking = asyncio.create_task(app.device("dev1").get("/a"))
        request = await device.message()
        device.send(device.client.data(empty(aiocoap.RST, request.mid)))
        with pytest.raises(DeviceRefused, match="rejected") as caught:
            await asking
        assert caught.value.code == Code.BAD_GATEWAY
        asking = asyncio.create_task(app.device("dev1").get("/a"))
        request = await device.message()
        device.send(device.client.data(bytes((0x64, 0x45)) + request.mid.to_bytes(2, "big") + request.token + b"\x90"))
        with pytest.raises(DeviceRefused, match="critical option"):
            await asking
        assert await gateway.samples("gateway_coap_device_requests_total") == {("refused",): 2}


async def test_a_device_that_is_not_connected(tmp_path: Path) -> None:
    app = App()
    async with running(tmp_path, app) as gateway:
        for absent in (app.device("dev1"), app.device("dev1", tenant="elsewhere"), app.device("nobody")):
            assert not absent.connected
            with pytest.raises(DeviceNotConnected) as caught:
                await absent.get("/a")
            assert caught.value.code == Code.NOT_FOUND
        async with gateway.wire() as device:
            assert app.device("dev1").connected
            asking = asyncio.create_task(app.device("dev1").get("/a"))
            await device.message()
            device.send(device.client.alert(1, 0, epoch=1))
            with pytest.raises(DeviceNotConnected, match="ended before"):
                await asking
        assert not app.device("dev1").connected


async def test_the_newest_session(tmp_path: Path) -> None:
    """And what never went out in the old one goes out in the new one."""
    app = App()
    async with running(tmp_path, app) as gateway:
        old, new = gateway.wire(), gateway.wire()
        await old.connect()
        first, second = (asyncio.create_task(app.device("dev1").get(path)) for path in ("/first", "/second"))
        assert (await old.message()).opt.uri_path == ("first",)
        await new.connect()
        third = asyncio.create_task(app.device("dev1").get("/third"))
        request = await new.message()
        assert request.opt.uri_path == ("third",)
        answer(new, request)
        await third
        old.send(old.client.alert(1, 0, epoch=1))
        with pytest.raises(DeviceNotConnected):
            await first
        request = await new.message()
        assert request.opt.uri_path == ("second",)
        answer(new, request, b"2")
        assert (await second).payload == b"2"
        old.udp.close()
        new.udp.close()


async def test_what_cannot_be_asked(tmp_path: Path) -> None:
    app = App()
    async with running(tmp_path, app) as gateway, gateway.wire():
        device = app.device("dev1")
        for method, path, match in (
            ("STEAL", "/a", "no CoAP method"),
            ("GET", "a", "start with a slash"),
            ("GET", "/" + "x" * 1200, "at least 16 bytes"),  # no room for a block beside it
        ):
            with pytest.raises(ValueError, match=match):
                await device.request(method, path)


async def test_a_handler_asks_the_device_that_asks_it(tmp_path: Path) -> None:
    app = App()

    @app.post("/hello")
    async def hello(request: Request) -> Content:
        status = await app.device(request.device).get("/status")
        return Content(status.payload)

    @app.post("/valves/{valve}")
    async def valve(request: Request, valve: str) -> Response:
        return await app.device(valve).put("/position", request.payload)

    async with running(tmp_path, app) as gateway, serving(gateway) as device:
        assert (await device.post("/hello", b"")).payload == b"ok"
        # An error that the handler lets pass becomes its answer.
        refused = await device.post("/valves/valve-7", b"40")
        assert (refused.code, refused.payload) == (Code.NOT_FOUND, b"the device is not connected")
        moved = await device.post("/valves/dev1", b"40")
        assert moved.code == Code.CREATED
        assert device.resources is not None
        assert device.resources.values["/position"] == b"40"
        assert gateway.events("handler.failed") == []


async def test_all_methods_of_a_simulated_device(tmp_path: Path) -> None:
    app = App()
    resources = DeviceResources({"/status": b"ok", "/double": lambda request: request.payload * 2})
    async with running(tmp_path, app) as gateway, serving(gateway, resources):
        device = app.device("dev1")
        assert (await device.get("/status")).payload == b"ok"
        assert (await device.get("/nowhere")).code == Code.NOT_FOUND
        assert (await device.put("/new", b"1")).code == Code.CREATED
        assert (await device.put("/new", b"2")).code == Code.CHANGED
        assert (await device.get("/new")).payload == b"2"
        assert (await device.delete("/new")).code == Code.DELETED
        assert (await device.post("/status", b"2")).code == Code.METHOD_NOT_ALLOWED
        assert (await device.post("/double", b"2")).payload == b"22"
        assert (await device.delete("/double")).code == Code.METHOD_NOT_ALLOWED


# Bodies in blocks (RFC 7959).


async def next_block(device: WireDevice, code: aiocoap.Code) -> aiocoap.Message:
    request = await device.message()
    assert (request.mtype, request.code) == (aiocoap.CON, code)
    return request


async def respond(device: WireDevice, request: aiocoap.Message, code: aiocoap.Code, **options: object) -> None:
    response = aiocoap.Message(code=code, **options)
    device.send(device.client.data(encoded(response, aiocoap.ACK, request.mid, request.token)))


async def test_a_large_request(tmp_path: Path) -> None:
    app, body = App(), os.urandom(5000)
    async with running(tmp_path, app) as gateway, gateway.wire() as device:
        asking = asyncio.create_task(app.device("dev1").put("/firmware", body))
        got, size = b"", 1024
        while len(got) < len(body):
            request = await next_block(device, aiocoap.PUT)
            block = request.opt.block1
            assert (block.size, block.start) == (size, len(got))
            assert request.opt.size1 == (5000 if not got else None)
            assert block.more == (len(got) + len(request.payload) < len(body))
            got += request.payload
            # After the first block the device asks for smaller ones.
            size = 256
            code = aiocoap.CONTINUE if block.more else aiocoap.CHANGED
            number = block.block_number
            await respond(device, request, code, block1=(number, block.more, 4 if number == 0 else block.size_exponent))
        assert (await asking).code == Code.CHANGED
        assert got == body


async def test_a_large_answer_and_large_notifications(tmp_path: Path) -> None:
    app, body = App(), os.urandom(3000)

    async def serve(device: WireDevice, count: int, size_exponent: int = 5) -> None:
        for _ in range(count):
            request = await next_block(device, aiocoap.GET)
            number = 0 if request.opt.block2 is None else request.opt.block2.block_number
            start = number << size_exponent + 4
            end = start + (16 << size_exponent)
            await respond(
                device,
                request,
                aiocoap.CONTENT,
                payload=body[start:end],
                block2=(number, end < len(body), size_exponent),
                etag=b"v1",
                observe=1 if request.opt.observe == 0 else None,
            )

    async with running(tmp_path, app) as gateway, gateway.wire() as device:
        asking = asyncio.create_task(app.device("dev1").get("/log"))
        await serve(device, 6)
        whole = await asking
        assert (whole.payload, whole.etag, whole.option(23)) == (body, b"v1", None)
        async with aclosing(app.device("dev1").observe("/log")) as states:
            first = asyncio.create_task(anext(states))
            await serve(device, 6)
            assert (await first).payload == body


async def test_an_answer_whose_blocks_do_not_fit_together(tmp_path: Path) -> None:
    app = App()
    async with running(tmp_path, app) as gateway, gateway.wire() as device:
        asking = asyncio.create_task(app.device("dev1").get("/log"))
        for etag in (b"v1", b"v2"):
            request = await next_block(device, aiocoap.GET)
            number = 0 if etag == b"v1" else 1
            await respond(device, request, aiocoap.CONTENT, payload=bytes(16), block2=(number, True, 0), etag=etag)
        with pytest.raises(DeviceRefused, match="changed while"):
            await asking


async def test_a_notification_that_begins_in_the_middle(tmp_path: Path) -> None:
    app = App()
    async with running(tmp_path, app) as gateway, gateway.wire() as device:
        states = app.device("dev1").observe("/log")
        first = asyncio.create_task(anext(states))
        request = await next_block(device, aiocoap.GET)
        await respond(device, request, aiocoap.CONTENT, payload=bytes(16), block2=(3, True, 0), observe=1)
        with pytest.raises(DeviceRefused, match="in place of byte 0"):
            await first


async def test_what_was_begun_was_sent(tmp_path: Path) -> None:
    """The second block waits for its turn until the time is over; the device has done what the first one asked."""
    app = App()
    async with running(tmp_path, app) as gateway, gateway.wire() as device:
        asking = asyncio.create_task(app.device("dev1").post("/a", timeout=0.3))
        request = await next_block(device, aiocoap.POST)
        other = asyncio.create_task(app.device("dev1").get("/b"))
        await asyncio.sleep(0)
        await respond(device, request, aiocoap.CHANGED, payload=bytes(16), block2=(0, True, 0))
        with pytest.raises(DeviceTimeout) as caught:
            await asking
        assert caught.value.sent
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)


async def test_two_large_requests_to_a_device_are_not_mixed(tmp_path: Path) -> None:
    app = App()
    async with running(tmp_path, app) as gateway, gateway.wire() as device:
        bodies = [letter * 2000 for letter in (b"a", b"b")]
        asking = [asyncio.create_task(app.device("dev1").put("/a", body)) for body in bodies]
        got, tags = [], []
        for _ in range(4):
            request = await next_block(device, aiocoap.PUT)
            got.append(request.payload)
            tags.append(request.opt.request_tag)
            block = request.opt.block1
            code = aiocoap.CONTINUE if block.more else aiocoap.CHANGED
            await respond(device, request, code, block1=(block.block_number, block.more, block.size_exponent))
        assert b"".join(got) == b"".join(bodies)
        # RFC 9175 section 3.5.1: nor is a late block of the first taken for one of the second.
        assert tags[0] == tags[1] != tags[2] == tags[3]
        assert [len(tag) for tag in tags] == [1] * 4
        assert [response.code for response in await asyncio.gather(*asking)] == [Code.CHANGED] * 2


# We observe.


async def test_observing_a_device(tmp_path: Path) -> None:
    app = App()
    async with running(tmp_path, app) as gateway, serving(gateway) as device:
        seen = []
        async with aclosing(app.device("dev1").observe("/status")) as states:
            async for state in states:
                seen.append(state.payload)
                if len(seen) == 5:
                    break
                device.change("/status", b"%d" % len(seen))
        assert seen == [b"ok", b"1", b"2", b"3", b"4"]
        assert await gateway.samples("gateway_coap_device_requests_total") == {("cancelled",): 1}
        # The next notification is reset (RFC 7641 section 3.6).
        before = gateway.worker._dispatcher.layer.counters.resets_sent
        device.change("/status", b"5")
        await until(lambda: gateway.worker._dispatcher.layer.counters.resets_sent == before + 1)


async def test_a_slow_observer_gets_the_newest_states(tmp_path: Path) -> None:
    app = App()
    async with running(tmp_path, app) as gateway, serving(gateway) as device:
        states = app.device("dev1").observe("/status")
        assert (await anext(states)).payload == b"ok"
        for number in range(100):
            device.change("/status", b"%d" % number)
        counters = gateway.worker._dispatcher.layer
        assert (await app.device("dev1").get("/status")).payload == b"99"  # behind all of them
        seen = [(await anext(states)).payload for _ in range(16)]
        assert seen == [b"%d" % number for number in range(84, 100)]
        assert counters.counters.resets_sent == 0


async def test_a_device_that_does_not_observe_answers_once(tmp_path: Path) -> None:
    app = App()
    async with running(tmp_path, app) as gateway, serving(gateway):
        seen = [state.code async for state in app.device("dev1").observe("/nowhere")]
        assert seen == [Code.NOT_FOUND]
        with pytest.raises(DeviceNotConnected):
            await anext(app.device("nobody").observe("/status"))


async def test_observing_goes_on_after_a_new_handshake(tmp_path: Path) -> None:
    app = App()
    async with running(tmp_path, app) as gateway:
        old, new = serving(gateway), serving(gateway, DeviceResources({"/status": b"new"}))
        await old.connect()
        states = app.device("dev1").observe("/status")
        assert (await anext(states)).payload == b"ok"
        await new.connect()
        await old.close()
        assert (await anext(states)).payload == b"new"
        await new.close()
        with pytest.raises(DeviceNotConnected):
            await anext(states)


async def test_observing_a_silent_device(tmp_path: Path) -> None:
    app = App()
    async with running(tmp_path, app) as gateway, gateway.wire():
        with pytest.raises(DeviceTimeout):
            await anext(app.device("dev1").observe("/status", timeout=0.05))


async def test_a_stop_ends_what_is_under_way(tmp_path: Path) -> None:
    app = App()
    async with running(tmp_path, app) as gateway, gateway.wire() as device:
        asking = asyncio.create_task(app.device("dev1").get("/a"))
        queued = app.device("nobody").queue("GET", "/a")
        await device.message()
    with pytest.raises(DeviceNotConnected):
        await asking
    with pytest.raises(DeviceTimeout, match="stops"):
        await queued.wait()
