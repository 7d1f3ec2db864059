"""The limit of sessions and the policies about clones, for a device whose sessions are in several workers."""

import asyncio
from collections.abc import Callable
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from gateway.model import DeviceStatus
from gateway.registry import OnClone, TenantLimits
from gateway.server import clones as clones_module
from gateway.server import elsewhere as elsewhere_module
from gateway.server.line import Trouble, Unreachable
from tests.server.support import Gateway, WireDevice, echo_app, until
from tests.server.test_clones import ELSEWHERE, at, policy_is, speaks
from tests.server.test_hub_queue import never
from tests.server.workers_together import Several, several

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clones_module, "CLONE_GRACE_S", 0.0)


def sessions(workers: Several) -> list[int]:
    return [gateway.worker._endpoint.association_count for gateway in workers.gateways]


async def settled(workers: Several) -> None:
    """Nobody makes room any more."""
    await workers.quiet()
    await until(lambda: not any(workers.together(each)._elsewhere._tasks for each in range(len(workers.gateways))))
    await workers.quiet()


async def closed(device: WireDevice) -> None:
    """The gateway says goodbye."""
    assert await device.alert() == (1, 0)


# --- dtls.max_sessions_per_device ------------------------------------------------------------------------------------


async def test_the_session_that_was_silent_longest_yields_in_whichever_worker(tmp_path: Path) -> None:
    async with several(tmp_path, make_app=echo_app, count=3) as workers:
        places = [0, 1, 2, 0]
        devices = [workers[place].wire() for place in places]
        for device in devices:
            await device.connect()
            await workers.quiet()
        assert workers.events("dtls.session_closed") == []
        # The order in which they were heard, and not that in which they began, says who yields.
        for number in (1, 3, 0, 2):
            assert await speaks(devices[number])
        for number, place in ((1, 0), (3, 2), (0, 1)):
            another = workers[place].wire()
            await another.connect()
            await closed(devices[number])
            await until(lambda: sum(sessions(workers)) == 4)
            assert await speaks(another)
            devices.append(another)
        assert [line["reason"] for line in workers.events("dtls.session_closed")] == ["too_many"] * 3
        assert await speaks(devices[2])
        for device in devices:
            device.udp.close()


async def test_a_device_that_restarts_at_random_workers_has_four_sessions(tmp_path: Path) -> None:
    async with several(tmp_path, count=3) as workers:
        devices = []
        for number in range(14):
            device = workers[number * 7 % 3].wire()
            await device.connect()
            await workers.quiet()
            await until(lambda: sum(sessions(workers)) <= 4)
            devices.append(device)
        assert sum(sessions(workers)) == 4
        [places] = [workers.hub.directory.of(*each) for each in workers.hub.directory]
        assert sum(place.sessions for place in places) == 4
        for device in devices:
            device.udp.close()


async def test_handshakes_in_all_workers_at_once_leave_no_session_too_many(tmp_path: Path) -> None:
    async with several(tmp_path, {"dtls__max_sessions_per_device": 2}, count=3) as workers:
        devices = []
        for _ in range(4):
            together = [gateway.wire() for gateway in workers.gateways]
            devices += together
            await asyncio.gather(*(device.connect() for device in together))
            await settled(workers)
            assert sum(sessions(workers)) == 2
        for device in devices:
            device.udp.close()


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_in_whatever_order_the_hub_hears_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: tuple[int, ...]
) -> None:
    """The newest session's message may come first, and only who has the newest one makes room."""
    async with several(tmp_path, {"dtls__max_sessions_per_device": 1}, count=3) as workers:
        held: list[Callable[[], None]] = []
        for each in range(3):
            line = workers.together(each).line
            held.append(line._flush)
            monkeypatch.setattr(line, "_flush", lambda: None)
        devices = [gateway.wire() for gateway in workers.gateways]
        for device in devices:
            await device.connect()
        for each in order:
            line = workers.together(each).line
            monkeypatch.setattr(line, "_flush", held[each])
            line._flush()
            await asyncio.sleep(0.01)
        await settled(workers)
        assert sessions(workers) == [0, 0, 1]
        for device in devices:
            device.udp.close()


