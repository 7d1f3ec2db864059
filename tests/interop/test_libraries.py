"""Client libraries: aiocoap over tinydtls, and Mbed TLS."""

from datetime import datetime

import pytest

from tests.interop.devices import new_device
from tests.interop.gateway_process import IDENTITY, KEY, Gateway
from tests.interop.jobs import Job, Request, run_job
from tests.interop.openssl import CERTIFICATE_SUITES, PSK_SUITES
from tests.interop.peers import library, mbedtls_library

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


SUITES = [*PSK_SUITES, *CERTIFICATE_SUITES]


def mbedtls_name(suite: str) -> str:
    return suite.replace("_", "-")


@pytest.mark.parametrize("suite", SUITES)
def test_mbedtls(gateway: Gateway, suite: str) -> None:
    mbedtls_library()
    seen, stream = len(gateway.log), f"mbedtls-{suite}"
    job: Job = {"port": gateway.port, "requests": requests(stream), "suites": [mbedtls_name(suite)]}
    name = equip(gateway, job, with_key=suite in PSK_SUITES)
    check(gateway, run_job("mbedtls_client", job), stream, name)
    assert handshake(gateway, seen) == (name, suite, 0)


@pytest.mark.parametrize("with_key", [True, False], ids=["psk", "certificate"])
def test_mbedtls_with_all_its_suites(gateway: Gateway, with_key: bool) -> None:
    """A ClientHello with more than a hundred suites, which a device that was not configured sends."""
    mbedtls_library()
    seen, stream = len(gateway.log), f"mbedtls-all-{with_key}"
    job: Job = {"port": gateway.port, "requests": requests(stream)}
    name = equip(gateway, job, with_key=with_key)
    check(gateway, run_job("mbedtls_client", job), stream, name)
    suite = "TLS_PSK_WITH_AES_128_CCM_8" if with_key else "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"
    assert handshake(gateway, seen) == (name, suite, 0)


def equip(gateway: Gateway, job: Job, *, with_key: bool) -> str:
    """Gives the client a key or a certificate; returns the device's name."""
    if with_key:
        job["identity"], job["key"] = IDENTITY, KEY.hex()
        return IDENTITY
    device = new_device(gateway.site, "mbedtls")
    job["chain"], job["private_key"], job["root"] = str(device.chain), str(device.key), str(device.root)
    return device.name
