"""What driven clients negotiate: sizes, resumption, connection ids."""

import pytest
from aiocoap import Code  # type: ignore[import-untyped]

from tests.interop.devices import Certified, Psk, new_device
from tests.interop.driven_peers import MBEDTLS, WOLFSSL, DrivenPeer, is_psk
from tests.interop.gateway_process import Gateway, total
from tests.interop.lossy import WatchedPath

pytestmark = pytest.mark.interop

NEGOTIATORS = pytest.mark.parametrize("peer", [MBEDTLS, WOLFSSL], ids=lambda peer: peer.name.replace(" ", ""))
AUTHS = pytest.mark.parametrize("auth", ["psk", "certificate"])
EXPANSION = 8 + 16
"""The most that protection adds to a record of the suites that these clients are told to use."""


def first_suite(peer: DrivenPeer, auth: str) -> str:
    return next(suite for suite in peer.shared() if is_psk(suite) == (auth == "psk"))


def device_for(gateway: Gateway, auth: str) -> Psk | Certified:
    return Psk() if auth == "psk" else new_device(gateway.site, "negotiator")


@pytest.mark.peer("{peer.name}", "max_fragment_length")
@pytest.mark.parametrize(("code", "length"), [("1", 512), ("2", 1024), ("3", 2048), ("4", 4096)])
@AUTHS
@NEGOTIATORS
def test_max_fragment_length(gateway: Gateway, peer: DrivenPeer, auth: str, code: str, length: int) -> None:
    payload = bytes(400)
    device = device_for(gateway, auth)
    with (
        WatchedPath(gateway.port) as path,
        peer.start(path.port, device, first_suite(peer, auth), fragment=code) as client,
    ):
        client.connect()
        assert client.request(Code.PUT, "/echo", payload).payload == payload
        assert client.finish() == 0
    plain = [size for _, epoch, size in path.records if epoch == 0]
    sealed = [size for _, epoch, size in path.records if epoch == 1]
    assert max(plain) <= length
    assert len(payload) < max(sealed) <= length + EXPANSION


def test_what_the_server_sends_without_max_fragment_length(gateway: Gateway) -> None:
    """The check of the test above: this handshake has larger records if nobody forbids them."""
    with (
        WatchedPath(gateway.port) as path,
        MBEDTLS.start(path.port, device_for(gateway, "certificate"), first_suite(MBEDTLS, "certificate")) as client,
    ):
        client.connect()
        assert client.finish() == 0
    assert max(size for _, _, size in path.records) > 1024


RESUMPTION = [
    (MBEDTLS, "ticket", {}),
    (MBEDTLS, "session id", {"tickets": "no"}),
    (WOLFSSL, "ticket", {"tickets": "yes"}),
    (WOLFSSL, "session id", {}),
]


@pytest.mark.peer("{peer.name}", "{way}")
@AUTHS
@pytest.mark.parametrize(
    ("peer", "way", "options"),
    [pytest.param(*row, id=f"{row[0].name}-{row[1]}".replace(" ", "")) for row in RESUMPTION],
)
def test_resumption(gateway: Gateway, peer: DrivenPeer, way: str, options: dict[str, str], auth: str) -> None:
    device, seen = device_for(gateway, auth), len(gateway.log)
    with peer.start(gateway.port, device, first_suite(peer, auth), **options) as client:
        assert client.connect()["resumed"] == "no"
        assert client.request(Code.GET, "/time").code is Code.CONTENT
        for _ in range(2):  # what the resumed session gave is good as well
            assert client.resume()["resumed"] == "yes"
            assert client.request(Code.GET, "/time").code is Code.CONTENT
        assert client.finish() == 0
    done = gateway.log.wait_for_all("dtls.handshake_completed", 3, after=seen)
    name = device.identity if isinstance(device, Psk) else device.name
    assert [(line["device"], line["mode"]) for line in done] == [(name, "full"), (name, "resumed"), (name, "resumed")]


@pytest.mark.peer("Mbed TLS 3", "connection id")
@pytest.mark.parametrize("own", ["", "01", "0102030405060708"], ids=["empty", "1", "8"])
@AUTHS
def test_connection_id(gateway: Gateway, auth: str, own: str) -> None:
    """A session goes on from other ports, whatever id the client wants to receive itself (RFC 9146)."""
    seen, before = len(gateway.log), gateway.samples()
    with MBEDTLS.start(gateway.port, device_for(gateway, auth), first_suite(MBEDTLS, auth), cid=own) as client:
        assert len(bytes.fromhex(client.connect()["cid"])) == 8
        assert client.request(Code.GET, "/time").code is Code.CONTENT
        for _ in range(3):
            client.move()
            assert client.request(Code.PUT, "/echo", b"moved").payload == b"moved"
        assert client.finish() == 0
    gateway.log.wait("dtls.session_closed", after=seen, reason="close_notify")
    assert len(gateway.log.lines("dtls.handshake_completed", after=seen)) == 1
    name = "gateway_dtls_address_changes_total"
    assert total(gateway.samples(), name) == total(before, name) + 3


@pytest.mark.peer("Mbed TLS 3", "connection id")
def test_reboot_with_connection_ids(gateway: Gateway) -> None:
    seen = len(gateway.log)
    with MBEDTLS.start(gateway.port, Psk(), first_suite(MBEDTLS, "psk"), cid="0a0b") as client:
        first = client.connect()["cid"]
        second = client.again()["cid"]
        assert first != second
        client.move()
        assert client.request(Code.GET, "/time").code is Code.CONTENT
        assert client.finish() == 0
    gateway.log.wait("dtls.session_closed", after=seen, reason="close_notify")
    assert len(gateway.log.lines("dtls.handshake_completed", after=seen)) == 2