async def test_a_session_that_spoke_as_it_was_to_yield(tmp_path: Path) -> None:
    """Another one yields instead, and the limit holds."""
    async with several(tmp_path, {"dtls__max_sessions_per_device": 2}, make_app=echo_app) as workers:
        older = [workers[1].wire() for _ in range(2)]
        for device in older:
            await device.connect()
        await workers.quiet()
        doers = workers.together(1).line._doers
        yields = doers["yield"]
        asked = []

        async def spoke_first(args: list[Any], news: Callable[[Any], None]) -> Any:
            asked.append(args)
            if len(asked) == 1:
                assert await speaks(older[0])
            return await yields(args, news)

        doers["yield"] = spoke_first
        async with workers[0].wire() as device:
            await settled(workers)
            assert sessions(workers) == [1, 1]
            await closed(older[1])
            assert await speaks(older[0])
            assert await speaks(device)
        for device in older:
            device.udp.close()


async def test_without_a_limit_nobody_yields(tmp_path: Path) -> None:
    async with several(tmp_path, {"dtls__max_sessions_per_device": 0}) as workers:
        devices = [workers[number % 2].wire() for number in range(8)]
        for device in devices:
            await device.connect()
        await workers.quiet()
        assert sessions(workers) == [4, 4]
        for device in devices:
            device.udp.close()


async def test_a_session_that_spoke_meanwhile_does_not_yield(tmp_path: Path) -> None:
    """Between the question and the answer it was heard of: it is not the one that was silent longest any more."""
    async with several(tmp_path, make_app=echo_app) as workers, workers[1].wire() as device:
        [heard] = await workers.together(0).line.ask(1, "sessions", ["default", "dev1"], within_s=5)
        assert await speaks(device)
        assert not await workers.together(0).line.ask(1, "yield", ["default", "dev1", heard], within_s=5)
        [heard] = await workers.together(0).line.ask(1, "sessions", ["default", "dev1"], within_s=5)
        assert await workers.together(0).line.ask(1, "yield", ["default", "dev1", heard], within_s=5)
        await closed(device)


# --- clones ----------------------------------------------------------------------------------------------------------


async def policy(workers: Several, action: OnClone) -> None:
    with workers[0].registry() as registry:
        registry.set_tenant("default", limits=TenantLimits(on_clone=action))
    for gateway in workers.gateways:
        await until(partial(policy_is, gateway, action))


async def looked(workers: Several) -> None:
    for gateway in workers.gateways:
        await gateway.watch.look()


def suspects(gateway: Gateway) -> int:
    return len(gateway.watch.clones)


async def test_two_that_both_speak_are_told(tmp_path: Path) -> None:
    async with (
        several(tmp_path, make_app=echo_app) as workers,
        at(workers[0], "127.0.0.1") as first,
        at(workers[1], ELSEWHERE) as second,
    ):
        await until(lambda: suspects(workers[0]) == 1)
        await looked(workers)
        assert workers.events("security.clone_detected") == []
        await asyncio.sleep(0.01)
        assert await speaks(first)
        await looked(workers)
        [line] = workers.events("security.clone_detected")
        assert (line["device"], line["action"], line["peers"]) == ("dev1", "flag", ["127.0.0.1", ELSEWHERE])
        assert await workers[0].samples("gateway_device_clones_total") == {("flag",): 1}
        assert await speaks(second)
        await looked(workers)
        assert len(workers.events("security.clone_detected")) == 1


async def test_a_device_that_moved_is_one(tmp_path: Path) -> None:
    async with several(tmp_path, make_app=echo_app) as workers, at(workers[0], "127.0.0.1") as first:
        assert await speaks(first)
        async with at(workers[1], ELSEWHERE) as second:
            for _ in range(3):
                assert await speaks(second)
                await workers.quiet()
                await looked(workers)
        assert workers.events("security.clone_detected") == []


