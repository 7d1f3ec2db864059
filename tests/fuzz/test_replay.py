"""The kept corpus of the fuzzer, replayed without it: fast, and the same in each run."""

from collections import Counter

import pytest

from tests.dtls.kinds import KINDS
from tests.fuzz.endpoint import Run, run
from tests.fuzz.kept import programs

KEPT = programs()


@pytest.mark.parametrize("name", KEPT)
def test_replay(name: str) -> None:
    run(KEPT[name])


def test_the_corpus_reaches_deep() -> None:
    """A corpus that no longer gets past the gate, because the program's language changed, would pass as well."""
    runs: list[Run] = [run(program) for program in KEPT.values()]
    completed = Counter[str]()
    reasons = Counter(event.reason.value for run in runs for event in run.world.failures)
    closed = Counter(event.reason for run in runs for event in run.world.closed)
    drops = Counter[str]()
    for one in runs:
        drops.update(one.world.drops())
        completed += one.kinds
        assert one.kinds.total() == len(one.world.completed)
    assert all(completed[kind] >= 4 for kind in KINDS), completed
    assert len(reasons) >= 12, reasons
    assert set(closed) >= {"close_notify", "idle", "superseded", "alert", "local"}, closed
    assert len(drops) >= 10, drops


def test_an_empty_program_is_one() -> None:
    assert run(b"").world.events == []
