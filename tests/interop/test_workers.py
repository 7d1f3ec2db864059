"""Foreign clients of a gateway with two workers: whichever of the two they come to, it serves them."""

import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiocoap import Code  # type: ignore[import-untyped]

from tests.interop.devices import Psk, new_device
from tests.interop.driven_peers import MBEDTLS, is_psk
from tests.interop.gateway_process import Gateway, build_site, total
from tests.interop.libcoap import coap_client
from tests.interop.openssl import s_client
from tests.interop.peers import program
from tests.interop.piped import Piped

pytestmark = pytest.mark.interop

MANY = 12
"""Clients of a kind: the hash of their addresses leaves a worker without one once in two thousand; one more comes."""
MOST = 40


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(build_site(tmp_path_factory.mktemp("two"), {"server.workers": 2})) as gateway:
        yield gateway


def handshakes(gateway: Gateway, seen: int) -> Counter[int]:
    """How many there were in each worker."""
    return Counter(line["worker"] for line in gateway.log.lines("dtls.handshake_completed", after=seen))


def enough(gateway: Gateway, seen: int, number: int) -> bool:
    assert number < MOST
    return number >= MANY and set(handshakes(gateway, seen)) == {0, 1}


@pytest.mark.parametrize("auth", ["psk", "certificate"])
def test_coap_client(two: Gateway, auth: str, tmp_path: Path) -> None:
    program("coap-client-openssl")
    device = Psk() if auth == "psk" else new_device(two.site, "two-workers")
    seen, number = len(two.log), 0
    while not enough(two, seen, number):
        number += 1
        folder = tmp_path / str(number)
        folder.mkdir()
        answer = coap_client("openssl", two.port, device, "put", "/echo", f"payload {number}", folder=folder)
        assert (answer.code, answer.payload) == ("2.04", b"payload %d" % number), answer.transcript
    assert handshakes(two, seen).total() == number


def test_s_client(two: Gateway) -> None:
    seen, number = len(two.log), 0
    while not enough(two, seen, number):
        number += 1
        with Piped(s_client(two.port, Psk(), "TLS_PSK_WITH_AES_128_CCM_8")) as client:
            assert client.request(Code.PUT, "/echo", b"%d" % number).payload == b"%d" % number
    assert handshakes(two, seen).total() == number
    samples = two.samples()
    for worker in ("0", "1"):
        assert total(samples, "gateway_dtls_handshakes_total", worker=worker, result="success") > 0


def test_a_session_of_mbed_tls_goes_on_in_its_worker_from_every_port(two: Gateway) -> None:
    """Eight new ports, of which half would lead to the other worker."""
    seen, before = len(two.log), two.samples()
    suite = next(suite for suite in MBEDTLS.shared() if is_psk(suite))
    with MBEDTLS.start(two.port, Psk(), suite, cid="") as client:
        cid = bytes.fromhex(client.connect()["cid"])
        for number in range(8):
            client.move()
            assert client.request(Code.PUT, "/echo", b"%d" % number).payload == b"%d" % number
        assert client.finish() == 0
    (line,) = two.log.lines("dtls.handshake_completed", after=seen)
    assert cid[:2] == bytes((0, line["worker"]))
    two.log.wait("dtls.session_closed", after=seen, reason="close_notify", worker=line["worker"])
    name, worker = "gateway_dtls_address_changes_total", str(line["worker"])
    assert total(two.samples(), name, worker=worker) == total(before, name, worker=worker) + 8


def test_promtool_has_no_complaint_about_the_metrics_of_all(two: Gateway) -> None:
    promtool = program("promtool")
    text = two.get("/metrics")
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_no_secret_is_in_arguments_environment_or_log(two: Gateway) -> None:
    """Those for cookies and tickets go over the channel."""
    names = ["cookies", "tickets", "secretPSKsecretP", b"secretPSKsecretP".hex()]
    pids = [line["pid"] for line in two.log.lines("worker.started")]
    texts = [Path(f"/proc/{pid}/{what}").read_text() for pid in pids for what in ("cmdline", "environ")]
    assert all("gateway.cli.worker" in text for text in texts[::2])
    assert [name for text in [*texts, two.log.path.read_text()] for name in names if name in text] == []
