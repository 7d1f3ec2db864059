"""What a line looks like, whoever writes it, and what it never shows."""

import io
import json
import logging
import re
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from gateway.telemetry import (
    REDACTED,
    EventLimiter,
    LogFormat,
    LogLevel,
    configure_logging,
    get_logger,
    set_log_level,
)
from gateway.telemetry.limits import MAX_ITEMS, MAX_TEXT, MAX_TRACEBACK

RFC_3339_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored(logging_restored: None) -> Iterator[None]:
    yield
    structlog.contextvars.clear_contextvars()


def configured(
    level: LogLevel = "info", format: LogFormat = "json", limiter: EventLimiter | None = None
) -> io.StringIO:
    stream = io.StringIO()
    configure_logging(level, format, stream=stream, limiter=limiter)
    return stream


def only_line(stream: io.StringIO) -> dict[str, Any]:
    [line] = stream.getvalue().splitlines()
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def test_the_level_can_change_and_nothing_else_does() -> None:
    stream = configured("warning", limiter=EventLimiter(["a.flood"], burst=1))
    ours, theirs = get_logger("gateway.test"), logging.getLogger("library")
    set_log_level("debug")
    ours.debug("a.detail")
    theirs.debug("theirs")
    ours.debug("a.flood")
    ours.debug("a.flood")
    set_log_level("error")
    ours.warning("a.warning")
    theirs.warning("theirs too")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["a.detail", "theirs", "a.flood"]


def test_our_line() -> None:
    stream = configured()
    get_logger("gateway.test").info("thing.happened", device_id="dev1", duration_s=0.25, ok=True, nothing=None)
    line = only_line(stream)
    assert RFC_3339_UTC.fullmatch(line.pop("timestamp"))
    assert line == {
        "level": "info",
        "event": "thing.happened",
        "logger": "gateway.test",
        "device_id": "dev1",
        "duration_s": 0.25,
        "ok": True,
        "nothing": None,
    }


def test_a_line_of_a_library_goes_through_the_same_chain() -> None:
    stream = configured()
    logging.getLogger("some.library").warning("hello %s", "world\x1b[2J")
    line = only_line(stream)
    assert RFC_3339_UTC.fullmatch(line.pop("timestamp"))
    assert line == {"level": "warning", "event": "hello world\\x1b[2J", "logger": "some.library"}


def test_warnings_of_python_are_lines_too() -> None:
    stream = configured()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old habit", UserWarning, stacklevel=1)
    assert "old habit" in only_line(stream)["event"]


def test_the_number_of_a_worker_is_on_every_line_of_every_thread() -> None:
    stream = io.StringIO()
    configure_logging("info", "json", stream=stream, worker=3)
    get_logger("gateway.test").info("an.event")
    thread = threading.Thread(target=lambda: logging.getLogger("library").warning("theirs"))
    thread.start()
    thread.join()
    assert [json.loads(line)["worker"] for line in stream.getvalue().splitlines()] == [3, 3]
    stream = configured()
    get_logger("gateway.test").info("an.event")
    assert "worker" not in only_line(stream)


def test_context_variables_are_on_every_line() -> None:
    stream = configured()
    with structlog.contextvars.bound_contextvars(session="s1"):
        get_logger("a").info("x")
        logging.getLogger("b").info("y")
    assert [json.loads(line)["session"] for line in stream.getvalue().splitlines()] == ["s1", "s1"]


