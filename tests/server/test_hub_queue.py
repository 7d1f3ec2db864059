"""Requests that wait for devices that sleep, and observers of ours, in whichever worker they are."""

import asyncio
from functools import partial
from pathlib import Path

import aiocoap  # type: ignore[import-untyped]
import pytest

from gateway.coap.limits import OUTGOING_REQUESTS
from gateway.handlers import App, Code, Content, DeviceTimeout, QueueState, Request
from gateway.server import device_api, queue_mirror, together
from tests.server.support import WireDevice, empty, encoded, until
from tests.server.test_command_queue import ASLEEP, next_request, speaks
from tests.server.test_commands import FAST, answer
from tests.server.test_device_api import ON, call, post
from tests.server.test_hub import deaf, hears
from tests.server.workers_together import register_devices, several, wire

pytestmark = pytest.mark.asyncio


async def test_for_a_device_that_is_awake_elsewhere(tmp_path: Path) -> None:
    async with several(tmp_path) as workers, workers[1].wire() as device:
        await workers.quiet()
        queued = workers.apps[0].device("dev1").queue("GET", "/a")
        answer(device, await device.message(), b"1")
        assert (await queued.wait()).payload == b"1"
        assert queued.state is QueueState.DONE


async def test_for_a_device_that_sleeps_elsewhere_until_it_speaks(tmp_path: Path) -> None:
    async with several(tmp_path, ASLEEP) as workers, workers[1].wire() as device:
        await workers.quiet()
        queued = [workers.apps[0].device("dev1").queue("PUT", f"/{number}") for number in range(3)]
        await workers.quiet()
        assert {each.state for each in queued} == {QueueState.QUEUED}
        await speaks(device)
        for number, each in enumerate(queued):
            request = await next_request(device)
            assert request.opt.uri_path == (str(number),)
            answer(device, request, code=aiocoap.CHANGED)
            assert (await each.wait()).code == Code.CHANGED
        await workers.quiet()
        assert workers.hub._wants == {}
        assert workers.together(0).reach._wanted == set()


async def test_for_a_device_that_connects_anywhere(tmp_path: Path) -> None:
    async with several(tmp_path, count=3) as workers:
        for taker, place in ((0, 1), (1, 1), (2, 0)):
            queued = workers.apps[taker].device("dev1").queue("GET", "/a")
            async with workers[place].wire() as device:
                answer(device, await next_request(device), b"1")
                assert (await queued.wait()).payload == b"1"
                device.send(device.client.alert(1, 0, epoch=1))
                await until(lambda: len(workers.hub.directory) == 0)


async def test_a_device_that_was_here_and_comes_back_elsewhere(tmp_path: Path) -> None:
    """The old session is open still, and the request waits for the device to speak in it."""
    async with several(tmp_path, ASLEEP) as workers, workers[0].wire():
        queued = workers.apps[0].device("dev1").queue("GET", "/a")
        async with workers[1].wire() as device:
            answer(device, await next_request(device), b"1")
            assert (await queued.wait()).payload == b"1"


async def test_a_device_that_leaves_before_it_spoke(tmp_path: Path) -> None:
    async with several(tmp_path, ASLEEP) as workers:
        async with workers[0].wire() as device:
            queued = workers.apps[0].device("dev1").queue("GET", "/a")
            device.send(device.client.alert(1, 0, epoch=1))
            await until(lambda: len(workers.hub.directory) == 0)
        async with workers[1].wire() as device:
            answer(device, await next_request(device), b"1")
            assert (await queued.wait()).payload == b"1"


async def test_for_a_device_whose_newest_session_there_ends(tmp_path: Path) -> None:
    async with several(tmp_path, ASLEEP) as workers, workers[1].wire() as older, workers[1].wire() as newer:
        await workers.quiet()
        queued = workers.apps[0].device("dev1").queue("GET", "/a")
        await workers.quiet()
        newer.send(newer.client.alert(1, 0, epoch=1))
        await until(lambda: len(workers.events("dtls.session_closed")) == 1)
        await speaks(older)
        answer(older, await next_request(older), b"1")
        assert (await queued.wait()).payload == b"1"


