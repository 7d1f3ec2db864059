"""A device, a real socket, the whole gateway: who gets in, and what it is answered."""

from pathlib import Path

import aiocoap  # type: ignore[import-untyped]
import pytest

from gateway.handlers import App, Request
from gateway.registry import NotFound
from tests.dtls.rawclient import ECDHE_PSK_SUITES, ECDHE_SUITES, PSK_SUITES, RawClient
from tests.server.support import PSK, PSK_IDENTITY, WireDevice, running, wire_certificate

pytestmark = pytest.mark.asyncio

SUITE_NAMES = {
    0xD003: "TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256",
    0xD005: "TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256",
    0xD001: "TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256",
    0xD002: "TLS_ECDHE_PSK_WITH_AES_256_GCM_SHA384",
    0xCCAC: "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256",
    0xC0A8: "TLS_PSK_WITH_AES_128_CCM_8",
    0xC0A4: "TLS_PSK_WITH_AES_128_CCM",
    0x00A8: "TLS_PSK_WITH_AES_128_GCM_SHA256",
    0xC0A9: "TLS_PSK_WITH_AES_256_CCM_8",
    0xC0A5: "TLS_PSK_WITH_AES_256_CCM",
    0x00A9: "TLS_PSK_WITH_AES_256_GCM_SHA384",
    0xCCAB: "TLS_PSK_WITH_CHACHA20_POLY1305_SHA256",
    0xC0AE: "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8",
    0xC0AC: "TLS_ECDHE_ECDSA_WITH_AES_128_CCM",
    0xC02B: "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    0xC0AF: "TLS_ECDHE_ECDSA_WITH_AES_256_CCM_8",
    0xC0AD: "TLS_ECDHE_ECDSA_WITH_AES_256_CCM",
    0xC02C: "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    0xCCA9: "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
}


@pytest.mark.parametrize("suite", PSK_SUITES | ECDHE_PSK_SUITES)
async def test_a_psk_device_gets_and_posts(tmp_path: Path, suite: int) -> None:
    async with running(tmp_path) as gateway:
        client = RawClient(suites=(suite,), identity=PSK_IDENTITY, psk=PSK)
        async with gateway.wire(client) as device:
            answer = await device.ask(device.request(aiocoap.GET, "/device", mid=7))
            assert (answer.mtype, answer.mid, answer.token) == (aiocoap.ACK, 7, b"\x00\x07")
            assert (answer.code, answer.payload) == (aiocoap.CONTENT, b"default/dev1")
            answer = await device.ask(device.request(aiocoap.POST, "/echo", b"21.5"))
            assert (answer.code, answer.payload) == (aiocoap.CHANGED, b"21.5")
            assert await gateway.samples("gateway_dtls_sessions") == {("psk", "no"): 1}
        [line] = gateway.events("dtls.handshake_completed")
        assert (line["device"], line["tenant"], line["auth"]) == ("dev1", "default", "psk")
        assert line["suite"] == SUITE_NAMES[suite]


@pytest.mark.parametrize("suite", ECDHE_SUITES)
async def test_a_device_that_nobody_registered_is_in_with_its_first_handshake(tmp_path: Path, suite: int) -> None:
    async with running(tmp_path) as gateway:
        with gateway.registry() as registry, pytest.raises(NotFound):
            registry.device("line-1-0001")
        client = RawClient(suites=(suite,), device=wire_certificate("line-1-0001"))
        async with gateway.wire(client) as device:
            answer = await device.ask(device.request(aiocoap.GET, "/device"))
            assert (answer.code, answer.payload) == (aiocoap.CONTENT, b"default/line-1-0001")
            answer = await device.ask(device.request(aiocoap.POST, "/echo", b"21.5"))
            assert (answer.code, answer.payload) == (aiocoap.CHANGED, b"21.5")
        with gateway.registry() as registry:
            assert registry.device("line-1-0001").auto_provisioned
        [line] = gateway.events("registry.device_created")
        assert (line["device"], line["tenant"]) == ("line-1-0001", "default")
        [line] = gateway.events("dtls.handshake_completed")
        assert (line["device"], line["auth"], line["suite"]) == ("line-1-0001", "x509", SUITE_NAMES[suite])


