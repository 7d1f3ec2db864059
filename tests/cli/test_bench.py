"""`gateway bench`: on a throw-away gateway, and against one that runs."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import GATEWAY, STOP_S, Done, Serving, environment, ok, run

KEY = "5b1d0f62a7e44c53bd1177c05e2a9f38"
SHORT = ("--rounds", "1", "--duration", "0.2", "--devices", "4", "--processes", "1")
WITH_LOAD = ("psk", "certificate", "resumed", "request")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a short benchmark of everything has saved."""
    file = tmp_path_factory.mktemp("bench") / "saved.json"
    done = run("bench", *SHORT, "--sessions", "200", "--save", str(file), "-o", "json")
    assert done.status == 0, done
    assert done.json == json.loads(file.read_text())
    return file


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """With PSK devices `meter-1` to `meter-8`, and a certificate for `rain` of a CA that is trusted."""
    site = tmp_path_factory.mktemp("bench") / "site"
    ok("init", str(site))
    config = ["--config", str(site / "gateway.toml")]
    rows = "device_id,psk_identity,psk_hex\n" + "".join(f"meter-{n},meter-{n},{KEY}\n" for n in range(1, 9))
    (site / "devices.csv").write_text(rows)
    ok("device", "import", str(site / "devices.csv"), "--allow-shared-keys", *config)
    ok("cert", "issue", "--device", "rain", "--out", str(site / "rain"), *config)
    ok("ca", "trust", str(site / "certs/ca-bundle.pem"), "--auto-provision", *config)
    (site / "key").write_text(f"{KEY}\n")
    (site / "wrong").write_text("00" * 16)
    with Serving(site) as running:
        yield running


def bench(gateway: Serving, *words: str, key: str = "key") -> Done:
    credentials = ["--psk-identity", "meter-{n}", "--psk-file", str(gateway.site / key)]
    return run("bench", "--target", gateway.target, *SHORT, *credentials, *words)


def numbers(document: dict[str, Any], operation: str) -> dict[str, float]:
    return {name: number["median"] for name, number in document["operations"][operation]["numbers"].items()}


def test_everything_is_measured_without_an_argument(saved: Path) -> None:
    document = json.loads(saved.read_text())
    assert document["schema"] == "gateway-bench/1"
    assert list(document["operations"]) == [*WITH_LOAD, "idle"]
    assert {"python", "compiled", "processor", "cores"} <= set(document["machine"])
    assert document["parameters"]["target"] is None
    for operation in WITH_LOAD:
        found = numbers(document, operation)
        assert set(found) == {"rate", "p50", "p99", "cpu", "sent", "received", "load_cpu"}
        assert all(number > 0 for number in found.values()), found
        assert found["p50"] <= found["p99"]
        assert document["operations"][operation]["errors"] == {}
        assert sum(document["operations"][operation]["held_up_by"].values()) == 1
    assert set(numbers(document, "idle")) == {"memory"}
    # Two certificates each way, and the signatures, are the difference.
    assert numbers(document, "certificate")["sent"] > 3 * numbers(document, "psk")["sent"]
    assert document["operations"]["psk"]["cipher_suites"] == ["TLS_PSK_WITH_AES_128_CCM_8"]
    assert document["operations"]["certificate"]["cipher_suites"] == ["TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"]


def test_table(gateway: Serving) -> None:
    done = bench(gateway, "psk")
    assert done.status == 0, done
    head, line = done.stdout.splitlines()
    assert head.split("  ")[0] == "operation"
    assert line.split()[0] == "psk"
    # Its process was not named.
    assert "the gateway's CPU time is not known" in done.stderr


def test_gateway_that_runs(gateway: Serving) -> None:
    certificate = ["--certificate", str(gateway.site / "rain.pem"), "--pid", str(gateway.process.pid)]
    done = bench(gateway, *certificate, "-o", "json")
    assert done.status == 0, done
    assert list(done.json["operations"]) == list(WITH_LOAD)
    assert all("cpu" in numbers(done.json, operation) for operation in WITH_LOAD)
    assert done.json["parameters"]["target"] == gateway.target


def test_certificate_alone(gateway: Serving) -> None:
    words = ["--certificate", str(gateway.site / "rain.pem"), *SHORT, "resumed", "-o", "json"]
    done = run("bench", "--target", gateway.target, *words)
    assert done.status == 0, done
    assert done.json["operations"]["resumed"]["cipher_suites"] == ["TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"]