async def test_what_was_not_answered_goes_out_when_the_device_speaks_again(tmp_path: Path) -> None:
    async with several(tmp_path, FAST, ASLEEP) as workers, workers[1].wire() as device:
        await workers.quiet()
        queued = workers.apps[0].device("dev1").queue("PUT", "/a", b"1")
        await workers.quiet()
        await speaks(device)
        first = await next_request(device)
        assert (await device.message()).mid == first.mid  # once more, and given up
        await until(lambda: queued.state is QueueState.QUEUED)
        await workers.quiet()
        await speaks(device)
        again = await next_request(device)
        assert again.mid != first.mid
        answer(device, again, code=aiocoap.CHANGED)
        assert (await queued.wait()).code == Code.CHANGED


async def test_a_device_that_is_awake_and_busy_is_asked_again_when_it_speaks(tmp_path: Path) -> None:
    """And not at once, and at once again, for as long as it is busy."""
    async with several(tmp_path) as workers, workers[1].wire() as device:
        others = [asyncio.create_task(workers.apps[1].device("dev1").get("/")) for _ in range(OUTGOING_REQUESTS)]
        await device.message()
        asked: list[str] = []
        ask = workers.hub._on["ask"]

        def counted(worker: int, number: int, target: object, what: str, args: list[object]) -> None:
            asked.append(what)
            ask(worker, number, target, what, args)

        workers.hub._on["ask"] = counted
        queued = workers.apps[0].device("dev1").queue("GET", "/a")
        for _ in range(5):
            await workers.quiet()
        assert asked.count("perform") == 1
        assert queued.state is QueueState.QUEUED
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await speaks(device)
        while (request := await next_request(device)).opt.uri_path != ("a",):
            pass
        answer(device, request, b"1")
        assert (await queued.wait()).payload == b"1"


async def test_a_device_that_began_anew_while_it_was_asked(tmp_path: Path) -> None:
    """The news of its session comes to the hub between the attempt that missed it and the wish to hear of it."""
    async with several(tmp_path) as workers, workers[1].wire() as device:
        await workers.quiet()
        ask = workers.hub._on["ask"]

        def missed(worker: int, number: int, target: object, what: str, args: list[object]) -> None:
            if what != "perform":
                ask(worker, number, target, what, args)
                return
            workers.hub._on["ask"] = ask
            session = workers.together(1)._of_devices.newest("default", "dev1")
            assert session is not None
            assert session.association is not None
            session.association.last_heard = asyncio.get_running_loop().time()
            workers.hub._say(worker, ["absent", number])

        workers.hub._on["ask"] = missed
        queued = workers.apps[0].device("dev1").queue("GET", "/a")
        answer(device, await device.message(), b"1")
        assert (await queued.wait()).payload == b"1"


async def test_a_request_that_expires_or_is_taken_back_is_wanted_no_more(tmp_path: Path) -> None:
    async with several(tmp_path) as workers:
        late = workers.apps[0].device("dev1").queue("GET", "/a", expires=0.05)
        back = workers.apps[0].device("dev2").queue("GET", "/a")
        await until(lambda: len(workers.hub._wants) == 2)
        with pytest.raises(DeviceTimeout, match="did not speak in time"):
            await late.wait()
        assert back.cancel()
        await until(lambda: workers.hub._wants == {})
        assert workers.hub._workers[0].wants == set()


# --- asking any worker what has become of it ------------------------------------------------------------------------


