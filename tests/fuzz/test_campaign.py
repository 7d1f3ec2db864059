"""The campaign of `make fuzz-million`: a small part of it in each test run, the million in the long ones."""

from collections import Counter
from pathlib import Path

import pytest

from tests.fuzz import campaign
from tests.fuzz.campaign import main, work


def test_two_thousand_inputs() -> None:
    result = work(2000, seed=1)
    assert result.broken == []
    assert result.inputs >= 2000
    assert result.completed > 0
    assert result.failed > 0


def test_the_same_seed_gives_the_same_inputs() -> None:
    first, second = work(300, seed=7), work(300, seed=7)
    assert (first.inputs, first.programs) == (second.inputs, second.programs)


@pytest.mark.long
def test_a_million_inputs() -> None:
    assert main(["--inputs", "1000000"]) == 0


def test_what_breaks_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(program: bytes) -> None:
        raise ValueError("an exception that no endpoint declares")

    monkeypatch.setattr(campaign, "FOUND", tmp_path)
    monkeypatch.setattr(campaign, "run", broken)
    result = work(3, seed=1)
    assert Counter(path.parent for path in result.broken) == {tmp_path: 3}
    assert all(path.read_bytes() for path in result.broken)
