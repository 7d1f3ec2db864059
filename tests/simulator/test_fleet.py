"""Many simulated devices: what a run counts, and what it says when devices fail."""

import json
from pathlib import Path

import pytest

from gateway.handlers import App, Changed, Request
from gateway.simulator import DeviceIdentity, FleetPlan, FleetResult, run_fleet
from tests.server.support import PSK, PSK_IDENTITY, certificate_identity, running

GOOD = DeviceIdentity("dev1", psk_identity=PSK_IDENTITY, psk=PSK)
BAD = DeviceIdentity("dev2", psk_identity=b"nobody", psk=bytes(16))


@pytest.mark.asyncio
async def test_psk_and_certificate_devices_together(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        fleet = [GOOD, *(certificate_identity(f"line-{number}") for number in range(5))]
        plan = FleetPlan(path="echo", count=3, interval_s=0.0, concurrent_handshakes=2)
        result = await run_fleet(fleet, "127.0.0.1", gateway.port, plan)
        assert result.ok
        assert (result.devices, result.connected, result.responses) == (6, 6, {"2.04": 18})
        assert (len(result.handshake_s), len(result.request_s)) == (6, 18)
        summary = json.loads(json.dumps(result.summary()))
        assert (summary["requests"], summary["errors"]) == (18, {})
        assert 0 < summary["request_ms"]["p50"] <= summary["request_ms"]["p99"]
        assert len(gateway.events("registry.device_created")) == 5


@pytest.mark.asyncio
async def test_failures_are_counted_by_what_they_say_and_stop_nobody_else(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        plan = FleetPlan(path="echo", count=2, interval_s=0.0)
        result = await run_fleet([BAD, GOOD, BAD], "127.0.0.1", gateway.port, plan)
        assert not result.ok
        assert (result.connected, result.responses) == (1, {"2.04": 2})
        [(text, count)] = result.errors.items()
        assert "decrypt_error" in text
        assert (count, "dev2" in text) == (2, False)


@pytest.mark.asyncio
async def test_an_error_code_is_not_ok(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        result = await run_fleet([GOOD], "127.0.0.1", gateway.port, FleetPlan(path="nowhere"))
        assert (result.responses, result.ok) == ({"4.04": 1}, False)


def test_a_result_without_devices_has_no_percentiles() -> None:
    assert FleetResult(0).summary()["handshake_ms"] == {}


@pytest.mark.asyncio
async def test_devices_that_serve(tmp_path: Path) -> None:
    app = App()
    asked = []

    @app.post("/telemetry/simulated")
    async def store(request: Request) -> Changed:
        asked.append((await app.device(request.device).get("/status")).json())
        return Changed()

    async with running(tmp_path, app) as gateway:
        plan = FleetPlan(count=2, interval_s=0.001, serves=True)
        result = await run_fleet([DeviceIdentity("dev1", PSK_IDENTITY, PSK)], "127.0.0.1", gateway.port, plan)
        assert result.ok, result.summary()
    assert asked == [{"name": "dev1", "requests": 0}, {"name": "dev1", "requests": 1}]
