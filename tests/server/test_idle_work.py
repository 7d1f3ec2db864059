"""Keys are made ahead while nobody sends, and only then."""

import asyncio
from pathlib import Path

import pytest

from gateway.dtls.limits import KEY_SHARES_AHEAD
from gateway.server import udp
from gateway.server.limits import IDLE_STEPS
from tests.dtls.rawclient import RawClient
from tests.server.support import PATIENCE_S, PSK, PSK_IDENTITY, Gateway, running, wire_certificate


def ahead(gateway: Gateway) -> int:
    return len(gateway.worker._endpoint._handshaking.shares)


async def until_full(gateway: Gateway) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while ahead(gateway) < KEY_SHARES_AHEAD:  # noqa: ASYNC110  what is awaited is done in between
            await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_keys_are_made_ahead_for_who_needs_them(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        plain = gateway.wire(RawClient(identity=PSK_IDENTITY, psk=PSK))
        await plain.connect()
        assert not gateway.worker._endpoint.has_idle_work
        for _ in range(2):
            device = gateway.wire(RawClient(suites=(0xC02B,), device=wire_certificate("dev2")))
            await device.connect()
            await until_full(gateway)
            device.udp.close()
        plain.udp.close()


@pytest.mark.asyncio
async def test_whoever_sends_meanwhile_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "SILENCE_S", 0.0)
    async with running(tmp_path) as gateway:
        server = gateway.worker._server
        assert server is not None
        shares = gateway.worker._endpoint._handshaking.shares
        shares.take(29)
        loop = asyncio.get_running_loop()
        server._wait_for_silence(loop)
        server.counters.datagrams_in += 1
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert ahead(gateway) == 0
        await until_full(gateway)
        assert IDLE_STEPS < KEY_SHARES_AHEAD
