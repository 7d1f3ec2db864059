"""Established traffic makes no task, no timer and no log line a datagram, and neither does what is dropped."""

import asyncio
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiocoap  # type: ignore[import-untyped]
import pytest

from gateway.server.udp import UdpServer
from tests.server.support import Gateway, WireDevice, running
from tests.server.test_dispatch import Slow

pytestmark = [pytest.mark.asyncio, pytest.mark.pure("it changes a constant")]

COUNT = 60


@pytest.fixture(autouse=True)
def ample_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine handshakes would be put off to the loop's next turn (test_storm); here time must not matter."""
    monkeypatch.setattr("gateway.server.udp.HANDSHAKE_BUDGET_S", 60.0)


@contextmanager
def counted(gateway: Gateway) -> Iterator[Counter[str]]:
    """Counts what is asked of the event loop, and the log lines."""
    loop = asyncio.get_running_loop()
    calls = Counter[str]()
    names = ("create_task", "call_soon", "call_soon_threadsafe", "call_later", "call_at", "create_future", "add_writer")
    lines = len(gateway.lines)
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            original = getattr(loop, name)

            def counting(*arguments: Any, _name: str = name, _original: Any = original, **options: Any) -> Any:
                calls[_name] += 1
                return _original(*arguments, **options)

            patch.setattr(loop, name, counting)
        yield calls
    calls["log"] = len(gateway.lines) - lines


def serve(gateway: Gateway, count: int) -> None:
    """Lets the gateway read so many datagrams that wait in the kernel, without a turn of the loop."""
    server = gateway.worker._server
    assert isinstance(server, UdpServer)
    before = server.counters.datagrams_in
    while server.counters.datagrams_in < before + count:
        server._on_readable()


async def warmed(device: WireDevice) -> None:
    """The first request opens what the later ones use."""
    await device.ask(device.request(aiocoap.POST, "/echo", b"0"))


@pytest.mark.parametrize("confirmable", [True, False])
async def test_requests(tmp_path: Path, confirmable: bool) -> None:
    async with running(tmp_path) as gateway, gateway.wire() as device:
        await warmed(device)
        for _ in range(COUNT):
            device.send(device.client.data(device.request(aiocoap.POST, "/echo", b"21.5", confirmable=confirmable)))
        with counted(gateway) as calls:
            serve(gateway, COUNT)
        assert calls == {"log": 0}
        for _ in range(COUNT):
            assert (await device.message()).payload == b"21.5"


async def test_repetitions_pings_and_nonsense_of_a_connected_device(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.wire() as device:
        await warmed(device)
        request = device.request(aiocoap.POST, "/echo", b"21.5")
        for _ in range(COUNT // 3):
            device.send(device.client.data(request))
            device.send(device.client.data(b"\x40\x00\x12\x34"))  # ping, RFC 7252 section 4.3
            device.send(device.client.data(b"\xff"))
        with counted(gateway) as calls:
            serve(gateway, COUNT // 3 * 3)
        assert calls == {"log": 0}


def dropped(device: WireDevice) -> list[bytes]:
    """A datagram for each way of being dropped."""
    good = device.client.data(b"x")
    hello = device.client.hello()
    return [
        b"",
        b"\x00",
        b"garbage that is longer than a record header",
        good[:-1],
        good[:-1] + bytes((good[-1] ^ 1,)),
        good[:4] + b"\x02" + good[5:],  # epoch 2 or 513
        b"\x17\xfe\xfd" + bytes(8) + b"\x00\x01x",  # application data in epoch 0
        b"\x16\xfe\xfd" + bytes(8) + b"\x00\x01x",
        hello[:40],
        b"\x16\x03\x03" + hello[3:],
    ]


async def test_dropped_datagrams(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.wire() as device:
        await warmed(device)
        junk = dropped(device)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.connect(("127.0.0.1", gateway.port))
            for datagram in junk:
                device.send(datagram)
                stranger.send(datagram)
        before = await gateway.samples("gateway_dtls_records_dropped_total")
        tasks = asyncio.all_tasks()
        # The scrape gave the gateway a turn: what waits now comes after it.
        for datagram in junk:
            device.send(datagram)
        with counted(gateway) as calls:
            serve(gateway, len(junk))
        assert calls == {"log": 0}
        assert asyncio.all_tasks() == tasks
        after = await gateway.samples("gateway_dtls_records_dropped_total")
        assert sum(after.values()) - sum(before.values()) >= len(junk)
        # Nobody got an answer, and the session is what it was.
        assert (await device.ask(device.request(aiocoap.GET, "/device"))).payload == b"default/dev1"


async def test_hellos_without_a_cookie(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        device = gateway.wire()
        for _ in range(COUNT):
            device.send(device.client.hello())
        with counted(gateway) as calls:
            serve(gateway, COUNT)
        assert calls == {"log": 0}
        device.udp.close()


async def test_an_async_handler_costs_one_task(tmp_path: Path) -> None:
    """The counter counts: without this the tests above could not fail."""
    slow = Slow()
    slow.release.set()
    async with running(tmp_path, slow.app) as gateway, gateway.wire() as device:
        await device.ask(device.request(aiocoap.GET, "/slow"))
        device.send(device.client.data(device.request(aiocoap.GET, "/slow")))
        with counted(gateway) as calls:
            serve(gateway, 1)
        assert calls["create_task"] == 1
        await device.message()
