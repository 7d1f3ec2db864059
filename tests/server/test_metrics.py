"""What a scrape gets: every name of the conventions whose subject exists, and labels out of closed sets."""

import ast
from enum import Enum
from pathlib import Path

import aiocoap  # type: ignore[import-untyped]
import pytest
from prometheus_client import Metric
from structlog.testing import capture_logs

import gateway
from gateway.config import load_settings
from gateway.dtls import AlertDescription, CipherSuite, ContentType, DropReason, FailureReason
from gateway.model import AuthKind
from gateway.server import Worker
from gateway.server.metrics import CLOSE_REASONS, SessionMetrics
from tests.dtls.rawclient import RawClient
from tests.server.support import Gateway, labels, prepare, running, wire_certificate

AUTH = {member.value for member in AuthKind}
# Name -> labels. CONVENTIONS section 4, without what is not there yet: connection ids, observation, blockwise transfer,
# reload, cluster.
EXPECTED = {
    "gateway_build_info": {"version", "python", "openssl"},
    "gateway_udp_datagrams": {"direction", "family"},
    "gateway_udp_bytes": {"direction", "family"},
    "gateway_udp_receive_drops": set(),
    "gateway_dtls_hello_verify": {"result"},
    "gateway_dtls_handshakes": {"auth", "mode", "result", "reason"},
    "gateway_dtls_handshake_duration_seconds": {"auth", "mode", "le"},
    "gateway_dtls_handshakes_in_progress": set(),
    "gateway_dtls_sessions": {"auth", "cid"},
    "gateway_dtls_handshake_retransmissions": {"side"},
    "gateway_dtls_records": {"direction", "content_type"},
    "gateway_dtls_records_dropped": {"reason"},
    "gateway_dtls_alerts": {"direction", "level", "description"},
    "gateway_dtls_sessions_closed": {"reason"},
    "gateway_dtls_cipher_suite_sessions": {"suite"},
    "gateway_coap_requests": {"method", "route", "type", "code"},
    "gateway_coap_request_duration_seconds": {"route", "method", "le"},
    "gateway_coap_duplicates": set(),
    "gateway_coap_malformed": set(),
    "gateway_coap_retransmissions": set(),
    "gateway_registry_lookups": {"kind", "result"},
    "gateway_registry_lookup_duration_seconds": {"backend", "le"},
    "gateway_sink_events": {"sink", "result"},
    "gateway_sink_queue_events": {"sink"},
    "gateway_certificate_expiry_timestamp_seconds": {"kind", "name"},
    "gateway_event_loop_lag_seconds": {"le"},
    "gateway_rate_limited": {"scope", "action"},
}

CLOSED = {
    "gateway_udp_datagrams": {"direction": {"received", "sent"}, "family": {"ipv4", "ipv6"}},
    "gateway_dtls_hello_verify": {"result": {"sent", "valid", "invalid"}},
    "gateway_dtls_handshakes": {
        "auth": AUTH,
        "mode": {"full", "resumed"},
        "result": {"success", "failure"},
        "reason": {member.value for member in FailureReason} | {"none"},
    },
    "gateway_dtls_sessions": {"auth": AUTH, "cid": {"yes", "no"}},
    "gateway_dtls_records": {
        "direction": {"received", "sent"},
        "content_type": {member.name.lower() for member in ContentType},
    },
    "gateway_dtls_records_dropped": {"reason": {member.value for member in DropReason}},
    "gateway_dtls_alerts": {
        "direction": {"received", "sent"},
        "level": {"warning", "fatal", "unknown"},
        "description": {member.name.lower() for member in AlertDescription} | {"unknown"},
    },
    "gateway_dtls_cipher_suite_sessions": {"suite": {member.name for member in CipherSuite}},
    "gateway_coap_requests": {
        "method": {"GET", "POST", "PUT", "DELETE", "FETCH", "PATCH", "IPATCH"},
        "route": {"/device", "/echo", "/telemetry", "/telemetry/{stream}", "none"},
        "type": {"con", "non"},
    },
    "gateway_registry_lookups": {"kind": {"psk", "x509"}, "result": {"hit", "miss", "negative", "error"}},
}


