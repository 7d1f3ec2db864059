"""The coverage gate fails a run whose own tests leave branches untried, whatever other tests touch."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repository import coverage_gate

MODULE = """
def sign(x: int) -> str:
    if x < 0:
        return "minus"
    if x > 0:
        return "plus"
    return "zero"
"""
OWN = (
    "from gateway.{room}.sign import sign\n\ndef test_own() -> None:\n    for x in {values}:\n        assert sign(x)\n"
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for room in ("dtls", "coap"):
        for folder in (tmp_path / "gateway" / room, tmp_path / "tests" / room):
            folder.mkdir(parents=True)
            (folder / "__init__.py").write_text("")
        (tmp_path / "gateway" / room / "sign.py").write_text(MODULE)
    for name in ("gateway", "tests", "tests/repository", "tests/elsewhere"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "__init__.py").write_text("")
    shutil.copy(coverage_gate.__file__, tmp_path / "tests/repository/coverage_gate.py")
    (tmp_path / "tests/elsewhere/test_all.py").write_text(OWN.format(room="dtls", values=[-1, 0, 1]))
    (tmp_path / "tests/coap/test_sign.py").write_text(OWN.format(room="coap", values=[-1, 0, 1]))
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    return tmp_path


def run(project: Path) -> tuple[int, list[str]]:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.repository.coverage_gate"),
            *("--cov=gateway.dtls", "--cov=gateway.coap", "--cov-branch", "--cov-context=test", "--cov-report="),
        ],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        # The coverage of the outer run must not reach into this one.
        env={name: value for name, value in os.environ.items() if not name.startswith(("COV", "PYTEST", "PYTHON"))},
    )
    return done.returncode, done.stdout.splitlines()


def test_branches_that_only_foreign_tests_reach_do_not_count(project: Path) -> None:
    (project / "tests/dtls/test_sign.py").write_text(OWN.format(room="dtls", values=[-1, 1]))
    status, lines = run(project)
    assert status == 1
    assert "branch coverage of gateway/dtls from tests/dtls: 75.0% (3 of 4) BELOW 95%" in lines
    assert "branch coverage of gateway/coap from tests/coap: 100.0% (4 of 4) ok" in lines
    assert lines[-1].startswith("3 passed in ")


def test_own_tests_that_reach_every_branch_pass(project: Path) -> None:
    (project / "tests/dtls/test_sign.py").write_text(OWN.format(room="dtls", values=[-1, 0, 1]))
    status, lines = run(project)
    assert "branch coverage of gateway/dtls from tests/dtls: 100.0% (4 of 4) ok" in lines
    assert status == 0


def test_an_engine_without_tests_of_its_own_fails(project: Path) -> None:
    status, lines = run(project)
    assert status == 1
    assert "branch coverage of gateway/dtls from tests/dtls: 0.0% (0 of 4) BELOW 95%" in lines
