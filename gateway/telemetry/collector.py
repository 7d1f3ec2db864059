"""The one Prometheus registry: it asks every source for its families when somebody scrapes."""

import platform
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import prometheus_client
from cryptography.hazmat.backends.openssl.backend import backend
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway import __version__
from gateway.telemetry.logs import get_logger
from gateway.telemetry.metrics import CounterTable, Histogram

MetricSource = Callable[[], Iterable[Metric]]
"""Yields families when called. Runs in the scraping thread: it may only read, and copies what it iterates over."""

_ERRORS: Final = "gateway_metric_source_errors_total"


class Metrics:
    """All metrics of a process.

    Attributes:
        registry: What `/metrics` renders.
    """

    def __init__(self) -> None:
        """Set up the registry with the process's own metrics and `gateway_build_info`."""
        # One `_created` series beside each counter doubles the number of series and serves nobody here.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry(auto_describe=False)
        self._collector = _SourceCollector()
        self.registry.register(self._collector)
        self._process = ProcessCollector(registry=self.registry)
        self.add_source("build", lambda: [build_info()])

    def add_source(self, name: str, source: MetricSource) -> None:
        """Ask this source at every scrape, in the order in which sources were added.

        Args:
            name: Stands in the log and the metric when the source fails; adding a name again replaces its source.
            source: See `MetricSource`.
        """
        self._collector.sources[name] = source

    def remove_source(self, name: str) -> None:
        """Ask this source no more; an unknown name is no error."""
        self._collector.sources.pop(name, None)

    def add_tables(self, name: str, *tables: CounterTable | Histogram) -> None:
        """Add counters and histograms as one source."""
        self.add_source(name, lambda: [table.family() for table in tables])


def build_info() -> InfoMetricFamily:
    """Versions of the gateway, Python and OpenSSL."""
    return InfoMetricFamily(
        "gateway_build",
        "What is running.",
        value={
            "version": __version__,
            "python": platform.python_version(),
            "openssl": backend.openssl_version_text(),
        },
    )


class _SourceCollector(Collector):
    def __init__(self) -> None:
        self.sources: dict[str, MetricSource] = {}
        self._errors = CounterTable(_ERRORS, "Metric sources that failed during a scrape.", {"source": None})
        self._log = get_logger("gateway.telemetry")

    def collect(self) -> Iterator[Metric]:
        for name, source in self.sources.copy().items():
            try:
                # A list, so that a source that fails half-way leaves no half behind.
                families = list(source())
            except Exception:
                # The other sources are worth more now than ever.
                self._errors.add(name)
                self._log.exception("metrics.source_failed", source=name)
                continue
            yield from families
        yield self._errors.family()
