"""A device that comes back, the whole gateway, and the registry that has changed in between."""

import os
from pathlib import Path

import pytest
from prometheus_client import Metric

from gateway.config import ConfigError
from gateway.dtls import TicketKeys
from gateway.model import DeviceStatus
from gateway.registry import Steps, wait_for
from gateway.server.secret_files import KeyLogFile, load_ticket_keys
from gateway.simulator import DeviceError, SimulatedDevice
from tests.server.support import Gateway, running

pytestmark = pytest.mark.asyncio


async def visit(device: SimulatedDevice) -> bytes:
    """Connects, asks who it is, and goes away again."""
    async with device:
        return bytes((await device.get("/device")).payload)


def modes(gateway: Gateway) -> list[str]:
    return [line["mode"] for line in gateway.events("dtls.handshake_completed")]


@pytest.mark.parametrize("kind", ["psk", "x509"])
async def test_device_that_comes_back_resumes_and_is_the_same(tmp_path: Path, kind: str) -> None:
    async with running(tmp_path) as gateway:
        device = gateway.psk_device() if kind == "psk" else gateway.certificate_device("line-1-0003")
        names = [await visit(device) for _ in range(4)]
        assert len(set(names)) == 1
        assert modes(gateway) == ["full", "resumed", "resumed", "resumed"]
        lines = gateway.events("dtls.handshake_completed")
        assert len({(line["device"], line["tenant"], line["auth"], line["suite"]) for line in lines}) == 1
        assert await gateway.samples("gateway_dtls_resumptions_total") == {("resumed",): 3}
        handshakes = await gateway.samples("gateway_dtls_handshakes_total")
        assert handshakes == {(kind, "full", "none", "success"): 1, (kind, "resumed", "none", "success"): 3}


async def test_disabled_device_resumes_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        device = gateway.psk_device()
        await visit(device)
        gateway.worker.registry.set_status("dev1", DeviceStatus.DISABLED)
        with pytest.raises(DeviceError, match="decrypt_error"):
            await visit(device)
        [line] = gateway.events("dtls.handshake_failed")
        assert (line["reason"], line["mode"]) == ("device_disabled", "full")
        gateway.worker.registry.set_status("dev1", DeviceStatus.ACTIVE)
        await visit(device)
        assert modes(gateway) == ["full", "full"]
        assert await gateway.samples("gateway_dtls_resumptions_total") == {("refused",): 1}


async def test_untrusted_ca_s_devices_resume_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        device = gateway.certificate_device("line-1-0004")
        await visit(device)
        registry = gateway.worker.registry
        for anchor in registry.trust_anchors():
            registry.delete_trust_anchor(anchor.id)
        with pytest.raises(DeviceError, match="unknown_ca"):
            await visit(device)
        [line] = gateway.events("dtls.resumption_refused")
        assert line["reason"] == "unknown_root"


async def test_fault_in_the_identity_room_gives_a_full_handshake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as gateway:
        device = gateway.psk_device()
        await visit(device)

        def broken(*_: object) -> Steps[None]:
            def fail() -> None:
                raise RuntimeError("a fault of ours")

            yield from wait_for(fail)

        monkeypatch.setattr(gateway.worker._identity, "resume", broken)
        await visit(device)
        assert modes(gateway) == ["full", "full"]
        assert len(gateway.events("identity.failed")) == 1


async def test_resumption_switched_off(tmp_path: Path) -> None:
    async with running(tmp_path, dtls__resumption=False) as gateway:
        device = gateway.psk_device()
        await visit(device)
        await visit(device)
        assert modes(gateway) == ["full", "full"]
        family: Metric = (await gateway.scrape())["gateway_dtls_resumptions"]
        assert {sample.value for sample in family.samples} == {0.0}


