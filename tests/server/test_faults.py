"""Our own faults: a bug in the identity room, in a handler, or in an engine must not stop the service."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import aiocoap  # type: ignore[import-untyped]
import pytest

from gateway.dtls import ServerEndpoint
from gateway.handlers import Request
from gateway.identity import IdentityService
from gateway.registry import Steps, wait_for
from gateway.server import Worker
from gateway.server.udp import UdpServer
from tests.dtls.rawclient import RawClient
from tests.server.support import echo_app, running, wire_certificate

pytestmark = pytest.mark.asyncio


class Bug(Exception):
    """Something that nobody thought of."""


@pytest.fixture(autouse=True)
def _expected(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL + 1, logger="asyncio")


def udp_server(worker: Worker) -> UdpServer:
    assert worker._server is not None
    return worker._server


@pytest.mark.parametrize("method", ["psk", "certificate"])
async def test_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    def broken(*_: object) -> Steps[None]:
        def fail() -> None:
            raise Bug("secret detail")

        yield from wait_for(fail)

    async with running(tmp_path) as gateway, gateway.wire() as connected:
        with monkeypatch.context() as patch:
            patch.setattr(IdentityService, method, broken)
            certificate = RawClient(suites=(0xC0AE,), device=wire_certificate("dev2"))
            unlucky = gateway.wire(None if method == "psk" else certificate)
            await unlucky.reach_server_done()
            for datagram in unlucky.client.answer_flight():
                unlucky.send(datagram)
            # internal_error; but a PSK identity must not be told from an unknown one, which is decrypt_error.
            assert await unlucky.alert() == (2, 51 if method == "psk" else 80)
        [line] = gateway.events("identity.failed")
        assert isinstance(line["exc_info"], Bug)
        [line] = gateway.events("dtls.handshake_failed")
        assert line["reason"] == "internal_error"
        # Sessions go on, and new ones begin.
        assert (await connected.ask(connected.request(aiocoap.GET, "/device"))).payload == b"default/dev1"
        async with gateway.psk_device() as device:
            assert (await device.get("/device")).payload == b"default/dev1"
        unlucky.udp.close()


async def test_a_handler_that_raises_what_no_handler_should(tmp_path: Path) -> None:
    app = echo_app()

    @app.get("/bad")
    def bad(request: Request) -> None:
        raise asyncio.CancelledError

    async with running(tmp_path, app) as gateway, gateway.wire() as device:
        device.send(device.client.data(device.request(aiocoap.GET, "/bad")))
        answer = await device.ask(device.request(aiocoap.GET, "/device", mid=9))
        while answer.mid != 9:
            answer = await device.message()
        assert answer.payload == b"default/dev1"


@pytest.mark.pure("it replaces a method of the engine")
async def test_a_fault_of_the_engine_takes_no_other_answer_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as gateway:
        receive = ServerEndpoint.receive_datagram

        def sometimes(self: ServerEndpoint, datagram: bytes, *rest: Any) -> None:
            if datagram == b"poison":
                raise Bug
            receive(self, datagram, *rest)

        monkeypatch.setattr(ServerEndpoint, "receive_datagram", sometimes)
        one, two = gateway.wire(), gateway.wire()
        # All three wait in the kernel before the gateway reads.
        one.send(one.client.hello())
        two.send(b"poison")
        udp_server(gateway.worker)._on_readable()
        await one.read()
        assert one.client.cookie
        [line] = gateway.events("server.fault")
        assert isinstance(line["exc_info"], Bug)
        two.client.next_number = [0, 0]
        await two.connect()
        one.udp.close()
        two.udp.close()


@pytest.mark.pure("it replaces methods of the engine")
async def test_a_fault_in_a_timer_takes_no_other_timer_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path) as gateway:
        server, timers = udp_server(gateway.worker), list[float]()

        def broken(self: ServerEndpoint, now: float) -> None:
            raise Bug

        async with gateway.wire():
            with monkeypatch.context() as patch:
                patch.setattr(ServerEndpoint, "handle_timer", broken)
                patch.setattr(type(server._dispatcher.layer), "handle_timer", lambda _, now: timers.append(now))
                server._on_timer()
            assert len(timers) == 1
            assert server._timer is not None  # what the endpoint wants next is not forgotten
        [line] = gateway.events("server.fault")
        assert isinstance(line["exc_info"], Bug)


@pytest.mark.pure("it replaces a method of the server")
async def test_a_fault_in_one_event_takes_no_other_event_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path) as gateway:
        session = "gateway.server.sessions.Sessions"

        def broken(*_: object) -> None:
            raise Bug

        async with gateway.wire() as device:
            with monkeypatch.context() as patch:
                patch.setattr(f"{session}._on_failed", broken)
                stranger = gateway.wire(RawClient(identity=b"x"))
                await stranger.reach_server_done()
                for datagram in stranger.client.answer_flight():
                    stranger.send(datagram)
                assert await stranger.alert() == (2, 51)
            [line] = gateway.events("server.fault")
            assert isinstance(line["exc_info"], Bug)
            assert (await device.ask(device.request(aiocoap.GET, "/device"))).payload == b"default/dev1"
            stranger.udp.close()


async def test_a_metric_source_that_fails_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise Bug

    async with running(tmp_path) as gateway:
        monkeypatch.setattr("gateway.server.sources.engine_families", broken)
        families = await gateway.scrape()
        assert "gateway_udp_datagrams" in families
        assert "gateway_dtls_alerts" not in families
        assert await gateway.samples("gateway_metric_source_errors_total") == {("engine",): 2}


async def test_an_answer_to_a_closed_port_does_no_harm(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        gone = gateway.wire()
        gone.send(gone.client.hello())
        gone.udp.close()
        async with gateway.psk_device() as device:
            assert (await device.get("/device")).payload == b"default/dev1"
