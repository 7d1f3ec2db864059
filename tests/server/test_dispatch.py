"""Handlers behind a real session: plain and asynchronous, slow, too many, too late, broken."""

import asyncio
from pathlib import Path

import aiocoap  # type: ignore[import-untyped]
import pytest

from gateway.coap import limits
from gateway.handlers import App, Content, Request, Response
from tests.dtls.rawclient import RawClient, default_extensions
from tests.server.support import PSK, PSK_IDENTITY, Gateway, empty, running

pytestmark = pytest.mark.asyncio


class Slow:
    """An app with a handler that answers when the test says so.

    Attributes:
        calls: How often it was called.
        entered: Set while it runs.
        release: Lets it answer.
    """

    def __init__(self) -> None:
        self.app = App()
        self.calls = 0
        self.entered = asyncio.Event()
        self.release = asyncio.Event()

        @self.app.get("/slow")
        async def slow(request: Request) -> Content:
            self.calls += 1
            self.entered.set()
            await self.release.wait()
            return Content("done")

        @self.app.get("/quick")
        def quick(request: Request) -> Content:
            return Content("quick")


async def test_an_async_handler_that_is_quick_is_answered_in_the_ack(tmp_path: Path) -> None:
    slow = Slow()
    slow.release.set()
    async with running(tmp_path, slow.app) as gateway, gateway.wire() as device:
        answer = await device.ask(device.request(aiocoap.GET, "/slow", mid=3))
        assert (answer.mtype, answer.mid, answer.payload) == (aiocoap.ACK, 3, b"done")


async def test_a_slow_handler_gets_an_empty_ack_and_a_separate_response(tmp_path: Path) -> None:
    # RFC 7252 section 5.2.2.
    slow = Slow()
    async with running(tmp_path, slow.app) as gateway, gateway.wire() as device:
        request = device.request(aiocoap.GET, "/slow", mid=3)
        device.send(device.client.data(request))
        acknowledgement = await device.plaintext()
        ack = aiocoap.Message.decode(acknowledgement)
        assert (ack.mtype, ack.mid, ack.code, ack.token) == (aiocoap.ACK, 3, aiocoap.EMPTY, b"")
        # Meanwhile others are served, and a repetition is acknowledged and not handled again.
        assert (await device.ask(device.request(aiocoap.GET, "/quick", mid=4))).payload == b"quick"
        device.send(device.client.data(request))
        assert await device.plaintext() == acknowledgement
        slow.release.set()
        response = await device.message()
        assert (response.mtype, response.code, response.token) == (aiocoap.CON, aiocoap.CONTENT, b"\x00\x03")
        assert response.payload == b"done"
        # It is acknowledged, so nothing is repeated: the next message is the answer to the next question.
        device.send(device.client.data(empty(aiocoap.ACK, response.mid)))
        assert (await device.ask(device.request(aiocoap.GET, "/quick", mid=5))).mid == 5
        assert slow.calls == 1
        assert await gateway.samples("gateway_coap_duplicates_total") == {(): 1}


async def test_a_separate_response_that_nobody_acknowledges_is_repeated(tmp_path: Path) -> None:
    # RFC 7252 section 4.2: after ACK_TIMEOUT, 2 to 3 seconds.
    slow = Slow()
    async with running(tmp_path, slow.app) as gateway, gateway.wire() as device:
        await device.ask(device.request(aiocoap.GET, "/slow"))
        slow.release.set()
        first = await device.plaintext()
        assert await device.plaintext() == first
        assert await gateway.samples("gateway_coap_retransmissions_total") == {(): 1}


async def test_too_many_handlers_get_5_03_with_max_age(tmp_path: Path) -> None:
    # RFC 7252 section 5.9.3.4.
    slow = Slow()
    async with running(tmp_path, slow.app, handlers__max_concurrent=1) as gateway:
        async with gateway.wire() as one, gateway.wire() as two:
            one.send(one.client.data(one.request(aiocoap.GET, "/slow")))
            await slow.entered.wait()
            request = two.request(aiocoap.GET, "/slow", mid=2)
            refused = await two.ask(request)
            assert (refused.mtype, refused.mid, refused.code) == (aiocoap.ACK, 2, aiocoap.SERVICE_UNAVAILABLE)
            assert refused.opt.max_age == 5
            # Plain handlers are no part of the limit.
            assert (await two.ask(two.request(aiocoap.GET, "/quick"))).payload == b"quick"
            assert await gateway.samples("gateway_rate_limited_total") == {("rejected", "global"): 1}
            slow.release.set()
            while (answer := await one.message()).code == aiocoap.EMPTY:
                pass
            assert answer.payload == b"done"
            again = await two.ask(two.request(aiocoap.GET, "/slow", mid=8))
            assert again.payload == b"done"
        assert slow.calls == 2


