"""The result of a benchmark as a document, and as a table."""

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from gateway import __version__
from gateway.dtls import association
from gateway.simulator.bench.measuring import BenchPlan, Measured

SCHEMA: Final = "gateway-bench/1"
"""Changes when a reader of the old form would misunderstand the new one."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What a number is.

    Attributes:
        text: For humans.
        unit: Of the number.
        digits: Behind the point, where it is shown.
        more_is_better: Else less is.
        of_load: It says something about the load, and nothing about the gateway.
    """

    text: str
    unit: str
    digits: int = 1
    more_is_better: bool = False
    of_load: bool = False


MEASURES: Final[Mapping[str, Measure]] = {
    "rate": Measure("a second", "1/s", 0, more_is_better=True),
    "p50": Measure("p50", "ms", 2),
    "p99": Measure("p99", "ms", 2),
    "cpu": Measure("gateway CPU", "us"),
    "sent": Measure("to the gateway", "bytes", 0),
    "received": Measure("from the gateway", "bytes", 0),
    "memory": Measure("memory", "bytes", 0),
    "load_cpu": Measure("load CPU", "us", of_load=True),
}

_LIMITS: Final = {
    "load": "the load was the limit, and the gateway can do more (take more --processes, or go by its CPU time)",
    "machine": "all processors were busy, with the load or with something else (go by the gateway's CPU time)",
}


def make_document(plan: BenchPlan, measured: Sequence[Measured]) -> dict[str, Any]:
    """Everything, as plain values: each number with its rounds, their median, the least and the most."""
    return {
        "schema": SCHEMA,
        "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "gateway": __version__,
        "machine": machine(),
        "parameters": {
            "target": str(plan.target.address) if plan.target is not None else None,
            "seconds": plan.seconds,
            "rounds": plan.rounds,
            "devices": plan.devices,
            "processes": plan.processes,
            "sessions": plan.sessions,
            "workers": plan.workers,
        },
        "operations": {each.operation.value: _operation(each) for each in measured},
    }


def machine() -> dict[str, Any]:
    """What the numbers depend on most."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        # A module that mypyc has made is no Python file any more.
        "compiled": not (association.__file__ or "").endswith(".py"),
        "cryptography": version("cryptography"),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
    }


def rows(document: Mapping[str, Any]) -> list[dict[str, str]]:
    """The medians, a line for each operation."""
    found = []
    for name, operation in document["operations"].items():
        row = {"operation": name}
        for measure, about in MEASURES.items():
            if measure in operation["numbers"]:
                row[column(measure)] = f"{operation['numbers'][measure]['median']:.{about.digits}f}"
            else:
                row[column(measure)] = ""
        row["held up by"] = ", ".join(operation["held_up_by"])
        found.append(row)
    return found


def column(measure: str) -> str:
    """The head of a measure's column."""
    about = MEASURES[measure]
    return about.text if about.unit in ("1/s",) else f"{about.text}, {about.unit}"


COLUMNS: Final = ("operation", *map(column, MEASURES), "held up by")


def remarks(document: Mapping[str, Any]) -> list[str]:
    """What a reader of the table has to know besides, a sentence each."""
    said = []
    for name, operation in document["operations"].items():
        for limit in ("load", "machine"):
            if limit in operation["held_up_by"]:
                said.append(f"{name}: {_LIMITS[limit]} in {operation['held_up_by'][limit]} of the rounds")
        if name != "idle" and "cpu" not in operation["numbers"]:
            said.append(
                f"{name}: the gateway's CPU time is not known: name its process with --pid, on a system with /proc"
            )
        for text, count in operation["errors"].items():
            said.append(f"{name}: {count} times {text}")
    return said


def _operation(measured: Measured) -> dict[str, Any]:
    names = [name for name in MEASURES if measured.rounds and name in measured.rounds[0]]
    return {
        "numbers": {name: _number(name, [each[name] for each in measured.rounds]) for name in names},
        "cipher_suites": measured.suites,
        "held_up_by": dict(measured.limits),
        "errors": dict(measured.errors),
    }


def _number(name: str, values: list[float]) -> dict[str, Any]:
    rounded = [round(value, 3) for value in values]
    return {
        "unit": MEASURES[name].unit,
        "median": round(statistics.median(values), 3),
        "least": min(rounded),
        "most": max(rounded),
        "rounds": rounded,
    }


def _processor() -> str:
    """The model's name as Linux has it, or the kind of processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
