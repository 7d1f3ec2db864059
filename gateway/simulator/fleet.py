"""Many simulated devices at once: `gateway simulate`."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic

from gateway.coap import code_text
from gateway.simulator.device import DeviceError, DeviceIdentity, SimulatedDevice
from gateway.simulator.resources import DeviceResources


@dataclass(slots=True)
class FleetResult:
    """What came of a run.

    Attributes:
        devices: How many there were.
        connected: How many completed a handshake.
        responses: By CoAP code, such as "2.04".
        errors: By text.
        handshake_s: Duration of each handshake, seconds.
        request_s: Duration of each request, seconds.
        elapsed_s: Of the whole run, seconds.
    """

    devices: int
    connected: int = 0
    responses: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    handshake_s: list[float] = field(default_factory=list)
    request_s: list[float] = field(default_factory=list)
    elapsed_s: float = 0.0

    @property
    def ok(self) -> bool:
        """Every device connected and every request got a success code."""
        return self.connected == self.devices and not self.errors and all(c.startswith("2.") for c in self.responses)

    def summary(self) -> dict[str, object]:
        """As plain values, for JSON: durations as median and 99th percentile in milliseconds."""
        return {
            "devices": self.devices,
            "connected": self.connected,
            "requests": sum(self.responses.values()),
            "responses": dict(self.responses),
            "errors": dict(self.errors),
            "elapsed_s": round(self.elapsed_s, 3),
            "handshake_ms": _percentiles(self.handshake_s),
            "request_ms": _percentiles(self.request_s),
        }


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """What each device does.

    Attributes:
        path: Where it posts to.
        payload: Gives the payload of a device's n-th request.
        count: Requests a device; None for until cancelled.
        interval_s: Seconds between two requests of a device.
        confirmable: CON or NON.
        concurrent_handshakes: Devices that connect at the same time.
        connection_id: Whether they offer a connection id.
        serves: Whether they answer requests of the gateway: GET /status.
    """

    path: str = "telemetry/simulated"
    payload: Callable[[DeviceIdentity, int], bytes] = lambda identity, n: b'{"n":%d}' % n
    count: int | None = 1
    interval_s: float = 1.0
    confirmable: bool = True
    concurrent_handshakes: int = 64
    connection_id: bool = True
    serves: bool = False


async def run_fleet(identities: Sequence[DeviceIdentity], host: str, port: int, plan: FleetPlan) -> FleetResult:
    """Runs every device through the plan. Failures are counted, not raised."""
    result = FleetResult(len(identities))
    gate = asyncio.Semaphore(plan.concurrent_handshakes)
    started = monotonic()
    try:
        await asyncio.gather(*(_run_device(identity, host, port, plan, gate, result) for identity in identities))
    finally:
        result.elapsed_s = monotonic() - started
    return result


async def _run_device(
    identity: DeviceIdentity, host: str, port: int, plan: FleetPlan, gate: asyncio.Semaphore, result: FleetResult
) -> None:
    resources = DeviceResources() if plan.serves else None
    device = SimulatedDevice(identity, host, port, connection_id=plan.connection_id, resources=resources)
    number = 0
    if resources is not None:
        resources.values["/status"] = lambda request: json.dumps({"name": identity.name, "requests": number}).encode()
    try:
        async with gate:
            began = monotonic()
            await device.connect()
            result.handshake_s.append(monotonic() - began)
        result.connected += 1
        while plan.count is None or number < plan.count:
            if number:
                await asyncio.sleep(plan.interval_s)
            began = monotonic()
            response = await device.post(plan.path, plan.payload(identity, number), confirmable=plan.confirmable)
            result.request_s.append(monotonic() - began)
            result.responses[code_text(response.code)] += 1
            number += 1
    except DeviceError as error:
        result.errors[str(error).removeprefix(f"{identity.name}: ")] += 1
    finally:
        await device.close()


def _percentiles(durations: list[float]) -> dict[str, float]:
    if not durations:
        return {}
    ordered = sorted(durations)
    return {
        "p50": round(ordered[len(ordered) // 2] * 1000, 3),
        "p99": round(ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] * 1000, 3),
    }
