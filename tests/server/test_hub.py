"""The hub when something goes wrong: ends that do not read, messages that are lost, nonsense, workers that stop."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiocoap  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.handlers import DeviceBusy, DeviceNotConnected, DeviceRequestError, QueueState
from gateway.server import channel as channel_module
from gateway.server import hub as hub_module
from gateway.server import line as line_module
from gateway.server.channel import Channel, Message, Switchboard
from gateway.server.directory import name_of
from gateway.server.hub import Hub
from gateway.server.limits import HUB_BATCH_BYTES, HUB_NAMES, MAX_CHANNEL_MESSAGE, MAX_PARCEL_BYTES
from gateway.server.outbox import Outbox, weight
from tests.server.support import until
from tests.server.test_command_queue import ASLEEP, next_request, speaks
from tests.server.test_commands import answer
from tests.server.test_device_api import ON, post
from tests.server.workers_together import Several, register_devices, several, wire

pytestmark = pytest.mark.asyncio


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Channels that hold little, and no long wait after a loss."""
    monkeypatch.setattr(channel_module, "MAX_CHANNEL_BACKLOG", 300_000)
    monkeypatch.setattr(hub_module, "HUB_RETRY_S", 0.05)
    monkeypatch.setattr(line_module, "HUB_RETRY_S", 0.05)


def deaf(end: Channel) -> None:
    """The process at this end of a channel hangs: it reads nothing."""
    asyncio.get_running_loop().remove_reader(end._end)


def hears(end: Channel) -> None:
    """It goes on."""
    asyncio.get_running_loop().add_reader(end._end, end._on_readable)


async def flood(workers: Several, until_lost: Callable[[], int]) -> list[asyncio.Task[Any]]:
    """Large requests to a device of a worker, until a message is lost."""
    remote = workers.apps[0].device("dev1")
    tasks = []
    for _ in range(200):
        tasks.append(asyncio.create_task(remote.put("/", bytes(50_000))))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if until_lost():
            return tasks
    raise AssertionError("it took everything")


# --- ends that do not read -------------------------------------------------------------------------------------------


async def test_a_worker_that_hangs_stops_nobody_and_comes_back(tmp_path: Path, small: None) -> None:
    async with (
        several(tmp_path, ASLEEP, count=3, register=register_devices("other")) as workers,
        workers[1].wire() as device,
        wire(workers[2], "other") as other,
    ):
        await workers.quiet()
        queued = workers.apps[0].device("dev1").queue("GET", "/later")
        await workers.quiet()
        deaf(workers.ends[1])
        tasks = await flood(workers, lambda: workers.hub.lost)
        for task in tasks:
            with pytest.raises(DeviceRequestError):
                await task
        assert 1 not in workers.hub.workers
        await until(lambda: not workers.apps[0].device("dev1").connected)
        # The others go on.
        asking = asyncio.create_task(workers.apps[0].device("other").get("/"))
        answer(other, await other.message(), b"here")
        assert (await asking).payload == b"here"
        hears(workers.ends[1])
        await workers.in_step()
        assert workers.together(1).line.resets == 1
        assert (await workers[1].samples("gateway_hub_resyncs_total")) == {(): 1}
        [line] = workers.events("hub.message_lost")
        assert line["worker"] == 1
        assert "hangs" in line["hint"]
        # It has told everything anew, and was told so: where the device is, and who waits for it.
        await until(lambda: workers.apps[0].device("dev1").connected)
        await workers.quiet()
        await speaks(device)
        while (request := await next_request(device)).opt.uri_path != ("later",):
            answer(device, request)  # asked before
        answer(device, request, b"at last")
        assert (await queued.wait()).payload == b"at last"


async def test_a_supervisor_that_hangs(tmp_path: Path, small: None) -> None:
    async with several(tmp_path, ASLEEP) as workers, workers[1].wire() as device:
        await workers.quiet()
        supervisors_end = workers.board._channels[0]
        deaf(supervisors_end)
        line = workers.together(0).line
        tasks = await flood(workers, lambda: line.resets)
        for task in tasks:
            with pytest.raises(DeviceRequestError):
                await task
        with pytest.raises(DeviceBusy, match="cannot be reached"):
            await workers.apps[0].device("dev1").get("/")
        queued = workers.apps[0].device("dev1").queue("GET", "/later")
        [lost] = workers.events("hub.message_lost")
        assert lost["worker"] is None
        hears(supervisors_end)
        await workers.in_step()
        await speaks(device)
        while (request := await next_request(device)).opt.uri_path != ("later",):
            answer(device, request)
        answer(device, request, b"at last")
        assert (await queued.wait()).payload == b"at last"


