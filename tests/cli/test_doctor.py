"""`gateway doctor` as operators run it."""

from pathlib import Path

import pytest

from tests.cli.support import execute, ok, run

FREE = {"GATEWAY_SERVER__BIND": "127.0.0.1:0", "GATEWAY_ADMIN__BIND": "127.0.0.1:0"}


@pytest.fixture(autouse=True)
def _free_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in FREE.items():
        monkeypatch.setenv(name, value)


def test_a_new_site_is_healthy(site: Path) -> None:
    shown = ok("doctor").stdout
    assert "0 problems" in shown.splitlines()[-1]
    assert "\nok       handshake by certificate" in shown
    report = ok("doctor", "-o", "json").json
    assert report["healthy"] is True
    assert all(set(check) == {"check", "status", "detail", "remedy"} for check in report["checks"])
    assert {check["status"] for check in report["checks"]} <= {"ok", "warning"}


def test_a_problem_is_status_6_and_has_a_remedy(site: Path) -> None:
    (site / "certs/server.key").chmod(0o644)
    done = run("doctor")
    assert done.status == 6
    assert f"\nproblem  secret files              every user of this machine may read {site}/certs/server.key\n" in (
        done.stdout
    )
    assert f" -> chmod 600 {site}/certs/server.key\n" in done.stdout
    assert done.stderr == ""


def test_a_wrong_configuration_is_a_finding_and_not_the_end(site: Path) -> None:
    (site / "gateway.toml").write_text("[dtls]\nmut = 1\n")
    done = run("doctor", "-o", "json")
    assert done.status == 6
    [problem] = [check for check in done.json["checks"] if check["status"] == "problem"]
    assert problem["check"] == "configuration"
    assert "did you mean mtu?" in problem["detail"]


def test_a_configuration_that_is_not_there_is_wrong_usage(workdir: Path) -> None:
    run("doctor", "--config", "nowhere.toml").refused(2)


def test_the_installed_command_writes_nothing(site: Path) -> None:
    before = {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}
    done = execute("doctor", environ={**FREE, "GATEWAY_TENANT": "acme"})
    assert (done.status, done.stderr) == (0, "")
    after = {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}
    assert {path for path in before if before[path] != after.get(path)} == set()
    assert {path.name for path in after.keys() - before.keys()} <= {"registry.db-wal", "registry.db-shm"}
