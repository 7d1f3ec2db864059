"""A gateway in a process of its own: `python -m tests.interop.runner --config FILE`.

The `server.started` line of its log tells the ports.
"""

import argparse
import asyncio

from gateway.config import load_settings
from gateway.server import Worker
from gateway.telemetry import configure_logging


async def _serve(config: str) -> None:
    settings = load_settings(config)
    configure_logging(settings.log.level, settings.log.format)
    worker = Worker(settings)
    async with worker:
        await worker.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    asyncio.run(_serve(parser.parse_args().config))


if __name__ == "__main__":
    main()
