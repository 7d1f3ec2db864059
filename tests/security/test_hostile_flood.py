"""Honest devices send while hostile datagrams of every kind come in: none of theirs fails, and the memory returns.

The long form is the promise: 50,000 hostile datagrams, 50 devices, and a 99th percentile of the latency that at most
doubles. The short form is the same in small, without the clock.
"""

import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from gateway.config import Address
from gateway.simulator import DeviceIdentity, SimulatedDevice
from tests.dtls.rawclient import RawClient, raw_record
from tests.security.hostile import KINDS
from tests.security.process import device_identity
from tests.security.test_flood import MEGABYTE, gateway_process, resident
from tests.server.support import PATIENCE_S, fetch, samples_of

GROWTH = 5 * MEGABYTE
REQUEST_INTERVAL_S = 0.1


class Fleet:
    """Devices that send a request every tenth of a second, and one that comes again and again.

    Attributes:
        latencies: Seconds from a request to its response.
        reconnects: Handshakes beside those of the beginning.
    """

    def __init__(self, port: int, count: int) -> None:
        self.port = port
        self.devices = [SimulatedDevice(identity(number), "127.0.0.1", port) for number in range(count)]
        self.latencies: list[float] = []
        self.reconnects = 0
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Fleet":
        for device in self.devices:
            await device.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def start(self) -> None:
        self._stop.clear()
        self.latencies = []
        self._tasks = [asyncio.create_task(self._talk(device)) for device in self.devices]
        self._tasks.append(asyncio.create_task(self._come_and_go()))

    async def stop(self) -> list[float]:
        """Raises what any of the devices raised."""
        self._stop.set()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*self._tasks)
        return self.latencies

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for device in self.devices:
            await device.close()

    async def _talk(self, device: SimulatedDevice) -> None:
        source, number = random.Random(device.identity.name), 0
        while not self._stop.is_set():
            payload = f"{device.identity.name} {number}".encode()
            begun = time.perf_counter()
            response = await device.post("/echo", payload)
            self.latencies.append(time.perf_counter() - begun)
            assert response.payload == payload
            number += 1
            await asyncio.sleep(REQUEST_INTERVAL_S * source.uniform(0.5, 1.5))

    async def _come_and_go(self) -> None:
        while not self._stop.is_set():
            async with SimulatedDevice(identity(len(self.devices)), "127.0.0.1", self.port) as device:
                assert (await device.post("/echo", b"here again")).payload == b"here again"
            self.reconnects += 1
            await asyncio.sleep(5 * REQUEST_INTERVAL_S)

    def spoof(self, datagram: bytes, number: int) -> None:
        """Sends from the address of a device what the device did not send."""
        udp = self.devices[number % len(self.devices)]._udp
        assert udp is not None
        udp.send(datagram)


def identity(number: int) -> DeviceIdentity:
    psk_identity, psk = device_identity(number)
    return DeviceIdentity(f"honest{number}", psk_identity=psk_identity, psk=psk)


def spoofed(source: random.Random) -> bytes:
    """What an attacker may write who knows a device's address and has none of its keys."""
    match source.randrange(5):
        case 0:
            return raw_record(21, source.randrange(99), b"\x02\x28")
        case 1:
            return raw_record(23, 1 << 48 | source.randrange(1 << 30), source.randbytes(40))
        case 2:
            return RawClient(random=source.randbytes(32)).hello()
        case 3:
            return raw_record(22, 1 << 48 | source.randrange(99), source.randbytes(40))
        case _:
            return source.randbytes(source.randrange(1, 80))


async def flood(port: int, count: int, a_second: int, fleet: Fleet) -> Counter[str]:
    """Runs the attackers in a process of their own, and beside them those that know the devices' addresses."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.security.hostile", str(port), str(count), str(a_second)),
        stdout=asyncio.subprocess.PIPE,
    )
    output = asyncio.create_task(process.communicate())
    source = random.Random(1)
    spoofs = 0
    while not output.done():
        for _ in range(5):
            fleet.spoof(spoofed(source), spoofs)
            spoofs += 1
        await asyncio.sleep(0.05)
    text, _ = await output
    assert process.returncode == 0
    sent = Counter({name: int(total) for name, total in (line.split() for line in text.decode().splitlines())})
    sent["spoofed"] = spoofs
    return sent


async def quiet(admin: Address) -> None:
    """Waits until no handshake is in progress."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            _, metrics = await asyncio.to_thread(fetch, admin, "/metrics")
            if not samples_of(metrics, "gateway_dtls_handshakes_in_progress"):
                return
            await asyncio.sleep(0.2)


async def held(process: int, fleet: Fleet) -> int:
    """Bytes of memory that the gateway has, without what the allocator keeps for later."""
    os.kill(process, signal.SIGUSR1)
    for _ in range(3):  # when these are answered, the signal has been seen
        await fleet.devices[0].post("/echo", b"tidied?")
    return resident(process)


def p99(latencies: list[float]) -> float:
    return sorted(latencies)[len(latencies) * 99 // 100]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("hostile", "devices", "a_second"),
    [(2000, 10, 1500), pytest.param(50_000, 50, 1000, marks=pytest.mark.long)],
    ids=["short", "long"],
)
async def test_honest_devices_in_a_hostile_flood(tmp_path: Path, hostile: int, devices: int, a_second: int) -> None:
    long = hostile >= 50_000
    async with (
        gateway_process(tmp_path, "--devices", str(devices + 1)) as (process, port, admin),
        Fleet(port, devices) as fleet,
    ):
        fleet.start()
        await flood(port, hostile // 5, a_second, fleet)  # what is made once
        await fleet.stop()
        await quiet(admin)
        fleet.start()
        await asyncio.sleep(hostile / a_second if long else 0.5)
        calm = await fleet.stop()
        before = await held(process, fleet)
        fleet.start()
        sent = await flood(port, hostile, a_second, fleet)
        stormy = await fleet.stop()
        await quiet(admin)
        grown = await held(process, fleet) - before
        assert sent.total() - sent["spoofed"] == hostile
        assert set(sent) == {kind.__name__ for _, kind in KINDS} | {"spoofed"}
        assert fleet.reconnects > 1
        assert grown < GROWTH, f"{grown / MEGABYTE:.1f} MB"
        _, metrics = await asyncio.to_thread(fetch, admin, "/metrics")
        assert sum(samples_of(metrics, "gateway_dtls_sessions").values()) == devices
        closed = samples_of(metrics, "gateway_dtls_sessions_closed_total")
        assert set(closed) <= {("close_notify",)}, closed
        if long:
            assert p99(stormy) <= 2 * p99(calm), f"{1000 * p99(calm):.1f} ms without, {1000 * p99(stormy):.1f} ms with"
            print(f"p99 {1000 * p99(calm):.2f} ms without the flood, {1000 * p99(stormy):.2f} ms with it")
