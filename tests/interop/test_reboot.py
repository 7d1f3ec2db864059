"""Programs that are killed and come back from the same address and port (RFC 6347 section 4.2.8).

The old session serves until the new handshake is done, and is then gone. (For libraries, `test_driven` has the same.)
"""

import socket
import subprocess
import time
from pathlib import Path

import pytest
from aiocoap import Code  # type: ignore[import-untyped]

from tests.interop.devices import Certified, Psk, new_device
from tests.interop.gateway_process import Gateway, total
from tests.interop.libcoap import FLAVOURS, coap_client, coap_client_command
from tests.interop.openssl import s_client
from tests.interop.piped import Piped

pytestmark = [pytest.mark.interop, pytest.mark.parametrize("auth", ["psk", "certificate"])]


def device_for(gateway: Gateway, auth: str) -> Psk | Certified:
    return Psk() if auth == "psk" else new_device(gateway.site, "reboot")


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def check(gateway: Gateway, seen: int, port: int) -> None:
    gateway.log.wait("dtls.session_closed", after=seen, reason="close_notify")
    done = gateway.log.lines("dtls.handshake_completed", after=seen)
    assert [line["peer"] for line in done] == [f"127.0.0.1:{port}"] * 2
    assert done[0]["device"] == done[1]["device"]
    closed = gateway.log.lines("dtls.session_closed", after=seen)
    assert [line["reason"] for line in closed] == ["superseded", "close_notify"]


REQUESTS = "gateway_coap_requests_total"


@pytest.mark.peer("libcoap-{flavour}", "reboot")
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_libcoap(gateway: Gateway, flavour: str, auth: str, tmp_path: Path) -> None:
    device, seen, port = device_for(gateway, auth), len(gateway.log), free_port()
    # It has more to say, a second later each time: it lives until it is killed.
    words = ("-p", str(port), "-a", "127.0.0.1", "-m", "get", "-G", "60")
    before = total(gateway.samples(), REQUESTS)
    with subprocess.Popen(
        coap_client_command(flavour, gateway.port, device, *words, path="/time"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as running:
        try:
            gateway.log.wait("dtls.handshake_completed", after=seen)
            # The line is written before the last flight goes out. On a busy machine that one would reach the next
            # client at this port, right after its start, and OpenSSL would take it for the new handshake's.
            deadline = time.monotonic() + 20.0
            while total(gateway.samples(), REQUESTS) == before:
                assert time.monotonic() < deadline, "the first client was never answered"
                time.sleep(0.05)
        finally:
            running.kill()
    answer = coap_client(flavour, gateway.port, device, "get", "/time", options=("-p", str(port)), folder=tmp_path)
    assert answer.code == "2.05", answer.transcript
    check(gateway, seen, port)


@pytest.mark.peer("OpenSSL", "reboot")
def test_openssl(gateway: Gateway, auth: str) -> None:
    device, seen, port = device_for(gateway, auth), len(gateway.log), free_port()
    suite = "TLS_PSK_WITH_AES_128_CCM_8" if auth == "psk" else "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"
    command = s_client(gateway.port, device, suite, "-bind", f"127.0.0.1:{port}")
    with Piped(command) as killed:
        assert killed.request(Code.GET, "/time").code is Code.CONTENT
        killed.kill()
    with Piped(command) as back:
        assert back.request(Code.GET, "/time").code is Code.CONTENT
        assert back.finish() == 0
    check(gateway, seen, port)
