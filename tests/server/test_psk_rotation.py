"""A key that is rotated while its device is connected, and a fleet that moves to certificates."""

import asyncio
from pathlib import Path

import pytest

from gateway.registry import CredentialStatus
from gateway.server.limits import SEEN_INTERVAL_S
from gateway.simulator import DeviceError
from tests.server.support import PSK, Gateway, running, until

pytestmark = pytest.mark.asyncio

NEW = bytes(range(32, 48))


def states(gateway: Gateway) -> list[CredentialStatus]:
    with gateway.registry() as registry:
        return [each.status for each in registry.credentials("dev1")]


async def noted(gateway: Gateway) -> None:
    """Writes down at once who was seen, and looks for what that changed."""
    watch = gateway.watch
    watch._seen_due = 0.0
    await watch.look()
    await watch.look()


async def test_the_first_use_of_the_new_key_ends_the_old_ones_session_and_not_its_own(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.psk_device() as old:
        with gateway.registry() as registry:
            made = registry.rotate_psk("dev1", NEW, overlap_s=3600)
        await noted(gateway)
        assert (await old.get("/device")).payload == b"default/dev1"
        async with gateway.psk_device(NEW, made.identity) as new:
            await noted(gateway)
            assert states(gateway) == [CredentialStatus.RETIRED, CredentialStatus.ACTIVE]
            await gateway.event("identity.session_revoked")
            assert (await new.get("/device")).payload == b"default/dev1"
            with pytest.raises((DeviceError, TimeoutError)):
                await asyncio.wait_for(old.get("/device"), 1)
            await noted(gateway)
            assert (await new.get("/device")).payload == b"default/dev1"
        assert len(gateway.events("identity.session_revoked")) == 1
        with pytest.raises(DeviceError, match="decrypt_error"):
            await gateway.psk_device().connect()
        async with gateway.psk_device(NEW, made.identity) as again:
            assert (await again.get("/device")).payload == b"default/dev1"
        with pytest.raises(DeviceError, match="decrypt_error"):
            await gateway.psk_device(NEW[::-1], made.identity).connect()
        said = repr(gateway.lines) + (await gateway.get("/metrics"))[1] + (await gateway.get("/debug/failures"))[1]
    for key in (PSK, NEW, NEW[::-1]):
        assert key.hex() not in said.lower()
        assert repr(key)[2:-1] not in said


async def test_the_watch_notes_it_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.server.watch.SEEN_INTERVAL_S", SEEN_INTERVAL_S / 100)
    async with running(tmp_path) as gateway:
        with gateway.registry() as registry:
            made = registry.rotate_psk("dev1", NEW, overlap_s=3600)
        async with gateway.psk_device(NEW, made.identity):
            # The first note is due an interval after the start.
            watch = gateway.watch
            watch._seen_due = 0.0
            await until(lambda: states(gateway) == [CredentialStatus.RETIRED, CredentialStatus.ACTIVE])


async def test_a_certificate_ends_the_keys_of_its_device(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.psk_device() as old:
        with gateway.registry() as registry:
            registry.allow_certificate("dev1")
            registry.set_migration("default", after_first_certificate=True)
        async with gateway.certificate_device("dev1") as new:
            await noted(gateway)
            assert states(gateway) == [CredentialStatus.RETIRED, CredentialStatus.ACTIVE]
            assert (await new.get("/device")).payload == b"default/dev1"
            with pytest.raises((DeviceError, TimeoutError)):
                await asyncio.wait_for(old.get("/device"), 1)


async def test_a_deadline_that_has_passed_ends_sessions_with_keys_too(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.psk_device(), gateway.certificate_device("dev2") as other:
        with gateway.registry() as registry:
            registry.set_migration("default", until=1.0)
        line = await gateway.event("identity.session_revoked")
        assert (line["device"], line["reason"]) == ("dev1", "psk_ended")
        with pytest.raises(DeviceError, match="decrypt_error"):
            await gateway.psk_device().connect()
        assert (await other.get("/device")).payload == b"default/dev2"


async def test_the_fleet_is_counted(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        with gateway.registry() as registry:
            registry.add_psk_device("dev2", b"dev2", NEW)
            registry.allow_certificate("dev2")
        async with gateway.certificate_device("dev3"):
            assert await gateway.samples("gateway_fleet_devices") == {("psk",): 1, ("both",): 1, ("x509",): 1}
        with gateway.registry() as registry:
            registry.delete_device("dev2")
        # A count holds for half a minute, however often it is asked for.
        assert (await gateway.samples("gateway_fleet_devices"))["both",] == 1
