"""Structured logs: one chain for our own lines and for those of libraries that use the standard `logging`."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from gateway.telemetry.limiter import EventLimiter
from gateway.telemetry.lines import describe, render_json
from gateway.telemetry.sanitize import sanitize
from gateway.telemetry.writer import LineLoggerFactory

LogFormat = Literal["auto", "json", "console"]
LogLevel = Literal["debug", "info", "warning", "error"]


def configure_logging(
    level: LogLevel = "info",
    format: LogFormat = "auto",
    *,
    stream: TextIO | None = None,
    limiter: EventLimiter | None = None,
    worker: int | None = None,
) -> None:
    """Set up structlog and the standard `logging` for the whole process; calling it again replaces the set-up.

    Args:
        level: The least important lines to write.
        format: "json", "console", or "auto": console when the stream is a terminal, JSON otherwise.
        stream: Where lines go; standard output by default.
        limiter: Leaves out surplus lines of events that strangers can cause.
        worker: The number that every line carries; None for a process that is the only one.
    """
    target = sys.stdout if stream is None else stream
    console = format == "console" or (format == "auto" and target.isatty())
    threshold = _threshold(level)
    chain = _chain(limiter, worker)
    renderer: list[Processor] = [render_json]
    if console:
        renderer = [describe, sanitize, _console_renderer(colors=target.isatty())]

    structlog.configure(
        processors=[*chain, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        context_class=dict,
        logger_factory=LineLoggerFactory(target),
        # Loggers made at import time must follow a later configuration.
        cache_logger_on_first_use=False,
    )
    _route_standard_logging(target, threshold, chain, renderer)


def set_log_level(level: LogLevel) -> None:
    """Change the least important lines to write, and nothing else. A logger that was bound before keeps its level."""
    threshold = _threshold(level)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(threshold))
    logging.getLogger().setLevel(threshold)


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger whose lines carry `logger=name`."""
    return cast(FilteringBoundLogger, structlog.get_logger(logger_name=name))


def report_suppressed(limiter: EventLimiter | None, log: FilteringBoundLogger) -> None:
    """What the log left out of a flood that has ended, which no later line of the same event says."""
    for event, count in (limiter.drain() if limiter is not None else {}).items():
        log.warning("log.suppressed", limited_event=event, suppressed=count)


def _threshold(level: LogLevel) -> int:
    return logging.getLevelNamesMapping()[level.upper()]


def _chain(limiter: EventLimiter | None, worker: int | None) -> list[Processor]:
    # The limiter stands first: a flood must not pay for the rest of the chain.
    first: list[Processor] = [] if limiter is None else [limiter]
    if worker is not None:
        # Not a context variable: threads have a context of their own.
        first.append(_adding(worker))
    return [
        *first,
        structlog.contextvars.merge_contextvars,
        _add_traceback,
    ]


def _adding(worker: int) -> Processor:
    def add(logger: Any, method: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event_dict["worker"] = worker
        return event_dict

    return add


def _add_traceback(logger: Any, method: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Plain text: the renderers that show local variables would show keys."""
    if "exc_info" not in event_dict and "stack_info" not in event_dict:
        return event_dict
    return structlog.processors.format_exc_info(logger, method, _render_stack(logger, method, event_dict))


_render_stack = structlog.processors.StackInfoRenderer()


def _console_renderer(*, colors: bool) -> Processor:
    return structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, so that a second configuration finds and replaces it."""


def _route_standard_logging(target: TextIO, threshold: int, chain: list[Processor], renderer: list[Processor]) -> None:
    handler = _Handler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *chain],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(threshold)
    logging.captureWarnings(True)