@pytest.mark.parametrize(("level", "lines"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_holds_for_both(level: LogLevel, lines: int) -> None:
    stream = configured(level)
    ours, theirs = get_logger("a"), logging.getLogger("b")
    for name in ("debug", "info", "warning", "error"):
        getattr(ours, name)("x")
        getattr(theirs, name)("x")
    assert len(stream.getvalue().splitlines()) == 2 * lines


def test_a_logger_made_before_the_configuration_follows_it() -> None:
    early = get_logger("early")
    first, second = configured(), configured()
    early.info("x")
    assert first.getvalue() == ""
    assert only_line(second)["logger"] == "early"


def test_configuring_twice_writes_each_line_once() -> None:
    configured()
    stream = configured()
    logging.getLogger("a").info("x")
    assert only_line(stream)["event"] == "x"


@pytest.mark.parametrize(
    ("stream", "format", "is_json"),
    [
        (io.StringIO(), "auto", True),
        (Terminal(), "auto", False),
        (io.StringIO(), "console", False),
        (Terminal(), "json", True),
    ],
)
def test_json_unless_a_terminal_reads(stream: io.StringIO, format: LogFormat, is_json: bool) -> None:
    configure_logging("info", format, stream=stream)
    get_logger("a").info("x")
    assert stream.getvalue().startswith("{") == is_json


@pytest.mark.parametrize(
    "name",
    ["psk", "PSK", "psk_key", "key", "private_key", "master_secret", "password", "db_password", "token", "payload"],
)
@pytest.mark.parametrize("format", ["json", "console"])
def test_secrets_are_redacted_by_name_at_any_depth(name: str, format: LogFormat) -> None:
    stream = configured(format=format)
    get_logger("a").info("x", **{name: "hunter2"}, nested=[{"deep": {name: b"hunter2"}}])
    assert "hunter2" not in stream.getvalue()
    assert stream.getvalue().count(REDACTED) == 2


@pytest.mark.parametrize("name", ["key_id", "psk_identity", "token_hash", "payload_bytes", "device_id", "keynote"])
def test_names_that_only_sound_secret_stay(name: str) -> None:
    stream = configured()
    get_logger("a").info("x", **{name: "shown"})
    assert only_line(stream)[name] == "shown"


@pytest.mark.parametrize("value", [b"hunter2", bytearray(b"hunter2"), memoryview(b"hunter2")])
def test_bytes_are_never_shown(value: object) -> None:
    stream = configured()
    get_logger("a").info("x", identity=value)
    assert only_line(stream)["identity"] == "<7 bytes>"


@pytest.mark.parametrize("format", ["json", "console"])
def test_local_variables_are_in_no_traceback_and_control_characters_do_nothing(format: LogFormat) -> None:
    stream = configured(format=format)

    def fails() -> None:
        local = "hunter" + "2"
        raise RuntimeError(f"bad \x1b]0;title\x07 of length {len(local)}")

    for logger in (get_logger("a"), logging.getLogger("b")):
        try:
            fails()
        except RuntimeError:
            logger.exception("it.failed")
    text = stream.getvalue()
    assert text.count("Traceback (most recent call last)") == 2
    assert "hunter2" not in text
    assert "\x1b" not in text
    assert "\x07" not in text


def test_a_value_of_a_stranger_is_bounded() -> None:
    stream = configured()
    deep: list[Any] = []
    for _ in range(1000):
        deep = [deep]
    get_logger("a").info("x", long="a" * 10_000, deep=deep, wide=list(range(10_000)), table=dict.fromkeys(range(9999)))
    line = only_line(stream)
    assert line["long"] == "a" * MAX_TEXT + "... (10000 characters)"
    assert len(line["wide"]) == MAX_ITEMS
    assert len(line["table"]) == MAX_ITEMS
    assert len(json.dumps(line["deep"])) < 100


def test_a_traceback_keeps_its_end() -> None:
    stream = configured()
    try:
        raise RuntimeError("a" * 2 * MAX_TRACEBACK + "the cause")
    except RuntimeError:
        get_logger("a").exception("x")
    exception = only_line(stream)["exception"]
    assert len(exception) == MAX_TRACEBACK
    assert exception.endswith("the cause")


@pytest.mark.parametrize("text", ["line\nbreak", "\x1b[31m", "\u202e", "\ud800", "\x00", "\u2028"])
@pytest.mark.parametrize("format", ["json", "console"])
def test_no_value_breaks_the_line(text: str, format: LogFormat) -> None:
    stream = configured(format=format)
    get_logger("a").info("x", value=text, **{"k": {text: text}})
    assert text not in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 1
    stream.getvalue().encode()


def test_the_limiter_leaves_out_lines_and_says_how_many() -> None:
    now = 0.0
    limiter = EventLimiter(["noisy"], burst=2, period_s=1.0, clock=lambda: now)
    stream = configured(limiter=limiter)
    log = get_logger("a")
    for _ in range(10):
        log.info("noisy")
        log.info("other")
    now = 1.0
    log.info("noisy")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines].count("other") == 10
    noisy = [line for line in lines if line["event"] == "noisy"]
    assert [line.get("suppressed") for line in noisy] == [None, None, 8]
    assert limiter.totals() == {"noisy": 8}
