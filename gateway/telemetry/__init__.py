"""Logs and metrics for every room: how to write a line, how to count, what a scrape reads. Knows no protocol."""

from gateway.telemetry.collector import Metrics, MetricSource, build_info
from gateway.telemetry.limiter import EventLimiter
from gateway.telemetry.logs import LogFormat, LogLevel, configure_logging, get_logger, report_suppressed, set_log_level
from gateway.telemetry.metrics import (
    HANDSHAKE_BUCKETS_S,
    OTHER,
    REQUEST_BUCKETS_S,
    CounterTable,
    Histogram,
    HistogramCell,
    counter_family,
    gauge_family,
)
from gateway.telemetry.probes import Heartbeat, udp_receive_drops
from gateway.telemetry.sanitize import REDACTED
from gateway.telemetry.writer import together

__all__ = [
    "HANDSHAKE_BUCKETS_S",
    "OTHER",
    "REDACTED",
    "REQUEST_BUCKETS_S",
    "CounterTable",
    "EventLimiter",
    "Heartbeat",
    "Histogram",
    "HistogramCell",
    "LogFormat",
    "LogLevel",
    "MetricSource",
    "Metrics",
    "build_info",
    "configure_logging",
    "counter_family",
    "gauge_family",
    "get_logger",
    "report_suppressed",
    "set_log_level",
    "together",
    "udp_receive_drops",
]
