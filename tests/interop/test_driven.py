"""Libraries that devices are built with, each around a small program that is told what to do (see `driven`)."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime

import pytest
from aiocoap import Code  # type: ignore[import-untyped]

from tests.interop.devices import Certified, Psk, new_device
from tests.interop.driven import Driven
from tests.interop.driven_peers import DRIVEN_PEERS, MBEDTLS, WOLFSSL, DrivenPeer, is_psk
from tests.interop.gateway_process import Gateway
from tests.interop.lossy import LosingPath
from tests.process_log import Line

pytestmark = pytest.mark.interop

PAYLOAD = bytes(range(256)) * 3


def device_for(gateway: Gateway, *, psk: bool) -> Psk | Certified:
    return Psk() if psk else new_device(gateway.site, "driven")


def handshakes(gateway: Gateway, seen: int) -> list[Line]:
    return gateway.log.lines("dtls.handshake_completed", after=seen)


def endings(gateway: Gateway, seen: int) -> list[str]:
    """Why the sessions ended, once the last of them has been closed by the client."""
    gateway.log.wait("dtls.session_closed", after=seen, reason="close_notify")
    return [line["reason"] for line in gateway.log.lines("dtls.session_closed", after=seen)]


def get_and_post(gateway: Gateway, client: Driven, stream: str) -> None:
    time = client.request(Code.GET, "/time")
    assert time.code is Code.CONTENT
    assert datetime.fromisoformat(time.payload.decode()).utcoffset() is not None
    posted = client.request(Code.POST, f"/telemetry/{stream}", b'{"celsius":21.5}')
    assert (posted.code, posted.payload) == (Code.CHANGED, b"")
    assert client.request(Code.PUT, "/echo", PAYLOAD).payload == PAYLOAD
    assert client.request(Code.GET, "/nowhere").code is Code.NOT_FOUND
    assert gateway.telemetry_event(stream)["payload"] == {"celsius": 21.5}


def named(peer: DrivenPeer, *words: str) -> str:
    return "-".join((peer.name.replace(" ", ""), *words))


@pytest.mark.peer("{peer.name}", "{suite}")
@pytest.mark.parametrize(
    ("peer", "suite"),
    [pytest.param(peer, suite, id=named(peer, suite)) for peer in DRIVEN_PEERS for suite in peer.shared()],
)
def test_suite(gateway: Gateway, peer: DrivenPeer, suite: str) -> None:
    device, seen = device_for(gateway, psk=is_psk(suite)), len(gateway.log)
    with peer.start(gateway.port, device, suite) as client:
        client.connect()
        get_and_post(gateway, client, named(peer, suite))
        assert client.finish() == 0
    assert endings(gateway, seen) == ["close_notify"]
    (line,) = handshakes(gateway, seen)
    name = device.identity if isinstance(device, Psk) else device.name
    assert (line["device"], line["suite"], line["retransmissions"]) == (name, suite, 0)


WAYS = [(peer, auth) for peer in DRIVEN_PEERS for auth in ("psk", "certificate") if peer.certificates or auth == "psk"]


ALL_WAYS = pytest.mark.parametrize(
    ("peer", "auth"), [pytest.param(peer, auth, id=named(peer, auth)) for peer, auth in WAYS]
)


@pytest.mark.parametrize(
    ("peer", "auth"), [pytest.param(peer, auth, id=named(peer, auth)) for peer, auth in WAYS if peer.all_suites]
)
def test_all_its_suites(gateway: Gateway, peer: DrivenPeer, auth: str) -> None:
    """What a device that nobody configured offers, of Mbed TLS more than a hundred: the gateway's order decides."""
    seen = len(gateway.log)
    with peer.start(gateway.port, device_for(gateway, psk=auth == "psk")) as client:
        client.connect()
        assert client.request(Code.GET, "/time").code is Code.CONTENT
        assert client.finish() == 0
    (line,) = handshakes(gateway, seen)
    assert line["suite"] == next(suite for suite in peer.shared() if is_psk(suite) == (auth == "psk"))


@pytest.mark.peer("{peer.name}", "reboot")
@ALL_WAYS
def test_reboot(gateway: Gateway, peer: DrivenPeer, auth: str) -> None:
    """A new handshake from the same port, without goodbye (RFC 6347 section 4.2.8)."""
    seen = len(gateway.log)
    suite = next(suite for suite in peer.shared() if is_psk(suite) == (auth == "psk"))
    with peer.start(gateway.port, device_for(gateway, psk=auth == "psk"), suite) as client:
        client.connect()
        assert client.request(Code.GET, "/time").code is Code.CONTENT
        client.again()
        assert client.request(Code.GET, "/time").code is Code.CONTENT
        assert client.finish() == 0
    assert endings(gateway, seen) == ["superseded", "close_notify"]
    first, second = handshakes(gateway, seen)
    assert first["peer"] == second["peer"]
    assert first["device"] == second["device"]
    assert second["retransmissions"] == 0


# They repeat their flights by timers of their own. Of the datagrams of a handshake each is lost once.
PATIENT = [(peer, auth) for peer, auth in WAYS if peer in (MBEDTLS, WOLFSSL)]
DATAGRAMS = {"psk": 6, "certificate": 7}
AT_ONCE = 8


def lose(gateway: Gateway, peer: DrivenPeer, auth: str, number: int) -> int:
    """A handshake without the datagram of this number, and a request; returns how many were lost."""
    suite = next(suite for suite in peer.shared() if is_psk(suite) == (auth == "psk"))
    device = Psk() if auth == "psk" else new_device(gateway.site, f"lost-{number}")
    with LosingPath(gateway.port, number) as path, peer.start(path.port, device, suite) as client:
        client.connect()
        assert client.request(Code.GET, "/time").code is Code.CONTENT
        assert client.finish() == 0
        return sum(flow.lost for flow in path.flows.values())


@pytest.fixture(scope="module")
def lossy_runs(gateway: Gateway) -> Iterator[dict[tuple[str, str], list[Future[int]]]]:
    """Begins them all together: each is mostly waiting for a timer of a second."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            (peer.name, auth): [pool.submit(lose, gateway, peer, auth, n + 1) for n in range(DATAGRAMS[auth])]
            for peer, auth in PATIENT
        }


@pytest.mark.peer("{peer.name}", "loss")
@pytest.mark.parametrize(("peer", "auth"), [pytest.param(peer, auth, id=named(peer, auth)) for peer, auth in PATIENT])
def test_each_datagram_lost_once(
    lossy_runs: dict[tuple[str, str], list[Future[int]]], peer: DrivenPeer, auth: str
) -> None:
    assert [run.result() for run in lossy_runs[peer.name, auth]] == [1] * DATAGRAMS[auth]
