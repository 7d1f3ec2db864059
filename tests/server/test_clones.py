"""One identity at two hosts. Hosts are loopback addresses here: 127.0.0.1 and 127.0.0.2."""

import asyncio
import socket
from functools import partial
from pathlib import Path

import aiocoap  # type: ignore[import-untyped]
import pytest

from gateway.model import DeviceStatus
from gateway.registry import OnClone, TenantLimits
from gateway.server import clones as clones_module
from tests.server.support import Gateway, WireDevice, running, until

pytestmark = pytest.mark.asyncio

ELSEWHERE = "127.0.0.2"


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clones_module, "CLONE_GRACE_S", 0.0)


def at(gateway: Gateway, host: str) -> WireDevice:
    wire = gateway.wire()
    wire.udp.close()
    wire.udp = socket.socket(type=socket.SOCK_DGRAM)
    wire.udp.setblocking(False)
    wire.udp.bind((host, 0))
    wire.udp.connect(("127.0.0.1", gateway.port))
    return wire


async def speaks(wire: WireDevice) -> bool:
    answer = await wire.ask(wire.request(aiocoap.GET, "/device"))
    return bool(answer.payload == b"default/dev1")


async def policy(gateway: Gateway, action: OnClone) -> None:
    with gateway.registry() as registry:
        registry.set_tenant("default", limits=TenantLimits(on_clone=action))
    await until(partial(policy_is, gateway, action))


def policy_is(gateway: Gateway, action: OnClone) -> bool:
    tenant = gateway.worker._reads.tenant("default")
    return tenant is not None and tenant.limits.on_clone is action


async def looked(gateway: Gateway) -> None:
    await gateway.watch.look()


async def test_two_that_both_speak_are_told(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, at(gateway, "127.0.0.1") as first, at(gateway, ELSEWHERE) as second:
        await looked(gateway)
        assert gateway.events("security.clone_detected") == []
        await asyncio.sleep(0.01)
        assert await speaks(first)
        await looked(gateway)
        [line] = gateway.events("security.clone_detected")
        assert (line["device"], line["action"], sorted(line["peers"])) == ("dev1", "flag", ["127.0.0.1", ELSEWHERE])
        assert await gateway.samples("gateway_device_clones_total") == {("flag",): 1}
        assert await speaks(first)
        assert await speaks(second)
        await looked(gateway)
        assert len(gateway.events("security.clone_detected")) == 1


async def test_a_device_that_moved_is_one(tmp_path: Path) -> None:
    """It got another address, made a new session, and left the old one behind."""
    async with running(tmp_path) as gateway, at(gateway, "127.0.0.1") as first:
        assert await speaks(first)
        async with at(gateway, ELSEWHERE) as second:
            for _ in range(3):
                assert await speaks(second)
                await looked(gateway)
        assert gateway.events("security.clone_detected") == []


async def test_two_sessions_at_one_host_are_one_machine(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, at(gateway, ELSEWHERE) as first, at(gateway, ELSEWHERE) as second:
        for wire in (first, second, first):
            assert await speaks(wire)
        await looked(gateway)
        assert gateway.events("security.clone_detected") == []
        assert len(gateway.watch.clones) == 0


async def test_quarantine_ends_both(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        await policy(gateway, OnClone.QUARANTINE)
        async with at(gateway, "127.0.0.1") as first, at(gateway, ELSEWHERE) as second:
            await asyncio.sleep(0.01)
            assert await speaks(first)
            await looked(gateway)
            assert await first.alert() == (2, 49)
            assert await second.alert() == (2, 49)
        with gateway.registry() as registry:
            record = registry.device_record("dev1")
        assert record.device.status is DeviceStatus.QUARANTINED
        assert ELSEWHERE in record.note


async def test_newest_wins(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        await policy(gateway, OnClone.NEWEST_WINS)
        async with at(gateway, "127.0.0.1") as first:
            assert await speaks(first)
            async with at(gateway, ELSEWHERE) as second:
                assert (await first.alert())[1] == 0  # close_notify
                assert await speaks(second)


async def test_the_suspicions_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clones_module, "MAX_CLONE_SUSPECTS", 0)
    async with running(tmp_path) as gateway:
        watch = gateway.watch
        watch.clones._suspects[("default", "old")] = None  # type: ignore[assignment]
        async with at(gateway, "127.0.0.1"), at(gateway, ELSEWHERE):
            assert list(watch.clones._suspects) == [("default", "dev1")]
