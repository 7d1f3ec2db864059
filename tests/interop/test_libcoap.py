"""libcoap's `coap-client`, on OpenSSL and on GnuTLS, with a key and with the certificate of an unregistered device."""

from datetime import datetime
from pathlib import Path

import pytest

from tests.interop.devices import Certified, Psk, new_device
from tests.interop.gateway_process import Gateway
from tests.interop.libcoap import FLAVOURS, coap_client
from tests.interop.peers import program

pytestmark = [pytest.mark.interop, pytest.mark.parametrize("flavour", FLAVOURS)]

AUTHS = ("psk", "certificate")


def device_for(gateway: Gateway, flavour: str, auth: str, purpose: str) -> Psk | Certified:
    program(f"coap-client-{flavour}")
    return Psk() if auth == "psk" else new_device(gateway.site, f"{flavour}-{purpose}")


def name_of(device: Psk | Certified) -> str:
    return device.identity if isinstance(device, Psk) else device.name


@pytest.mark.peer("libcoap-{flavour}", "{auth}")
@pytest.mark.parametrize("auth", AUTHS)
def test_get(gateway: Gateway, flavour: str, auth: str, tmp_path: Path) -> None:
    device, seen = device_for(gateway, flavour, auth, "get"), len(gateway.log)
    answer = coap_client(flavour, gateway.port, device, "get", "/time", folder=tmp_path)
    assert answer.code == "2.05", answer.transcript
    # Whole seconds, UTC: an instant that parses, not compared with this clock.
    assert datetime.fromisoformat(answer.payload.decode()).utcoffset() is not None
    done = gateway.log.lines("dtls.handshake_completed", after=seen)
    assert [(line["device"], line["retransmissions"]) for line in done] == [(name_of(device), 0)]


@pytest.mark.parametrize("auth", AUTHS)
def test_post_telemetry(gateway: Gateway, flavour: str, auth: str, tmp_path: Path) -> None:
    device = device_for(gateway, flavour, auth, "telemetry")
    stream = f"{flavour}-{auth}"
    answer = coap_client(flavour, gateway.port, device, "post", f"/telemetry/{stream}", "21.5", folder=tmp_path)
    assert answer.code == "2.04", answer.transcript
    event = gateway.telemetry_event(stream)
    assert event["device"] == name_of(device)
    assert event["payload"] == "21.5"


@pytest.mark.parametrize("method", ["post", "put"])
@pytest.mark.parametrize("auth", AUTHS)
def test_echo(gateway: Gateway, flavour: str, auth: str, method: str, tmp_path: Path) -> None:
    device = device_for(gateway, flavour, auth, f"echo-{method}")
    sent = "".join(chr(33 + index % 90) for index in range(700)).replace("%", "_")
    answer = coap_client(flavour, gateway.port, device, method, "/echo", sent, folder=tmp_path)
    assert answer.code == "2.04", answer.transcript
    assert answer.payload == sent.encode()


def test_a_device_that_nobody_registered_is_created_by_its_handshake(
    gateway: Gateway, flavour: str, tmp_path: Path
) -> None:
    device, seen = device_for(gateway, flavour, "certificate", "zero-touch"), len(gateway.log)
    name = name_of(device)
    for run in ("first", "second"):
        before, folder = len(gateway.log), tmp_path / run
        folder.mkdir()
        answer = coap_client(flavour, gateway.port, device, "get", "/time", folder=folder)
        assert answer.code == "2.05", answer.transcript
        gateway.log.wait("dtls.session_closed", after=before, device=name)
    events = [line["event"] for line in gateway.log.lines(after=seen) if line.get("device") == name]
    once = ["dtls.handshake_completed", "dtls.session_closed"]
    assert events == ["registry.device_created", *once, *once]


def test_a_path_that_is_not_there(gateway: Gateway, flavour: str, tmp_path: Path) -> None:
    device = device_for(gateway, flavour, "psk", "missing")
    answer = coap_client(flavour, gateway.port, device, "get", "/nowhere", folder=tmp_path)
    assert answer.code == "4.04", answer.transcript


def test_non_confirmable(gateway: Gateway, flavour: str, tmp_path: Path) -> None:
    device = device_for(gateway, flavour, "psk", "non")
    answer = coap_client(flavour, gateway.port, device, "post", "/echo", "non", options=("-N",), folder=tmp_path)
    assert (answer.code, answer.payload) == ("2.04", b"non"), answer.transcript


def test_several_requests_in_a_session(gateway: Gateway, flavour: str, tmp_path: Path) -> None:
    device, seen = device_for(gateway, flavour, "psk", "several"), len(gateway.log)
    answer = coap_client(flavour, gateway.port, device, "post", "/echo", "x", options=("-G", "2"), folder=tmp_path)
    assert answer.transcript.count("t:ACK c:2.04") == 2, answer.transcript
    assert len(gateway.log.lines("dtls.handshake_completed", after=seen)) == 1
