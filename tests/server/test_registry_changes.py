"""What another process changes in the registry counts within a second, and what it adds from the next handshake on."""

import asyncio
from pathlib import Path

import aiocoap  # type: ignore[import-untyped]
import pytest

from gateway.model import DeviceStatus
from gateway.registry import AnchorPolicy
from gateway.registry.limits import CACHE_CHECK_S
from gateway.simulator import DeviceError
from tests.dtls.rawclient import RawClient
from tests.server.support import ADMIT, pki, running

pytestmark = pytest.mark.asyncio

KEY = bytes(range(16, 32))


async def changes_seen() -> None:
    """Until the gateway has surely looked for changes."""
    await asyncio.sleep(CACHE_CHECK_S)


async def test_a_device_that_is_added_gets_in(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        with pytest.raises(DeviceError, match="decrypt_error"):
            await gateway.psk_device(KEY, b"late").connect()
        with gateway.registry() as registry:
            registry.add_psk_device("late", b"late", KEY)
        async with gateway.psk_device(KEY, b"late") as device:
            assert (await device.get("/device")).payload == b"default/late"


async def test_a_device_that_is_disabled_stays_out_and_comes_back_when_enabled(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        for status in (DeviceStatus.DISABLED, DeviceStatus.QUARANTINED):
            with gateway.registry() as registry:
                registry.set_status("dev1", status)
            await changes_seen()
            with pytest.raises(DeviceError, match="decrypt_error"):
                await gateway.psk_device().connect()
        with gateway.registry() as registry:
            registry.set_status("dev1", DeviceStatus.ACTIVE)
        await changes_seen()
        async with gateway.psk_device() as device:
            assert (await device.get("/device")).payload == b"default/dev1"


async def test_a_deleted_device_is_unknown(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        with gateway.registry() as registry:
            registry.delete_device("dev1")
        await changes_seen()
        with pytest.raises(DeviceError, match="decrypt_error"):
            await gateway.psk_device().connect()
        [line] = gateway.events("dtls.handshake_failed")
        assert line["reason"] == "unknown_identity"


async def test_an_anchor_that_is_added_or_removed(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        root = pki().root
        with gateway.registry() as registry:
            [anchor] = registry.trust_anchors()
            registry.delete_trust_anchor(anchor.id)
        await changes_seen()
        with pytest.raises(DeviceError, match="unknown_ca"):
            await gateway.certificate_device("dev2").connect()
        with gateway.registry() as registry:
            registry.add_trust_anchor(root.presented_der[0], "again", policy=ADMIT)
        await changes_seen()
        async with gateway.certificate_device("dev2") as device:
            assert (await device.get("/device")).payload == b"default/dev2"


async def test_auto_provisioning_that_is_switched_off(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        with gateway.registry() as registry:
            [anchor] = registry.trust_anchors()
            registry.set_trust_anchor(anchor.id, policy=AnchorPolicy())
        await changes_seen()
        with pytest.raises(DeviceError, match="access_denied"):
            await gateway.certificate_device("dev2").connect()
        [line] = gateway.events("dtls.handshake_failed")
        assert line["reason"] == "not_provisioned"
        assert "gateway device add dev2" in line["hint"]
        with gateway.registry() as registry:
            assert registry.counts().devices == 1


async def test_sessions_and_known_devices_outlive_a_registry_that_cannot_be_read(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.wire() as device:
        gateway.worker.registry.close()
        async with gateway.psk_device() as known:  # its credential is in memory
            assert (await known.get("/device")).payload == b"default/dev1"
        assert (await device.ask(device.request(aiocoap.GET, "/device"))).payload == b"default/dev1"
        stranger = gateway.wire(RawClient())
        await stranger.reach_server_done()
        for datagram in stranger.client.answer_flight():
            stranger.send(datagram)
        assert await stranger.alert() == (2, 51)
        [line] = gateway.events("dtls.handshake_failed")
        assert line["reason"] == "registry_unavailable"
        assert await gateway.samples("gateway_registry_lookups_total") == {("psk", "error"): 1, ("psk", "hit"): 2}
        stranger.udp.close()
