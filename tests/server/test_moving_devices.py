"""Devices whose address changes all the time keep their sessions: the connection id finds them (RFC 9146)."""

import asyncio
import os
import socket
from pathlib import Path

import aiocoap  # type: ignore[import-untyped]
import pytest

from gateway.coap import TransmissionParameters
from gateway.coap.client import Client
from gateway.handlers import App, Content, Request
from gateway.simulator import DeviceIdentity, SimulatedDevice
from tests.dtls.rawclient import ALERT, RawClient, raw_record
from tests.server.relay import Relay
from tests.server.support import PSK, PSK_IDENTITY, certificate_identity, running, wire_certificate

pytestmark = pytest.mark.asyncio

AT_ONCE = 4
"""Requests of a device under way at the same time, so that they overtake each other."""


def devices(port: int) -> list[SimulatedDevice]:
    identities = [DeviceIdentity("psk", psk_identity=PSK_IDENTITY, psk=PSK), certificate_identity("line-1-0001")]
    found = [SimulatedDevice(identity, "127.0.0.1", port) for identity in identities]
    for device in found:
        # Two seconds, the default, are for radio; here each loss would cost them.
        device._client = Client(random=os.urandom, parameters=TransmissionParameters(ack_timeout_s=0.15))
    return found


async def talk(device: SimulatedDevice, requests: int) -> int:
    """Sends requests from several tasks; returns how many were answered with their own payload."""
    numbers = iter(range(requests))
    answered = 0

    async def one_after_the_other() -> None:
        nonlocal answered
        for number in numbers:
            payload = b"request %d" % number
            response = await device.post("/echo", payload)
            answered += response.payload == payload

    await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))
    return answered


async def exchange(tmp_path: Path, requests: int) -> None:
    """Two devices behind a relay, `requests` in all, and not one handshake after the first two."""
    async with running(tmp_path) as gateway, Relay(gateway.port, every=5, loss=0.01, late=0.05) as relay:
        one, two = devices(relay.port)
        async with one, two:
            relay.moving = True
            answered = await asyncio.gather(talk(one, requests // 2), talk(two, requests // 2))
            assert list(answered) == [requests // 2] * 2
            assert await gateway.samples("gateway_dtls_sessions") == {("psk", "yes"): 1, ("x509", "yes"): 1}
            (changes,) = (await gateway.samples("gateway_dtls_address_changes_total")).values()
            # A port of which no datagram arrives in time is never seen; most are.
            assert relay.moves > requests // 10
            assert relay.moves // 2 < changes
            assert relay.lost > requests // 200
            assert relay.late > requests // 50
            assert (await one.get("/device")).payload == b"default/dev1"
            assert (await two.get("/device")).payload == b"default/line-1-0001"
        assert len(gateway.events("dtls.handshake_completed")) == 2
        assert gateway.events("dtls.handshake_failed") == []
        assert all(line["connection_id"] for line in gateway.events("dtls.handshake_completed"))


async def test_two_devices_on_ever_new_ports_keep_their_sessions(tmp_path: Path) -> None:
    await exchange(tmp_path, 300)


@pytest.mark.long
async def test_two_devices_on_ever_new_ports_exchange_ten_thousand_requests(tmp_path: Path) -> None:
    await exchange(tmp_path, 10_000)


async def test_a_device_moves_by_itself(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.psk_device() as device:
        for _ in range(10):
            assert (await device.get("/device")).payload == b"default/dev1"
            await device.move()
        assert (await device.get("/device")).payload == b"default/dev1"
        assert len(gateway.events("dtls.handshake_completed")) == 1
        assert sum((await gateway.samples("gateway_dtls_address_changes_total")).values()) == 10


async def test_a_device_without_a_connection_id_is_lost_when_it_moves(tmp_path: Path) -> None:
    """The counter-proof: it is the id that the others are found by."""
    async with running(tmp_path) as gateway:
        identity = DeviceIdentity("psk", psk_identity=PSK_IDENTITY, psk=PSK)
        async with SimulatedDevice(identity, "127.0.0.1", gateway.port, connection_id=False) as device:
            await device.get("/device")
            await device.move()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await device.get("/device")
            assert await gateway.samples("gateway_dtls_sessions") == {("psk", "no"): 1}
        assert gateway.events("dtls.handshake_completed")[0]["connection_id"] is False


async def test_switched_off_by_configuration(tmp_path: Path) -> None:
    async with running(tmp_path, dtls__connection_id=False) as gateway, gateway.psk_device() as device:
        assert (await device.get("/device")).payload == b"default/dev1"
        assert await gateway.samples("gateway_dtls_sessions") == {("psk", "no"): 1}


async def test_a_large_answer_waits_until_the_new_address_has_proven_itself(tmp_path: Path) -> None:
    app = App()

    @app.get("/large")
    def large(request: Request) -> Content:
        return Content("x" * 500)

    async with running(tmp_path, app=app) as gateway:
        device, _ = devices(gateway.port)
        async with device:
            await device.move()
            # The first answer is withheld: nobody has shown that the device is there. The repetition shows it.
            assert (await device.get("/large")).payload == b"x" * 500
            assert sum((await gateway.samples("gateway_dtls_records_withheld_total")).values()) == 1
            assert sum((await gateway.samples("gateway_coap_duplicates_total")).values()) == 1


async def test_a_device_that_restarts_on_its_port_leaves_no_session_behind(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.wire(rebooting(bytes(32))) as device:
        device.client = rebooting(bytes(31) + b"1")
        await device.connect()
        assert await gateway.samples("gateway_dtls_sessions") == {("psk", "yes"): 1}
        assert [line["reason"] for line in gateway.events("dtls.session_closed")] == ["superseded"]
        answer = await device.ask(device.request(aiocoap.GET, "/device"))
        assert answer.payload == b"default/dev1"


async def test_another_device_on_the_port_that_one_had_leaves_its_session_alone(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.wire(rebooting(bytes(32))) as device:
        before = device.client
        other = RawClient(suites=(0xC0AE,), device=wire_certificate("line-1-0002"), cid=b"", random=bytes(31) + b"2")
        device.client = other
        await device.connect()
        assert await gateway.samples("gateway_dtls_sessions") == {("psk", "yes"): 1, ("x509", "yes"): 1}
        for client, name in ((before, b"default/dev1"), (other, b"default/line-1-0002")) * 2:
            device.client = client
            answer = await device.ask(device.request(aiocoap.GET, "/device"))
            assert answer.payload == name


def rebooting(random: bytes) -> RawClient:
    return RawClient(identity=PSK_IDENTITY, psk=PSK, cid=b"", random=random)


async def test_what_a_lost_session_gets_is_configured(tmp_path: Path) -> None:
    for setting, answered in (("drop", False), ("alert", True)):
        folder = tmp_path / setting
        folder.mkdir()
        async with running(folder, dtls__unknown_session=setting) as gateway, gateway.wire() as device:
            lost = raw_record(25, (1 << 48) + 7, bytes(40), cid=bytes(8))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.setblocking(False)
                udp.connect(("127.0.0.1", gateway.port))
                udp.send(lost)
                answer = await device.ask(device.request(aiocoap.GET, "/device"))  # by now it has been read
                assert answer.payload == b"default/dev1"
                await asyncio.sleep(0)
                if answered:
                    assert udp.recv(100) == raw_record(ALERT, 7, b"\x02\x14")
                else:
                    with pytest.raises(BlockingIOError):
                        udp.recv(100)
