"""`gateway serve --workers N` as processes, with an application that says which of them answers."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gateway.config import Address, render_template
from gateway.registry import Registry, open_registry
from gateway.simulator import DeviceIdentity, SimulatedDevice
from tests.process_log import Line, start_logged
from tests.server.support import PATIENCE_S, PSK, PSK_IDENTITY, fetch, prepare, samples_of

GATEWAY = str(Path(sys.executable).with_name("gateway"))
APP = """
import os
from gateway.handlers import App, Changed, Content

app = App()


@app.get("/pid")
def pid(request):
    return Content(str(os.getpid()))


@app.post("/echo")
def echo(request):
    return Changed(request.payload)
"""


class Several:
    """A gateway of several processes, once it serves.

    Attributes:
        folder: Where everything lies.
        process: The supervisor.
        log: What all of them write.
        udp: Where devices find it.
        admin: Where its HTTP port is.
    """

    def __init__(self, folder: Path, workers: int = 2, *, app: str = APP, **overrides: object) -> None:
        """As `tests.server.support.running`; `overrides` are settings with `__` for the dot."""
        self.folder = folder
        (folder / "app_of_workers.py").write_text(app)
        self.values: dict[str, object] = {
            **prepare(folder),
            "handlers.app": "app_of_workers:app",
            "dtls.max_sessions_per_device": 0,  # every device of these tests is the same one
            "log.format": "json",
            **{name.replace("__", "."): value for name, value in overrides.items()},
        }
        self.configure()
        # What is left behind would be found here.
        self.scratch = folder / "tmp"
        self.scratch.mkdir()
        self.process, self.log = start_logged(
            (GATEWAY, "serve", "--config", "gateway.toml", "--workers", str(workers)),
            folder / "gateway.log",
            cwd=folder,
            env={name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
            | {"TMPDIR": str(self.scratch)},
        )
        try:
            started = self.log.wait("server.started", within_s=3 * PATIENCE_S)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.udp = Address.parse(str(started["udp"]))
        self.admin = Address.parse(str(started["admin"]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()
            self.process.wait()

    def configure(self, **changed: object) -> None:
        """Writes the configuration."""
        self.values |= {name.replace("__", "."): value for name, value in changed.items()}
        (self.folder / "gateway.toml").write_text(render_template(self.values))

    def pids(self) -> dict[int, int]:
        """Process id -> worker, of all that ever served."""
        return {int(line["pid"]): int(line["worker"]) for line in self.log.lines("worker.started")}

    def pid(self, worker: int) -> int:
        """The process that is or was this worker last."""
        return [int(line["pid"]) for line in self.log.lines("worker.started") if line["worker"] == worker][-1]

    def kill(self, worker: int, number: signal.Signals = signal.SIGKILL) -> None:
        os.kill(self.pid(worker), number)

    def device(self, *, connection_id: bool = True, host: str = "127.0.0.1") -> SimulatedDevice:
        identity = DeviceIdentity("dev1", psk_identity=PSK_IDENTITY, psk=PSK)
        return SimulatedDevice(identity, host, self.udp.port, connection_id=connection_id)

    @asynccontextmanager
    async def devices(self, count: int, *, connection_id: bool = True) -> AsyncIterator[list[SimulatedDevice]]:
        """Connected ones."""
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(self.device(connection_id=connection_id)) for _ in range(count)]

    async def worker_of(self, device: SimulatedDevice) -> int:
        """Who answers it."""
        return self.pids()[int((await device.get("/pid")).payload)]

    async def by_worker(self, devices: list[SimulatedDevice]) -> dict[int, list[SimulatedDevice]]:
        found: dict[int, list[SimulatedDevice]] = {}
        for device in devices:
            found.setdefault(await self.worker_of(device), []).append(device)
        return found

    async def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page of the admin port."""
        return await asyncio.to_thread(fetch, self.admin, path)

    async def json(self, path: str) -> tuple[int, Any]:
        status, body = await self.get(path)
        return status, json.loads(body)

    async def samples(self, name: str) -> Counter[tuple[str, ...]]:
        status, body = await self.get("/metrics")
        assert status == 200
        return samples_of(body, name)

    async def line(self, event: str, *, after: int = 0, **fields: Any) -> Line:
        return await asyncio.to_thread(lambda: self.log.wait(event, after=after, **fields))

    def registry(self) -> Registry:
        """As another process has it."""
        return open_registry(str(self.values["registry.url"]))


async def becomes(condition: Callable[[], Any]) -> None:
    """Waits until something holds, asked some times a second; it may be a coroutine function."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = condition()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether there is such a process, and it has not ended: one that nobody waits for stays in the list."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def refused(folder: Path, workers: int, values: Mapping[str, object], app: str = APP) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a gateway that does not start."""
    (folder / "app_of_workers.py").write_text(app)
    (folder / "gateway.toml").write_text(render_template({"handlers.app": "app_of_workers:app", **values}))
    done = subprocess.run(
        [GATEWAY, "serve", "--config", "gateway.toml", "--workers", str(workers)],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE_S,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr
