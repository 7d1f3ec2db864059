"""Bodies in blocks through a whole gateway, by messages that aiocoap encodes; and answers that nobody wants."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiocoap  # type: ignore[import-untyped]
import pytest
import pytest_asyncio
from aiocoap.optiontypes import BlockOption  # type: ignore[import-untyped]

from gateway.coap import limits
from gateway.handlers import App, Changed, Content, FileContent, Request
from tests.dtls.rawclient import RawClient
from tests.server.support import PSK, PSK_IDENTITY, Gateway, WireDevice, encoded, running

pytestmark = pytest.mark.asyncio

BODY = bytes(n * 31 & 0xFF for n in range(10_000))
Block = BlockOption.BlockwiseTuple


@pytest.mark.parametrize("mtu", [256, 296, 576])
@pytest.mark.parametrize("cid", [None, b"deviceid"], ids=["no id", "id"])
@pytest.mark.parametrize("size", [522, 10_000])
async def test_answers_fit_the_path(tmp_path: Path, mtu: int, cid: bytes | None, size: int) -> None:
    app, body, block = App(), b"", 0
    app.get("/body")(lambda request: Content(BODY[:size]))
    client = RawClient(identity=PSK_IDENTITY, psk=PSK, cid=cid)
    async with running(tmp_path, app, dtls__mtu=mtu) as gateway, WireDevice(gateway.port, client) as wire:
        device = Device(wire)
        while len(body) < size:
            further = {"block2": Block(len(body) // block, False, block.bit_length() - 5)} if block else {}
            wire.send(client.data(device.message(aiocoap.GET, "/body", **further)))
            datagram = await wire.datagram()
            assert len(datagram) <= mtu - 48  # without the headers of IPv6 and UDP
            (record,) = client.read([datagram])
            answer = aiocoap.Message.decode(record.content)
            assert answer.code == aiocoap.CONTENT
            body, block = body + answer.payload, answer.opt.block2.size
    assert body == BODY[:size]


class Device:
    """Sends one block after another and reads the answer of each."""

    def __init__(self, wire: WireDevice) -> None:
        self.wire = wire
        self._mid = 100

    async def ask(self, code: aiocoap.Code, path: str, payload: bytes = b"", **options: object) -> aiocoap.Message:
        self.wire.send(self.wire.client.data(self.message(code, path, payload, **options)))
        while (answer := await self.wire.message()).code == aiocoap.EMPTY:
            pass
        return answer

    def message(
        self, code: aiocoap.Code, path: str, payload: bytes = b"", kind: aiocoap.Type = aiocoap.CON, **options: object
    ) -> bytes:
        self._mid += 1
        message = aiocoap.Message(code=code, payload=payload, uri_path=path.strip("/").split("/"))
        for name, value in options.items():
            setattr(message.opt, name, value)
        return encoded(message, kind, self._mid, b"tok")

    async def upload(self, path: str, body: bytes, size: int) -> aiocoap.Message:
        szx, answer = size.bit_length() - 5, None
        for number in range((len(body) - 1) // size + 1):
            more = (number + 1) * size < len(body)
            part = body[number * size : (number + 1) * size]
            answer = await self.ask(aiocoap.POST, path, part, block1=Block(number, more, szx))
            assert (answer.opt.block1.block_number, answer.opt.block1.more) == (number, more)
            if more:
                assert answer.code == aiocoap.CONTINUE
        return answer

    async def download(self, path: str, size: int, etag: bytes | None = None) -> bytes:
        szx, body = size.bit_length() - 5, b""
        while True:
            answer = await self.ask(aiocoap.GET, path, block2=Block(len(body) // size, False, szx))
            assert answer.code == aiocoap.CONTENT
            assert etag is None or answer.opt.etag == etag
            body += answer.payload
            if not answer.opt.block2.more:
                return bytes(body)


def app(folder: Path) -> App:
    app = App()

    @app.post("/digest")
    def digest(request: Request) -> Changed:
        return Changed(f"{len(request.payload)} {request.payload == BODY}")

    @app.post("/stream", stream=True)
    async def stream(request: Request) -> Changed:
        parts = [part async for part in request.blocks()]
        return Changed(f"{len(parts)} {b''.join(parts) == BODY}")

    @app.get("/plain")
    def plain(request: Request) -> Content:
        return Content(BODY)

    @app.get("/file", thread=True)
    def file(request: Request) -> FileContent:
        return FileContent(folder / "body.bin", etag=b"v1", content_format=42)

    @app.get("/inline")
    def inline(request: Request) -> FileContent:
        return FileContent(folder / "body.bin")

    @app.route("/fail", methods=["GET", "POST"])
    def fail(request: Request) -> None:
        raise ZeroDivisionError

    return app


@pytest_asyncio.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    (tmp_path / "body.bin").write_bytes(BODY)
    async with running(tmp_path, app(tmp_path)) as gateway:
        yield gateway


@pytest.mark.parametrize("size", [16, 256, 1024])
async def test_uploads(gateway: Gateway, size: int) -> None:
    async with gateway.wire() as wire:
        device = Device(wire)
        assert (await device.upload("/digest", BODY, size)).payload == b"10000 True"
        blocks = (len(BODY) - 1) // size + 1
        assert (await device.upload("/stream", BODY, size)).payload == f"{blocks} True".encode()
        assert gateway.worker._dispatcher.transfers.uploads == 0
        counted = await gateway.samples("gateway_coap_requests_total")
        assert counted["2.31", "POST", "/digest", "con"] == blocks - 1


@pytest.mark.parametrize("size", [16, 256, 1024])
@pytest.mark.parametrize("path", ["/plain", "/file", "/inline"])
async def test_downloads(gateway: Gateway, path: str, size: int) -> None:
    async with gateway.wire() as wire:
        assert await Device(wire).download(path, size) == BODY


async def test_a_download_goes_on_in_another_session_and_after_a_restart(tmp_path: Path) -> None:
    (tmp_path / "body.bin").write_bytes(BODY)
    parts = list[bytes]()
    for start in (0, 5):
        folder = tmp_path / str(start)
        folder.mkdir()
        async with running(folder, app(tmp_path)) as gateway:
            for number in range(start, start + 5):
                async with gateway.wire() as wire:
                    answer = await Device(wire).ask(aiocoap.GET, "/file", block2=Block(number, False, 6))
                    assert answer.opt.etag == b"v1"
                    parts.append(answer.payload)
    assert b"".join(parts) == BODY


async def test_a_session_that_ends_takes_its_transfers_along(gateway: Gateway) -> None:
    transfers = gateway.worker._dispatcher.transfers
    async with gateway.wire() as wire:
        device = Device(wire)
        await device.ask(aiocoap.POST, "/digest", BODY[:1024], block1=Block(0, True, 6))
        await device.ask(aiocoap.GET, "/plain")
        assert (transfers.uploads, transfers.downloads) == (1, 1)
        wire.send(wire.client.alert(1, 0, epoch=1))
        while await wire.alert() != (1, 0):
            pass
        assert (transfers.uploads, transfers.downloads) == (0, 0)


async def test_a_body_that_is_too_large_is_4_13_with_the_bound(tmp_path: Path) -> None:
    async with running(tmp_path, app(tmp_path), coap__max_payload=4096) as gateway, gateway.wire() as wire:
        device = Device(wire)
        answer = await device.ask(aiocoap.POST, "/digest", BODY[:1024], block1=Block(0, True, 6), size1=4097)
        assert (answer.code, answer.opt.size1) == (aiocoap.REQUEST_ENTITY_TOO_LARGE, 4096)
        answer = await device.ask(aiocoap.POST, "/digest", BODY[:4097])
        assert (answer.code, answer.opt.size1) == (aiocoap.REQUEST_ENTITY_TOO_LARGE, 4096)
        assert (await device.ask(aiocoap.POST, "/digest", BODY[:4096])).code == aiocoap.CHANGED


async def test_the_operator_chooses_the_block_size(tmp_path: Path) -> None:
    async with running(tmp_path, app(tmp_path), coap__block_size=64) as gateway, gateway.wire() as wire:
        device = Device(wire)
        answer = await device.ask(aiocoap.POST, "/digest", BODY[:1024], block1=Block(0, True, 6))
        assert answer.opt.block1.size == 64
        assert (await device.ask(aiocoap.GET, "/plain")).opt.block2.size == 64


@pytest.mark.parametrize("confirmable", [True, False])
@pytest.mark.parametrize(("classes", "path"), [(2, "/plain"), (8, "/nowhere"), (16, "/fail"), (26, "/plain")])
async def test_no_response(gateway: Gateway, classes: int, path: str, confirmable: bool) -> None:
    """RFC 7967 section 2.1: 2 is class 2, 8 is class 4, 16 is class 5."""
    kind = aiocoap.CON if confirmable else aiocoap.NON
    async with gateway.wire() as wire:
        device = Device(wire)
        unwanted = device.message(aiocoap.GET, path, kind=kind, no_response=classes)
        wire.send(wire.client.data(unwanted))
        if confirmable:
            # The message is acknowledged all the same, and a repetition of it too.
            for _ in range(2):
                ack = await wire.message()
                assert (ack.mtype, ack.code, ack.mid) == (aiocoap.ACK, aiocoap.EMPTY, 101)
                wire.send(wire.client.data(unwanted))
            await wire.message()
        # The next message is the answer to the next question: a class that was not named is answered.
        answer = await device.ask(aiocoap.GET, path, no_response=26 - classes if classes < 26 else 0)
        assert (answer.mid, answer.code.class_) == (102, {2: 2, 8: 4, 16: 5, 26: 2}[classes])
        # They are counted as what they were.
        counted = await gateway.samples("gateway_coap_requests_total")
        assert sum(count for labels, count in counted.items() if "con" in labels[-1]) == 1 + confirmable


async def test_no_response_to_an_upload_leaves_its_continues(gateway: Gateway) -> None:
    async with gateway.wire() as wire:
        device = Device(wire)
        for number in range(2):
            part = BODY[number * 1024 : (number + 1) * 1024]
            answer = await device.ask(aiocoap.POST, "/digest", part, block1=Block(number, True, 6), no_response=2)
            assert answer.code == aiocoap.CONTINUE
        wire.send(
            wire.client.data(device.message(aiocoap.POST, "/digest", b"x", block1=Block(2, False, 6), no_response=2))
        )
        assert (await wire.message()).code == aiocoap.EMPTY
        assert (await gateway.samples("gateway_coap_requests_total"))["2.04", "POST", "/digest", "con"] == 1


async def test_no_response_of_an_async_handler(tmp_path: Path) -> None:
    app = App()

    @app.get("/async")
    async def later(request: Request) -> str:
        await asyncio.sleep(0)
        return "unwanted"

    async with running(tmp_path, app) as gateway, gateway.wire() as wire:
        device = Device(wire)
        wire.send(wire.client.data(device.message(aiocoap.GET, "/async", no_response=2)))
        ack = await wire.message()
        assert (ack.mtype, ack.code, ack.mid) == (aiocoap.ACK, aiocoap.EMPTY, 101)


async def test_a_stream_whose_handler_is_too_slow_is_5_04_and_over(tmp_path: Path) -> None:
    app, events = App(), list[str]()

    @app.post("/slow", stream=True)
    async def slow(request: Request) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            events.append("cancelled")
            raise

    async with running(tmp_path, app, handlers__time_limit="50ms") as gateway, gateway.wire() as wire:
        answer = await Device(wire).ask(aiocoap.POST, "/slow", BODY[:1024], block1=Block(0, True, 6))
        assert answer.code == aiocoap.GATEWAY_TIMEOUT
        assert events == ["cancelled"]
        assert gateway.worker._dispatcher.transfers.uploads == 0


async def test_a_stop_ends_streams_that_wait_for_their_device(tmp_path: Path) -> None:
    app, events = App(), list[str]()

    @app.post("/stream", stream=True)
    async def stream(request: Request) -> None:
        try:
            async for _ in request.blocks():
                pass
        except asyncio.CancelledError:
            events.append("cancelled")
            raise

    async with running(tmp_path, app) as gateway, gateway.wire() as wire:
        await Device(wire).ask(aiocoap.POST, "/stream", BODY[:1024], block1=Block(0, True, 6))
    assert events == ["cancelled"]


async def test_a_transfer_that_nobody_goes_on_with_is_given_up_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, app(tmp_path)) as gateway, gateway.wire() as wire:
        dispatcher = gateway.worker._dispatcher
        await Device(wire).ask(aiocoap.POST, "/digest", BODY[:1024], block1=Block(0, True, 6))
        assert dispatcher._expiry is not None
        due = dispatcher._expiry.when()
        # EXCHANGE_LIFETIME from its block, on the loop's clock.
        assert due == dispatcher.transfers.next_expiry()
        monkeypatch.setattr(dispatcher, "_clock", lambda: due)
        dispatcher._expire()
        assert dispatcher.transfers.uploads == 0
        assert dispatcher._expiry is None


async def test_a_flood_of_uploads_stays_within_the_bound_of_a_device(gateway: Gateway) -> None:
    async with gateway.wire() as wire:
        device = Device(wire)
        for number in range(40):
            tag = bytes([number])
            answer = await device.ask(aiocoap.POST, "/digest", BODY[:1024], block1=Block(0, True, 6), request_tag=[tag])
            assert answer.code == aiocoap.CONTINUE
        assert gateway.worker._dispatcher.transfers.uploads == limits.UPLOADS_OF_ONE


async def test_sessions_of_one_device_share_its_bound(gateway: Gateway) -> None:
    async with gateway.wire() as first, gateway.wire() as second:
        for wire in (first, second):
            device = Device(wire)
            for number in range(limits.UPLOADS_OF_ONE):
                answer = await device.ask(
                    aiocoap.POST, "/digest", BODY[:1024], block1=Block(0, True, 6), request_tag=[bytes([number])]
                )
                assert answer.code == aiocoap.CONTINUE
        assert gateway.worker._dispatcher.transfers.uploads == limits.UPLOADS_OF_ONE
