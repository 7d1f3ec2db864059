"""A pytest plug-in that fails the run when an engine's own tests leave too many of its branches untried.

Coverage is recorded with one context per test (`--cov-context=test`), so that what counts for `gateway/dtls` is what
`tests/dtls` reached, and not what some end-to-end test happened to pass through. The verdict stands above the closing
line of pytest, and the exit status of pytest carries it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import coverage
import pytest

#: Percent of branches. The sans-IO engines parse what strangers send: an untried branch there is an unread letter.
THRESHOLD = 95.0
#: Package folder -> the folder of its own tests.
GATES = {"gateway/dtls": "tests/dtls", "gateway/coap": "tests/coap"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one engine's own tests reach of it."""

    package: str
    tests: str
    branches: int
    covered: int

    @property
    def percent(self) -> float:
        # A package without branches is a package whose tests did not run.
        return 100.0 * self.covered / self.branches if self.branches else 0.0

    @property
    def passed(self) -> bool:
        return self.percent >= THRESHOLD

    def __str__(self) -> str:
        state = "ok" if self.passed else f"BELOW {THRESHOLD:g}%"
        return (
            f"branch coverage of {self.package} from {self.tests}: "
            f"{self.percent:.1f}% ({self.covered} of {self.branches}) {state}"
        )


def measure(package: str, tests: str, data_file: str = ".coverage") -> Verdict:
    """Read the recorded coverage of `package`, counting only the tests below `tests`.

    What runs at import belongs to no test (the empty context) and counts for everyone.
    """
    measured = coverage.Coverage(data_file=data_file)
    measured.load()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        try:
            measured.json_report(
                outfile=str(report), include=[f"{package}/*"], contexts=[f"^{tests}/", "^$"], pretty_print=False
            )
        except coverage.exceptions.NoDataError:
            return Verdict(package, tests, 0, 0)
        totals = json.loads(report.read_text())["totals"]
    return Verdict(package, tests, totals["num_branches"], totals["covered_branches"])


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> Generator[None, None, None]:
    yield
    verdicts = [measure(package, tests) for package, tests in GATES.items()]
    for verdict in verdicts:
        terminalreporter.write_line(str(verdict), red=not verdict.passed)
    session = terminalreporter._session
    if session is not None and not all(verdict.passed for verdict in verdicts) and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
