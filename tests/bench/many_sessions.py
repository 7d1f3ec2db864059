"""What sessions by the ten thousand cost: memory and requests at each number, idling, and a storm after an outage.

    python -m tests.bench.many_sessions --json many.json [--most 50000] [--processes 4] [--long]

Simulated devices of `gateway.simulator.bench`, with pre-shared keys and a connection id, on a throw-away gateway on
loopback. The gateway's CPU time and memory are read from /proc. On a shared machine the clock says little: what
counts is CPU time and memory; the storm's durations are those of one machine for the gateway and all devices.
"""

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gateway.dtls.limits import LINGER_S
from gateway.simulator.bench import LoadProcesses, Pace, PskFleet, Tally, ThrowAwayGateway, percentile
from gateway.simulator.bench.document import machine
from gateway.simulator.bench.gateway_process import PATH

STEPS = (100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)
PAYLOAD = b"0123456789abcdef0123456789abcdef"
AWAKE = 100
ROUNDS = 9
ROUND_S = 1.0
IDLE_S = 30.0
BUSY = 16
SLACK_S = 5.0
EXCHANGE_LIFETIME_S = 247.0
PATIENCE_S = 900.0


@dataclass(slots=True)
class Crowd:
    """A gateway and its devices.

    Attributes:
        gateway: The gateway.
        load: The processes of the devices.
        processes: How many.
        connected: Sessions.
    """

    gateway: ThrowAwayGateway
    load: LoadProcesses
    processes: int
    connected: int = 0
    _fleet: PskFleet | None = field(default=None, repr=False)

    def grow(self, sessions: int) -> None:
        """Connects devices until there are so many; every one of them must."""
        each = (sessions - self.connected) // self.processes
        fleet = self._fleet if self._fleet is not None else self.gateway.psk
        self._fleet = replace(fleet, first=fleet.first + each * self.processes)
        self.load.open(fleet, each)
        tallies = self.load.connect(Pace(BUSY, patience_s=PATIENCE_S))
        assert_nothing_lost(tallies, each * self.processes)
        self.connected += each * self.processes

    @contextlib.contextmanager
    def more_load(self, processes: int) -> Iterator["Crowd"]:
        """Processes for AWAKE devices more, on the same gateway."""
        address = self.gateway.address
        with LoadProcesses(processes, address.host, address.port) as load:
            fleet = replace(self.gateway.psk, first=self.gateway.devices - AWAKE + 1)
            yield Crowd(self.gateway, load, processes, _fleet=fleet)

    def one_each(self) -> list[Tally]:
        """One request of every device, each of which must be answered."""
        tallies = self.load.requests(Pace(BUSY, patience_s=PATIENCE_S), PATH, PAYLOAD)
        assert_nothing_lost(tallies, self.connected)
        return tallies

    def storm(self) -> dict[str, Any]:
        """Kills the gateway, starts it again, and has every device come back at the same moment.

        Returns:
            How long it took until so many of them had a session again, seconds, and what the gateway spent.
        """
        self.gateway.kill()
        self.gateway.start()
        before, since = self.cpu_s(), time.monotonic()
        tallies = self.load.connect(Pace(sys.maxsize, patience_s=PATIENCE_S), since=since)
        done = sum(tally.done for tally in tallies)
        assert done == self.connected, f"{self.connected - done} devices did not come back: {errors(tallies)}"
        latencies = [latency for tally in tallies for latency in tally.latencies_s]
        return {
            "devices": done,
            "all_back_s": round(max(latencies), 2),
            "p50_s": round(percentile(latencies, 50), 2),
            "p99_s": round(percentile(latencies, 99), 2),
            "tried_again": dict(errors(tallies)),
            "gateway_cpu_us": round((self.cpu_s() - before) / done * 1e6, 1),
            "load_cpu_us": round(sum(tally.cpu_s for tally in tallies) / done * 1e6, 1),
            "gateway_counters": self.gateway_counters(),
        }

    def cpu_s(self) -> float:
        used = self.gateway.usage.cpu_s()
        assert used is not None, "there is no /proc"
        return used

    def resident_bytes(self) -> int:
        resident = self.gateway.usage.resident_bytes()
        assert resident is not None, "there is no /proc"
        return resident

    def gateway_counters(self) -> dict[str, float]:
        """What of the gateway's metrics tells of losses."""
        with urllib.request.urlopen(f"http://{self.gateway.admin}/metrics", timeout=30) as response:
            text = response.read().decode()
        wanted = (
            "gateway_udp_receive_drops_total",
            "gateway_dtls_records_dropped_total",
            "retransmissions_total",
            "udp_send",
        )
        found: defaultdict[str, float] = defaultdict(float)
        for line in text.splitlines():
            name, _, value = line.rpartition(" ")
            if not line.startswith("#") and any(each in name for each in wanted) and float(value):
                found[name] += float(value)
        return dict(found)


@contextlib.contextmanager
def crowd(devices: int, processes: int) -> Iterator[Crowd]:
    """A gateway that knows so many devices, and processes for them."""
    with (
        tempfile.TemporaryDirectory(prefix="gateway-bench-") as name,
        ThrowAwayGateway(Path(name), devices + AWAKE) as gateway,
        LoadProcesses(processes, gateway.address.host, gateway.address.port) as load,
    ):
        yield Crowd(gateway, load, processes)


def errors(tallies: Sequence[Tally]) -> Counter[str]:
    return sum((tally.errors for tally in tallies), Counter())


def assert_nothing_lost(tallies: Sequence[Tally], expected: int) -> None:
    done = sum(tally.done for tally in tallies)
    assert (done, errors(tallies)) == (expected, Counter())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="where to write the result")
    parser.add_argument("--most", type=int, default=STEPS[-1], help="sessions at most")
    parser.add_argument("--processes", type=int, default=4, help="of the devices")
    parser.add_argument("--long", action="store_true", help="also wait until everything about a handshake is forgotten")
    options = parser.parse_args()
    steps = [step for step in STEPS if step <= options.most]
    result: dict[str, Any] = {"machine": machine(), "at": time.strftime("%Y-%m-%d")}
    result["requests_of_some"] = requests(steps, options.processes, everybody=False)
    result["requests_of_all"] = requests(steps, options.processes, everybody=True)
    result["sessions"] = story(steps, options.processes, idle_s=IDLE_S, forget=options.long)
    options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def requests(steps: Sequence[int], processes: int, *, everybody: bool) -> list[dict[str, Any]]:
    """CPU time of a request with so many sessions, by turns with a gateway that has AWAKE of them.

    Args:
        steps: Numbers of sessions, AWAKE at least.
        processes: Of the devices that sleep.
        everybody: All sessions send, one after the other; else AWAKE of them, from processes that have no others.
    """
    found = []
    with crowd(AWAKE, 2) as small, crowd(steps[-1], processes) as large, large.more_load(2) as awake:
        small.grow(AWAKE)
        if not everybody:
            awake.grow(AWAKE)
        for step in steps:
            large.grow(step - awake.connected)
            sending = large if everybody else awake
            measured, beside = [], []
            for _ in range(ROUNDS):
                beside.append(measure_requests(small))
                measured.append(measure_requests(sending))
            ratio = statistics.median(measured) / statistics.median(beside)
            found.append({"sessions": step, "us": measured, "beside_us": beside, "ratio": round(ratio, 3)})
            say(found[-1])
    return found


def story(steps: Sequence[int], processes: int, *, idle_s: float, forget: bool) -> dict[str, Any]:
    """Devices connect, idle, send one request each, lose the gateway, and come back all at once.

    Args:
        steps: Numbers of sessions at which the memory is looked at; the last is how many there are in the end.
        processes: Of the devices.
        idle_s: How long to idle, seconds.
        forget: Also wait until the gateway has forgotten all about handshakes and requests.

    Raises:
        AssertionError: A device could not connect, a request was lost, or a device did not come back.
    """
    told: dict[str, Any] = {"steps": []}
    with crowd(steps[-1], processes) as devices:

        def tell(name: str, what: dict[str, Any]) -> None:
            told[name] = what
            say({name: what})

        for step in steps:
            cpu, before = devices.cpu_s(), devices.connected
            devices.grow(step)
            handshake_us = round((devices.cpu_s() - cpu) / (devices.connected - before) * 1e6, 1)
            told["steps"].append({**memory(devices, told), "handshake_us": handshake_us})
            say(told["steps"][-1])
        last_at = time.monotonic()
        tell("idle", idle(devices, told, idle_s))
        if forget:
            wait_until(last_at + LINGER_S)
            tell("idle_without_last_flights", idle(devices, told, idle_s))
        tell("one_each", one_each(devices))
        last_at = time.monotonic()
        tell("after_one_each", memory(devices, told))
        if forget:
            wait_until(last_at + EXCHANGE_LIFETIME_S)
            tell("idle_without_answers", idle(devices, told, idle_s))
        tell("storm", devices.storm())
        tell("one_each_after_the_storm", one_each(devices))
    return told


def memory(devices: Crowd, told: dict[str, Any]) -> dict[str, Any]:
    """Resident memory, and what of it each session has that came after the first step."""
    resident, first = devices.resident_bytes(), told["steps"][0] if told["steps"] else None
    more = devices.connected - first["sessions"] if first is not None else 0
    each = round((resident - first["resident_bytes"]) / more) if first is not None and more else None
    return {"sessions": devices.connected, "resident_bytes": resident, "bytes_a_session": each}


def idle(devices: Crowd, told: dict[str, Any], seconds: float) -> dict[str, Any]:
    """CPU time while nothing happens, and the memory then."""
    cpu, began = devices.cpu_s(), time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - began
    percent = round((devices.cpu_s() - cpu) / elapsed * 100, 2)
    return {**memory(devices, told), "seconds": round(elapsed, 1), "cpu_percent_of_a_core": percent}


def wait_until(at: float) -> None:
    time.sleep(max(0.0, at + SLACK_S - time.monotonic()))


def measure_requests(devices: Crowd) -> float:
    """Gateway CPU time of a request, microseconds, while the devices send in turn, 32 of them at a time."""
    cpu = devices.cpu_s()
    tallies = devices.load.requests(Pace(32 // devices.processes, ROUND_S), PATH, PAYLOAD)
    assert not errors(tallies), errors(tallies)
    return round((devices.cpu_s() - cpu) / sum(tally.done for tally in tallies) * 1e6, 2)


def one_each(devices: Crowd) -> dict[str, Any]:
    cpu = devices.cpu_s()
    tallies = devices.one_each()
    latencies = [latency for tally in tallies for latency in tally.latencies_s]
    return {
        "requests": len(latencies),
        "gateway_cpu_us": round((devices.cpu_s() - cpu) / len(latencies) * 1e6, 2),
        "p50_ms": round(percentile(latencies, 50) * 1000, 2),
        "p99_ms": round(percentile(latencies, 99) * 1000, 2),
    }


def say(what: object) -> None:
    print(json.dumps(what), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
