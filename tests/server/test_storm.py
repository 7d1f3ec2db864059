"""Requests of sessions go before handshakes, whatever came first, and handshakes get a bounded time of a wake-up."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import aiocoap  # type: ignore[import-untyped]
import pytest

from gateway.server.limits import HANDSHAKE_BUDGET_S, RECEIVE_BATCH
from gateway.server.udp import UdpServer
from tests.dtls.rawclient import RawClient
from tests.server.support import Gateway, running

pytestmark = pytest.mark.asyncio


def shell(gateway: Gateway) -> UdpServer:
    server = gateway.worker._server
    assert isinstance(server, UdpServer)
    return server


def ticking(clock: Callable[[], float], step: float) -> Callable[[], float]:
    """A clock by which every look at it takes time."""
    looks = 0

    def now() -> float:
        nonlocal looks
        looks += 1
        return clock() + looks * step

    return now


async def answered(server: UdpServer, hellos: int) -> None:
    """Gives the loop turns until so many hellos are answered."""
    for _ in range(100_000):
        if server._endpoint.counters.hello_verify_sent >= hellos:
            return
        await asyncio.sleep(0)
    raise AssertionError(f"{server._endpoint.counters.hello_verify_sent} of {hellos}")


async def test_requests_go_first_and_handshakes_take_their_share(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.wire() as device:
        server = shell(gateway)
        await device.ask(device.request(aiocoap.GET, "/device"))
        stranger = gateway.wire()
        for n in range(20):
            stranger.udp.send(RawClient(random=bytes((n,)) * 32).hello())
        device.send(device.client.data(device.request(aiocoap.GET, "/device")))
        counters = server._endpoint.counters
        before = counters.hello_verify_sent
        server._clock = ticking(server._clock, HANDSHAKE_BUDGET_S)
        while server.counters.datagrams_in == 0 or not server._arrivals:
            server._on_readable()
        # All was read and the request answered; of the hellos the one that a wake-up does at least.
        assert counters.hello_verify_sent == before + 1
        assert (await device.message()).payload == b"default/dev1"
        # The rest follows without anything new on the socket.
        await answered(server, before + 20)
        assert len(server._arrivals) == 0
        stranger.udp.close()


async def test_full_batches_put_handshakes_off_but_not_for_ever(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        server = shell(gateway)
        stranger = gateway.wire()
        count = 3 * RECEIVE_BATCH
        for n in range(count):
            stranger.udp.send(RawClient(random=n.to_bytes(32)).hello())
        before = server._endpoint.counters.hello_verify_sent
        server._on_readable()
        assert server._endpoint.counters.hello_verify_sent == before
        await answered(server, before + count)
        stranger.udp.close()


async def test_what_waits_at_the_end_is_forgotten(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        server = shell(gateway)
        stranger = gateway.wire()
        for n in range(RECEIVE_BATCH):
            stranger.udp.send(RawClient(random=n.to_bytes(32)).hello())
        server._on_readable()
        assert len(server._arrivals) == RECEIVE_BATCH
        server.stop_reading()
        assert len(server._arrivals) == 0
        await asyncio.sleep(0)
        stranger.udp.close()
