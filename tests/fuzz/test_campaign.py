"""The campaign of `make fuzz-million`: a small part of it in each test run, the million in the long ones."""

from collections import Counter
from pathlib import Path

import pytest

from tests.fuzz import campaign
from tests.fuzz.campaign import main, work
from tests.fuzz.kept import programs


def test_five_thousand_inputs() -> None:
    result = work(5000, seed=1)
    assert result.broken == []
    assert result.inputs >= 5000
    assert result.missing == []
    assert result.failed > 0


def test_the_same_seed_gives_the_same_inputs() -> None:
    first, second = work(300, seed=7), work(300, seed=7)
    assert (first.inputs, first.programs) == (second.inputs, second.programs)


@pytest.mark.long
def test_a_million_inputs() -> None:
    assert main(["--inputs", "1000000"]) == 0


def test_a_campaign_that_misses_a_kind_of_handshake_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = programs()
    certificates = {name: program for name, program in kept.items() if name.startswith("handshake_c0a")}
    monkeypatch.setattr(campaign, "programs", lambda: certificates)
    result = work(300, seed=1)
    assert result.completed.keys() >= {"psk", "certificate"}
    assert set(result.missing) >= {"ecdhe_psk", "raw_public_key", "ticket", "session_id"}
    assert result.broken == []


def test_what_breaks_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(program: bytes) -> None:
        raise ValueError("an exception that no endpoint declares")

    monkeypatch.setattr(campaign, "FOUND", tmp_path)
    monkeypatch.setattr(campaign, "run", broken)
    result = work(3, seed=1)
    assert Counter(path.parent for path in result.broken) == {tmp_path: 3}
    assert all(path.read_bytes() for path in result.broken)