async def test_a_handler_over_its_time_limit_is_cancelled(tmp_path: Path) -> None:
    slow = Slow()
    async with running(tmp_path, slow.app, handlers__time_limit="50ms") as gateway, gateway.wire() as device:
        answer = await device.ask(device.request(aiocoap.GET, "/slow", mid=3))
        assert (answer.mtype, answer.mid, answer.code) == (aiocoap.ACK, 3, aiocoap.GATEWAY_TIMEOUT)
        assert answer.payload == b""
        [line] = gateway.events("handler.timed_out")
        assert (line["route"], line["device"], line["tenant"], line["log_level"]) == (
            "/slow",
            "dev1",
            "default",
            "error",
        )
        counted = await gateway.samples("gateway_coap_requests_total")
        assert counted == {("5.04", "GET", "/slow", "con"): 1}


@pytest.mark.parametrize("path", ["/plain", "/async", "/thread"])
async def test_a_handler_that_raises_is_5_00_and_one_log_line(tmp_path: Path, path: str) -> None:
    app = App()

    @app.get("/plain")
    def plain(request: Request) -> None:
        raise ZeroDivisionError("told nobody")

    @app.get("/async")
    async def asynchronous(request: Request) -> None:
        raise ZeroDivisionError("told nobody")

    @app.get("/thread", thread=True)
    def thread(request: Request) -> None:
        raise ZeroDivisionError("told nobody")

    async with running(tmp_path, app) as gateway, gateway.wire() as device:
        answer = await device.ask(device.request(aiocoap.GET, path))
        assert answer.code == aiocoap.INTERNAL_SERVER_ERROR
        assert answer.payload == b""
        [line] = gateway.events("handler.failed")
        assert (line["route"], line["device"], line["tenant"]) == (path, "dev1", "default")
        assert isinstance(line["exc_info"], ZeroDivisionError)


async def test_a_repeated_request_gets_the_same_bytes_and_runs_once(tmp_path: Path) -> None:
    # RFC 7252 section 4.5. Each repetition is a new DTLS record; a repeated record is a replay and goes nowhere.
    app, calls = App(), list[bytes]()

    @app.post("/count")
    def counter(request: Request) -> str:
        calls.append(request.payload)
        return str(len(calls))

    async with running(tmp_path, app) as gateway, gateway.wire() as device:
        request = device.request(aiocoap.POST, "/count", b"first")
        answers = set[bytes]()
        for _ in range(3):
            device.send(device.client.data(request))
            answers.add(await device.plaintext())
        assert len(answers) == 1
        assert calls == [b"first"]
        assert (await device.ask(device.request(aiocoap.POST, "/count", b"second"))).payload == b"2"
        assert await gateway.samples("gateway_coap_duplicates_total") == {(): 2}
        assert sum((await gateway.samples("gateway_coap_requests_total")).values()) == 2


async def test_the_answer_for_a_session_that_is_gone_goes_nowhere(tmp_path: Path) -> None:
    slow = Slow()
    async with running(tmp_path, slow.app) as gateway, gateway.wire() as device:
        device.send(device.client.data(device.request(aiocoap.GET, "/slow")))
        await slow.entered.wait()
        device.send(device.client.alert(1, 0, epoch=1))  # close_notify
        while await device.alert() != (1, 0):
            pass
        sent = await gateway.samples("gateway_dtls_records_total")
        slow.release.set()
        await served(gateway)
        assert (await gateway.samples("gateway_dtls_records_total"))["application_data", "sent"] == 0
        assert sent["application_data", "sent"] == 0


async def served(gateway: Gateway) -> None:
    """A request of somebody else has gone all the way: what was ready to run before has run."""
    async with gateway.wire() as other:
        # A 4.04: no application data but this one is sent after it was read.
        other.send(other.client.alert(1, 0, epoch=1))
        while await other.alert() != (1, 0):
            pass


