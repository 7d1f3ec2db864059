"""Where the memory of an idle session is: bytes that the interpreter holds for each, by the line that asked for them.

    python -m tests.bench.session_memory [--sessions 3000] [--lines 40]

The gateway runs in this process under `tracemalloc`, the devices in another. Counted is what is there after so many
sessions and was not after a tenth of them, divided by their number.
"""

import argparse
import asyncio
import gc
import tempfile
import tracemalloc
from collections import defaultdict
from dataclasses import replace
from heapq import nlargest
from operator import itemgetter
from pathlib import Path

from gateway.config import load_settings
from gateway.handlers import App
from gateway.server import Worker
from gateway.simulator.bench import LoadProcesses, Pace, ThrowAwayGateway
from gateway.telemetry import configure_logging


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=3000)
    parser.add_argument("--lines", type=int, default=40)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, (Path(name) / "log").open("w") as log:
        configure_logging("info", "json", stream=log)
        few = options.sessions // 10
        total, lines = asyncio.run(measured(Path(name), few, options.sessions))
    print(f"{total:.0f} bytes a session")
    for line, size in nlargest(options.lines, lines.items(), key=itemgetter(1)):
        print(f"{size:8.1f}  {line}")


async def measured(folder: Path, few: int, many: int) -> tuple[float, dict[str, float]]:
    """Bytes for each session beyond the first few, in all and by line."""
    gateway = ThrowAwayGateway(folder, many)
    (folder / "gateway.toml").write_text(gateway.configuration())
    worker = Worker(load_settings(folder / "gateway.toml", environ={}), app=App())
    async with worker as bound:
        with LoadProcesses(1, bound.udp.host, bound.udp.port) as load:
            first = await connected(load, gateway, 0, few)
            second = await connected(load, gateway, few, many - few)
            difference = second.compare_to(first, "lineno")
            await asyncio.to_thread(load.close)
    lines: defaultdict[str, float] = defaultdict(float)
    for entry in difference:
        frame = entry.traceback[0]
        lines[f"{'/'.join(Path(frame.filename).parts[-3:])}:{frame.lineno}"] += entry.size_diff / (many - few)
    return sum(lines.values()), lines


async def connected(load: LoadProcesses, gateway: ThrowAwayGateway, before: int, count: int) -> tracemalloc.Snapshot:
    load.open(replace(gateway.psk, first=before + 1), count)
    if not tracemalloc.is_tracing():
        tracemalloc.start()
    [tally] = await asyncio.to_thread(load.connect, Pace(16, patience_s=600.0))
    assert tally.done == count, tally.errors
    gc.collect()
    return tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(False, tracemalloc.__file__)])


if __name__ == "__main__":
    main()
