"""Several workers on one port: whose a datagram is, what happens when one dies, and what reaches all of them."""

import asyncio
import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest

from gateway.model import DeviceStatus
from gateway.server.limits import WORKER_RETRY_FIRST_S, WORKER_STOP_S
from gateway.simulator import DeviceError, SimulatedDevice
from tests.process_log import Line
from tests.server.several import APP, Several, alive, becomes, refused
from tests.server.support import PATIENCE_S, prepare

MANY = 24
"""Devices: enough that the hash of their addresses leaves no worker of two without one, but once in ten million."""

STUCK_APP = APP + "@app.get('/stuck')\ndef stuck(request):\n    while True:\n        pass\n"


@pytest.mark.asyncio
@pytest.mark.parametrize(("bind", "hosts"), [("127.0.0.1:0", ["127.0.0.1"]), ("[::]:0", ["127.0.0.1", "::1"])])
async def test_two_workers_share_the_port(tmp_path: Path, bind: str, hosts: list[str]) -> None:
    with Several(tmp_path, server__bind=bind) as gateway:
        seen = set()
        for host in hosts:
            for _ in range(MANY):
                async with gateway.device(host=host) as device:
                    seen.add((host, await gateway.worker_of(device)))
        assert seen == {(host, worker) for host in hosts for worker in (0, 1)}
        by_worker = await gateway.samples("gateway_dtls_sessions_closed_total")
        assert by_worker["close_notify", "0"] + by_worker["close_notify", "1"] == MANY * len(hosts)


@pytest.mark.asyncio
async def test_a_connection_id_is_found_from_every_address(tmp_path: Path) -> None:
    moves = 6
    with Several(tmp_path, workers=3) as gateway:
        async with gateway.devices(MANY) as devices:
            homes = {device: await gateway.worker_of(device) for device in devices}
            assert set(homes.values()) == {0, 1, 2}
            for _ in range(moves):
                for device in devices:
                    await device.move()
                    assert await gateway.worker_of(device) == homes[device]
            handshakes = await gateway.samples("gateway_dtls_handshakes_total")
            assert sum(handshakes.values()) == MANY
            changes = await gateway.samples("gateway_dtls_address_changes_total")
            assert {int(worker): count for (worker,), count in changes.items()} == {
                worker: moves * list(homes.values()).count(worker) for worker in range(3)
            }


@pytest.mark.asyncio
async def test_without_a_connection_id_a_device_that_moved_takes_its_session_up_elsewhere(tmp_path: Path) -> None:
    """The counter-proof: by the address, they do come to another worker. Tickets are good in each of them."""
    with Several(tmp_path) as gateway:
        async with gateway.devices(MANY, connection_id=False) as devices:
            homes = {device: await gateway.worker_of(device) for device in devices}
            one = devices[0]
            await one.move()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await one.get("/pid")
            for device in devices:
                await device.close()
                await device.connect()
            assert sum([await gateway.worker_of(device) != homes[device] for device in devices])
            resumed = await gateway.samples("gateway_dtls_resumptions_total")
            assert resumed["resumed", "0"] + resumed["resumed", "1"] == MANY


class Talk:
    """Devices that send one request after the other, until they are to stop."""

    def __init__(self, devices: list[SimulatedDevice]) -> None:
        self.answered = 0
        self._stopping = False
        self._tasks = [asyncio.create_task(self._talk(device)) for device in devices]

    async def _talk(self, device: SimulatedDevice) -> None:
        while not self._stopping:
            payload = os.urandom(8)
            assert (await device.post("/echo", payload)).payload == payload
            self.answered += 1

    async def stop(self) -> int:
        """How many requests were answered: all of them, or one of its assertions fails."""
        self._stopping = True
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*self._tasks)
        return self.answered


