"""The story of docs/zero-touch.md: two factories, one root, devices that nobody registered, and what goes wrong later.

Everything that an operator does is a command here; the gateway is a process of its own. Most devices are simulated; two
are libcoap's clients.
"""

import asyncio
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.config import render_template
from gateway.pki import load_certified_key
from gateway.simulator import DeviceError, SimulatedDevice, certified
from tests.interop.devices import Certified
from tests.interop.gateway_process import Gateway, Site
from tests.interop.libcoap import FLAVOURS, coap_client
from tests.interop.peers import program

FACTORY_2_QUOTA = 20
FACTORY_2_MADE = 30
AT_ONCE = 64
PATIENCE_S = 60.0

pytestmark = [pytest.mark.interop, pytest.mark.asyncio]


class Operator:
    """Whoever types commands in the folder of a gateway."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *words: str, status: int = 0) -> str:
        command = [str(Path(sys.executable).with_name("gateway")), *words]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == status, (words, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout

    async def does(self, *words: str, status: int = 0) -> str:
        """While devices go on."""
        return await asyncio.to_thread(lambda: self.run(*words, status=status))

    async def lists(self, *words: str) -> Any:
        return json.loads(await self.does(*words, "-o", "json"))


def site_of(folder: Path) -> Site:
    """What `gateway init` makes, on free ports, with a log for programs."""
    config = folder / "gateway.toml"
    own: dict[str, object] = {
        "server.bind": "127.0.0.1:0",
        "server.workers": 1,
        "admin.bind": "127.0.0.1:0",
        "registry.url": "sqlite:///registry.db",
        "dtls.certificate": "certs/server.pem",
        "dtls.private_key": "certs/server.key",
        "log.format": "json",
    }
    telemetry = folder / "telemetry.jsonl"
    config.write_text(render_template(own) + f"\n[handlers.telemetry]\npath = {json.dumps(telemetry.name)}\n")
    return Site(folder, config, None, telemetry)  # type: ignore[arg-type]  # nobody asks for its PKI


class Fleet:
    """Devices out of a folder of `gateway cert bulk`, each with the session that it keeps."""

    def __init__(self, folder: Path, port: int) -> None:
        self.files = sorted(folder.rglob("*.pem"))
        self.devices = {
            file.stem: SimulatedDevice(
                certified(file.stem, load_certified_key(file, file.with_suffix(".key"))), "127.0.0.1", port
            )
            for file in self.files
        }
        self.refused: list[str] = []

    async def boot(self, names: Sequence[str] | None = None) -> list[str]:
        """Each connects and posts once; returns those that got through."""
        gate = asyncio.Semaphore(AT_ONCE)
        done: list[str] = []

        async def one(name: str) -> None:
            async with gate:
                try:
                    await self.devices[name].connect()
                    answer = await self.devices[name].post("telemetry/boot", b'{"n":1}')
                    assert answer.code == 68, answer  # 2.04
                    done.append(name)
                except DeviceError:
                    self.refused.append(name)

        await asyncio.gather(*(one(name) for name in names or self.devices))
        return sorted(done)

    def alive(self) -> set[str]:
        return {name for name, device in self.devices.items() if is_open(device)}

    async def answered(self, names: Sequence[str]) -> bool:
        """Whether these sessions still go on."""
        return all([(await self.devices[name].get("/time")).code == 69 for name in names])

    async def gone(self, names: Sequence[str]) -> float:
        """Waits until these sessions have ended; returns the seconds."""
        began = time.monotonic()
        while any(is_open(self.devices[name]) for name in names):
            assert time.monotonic() < began + PATIENCE_S
            await asyncio.sleep(0.01)
        return round(time.monotonic() - began, 2)

    async def close(self) -> None:
        for device in self.devices.values():
            await device.close()


def is_open(device: SimulatedDevice) -> bool:
    connection = device.connection
    return connection is not None and connection.association is not None and not connection.association.closed


class Story:
    """Each chapter goes on where the one before it ended."""

    def __init__(self, folder: Path, gateway: Gateway) -> None:
        self.folder, self.gateway = folder, gateway
        self.you = Operator(folder)
        self.admin = f"http://127.0.0.1:{gateway.admin_port}"
        self.first, self.second = Fleet(folder / "lot1", gateway.port), Fleet(folder / "lot2", gateway.port)
        self.foreign = sorted(self.first.devices)[-2:]
        self.names = [name for name in self.first.devices if name not in self.foreign]
        self.through: list[str] = []
        self.took: dict[str, float] = {}

    async def one_root_is_trusted(self) -> None:
        """What it would change can be seen before."""
        root = ("ca", "trust", "acme/root.pem", "--auto-provision", "active")
        assert await self.first.boot(["f1-000001"]) == []
        preview = await self.you.does(*root, "--dry-run", "--refused-at", self.admin, "-o", "json")
        [would] = json.loads(preview)
        assert (would["device"], would["outcome"]) == ("f1-000001", "active")
        await self.you.does("tenant", "add", "acme", "--sni", "acme.example.com")
        await self.you.does(*root, "--tenant", "acme")
        quota = ("--auto-provision", "active", "--max-devices", str(FACTORY_2_QUOTA))
        await self.you.does("ca", "trust", "acme/f2.pem", "--tenant", "acme", *quota)
        await self.you.does("ca", "keep", "acme/f1.pem")
        await seen(self.gateway, self.you)

    async def the_fleet_boots(self) -> None:
        """Two of it are libcoap."""
        assert await self.first.boot(self.names) == sorted(self.names)
        for flavour, name in zip(FLAVOURS, self.foreign, strict=True):
            answer = await asyncio.to_thread(
                coap_client,
                *(flavour, self.gateway.port, files_of(self.folder, name), "post", "/telemetry/boot", "1"),
                folder=self.folder,
            )
            assert answer.code == "2.04", answer.transcript
        rows = await self.you.lists("device", "list", "--tenant", "acme", "--status", "active")
        assert {row["device"] for row in rows} == set(self.first.devices)

    async def factory_2_makes_more_than_was_agreed(self) -> None:
        self.through = await self.second.boot()
        assert len(self.through) == FACTORY_2_QUOTA
        rows = await self.you.lists("device", "list", "--tenant", "acme", "--status", "quarantined")
        assert {row["device"] for row in rows} == set(self.second.devices) - set(self.through)
        reasons = {line["reason"] for line in self.gateway.log.lines("dtls.handshake_failed")}
        assert reasons == {"unknown_root", "device_quarantined"}

    async def the_server_s_certificate_is_replaced(self) -> None:
        """Nobody notices."""
        some = self.names[:: max(1, len(self.names) // 20)]
        await self.you.does("cert", "server", "--name", "localhost", "--name", "127.0.0.1", "--out", "new/server")
        for suffix in (".key", ".pem"):
            shutil.move(self.folder / f"new/server{suffix}", self.folder / f"certs/server{suffix}")
        await asyncio.to_thread(self.gateway.log.wait, "config.reloaded")
        assert await self.first.answered(some)
        assert await self.second.answered(self.through)
        assert self.first.alive() == set(self.names)

    async def one_is_revoked_and_one_is_banned(self) -> None:
        stolen, lost = self.names[0], self.names[1]
        await self.you.does("cert", "revoke", str(file_of(self.folder, stolen)), "--reason", "key_compromise", "--yes")
        await self.you.does("ca", "crl", "publish", "--ca", "acme/f1.pem", "--out", "acme/f1.crl")
        await self.you.does("ca", "crl", "import", "acme/f1.crl")
        self.took["revoked by a list"] = await self.first.gone([stolen])
        await self.you.does("ca", "ban", str(file_of(self.folder, lost)), "--reason", "lost in Lyon")
        self.took["banned"] = await self.first.gone([lost])
        assert self.first.alive() == set(self.names) - {stolen, lost}
        await self.comes_back_in_vain(stolen, "certificate_revoked")
        await self.comes_back_in_vain(lost, "certificate_banned")

    async def factory_1_is_distrusted(self) -> None:
        """Factory 2 goes on."""
        await self.you.does("ca", "ban", "acme/f1.pem", "--reason", "key copied")
        self.took["factory distrusted"] = await self.first.gone(self.names)
        assert await self.second.answered(self.through)
        assert self.second.alive() == set(self.through)
        await self.comes_back_in_vain(self.names[2], "certificate_banned")

    async def comes_back_in_vain(self, name: str, reason: str) -> None:
        """The device is told nothing, and the operator everything."""
        assert await self.first.boot([name]) == []
        said = await self.you.does("explain", "--device", name, "--last", "1", "--server", self.admin, "-o", "json")
        [told] = json.loads(said)
        assert (told["reason"], bool(told["hint"])) == (reason, True)

    async def close(self) -> None:
        await self.first.close()
        await self.second.close()


@pytest.mark.parametrize(
    "count",
    [pytest.param(60, id="60"), pytest.param(10_000, id="10000", marks=pytest.mark.long)],
)
async def test_from_a_root_to_a_fleet_and_back(tmp_path: Path, count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count + 500:
        pytest.skip(f"{count} devices need as many sockets, and this system allows {hard} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, count + 500)), hard))
    for flavour in FLAVOURS:
        program(f"coap-client-{flavour}")
    make_two_factories(Operator(tmp_path), count)
    with Gateway(site_of(tmp_path)) as gateway:
        story = Story(tmp_path, gateway)
        try:
            await story.one_root_is_trusted()
            await story.the_fleet_boots()
            await story.factory_2_makes_more_than_was_agreed()
            await story.the_server_s_certificate_is_replaced()
            await story.one_is_revoked_and_one_is_banned()
            await story.factory_1_is_distrusted()
        finally:
            await story.close()
    print(f"\n{count} devices; sessions ended after the command, seconds: {story.took}")


def make_two_factories(you: Operator, count: int) -> None:
    """A root, two factories, and a lot of certificates from each."""
    you.run("init", ".")
    you.run("ca", "create", "--root", "--name", "Acme Root", "--pathlen", "1", "--out", "acme/root")
    for number, made in ((1, count), (2, FACTORY_2_MADE)):
        name, out = f"Acme Factory {number}", f"acme/f{number}"
        you.run("ca", "create", "--intermediate", "--name", name, "--issuer", "acme/root.pem", "--out", out)
        lot = ("--count", str(made), "--prefix", f"f{number}-", "--ca", f"{out}.pem", "--out", f"lot{number}")
        you.run("cert", "bulk", *lot)


async def seen(gateway: Gateway, you: Operator) -> None:
    """Until the gateway goes by what was just trusted: it looks twice a second."""
    began = time.monotonic()
    wanted = {anchor["id"][:16] for anchor in await you.lists("ca", "list")}
    while time.monotonic() - began < PATIENCE_S:
        samples = await asyncio.to_thread(gateway.samples)
        name = "gateway_certificate_expiry_timestamp_seconds"
        known = {dict(labels)["name"] for (metric, labels) in samples if metric == name}
        if wanted <= known:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the gateway does not follow the registry")


def file_of(folder: Path, name: str) -> Path:
    [found] = folder.glob(f"lot?/*/{name}.pem")
    return found


def files_of(folder: Path, name: str) -> Certified:
    chain = file_of(folder, name)
    return Certified(name, chain, chain.with_suffix(".key"), folder / "certs/root.pem", folder / "certs/root.pem")
