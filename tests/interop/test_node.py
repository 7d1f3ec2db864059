"""node-dtls-client, the pure JavaScript client of home gateways: its ClientHello has no extensions at all."""

import json
from datetime import datetime
from pathlib import Path

import pytest
from aiocoap import Code  # type: ignore[import-untyped]

from gateway.dtls.crypto import DEFAULT_SUITES, SUITES
from tests.interop.driven import Driven
from tests.interop.gateway_process import IDENTITY, KEY, Gateway
from tests.interop.peers import FOLDER, missing, program

pytestmark = pytest.mark.interop

CLIENT = Path(__file__).parent / "clients/node_client.mjs"
PAYLOAD = bytes(range(256)) * 3

# What it can of what the gateway offers: pre-shared keys, no ephemeral key exchange, no ChaCha20.
ITS_SUITES = {
    "TLS_PSK_WITH_AES_128_CCM_8",
    "TLS_PSK_WITH_AES_256_CCM_8",
    "TLS_PSK_WITH_AES_128_CCM",
    "TLS_PSK_WITH_AES_256_CCM",
    "TLS_PSK_WITH_AES_128_GCM_SHA256",
    "TLS_PSK_WITH_AES_256_GCM_SHA384",
}
SHARED = [SUITES[number].name for number in DEFAULT_SUITES if SUITES[number].name in ITS_SUITES]


def node_client(port: int, suite: str | None = None) -> Driven:
    node = program("node")
    folder = FOLDER / "node"
    if not (folder / "node_modules/node-dtls-client").exists():
        missing("node-dtls-client is not installed; `make peers` installs it")
    wanted = {"port": port, "identity": IDENTITY, "key": KEY.hex(), "suite": suite}
    return Driven([node, str(CLIENT), str(folder), json.dumps(wanted)])


@pytest.mark.parametrize("suite", SHARED)
def test_suite(gateway: Gateway, suite: str) -> None:
    seen, stream = len(gateway.log), f"node-{suite}"
    with node_client(gateway.port, suite) as client:
        client.connect()
        time = client.request(Code.GET, "/time")
        assert time.code is Code.CONTENT
        assert datetime.fromisoformat(time.payload.decode()).utcoffset() is not None
        assert client.request(Code.POST, f"/telemetry/{stream}", b"21.5").code is Code.CHANGED
        assert client.request(Code.PUT, "/echo", PAYLOAD).payload == PAYLOAD
        assert client.finish() == 0
    gateway.log.wait("dtls.session_closed", after=seen, device=IDENTITY, reason="close_notify")
    (line,) = gateway.log.lines("dtls.handshake_completed", after=seen)
    assert (line["device"], line["suite"], line["retransmissions"]) == (IDENTITY, suite, 0)
    assert gateway.telemetry_event(stream)["payload"] == "21.5"


def test_all_its_suites(gateway: Gateway) -> None:
    """As home gateways offer them, the CBC ones too: the server's order decides."""
    seen = len(gateway.log)
    with node_client(gateway.port) as client:
        client.connect()
        assert client.request(Code.GET, "/time").code is Code.CONTENT
        assert client.finish() == 0
    (line,) = gateway.log.lines("dtls.handshake_completed", after=seen)
    assert line["suite"] == SHARED[0]


def test_reboot(gateway: Gateway) -> None:
    """A new handshake from the same port, without goodbye (RFC 6347 section 4.2.8)."""
    seen = len(gateway.log)
    with node_client(gateway.port) as client:
        client.connect()
        assert client.request(Code.GET, "/time").code is Code.CONTENT
        client.again()
        assert client.request(Code.GET, "/time").code is Code.CONTENT
        assert client.finish() == 0
    gateway.log.wait("dtls.session_closed", after=seen, reason="close_notify")
    ports = [line["peer"] for line in gateway.log.lines("dtls.handshake_completed", after=seen)]
    assert len(ports) == 2
    assert ports[0] == ports[1]
    ends = [line["reason"] for line in gateway.log.lines("dtls.session_closed", after=seen)]
    assert ends == ["superseded", "close_notify"]