@pytest.mark.asyncio
async def test_the_end_of_a_worker_is_nothing_to_the_devices_of_the_other(tmp_path: Path) -> None:
    with Several(tmp_path) as gateway:
        async with gateway.devices(MANY) as devices:
            by_worker = await gateway.by_worker(devices)
            theirs, ours = by_worker[0], by_worker[1]
            talk = Talk(theirs)
            await becomes(lambda: talk.answered > 100)
            gateway.kill(1)
            before = talk.answered
            # Each of them tries once, and some of that is waiting in the socket when the new worker comes.
            await asyncio.gather(*(device.connect() for device in ours))
            for device in ours:
                assert await gateway.worker_of(device) in (0, 1)
            await becomes(lambda: talk.answered > before + 100)
            assert await talk.stop() > before + 100

            exited = await gateway.line("worker.exited", worker=1)
            assert (exited["signal"], exited["level"], exited["next_in_s"]) == (
                "SIGKILL",
                "error",
                WORKER_RETRY_FIRST_S,
            )
            started = await gateway.line("worker.started", worker=1, restarts=1)
            assert int(started["pid"]) == gateway.pid(1)
            assert await gateway.samples("gateway_worker_restarts_total") == {("1",): 1}
            assert await gateway.samples("gateway_worker_up") == {("0",): 1, ("1",): 1}
            # The others are where they were, in the sessions that they had.
            assert set(await gateway.by_worker(theirs)) == {0}
            handshakes = await gateway.samples("gateway_dtls_handshakes_total")
            of_0 = sum(count for labels, count in handshakes.items() if labels[-1] == "0")
            of_1 = sum(count for labels, count in handshakes.items() if labels[-1] == "1")
            moved = of_0 - len(theirs)
            assert of_1 + moved == len(ours)


@pytest.mark.asyncio
async def test_a_worker_that_cannot_start_again_is_tried_ever_more_seldom_and_seen(tmp_path: Path) -> None:
    app = f"""{APP}
from pathlib import Path


@app.on_startup
def begin():
    if Path("broken").exists():
        raise RuntimeError("the back end is away")
"""
    with Several(tmp_path, app=app) as gateway:
        (tmp_path / "broken").touch()
        gateway.kill(0)
        waits = [WORKER_RETRY_FIRST_S * 2**n for n in range(3)]
        for wait_s in waits:
            await gateway.line("worker.exited", worker=0, next_in_s=wait_s)
        assert "the back end is away" in str(gateway.log.lines("worker.exited")[-1]["error"])
        assert (await gateway.json("/readyz")) == (
            503,
            {
                "status": "not ready",
                "failing": ["workers"],
                "checks": {"registry": "ok", "draining": "ok", "workers": "worker 0 is being started"},
            },
        )
        status, body = await gateway.json("/livez")
        assert (status, list(body["workers"])) == (200, ["1"])
        assert await gateway.samples("gateway_worker_up") == {("1",): 1}
        (tmp_path / "broken").unlink()
        await gateway.line("worker.started", worker=0, restarts=len(waits))
        assert (await gateway.json("/readyz"))[0] == 200


@pytest.mark.asyncio
async def test_what_an_operator_changes_reaches_the_sessions_of_all(tmp_path: Path) -> None:
    with Several(tmp_path) as gateway:
        async with gateway.devices(MANY) as devices:
            assert set(await gateway.by_worker(devices)) == {0, 1}
            with gateway.registry() as registry:
                registry.set_status("dev1", DeviceStatus.DISABLED)
            await becomes(lambda: all_closed(gateway, "revoked"))
            for worker in (0, 1):
                while not refusals_of(gateway, worker):
                    with pytest.raises(DeviceError, match="alert"):
                        await gateway.device().connect()
            with gateway.registry() as registry:
                registry.set_status("dev1", DeviceStatus.ACTIVE)
        closed = await gateway.samples("gateway_dtls_sessions_closed_total")
        assert closed["revoked", "0"] > 0
        assert closed["revoked", "1"] > 0


def refusals_of(gateway: Several, worker: int) -> list[Line]:
    lines = gateway.log.lines("dtls.handshake_failed")
    return [line for line in lines if (line["worker"], line["reason"]) == (worker, "device_disabled")]


async def all_closed(gateway: Several, reason: str) -> bool:
    closed = await gateway.samples("gateway_dtls_sessions_closed_total")
    return closed[reason, "0"] + closed[reason, "1"] == MANY


