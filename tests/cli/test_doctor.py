"""`gateway doctor` as operators run it."""

import shutil
from pathlib import Path

import pytest

from tests.cli.support import execute, ok, run
from tests.unprivileged import public_folder, unprivileged

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


def test_files_in_a_folder_that_cannot_be_searched_are_findings(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("doctor")  # imports what it needs
    with public_folder() as place:
        shutil.copytree(site, place, dirs_exist_ok=True)
        monkeypatch.chdir(place)
        Path("certs").chmod(0o000)
        with unprivileged(place):
            done = run("doctor", "-o", "json")
            Path("certs").chmod(0o700)
        monkeypatch.chdir(site)
    assert (done.status, done.stderr) == (6, "")
    problems = [check for check in done.json["checks"] if check["status"] == "problem"]
    assert {check["check"] for check in problems} == {"configuration", "server certificate"}
    assert all(f"{place}/certs/server.pem: Permission denied" in check["detail"] for check in problems)


def test_a_file_of_tokens_that_cannot_be_used_is_a_finding(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_ADMIN__TOKEN_FILE", "none.tokens")
    done = run("doctor", "-o", "json")
    [problem] = [check for check in done.json["checks"] if check["status"] == "problem"]
    assert (done.status, problem["check"]) == (6, "configuration")
    assert "none.tokens" in problem["detail"]


def test_a_registry_that_cannot_be_written_is_a_problem(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("doctor")
    ok("serve", "--check")
    with public_folder() as place:
        shutil.copytree(site, place, dirs_exist_ok=True)
        monkeypatch.chdir(place)
        Path("registry.db").chmod(0o400)
        with unprivileged(place):
            done, checked = run("doctor", "-o", "json"), run("serve", "--check")
        monkeypatch.chdir(site)
    [problem] = [check for check in done.json["checks"] if check["status"] == "problem"]
    assert (done.status, problem["check"]) == (6, "registry")
    assert "check owner and mode" in problem["detail"]
    assert "check owner and mode" in checked.refused(2)


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
