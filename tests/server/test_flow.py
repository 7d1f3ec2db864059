"""Rates and bounds of devices and tenants: on a virtual clock, and through a whole gateway."""

import asyncio
from pathlib import Path
from typing import Any

import aiocoap  # type: ignore[import-untyped]
import pytest

from gateway.handlers import App, Request
from gateway.model import Device
from gateway.server.flow import Buckets, Rate, Rates, Refused, Running
from gateway.server.limits import MAX_BUCKETS
from tests.dtls.rawclient import RawClient
from tests.server.support import WireDevice, echo_app, running

ONE, TWO, OTHER = Device("one"), Device("two"), Device("one", tenant_id="other")


def served(rates: Rates, device: Device, at: float, requests: int) -> int:
    return sum(rates.refuse(device, at) is None for _ in range(requests))


def test_a_burst_and_then_the_rate() -> None:
    rates = Rates(Rate(60, 5), Rate(0, 1))
    assert served(rates, ONE, 0.0, 100) == 5
    # One a second, whatever the device tries meanwhile.
    assert [served(rates, ONE, second + 0.5, 3) for second in range(10)] == [0, *[1] * 9]
    # After a silence the burst is there again, and no more than that.
    assert served(rates, ONE, 1000.0, 100) == 5


def test_over_a_long_time_nobody_gets_more_than_the_rate() -> None:
    rates = Rates(Rate(600, 10), Rate(0, 1))
    total = sum(served(rates, ONE, step / 100, 1) for step in range(60_000))
    assert 6000 <= total <= 6000 + 10


@pytest.mark.parametrize(("per_minute", "wait_s"), [(60, 1), (6000, 1), (6, 10), (1, 60), (7, 9)])
def test_the_wait_is_told_in_whole_seconds_and_is_long_enough(per_minute: int, wait_s: int) -> None:
    rates = Rates(Rate(per_minute, 1), Rate(0, 1))
    assert rates.refuse(ONE, 0.0) is None
    assert rates.refuse(ONE, 0.0) == Refused("device", wait_s)
    assert rates.refuse(ONE, float(wait_s)) is None


def test_devices_have_their_own_rate_and_tenants_theirs() -> None:
    rates = Rates(Rate(60, 5), Rate(60, 8))
    assert served(rates, ONE, 0.0, 10) == 5
    assert served(rates, TWO, 0.0, 10) == 3
    assert rates.refuse(TWO, 0.0) == Refused("tenant", 1)
    assert served(rates, OTHER, 0.0, 10) == 5


def test_what_the_tenant_may_not_costs_the_device_nothing() -> None:
    rates = Rates(Rate(60, 5), Rate(6000, 1))
    assert served(rates, ONE, 0.0, 1) == 1
    assert served(rates, TWO, 0.0, 100) == 0
    # Five are left to it, and its tenant has a token again every hundredth of a second.
    assert [served(rates, TWO, 0.1 + step / 10, 1) for step in range(5)] == [1] * 5


def test_only_what_is_limited_is_counted() -> None:
    assert Rates.of(Rate(0, 5), Rate(0, 5)) is None
    tenants = Rates.of(Rate(0, 5), Rate(60, 2))
    assert tenants is not None
    assert served(tenants, ONE, 0.0, 10) == 2


def test_buckets_are_bounded_and_the_most_recent_ones_stay() -> None:
    buckets = Buckets(Rate(1, 1))
    for owner in range(MAX_BUCKETS + 1000):
        buckets.take(owner, 0.0)
        buckets.take("busy", 0.0)
    assert len(buckets) == MAX_BUCKETS
    assert buckets.take("busy", 0.0) > 0
    assert buckets.take(0, 0.0) == 0


def test_running_handlers_of_a_device() -> None:
    running = Running(2)
    running.begin(ONE)
    running.begin(ONE)
    running.begin(OTHER)
    assert (running.is_full(ONE), running.is_full(TWO), running.is_full(OTHER)) == (True, False, False)
    running.end(ONE)
    assert not running.is_full(ONE)
    running.end(ONE)
    running.end(OTHER)
    # Nothing is remembered of devices for which nothing works, nor of those that were asked about.
    assert len(running) == 0


async def get(device: WireDevice, path: str = "/device") -> aiocoap.Message:
    return await device.ask(device.request(aiocoap.GET, path))