async def test_sessions_that_came_and_went_meanwhile(tmp_path: Path, small: None) -> None:
    """What was lost is not missed: the newest session is known again, and nobody is thought to be where it is not."""
    names = [f"d{number}" for number in range(6)]
    async with several(tmp_path, register=register_devices(*names)) as workers:
        devices = {name: wire(workers[0], name) for name in names[:4]}
        for device in devices.values():
            await device.connect()
        await workers.quiet()
        workers.together(0).line._on_refused()  # as when a message is lost
        devices["d0"].send(devices["d0"].client.alert(1, 0, epoch=1))
        later = wire(workers[0], "d4")
        await later.connect()
        moved = wire(workers[1], "d1")
        await moved.connect()
        await workers.in_step()
        await until(lambda: len(workers.hub.directory) == 4)
        assert {device for _, device in workers.hub.directory} == {"d1", "d2", "d3", "d4"}
        for app in workers.apps:
            assert [name for name in names if app.device(name).connected] == ["d1", "d2", "d3", "d4"]
            asking = asyncio.create_task(app.device("d1").get("/"))
            answer(moved, await moved.message(), b"newest")
            assert (await asking).payload == b"newest"
        for device in (*devices.values(), later, moved):
            device.udp.close()


async def test_many_devices_are_told_of_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "HUB_NAMES", 7)
    async with several(tmp_path, count=2) as workers:
        for number in range(100):
            workers.hub._place(1, "default", f"d{number}", 1, float(number), None)
        workers.hub._begin(0)
        last = workers.hub._workers[0].unnamed[0]
        workers.hub._place(1, *last, 0, 0.0, None)  # before it is told of
        await workers.in_step()
        present = workers.together(0)._elsewhere._present
        assert present == {name_of("default", f"d{number}") for number in range(100)} - {name_of(*last)}


async def test_all_the_devices_of_a_worker_that_ends_are_told_of_in_parts() -> None:
    """Of 250,000 devices the names are more than a message may hold, and nobody is thrown out of step."""
    board = Board()
    hub = Hub(board)
    for worker in (0, 1):
        hub._on_message(worker, {"kind": "hub", "items": [["reset"]]})
    count = 2 * HUB_NAMES + 1
    devices = [f"d{number}" for number in range(count)]
    names = {name_of("t", device) for device in devices}
    hub._on_message(1, {"kind": "hub", "items": [["place", "t", device, 1, 1.0, None] for device in devices]})
    await asyncio.sleep(0)
    hub._on_worker(1, False)
    await asyncio.sleep(0)
    present = [item for item in board.items(0) if item[0] == "present"]
    assert [(len(came), len(went)) for _, came, went, _ in present] == [
        *((some, 0) for some in (HUB_NAMES, HUB_NAMES, 1)),
        *((0, some) for some in (HUB_NAMES, HUB_NAMES, 1)),
    ]
    assert {name for _, came, _, _ in present for name in came} == names
    assert {name for _, _, went, _ in present for name in went} == names
    sizes = [len(json.dumps(message)) for to, message in board.told if to == 0]
    assert max(sizes) < 2 * HUB_BATCH_BYTES


