"""A simulated device against a real gateway, and against everything that is none."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.coap import Code
from gateway.handlers import App, Content, Reject, Request
from gateway.model import DeviceStatus
from gateway.pki import DeviceKey
from gateway.simulator import DeviceError, DeviceIdentity, SimulatedDevice, with_raw_key
from tests.server.support import PSK, PSK_IDENTITY, running

pytestmark = pytest.mark.asyncio

IDENTITY = DeviceIdentity("dev1", psk_identity=PSK_IDENTITY, psk=PSK)


async def test_get_post_and_goodbye(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        async with gateway.psk_device() as device:
            assert (await device.get("device")).payload == b"default/dev1"
            assert (await device.post("/echo/", b"21.5")).payload == b"21.5"
            assert (await device.post("echo", b"22", confirmable=False)).payload == b"22"
            assert (await device.request(Code.DELETE, "echo")).code == Code.METHOD_NOT_ALLOWED
        await device.close()  # a second time
        async with gateway.psk_device() as device:  # the goodbye of the first has been read before
            await device.get("device")
        closed = [line["reason"] for line in gateway.events("dtls.session_closed")]
        assert closed[0] == "close_notify"


async def test_a_slow_handler_is_waited_for(tmp_path: Path) -> None:
    app, entered, release = App(), asyncio.Event(), asyncio.Event()

    @app.get("/slow")
    async def slow(request: Request) -> Content:
        entered.set()
        await release.wait()
        return Content("done")

    async with running(tmp_path, app) as gateway, gateway.psk_device() as device:
        asking = asyncio.create_task(device.get("/slow"))
        await entered.wait()
        release.set()
        assert (await asking).payload == b"done"


async def test_several_requests_at_once_get_their_own_answers(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.psk_device() as device:
        answers = await asyncio.gather(*(device.post("/echo", b"%d" % number) for number in range(20)))
        assert [answer.payload for answer in answers] == [b"%d" % number for number in range(20)]


async def test_an_error_code_is_an_answer(tmp_path: Path) -> None:
    app = App()

    @app.get("/no")
    def no(request: Request) -> None:
        raise Reject(Code.FORBIDDEN, "not for you")

    async with running(tmp_path, app) as gateway, gateway.psk_device() as device:
        answer = await device.get("/no")
        assert (answer.code, answer.payload) == (Code.FORBIDDEN, b"not for you")


async def test_a_wrong_key_says_why(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        device = gateway.psk_device(bytes(16))
        with pytest.raises(DeviceError, match=r"^psk: peer_alert \(alert decrypt_error\)"):
            await device.connect()
        await device.close()


async def test_a_refused_certificate_says_why(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        with gateway.registry() as registry:
            registry.add_device("dev9")
            registry.set_status("dev9", DeviceStatus.DISABLED)
        with pytest.raises(DeviceError, match="access_denied"):
            await gateway.certificate_device("dev9").connect()


DEVICE_KEYS: dict[str, Callable[[], DeviceKey]] = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}


@pytest.mark.parametrize("kind", DEVICE_KEYS)
async def test_a_raw_public_key_is_all_that_a_device_needs(tmp_path: Path, kind: str) -> None:
    key = DEVICE_KEYS[kind]()
    async with running(tmp_path) as gateway:
        with gateway.registry() as registry:
            registry.add_rpk_device(
                "bare", key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            )
        device = SimulatedDevice(with_raw_key("a bare key", key), "127.0.0.1", gateway.port)
        for _ in range(2):  # the second time it resumes its session
            async with device:
                assert (await device.get("device")).payload == b"default/bare"
        full, resumed = gateway.events("dtls.handshake_completed")
        assert [line["auth"] for line in (full, resumed)] == ["rpk", "rpk"]
        assert [line["mode"] for line in (full, resumed)] == ["full", "resumed"]


async def test_a_raw_public_key_that_nobody_registered_says_why(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        device = SimulatedDevice(with_raw_key("a bare key", DEVICE_KEYS["P-256"]()), "127.0.0.1", gateway.port)
        with pytest.raises(DeviceError, match=r"^a bare key: peer_alert \(alert certificate_unknown\)"):
            await device.connect()
        [failed] = gateway.events("dtls.handshake_failed")
        assert failed["reason"] == "unknown_public_key"


async def test_nobody_listens() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        port = udp.getsockname()[1]
    with pytest.raises(DeviceError, match="Connection refused"):
        await SimulatedDevice(IDENTITY, "127.0.0.1", port).connect()


async def test_no_such_host() -> None:
    with pytest.raises(DeviceError, match=r"^no-such-host\.invalid:5684: "):
        await SimulatedDevice(IDENTITY, "no-such-host.invalid", 5684).connect()


async def test_a_request_without_a_session() -> None:
    device = SimulatedDevice(IDENTITY, "127.0.0.1", 5684)
    with pytest.raises(DeviceError, match="not connected"):
        await device.get("/device")
    await device.close()


async def test_the_gateway_stops_during_a_request(tmp_path: Path) -> None:
    app, entered = App(), asyncio.Event()

    @app.get("/never")
    async def never(request: Request) -> None:
        entered.set()
        await asyncio.Event().wait()

    async with running(tmp_path, app, server__shutdown_grace=0) as gateway:
        device = gateway.psk_device()
        await device.connect()
        asking = asyncio.create_task(device.get("/never"))
        await entered.wait()
    with pytest.raises(DeviceError, match=r"the gateway ended the session \(close_notify\)"):
        await asking
    with pytest.raises(DeviceError, match="not connected"):
        await device.get("/never")
    await device.close()


async def test_a_connection_that_is_given_up_leaves_nothing_behind(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        device = SimulatedDevice(IDENTITY, "127.0.0.1", silent.getsockname()[1])
        connecting = asyncio.create_task(device.connect())
        await asyncio.get_running_loop().run_in_executor(None, silent.recv, 65535)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
    loop = asyncio.get_running_loop()
    assert [handle for handle in loop._scheduled if not handle.cancelled()] == []  # type: ignore[attr-defined]


async def test_a_request_that_is_closed_under_its_feet(tmp_path: Path) -> None:
    app, entered = App(), asyncio.Event()

    @app.get("/never")
    async def never(request: Request) -> None:
        entered.set()
        await asyncio.Event().wait()

    async with running(tmp_path, app, server__shutdown_grace=0) as gateway:
        device = gateway.psk_device()
        await device.connect()
        asking = asyncio.create_task(device.get("/never"))
        await entered.wait()
        await device.close()
        with pytest.raises(DeviceError):
            async with asyncio.timeout(5.0):
                await asking
