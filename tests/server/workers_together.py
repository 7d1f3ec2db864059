"""Several workers in one event loop, each with its own UDP port, connected to a real hub by real socket pairs."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from structlog.testing import capture_logs

from gateway.config import load_settings
from gateway.handlers import App
from gateway.registry import Registry, open_registry
from gateway.server import Worker
from gateway.server.channel import Channel, Switchboard, channel_pair
from gateway.server.hub import Hub
from gateway.server.together import Together
from tests.dtls.rawclient import RawClient
from tests.server.support import PSK, Gateway, Line, WireDevice, prepare, until


@dataclass
class Several:
    """Attributes:
    hub: The supervisor's.
    gateways: The workers, numbered from 0.
    apps: What each of them serves.
    lines: The log of all.
    """

    hub: Hub
    board: Switchboard
    gateways: list[Gateway]
    apps: list[App]
    ends: list[Channel]
    lines: list[Line] = field(repr=False)

    def __getitem__(self, worker: int) -> Gateway:
        return self.gateways[worker]

    def together(self, worker: int) -> Together:
        found = self.gateways[worker].worker._together
        assert found is not None
        return found

    def events(self, name: str) -> list[Line]:
        """The log lines of one event."""
        return [line for line in self.lines if line["event"] == name]

    def die(self, worker: int) -> None:
        """As with SIGKILL: from one moment to the next it neither says nor hears anything."""
        server = self.gateways[worker].worker._server
        assert server is not None
        server.stop_reading()
        self.ends[worker].close()
        self.board.unplug(worker)

    async def quiet(self) -> None:
        """Everything that was said has been read by everybody."""
        for _ in range(3):
            for worker in range(len(self.gateways)):
                line = self.together(worker).line
                if worker in self.hub.workers and line._in_step:
                    await line.keep_pace(None)
                    for other in sorted(line.workers):
                        await line.keep_pace(other)

    async def in_step(self) -> None:
        """Each knows all others, and the hub knows all."""
        everybody = set(range(len(self.gateways)))
        await until(lambda: set(self.hub.workers) == everybody)
        await until(lambda: all(self.together(each).line.workers == everybody - {each} for each in everybody))
        await self.quiet()


@asynccontextmanager
async def several(
    folder: Path,
    *overrides: Mapping[str, object],
    make_app: Callable[[], App] = App,
    count: int = 2,
    register: Callable[[Registry], None] = lambda registry: None,
) -> AsyncIterator[Several]:
    """Workers on one registry; `overrides` are those of `running`."""
    values = prepare(folder)
    for each in overrides:
        values |= {name.replace("__", "."): value for name, value in each.items()}
    loop = asyncio.get_running_loop()
    board = Switchboard()
    hub = Hub(board)
    url = str(values["registry.url"])
    async with AsyncExitStack() as stack:
        lines = stack.enter_context(capture_logs())
        stack.callback(hub.close)
        all_of_them = Several(hub, board, [], [], [], lines)
        with open_registry(url) as registry:
            register(registry)
        for number in range(count):
            supervisor_end, worker_end = (Channel(end) for end in channel_pair())
            board.plug(number, supervisor_end)
            supervisor_end.start(loop)
            stack.callback(board.unplug, number)
            worker_end.start(loop)
            stack.callback(worker_end.close)
            app = make_app()
            worker = Worker(load_settings(None, values, environ={}), app=app, channel=worker_end)
            bound = await stack.enter_async_context(worker)
            all_of_them.gateways.append(Gateway(worker, bound, url, lines))
            all_of_them.apps.append(app)
            all_of_them.ends.append(worker_end)
        await all_of_them.in_step()
        yield all_of_them


def register_devices(*names: str) -> Callable[[Registry], None]:
    """Each with its name for an identity, and one key."""

    def register(registry: Registry) -> None:
        for name in names:
            registry.add_psk_device(name, name.encode(), PSK)

    return register


def wire(gateway: Gateway, name: str) -> WireDevice:
    """A device of `register_devices`."""
    return gateway.wire(RawClient(identity=name.encode(), psk=PSK))
