"""Sessions taken up again by foreign stacks, by ticket and by session id; and the key log, compared with theirs."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiocoap import Code  # type: ignore[import-untyped]

from gateway.model import DeviceStatus
from gateway.registry import open_registry
from gateway.registry.limits import CACHE_CHECK_S
from tests.interop import gnutls, openssl
from tests.interop.devices import Certified, Psk, new_device
from tests.interop.gateway_process import Gateway, build_site, total
from tests.interop.piped import Piped
from tests.process_log import Line

pytestmark = pytest.mark.interop

SUITES = pytest.mark.parametrize("suite", ["TLS_PSK_WITH_AES_128_CCM_8", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"])
WAYS = pytest.mark.parametrize("ways", [(), ("-no_ticket",)], ids=["ticket", "session id"])


def session(gateway: Gateway, device: Psk | Certified, suite: str, *options: str) -> list[Line]:
    """One request of `openssl s_client`; the gateway's lines of its handshakes."""
    seen = len(gateway.log)
    with Piped(openssl.s_client(gateway.port, device, suite, *options)) as tool:
        assert tool.request(Code.GET, "/time").code is Code.CONTENT
        assert tool.finish() == 0
    gateway.log.wait("dtls.session_closed", after=seen, reason="close_notify")
    return gateway.log.lines("dtls.handshake_completed", after=seen)


@pytest.mark.peer("OpenSSL", "ticket")
@pytest.mark.peer("OpenSSL", "session id")
@SUITES
@WAYS
def test_openssl_resumes(gateway: Gateway, suite: str, ways: tuple[str, ...], tmp_path: Path) -> None:
    device = Psk() if suite in openssl.PSK_SUITES else new_device(gateway.site, f"resuming-{len(ways)}")
    name = device.identity if isinstance(device, Psk) else device.name
    kept = str(tmp_path / "session.pem")
    lines = session(gateway, device, suite, *ways, "-sess_out", kept)
    assert [line["mode"] for line in lines] == ["full"]
    for _ in range(2):
        lines = session(gateway, device, suite, *ways, "-sess_in", kept)
        assert [(line["mode"], line["device"], line["suite"]) for line in lines] == [("resumed", name, suite)]
        assert lines[0]["retransmissions"] == 0
    text = subprocess.run(
        ["openssl", "sess_id", "-in", kept, "-noout", "-text"], capture_output=True, check=True
    ).stdout.decode()
    assert ("TLS session ticket:" in text) is (not ways)
    assert "Extended master secret: yes" in text


@pytest.mark.parametrize("option", [(), ("-no_ticket",)], ids=["ticket", "session id"])
def test_openssl_says_reused(gateway: Gateway, option: tuple[str, ...], tmp_path: Path) -> None:
    kept, suite = str(tmp_path / "session.pem"), "TLS_PSK_WITH_AES_128_CCM_8"
    words = [word for word in openssl.s_client(gateway.port, Psk(), suite, *option) if word != "-brief"]
    said = []
    for extra in (["-sess_out", kept], ["-sess_in", kept]):
        # Its input ends a second after the beginning, when the handshake is over.
        done = subprocess.run(
            ["sh", "-c", '(sleep 1) | "$@"', "sh", *words, *extra], capture_output=True, timeout=60, check=False
        )
        said.append(done.stdout.decode(errors="replace"))
    assert "New, TLSv1.2" in said[0]
    assert "Reused, TLSv1.2" in said[1]


@pytest.mark.peer("GnuTLS", "ticket")
@SUITES
def test_gnutls_resumes(gateway: Gateway, suite: str, tmp_path: Path) -> None:
    device = Psk() if suite in openssl.PSK_SUITES else new_device(gateway.site, "gnutls-resuming")
    seen, log = len(gateway.log), tmp_path / "log"
    # -r: a handshake, a goodbye, and another handshake with what was kept.
    with Piped(gnutls.gnutls_cli(gateway.port, device, suite, log, "-r")) as tool:
        assert tool.request(Code.GET, "/time").code is Code.CONTENT
        assert tool.finish() == 0
    assert "This is a resumed session" in log.read_text()
    gateway.log.wait("dtls.session_closed", after=seen)
    assert [line["mode"] for line in gateway.log.lines("dtls.handshake_completed", after=seen)] == ["full", "resumed"]