@pytest.mark.asyncio
async def test_after_a_bit_of_everything(tmp_path: Path) -> None:
    values = prepare(tmp_path) | {
        "handlers.enabled": ["telemetry"],
        "handlers.options": {"telemetry": {"path": str(tmp_path / "telemetry.jsonl")}},
    }
    with capture_logs():
        worker = Worker(load_settings(None, values, environ={}))
        async with worker as bound:
            gateway = Gateway(worker, bound, str(values["registry.url"]), [])
            async with gateway.wire() as device:
                await device.ask(device.request(aiocoap.POST, "/telemetry/t", b"{}"))
                await device.ask(device.request(aiocoap.GET, "/no/such/path"))
                await device.ask(device.request(aiocoap.POST, "/telemetry/t", b"{}", confirmable=False))
                device.send(device.client.data(b"\xff\xff"))
                device.send(b"garbage")
                device.send(device.client.data(b"forged")[:-1] + b"x")
                device.send(device.client.alert(1, 255, epoch=1))
                await device.ask(device.request(aiocoap.GET, "/telemetry"))
            stranger = gateway.wire(RawClient(identity=b"x"))
            await stranger.reach_server_done()
            for datagram in stranger.client.answer_flight():
                stranger.send(datagram)
            await stranger.alert()
            stranger.udp.close()
            async with gateway.wire(RawClient(suites=(0xC0AE,), device=wire_certificate("dev2"))):
                families = await gateway.scrape()
    missing = set(EXPECTED) - {family_name(family) for family in families.values()}
    assert missing == set()
    for family in families.values():
        name = family_name(family)
        if name in EXPECTED:
            assert set(labels(family)) == (EXPECTED[name] if family.samples else set()), name
        for label, closed in CLOSED.get(name, {}).items():
            assert labels(family)[label] <= closed, (name, label)
    # Also at rest each reason is there, so that an alert rule can count on it.
    assert labels(families["gateway_dtls_records_dropped"])["reason"] == {member.value for member in DropReason}
    for family in families.values():
        for sample in family.samples:
            for value in sample.labels.values():
                assert not any(secret in value for secret in ("127.0.0.1", "dev1", "dev2", "such", str(gateway.port)))


def family_name(family: Metric) -> str:
    return f"{family.name}_info" if family.type == "info" else family.name


@pytest.mark.asyncio
async def test_a_label_that_a_stranger_chooses_is_folded(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.wire() as device:
        for path in ("/a", "/b", "/c/d"):
            await device.ask(device.request(aiocoap.GET, path))
        for description in (200, 201, 202):
            device.send(device.client.alert(1, description, epoch=1))
        await device.ask(device.request(aiocoap.GET, "/a"))
        assert await gateway.samples("gateway_coap_requests_total") == {("4.04", "GET", "none", "con"): 4}
        alerts = await gateway.samples("gateway_dtls_alerts_total")
        assert alerts["unknown", "received", "warning"] == 3


@pytest.mark.asyncio
async def test_sessions_are_counted_in_and_out(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        one, two = gateway.wire(), gateway.wire()
        await one.connect()
        await two.connect()
        assert await gateway.samples("gateway_dtls_sessions") == {("psk", "no"): 2}
        assert await gateway.samples("gateway_dtls_handshakes_in_progress") == {}
        one.send(one.client.alert(1, 0, epoch=1))
        assert await one.alert() == (1, 0)
        assert await gateway.samples("gateway_dtls_sessions") == {("psk", "no"): 1}
        assert await gateway.samples("gateway_dtls_sessions_closed_total") == {("close_notify",): 1}
        one.udp.close()
        two.udp.close()


def test_every_end_of_an_association_has_a_label() -> None:
    """Read out of the source: the engine's reasons are words, and one without a label would be a fault of ours."""
    root = Path(gateway.__file__).parent
    words = {"local"}  # the default of ServerEndpoint.close
    for path in (*(root / "dtls").glob("*.py"), root / "server" / "udp.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call) and node.args]
        closing = [
            call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr in ("close", "end")
        ]
        last = [call.args[-1] for call in closing]
        words |= {argument.value for argument in last if isinstance(argument, ast.Constant)}  # type: ignore[misc]
    assert len(words) >= 9
    assert words <= set(CLOSE_REASONS)


def test_the_engine_only_knows_suites_that_have_a_label() -> None:
    metrics = SessionMetrics()
    for suite in CipherSuite:
        metrics.suites.add(suite.name)
    [family] = [family for family in metrics.families() if family.name == "gateway_dtls_cipher_suite_sessions"]
    assert labels(family)["suite"] == {suite.name for suite in CipherSuite}


def test_no_two_reasons_share_a_value() -> None:
    enums: list[type[Enum]] = [FailureReason, DropReason, AuthKind]
    for enum in enums:
        assert len(enum.__members__) == len({member.value for member in enum})