@pytest.mark.asyncio
async def test_a_reload_reaches_all_and_a_worker_that_comes_later(tmp_path: Path) -> None:
    with Several(tmp_path, server__watch_files=False) as gateway:
        gateway.configure(dtls__mtu=1400, server__workers=4)
        gateway.process.send_signal(signal.SIGHUP)
        for worker in (0, 1):
            assert (await gateway.line("config.reloaded", worker=worker))["changed"] == ["dtls.mtu"]
        # What does not change is not taken up by one that starts anew, either; what is broken stops nobody.
        gateway.configure(dtls__connection_id=False, dtls__mtu=1300)
        before = len(gateway.log)
        gateway.kill(1)
        again = await gateway.line("config.reloaded", after=before, worker=1)
        assert again["changed"] == ["dtls.mtu"]
        waiting = await gateway.line("config.restart_required", after=before, worker=1)
        assert waiting["keys"] == ["dtls.connection_id"]
        (tmp_path / "gateway.toml").write_text("[dtls]\nmtu = 1\n")
        before = len(gateway.log)
        gateway.kill(1)
        assert "mtu: must be at least 256" in str(
            (await gateway.line("config.reload_failed", after=before, worker=1))["error"]
        )
        assert await gateway.samples("gateway_config_last_reload_successful") == {("0",): 1}
        async with gateway.devices(MANY) as devices:
            assert set(await gateway.by_worker(devices)) == {0, 1}


@pytest.mark.asyncio
async def test_the_files_are_watched_by_all(tmp_path: Path) -> None:
    with Several(tmp_path) as gateway:
        gateway.configure(log__level="debug", dtls__mtu=1400)
        for worker in (0, 1):
            assert (await gateway.line("config.reloaded", worker=worker))["changed"] == ["dtls.mtu", "log.level"]
        await gateway.get("/livez")
        await gateway.line("admin.request_completed", worker=1)
        await gateway.line("admin.request_completed", worker=None)  # the supervisor follows too


@pytest.mark.asyncio
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_says_goodbye_to_all_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    with Several(tmp_path) as gateway:
        workers = list(gateway.pids())
        async with gateway.devices(MANY) as devices:
            assert set(await gateway.by_worker(devices)) == {0, 1}
            gateway.process.send_signal(number)
            for device in devices:
                await ended(device)
        assert await asyncio.to_thread(gateway.process.wait, PATIENCE_S) == 0
        assert not any(alive(pid) for pid in workers)
        events = [line["event"] for line in gateway.log.lines()]
        assert events[-1] == "server.stopped"
        assert events.count("server.started") == events.count("server.stopping") == events.count("server.stopped") == 1
        assert [line["status"] for line in gateway.log.lines("worker.stopped")] == [0, 0]
        assert {line["level"] for line in gateway.log.lines()} == {"info"}
        assert list(gateway.scratch.iterdir()) == []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.bind((gateway.udp.host, gateway.udp.port))


@pytest.mark.asyncio
async def test_the_workers_do_not_outlive_their_supervisor(tmp_path: Path) -> None:
    with Several(tmp_path) as gateway:
        workers = list(gateway.pids())
        async with gateway.devices(MANY) as devices:
            gateway.process.kill()
            for device in devices:
                await ended(device)  # by close_notify: they stop in order
        await becomes(lambda: not any(alive(pid) for pid in workers))
        assert list(gateway.scratch.iterdir()) == []


async def ended(device: SimulatedDevice) -> None:
    """Waits for the goodbye of the gateway."""
    connection = device.connection
    assert connection is not None
    await becomes(lambda: connection.association is None or connection.association.closed)


@pytest.mark.asyncio
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["a terminal", "systemd"])
async def test_a_signal_to_all_of_them_lets_workers_say_goodbye(tmp_path: Path, number: signal.Signals) -> None:
    with Several(tmp_path) as gateway:
        async with gateway.devices(8) as devices:
            for pid in (gateway.pid(0), gateway.pid(1), gateway.process.pid):
                os.kill(pid, number)
            assert await asyncio.to_thread(gateway.process.wait, PATIENCE_S) == 0
            for device in devices:
                await ended(device)
        assert [line["signal"] for line in gateway.log.lines("worker.stopped")] == [None, None]


