"""Documents of benchmarks side by side: what is more than noise, and what is no document."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.simulator.bench import SCHEMA, BenchError, Verdict, compare, differences, read_document


def document(**numbers: list[float]) -> dict[str, Any]:
    """One with the rounds of these measures of an operation."""
    found = {
        name: {"unit": "", "median": sorted(rounds)[len(rounds) // 2], "least": 0.0, "most": 0.0, "rounds": rounds}
        for name, rounds in numbers.items()
    }
    return {
        "schema": SCHEMA,
        "machine": {"cores": 2},
        "parameters": {"rounds": 3},
        "operations": {"psk": {"numbers": found}},
    }


@pytest.mark.parametrize(
    ("measure", "old", "new", "verdict"),
    [
        ("cpu", [300.0, 310.0, 320.0], [250.0, 260.0, 299.0], Verdict.BETTER),
        ("cpu", [300.0, 310.0, 320.0], [321.0, 330.0, 340.0], Verdict.WORSE),
        ("cpu", [300.0, 310.0, 320.0], [250.0, 260.0, 300.0], Verdict.NOISE),
        ("cpu", [300.0, 310.0, 320.0], [100.0, 260.0, 900.0], Verdict.NOISE),
        ("rate", [300.0, 310.0, 320.0], [321.0, 330.0, 340.0], Verdict.BETTER),
        ("rate", [300.0, 310.0, 320.0], [250.0, 260.0, 299.0], Verdict.WORSE),
        ("memory", [2000.0, 2001.0, 2002.0], [3000.0, 3001.0], Verdict.TOO_FEW),
        ("memory", [2000.0], [3000.0, 3001.0, 3002.0], Verdict.TOO_FEW),
        ("memory", [2000.0], [2000.0], Verdict.NOISE),
    ],
)
def test_verdict(measure: str, old: list[float], new: list[float], verdict: Verdict) -> None:
    [compared] = compare(document(**{measure: old}), document(**{measure: new}))
    assert compared.verdict is verdict
    assert compared.ratio == pytest.approx(compared.new / compared.old)


def test_only_what_became_worse_counts_as_worse() -> None:
    old = document(cpu=[100.0, 101.0, 102.0], rate=[100.0, 101.0, 102.0])
    worse = document(cpu=[150.0, 151.5, 152.0], rate=[50.0, 50.5, 51.0])
    assert [round(each.worse_by_percent) for each in compare(old, worse)] == [50, 50]
    assert [each.worse_by_percent for each in compare(worse, old)] == [0.0, 0.0]
    assert [each.worse_by_percent for each in compare(old, old)] == [0.0, 0.0]


def test_what_only_one_has_or_says_nothing_of_the_gateway_is_left_out() -> None:
    old = document(cpu=[1.0], load_cpu=[1.0], future=[1.0])
    new = document(cpu=[1.0], p50=[1.0], load_cpu=[1.0], future=[1.0])
    assert [each.measure for each in compare(old, new)] == ["cpu"]


def test_nothing_before_has_no_ratio() -> None:
    [compared] = compare(document(p50=[0.0]), document(p50=[1.0]))
    assert (compared.ratio, compared.row()["ratio"]) == (None, "")


def test_another_machine_is_told() -> None:
    old, new = document(), document()
    new["machine"]["cores"] = 4
    assert differences(old, old) == []
    assert differences(old, new) == ["cores was 2, is 4"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "7",
        "null",
        "{}",
        '{"schema": "gateway-bench/1"}',
        '{"schema": "gateway-bench/1", "operations": []}',
        '{"schema": "gateway-bench/1", "operations": {"psk": {}}}',
        '{"schema": "gateway-bench/1", "operations": {"psk": {"numbers": {"cpu": 7}}}}',
        '{"schema": "gateway-bench/1", "operations": {"psk": {"numbers": {"cpu": {"rounds": [], "median": 1}}}}}',
        '{"schema": "gateway-bench/1", "operations": {"psk": {"numbers": {"cpu": {"rounds": ["x"], "median": 1}}}}}',
        '{"schema": "gateway-bench/1", "operations": {"psk": {"numbers": {"cpu": {"rounds": [1]}}}}}',
        "\xff",
    ],
)
def test_what_is_no_document(tmp_path: Path, text: str) -> None:
    file = tmp_path / "old.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(BenchError, match=r"old\.json holds no result of gateway bench; save one with --save"):
        read_document(file)


def test_document_of_another_version(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text(json.dumps({**document(), "schema": "gateway-bench/0"}))
    with pytest.raises(BenchError, match="is a gateway-bench/0"):
        read_document(tmp_path / "old.json")
