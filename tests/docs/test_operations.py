"""docs/operations.md lists what the code has: metrics, events, failure reasons, exit statuses. Nothing more or less."""

import ast
import json
import time
from pathlib import Path

import aiocoap  # type: ignore[import-untyped]
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from gateway.cli import common
from gateway.config import RELOADABLE, load_settings
from gateway.doctor import examine
from gateway.dtls import FailureReason
from gateway.dtls.errors import ALERT_FOR, PSK_REFUSALS, DropReason
from gateway.handlers import load_handlers
from gateway.server.line import Trouble
from gateway.server.metrics import CLOSE_REASONS
from gateway.telemetry.limits import EVENT_BURST
from gateway.telemetry.sanitize import is_secret
from tests.docs.pages import ROOT, names, section, table
from tests.dtls.rawclient import RawClient
from tests.server.several import Several
from tests.server.support import labels, prepare, running
from tests.server.workers_together import several

PAGE = ROOT / "docs/operations.md"
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
ONLY_WITH_A_FAULT = {"gateway_metric_source_errors_total"}


# --- metrics -------------------------------------------------------------------------------------------------------


def exposed_name(family: Metric) -> str:
    """As Prometheus shows it: the parser takes the endings off."""
    return family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")


@pytest.mark.asyncio
async def test_metrics(tmp_path: Path) -> None:
    app = load_handlers(["telemetry", "time"], {"telemetry": {"path": str(tmp_path / "telemetry.jsonl")}})
    async with running(tmp_path, app) as gateway:
        async with gateway.wire() as device:
            await device.ask(device.request(aiocoap.GET, "/time"))
            device.send(device.client.alert(1, 0, epoch=1))  # close_notify
        stranger = gateway.wire(RawClient(identity=b"nobody"))
        await stranger.reach_server_done()
        for datagram in stranger.client.answer_flight():
            stranger.send(datagram)
        await stranger.alert()
        stranger.udp.close()
        families = list((await gateway.scrape()).values())
    found = {exposed_name(family): family for family in families}
    rows = {names(name)[0]: (kind, names(label)) for name, kind, label, _ in table(PAGE, "Metrics")}
    assert rows.keys() == found.keys()
    for name, (kind, label_names) in rows.items():
        family = found[name]
        if name == "gateway_build_info":
            # In the text format, an info metric is a gauge.
            assert kind == "info"
        else:
            assert kind == family.type, name
        assert family.samples or name in ONLY_WITH_A_FAULT, name
        if family.samples:
            assert set(labels(family)) - {"le"} == set(label_names), name


@pytest.mark.asyncio
async def test_metrics_of_several_workers(tmp_path: Path) -> None:
    async with several(tmp_path) as workers:
        families = [*workers.together(0).families(), *workers.hub.families()]
    found = {exposed_name(family): family for family in families}
    rows = {
        names(name)[0]: (kind, names(label)) for name, kind, label, _ in table(PAGE, "Devices and several workers", 1)
    }
    assert rows.keys() == found.keys()
    for name, (kind, label_names) in rows.items():
        assert kind == found[name].type, name
        assert set(labels(found[name])) == set(label_names), name
    meanings = next(row[3] for row in table(PAGE, "Devices and several workers", 1) if "exchanges" in row[0])
    assert {name for name in names(meanings) if name in set(Trouble)} == set(Trouble)


@pytest.mark.asyncio
async def test_metrics_of_workers(tmp_path: Path) -> None:
    with Several(tmp_path) as gateway:
        _, text = await gateway.get("/metrics")
    families = [family for family in text_string_to_metric_families(text) if family.name.startswith("gateway_worker")]
    found = {exposed_name(family): (family.type, set(labels(family))) for family in families}
    rows = table(PAGE, "Workers", 1)
    assert {names(name)[0]: (kind, set(names(label))) for name, kind, label, _ in rows} == found


def test_reasons_of_dropped_records() -> None:
    assert [names(row[0])[0] for row in table(PAGE, "Why a record was dropped")] == list(DropReason)


def test_reasons_of_closed_sessions() -> None:
    rows = table(PAGE, "Why a session ended")
    assert {names(log)[0]: names(metric)[0] for log, metric, _ in rows} == CLOSE_REASONS
    assert len(rows) == len(CLOSE_REASONS)


# --- why a handshake failed ----------------------------------------------------------------------------------------


def test_failure_reasons() -> None:
    rows = table(PAGE, "Why a handshake failed")
    assert [names(row[0])[0] for row in rows] == list(FailureReason)
    for reason, (first, alert, cause, remedy) in zip(FailureReason, rows, strict=True):
        sent = ALERT_FOR[reason]
        assert alert == ("none" if sent is None else f"`{sent.name.lower()}`"), reason
        assert first.endswith(" *") is (reason in PSK_REFUSALS), reason
        assert cause, reason
        assert remedy, reason


