"""The admin port of several workers: one answer out of theirs."""

import asyncio
import json
import signal
from collections import Counter
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from gateway.admin import add_token
from gateway.simulator import DeviceError
from gateway.telemetry.limits import EVENT_BURST
from tests.server.several import Several, becomes
from tests.server.support import PATIENCE_S

pytestmark = pytest.mark.asyncio

MANY = 24
ONCE = {
    "gateway_build_info",
    "gateway_certificate_expiry_timestamp_seconds",
    "gateway_crl_refreshes",
    "gateway_fleet_devices",
    "gateway_hub_devices",
    "gateway_hub_messages_lost",
}
"""Families that say something of the whole gateway."""


async def test_metrics_are_those_of_all_with_their_numbers(tmp_path: Path) -> None:
    with Several(tmp_path) as gateway:
        async with gateway.devices(MANY) as devices:
            homes = {worker: len(found) for worker, found in (await gateway.by_worker(devices)).items()}
            assert set(homes) == {0, 1}
            _, text = await gateway.get("/metrics")
        families = list(text_string_to_metric_families(text))
        names = [family.name for family in families]
        assert len(names) == len(set(names))
        samples = [(sample.name, *sorted(sample.labels.items())) for family in families for sample in family.samples]
        assert len(samples) == len(set(samples))
        requests: Counter[str] = Counter()
        for family in families:
            workers = {sample.labels.get("worker") for sample in family.samples}
            if family.name in ONCE:
                assert workers == {None}, family.name
            elif family.name.startswith("process_"):
                assert workers == {"0", "1", "supervisor"}
            elif family.samples and family.name != "gateway_metric_source_errors":
                assert workers == {"0", "1"}, family.name
            for sample in family.samples:
                if sample.name == "gateway_coap_requests_total":
                    requests[sample.labels["worker"]] += int(sample.value)
        assert requests == {str(worker): count for worker, count in homes.items()}
        assert {"gateway_worker_up", "gateway_worker_restarts", *ONCE} <= set(names)
        # What a scraper gets that asks for OpenMetrics; its parser is strict.
        open_text = await asyncio.to_thread(scrape_openmetrics, gateway)
        found = {family.name: family for family in parse_openmetrics(open_text)}  # type: ignore[no-untyped-call]
        assert found["gateway_build"].type == "info"
        assert len(found["gateway_dtls_handshake_duration_seconds"].samples) > 2 * 13


