"""100,000 ClientHellos, none completing: memory grows less than 5 MB, no answer is larger than its question, and a real
device connects meanwhile."""

import asyncio
import os
import selectors
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.config import Address as AdminAddress
from gateway.dtls import Address, FailureReason, HandshakeFailed
from gateway.dtls.limits import COOKIE_LOOP_SLOTS
from gateway.simulator import DeviceIdentity, SimulatedDevice
from tests.dtls.rawclient import RawClient
from tests.dtls.support import World
from tests.server.support import PATIENCE_S, PSK, PSK_IDENTITY, fetch, samples_of

MEGABYTE = 1 << 20
LIMIT = 5 * MEGABYTE
COUNT = 100_000
ON_THE_WIRE = 20_000
AT_ONCE = 200


def resident(process: int | str = "self") -> int:
    """Bytes of memory that a process has."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def addresses(count: int) -> Iterator[Address]:
    for number in range(count):
        yield f"198.51.{number // 50_000}.{number % 250}", 1024 + number % 50_000


def hellos(count: int) -> Iterator[bytes]:
    """Each with a random of its own, as honest and dishonest clients have it."""
    template = RawClient(random=bytes(range(200, 232)), suites=(0xC0A8, 0xC0AE)).hello()
    start = template.index(bytes(range(200, 232)))
    for number in range(count):
        yield template[:start] + number.to_bytes(32, "big") + template[start + 32 :]


@pytest.mark.parametrize("cookie", [b"", bytes(16), bytes(255)], ids=["no cookie", "guessed cookie", "long cookie"])
def test_hellos_into_the_engine(cookie: bytes) -> None:
    world, real = World(), RawClient()
    endpoint = world.endpoint
    template = RawClient(random=bytes(range(200, 232)), cookie=cookie).hello()
    start = template.index(bytes(range(200, 232)))
    sources = addresses(COUNT)

    reports: list[FailureReason] = []

    def flood(count: int) -> None:
        for number, source in zip(range(count), sources, strict=False):
            hello = template[:start] + number.to_bytes(32, "big") + template[start + 32 :]
            endpoint.receive_datagram(hello, source, world.now)
            [(answer, address)] = endpoint.datagrams_to_send()
            assert len(answer) <= len(hello)
            assert address == source
            while (event := endpoint.next_event()) is not None:
                assert isinstance(event, HandshakeFailed)
                reports.append(event.reason)

    flood(1000)  # what is made once
    before = resident()
    flood(COUNT // 2 - 1000)
    assert world.connect(real) is not None
    world.events.clear()
    flood(COUNT // 2)
    grown = resident() - before
    assert grown < LIMIT, f"{grown / MEGABYTE:.1f} MB"
    # The operator is told once for each network, however many come from there; two that share a slot count as one.
    told_apart = {hash(network) % COOKIE_LOOP_SLOTS for network in ("198.51.0", "198.51.1")}
    assert reports == ([FailureReason.COOKIE_LOOP] * len(told_apart) if cookie else [])
    # Nothing is held for any of them: one handshake's timer is all that there is.
    assert endpoint.handshakes_in_progress == 0
    assert len(endpoint.associations) == 1
    assert endpoint.counters.hello_verify_sent == COUNT + 1
    assert endpoint.counters.hello_verify_invalid == (COUNT if cookie else 0)
    world.deliver(real.data(b"still here"))
    assert world.data == [b"still here"]


def test_hellos_whose_answer_would_be_larger() -> None:
    # A ClientHello cut down to what carries a cookie request: the answer must not be larger than the datagram.
    world = World()
    hello = RawClient(extensions=None, suites=(0xC0A8,)).hello()
    for number, source in enumerate(addresses(1000)):
        answers = world.deliver(hello, source=source)
        assert [len(answer) <= len(hello) for answer in answers] in ([True], []), number


def test_everything_else_that_a_stranger_may_send() -> None:
    world = World()
    client = RawClient()
    world.connect(client)
    shapes = [
        client.data(b"x"),
        client.change_cipher_spec(),
        client.alert(2, 40),
        client.record(22, bytes(60)),
        client.finished(),
        b"\x17\xfe\xfd" + bytes(40),
        b"x" * 60,
    ]
    before = resident()
    for number, source in enumerate(addresses(COUNT // 2)):
        world.endpoint.receive_datagram(shapes[number % len(shapes)], source, world.now)
    assert resident() - before < LIMIT
    assert world.endpoint.datagrams_to_send() == []
    assert world.endpoint.next_event() is None
    assert world.endpoint.handshakes_in_progress == 0


@asynccontextmanager
async def gateway_process(folder: Path, *options: str) -> AsyncIterator[tuple[int, int, AdminAddress]]:
    """Process id, UDP port and admin address of a gateway."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.security.process", str(folder), *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        port, admin = map(int, (await process.stdout.readline()).split())
        yield process.pid, port, AdminAddress("127.0.0.1", admin)
    finally:
        process.terminate()
        async with asyncio.timeout(PATIENCE_S):
            assert await process.wait() == 0


def flood_over_loopback(port: int, count: int) -> tuple[int, int]:
    """One hello from each of `count` sources, some hundred at a time.

    Returns:
        How many were answered, and how many answers were larger than their question.
    """
    answered = larger = 0
    questions = hellos(count)
    for batch in range(count // AT_ONCE):
        host = f"127.0.{1 + batch // 250}.{1 + batch % 250}"
        with selectors.DefaultSelector() as selector:
            sockets = []
            for _ in range(AT_ONCE):
                udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                udp.bind((host, 0))
                udp.connect(("127.0.0.1", port))
                hello = next(questions)
                udp.send(hello)
                selector.register(udp, selectors.EVENT_READ, len(hello))
                sockets.append(udp)
            waiting = AT_ONCE
            while waiting and (ready := selector.select(timeout=2.0)):
                for key, _ in ready:
                    assert isinstance(key.fileobj, socket.socket)
                    answer = key.fileobj.recv(65535)
                    answered += 1
                    larger += len(answer) > key.data
                    selector.unregister(key.fileobj)
                    waiting -= 1
            for udp in sockets:
                udp.close()
    return answered, larger


@pytest.mark.asyncio
async def test_hellos_over_loopback(tmp_path: Path) -> None:
    async with gateway_process(tmp_path) as (process, port, admin):
        identity = DeviceIdentity("dev1", psk_identity=PSK_IDENTITY, psk=PSK)
        async with SimulatedDevice(identity, "127.0.0.1", port) as device:  # what is made once
            await device.get("/device")
        await asyncio.to_thread(flood_over_loopback, port, AT_ONCE)
        await asyncio.to_thread(fetch, admin, "/metrics")
        before = resident(process)
        flooding = asyncio.create_task(asyncio.to_thread(flood_over_loopback, port, ON_THE_WIRE))
        connections = 0
        while not flooding.done():
            async with SimulatedDevice(identity, "127.0.0.1", port) as device:
                assert (await device.get("/device")).payload == b"default/dev1"
            connections += 1
        answered, larger = await flooding
        grown = resident(process) - before
        assert grown < LIMIT, f"{grown / MEGABYTE:.1f} MB"
        assert larger == 0
        assert connections > 1
        # The kernel may drop some of a flood, but not many of one that waits for its answers.
        assert answered > ON_THE_WIRE * 0.9
        _, metrics = await asyncio.to_thread(fetch, admin, "/metrics")
        assert samples_of(metrics, "gateway_dtls_hello_verify_total")["sent",] >= answered
        assert samples_of(metrics, "gateway_dtls_handshakes_in_progress") == {}
