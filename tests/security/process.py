"""A gateway in a process of its own, so that its memory can be measured: `python -m tests.security.process FOLDER`.

It prints its UDP port and its admin port, serves until SIGTERM, and logs nowhere.
"""

import asyncio
import sys
from pathlib import Path

import structlog

from gateway.config import load_settings
from gateway.server import Worker
from tests.server.support import echo_app, prepare


async def serve(folder: Path) -> None:
    worker = Worker(load_settings(None, prepare(folder), environ={}), app=echo_app())
    async with worker as bound:
        print(bound.udp.port, bound.admin.port, flush=True)
        await worker.wait()


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(serve(Path(sys.argv[1])))
