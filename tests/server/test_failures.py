"""What the gateway remembers of failed handshakes, and who can read it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.dtls import FailureReason
from gateway.model import DeviceStatus
from gateway.server.failures import Failures
from gateway.server.limits import MAX_FAILURE_TEXT, MAX_FAILURES_PER_REASON
from gateway.server.remedies import REMEDY_FOR
from gateway.telemetry import EventLimiter
from tests.cli.support import run
from tests.dtls.rawclient import RawClient
from tests.server.support import running, wire_certificate


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def facts(**others: Any) -> dict[str, Any]:
    return {
        "reason": FailureReason.WRONG_KEY,
        "hint": "compare",
        "server_name": None,
        "peer": "192.0.2.1:5",
        "device": "dev1",
        "tenant": "default",
        "alert": "decrypt_error",
        "auth": "psk",
        "suite": None,
        "suite_offer": (),
        "duration_ms": 1.0,
        "retransmissions": 0,
        **others,
    }


def test_what_repeats_is_one_entry() -> None:
    failures = Failures(Clock())
    for port in range(5):
        failures.add("192.0.2.1", **facts(peer=f"192.0.2.1:{port}"))
    [only] = failures.newest()
    assert (only.count, only.peer, only.last_at - only.first_at) == (5, "192.0.2.1:4", 4)
    shown = only.as_json()
    assert (shown["first_at"], shown["last_at"]) == ("2023-11-14T22:13:21.000Z", "2023-11-14T22:13:25.000Z")
    assert shown["remedy"] == REMEDY_FOR[FailureReason.WRONG_KEY]
    json.dumps(shown)


def test_flood_of_one_reason_leaves_the_others() -> None:
    failures = Failures(Clock())
    failures.add("192.0.2.1", **facts())
    for n in range(10_000):
        failures.add(f"10.0.{n >> 8}.{n & 255}", **facts(reason=FailureReason.TIMEOUT, hint=f"{n}"))
    assert len(failures) == MAX_FAILURES_PER_REASON + 1
    newest = failures.newest()
    assert newest[0].hint == "9999"
    assert newest[-1].reason is FailureReason.WRONG_KEY


def test_words_of_strangers_are_cut() -> None:
    failures = Failures(Clock())
    failures.add("h", **facts(hint="x" * 10_000, server_name="y" * 10_000))
    assert (len(failures.newest()[0].hint), len(failures.newest()[0].server_name or "")) == (MAX_FAILURE_TEXT,) * 2


def test_each_reason_has_a_remedy() -> None:
    assert set(REMEDY_FOR) == set(FailureReason)
    assert all(REMEDY_FOR.values())


@pytest.mark.asyncio
async def test_failures_can_be_read_and_explained(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        stranger = gateway.wire(RawClient(identity=b"nob\x1b[31mody"))
        await stranger.reach_server_done()
        for datagram in stranger.client.answer_flight():
            stranger.send(datagram)
        await stranger.alert()
        stranger.udp.close()
        status, body = await gateway.get("/debug/failures")
        url = f"http://127.0.0.1:{gateway.bound.admin.port}"
        # One after the other: the runner takes the standard streams of the process.
        table = await asyncio.to_thread(run, "explain", "--server", url)
        filtered = await asyncio.to_thread(run, "explain", "dev7", "--server", url)
        as_json = await asyncio.to_thread(run, "explain", "127.0.0.1", "--server", url, "-o", "json")
    assert status == 200
    [failure] = json.loads(body)["failures"]
    assert (failure["reason"], failure["count"], failure["device"]) == ("unknown_identity", 1, None)
    assert "\x1b" not in body
    assert as_json.json == [failure]
    assert table.status == 0
    assert "unknown_identity" in table.stdout
    assert f"\nhint    {failure['hint']}\nremedy  {failure['remedy']}\n" in table.stdout
    assert "\x1b" not in table.stdout
    assert "device  " not in table.stdout
    assert filtered.stdout == "no failed handshake is remembered of dev7\n"


@pytest.mark.asyncio
async def test_refused_device_of_the_registry_is_found_by_its_name(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        with gateway.registry() as registry:
            registry.add_device("dev")
            registry.set_status("dev", DeviceStatus.DISABLED)
        for _ in range(2):
            client = RawClient(suites=(0xC0AE,), device=wire_certificate("dev"))
            refused = gateway.wire(client)
            await refused.reach_server_done()
            for datagram in client.answer_flight():
                refused.send(datagram)
            await refused.alert()
            refused.udp.close()
        url = f"http://127.0.0.1:{gateway.bound.admin.port}"
        shown = await asyncio.to_thread(run, "explain", "dev", "--server", url)
        [first, second] = gateway.events("dtls.handshake_failed")
    assert first["claimed_device"] == second["claimed_device"] == "dev"
    assert "\ndevice  dev\n" in shown.stdout
    assert ", 2 times since " in shown.stdout


def test_gateway_that_does_not_run_cannot_be_asked() -> None:
    assert "is the gateway running" in run("explain", "--server", "http://127.0.0.1:1").refused(1)
    run("explain", "--server", "127.0.0.1:9464").refused(2)


@pytest.mark.asyncio
async def test_end_of_a_flood_is_logged(tmp_path: Path) -> None:
    now = 0.0
    limiter = EventLimiter(["dtls.handshake_failed"], burst=1, period_s=60.0, clock=lambda: now)
    for _ in range(4):
        limiter.admit("dtls.handshake_failed")
    now = 60.0
    async with running(tmp_path) as gateway:
        gateway.worker._limiter = limiter
        gateway.worker._report_suppressed()
        [line] = gateway.events("log.suppressed")
    assert (line["limited_event"], line["suppressed"]) == ("dtls.handshake_failed", 3)