async def test_sessions_that_begin_in_two_workers_at_once() -> None:
    """Whatever order the messages cross in, in the end each worker knows whether its session is the newest."""
    board = Board()
    hub = Hub(board)
    for worker in (0, 1):
        hub._on_message(worker, {"kind": "hub", "items": [["reset"]]})
    hub._on_message(0, {"kind": "hub", "items": [["place", "t", "d", 1, 1.0, "192.0.2.1"]]})
    hub._on_message(1, {"kind": "hub", "items": [["place", "t", "d", 1, 2.0, "192.0.2.1"]]})
    # On its way to worker 0: a newer one in worker 1. On its way from there: one that is newer still.
    hub._on_message(0, {"kind": "hub", "items": [["place", "t", "d", 2, 3.0, "192.0.2.1"]]})
    await asyncio.sleep(0)
    of_device = [item for item in board.items(0) if "d" in item]
    assert of_device == [["newer", "t", "d", 1, "192.0.2.1"], ["also", "t", "d", 3, [1]]]
    # The older one's message comes late.
    hub._on_message(0, {"kind": "hub", "items": [["place", "t", "e", 1, 9.0, "192.0.2.1"]]})
    hub._on_message(1, {"kind": "hub", "items": [["place", "t", "e", 1, 8.0, "192.0.2.1"]]})
    await asyncio.sleep(0)
    assert [item for item in board.items(1) if "e" in item] == [["newer", "t", "e", 0, None]]
    # The older session's worker knows nothing of the limit: whoever has the newest one counts again.
    assert [item for item in board.items(0) if "e" in item] == [["also", "t", "e", 2, [1]]]


async def test_the_newest_again_after_messages_that_crossed(tmp_path: Path) -> None:
    async with several(tmp_path) as workers, workers[1].wire(), workers[0].wire() as device:
        await workers.quiet()
        elsewhere = workers.together(0)._elsewhere
        elsewhere._on_newer("default", "dev1", 1, None)
        assert elsewhere.has_newer(("default", "dev1"))
        elsewhere._on_also("default", "dev1", 2, [1])
        assert not elsewhere.has_newer(("default", "dev1"))
        asking = asyncio.create_task(workers.apps[0].device("dev1").get("/"))
        answer(device, await device.message(), b"here")
        assert (await asking).payload == b"here"


async def test_names_that_nothing_can_have(tmp_path: Path) -> None:
    """Half a character, which JSON can have and UTF-8 cannot: nothing of it is said to other workers."""
    async with several(tmp_path, ON) as workers, workers[1].wire():
        await workers.quiet()
        for tenant in ("default", "\ud800"):
            device = workers.apps[0].device("\udfff", tenant=tenant)
            assert not device.connected
            with pytest.raises(DeviceNotConnected):
                await device.get("/")
            with pytest.raises(DeviceNotConnected):
                await anext(device.observe("/"))
            with pytest.raises(ValueError, match="such a name"):
                device.queue("GET", "/")
        assert (await post(workers[0], path="/", tenant="\ud800", queue_for=5))[0] == 400
        assert (await post(workers[0], path="/", tenant="\ud800"))[0] == 404
        await workers.quiet()
        assert workers.events("server.fault") == workers.events("hub.message_lost") == []


async def test_a_worker_that_stops_is_gone_at_once(tmp_path: Path) -> None:
    async with several(tmp_path, count=3) as workers:
        async with workers[1].wire() as device:
            asking = asyncio.create_task(workers.apps[0].device("dev1").get("/"))
            await device.message()
            await workers.gateways[1].worker._take_down()
            with pytest.raises(DeviceNotConnected):
                await asking
        await until(lambda: workers.hub.workers == [0, 2])
        assert workers.together(0).line.workers == {2}


async def test_a_worker_that_was_started_again_begins_with_nothing(tmp_path: Path) -> None:
    async with several(tmp_path) as workers, workers[0].wire(), workers[1].wire():
        await workers.quiet()
        workers.together(1)._of_devices._newest.clear()
        workers.together(1).line.begin()
        await workers.in_step()
        assert workers.hub.directory.newest("default", "dev1") == 0
        assert workers.together(0)._elsewhere._newer == set()


# --- nonsense: a bug of ours -----------------------------------------------------------------------------------------


