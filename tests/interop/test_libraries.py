"""Clients of their own that carry CoAP themselves: aiocoap over tinydtls."""

from datetime import datetime

import pytest

from tests.interop.gateway_process import IDENTITY, KEY, Gateway
from tests.interop.jobs import Request, run_job
from tests.interop.peers import library

pytestmark = pytest.mark.interop

PAYLOAD = bytes(range(256)) * 2


def requests(stream: str) -> list[Request]:
    return [
        ("GET", "/time", ""),
        ("POST", f"/telemetry/{stream}", b"21.5".hex()),
        ("PUT", "/echo", PAYLOAD.hex()),
        ("GET", "/nowhere", ""),
    ]


def check(gateway: Gateway, responses: list[tuple[str, bytes]], stream: str, device: str) -> None:
    assert [code for code, _ in responses] == ["2.05", "2.04", "2.04", "4.04"]
    assert datetime.fromisoformat(responses[0][1].decode()).utcoffset() is not None
    assert responses[2][1] == PAYLOAD
    event = gateway.telemetry_event(stream)
    assert (event["device"], event["payload"]) == (device, "21.5")


def handshake(gateway: Gateway, seen: int) -> tuple[str, str, int]:
    """Device, suite and retransmissions of the one handshake that there was."""
    (line,) = gateway.log.lines("dtls.handshake_completed", after=seen)
    return line["device"], line["suite"], line["retransmissions"]


@pytest.mark.peer("tinydtls", "TLS_PSK_WITH_AES_128_CCM_8")
def test_aiocoap_over_tinydtls(gateway: Gateway) -> None:
    library("DTLSSocket")
    seen = len(gateway.log)
    responses = run_job(
        "aiocoap_client",
        {"port": gateway.port, "identity": IDENTITY, "key": KEY.hex(), "requests": requests("tinydtls")},
    )
    check(gateway, responses, "tinydtls", IDENTITY)
    assert handshake(gateway, seen) == (IDENTITY, "TLS_PSK_WITH_AES_128_CCM_8", 0)
    gateway.log.wait("dtls.session_closed", after=seen, device=IDENTITY, reason="close_notify")
