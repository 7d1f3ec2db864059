"""What operators read: metrics that fit what clients did, in a form that Prometheus' own checker likes."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiocoap import Code  # type: ignore[import-untyped]
from cryptography.x509 import load_pem_x509_certificates

from tests.interop.devices import Psk, new_device
from tests.interop.gateway_process import IDENTITY, Gateway, Samples, build_site, total
from tests.interop.openssl import refused, s_client
from tests.interop.peers import program
from tests.interop.piped import Piped

pytestmark = pytest.mark.interop

PSK = "TLS_PSK_WITH_AES_128_CCM_8"
CERTIFICATE = "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway of its own: a PSK and a certificate session that ended, one refusal, and a PSK session that lasts."""
    program("openssl")
    with Gateway(build_site(tmp_path_factory.mktemp("metrics"))) as gateway:
        for device, suite in ((Psk(), PSK), (new_device(gateway.site, "metrics"), CERTIFICATE)):
            with Piped(s_client(gateway.port, device, suite)) as tool:
                assert tool.request(Code.GET, "/time").code is Code.CONTENT
                assert tool.request(Code.POST, "/telemetry/metrics", b"1").code is Code.CHANGED
                assert tool.finish() == 0
        gateway.log.wait("dtls.session_closed", device="metrics-0")
        assert refused(gateway.port, Psk("nobody"), PSK).alert is not None
        with Piped(s_client(gateway.port, Psk(), PSK)) as lasting:
            assert lasting.request(Code.GET, "/nowhere").code is Code.NOT_FOUND
            gateway.telemetry_event("metrics")
            yield gateway


@pytest.fixture(scope="module")
def samples(used: Gateway) -> Samples:
    return used.samples()


def test_handshakes(samples: Samples) -> None:
    name = "gateway_dtls_handshakes_total"
    assert total(samples, name) == 4
    assert total(samples, name, auth="psk", mode="full", result="success", reason="none") == 2
    assert total(samples, name, auth="x509", mode="full", result="success", reason="none") == 1
    assert total(samples, name, auth="psk", mode="full", result="failure", reason="unknown_identity") == 1
    assert total(samples, "gateway_dtls_handshake_duration_seconds_count", auth="psk") == 2
    assert total(samples, "gateway_dtls_handshake_duration_seconds_count", auth="x509") == 1
    assert total(samples, "gateway_dtls_cipher_suite_sessions_total", suite=PSK) == 2
    assert total(samples, "gateway_dtls_cipher_suite_sessions_total", suite=CERTIFICATE) == 1
    assert total(samples, "gateway_dtls_hello_verify_total", result="sent") == 4
    assert total(samples, "gateway_dtls_hello_verify_total", result="valid") == 4
    assert total(samples, "gateway_dtls_hello_verify_total", result="invalid") == 0


def test_sessions(samples: Samples) -> None:
    assert total(samples, "gateway_dtls_sessions") == 1
    assert total(samples, "gateway_dtls_sessions", auth="psk", cid="no") == 1
    assert total(samples, "gateway_dtls_sessions_closed_total") == 2
    assert total(samples, "gateway_dtls_sessions_closed_total", reason="close_notify") == 2
    assert total(samples, "gateway_dtls_handshakes_in_progress") == 0


def test_requests(samples: Samples) -> None:
    name = "gateway_coap_requests_total"
    assert total(samples, name) == 5
    assert total(samples, name, method="GET", route="/time", type="con", code="2.05") == 2
    assert total(samples, name, method="POST", route="/telemetry/{stream}", type="con", code="2.04") == 2
    assert total(samples, name, method="GET", route="none", type="con", code="4.04") == 1
    assert total(samples, "gateway_coap_request_duration_seconds_count") == 5
    for counter in ("duplicates", "malformed", "retransmissions"):
        assert total(samples, f"gateway_coap_{counter}_total") == 0


def test_alerts(samples: Samples) -> None:
    name = "gateway_dtls_alerts_total"
    assert total(samples, name, direction="received") == 2
    assert total(samples, name, direction="received", level="warning", description="close_notify") == 2
    assert total(samples, name, direction="sent", level="warning", description="close_notify") == 2
    assert total(samples, name, direction="sent", level="fatal", description="decrypt_error") == 1


def test_records(samples: Samples) -> None:
    name = "gateway_dtls_records_total"
    # A request and a ping each, five times; every one has an answer.
    for direction in ("received", "sent"):
        assert total(samples, name, direction=direction, content_type="application_data") == 10
    assert total(samples, name, direction="received", content_type="alert") == 2
    assert total(samples, name, direction="sent", content_type="alert") == 3
    # The refused client has sent its own; it never got ours.
    assert total(samples, name, direction="received", content_type="change_cipher_spec") == 4
    assert total(samples, name, direction="sent", content_type="change_cipher_spec") == 3
    assert total(samples, "gateway_dtls_records_dropped_total") == 0


def test_datagrams(samples: Samples) -> None:
    # Two hellos, a flight or more, two datagrams a request, close_notify.
    received = total(samples, "gateway_udp_datagrams_total", direction="received", family="ipv4")
    assert received >= 4 * 3 + 5 * 2 + 2
    assert total(samples, "gateway_udp_bytes_total", direction="received", family="ipv4") > received * 20
    assert total(samples, "gateway_udp_receive_drops_total") == 0


def test_registry_and_sink(samples: Samples) -> None:
    name = "gateway_registry_lookups_total"
    assert total(samples, name, kind="psk", result="hit") == 2
    assert total(samples, name, kind="psk", result="miss") == 1
    assert total(samples, name, kind="x509", result="hit") == 1
    assert total(samples, "gateway_sink_events_total", sink="telemetry", result="delivered") == 2
    assert total(samples, "gateway_sink_queue_events", sink="telemetry") == 0


def test_certificates(used: Gateway, samples: Samples) -> None:
    name = "gateway_certificate_expiry_timestamp_seconds"
    servers = {dict(labels)["name"]: value for (found, labels), value in samples.items() if found == name}
    assert servers["server"] == used.site.pki.server.certificate.not_valid_after_utc.timestamp()
    rsa = load_pem_x509_certificates((used.site.folder / "pki/rsa.pem").read_bytes())[0]
    assert servers["server_2"] == rsa.not_valid_after_utc.timestamp()
    assert total(samples, name, kind="ca") == used.site.pki.root.certificate.not_valid_after_utc.timestamp()


def test_no_label_names_a_device(samples: Samples) -> None:
    values = {value for _, labels in samples for _, value in labels}
    assert not {value for value in values if "metrics-0" in value or IDENTITY in value or "127.0.0.1" in value}


def test_promtool_has_no_complaint(used: Gateway) -> None:
    promtool = program("promtool")
    text = used.get("/metrics")
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_health(used: Gateway) -> None:
    assert used.get("/livez")
    assert used.get("/readyz")


def test_nothing_secret_is_logged(used: Gateway) -> None:
    text = Path(used.log.path).read_text()
    assert "secretPSKsecretP" not in text
    assert b"secretPSKsecretP".hex() not in text