async def test_a_newer_session_that_has_ended_meanwhile_is_no_clone(tmp_path: Path) -> None:
    async with several(tmp_path, make_app=echo_app) as workers, at(workers[0], "127.0.0.1") as first:
        async with at(workers[1], ELSEWHERE) as second:
            await until(lambda: suspects(workers[0]) == 1)
            second.send(second.client.alert(1, 0, epoch=1))
            await until(lambda: sessions(workers) == [1, 0])
        await asyncio.sleep(0.01)
        assert await speaks(first)
        await looked(workers)
        assert workers.events("security.clone_detected") == []
        assert suspects(workers[0]) == 0


async def test_a_worker_that_hangs_does_not_hold_the_watch_of_the_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elsewhere_module, "CLONE_ASK_S", 0.05)
    async with (
        several(tmp_path, make_app=echo_app) as workers,
        at(workers[0], "127.0.0.1") as first,
        at(workers[1], ELSEWHERE),
    ):
        await until(lambda: suspects(workers[0]) == 1)
        doers = workers.together(1).line._doers
        says = doers["host"]
        doers["host"] = never
        await asyncio.sleep(0.01)
        assert await speaks(first)
        await looked(workers)
        assert workers.events("security.clone_detected") == []
        # The suspicion stands, and is looked at again.
        assert suspects(workers[0]) == 1
        doers["host"] = says
        monkeypatch.setattr(elsewhere_module, "CLONE_ASK_S", 5.0)
        await looked(workers)
        assert len(workers.events("security.clone_detected")) == 1
        assert suspects(workers[0]) == 0


@pytest.mark.parametrize(
    ("trouble", "left"), [(Trouble.AWAY, 1), (Trouble.FULL, 1), (Trouble.SILENT, 1), (Trouble.LOST, 0)]
)
async def test_a_suspicion_is_dropped_only_with_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: Trouble, left: int
) -> None:
    async with (
        several(tmp_path, make_app=echo_app) as workers,
        at(workers[0], "127.0.0.1") as first,
        at(workers[1], ELSEWHERE),
    ):
        await until(lambda: suspects(workers[0]) == 1)

        async def ask(*args: object, **kwargs: object) -> object:
            raise Unreachable(trouble)

        monkeypatch.setattr(workers.together(0).line, "ask", ask)
        await asyncio.sleep(0.01)
        assert await speaks(first)
        await looked(workers)
        assert suspects(workers[0]) == left
        assert workers.events("security.clone_detected") == []


async def test_two_sessions_at_one_host_are_one_machine(tmp_path: Path) -> None:
    async with (
        several(tmp_path, make_app=echo_app) as workers,
        at(workers[0], ELSEWHERE) as first,
        at(workers[1], ELSEWHERE) as second,
    ):
        await workers.quiet()
        for wire in (first, second, first):
            assert await speaks(wire)
        await looked(workers)
        assert workers.events("security.clone_detected") == []
        assert [suspects(gateway) for gateway in workers.gateways] == [0, 0]


async def test_quarantine_ends_both(tmp_path: Path) -> None:
    async with several(tmp_path, make_app=echo_app) as workers:
        await policy(workers, OnClone.QUARANTINE)
        async with at(workers[0], "127.0.0.1") as first, at(workers[1], ELSEWHERE) as second:
            await until(lambda: suspects(workers[0]) == 1)
            await asyncio.sleep(0.01)
            assert await speaks(first)
            await looked(workers)
            assert await first.alert() == (2, 49)
            assert await second.alert() == (2, 49)
        with workers[0].registry() as registry:
            record = registry.device_record("dev1")
        assert record.device.status is DeviceStatus.QUARANTINED
        assert ELSEWHERE in record.note


async def test_newest_wins(tmp_path: Path) -> None:
    async with several(tmp_path, make_app=echo_app) as workers:
        await policy(workers, OnClone.NEWEST_WINS)
        async with at(workers[0], "127.0.0.1") as first:
            assert await speaks(first)
            async with at(workers[1], ELSEWHERE) as second:
                await closed(first)
                assert await speaks(second)
