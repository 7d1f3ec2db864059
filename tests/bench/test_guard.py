"""The guard against getting slower can fail, and what it counts is work that is done."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.counted import ROUNDS
from tests.bench.guard import BASELINES, judge

HERE = "3.11.2 x86_64 GCC 12.2.0 options af789e5b, cryptography 50.0.2, OpenSSL 4.0.3"
ELSEWHERE = HERE.replace("af789e5b", "00000000")
KEPT = {HERE: {"psk": 1_000_000, "request": 80_000, "yardstick": 500_000}}


def test_the_same_count_is_good() -> None:
    lines, good = judge(KEPT[HERE], HERE, KEPT)
    assert good
    assert len(lines) == 3


@pytest.mark.parametrize("kind", ["psk", "request"])
@pytest.mark.parametrize(("times", "expected"), [(1.09, True), (1.11, False), (0.5, True)])
def test_a_tenth_more_of_one_kind_is_too_slow(kind: str, times: float, expected: bool) -> None:
    counts = KEPT[HERE] | {kind: round(KEPT[HERE][kind] * times)}
    lines, good = judge(counts, HERE, KEPT)
    assert good is expected
    assert [line.split()[0] for line in lines if "TOO SLOW" in line] == ([] if expected else [kind])
    assert ("make guard-update" in lines[-1]) is not expected


@pytest.mark.parametrize(("times", "expected"), [(1.2, True), (1.2 * 1.11, False)])
def test_a_dearer_build_of_python_is_not_our_work(times: float, expected: bool) -> None:
    counts = {"psk": round(1_000_000 * times), "request": 96_000, "yardstick": 600_000}
    lines, good = judge(counts, ELSEWHERE, KEPT)
    assert good is expected
    assert "not a known build" in lines[0]
    # With the known build it would be dearer work: the yardstick is for others.
    assert judge(counts, HERE, KEPT)[1] is False


def test_without_a_baseline_it_says_how_to_get_one() -> None:
    lines, good = judge(KEPT[HERE], HERE.replace("3.11.2", "3.12.1"), KEPT)
    assert not good
    assert "make guard-update" in lines[0]


def test_each_baseline_has_each_kind_of_work() -> None:
    baselines = json.loads(BASELINES.read_text())
    assert baselines
    assert all(counts.keys() == ROUNDS.keys() for counts in baselines.values())


@pytest.mark.pure("it replaces methods of the engine")
def test_the_work_is_done_in_forks(tmp_path: Path) -> None:
    """Each of them fails when a handshake does not complete, or a request is not answered."""
    subprocess.run([sys.executable, "-m", "tests.bench.counted", str(tmp_path)], check=True, timeout=600)
    done = [line.split()[1:] for line in (tmp_path / "forks").read_text().splitlines()]
    assert done == [[kind, str(rounds)] for kind, lengths in ROUNDS.items() for rounds in lengths]
