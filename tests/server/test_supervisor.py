"""What a supervisor decides before it starts anybody, and what it makes of the answers that it gets."""

import os
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

from gateway.config import ConfigError, Settings, load_settings
from gateway.dtls import ServerConfig
from gateway.server import Supervisor, check_carried, worker_count
from gateway.server.merging import merge_failures, merge_liveness, merge_metrics, merge_readiness
from gateway.server.plan import Plan, Secrets
from tests.server.support import prepare


def settings(**overrides: object) -> Settings:
    return load_settings(None, {name.replace("__", "."): value for name, value in overrides.items()}, environ={})


def test_as_many_workers_as_processors_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 5})
    assert worker_count(settings()) == 3
    assert worker_count(settings(server__workers=7)) == 7
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(1000)))
    assert worker_count(settings()) == 256


def test_a_registry_in_memory_is_one_process_s() -> None:
    url = "sqlite:///:memory:"
    assert (
        worker_count(settings(registry__url=url)) == worker_count(settings(registry__url=url, server__workers=1)) == 1
    )
    with pytest.raises(ConfigError, match=r"server\.workers: each worker would have a registry in memory"):
        worker_count(settings(registry__url=url, server__workers=2))


def test_settings_come_to_a_worker_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(
        """
        [server]
        bind = "[::1]:0"
        [[dtls.certificates]]
        certificate = "more.pem"
        private_key = "more.key"
        [registry]
        master_key = "file:key"
        [handlers]
        enabled = ["telemetry"]
        [handlers.telemetry]
        path = "lines"
        """
    )
    found = load_settings(file, {"coap.ack_timeout": "3s"}, environ={"GATEWAY_DTLS__MTU": "1300"})
    assert Settings.model_validate_json(found.model_dump_json()) == found


@pytest.mark.asyncio
async def test_what_cannot_be_given_to_a_worker_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('[handlers]\nenabled = ["time"]\n[handlers.time]\nsince = 2026-01-01\n')
    found = load_settings(file, prepare(tmp_path) | {"handlers.enabled": ["time"]}, environ={})
    with pytest.raises(ConfigError, match=r"handlers\.options: dates, times, inf and nan .*put them into quotes"):
        Supervisor(found, 2, ["true"])
    with pytest.raises(ConfigError, match=r"handlers\.options"):  # what `serve --check` asks
        check_carried(found)


def test_connection_ids_name_their_worker(tmp_path: Path) -> None:
    found = load_settings(None, prepare(tmp_path), environ={})

    def engine(worker: int) -> ServerConfig:
        return Plan.read(found, secrets, worker).engine

    secrets = Secrets()
    assert engine(0).connection_id_prefix == b"\0\0"
    assert engine(255).connection_id_prefix == b"\0\xff"
    assert engine(0).cookie_secret == engine(1).cookie_secret
    assert "cookies" not in repr(secrets)


# --- what is made of several answers -------------------------------------------------------------------------------


def rendered(*families: Metric) -> str:
    registry = CollectorRegistry(auto_describe=False)

    class Given:
        def collect(self) -> tuple[Metric, ...]:
            return families

    registry.register(Given())
    return generate_latest(registry).decode()


def counter(name: str, value: int) -> CounterMetricFamily:
    return CounterMetricFamily(name, "Words.", value=value)


def test_metrics() -> None:
    texts = {
        0: rendered(counter("gateway_a_total", 1), counter("gateway_crl_refreshes_total", 7), counter("gateway_s", 1)),
        2: rendered(counter("gateway_a_total", 5), counter("gateway_b_total", 6)),
    }
    merged = rendered(*merge_metrics([counter("gateway_own_total", 9), counter("gateway_s", 3)], texts))
    samples = {
        (sample.name, sample.labels.get("worker")): sample.value
        for family in text_string_to_metric_families(merged)
        for sample in family.samples
    }
    assert samples == {
        ("gateway_own_total", None): 9,
        ("gateway_a_total", "0"): 1,
        ("gateway_a_total", "2"): 5,
        ("gateway_b_total", "2"): 6,
        ("gateway_crl_refreshes_total", None): 7,
        ("gateway_s_total", "0"): 1,
        ("gateway_s_total", "supervisor"): 3,
    }
    assert merged.count("# TYPE gateway_a_total counter") == 1


def test_liveness() -> None:
    alive = {"status": "alive", "loop_age_seconds": 0.1, "limit_seconds": 10.0}
    stuck = {**alive, "status": "stuck"}
    assert merge_liveness(alive, {0: alive, 1: alive}).ok
    assert merge_liveness(alive, {1: alive}).ok  # worker 0 is being started
    assert merge_liveness(alive, {}).ok
    for answer in (stuck, None, {}):
        health = merge_liveness(alive, {0: alive, 1: answer})
        assert (health.ok, health.body["status"]) == (False, "stuck")
        assert health.body["workers"]["0"]["status"] == "alive"
    assert not merge_liveness(stuck, {0: alive}).ok


def test_readiness() -> None:
    ok = {"checks": {"registry": "ok", "draining": "ok"}}
    bad = {"checks": {"registry": "it is locked", "draining": "ok", "more": "too"}}
    health = merge_readiness([], {0: ok, 1: ok}, stopping=False)
    assert (health.ok, health.body["status"], health.body["failing"]) == (True, "ready", [])
    health = merge_readiness([3], {0: bad, 1: bad, 2: None}, stopping=True)
    assert (health.ok, health.body["status"]) == (False, "not ready")
    assert health.body["failing"] == ["draining", "more", "registry", "workers"]
    assert health.body["checks"] == {
        "registry": "worker 0: it is locked; worker 1: it is locked",
        "draining": "the gateway is stopping",
        "workers": "worker 3 is being started; worker 2 does not answer",
        "more": "worker 0: too; worker 1: too",
    }


def test_failures() -> None:
    merged = merge_failures(
        {
            0: {"failures": [{"last_at": "2026-01-01T00:00:02.000Z"}, {"last_at": "2026-01-01T00:00:00.500Z"}]},
            1: {"failures": [{"last_at": "2026-01-01T00:00:01.000Z"}]},
            2: None,
            3: {},
        }
    )
    assert [(failure["worker"], failure["last_at"][17:19]) for failure in merged["failures"]] == [
        (0, "02"),
        (1, "01"),
        (0, "00"),
    ]