def test_refused_devices_are_a_failure_and_their_key_is_not_shown(gateway: Serving) -> None:
    done = bench(gateway, "psk", key="wrong")
    assert done.status == 1
    assert "nothing succeeded: handshake: " in done.stderr
    assert "0000" not in done.stderr


def test_path_that_does_not_exist_is_a_failure(gateway: Serving) -> None:
    done = bench(gateway, "request", "--path", "nowhere")
    assert done.status == 1
    assert "answered with 4.04" in done.stderr


def test_comparison(gateway: Serving, saved: Path, tmp_path: Path) -> None:
    old = json.loads(saved.read_text())
    number = old["operations"]["psk"]["numbers"]["sent"]
    number.update(median=1.0, rounds=[1.0, 1.0, 1.0])
    (tmp_path / "old.json").write_text(json.dumps(old))
    words = ["psk", "--compare", str(tmp_path / "old.json")]
    done = bench(gateway, *words)
    assert done.status == 0, done
    [line] = [line for line in done.stdout.splitlines() if "to the gateway, bytes" in line]
    assert "too few rounds to tell" in line
    assert "not the same as before: target was None" in done.stderr
    done = bench(gateway, *words, "--rounds", "3", "--fail-above", "10")
    assert done.status == 1
    assert "psk, sent: worse by" in done.stderr
    assert bench(gateway, *words, "--rounds", "3", "-o", "json").json["comparison"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--target", "192.0.2.1:5684"], "not this machine, and a benchmark is load"),
        (["--target", "gateway.example:5684"], "not this machine"),
        (["--target", "192.0.2.1:5684", "--allow-remote", "--devices", "17"], "at most 16"),
        (["--target", "192.0.2.1:5684", "--allow-remote", "--duration", "11"], "at most 10"),
        (["--target", "127.0.0.1:5684", "idle"], "throw-away gateway only"),
        (["--target", "127.0.0.1:5684", "certificate"], "certificate needs --certificate"),
        (["--target", "127.0.0.1"], "must be an address and a port"),
        ([], "name it with --target"),
    ],
)
def test_refused_with_devices(workdir: Path, words: list[str], why: str) -> None:
    Path("key").write_text(KEY)
    done = run("bench", "--processes", "1", "--psk-identity", "a", "--psk-file", "key", *words)
    assert done.status == 2
    assert why in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        (["--target", "127.0.0.1:5684"], 2, "--target needs devices"),
        (["--psk-identity", "a"], 2, "belong together"),
        (["--private-key", "a.key"], 2, "--private-key needs --certificate"),
        (["--pid", "1"], 2, "name it with --target"),
        (["--allow-remote"], 2, "name it with --target"),
        (["--fail-above", "5"], 2, "--fail-above needs --compare"),
        (["--compare", "none.json"], 1, "none.json: No such file"),
        (["--compare", "key"], 1, "key holds no result of gateway bench"),
        (["--target", "127.0.0.1:9", "--certificate", "none.pem"], 1, "cannot read none.pem"),
    ],
)
def test_refused(workdir: Path, words: list[str], status: int, why: str) -> None:
    Path("key").write_text(KEY)
    done = run("bench", "--processes", "1", *words)
    assert done.status == status
    assert why in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_benchmark_leaves_nothing_behind(workdir: Path, number: signal.Signals, status: int) -> None:
    temporary = workdir / "temporary"
    temporary.mkdir()
    command = [GATEWAY, "bench", "psk", "--rounds", "20", "--duration", "60", "--processes", "1"]
    environ = {**environment(), "TMPDIR": str(temporary)}
    # What a shell runs in the background ignores Ctrl-C, and so does whatever that starts; a terminal's does not.
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            command, env=environ, start_new_session=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    finally:
        signal.signal(signal.SIGINT, ours)
    assert process.stderr is not None
    assert process.stderr.readline() == "psk: 20 rounds of 60 s\n"
    # As a terminal does with Ctrl-C, which all of them get; the pipes end when the last of them has ended.
    (os.killpg if number is signal.SIGINT else os.kill)(process.pid, number)
    stdout, stderr = process.communicate(timeout=STOP_S)
    assert (process.returncode, stdout) == (status, "")
    assert "Traceback" not in stderr
    assert list(temporary.iterdir()) == []


def test_nothing_is_left_behind(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(workdir))
    monkeypatch.setattr("tempfile.tempdir", None)
    ok("bench", "psk", *SHORT)
    assert list(workdir.iterdir()) == []