def test_device_that_is_disabled_resumes_nothing(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    suite, kept = "TLS_PSK_WITH_AES_128_CCM_8", str(tmp_path / "session.pem")
    with Gateway(site) as gateway:
        session(gateway, Psk(), suite, "-sess_out", kept)
        with open_registry(f"sqlite:///{site.folder}/registry.db") as registry:
            registry.set_status("dev1", DeviceStatus.DISABLED)
        time.sleep(2 * CACHE_CHECK_S)  # until the gateway has looked
        refused = openssl.refused(gateway.port, Psk(), suite, "-sess_in", kept)
        assert refused.alert == 51
        failed = gateway.log.wait("dtls.handshake_failed")
        assert (failed["reason"], failed["mode"]) == ("device_disabled", "full")
        assert total(gateway.samples(), "gateway_dtls_resumptions_total", result="refused") == 1


@pytest.fixture(scope="module")
def sparing_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(build_site(tmp_path_factory.mktemp("sparing"), {"dtls.resume_without_cookie": True})) as running:
        yield running


@SUITES
def test_openssl_resumes_without_a_cookie(sparing_gateway: Gateway, suite: str, tmp_path: Path) -> None:
    gateway, kept = sparing_gateway, str(tmp_path / "session.pem")
    device = Psk() if suite in openssl.PSK_SUITES else new_device(gateway.site, "spared")
    asked = total(gateway.samples(), "gateway_dtls_hello_verify_total", result="sent")
    session(gateway, device, suite, "-sess_out", kept)
    for _ in range(2):
        lines = session(gateway, device, suite, "-sess_in", kept)
        assert [line["mode"] for line in lines] == ["resumed"]
    assert total(gateway.samples(), "gateway_dtls_hello_verify_total", result="sent") == asked + 1


@SUITES
def test_gnutls_resumes_without_a_cookie(sparing_gateway: Gateway, suite: str, tmp_path: Path) -> None:
    gateway, log, seen = sparing_gateway, tmp_path / "log", len(sparing_gateway.log)
    device = Psk() if suite in openssl.PSK_SUITES else new_device(gateway.site, "spared-gnutls")
    asked = total(gateway.samples(), "gateway_dtls_hello_verify_total", result="sent")
    with Piped(gnutls.gnutls_cli(gateway.port, device, suite, log, "-r")) as tool:
        assert tool.request(Code.GET, "/time").code is Code.CONTENT
        assert tool.finish() == 0
    gateway.log.wait("dtls.session_closed", after=seen)
    assert [line["mode"] for line in gateway.log.lines("dtls.handshake_completed", after=seen)] == ["full", "resumed"]
    assert total(gateway.samples(), "gateway_dtls_hello_verify_total", result="sent") == asked + 1


@pytest.fixture
def logging_gateway(tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(build_site(tmp_path, {"dtls.key_log": "keys.log"})) as running:
        yield running


@SUITES
def test_key_log_is_what_openssl_logs(logging_gateway: Gateway, suite: str, tmp_path: Path) -> None:
    gateway, kept, theirs = logging_gateway, str(tmp_path / "session.pem"), tmp_path / "theirs.log"
    device = Psk() if suite in openssl.PSK_SUITES else new_device(gateway.site, "logged")
    session(gateway, device, suite, "-sess_out", kept, "-keylogfile", str(theirs))
    session(gateway, device, suite, "-sess_in", kept, "-keylogfile", str(theirs))
    ours = gateway.site.folder / "keys.log"
    assert ours.stat().st_mode & 0o777 == 0o600
    lines = [line for line in theirs.read_text().splitlines() if not line.startswith("#")]
    assert len(lines) == 2
    assert ours.read_text().lower().splitlines() == [line.lower() for line in lines]
    gateway.log.wait("dtls.key_log_enabled", level="warning")


def test_tickets_outlive_the_process_with_a_file_of_keys(tmp_path: Path) -> None:
    site = build_site(tmp_path, {"dtls.ticket_keys": "ticket.keys"})
    keys = tmp_path / "ticket.keys"
    keys.touch(0o600)
    keys.write_text("0123456789abcdef" * 4 + "\n")
    suite, kept = "TLS_PSK_WITH_AES_128_CCM_8", str(tmp_path / "session.pem")
    with Gateway(site) as gateway:
        session(gateway, Psk(), suite, "-sess_out", kept)
    with Gateway(site) as gateway:
        lines = session(gateway, Psk(), suite, "-sess_in", kept)
        assert [line["mode"] for line in lines] == ["resumed"]
        assert total(gateway.samples(), "gateway_dtls_handshakes_total", mode="resumed", result="success") == 1


def test_tickets_end_with_the_process_without_one(tmp_path: Path) -> None:
    suite, kept = "TLS_PSK_WITH_AES_128_CCM_8", str(tmp_path / "session.pem")
    site = build_site(tmp_path)
    with Gateway(site) as gateway:
        session(gateway, Psk(), suite, "-sess_out", kept)
    with Gateway(site) as gateway:
        lines = session(gateway, Psk(), suite, "-sess_in", kept)
        assert [line["mode"] for line in lines] == ["full"]
