"""One line a handshake, and nothing secret in any line, metric or representation."""

import base64
import gc
import io
import json
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import aiocoap  # type: ignore[import-untyped]
import pytest
import structlog

from gateway.config import load_settings
from gateway.handlers import App, Changed, Request
from gateway.server import Worker
from gateway.telemetry import configure_logging
from tests.dtls.rawclient import RawClient, prf
from tests.server.support import PSK, PSK_IDENTITY, Gateway, pki, prepare, running, wire_certificate

pytestmark = pytest.mark.asyncio

PAYLOAD = b"payload-that-is-nobody's-business"
WRONG_PSK = b"a key that is wrong"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """The log as it is written, at the level that says the most."""
    root = logging.getLogger()
    handlers, level = root.handlers.copy(), root.level
    stream = io.StringIO()
    configure_logging("debug", "json", stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


async def test_one_line_a_handshake(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        async with gateway.wire():
            pass
        async with gateway.wire(RawClient(suites=(0xC0AE,), device=wire_certificate("dev2"))):
            pass
        stranger = gateway.wire(RawClient(identity=b"x"))
        await stranger.reach_server_done()
        for datagram in stranger.client.answer_flight():
            stranger.send(datagram)
        await stranger.alert()
        peer = ":".join(map(str, stranger.address))
        stranger.udp.close()
        lines = [line for line in gateway.lines if line["event"].startswith("dtls.handshake")]
        assert [(line["event"], line["auth"], line.get("reason")) for line in lines] == [
            ("dtls.handshake_completed", "psk", None),
            ("dtls.handshake_completed", "x509", None),
            ("dtls.handshake_failed", "psk", "unknown_identity"),
        ]
        assert lines[2]["peer"] == peer
        for line in lines:
            assert line["duration_ms"] >= 0
            assert line["retransmissions"] == 0
            assert line["suite"].startswith("TLS_")


def forms(secret: bytes) -> set[str]:
    """How bytes may look in a text."""
    return {
        secret.hex(),
        secret.hex().upper(),
        secret.hex(" "),
        base64.b64encode(secret).decode().rstrip("="),
        repr(secret)[2:-1],
        str(list(secret))[1:-1],
        secret.decode("latin-1"),
    }


def session_secrets(client: RawClient) -> list[bytes]:
    """Master secret, keys and implicit nonces of both directions (RFC 5246 section 6.3)."""
    assert client.server_hello is not None
    block = prf(client.master, b"key expansion", client.server_hello.random + client.random, 40)
    return [client.master, block[0:16], block[16:32], block[:40]]


def private_number() -> bytes:
    """What makes the gateway's private key private."""
    return pki().server.private_key.private_numbers().private_value.to_bytes(32, "big")


async def test_no_secret_and_no_payload_anywhere(tmp_path: Path, log: io.StringIO) -> None:
    app = App()

    @app.post("/store")
    def store(request: Request) -> Changed:
        return Changed(request.payload)

    @app.post("/late")
    async def late(request: Request) -> Changed:
        return Changed(request.payload)

    @app.post("/bug")
    def bug(request: Request) -> None:
        raise RuntimeError("something else")

    values = prepare(tmp_path)
    worker = Worker(load_settings(None, values, environ={}), app=app)
    secrets = [PSK, WRONG_PSK, PAYLOAD, private_number()]
    async with worker as bound:
        gateway = Gateway(worker, bound, str(values["registry.url"]), [])
        good = gateway.wire(RawClient(identity=PSK_IDENTITY, psk=PSK))
        certified = gateway.wire(RawClient(suites=(0xC02B,), device=wire_certificate("dev2")))
        for device in (good, certified):
            await device.connect()
            for path in ("/store", "/late", "/bug", "/nowhere"):
                await device.ask(device.request(aiocoap.POST, path, PAYLOAD))
            device.send(device.client.data(b"\x40\x02" + PAYLOAD))  # no CoAP message
            device.send(device.client.data(PAYLOAD)[:-1] + b"x")
            secrets += session_secrets(device.client)
        wrong = gateway.wire(RawClient(identity=PSK_IDENTITY, psk=WRONG_PSK))
        await wrong.reach_server_done()
        for datagram in wrong.client.answer_flight():
            wrong.send(datagram)
        await wrong.alert()
        half = gateway.wire(RawClient(identity=PSK_IDENTITY, psk=PSK, random=bytes(32)))
        await half.reach_server_done()
        half.send(half.client.client_key_exchange())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.connect(("127.0.0.1", gateway.port))
            stranger.send(PAYLOAD)
        status, metrics = await gateway.get("/metrics")
        assert status == 200
        secrets += [gateway.worker._endpoint.config.cookie_secret]
        shown = [*map(repr_of, ours()), metrics]
        assert len(shown) > 100
        for device in (good, certified, wrong, half):
            device.udp.close()
    text = log.getvalue()
    assert {json.loads(line)["event"] for line in text.splitlines()} >= {
        "dtls.handshake_completed",
        "dtls.handshake_failed",
        "handler.failed",
        "server.stopped",
    }
    for secret in secrets:
        for form in forms(secret):
            assert form not in text
            assert not any(form in item for item in shown), form


def ours() -> list[object]:
    """Every object of a class of ours that is alive: sessions, handshakes, settings, registry, whatever there is."""
    gc.collect()
    return [found for found in gc.get_objects() if str(type(found).__module__).partition(".")[0] == "gateway"]


def repr_of(found: object) -> str:
    return f"{found!r} {found}"


async def test_the_admin_port_tells_no_more_than_it_must(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        _, body = await gateway.get("/readyz")
        assert json.loads(body) == {"status": "ready", "failing": [], "checks": {"registry": "ok", "draining": "ok"}}
        status, _ = await gateway.get("/livez")
        assert status == 200