async def test_every_worker_knows_what_became_of_a_request(tmp_path: Path) -> None:
    async with several(tmp_path, ASLEEP, count=3) as workers, workers[1].wire() as device:
        await workers.quiet()
        queued = workers.apps[0].device("dev1").queue("GET", "/a")
        await workers.quiet()
        found = [app.queued(queued.id) for app in workers.apps]
        assert [(each.id, each.device, each.state) for each in found if each] == [
            (queued.id, "dev1", QueueState.QUEUED)
        ] * 3
        waiting = [asyncio.create_task(each.wait()) for each in found if each]
        await speaks(device)
        request = await next_request(device)
        await workers.quiet()
        assert {each.state for each in found if each} == {QueueState.SENT}
        assert [each.cancel() for each in found if each] == [False] * 3
        answer(device, request, b"1")
        assert [(await each).payload for each in waiting] == [b"1"] * 3
        assert {each.state for each in found if each} == {QueueState.DONE}


async def test_taking_a_request_of_another_worker_back(tmp_path: Path) -> None:
    async with several(tmp_path) as workers:
        queued = workers.apps[0].device("dev1").queue("GET", "/a")
        await workers.quiet()
        found = workers.apps[1].queued(queued.id)
        assert found is not None
        assert found.cancel()
        with pytest.raises(DeviceTimeout, match="taken back"):
            await found.wait()
        assert queued.state is QueueState.FAILED


def done(app: App, request_id: str) -> bool:
    queued = app.queued(request_id)
    assert queued is not None
    return queued.state is QueueState.DONE


async def test_over_http_at_any_worker(tmp_path: Path) -> None:
    async with several(tmp_path, ON, ASLEEP) as workers, workers[1].wire() as device:
        await workers.quiet()
        asking = asyncio.create_task(post(workers[0], path="/now"))
        answer(device, await next_request(device), b"ok")
        status, body = await asking
        assert (status, body["payload"]) == (200, "ok")
        status, body = await post(workers[0], path="/later", queue_for=60)
        assert (status, body["status"]) == (202, "queued")
        place = f"/devices/dev1/requests/{body['id']}"
        # At once: nothing that the workers tell each other by themselves is needed.
        assert await call(workers[1], "GET", place) == (202, body)
        await speaks(device)
        request = await next_request(device)
        assert await call(workers[1], "DELETE", place) == (409, {"error": "too late: it is sent"})
        answer(device, request, b"ok")
        await until(partial(done, workers.apps[0], body["id"]))
        await workers.quiet()
        for gateway in workers.gateways:
            status, found = await call(gateway, "GET", place)
            assert (status, found["status"], found["payload"]) == (200, "done", "ok")
        status, body = await post(workers[1], path="/never", queue_for=60)
        place = f"/devices/dev1/requests/{body['id']}"
        status, found = await call(workers[0], "DELETE", place)
        assert (status, found["status"], found["sent"]) == (200, "failed", False)
        assert (await call(workers[0], "GET", "/devices/dev1/requests/0123"))[0] == 404


