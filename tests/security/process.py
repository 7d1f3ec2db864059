"""A gateway in a process of its own, so that its memory can be measured: `python -m tests.security.process FOLDER`.

It prints its UDP port and its admin port, serves until SIGTERM, and logs nowhere. With `--devices N` its registry knows
N more devices, see `device_identity`, and handshakes are given up after a few seconds. On SIGUSR1 it gives back what
the allocator holds without a use, so that what is left is what the gateway holds.
"""

import argparse
import asyncio
import ctypes
import gc
import signal
import sys
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import structlog

from gateway.config import load_settings
from gateway.registry import open_registry
from gateway.server import Worker
from tests.server.support import echo_app, prepare

HANDSHAKE_TIMEOUT = "3s"


def device_identity(number: int) -> tuple[bytes, bytes]:
    """PSK identity and key of one of the devices."""
    name = b"honest%d" % number
    return name, sha256(name).digest()[:16]


def tidy() -> None:
    gc.collect()
    with suppress(OSError, AttributeError):  # another C library than glibc keeps what it keeps
        ctypes.CDLL("libc.so.6").malloc_trim(0)


async def serve(folder: Path, devices: int) -> None:
    values = prepare(folder)
    if devices:
        values["dtls.handshake_timeout"] = HANDSHAKE_TIMEOUT
        with open_registry(str(values["registry.url"])) as registry:
            for number in range(devices):
                registry.add_psk_device(f"honest{number}", *device_identity(number))
    worker = Worker(load_settings(None, values, environ={}), app=echo_app())
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, tidy)
    async with worker as bound:
        print(bound.udp.port, bound.admin.port, flush=True)
        await worker.wait()


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--devices", type=int, default=0)
    options = parser.parse_args()
    asyncio.run(serve(options.folder, options.devices))
