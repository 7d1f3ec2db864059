"""Commands to devices whose address changes all the time, over a path that loses a tenth: none is done twice."""

import asyncio
import os
from collections import Counter
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from gateway.coap import Message, TransmissionParameters
from gateway.coap.client import Client
from gateway.handlers import App, Changed, Code, DeviceTimeout, QueueState
from gateway.simulator import DeviceError, DeviceIdentity, DeviceResources, SimulatedDevice
from tests.server.relay import Relay
from tests.server.support import Gateway, running

pytestmark = pytest.mark.asyncio

# Two seconds, the default, are for radio; here each loss would cost them.
ACK_TIMEOUT_S = 0.15
LOSS = 0.1
PAUSE_S = 0.1
"""Seconds between two messages of a device by its own doing: without any, nobody finds it behind a new address."""


class Fleet:
    """Devices that do what they are told, and write it down.

    Attributes:
        done: What each command's payload was done, and how often.
        devices: By name.
    """

    def __init__(self, size: int) -> None:
        self.done: Counter[bytes] = Counter()
        self.names = [f"valve-{number}" for number in range(size)]
        self.devices: dict[str, SimulatedDevice] = {}

    def register(self, gateway: Gateway) -> None:
        with gateway.registry() as registry:
            for name in self.names:
                registry.add_psk_device(name, name.encode(), name.encode().ljust(16))

    def new_device(self, name: str, port: int) -> SimulatedDevice:
        def do(request: Message) -> bytes:
            self.done[request.payload] += 1
            return request.payload

        identity = DeviceIdentity(name, name.encode(), name.encode().ljust(16))
        device = SimulatedDevice(identity, "127.0.0.1", port, resources=DeviceResources({"/do": do}))
        parameters = TransmissionParameters(ack_timeout_s=ACK_TIMEOUT_S)
        device._client = Client(random=os.urandom, parameters=parameters, serves=True)
        self.devices[name] = device
        return device


async def report(device: SimulatedDevice) -> None:
    """Says something now and then, whether it arrives or not."""
    while True:
        with suppress(DeviceError):
            await device.post("/report", b"")
        await asyncio.sleep(PAUSE_S)


def reporting_app() -> App:
    app = App()
    app.post("/report")(lambda request: Changed())
    return app


async def command(app: App, name: str, count: int) -> Counter[str]:
    """Commands one after the other; what became of them."""
    results: Counter[str] = Counter()
    for number in range(count):
        payload = f"{name} {number}".encode()
        try:
            response = await app.device(name).post("/do", payload)
        except DeviceTimeout as late:
            results["sent, no answer" if late.sent else "not sent"] += 1
        else:
            assert (response.code, response.payload) == (Code.CHANGED, payload)
            results["answered"] += 1
    return results


async def campaign(tmp_path: Path, size: int, count: int) -> None:
    app, fleet = reporting_app(), Fleet(size)
    async with (
        running(tmp_path, app, coap__ack_timeout=ACK_TIMEOUT_S, coap__processing_delay=0.1) as gateway,
        Relay(gateway.port, every=5, loss=LOSS, late=0.05) as relay,
        AsyncExitStack() as stack,
    ):
        fleet.register(gateway)
        for name in fleet.names:
            await stack.enter_async_context(fleet.new_device(name, relay.port))
        relay.moving = True
        reports = [asyncio.create_task(report(device)) for device in fleet.devices.values()]
        results = await asyncio.gather(*(command(app, name, count) for name in fleet.names))
        for task in reports:
            task.cancel()
        await asyncio.gather(*reports, return_exceptions=True)
        relay.moving = False
        total = sum(results, Counter())
        assert total.total() == size * count
        # Nothing was done twice, and what was answered was done.
        assert set(fleet.done.values()) == {1}
        assert total["answered"] <= len(fleet.done) <= total["answered"] + total["sent, no answer"]
        assert total["answered"] >= 0.95 * size * count
        assert relay.moves > size
        assert relay.lost > size * count // 20
        counts = await gateway.samples("gateway_coap_device_requests_total")
        assert counts["answered",] == total["answered"]
        assert counts["timed_out",] == total["sent, no answer"] + total["not sent"]
        assert sum((await gateway.samples("gateway_coap_retransmissions_total")).values()) > 0
        assert gateway.events("server.fault") == []


async def test_ten_devices(tmp_path: Path) -> None:
    await campaign(tmp_path, 10, 3)


@pytest.mark.long
async def test_a_hundred_devices(tmp_path: Path) -> None:
    await campaign(tmp_path, 100, 20)


async def test_commands_that_wait_for_devices_that_wake(tmp_path: Path) -> None:
    """Queued for devices that are not there; each comes, over the same path, and does what it was told once."""
    app, fleet = reporting_app(), Fleet(6)
    async with (
        running(tmp_path, app, coap__ack_timeout=ACK_TIMEOUT_S, coap__processing_delay=0.1) as gateway,
        Relay(gateway.port, every=5, loss=LOSS) as relay,
        AsyncExitStack() as stack,
    ):
        fleet.register(gateway)
        queued = [
            app.device(name).queue("POST", "/do", f"{name} {number}".encode())
            for name in fleet.names
            for number in range(2)
        ]
        for name in fleet.names:
            await stack.enter_async_context(fleet.new_device(name, relay.port))
        relay.moving = True
        reports = [asyncio.create_task(report(device)) for device in fleet.devices.values()]
        await asyncio.gather(*(each.wait() for each in queued), return_exceptions=True)
        for task in reports:
            task.cancel()
        await asyncio.gather(*reports, return_exceptions=True)
        relay.moving = False
        assert set(fleet.done.values()) == {1}
        states = Counter(each.state for each in queued)
        assert states.keys() <= {QueueState.DONE, QueueState.FAILED}
        assert states[QueueState.DONE] >= 9
        assert gateway.events("server.fault") == []


async def test_the_app_that_reports(tmp_path: Path) -> None:
    """The counter-proof: the same devices without loss answer everything."""
    app, fleet = reporting_app(), Fleet(2)
    async with running(tmp_path, app) as gateway, AsyncExitStack() as stack:
        fleet.register(gateway)
        for name in fleet.names:
            await stack.enter_async_context(fleet.new_device(name, gateway.port))
        results = await asyncio.gather(*(command(app, name, 10) for name in fleet.names))
        assert sum(results, Counter()) == {"answered": 20}
        assert fleet.done.total() == 20
