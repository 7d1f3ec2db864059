"""The load of a benchmark against a gateway that runs: what it counts is what the gateway has seen."""

import json
import os
import resource
import select
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.simulator.bench import BenchError, LoadProcesses, Pace, ThrowAwayGateway
from gateway.simulator.bench.gateway_process import PATH
from gateway.simulator.bench.limits import CERTIFICATES, MAX_FAILURES_IN_A_ROW, STOP_S
from gateway.simulator.bench.loader import Loader

DEVICES = 40
MODES = ("full", "resumed")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThrowAwayGateway]:
    with ThrowAwayGateway(tmp_path_factory.mktemp("bench"), DEVICES) as running:
        yield running


@pytest.fixture
def loader(gateway: ThrowAwayGateway) -> Iterator[Loader]:
    made = Loader(gateway.address.host, gateway.address.port)
    yield made
    made.close()


def samples(gateway: ThrowAwayGateway, name: str) -> Counter[str]:
    """The values of a metric, by the values of its labels, which stand in the order of their names."""
    with urlopen(f"http://{gateway.admin}/metrics", timeout=60) as response:
        text = response.read().decode()
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name:
                found[" ".join(value for _, value in sorted(sample.labels.items()))] += int(sample.value)
    return found


def test_bytes_are_those_that_the_gateway_counts(gateway: ThrowAwayGateway, loader: Loader) -> None:
    loader.open(gateway.psk, 10)
    before = samples(gateway, "gateway_udp_bytes_total")
    tally = loader.connect(Pace(4))
    after = samples(gateway, "gateway_udp_bytes_total")
    assert (tally.done, tally.errors, set(tally.suites)) == (10, Counter(), {"TLS_PSK_WITH_AES_128_CCM_8"})
    assert len(tally.latencies_s) == 10
    counted = {name.split()[0]: after[name] - before[name] for name in after if after[name] != before[name]}
    assert counted == {"received": tally.bytes_sent, "sent": tally.bytes_received}


@pytest.mark.parametrize("resume", [False, True])
def test_handshakes_follow_each_other(gateway: ThrowAwayGateway, loader: Loader, resume: bool) -> None:
    loader.open(gateway.psk, 8)
    if resume:
        assert loader.handshakes(Pace(4)).done == 8  # each once, for its ticket
    before = samples(gateway, "gateway_dtls_handshakes_total")
    tally = loader.handshakes(Pace(4, 0.5), resume=resume)
    assert tally.errors == Counter()
    assert tally.done > 8  # devices had several turns
    # The last flight of a resumption is the device's. Who does the next handshake has been read up to there.
    assert loader.handshakes(Pace(4)).done == 8
    after = samples(gateway, "gateway_dtls_handshakes_total")
    counted = {mode: after[f"psk {mode} none success"] - before[f"psk {mode} none success"] for mode in MODES}
    assert counted == ({"full": 8, "resumed": tally.done} if resume else {"full": tally.done + 8, "resumed": 0})


def test_certificates(gateway: ThrowAwayGateway, loader: Loader) -> None:
    loader.open(gateway.certificates, CERTIFICATES + 2)
    tally = loader.handshakes(Pace(4))
    assert (tally.done, tally.errors) == (CERTIFICATES + 2, Counter())
    assert set(tally.suites) == {"TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"}


def test_requests_are_counted_when_they_are_answered(gateway: ThrowAwayGateway, loader: Loader) -> None:
    loader.open(gateway.psk, 5)
    loader.connect(Pace(5))
    assert loader.requests(Pace(2), PATH, b"x" * 32).done == 5  # one of each
    assert loader.requests(Pace(2), PATH, b"x" * 32, first=3).done == 3
    refused = loader.requests(Pace(2), "nowhere", b"x")
    assert (refused.done, refused.errors) == (0, Counter({"request: answered with 4.04": 5}))
    assert loader.requests(Pace(2, 0.3), PATH, b"x").done > 5


def test_pace_is_kept(gateway: ThrowAwayGateway, loader: Loader) -> None:
    loader.open(gateway.psk, 5)
    loader.connect(Pace(5))
    assert loader.requests(Pace(5, 0.5, rate=20.0), PATH, b"x").done in range(1, 11)


def test_devices_that_nobody_knows_are_not_sent_for_ever(gateway: ThrowAwayGateway, loader: Loader) -> None:
    loader.open(replace(gateway.psk, key=bytes(16)), 4)
    tally = loader.handshakes(Pace(4, 20.0))
    assert tally.done == 0
    assert MAX_FAILURES_IN_A_ROW <= tally.errors.total() <= MAX_FAILURES_IN_A_ROW + 4


def test_what_gets_no_answer_is_an_error(tmp_path: Path) -> None:
    with ThrowAwayGateway(tmp_path, 3) as gateway:
        loader = Loader(gateway.address.host, gateway.address.port)
        loader.open(gateway.psk, 3)
        assert loader.connect(Pace(3)).done == 3
        gateway.kill()
        tally = loader.requests(Pace(3, patience_s=0.2), PATH, b"x")
        assert (tally.done, tally.errors) == (0, Counter({"no end in time": 3}))
        gateway.start()
        again = loader.connect(Pace(3), since=time.monotonic())
        assert (again.done, again.errors) == (3, Counter())
        loader.close()


def test_killed_gateway_takes_its_workers_along(tmp_path: Path) -> None:
    with ThrowAwayGateway(tmp_path, 1, workers=2) as gateway:
        lines = map(json.loads, (tmp_path / "gateway.log").read_text().splitlines())
        pids = [line["pid"] for line in lines if line["event"] == "worker.started"]
        assert len(pids) == 2
        # One that could go on would see that its supervisor is gone, and end by itself, with a goodbye.
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        ends = [os.pidfd_open(pid) for pid in pids]  # readable when the process has ended
        gateway.kill()
        left = [pid for pid, end in zip(pids, ends, strict=True) if not select.select([end], [], [], STOP_S)[0]]
        for end in ends:
            os.close(end)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert left == []


def test_processes_share_the_devices(gateway: ThrowAwayGateway) -> None:
    with LoadProcesses(2, gateway.address.host, gateway.address.port) as load:
        load.open(gateway.psk, DEVICES // 2)
        tallies = load.connect(Pace(10))
        assert [tally.done for tally in tallies] == [DEVICES // 2] * 2
        assert all(tally.cpu_s > 0 for tally in tallies)
        assert samples(gateway, "gateway_dtls_sessions")["psk yes"] == DEVICES
        load.close()


def test_process_that_is_gone_is_told(gateway: ThrowAwayGateway) -> None:
    with LoadProcesses(1, gateway.address.host, gateway.address.port) as load:
        [process] = load._processes
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        with pytest.raises(BenchError, match="load process has ended"):
            load.open(gateway.psk, 1)


def test_too_many_sockets_are_refused_with_what_to_do(gateway: ThrowAwayGateway, loader: Loader) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with pytest.raises(BenchError, match="more --processes or fewer --sessions"):
        loader.open(gateway.psk, hard)


def test_gateway_that_does_not_start_says_why(tmp_path: Path) -> None:
    gateway = ThrowAwayGateway(tmp_path, 1)
    (tmp_path / "certs/server.pem").unlink()
    with pytest.raises(BenchError, match=r"did not start: .*server\.pem"), gateway:
        pass
