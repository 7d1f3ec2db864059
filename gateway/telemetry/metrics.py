"""Counters and histograms that cost an addition where they are counted, and become Prometheus families at a scrape.

Whatever counts, counts in plain numbers from one thread (the event loop). A scrape runs in the thread of the admin
server and only reads: it copies a table in one step of the interpreter and then works on the copy.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from gateway.telemetry.limits import MAX_SERIES

OTHER: Final = "other"
"""The label value that stands for everything outside a closed set (the custom of CoreDNS)."""

HANDSHAKE_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds; up to a minute, because radio links are slow."""

REQUEST_BUCKETS_S: Final = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 10.0)
"""Seconds; from what a synchronous handler takes to what a slow back end takes."""

_NAME: Final = re.compile(r"gateway(_[a-z][a-z0-9]*)+")
_NOT_BASE_UNITS: Final = frozenset({"ms", "us", "milliseconds", "microseconds", "minutes", "hours", "kb", "mb", "kib"})

LabelSets = Mapping[str, Iterable[str] | None]
"""Label name -> its closed set of values (an enum does), or None where only MAX_SERIES bounds it (routes)."""


class CounterTable:
    """A counter with labels: `table.add("psk", "success")`."""

    __slots__ = ("_known", "_labels", "_values", "documentation", "name")

    def __init__(self, name: str, documentation: str, labels: LabelSets | None = None) -> None:
        """Declare a counter.

        Args:
            name: Full name, `gateway_..._total`.
            documentation: One sentence for the reader of /metrics.
            labels: The labels in the order in which `add` takes them.

        Raises:
            ValueError: The name breaks a naming rule of Prometheus.
        """
        if not name.endswith("_total"):
            raise ValueError(f"a counter's name ends with _total: {name}")
        self.name = check_name(name)
        self.documentation = documentation
        self._labels, self._known = _label_sets(labels)
        self._values: dict[tuple[str, ...], int] = {} if self._labels else {(): 0}

    def add(self, *labels: str, by: int = 1) -> None:
        """Count. A label value outside its closed set is folded into "other"."""
        try:
            self._values[labels] += by
        except KeyError:
            key = _admit(labels, self._known, self._values)
            self._values[key] = self._values.get(key, 0) + by

    def value(self, *labels: str) -> int:
        """What was counted so far under these labels."""
        return self._values.get(labels, 0)

    def total(self) -> int:
        """What was counted so far under all labels."""
        return sum(self._values.copy().values())

    def family(self) -> CounterMetricFamily:
        """What a scrape gets."""
        return counter_family(self.name, self.documentation, self._labels, self._values.copy())


class Histogram:
    """Fixed buckets, one `bisect` and two additions an observation."""

    __slots__ = ("_bounds", "_known", "_labels", "_values", "documentation", "name")

    def __init__(self, name: str, documentation: str, bounds: Iterable[float], labels: LabelSets | None = None) -> None:
        """Declare a histogram.

        Args:
            name: Full name with its base unit, `gateway_..._seconds`.
            documentation: One sentence for the reader of /metrics.
            bounds: Upper bounds of the buckets, ascending, without infinity.
            labels: The labels in the order in which `observe` takes them.

        Raises:
            ValueError: The name breaks a naming rule of Prometheus, or the bounds do not ascend.
        """
        self.name = check_name(name)
        self.documentation = documentation
        self._bounds = tuple(bounds)
        if not self._bounds or list(self._bounds) != sorted(set(self._bounds)):
            raise ValueError("bounds must ascend")
        self._labels, self._known = _label_sets(labels)
        self._values: dict[tuple[str, ...], HistogramCell] = {}
        if not self._labels:
            self._values[()] = HistogramCell(self._bounds)

    def observe(self, value: float, *labels: str) -> None:
        """Count one value. A label value outside its closed set is folded into "other"."""
        cell = self._values.get(labels)
        (self.cell(*labels) if cell is None else cell).observe(value)

    def cell(self, *labels: str) -> "HistogramCell":
        """The buckets of one combination of labels, for a caller that observes often under the same ones."""
        key = _admit(labels, self._known, self._values)
        cell = self._values.get(key)
        if cell is None:
            cell = self._values[key] = HistogramCell(self._bounds)
        return cell

    def family(self) -> HistogramMetricFamily:
        """What a scrape gets."""
        family = HistogramMetricFamily(self.name, self.documentation, labels=self._labels)
        for labels, cell in self._values.copy().items():
            family.add_metric(labels, *cell.cumulative())
        return family


class HistogramCell:
    """The buckets of one combination of labels."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value; one that equals a bound belongs to the bucket below it ("le")."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def cumulative(self) -> tuple[list[tuple[str, float]], float]:
        """Prometheus' form: bound and number of values up to it, and the sum."""
        # The sum first: a value that arrives in between is then missing from the sum, and never the other way round.
        total, counts = self._sum, self._counts.copy()
        running, buckets = 0, []
        for bound, count in zip((*map(_bound_text, self._bounds), "+Inf"), counts, strict=True):
            running += count
            buckets.append((bound, float(running)))
        return buckets, total


def counter_family(
    name: str, documentation: str, labels: Iterable[str], values: Mapping[tuple[str, ...], int]
) -> CounterMetricFamily:
    """A counter from numbers that are kept elsewhere: label values in order -> number."""
    family = CounterMetricFamily(check_name(name), documentation, labels=tuple(labels))
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def gauge_family(
    name: str, documentation: str, labels: Iterable[str], values: Mapping[tuple[str, ...], float]
) -> GaugeMetricFamily:
    """A gauge from numbers that are kept elsewhere: label values in order -> number."""
    family = GaugeMetricFamily(check_name(name), documentation, labels=tuple(labels))
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def check_name(name: str) -> str:
    """Return the name if it follows the naming rules: our prefix, lower case, base units.

    Raises:
        ValueError: It does not.
    """
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"not a metric name of the gateway: {name}")
    if not _NOT_BASE_UNITS.isdisjoint(name.split("_")):
        raise ValueError(f"metrics are in base units (seconds, bytes): {name}")
    return name


def _label_sets(labels: LabelSets | None) -> tuple[tuple[str, ...], tuple[frozenset[str] | None, ...]]:
    if not labels:
        return (), ()
    known = tuple(None if values is None else frozenset(map(str, values)) for values in labels.values())
    return tuple(labels), known


def _admit(
    labels: tuple[str, ...], known: tuple[frozenset[str] | None, ...], present: Mapping[tuple[str, ...], object]
) -> tuple[str, ...]:
    """The key under which these labels are kept: closed sets stay closed, and the table stays bounded."""
    if len(labels) != len(known):
        raise ValueError(f"{len(known)} labels are needed, not {len(labels)}")
    # `str` of a StrEnum member is its value, and a plain string is one object less to keep.
    key = tuple(
        str(label) if allowed is None or label in allowed else OTHER
        for label, allowed in zip(labels, known, strict=True)
    )
    if key not in present and len(present) >= MAX_SERIES:
        return tuple(label if allowed is not None else OTHER for label, allowed in zip(key, known, strict=True))
    return key


def _bound_text(bound: float) -> str:
    return repr(float(bound))