async def test_over_http_while_workers_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are waited for as long as they may take, and then it is said what is known: not that we do not answer."""
    monkeypatch.setattr(device_api, "API_GRACE_S", 0.5)
    for module in (device_api, queue_mirror):
        monkeypatch.setattr(module, "COLLEAGUE_S", 0.6, raising=False)
    async with several(tmp_path, ON, count=3) as workers:
        queued = workers.apps[1].device("dev1").queue("GET", "/a")
        await workers.quiet()
        workers.together(2).line._doers["find_queued"] = never
        workers.together(1).line._doers["cancel_queued"] = never
        for method in ("GET", "DELETE"):
            assert (await call(workers[0], method, "/devices/dev1/requests/0123"))[0] == 404
        workers.together(0)._mirror._waiting.clear()  # as if the news of it were on the way
        place = f"/devices/dev1/requests/{queued.id}"
        assert await call(workers[0], "DELETE", place) == (409, {"error": "too late: it is queued"})


async def test_what_a_worker_that_comes_later_knows_and_one_that_dies_takes_along(tmp_path: Path) -> None:
    async with several(tmp_path, count=3) as workers:
        queued = workers.apps[0].device("dev1").queue("GET", "/a")
        await workers.quiet()
        workers.together(2).line.begin()  # as one that was started again
        await workers.in_step()
        found = workers.apps[2].queued(queued.id)
        assert found is not None
        workers.die(0)
        for _ in range(2):
            with pytest.raises(DeviceTimeout, match="has forgotten it"):
                await found.wait()
        await until(lambda: workers.apps[2].queued(queued.id) is None)
        assert workers.hub._wants == {}


async def test_what_is_known_of_others_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_mirror, "MAX_MIRRORED", 20)
    monkeypatch.setattr(queue_mirror, "KEPT_RESULTS", 10)
    async with several(tmp_path) as workers:
        mirror = workers.together(1)._mirror
        queued = [workers.apps[0].device(f"d{number}").queue("GET", "/a") for number in range(20)]
        await workers.quiet()
        first = workers.apps[1].queued(queued[0].id)
        assert first is not None
        queued += [workers.apps[0].device(f"d{number}").queue("GET", "/a") for number in range(20, 100)]
        with pytest.raises(DeviceTimeout, match="too many") as left_out:
            await first.wait()
        assert not left_out.value.sent
        await workers.quiet()
        assert len(mirror) == 20
        for each in queued:
            each.cancel()
        await workers.quiet()
        assert len(mirror) <= 30
        monkeypatch.setattr(queue_mirror, "KEPT_RESULT_S", 0.0)
        assert mirror.find(queued[-1].id) is None
        assert len(mirror) == len(mirror._waiting) == 0


# --- observers of ours -----------------------------------------------------------------------------------------------


class StateApp(App):
    """Attributes:
    value: What can be observed at /state.
    """

    def __init__(self) -> None:
        super().__init__()
        self.value = b"0"
        self.get("/state", observable=True)(self._state)

    def _state(self, request: Request) -> Content:
        return Content(self.value)


async def observe(device: WireDevice) -> bytes:
    message = aiocoap.Message(code=aiocoap.GET, uri_path=("state",), observe=0)
    response = await device.ask(encoded(message, aiocoap.CON, 7, b"ob"))
    assert response.opt.observe is not None
    return bytes(response.payload)


async def test_observers_in_every_worker_are_told(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    async with several(tmp_path, make_app=StateApp, count=3, register=register_devices(*names)) as workers:
        devices = [wire(workers[number], name) for number, name in enumerate(names)]
        for device in devices:
            await device.connect()
            assert await observe(device) == b"0"
        assert await workers.apps[0].notify("/state", b"1") == 3
        told = [await device.message() for device in devices]
        assert [each.payload for each in told] == [b"1"] * 3
        # Without a state each worker asks its own application.
        for number, app in enumerate(workers.apps):
            assert isinstance(app, StateApp)
            app.value = b"worker %d" % number
        devices[1].send(devices[1].client.data(empty(aiocoap.ACK, told[1].mid)))
        assert await workers.apps[2].notify("/state", device="b") == 1
        assert (await devices[1].message()).payload == b"worker 1"
        workers.die(1)
        await until(lambda: workers.together(0).line.workers == {2})
        assert await workers.apps[0].notify("/state", b"2") == 2
        for device in devices:
            device.udp.close()


async def test_a_worker_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "COLLEAGUE_S", 0.05)
    async with (
        several(tmp_path, make_app=StateApp, register=register_devices("near", "far")) as workers,
        wire(workers[0], "near") as near,
        wire(workers[1], "far") as far,
    ):
        assert [await observe(near), await observe(far)] == [b"0", b"0"]
        deaf(workers.ends[1])
        assert await workers.apps[0].notify("/state", b"1") == 1
        assert (await near.message()).payload == b"1"
        assert (await workers[0].samples("gateway_hub_exchanges_total"))["silent",] == 1
        hears(workers.ends[1])
        assert (await far.message()).payload == b"1"  # late, and not left out


async def never(args: list[object], news: object) -> object:
    await asyncio.Event().wait()
    return None