def scrape_openmetrics(gateway: Several) -> str:
    connection = HTTPConnection(gateway.admin.host, gateway.admin.port, timeout=PATIENCE_S)
    connection.request("GET", "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    response = connection.getresponse()
    assert response.headers["Content-Type"].startswith("application/openmetrics-text")
    text = response.read().decode()
    connection.close()
    return text


async def test_a_worker_that_hangs_is_seen(tmp_path: Path) -> None:
    with Several(tmp_path) as gateway:
        gateway.kill(1, signal.SIGSTOP)
        try:
            status, body = await gateway.json("/readyz")
            assert (status, body["failing"]) == (503, ["workers"])
            assert body["checks"]["workers"] == "worker 1 does not answer"
            status, body = await gateway.json("/livez")
            assert (status, body["status"]) == (503, "stuck")
            assert (body["workers"]["0"]["status"], body["workers"]["1"]["status"]) == ("alive", "no answer")
            assert await gateway.samples("gateway_worker_up") == {("0",): 1}
            assert {labels[-1] for labels in await gateway.samples("process_start_time_seconds")} == {"0", "supervisor"}
        finally:
            gateway.kill(1, signal.SIGCONT)
        await becomes(lambda: ready(gateway))


async def ready(gateway: Several) -> bool:
    status, body = await gateway.json("/readyz")
    assert status != 200 or body == {
        "status": "ready",
        "failing": [],
        "checks": {"registry": "ok", "draining": "ok", "workers": "ok"},
    }
    return status == 200


async def test_a_registry_that_cannot_be_read_is_named_by_worker(tmp_path: Path) -> None:
    with Several(tmp_path) as gateway:
        (tmp_path / "registry.db").write_bytes(b"x" * 8192)
        await becomes(lambda: names_both(gateway))


async def names_both(gateway: Several) -> bool:
    status, body = await gateway.json("/readyz")
    text = body["checks"]["registry"]
    return status == 503 and body["failing"] == ["registry"] and "worker 0: " in text and "; worker 1: " in text


async def test_failures_of_all_come_newest_first(tmp_path: Path) -> None:
    with Several(tmp_path) as gateway:
        with gateway.registry() as registry:
            registry.delete_device("dev1")
        failures: list[dict[str, object]] = []
        while {failure["worker"] for failure in failures} != {0, 1}:
            with pytest.raises(DeviceError, match="alert"):
                await gateway.device().connect()
            _, body = await gateway.json("/debug/failures")
            failures = body["failures"]
        times = [str(failure["last_at"]) for failure in failures]
        assert times == sorted(times, reverse=True)
        assert {failure["reason"] for failure in failures} == {"unknown_identity"}


async def test_requests_to_devices_are_passed_on(tmp_path: Path) -> None:
    with Several(tmp_path, admin__device_requests=True) as gateway:

        def ask(method: str, target: str, body: bytes = b"", kind: str = "application/json") -> tuple[int, object]:
            connection = HTTPConnection(gateway.admin.host, gateway.admin.port, timeout=PATIENCE_S)
            connection.request(method, target, body, {"Content-Type": kind})
            response = connection.getresponse()
            answer = json.loads(response.read())
            connection.close()
            return response.status, answer

        assert (await asyncio.to_thread(ask, "POST", "/devices/nobody/request", b'{"path": "/x"}'))[0] == 404
        assert (await asyncio.to_thread(ask, "POST", "/devices/dev1/request", b"{", "text/plain"))[0] == 415
        assert (await asyncio.to_thread(ask, "GET", "/devices/dev1/request"))[0] == 405
        status, answer = await asyncio.to_thread(
            ask, "POST", "/devices/a%2Fb/request", b'{"path": "/x", "queue_for": 60}'
        )
        assert (status, isinstance(answer, dict) and answer["error"]) == (
            404,
            "there are /devices/ID/request and /devices/ID/requests/REQUEST",
        )
        gateway.kill(0, signal.SIGKILL)
        await gateway.line("worker.started", worker=0, restarts=1)
        assert (await asyncio.to_thread(ask, "POST", "/devices/nobody/request", b'{"path": "/x"}'))[0] == 404


async def test_the_supervisor_answers_under_its_own_names_only(tmp_path: Path) -> None:
    with Several(tmp_path, admin__hosts=["gateway.example.com"], admin__device_requests=True) as gateway:

        def ask(method: str, target: str, host: str) -> tuple[int, str]:
            connection = HTTPConnection(gateway.admin.host, gateway.admin.port, timeout=PATIENCE_S)
            kind = {"Content-Type": "application/json"}
            connection.request(method, target, b"" if method == "GET" else b"{}", {"Host": host, **kind})
            response = connection.getresponse()
            text = response.read().decode()
            connection.close()
            return response.status, text

        expected = [
            (("GET", "/debug/failures?chains=1"), 200),
            (("POST", "/devices/dev1/request"), 400),  # a worker's answer: there is no path
        ]
        for request, status in expected:
            for host in ("gateway.example.com", "127.0.0.1:1"):
                found, text = await asyncio.to_thread(ask, *request, host)
                assert (found, "[admin] hosts" in text) == (status, False), (request, host, text)
            found, text = await asyncio.to_thread(ask, *request, "evil.example")
            assert (found, "[admin] hosts" in text) == (403, True), (request, text)
        for page in ("/metrics", "/livez", "/readyz"):
            assert (await asyncio.to_thread(ask, "GET", page, "gateway:9464"))[0] == 200


async def test_the_management_api_is_the_supervisor_s(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    token = add_token(tokens, "test")
    with Several(tmp_path, admin__token_file=str(tokens)) as gateway:

        def device() -> tuple[int, object]:
            connection = HTTPConnection(gateway.admin.host, gateway.admin.port, timeout=PATIENCE_S)
            connection.request(
                "GET", "/api/v1/tenants/default/devices/dev1", headers={"Authorization": f"Bearer {token}"}
            )
            response = connection.getresponse()
            answer = json.loads(response.read())
            connection.close()
            return response.status, answer

        status, answer = await asyncio.to_thread(device)
        assert status == 200, answer
        assert "dev1" in json.dumps(answer)


async def test_a_flood_in_the_supervisor_s_log_is_cut_and_its_end_told(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    add_token(tokens, "test")
    with Several(tmp_path, admin__token_file=str(tokens)) as gateway:
        tokens.unlink()  # each request is a line of the supervisor's now

        def flood() -> None:
            connection = HTTPConnection(gateway.admin.host, gateway.admin.port, timeout=PATIENCE_S)
            for _ in range(3 * EVENT_BURST):
                connection.request("GET", "/api/v1/tenants", headers={"Authorization": "Bearer x"})
                response = connection.getresponse()
                response.read()
                assert response.status == 503
            connection.close()

        def told(asked: int) -> bool:
            """Of each request there is a line, or it was said that there is none."""
            written = gateway.log.lines("admin.tokens_unusable")
            left_out = sum(int(line.get("suppressed", 0)) for line in written + gateway.log.lines("log.suppressed"))
            return len(written) + left_out == asked

        asked = 0
        async with asyncio.timeout(2 * PATIENCE_S):
            while not gateway.log.lines("log.suppressed"):  # a flood may end just when a line is due, which tells it
                await asyncio.to_thread(flood)
                asked += 3 * EVENT_BURST
                await becomes(partial(told, asked))
        line = gateway.log.lines("log.suppressed")[0]
        assert (line["level"], line["limited_event"]) == ("warning", "admin.tokens_unusable")
        assert "worker" not in line