async def test_the_second_handshake_of_a_certificate_device_creates_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        for _ in range(2):
            async with gateway.certificate_device("line-1-0002") as device:
                assert (await device.get("/device")).payload == b"default/line-1-0002"
        assert len(gateway.events("registry.device_created")) == 1
        with gateway.registry() as registry:
            assert registry.counts().devices == 2


async def test_both_kinds_at_once_on_one_port_keep_their_identities(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.psk_device() as one, gateway.certificate_device("two") as two:
        assert (await one.get("/device")).payload == b"default/dev1"
        assert (await two.get("/device")).payload == b"default/two"
        assert (await one.get("/device")).payload == b"default/dev1"
        assert await gateway.samples("gateway_dtls_sessions") == {("psk", "yes"): 1, ("x509", "yes"): 1}


async def test_a_gateway_without_a_certificate_serves_psk(tmp_path: Path) -> None:
    settings = {"dtls__certificate": None, "dtls__private_key": None}
    async with running(tmp_path, **settings) as gateway, gateway.psk_device() as device:
        assert (await device.get("/device")).payload == b"default/dev1"


async def test_ipv6_and_ipv4_on_the_wildcard_address(tmp_path: Path) -> None:
    async with running(tmp_path, server__bind="[::]:0") as gateway:
        for host in ("::1", "127.0.0.1"):
            async with WireDevice(gateway.port, host=host) as device:
                assert (await device.ask(device.request(aiocoap.GET, "/device"))).payload == b"default/dev1"
        peers = [line["peer"].rsplit(":", 1)[0] for line in gateway.events("dtls.handshake_completed")]
        assert peers == ["[::1]", "127.0.0.1"]


async def test_a_nonconfirmable_request_gets_a_nonconfirmable_answer(tmp_path: Path) -> None:
    # RFC 7252 section 5.2.3.
    async with running(tmp_path) as gateway, gateway.wire() as device:
        answer = await device.ask(device.request(aiocoap.POST, "/echo", b"1", confirmable=False, mid=9))
        assert (answer.mtype, answer.token, answer.payload) == (aiocoap.NON, b"\x00\x09", b"1")


@pytest.mark.parametrize(
    ("code", "path", "expected"),
    [(aiocoap.GET, "/nothing", aiocoap.NOT_FOUND), (aiocoap.DELETE, "/echo", aiocoap.METHOD_NOT_ALLOWED)],
)
async def test_what_nobody_registered(tmp_path: Path, code: aiocoap.Code, path: str, expected: aiocoap.Code) -> None:
    async with running(tmp_path) as gateway, gateway.wire() as device:
        assert (await device.ask(device.request(code, path))).code == expected


async def test_start_and_stop_hooks_of_the_application(tmp_path: Path) -> None:
    app, calls = App(), list[str]()

    @app.on_startup
    async def up() -> None:
        calls.append("up")

    @app.on_shutdown
    def down() -> None:
        calls.append("down")

    @app.get("/calls")
    def get(request: Request) -> str:
        return ",".join(calls)

    async with running(tmp_path, app) as gateway, gateway.psk_device() as device:
        assert (await device.get("/calls")).payload == b"up"
    assert calls == ["up", "down"]


async def test_a_new_handshake_from_the_same_address_replaces_the_session(tmp_path: Path) -> None:
    # RFC 6347 section 4.2.8: the device restarted and has forgotten its keys.
    async with running(tmp_path) as gateway, gateway.wire() as device:
        device.client = RawClient(identity=PSK_IDENTITY, psk=PSK, random=bytes(range(32)))
        await device.connect()
        assert (await device.ask(device.request(aiocoap.GET, "/device"))).payload == b"default/dev1"
        assert await gateway.samples("gateway_dtls_sessions") == {("psk", "no"): 1}
        assert [line["reason"] for line in gateway.events("dtls.session_closed")] == ["superseded"]