@pytest.mark.asyncio
@pytest.mark.parametrize("scope", ["device", "tenant"])
async def test_too_many_requests_get_4_29_with_max_age_and_are_counted(tmp_path: Path, scope: str) -> None:
    limits: dict[str, Any] = {f"coap__{scope}_requests_per_minute": 1, f"coap__{scope}_burst": 3}
    async with running(tmp_path, **limits) as gateway, gateway.wire() as device:
        answers = [await get(device) for _ in range(5)]
        assert [answer.code for answer in answers] == [aiocoap.CONTENT] * 3 + [aiocoap.TOO_MANY_REQUESTS] * 2
        # RFC 8516 section 3: Max-Age says after how many seconds to try again.
        assert 55 <= answers[3].opt.max_age <= 60
        assert await gateway.samples("gateway_rate_limited_total") == {("rejected", scope): 2}
        counted = await gateway.samples("gateway_coap_requests_total")
        assert counted["4.29", "GET", "none", "con"] == 2
        # A new session is the same device.
        async with gateway.wire() as again:
            assert (await get(again)).code == aiocoap.TOO_MANY_REQUESTS
        with gateway.registry() as registry:
            registry.add_psk_device("dev2", b"dev2", b"k" * 16)
        async with gateway.wire(RawClient(identity=b"dev2", psk=b"k" * 16)) as other:
            expected = aiocoap.CONTENT if scope == "device" else aiocoap.TOO_MANY_REQUESTS
            assert (await get(other)).code == expected


@pytest.mark.asyncio
async def test_a_repetition_is_no_request(tmp_path: Path) -> None:
    limits: dict[str, Any] = {"coap__device_requests_per_minute": 1, "coap__device_burst": 1}
    async with running(tmp_path, **limits) as gateway, gateway.wire() as device:
        request = device.request(aiocoap.GET, "/device")
        answers = [await device.ask(request) for _ in range(3)]
        assert [answer.code for answer in answers] == [aiocoap.CONTENT] * 3
        refused = device.request(aiocoap.GET, "/device")
        answers = [await device.ask(refused) for _ in range(3)]
        assert [answer.code for answer in answers] == [aiocoap.TOO_MANY_REQUESTS] * 3
        assert await gateway.samples("gateway_rate_limited_total") == {("rejected", "device"): 1}


@pytest.mark.asyncio
async def test_a_non_confirmable_request_is_told_too(tmp_path: Path) -> None:
    limits: dict[str, Any] = {"coap__device_requests_per_minute": 1, "coap__device_burst": 1}
    async with running(tmp_path, **limits) as gateway, gateway.wire() as device:
        await get(device)
        answer = await device.ask(device.request(aiocoap.GET, "/device", confirmable=False))
        assert (answer.mtype, answer.code) == (aiocoap.NON, aiocoap.TOO_MANY_REQUESTS)


@pytest.mark.asyncio
async def test_handlers_for_one_device_are_bounded_and_others_are_served(tmp_path: Path) -> None:
    app, release, entered = echo_app(), asyncio.Event(), list[str]()

    @app.get("/slow")
    async def slow(request: Request) -> str:
        entered.append(request.device.id)
        await release.wait()
        return "done"

    async with running(tmp_path, app, handlers__max_concurrent_per_device=2) as gateway, gateway.wire() as device:
        with gateway.registry() as registry:
            registry.add_psk_device("dev2", b"dev2", b"k" * 16)
        for _ in range(2):
            device.send(device.client.data(device.request(aiocoap.GET, "/slow")))
        answer = None
        device.send(device.client.data(device.request(aiocoap.GET, "/slow", mid=77)))
        while answer is None or answer.code == aiocoap.EMPTY:
            answer = await device.message()
        assert (answer.mid, answer.code, answer.opt.max_age) == (77, aiocoap.TOO_MANY_REQUESTS, 5)
        assert entered == ["dev1", "dev1"]
        # The same device by another session finds none either; another device does.
        async with gateway.wire() as again, gateway.wire(RawClient(identity=b"dev2", psk=b"k" * 16)) as other:
            assert (await get(again, "/slow")).code == aiocoap.TOO_MANY_REQUESTS
            assert (await get(again)).code == aiocoap.CONTENT  # a plain handler holds nobody up
            other.send(other.client.data(other.request(aiocoap.GET, "/slow")))
            while (await other.message()).code != aiocoap.EMPTY:
                pass
            assert entered == ["dev1", "dev1", "dev2"]
            release.set()
            while (await other.message()).code != aiocoap.CONTENT:
                pass
        assert await gateway.samples("gateway_rate_limited_total") == {("rejected", "device"): 2}
        assert (await get(device, "/slow")).code is not aiocoap.TOO_MANY_REQUESTS


@pytest.mark.asyncio
async def test_the_app_decides_when_nothing_is_configured(tmp_path: Path) -> None:
    app = App()
    app.get("/device")(lambda request: "as often as you like")
    async with running(tmp_path, app) as gateway, gateway.wire() as device:
        codes = {(await get(device)).code for _ in range(200)}
        assert codes == {aiocoap.CONTENT}
        assert await gateway.samples("gateway_rate_limited_total") == {}