@pytest.mark.asyncio
async def test_a_worker_that_is_stuck_goes_after_its_supervisor(tmp_path: Path) -> None:
    with Several(tmp_path, app=STUCK_APP, server__shutdown_grace=0) as gateway:
        async with gateway.device() as device:
            pid = gateway.pid(await gateway.worker_of(device))
            asking = asyncio.create_task(device.get("/stuck"))
            await becomes(lambda: asyncio.to_thread(busy, pid))
            gateway.process.kill()
            await asyncio.to_thread(gateway.process.wait)
            async with asyncio.timeout(WORKER_STOP_S + PATIENCE_S):
                while alive(pid):  # noqa: ASYNC110  another process
                    await asyncio.sleep(0.1)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)


@pytest.mark.asyncio
async def test_a_worker_that_is_stuck_is_started_again(tmp_path: Path) -> None:
    with Several(tmp_path, app=STUCK_APP, server__worker_timeout="4s") as gateway:
        async with gateway.devices(MANY) as devices:
            found = await gateway.by_worker(devices)
            stuck, other = found[0][0], found[1][0]
            asking = asyncio.create_task(stuck.get("/stuck"))
            said = await gateway.line("worker.stuck")
            assert (said["worker"], said["pid"], said["level"]) == (0, gateway.pid(0), "error")
            assert said["silent_s"] == 4.0
            exited = await gateway.line("worker.exited")
            assert (exited["worker"], exited["signal"]) == (0, "SIGKILL")
            assert "`def` handler" in str(exited["hint"])
            await gateway.line("worker.started", worker=0, restarts=1)
            assert await gateway.worker_of(other) == 1
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        async with gateway.devices(MANY) as devices:
            assert set(await gateway.by_worker(devices)) == {0, 1}
        # Where it was: file, line and function.
        printed = [str(line["text"]) for line in gateway.log.lines("")]
        assert any(re.search(r'app_of_workers\.py", line \d+ in stuck', text) for text in printed)
        assert await gateway.samples("gateway_worker_restarts_total") == {("0",): 1}


def busy(pid: int) -> bool:
    """Whether a process computes and waits for nothing."""

    def ticks() -> int:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    time.sleep(1)
    return 4 * (ticks() - before) >= os.sysconf("SC_CLK_TCK")


@pytest.mark.asyncio
async def test_a_worker_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    with Several(tmp_path, server__shutdown_grace=0) as gateway:
        pid = gateway.pid(1)
        gateway.kill(1, signal.SIGSTOP)
        gateway.process.terminate()
        assert await asyncio.to_thread(gateway.process.wait, 2 * PATIENCE_S) == 0
        assert not alive(pid)
        assert [line["workers"] for line in gateway.log.lines("worker.stop_timed_out")] == [1]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        ({"handlers.enabled": ["ehco"]}, "there is no handler 'ehco'"),
        ({"registry.url": "sqlite:///none.db"}, "none.db does not exist"),
        ({"dtls.private_key": "gateway.toml"}, "gateway.toml holds no private key"),
        ({"server.bind": "192.0.2.1:0"}, "server.bind 192.0.2.1:0: "),
        ({"admin.bind": "192.0.2.1:0"}, "admin port 192.0.2.1:0 cannot be opened"),
    ],
)
def test_what_stops_a_start_is_said_as_by_one(tmp_path: Path, spoil: dict[str, object], why: str) -> None:
    values = prepare(tmp_path) | {"admin.bind": "127.0.0.1:0"} | spoil
    status, _, error = refused(tmp_path, 1, values)
    assert status == 2
    assert why in error
    assert refused(tmp_path, 2, values) == (2, "", error)


def test_a_start_in_which_a_worker_dies(tmp_path: Path) -> None:
    status, _, error = refused(tmp_path, 2, prepare(tmp_path), "import os\nos.abort()\n")
    assert status == 1
    assert error.splitlines()[-1].startswith("gateway: worker ")
    assert "ended before it served (SIGABRT); " in error