async def test_an_answer_that_can_be_neither_repeated_nor_kept_is_5_00(tmp_path: Path) -> None:
    # RFC 7959 section 2.4: the rest of an answer to a POST must come from somewhere.
    app = App()

    @app.post("/plain")
    def plain(request: Request) -> Response:
        return Content(bytes(limits.BODY_BYTES_OF_ONE + 1))

    @app.post("/async")
    async def asynchronous(request: Request) -> Response:
        return Content(bytes(limits.BODY_BYTES_OF_ONE + 1))

    async with running(tmp_path, app) as gateway, gateway.wire() as device:
        for path in ("/plain", "/async"):
            answer = await device.ask(device.request(aiocoap.POST, path))
            assert (answer.code, answer.payload) == (aiocoap.INTERNAL_SERVER_ERROR, b"")
        lines = gateway.events("handler.failed")
        assert [line["route"] for line in lines] == ["/plain", "/async"]
        assert "too large to be kept" in lines[0]["error"]
        counted = await gateway.samples("gateway_coap_requests_total")
        assert {labels[0] for labels in counted} == {"5.00"}


async def test_an_option_that_coap_cannot_express_is_5_00(tmp_path: Path) -> None:
    app = App()

    @app.get("/bad")
    def bad(request: Request) -> Response:
        return Content("x", options=[(70_000, b"")])

    async with running(tmp_path, app) as gateway, gateway.wire() as device:
        assert (await device.ask(device.request(aiocoap.GET, "/bad"))).code == aiocoap.INTERNAL_SERVER_ERROR
        assert len(gateway.events("handler.failed")) == 1
        assert await gateway.samples("gateway_coap_requests_total") == {("5.00", "GET", "/bad", "con"): 1}


@pytest.mark.pure("it changes a constant")
async def test_a_plain_handler_that_holds_others_up_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.server.dispatch.SLOW_HANDLER_S", -1.0)
    slow = Slow()
    async with running(tmp_path, slow.app) as gateway, gateway.wire() as device:
        await device.ask(device.request(aiocoap.GET, "/quick"))
        [line] = gateway.events("handler.slow")
        assert line["route"] == "/quick"


@pytest.mark.parametrize("path", ["/plain", "/async"])
@pytest.mark.parametrize(
    ("extension", "takes", "block"), [({1: b"\x01"}, 512, 256), ({28: b"\x00\x40"}, 64, 32), ({}, 1152, 1024)]
)
async def test_a_response_that_the_device_cannot_take_at_once_comes_in_blocks(
    tmp_path: Path, path: str, extension: dict[int, bytes], takes: int, block: int
) -> None:
    # max_fragment_length (RFC 6066) and record_size_limit (RFC 8449): application data is never cut, bodies are.
    app = App()
    size = 0

    @app.get("/plain")
    def plain(request: Request) -> Content:
        return Content(bytes(size))

    @app.get("/async")
    async def asynchronous(request: Request) -> Content:
        return Content(bytes(size))

    client = RawClient(identity=PSK_IDENTITY, psk=PSK, extensions={**default_extensions(), **extension})
    async with running(tmp_path, app) as gateway, gateway.wire(client) as device:
        overhead = 4 + 2 + 2 + 1  # header, token, Content-Format, payload marker
        size = takes - overhead
        answer = await device.ask(device.request(aiocoap.GET, path, mid=1))
        assert (answer.code, len(answer.payload), answer.opt.block2) == (aiocoap.CONTENT, size, None)
        size += 1
        answer = await device.ask(device.request(aiocoap.GET, path, mid=2))
        assert (answer.mid, answer.code, answer.payload) == (2, aiocoap.CONTENT, bytes(block))
        assert (answer.opt.block2.block_number, answer.opt.block2.more, answer.opt.block2.size) == (0, True, block)
        assert answer.opt.etag is not None
        assert gateway.events("handler.failed") == []


async def test_words_for_a_human_are_left_out_where_they_do_not_fit(tmp_path: Path) -> None:
    client = RawClient(identity=PSK_IDENTITY, psk=PSK, extensions={**default_extensions(), 28: b"\x00\x40"})
    async with running(tmp_path, App()) as gateway, gateway.wire(client) as device, gateway.wire() as other:
        if_none_match_with_a_value = bytes.fromhex("48010001") + b"8 bytes." + b"\x51x"
        shown = [await each.ask(if_none_match_with_a_value) for each in (device, other)]
        assert [each.code for each in shown] == [aiocoap.BAD_OPTION] * 2
        assert shown[0].payload == b""
        assert b"If-None-Match" in shown[1].payload