# --- log events ----------------------------------------------------------------------------------------------------


def logged() -> dict[str, tuple[set[str], set[str]]]:
    """Events of the source: name -> levels, and fields that the calls give."""
    events: dict[str, tuple[set[str], set[str]]] = {}
    for file in sorted((ROOT / "gateway").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS):
                continue
            if not _is_logger(node.func.value):
                continue
            first = node.args[0]
            # A computed name could not be listed anywhere.
            assert isinstance(first, ast.Constant), f"{file.name}:{node.lineno}: the event is not a constant"
            assert isinstance(first.value, str)
            levels, fields = events.setdefault(first.value, (set(), set()))
            levels.add("error" if node.func.attr == "exception" else node.func.attr)
            fields |= {word.arg for word in node.keywords if word.arg and word.arg != "exc_info"}
    return events


def _is_logger(value: ast.expr) -> bool:
    """`log`, `self._log`, `_log()`, `get_logger(...)`, `structlog.get_logger(...)`."""
    if isinstance(value, ast.Call):
        value = value.func
    name = value.attr if isinstance(value, ast.Attribute) else value.id if isinstance(value, ast.Name) else ""
    return name in ("log", "_log", "logger", "_logger", "get_logger")


def test_log_events() -> None:
    events = logged()
    rows = {names(name)[0]: (level, set(names(fields))) for name, level, fields, _ in table(PAGE, "Log events")}
    assert rows.keys() == events.keys()
    assert len(rows) == len(table(PAGE, "Log events"))
    bound = {"handler.failed", "handler.error_hook_failed"}  # these carry what is bound to their logger as well
    for name, (levels, fields) in events.items():
        assert {rows[name][0]} == levels, name
        assert (fields < rows[name][1]) if name in bound else (fields == rows[name][1]), name


def test_what_is_listed_can_be_read() -> None:
    """A field whose name reads like a secret's is redacted, whatever stands in it."""
    redacted = {(event, name) for event, (_, fields) in logged().items() for name in fields if is_secret(name)}
    assert not redacted


def test_what_is_bound_to_a_logger_is_listed() -> None:
    fields = {
        word.arg
        for file in (ROOT / "gateway").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "bind"
        for word in node.keywords
    }
    listed = next(set(names(row[2])) for row in table(PAGE, "Log events") if "handler.failed" in row[0])
    assert fields
    assert fields <= listed


def test_limited_events() -> None:
    source = ast.parse((ROOT / "gateway/cli/serve.py").read_text())
    limited = next(
        ast.literal_eval(node.value)
        for node in source.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_LIMITED_EVENTS"
    )
    text = section(PAGE, "Log events").partition("A stranger can cause")[2].partition("\n\n")[0]
    assert {name for name in names(text) if "." in name} == set(limited)
    assert f"at most {EVENT_BURST} lines a second" in text


def test_checks_of_the_doctor(tmp_path: Path) -> None:
    values = prepare(tmp_path)
    found = examine(lambda: load_settings(None, values, environ={}), file=None, environ={}, now=time.time())
    listed = {name for row in table(PAGE, "Is it fit") for name in names(row[0])}
    assert {each.check for each in found} <= listed
    source = "".join(file.read_text() for file in (ROOT / "gateway/doctor").glob("*.py"))
    assert [name for name in listed if f'"{name}"' not in source] == []


def test_keys_that_can_change() -> None:
    rows = table(PAGE, "Changing the configuration")
    assert {f"{names(section)[0]}.{key}" for section, keys in rows for key in names(keys)} == RELOADABLE


# --- the rest ------------------------------------------------------------------------------------------------------


def test_exit_statuses() -> None:
    defined = {value for name, value in vars(common).items() if name.startswith("EXIT_")}
    assert [int(row[0]) for row in table(PAGE, "Exit status")] == [0, *sorted(defined)]


@pytest.mark.asyncio
async def test_health_pages_and_checks(tmp_path: Path) -> None:
    rows = {names(page)[0]: bad for page, _, bad in table(PAGE, "Health")}
    async with running(tmp_path) as gateway:
        status, text = await gateway.get("/")
        assert status == 404
        assert set(json.loads(text)["pages"]) == set(rows)
        for page in rows:
            assert (await gateway.get(page))[0] == 200
        ready = json.loads((await gateway.get("/readyz"))[1])
        assert set(ready["checks"]) <= set(names(rows["/readyz"]))
        assert set(names(rows["/readyz"])) <= set(ready["checks"]) | ready.keys()
