"""How a gateway stops: SIGTERM, handlers that are running, devices that are connected, what is asked meanwhile."""

import asyncio
import json
import os
import signal
import socket
from pathlib import Path

import aiocoap  # type: ignore[import-untyped]
import pytest

from gateway.config import load_settings
from gateway.handlers import App, Content, Request
from gateway.server import Worker
from tests.server.support import PATIENCE_S, WireDevice, prepare, running

pytestmark = pytest.mark.asyncio

CLOSE_NOTIFY = (1, 0)


class Held:
    """An app whose handler answers when released; `outcome` says how its calls ended."""

    def __init__(self) -> None:
        self.app = App()
        self.entered = asyncio.Event()
        self.release = asyncio.Event()
        self.outcome: list[str] = []

        @self.app.get("/held")
        async def held(request: Request) -> Content:
            self.entered.set()
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.outcome.append("cancelled")
                raise
            self.outcome.append("finished")
            return Content("done")


async def test_the_devices_are_told(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        device, other = gateway.wire(), gateway.wire()
        await device.connect()
        await other.connect()
    # RFC 5246 section 7.2.1. What was sent before the socket closed waits in ours.
    assert await device.alert() == CLOSE_NOTIFY
    assert await other.alert() == CLOSE_NOTIFY
    assert [line["reason"] for line in gateway.events("dtls.session_closed")] == ["drain", "drain"]
    assert [line["event"] for line in gateway.lines if line["event"].startswith("server.")] == [
        "server.started",
        "server.stopping",
        "server.stopped",
    ]
    device.udp.close()
    other.udp.close()


async def test_a_handshake_under_way_is_ended(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        device = gateway.wire()
        await device.reach_server_done()
    assert await device.alert() == (2, 90)  # user_canceled
    [line] = gateway.events("dtls.handshake_failed")
    assert line["reason"] == "shutdown"
    device.udp.close()


async def test_running_handlers_finish_and_their_answers_go_out_before_the_goodbye(tmp_path: Path) -> None:
    held = Held()
    async with running(tmp_path, held.app, server__shutdown_grace="20s") as gateway:
        device = gateway.wire()
        await device.connect()
        device.send(device.client.data(device.request(aiocoap.GET, "/held")))
        await held.entered.wait()
        asyncio.get_running_loop().call_soon(held.release.set)
    assert held.outcome == ["finished"]
    while (answer := await device.message()).code == aiocoap.EMPTY:
        pass
    assert answer.payload == b"done"
    assert await device.alert() == CLOSE_NOTIFY
    device.udp.close()


async def test_handlers_that_take_longer_than_the_grace_are_cancelled(tmp_path: Path) -> None:
    held = Held()
    async with running(tmp_path, held.app, server__shutdown_grace="20ms") as gateway:
        device = gateway.wire()
        await device.connect()
        device.send(device.client.data(device.request(aiocoap.GET, "/held")))
        await held.entered.wait()
    assert held.outcome == ["cancelled"]
    assert await device.alert() == CLOSE_NOTIFY
    device.udp.close()


async def test_without_grace_nothing_is_left_running(tmp_path: Path) -> None:
    held = Held()
    async with running(tmp_path, held.app, server__shutdown_grace=0) as gateway:
        device = gateway.wire()
        await device.connect()
        device.send(device.client.data(device.request(aiocoap.GET, "/held")))
        await held.entered.wait()
    assert held.outcome == ["cancelled"]
    assert asyncio.all_tasks() == {asyncio.current_task()}
    device.udp.close()


async def test_a_handler_that_had_not_begun_leaves_nothing_behind(tmp_path: Path) -> None:
    held = Held()
    async with running(tmp_path, held.app, server__shutdown_grace=0) as gateway:
        device = gateway.wire()
        await device.connect()
        device.send(device.client.data(device.request(aiocoap.GET, "/held")))
        device.udp.setblocking(True)
        server = gateway.worker._server
        assert server is not None
        server._on_readable()  # in the same turn of the loop as the stop
        assert not held.entered.is_set()
    assert held.outcome == []
    device.udp.close()


async def test_while_it_stops_readyz_says_so_and_nothing_new_begins(tmp_path: Path) -> None:
    held = Held()
    worker = Worker(load_settings(None, prepare(tmp_path), environ={}), app=held.app)
    bound = await worker.__aenter__()
    device = WireDevice(bound.udp.port)
    await device.connect()
    device.send(device.client.data(device.request(aiocoap.GET, "/held", mid=1)))
    await held.entered.wait()
    held.entered.clear()
    stopping = asyncio.create_task(worker.__aexit__())
    await asyncio.sleep(0)

    reader, writer = await asyncio.open_connection(bound.admin.host, bound.admin.port)
    writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 503 " in head.splitlines()[0]
    assert json.loads(body)["failing"] == ["draining"]

    # A handler that began now could be cut off half-way.
    refused = await device.ask(device.request(aiocoap.GET, "/held", mid=2))
    while refused.code == aiocoap.EMPTY:  # the acknowledgement of the first one
        refused = await device.message()
    assert (refused.mid, refused.code) == (2, aiocoap.SERVICE_UNAVAILABLE)
    assert not held.entered.is_set()
    held.release.set()
    await stopping
    assert held.outcome == ["finished"]
    device.udp.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signals(tmp_path: Path, number: signal.Signals) -> None:
    async with running(tmp_path) as gateway:
        waiting = asyncio.create_task(gateway.worker.wait())
        await asyncio.sleep(0)
        os.kill(os.getpid(), number)
        async with asyncio.timeout(PATIENCE_S):
            await waiting
    assert len(gateway.events("server.stopped")) == 1
    # Whoever handled the signal before does so again.
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


async def test_the_ports_are_free_again_and_nothing_is_left_in_the_loop(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.wire() as device:
        await device.ask(device.request(aiocoap.GET, "/device"))
        bound = gateway.bound
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind((bound.udp.host, bound.udp.port))
    assert asyncio.all_tasks() == {asyncio.current_task()}
    # No timer of the gateway waits: it would hold the worker, its sessions and their keys.
    scheduled = [handle for handle in asyncio.get_running_loop()._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
    assert scheduled == []
