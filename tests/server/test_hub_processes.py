"""Devices of several worker processes: asked, told and queued for, from whichever process."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from gateway.registry import open_registry
from gateway.simulator import DeviceError, DeviceIdentity, DeviceResources, SimulatedDevice
from tests.server.several import Several, becomes
from tests.server.support import PATIENCE_S, PSK

pytestmark = pytest.mark.asyncio

MANY = 12
APP = """
import os
from gateway.handlers import App, Changed, Content

app = App()


@app.get("/pid")
def pid(request):
    return Content(str(os.getpid()))


@app.get("/ask/{device}")
async def ask(request, device):
    return Content((await app.device(device).get("/name")).payload)


@app.get("/connected/{device}")
def connected(request, device):
    return Content(str(app.device(device).connected))


@app.get("/state", observable=True)
def state(request):
    return Content(b"0")


@app.post("/tell")
async def tell(request):
    return Content(str(await app.notify("/state", request.payload)))
"""
NAMES = [f"d{number}" for number in range(MANY)]


def device(gateway: Several, name: str) -> SimulatedDevice:
    identity = DeviceIdentity(name, psk_identity=name.encode(), psk=PSK)
    resources = DeviceResources({"/name": name.encode()})
    return SimulatedDevice(identity, gateway.udp.host, gateway.udp.port, resources=resources)


@asynccontextmanager
async def fleet(gateway: Several) -> AsyncIterator[dict[str, SimulatedDevice]]:
    with open_registry(str(gateway.values["registry.url"])) as registry:
        for name in NAMES:
            registry.add_psk_device(name, name.encode(), PSK)
    devices = {name: device(gateway, name) for name in NAMES}
    for each in devices.values():
        await each.connect()
    try:
        yield devices
    finally:
        for each in devices.values():
            with suppress(DeviceError):
                await each.close()


async def answered(asking: SimulatedDevice, path: str) -> str:
    return (await asking.get(path)).payload.decode()


async def soon(asking: SimulatedDevice, path: str, expected: str) -> None:
    async def is_so() -> bool:
        return await answered(asking, path) == expected

    await becomes(is_so)


def call(gateway: Several, method: str, path: str, body: object = None) -> tuple[int, Any]:
    connection = HTTPConnection(gateway.admin.host, gateway.admin.port, timeout=PATIENCE_S)
    try:
        connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


async def test_every_process_reaches_every_device(tmp_path: Path) -> None:
    with Several(tmp_path, workers=3, app=APP, admin__device_requests=True) as gateway:
        async with fleet(gateway) as devices:
            homes = {name: await answered(each, "/pid") for name, each in devices.items()}
            assert len(set(homes.values())) > 1
            for name, each in devices.items():
                await soon(each, f"/connected/{NAMES[0]}", "True")
                assert [await answered(each, f"/ask/{other}") for other in NAMES] == NAMES
                status, body = await asyncio.to_thread(
                    call, gateway, "POST", f"/devices/{name}/request", {"path": "/name"}
                )
                assert (status, body["payload"]) == (200, name)
            assert sum((await gateway.samples("gateway_hub_devices")).values()) == MANY
            exchanges = await gateway.samples("gateway_hub_exchanges_total")
            assert {result for result, _ in exchanges} == {"answered"}


async def test_a_process_that_is_killed(tmp_path: Path) -> None:
    with Several(tmp_path, app=APP) as gateway:
        async with fleet(gateway) as devices:
            homes = {name: gateway.pids()[int(await answered(each, "/pid"))] for name, each in devices.items()}
            stays = next(name for name, home in homes.items() if home == 0)
            goes = next(name for name, home in homes.items() if home == 1)
            await soon(devices[stays], f"/connected/{goes}", "True")
            gateway.kill(1)
            await soon(devices[stays], f"/connected/{goes}", "False")
            await becomes(lambda: len(gateway.log.lines("worker.started")) == 3)
            async with device(gateway, goes) as again:
                assert await answered(again, f"/ask/{stays}") == stays
                assert await answered(devices[stays], f"/ask/{goes}") == goes