class Board(Switchboard):
    """Workers that only listen."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[int, Message]] = []

    def send(self, worker: int, message: Message) -> bool:
        self.told.append((worker, message))
        return True

    def items(self, worker: int) -> list[list[Any]]:
        return [item for to, message in self.told for item in message["items"] if to == worker]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)
WORD = st.sampled_from(["reset", "place", "want", "drop", "heard", "ask", "answer", "news", "cancel", "tell", "more"])
ITEM = st.builds(lambda word, rest: [word, *rest], WORD, st.lists(JSON, max_size=6)) | JSON


@given(st.lists(st.tuples(st.integers(0, 2), ITEM), max_size=30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_nonsense_does_not_stop_the_hub(items: list[tuple[int, Any]]) -> None:
    board = Board()
    hub = Hub(board)
    with capture_logs():
        for worker in range(3):
            hub._on_message(worker, {"kind": "hub", "items": [["reset"]]})
        for worker, item in items:
            hub._on_message(worker, {"kind": "hub", "items": [item]})
            await asyncio.sleep(0)
        for worker in (7, 8):
            hub._on_message(worker, {"kind": "hub", "items": [["reset"]]})
        hub._on_message(8, {"kind": "hub", "items": [["place", "t", "sane", 1, 9.0, "192.0.2.1"]]})
        hub._on_message(7, {"kind": "hub", "items": [["ask", 1, ["t", "sane"], "what", [1]]]})
        await asyncio.sleep(0)
        assert ["ask", 7, 1, "what", [1]] in board.items(8)
        for worker in range(9):
            hub._on_worker(worker, False)
        await asyncio.sleep(0)
    assert hub.workers == []
    assert hub._wants == {}
    hub.close()


async def test_nonsense_from_a_worker_and_to_it_is_told_and_left(tmp_path: Path) -> None:
    async with several(tmp_path) as workers, workers[1].wire() as device:
        for end in (workers.ends[0], workers.board._channels[0]):
            for nonsense in ({}, {"items": 7}, {"items": [[], 7, ["no such word"], ["ask"], ["place", 1]]}):
                assert end.send({"kind": "hub", **nonsense})
        await workers.quiet()
        assert len(workers.events("server.fault")) == 14
        assert workers.hub.malformed == 5
        asking = asyncio.create_task(workers.apps[0].device("dev1").get("/"))
        answer(device, await device.message(), b"1")
        assert (await asking).payload == b"1"


async def test_a_fault_of_ours_in_another_worker_is_no_wait_for_ever(tmp_path: Path) -> None:
    async with several(tmp_path) as workers, workers[1].wire():
        await workers.quiet()

        async def broken(args: list[Any], news: object) -> Any:
            raise RuntimeError("a bug")

        workers.together(1).line._doers["perform"] = broken
        with pytest.raises(DeviceNotConnected, match="worker ended"):
            await workers.apps[0].device("dev1").get("/")
        queued = workers.apps[0].device("dev1").queue("POST", "/")
        await until(lambda: queued.state is QueueState.FAILED)
        assert len(workers.events("server.fault")) == 2


# --- what goes into one message --------------------------------------------------------------------------------------


async def test_an_outbox_makes_few_messages_and_none_too_large() -> None:
    sent: list[list[Any]] = []

    def take(message: Message) -> bool:
        sent.append(message["items"])
        return True

    outbox = Outbox(take, lambda: None)
    items: list[list[Any]] = [["small", number] for number in range(1500)]
    items[700] = ["large", "x" * (MAX_PARCEL_BYTES * 4 // 3)]
    for item in items:
        outbox.put(item, 100 + weight(item))
    outbox.flush()
    assert [item for message in sent for item in message] == items
    assert len(sent) <= 6
    assert max(map(weight, sent)) < MAX_CHANNEL_MESSAGE - 65536
    assert len(outbox) == 0


async def test_no_message_without_need(tmp_path: Path) -> None:
    """A handshake is one item to the hub and one name to each worker; ordinary requests are nothing."""
    async with several(tmp_path, register=register_devices("other")) as workers, workers[0].wire() as device:
        await workers.quiet()
        said: list[list[Any]] = []
        told: list[list[Any]] = []
        for end, heard in ((workers.board._channels[0], said), (workers.ends[0], told), (workers.ends[1], told)):
            handler = end._handlers["hub"]

            def both(message: Message, handler: Any = handler, heard: list[list[Any]] = heard) -> None:
                heard.extend(message["items"])
                handler(message)

            end._handlers["hub"] = both
        for _ in range(5):
            await device.ask(device.request(aiocoap.GET, "/"))
        assert said == told == []
        async with wire(workers[0], "other") as other:
            await other.ask(other.request(aiocoap.GET, "/"))
            await until(lambda: len(told) == 2)
            other.send(other.client.alert(1, 0, epoch=1))
            await until(lambda: len(told) == 4)
        name = name_of("default", "other")
        assert [item[:4] for item in said] == [["place", "default", "other", 1], ["place", "default", "other", 0]]
        assert told == [["present", [name], [], False]] * 2 + [["present", [], [name], False]] * 2
