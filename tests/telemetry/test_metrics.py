"""Counters and histograms, checked through Prometheus' own client and its parsers."""

import platform
import ssl
from collections.abc import Iterable
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Histogram as ReferenceHistogram
from prometheus_client.core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

import gateway
from gateway.telemetry import CounterTable, Histogram, Metrics, counter_family, gauge_family
from gateway.telemetry.limits import MAX_SERIES


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_a_counter_with_closed_labels() -> None:
    table = CounterTable("gateway_things_total", "Things.", {"colour": Colour, "size": ("big", "small")})
    table.add(Colour.RED, "big")
    table.add("red", "big", by=4)
    table.add("blue", "small")
    table.add("green", "tiny")
    metrics = Metrics()
    metrics.add_tables("things", table)
    assert sample(metrics, "gateway_things_total", colour="red", size="big") == 5
    assert sample(metrics, "gateway_things_total", colour="blue", size="small") == 1
    assert sample(metrics, "gateway_things_total", colour="other", size="other") == 1
    assert (table.value("red", "big"), table.value("blue", "big"), table.total()) == (5, 0, 7)


def test_a_counter_without_labels_is_there_before_it_counts() -> None:
    metrics = Metrics()
    table = CounterTable("gateway_things_total", "Things.")
    metrics.add_tables("things", table)
    assert sample(metrics, "gateway_things_total") == 0
    table.add()
    assert sample(metrics, "gateway_things_total") == 1


def test_the_wrong_number_of_labels_is_a_bug() -> None:
    with pytest.raises(ValueError, match="2 labels are needed"):
        CounterTable("gateway_things_total", "Things.", {"a": None, "b": None}).add("x")


def test_an_open_label_cannot_flood_a_counter() -> None:
    table = CounterTable("gateway_things_total", "Things.", {"route": None, "colour": Colour})
    for number in range(MAX_SERIES + 500):
        table.add(f"/{number}", "red")
    assert len(table.family().samples) == MAX_SERIES + 1
    assert table.value("other", "red") == 500
    table.add("/0", "red")
    assert table.value("/0", "red") == 2


def test_an_open_label_cannot_flood_a_histogram() -> None:
    histogram = Histogram("gateway_wait_seconds", "Wait.", [1.0], {"route": None})
    for number in range(MAX_SERIES + 500):
        histogram.observe(0.5, f"/{number}")
    counts = {s.labels["route"]: s.value for s in histogram.family().samples if s.name.endswith("_count")}
    assert len(counts) == MAX_SERIES + 1
    assert counts["other"] == 500


@given(st.lists(st.floats(-1, 20) | st.sampled_from([0.1, 1.0, 10.0])))
def test_a_histogram_equals_that_of_the_client_library(values: list[float]) -> None:
    bounds = (0.1, 1.0, 10.0)
    registry = CollectorRegistry()
    reference = ReferenceHistogram("gateway_wait_seconds", "Wait.", buckets=bounds, registry=registry)
    ours = Histogram("gateway_wait_seconds", "Wait.", bounds)
    for value in values:
        reference.observe(value)
        ours.observe(value)
    theirs = {
        (s.name, tuple(s.labels.items())): s.value
        for family in registry.collect()
        for s in family.samples
        if not s.name.endswith("_created")
    }
    assert {(s.name, tuple(s.labels.items())): s.value for s in ours.family().samples} == theirs


def test_a_cell_is_the_histogram_s_own() -> None:
    histogram = Histogram("gateway_wait_seconds", "Wait.", [1.0], {"colour": Colour})
    cell = histogram.cell(Colour.RED)
    cell.observe(0.5)
    histogram.observe(2.0, "red")
    assert cell is histogram.cell("red")
    assert cell.cumulative() == ([("1.0", 1.0), ("+Inf", 2.0)], 2.5)


@pytest.mark.parametrize("bounds", [[], [2.0, 1.0], [1.0, 1.0]])
def test_bounds_ascend(bounds: list[float]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        Histogram("gateway_wait_seconds", "Wait.", bounds)


@pytest.mark.parametrize(
    "name", ["things_total", "gateway_Things_total", "gateway_things", "gateway_wait_ms_total", "gateway__x_total"]
)
def test_names_follow_the_rules(name: str) -> None:
    with pytest.raises(ValueError, match=r"name|base units"):
        CounterTable(name, "Things.")


def test_build_info_names_the_real_versions() -> None:
    [family] = [family for family in Metrics().registry.collect() if family.name == "gateway_build"]
    [only] = family.samples
    assert only.name == "gateway_build_info"
    assert only.labels["version"] == gateway.__version__
    assert only.labels["python"] == platform.python_version()
    assert only.labels["openssl"].startswith("OpenSSL ")
    assert ssl.OPENSSL_VERSION.startswith("OpenSSL ")


def test_process_metrics_are_there() -> None:
    metrics = Metrics()
    resident = sample(metrics, "process_resident_memory_bytes")
    assert resident is not None
    assert resident > 1_000_000


def test_a_source_that_fails_costs_itself_and_is_counted() -> None:
    metrics = Metrics()

    def half() -> Iterable[Metric]:
        yield gauge_family("gateway_half", "Half.", (), {(): 1})
        raise RuntimeError("broken")

    metrics.add_source("half", half)
    metrics.add_source("good", lambda: [gauge_family("gateway_good", "Good.", (), {(): 1})])
    assert sample(metrics, "gateway_half") is None
    assert sample(metrics, "gateway_good") == 1
    assert sample(metrics, "gateway_metric_source_errors_total", source="half") == 3


def test_sources_come_and_go() -> None:
    metrics = Metrics()
    metrics.add_source("a", lambda: [gauge_family("gateway_a", "A.", (), {(): 1})])
    metrics.add_source("a", lambda: [gauge_family("gateway_a", "A.", (), {(): 2})])
    assert sample(metrics, "gateway_a") == 2
    metrics.remove_source("a")
    metrics.remove_source("a")
    assert sample(metrics, "gateway_a") is None


def test_both_formats_parse_and_hold_no_created_series() -> None:
    metrics = Metrics()
    metrics.add_tables(
        "all",
        CounterTable("gateway_things_total", "Things.", {"colour": Colour}),
        Histogram("gateway_wait_seconds", "Wait.", [0.5, 1.0]),
    )
    metrics.add_source("kept", lambda: [counter_family("gateway_kept_total", "Kept.", ("c",), {("x",): 3})])
    text = generate_latest(metrics.registry).decode()
    open_text = generate_openmetrics(metrics.registry).decode()  # type: ignore[no-untyped-call]
    plain = list(text_string_to_metric_families(text))
    for families in (plain, list(parse_openmetrics(open_text))):  # type: ignore[no-untyped-call]
        values = {(s.name, s.labels.get("c")): s.value for family in families for s in family.samples}
        assert values["gateway_kept_total", "x"] == 3
        assert values["gateway_wait_seconds_count", None] == 0
        assert not [name for name, _ in values if name.endswith("_created")]
