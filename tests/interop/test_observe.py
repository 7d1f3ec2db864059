"""Observation (RFC 7641) by foreign clients: a hundred states, on a good path and on one that loses a tenth."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.coap import Observation
from gateway.handlers import App, Request
from tests.interop.gateway_process import REPOSITORY
from tests.interop.libcoap import FLAVOURS
from tests.interop.peers import library, program
from tests.server.relay import Relay
from tests.server.support import PATIENCE_S, Gateway, running, until

pytestmark = [pytest.mark.interop, pytest.mark.asyncio]

IDENTITY, KEY = "coap1", b"secretPSKsecretP"
STATES = 100
LOSS = 0.1
# Two seconds, the default, are for radio; here each loss would cost them.
FAST = {"coap__ack_timeout": 0.2, "coap__processing_delay": 0.1, "coap__max_retransmit": 7}


class Counter:
    """An app whose one resource counts."""

    def __init__(self) -> None:
        self.value = 0
        self.app = App()
        self.app.get("/count", observable=True)(self.read)
        self.app.get("/large", observable=True)(lambda request: "x" * 900)

    def read(self, request: Request) -> str:
        return str(self.value)


@asynccontextmanager
async def gateway_with_a_path(tmp_path: Path, counter: Counter, loss: float) -> AsyncIterator[tuple[Gateway, Relay]]:
    async with running(tmp_path, counter.app, **FAST) as gateway, Relay(gateway.port, every=1, loss=loss) as relay:
        with gateway.registry() as registry:
            registry.add_psk_device(IDENTITY, IDENTITY.encode(), KEY)
        yield gateway, relay


class Observer:
    """A client process, and what it has shown so far."""

    def __init__(self, process: asyncio.subprocess.Process, state_in: Callable[[str], str | None]) -> None:
        self.process = process
        self.lines: list[str] = []
        self.states: list[str] = []
        self._state_in = state_in
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            text = line.decode(errors="replace").rstrip("\n")
            self.lines.append(text)
            state = self._state_in(text)
            # A repetition of a confirmable one is shown again by some.
            if state is not None and state not in self.states[-1:]:
                self.states.append(state)

    async def ended(self) -> None:
        """Waits for its end; what it shows is read then."""
        async with asyncio.timeout(2 * PATIENCE_S):
            await self._reading
            await self.process.wait()

    async def __aenter__(self) -> "Observer":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.ended()


_NOTIFICATION = re.compile(r"^v:1 t:(?:ACK|CON|NON) c:2\.05 .*\bObserve:\d+.* :: '([^']*)'")


async def libcoap(flavour: str, port: int, path: str, seconds: int, *words: str) -> Observer:
    """`coap-client -s`, which observes for some seconds and then says that it does no more; with more words for it."""
    command = [program(f"coap-client-{flavour}"), "-v", "7", "-B", "90", *words]
    command += ["-s", str(seconds), "-u", IDENTITY, "-k", KEY.decode(), "-m", "get", f"coaps://127.0.0.1:{port}{path}"]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )

    def state_in(line: str) -> str | None:
        found = _NOTIFICATION.search(line)
        return None if found is None else found[1]

    return Observer(process, state_in)


async def aiocoap_client(port: int, path: str, *, until_state: str) -> Observer:
    """aiocoap over tinydtls: shows each state, and cancels its observation after a certain one."""
    library("DTLSSocket")
    job = {"port": port, "path": path, "identity": IDENTITY, "key": KEY.hex(), "until": until_state}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.interop.aiocoap_observer",
        json.dumps(job),
        cwd=REPOSITORY,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    return Observer(process, lambda line: line.removeprefix("state ") if line.startswith("state ") else None)


def observation(gateway: Gateway) -> Observation:
    (found,) = gateway.worker._dispatcher.layer.observations.find(("count",))
    return found


async def count_up(gateway: Gateway, counter: Counter) -> None:
    """A hundred states, each said as soon as the one before has gone out, and for confirmable ones: has arrived."""
    for counter.value in range(1, STATES):
        observed = observation(gateway)
        assert await counter.app.notify("/count") == 1
        await until(lambda observed=observed: observed.notification is None or observed.ended)  # type: ignore[misc]
        assert not observed.ended
    counter.value = STATES
    observed = observation(gateway)
    assert await counter.app.notify("/count", confirmable=True) == 1
    await until(lambda: observed.notification is None)
    assert not observed.ended


async def begun(gateway: Gateway) -> None:
    assert gateway.worker._pushes is not None
    pushes = gateway.worker._pushes
    await until(lambda: pushes.observations == 1)


def check(gateway: Gateway, observer: Observer, loss: float) -> None:
    seen = [int(state) for state in observer.states]
    transcript = "\n".join(observer.lines[-60:])
    assert seen == sorted(set(seen)), transcript
    assert seen[0] == 0, transcript
    assert seen[-1] == STATES, transcript
    if not loss:
        assert seen == list(range(STATES + 1)), transcript
    else:
        # Nine in ten are not repeated; a tenth of those is lost, and then some by chance.
        assert len(seen) > STATES * 0.7, transcript
    counters = gateway.worker._dispatcher.layer.counters
    assert counters.notifications >= STATES
    assert gateway.events("server.fault") == []


@pytest.mark.parametrize("loss", [0.0, LOSS])
@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_libcoap(tmp_path: Path, flavour: str, loss: float) -> None:
    counter = Counter()
    async with (
        gateway_with_a_path(tmp_path, counter, loss) as (gateway, relay),
        await libcoap(flavour, relay.port, "/count", 10 if loss else 4) as observer,
    ):
        await begun(gateway)
        await count_up(gateway, counter)
        if loss:
            assert relay.lost > 5
        await observer.ended()  # it deregisters; and what it has written may come only now
        check(gateway, observer, loss)
        if not loss:  # else it may be lost that the client ends
            assert (await gateway.event("coap.observation_ended"))["reason"] == "deregistered"


@pytest.mark.parametrize("loss", [0.0, LOSS])
async def test_aiocoap(tmp_path: Path, loss: float) -> None:
    """And it cancels: what it does not know any more it resets, or says so with Observe 1."""
    counter = Counter()
    async with (
        gateway_with_a_path(tmp_path, counter, loss) as (gateway, relay),
        await aiocoap_client(relay.port, "/count", until_state=str(STATES)) as observer,
    ):
        await begun(gateway)
        await count_up(gateway, counter)
        await until(lambda: observer.states[-1:] == [str(STATES)])
        check(gateway, observer, loss)
        while not gateway.events("coap.observation_ended"):
            await counter.app.notify("/count", "again", confirmable=True)
            await asyncio.sleep(0.05)
        (line,) = gateway.events("coap.observation_ended")
        assert line["reason"] in ("reset", "deregistered"), line
        assert "again" not in observer.states


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_libcoap_gets_notifications_of_nearly_a_datagram(tmp_path: Path, flavour: str) -> None:
    counter = Counter()
    async with (
        gateway_with_a_path(tmp_path, counter, 0.0) as (gateway, relay),
        await libcoap(flavour, relay.port, "/large", 2) as observer,
    ):
        await begun(gateway)
        assert await counter.app.notify("/large", "y" * 1000) == 1
        await observer.ended()
        assert "y" * 1000 in "".join(observer.lines)


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_libcoap_observes_what_cannot_be_observed(tmp_path: Path, flavour: str) -> None:
    counter = Counter()
    counter.app.get("/plain")(lambda request: "plain")
    async with (
        gateway_with_a_path(tmp_path, counter, 0.0) as (gateway, relay),
        await libcoap(flavour, relay.port, "/plain", 2) as observer,
    ):
        await observer.ended()
        assert any(re.search(r"c:2\.05 .*:: 'plain'", line) for line in observer.lines), observer.lines
        assert observer.states == []
        assert sum((await gateway.samples("gateway_coap_observations")).values()) == 0
