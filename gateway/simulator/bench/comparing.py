"""Two documents side by side, and whether a difference is more than noise."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from gateway.simulator.bench.document import MEASURES, SCHEMA
from gateway.simulator.bench.errors import BenchError

MIN_ROUNDS: Final = 3
"""With fewer on either side the spread says nothing."""


class Verdict(StrEnum):
    BETTER = "better"
    WORSE = "worse"
    NOISE = "within the noise"
    TOO_FEW = "too few rounds to tell"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A number, before and now.

    Attributes:
        operation: Which.
        measure: Which of `document.MEASURES`.
        old: The median of before.
        new: The median of now.
        old_range: The least and the most of before.
        new_range: The least and the most of now.
        verdict: BETTER and WORSE only where no round of the one is as good as any round of the other.
    """

    operation: str
    measure: str
    old: float
    new: float
    old_range: tuple[float, float]
    new_range: tuple[float, float]
    verdict: Verdict

    @property
    def ratio(self) -> float | None:
        """New over old; None where old is zero."""
        return self.new / self.old if self.old else None

    @property
    def worse_by_percent(self) -> float:
        """How much worse it is, in percent of before; 0.0 where it is not, or that is not more than noise."""
        if self.verdict is not Verdict.WORSE or not self.old:
            return 0.0
        return abs(self.new - self.old) / self.old * 100

    def row(self) -> dict[str, str]:
        """For a table."""
        about = MEASURES[self.measure]
        digits = about.digits
        return {
            "operation": self.operation,
            "number": f"{about.text}, {about.unit}",
            "old": f"{self.old:.{digits}f}",
            "new": f"{self.new:.{digits}f}",
            "ratio": f"{self.ratio:.2f}" if self.ratio is not None else "",
            "verdict": self.verdict.value,
            "old rounds": f"{self.old_range[0]:.{digits}f} to {self.old_range[1]:.{digits}f}",
            "new rounds": f"{self.new_range[0]:.{digits}f} to {self.new_range[1]:.{digits}f}",
        }


COLUMNS: Final = ("operation", "number", "old", "new", "ratio", "verdict", "old rounds", "new rounds")


def read_document(path: Path) -> dict[str, Any]:
    """A document that a benchmark has saved.

    Raises:
        BenchError: It is none, or of another version.
        OSError: It cannot be read.
    """
    try:
        document = json.loads(path.read_bytes())
        if document["schema"] != SCHEMA:
            raise BenchError(f"{path} is a {document['schema']}, and this version compares with {SCHEMA}: measure anew")
        for operation in document["operations"].values():
            for number in operation["numbers"].values():
                _values(number)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise BenchError(f"{path} holds no result of gateway bench; save one with --save") from error
    return dict(document)


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Comparison]:
    """Every number about the gateway that both have."""
    found = []
    for name, operation in new["operations"].items():
        before = old["operations"].get(name, {}).get("numbers", {})
        for measure, number in operation["numbers"].items():
            about = MEASURES.get(measure)
            if about is None or about.of_load or measure not in before:
                continue
            found.append(_compared(name, measure, before[measure], number))
    return found


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What else is different: the machine, and how it was measured. A comparison then says less."""
    said = []
    for part in ("machine", "parameters"):
        before, now = old.get(part, {}), new[part]
        said += [f"{name} was {before.get(name)}, is {now[name]}" for name in now if before.get(name) != now[name]]
    return said


def _compared(operation: str, measure: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Comparison:
    before, now = _values(old), _values(new)
    old_range, new_range = (min(before), max(before)), (min(now), max(now))
    if old_range[0] <= new_range[1] and new_range[0] <= old_range[1]:
        verdict = Verdict.NOISE
    elif min(len(before), len(now)) < MIN_ROUNDS:
        verdict = Verdict.TOO_FEW
    else:
        grew = new_range[0] > old_range[1]
        verdict = Verdict.BETTER if grew is MEASURES[measure].more_is_better else Verdict.WORSE
    return Comparison(operation, measure, old["median"], new["median"], old_range, new_range, verdict)


def _values(number: Mapping[str, Any]) -> list[float]:
    values = [float(value) for value in number["rounds"]]
    float(number["median"])
    if not values:
        raise ValueError("a number without rounds")
    return values
