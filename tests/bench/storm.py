"""Latency of established sessions while strangers begin handshakes as fast as they can.

    python -m tests.bench.storm [--tree OTHER_CHECKOUT] [--rounds 3] [--seconds 5]

A gateway process, `DEVICES` simulated devices that ask it some times a second each, and a storm: a process that keeps
`OUTSTANDING` certificate handshakes open, each up to the server's first flight, which costs the server most, and then
begins the next one from a new port. With `--tree`, rounds alternate between this checkout and another one. Times are of
the whole way, so that all three processes compete for the machine's cores (the storm politely): compare, do not
promise.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import selectors
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from time import perf_counter

from gateway.simulator import DeviceIdentity, SimulatedDevice
from tests.dtls.rawclient import RawClient
from tests.dtls.support import device
from tests.security.process import device_identity

ROOT = Path(__file__).parents[2]
DEVICES = 20
INTERVAL_S = 0.05
OUTSTANDING = 64
GIVE_UP_S = 0.25
"""Seconds without any answer after which the storm begins anew."""


@contextmanager
def gateway_of(tree: Path) -> Iterator[int]:
    """The UDP port of a gateway process of a checkout."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "tests.security.process", folder, "--devices", str(DEVICES)]
        process = subprocess.Popen(words, cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline().split()[0])
        finally:
            process.terminate()
            process.wait(30)


def storm(port: int, over: Event, begun: "multiprocessing.sharedctypes.Synchronized[int]") -> None:
    """Handshakes up to the server's first flight, until `over`."""
    os.nice(10)
    number = 0
    certificate = device()
    while not over.is_set():
        with selectors.DefaultSelector() as selector:
            for _ in range(OUTSTANDING):
                udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                udp.connect(("127.0.0.1", port))
                number += 1
                client = RawClient(suites=(0xC0AE,), device=certificate, random=number.to_bytes(32, "big"))
                udp.send(client.hello())
                selector.register(udp, selectors.EVENT_READ, client)
            while selector.get_map() and (ready := selector.select(GIVE_UP_S)):
                for key, _ in ready:
                    assert isinstance(key.fileobj, socket.socket)
                    client = key.data
                    answer = key.fileobj.recv(65535)
                    if not client.cookie:
                        client.read([answer])
                        key.fileobj.send(client.hello())
                    else:
                        begun.value += 1
                        selector.unregister(key.fileobj)
                        key.fileobj.close()
            for key in list(selector.get_map().values()):
                assert isinstance(key.fileobj, socket.socket)
                key.fileobj.close()


async def ask(session: SimulatedDevice, until: float, offset: float) -> tuple[list[float], int]:
    """Seconds of each request, and how many got no answer in the client's patience."""
    took, lost = list[float](), 0
    await asyncio.sleep(offset)
    while perf_counter() < until:
        began = perf_counter()
        try:
            await session.get("/device")
            took.append(perf_counter() - began)
        except Exception:
            lost += 1
        await asyncio.sleep(INTERVAL_S)
    return took, lost


async def measure(port: int, seconds: float) -> dict[str, float]:
    async with AsyncExitStack() as stack:
        sessions = []
        for number in range(DEVICES):
            identity, key = device_identity(number)
            made = SimulatedDevice(DeviceIdentity(f"honest{number}", psk_identity=identity, psk=key), "127.0.0.1", port)
            sessions.append(await stack.enter_async_context(made))
        until = perf_counter() + seconds
        answers = await asyncio.gather(*(ask(each, until, n * INTERVAL_S / DEVICES) for n, each in enumerate(sessions)))
    times = sorted(took for each, _ in answers for took in each)
    return {
        "requests": len(times),
        "lost": sum(lost for _, lost in answers),
        "p50_ms": round(times[len(times) // 2] * 1000, 2),
        "p99_ms": round(times[len(times) * 99 // 100] * 1000, 2),
        "max_ms": round(times[-1] * 1000, 2),
    }


def one_round(tree: Path, seconds: float) -> dict[str, object]:
    with gateway_of(tree) as port:
        quiet = asyncio.run(measure(port, seconds))
        over, begun = multiprocessing.Event(), multiprocessing.Value("i", 0)
        attacker = multiprocessing.Process(target=storm, args=(port, over, begun), daemon=True)
        attacker.start()
        try:
            stormy = asyncio.run(measure(port, seconds))
        finally:
            over.set()
            attacker.join(10)
    return {"tree": tree.name, "quiet": quiet, "storm": stormy, "handshakes_a_second": round(begun.value / seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, help="another checkout to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    trees = [ROOT] if options.tree is None else [options.tree.resolve(), ROOT]
    for _ in range(options.rounds):
        for tree in trees:
            print(json.dumps(one_round(tree, options.seconds)), flush=True)


if __name__ == "__main__":
    main()