async def test_gateways_that_share_keys_and_registry_take_each_other_s_tickets(tmp_path: Path) -> None:
    keys, one, two = secret_file(tmp_path, "5" * 64), tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    async with (
        running(one, dtls__ticket_keys=str(keys)) as here,
        running(two, dtls__ticket_keys=str(keys), registry__url=here.url) as there,
    ):
        first, second, keyed = (
            here.certificate_device("line-1-0005"),
            here.certificate_device("line-1-0006"),
            here.psk_device(),
        )
        for device in (first, second, keyed):
            await visit(device)
        # The inner log takes the lines of both.
        assert modes(there) == ["full", "full", "full"]
        # The path above a certificate does not stand in its ticket: a gateway that has not met it asks for it once, and
        # takes the tickets of all devices under the same CA from then on.
        for device in (first, second, keyed):
            device._port = there.port
            await visit(device)
        assert modes(there)[3:] == ["full", "resumed", "resumed"]
        for device in (first, second, keyed):
            device._port = here.port
            await visit(device)
        assert modes(there)[6:] == ["resumed", "resumed", "resumed"]
        assert await here.samples("gateway_dtls_resumptions_total") == {("resumed",): 3}
        assert await there.samples("gateway_dtls_resumptions_total") == {("refused",): 1, ("resumed",): 2}


# --- the files ------------------------------------------------------------------------------------------------------


def secret_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "ticket.keys"
    path.touch(mode)
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("text", ["a" * 64, "a" * 64 + "\n", "\n" + "A" * 128 + "\n\n", "a" * 64 + "\n" + "b" * 64])
async def test_ticket_keys_that_can_be_used(tmp_path: Path, text: str) -> None:
    keys = load_ticket_keys(secret_file(tmp_path, text), 3600.0)
    first = bytes.fromhex(text.split()[0])
    ticket = keys.seal(b"content", os.urandom, 1e9)
    assert TicketKeys([first], 3600.0).open(ticket, 1e9) == (b"content", False)


@pytest.mark.parametrize(
    "text", ["", "\n", "a" * 63, "a" * 65, "g" * 64, "a" * 64 + " " + "b" * 64, "\n".join(["a" * 64] * 4), "a" * 4000]
)
async def test_ticket_keys_that_cannot_be_used(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_ticket_keys(secret_file(tmp_path, text), 3600.0)
    assert "openssl rand -hex 32" in str(caught.value)
    assert not text.strip() or text.strip() not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
async def test_ticket_keys_that_others_can_read(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigError, match="chmod 600"):
        load_ticket_keys(secret_file(tmp_path, "a" * 64, mode), 3600.0)


async def test_ticket_keys_that_are_not_there_stop_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dtls\.ticket_keys"):
        async with running(tmp_path, dtls__ticket_keys=str(tmp_path / "nothing")):
            pass


async def test_key_log_of_every_handshake(tmp_path: Path) -> None:
    path = tmp_path / "keys.log"
    async with running(tmp_path, dtls__key_log=str(path)) as gateway:
        device = gateway.psk_device()
        await visit(device)
        await visit(device)
        [warning] = gateway.events("dtls.key_log_enabled")
        assert (warning["log_level"], warning["file"]) == ("warning", str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    lines = [line.split() for line in path.read_text().splitlines()]
    assert [(word, len(random), len(master)) for word, random, master in lines] == [("CLIENT_RANDOM", 64, 96)] * 2
    assert lines[0][1] != lines[1][1]
    assert lines[0][2] == lines[1][2]  # resumed: the same master secret


async def test_no_key_log_without_being_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys.log"))
    async with running(tmp_path) as gateway:
        await visit(gateway.psk_device())
        assert gateway.events("dtls.key_log_enabled") == []
    assert not (tmp_path / "keys.log").exists()


async def test_key_log_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.log"
    path.touch(0o644)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        KeyLogFile(path)


async def test_key_log_through_a_link_or_into_a_device_is_refused(tmp_path: Path) -> None:
    (tmp_path / "target").touch(0o600)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for path in (tmp_path / "link", Path("/dev/null"), tmp_path):
        with pytest.raises(ConfigError, match=r"dtls\.key_log"):
            KeyLogFile(path)


async def test_key_log_on_a_full_disk_ends_no_handshake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    async with running(tmp_path, dtls__key_log=str(tmp_path / "keys.log")) as gateway:
        monkeypatch.setattr("gateway.server.secret_files.os.write", full)
        device = gateway.psk_device()
        await visit(device)
        await visit(device)
        monkeypatch.undo()
        assert len(gateway.events("dtls.key_log_failed")) == 1
