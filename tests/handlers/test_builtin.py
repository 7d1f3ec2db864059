"""time, echo and telemetry."""

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import aiocoap  # type: ignore[import-untyped]
import pytest

from gateway.handlers import App, Code, ContentFormat, Device, LoadError, TestClient, media_type
from gateway.handlers.builtin import echo, telemetry, time
from gateway.handlers.lines import LineWriter
from gateway.handlers.media_types import JSON_FORMATS, MEDIA_TYPES

NOON = datetime(2026, 5, 4, 12, 0, 0, 125_999, tzinfo=UTC)


def test_time_is_rfc_3339_in_utc_and_not_to_be_cached() -> None:
    app = App()
    time.install(app, {})
    before = datetime.now(UTC).replace(microsecond=0)
    response = TestClient(app).get("/time")
    told = datetime.fromisoformat(response.text())
    assert before <= told <= datetime.now(UTC)
    assert told.utcoffset() == timedelta(0)
    assert response.text().endswith("Z")
    assert (response.code, response.content_format, response.max_age) == (Code.CONTENT, ContentFormat.TEXT, 0)
    assert TestClient(app).post("/time").code == Code.METHOD_NOT_ALLOWED


def test_time_of_another_zone_is_told_in_utc() -> None:
    moment = datetime(2026, 1, 1, 0, 30, 59, 999_999, tzinfo=timezone(timedelta(hours=1)))
    assert time.rfc3339(moment) == "2025-12-31T23:30:59Z"


@pytest.mark.parametrize(
    ("method", "code"), [(Code.GET, Code.CONTENT), (Code.POST, Code.CHANGED), (Code.PUT, Code.CHANGED)]
)
@pytest.mark.parametrize("content_format", [None, 0, 50, 60, 65000])
@pytest.mark.parametrize("payload", [b"\x00\xff{", b"x" * 1000])
def test_echo(method: Code, code: Code, payload: bytes, content_format: int | None) -> None:
    app = App()
    echo.install(app, {})
    response = TestClient(app).request(method, "/echo", payload, content_format=content_format)
    assert (response.code, response.payload, response.content_format) == (code, payload, content_format)


def test_echo_of_nothing_is_nothing() -> None:
    app = App()
    echo.install(app, {})
    response = TestClient(app).get("/echo")
    assert (response.code, response.payload, response.options) == (Code.CONTENT, b"", [])


@pytest.fixture
def post(tmp_path: Path) -> Callable[..., dict[str, object]]:
    """Post to telemetry at noon, and return the event that arrives in the file."""

    def post(path: str, payload: bytes = b"", **arguments: object) -> dict[str, object]:
        app = App()
        target = tmp_path / "telemetry.jsonl"
        target.unlink(missing_ok=True)
        telemetry.register(app, LineWriter(target, flush_interval_s=0), clock=lambda: NOON)
        with TestClient(app, device=Device("dev1", tenant_id="acme")) as client:
            response = client.post(path, payload, **arguments)
            assert (response.code, response.payload) == (Code.CHANGED, b"")
        text = target.read_bytes()
        assert text.isascii()
        assert text.count(b"\n") == 1
        assert text.endswith(b"}\n")
        event: dict[str, object] = json.loads(text, parse_constant=pytest.fail)
        return event

    return post


def test_event_has_all_fields(post: Callable[..., dict[str, object]]) -> None:
    assert post("/telemetry/temperature", b'{"celsius": 21.5}', content_format=50) == {
        "time": "2026-05-04T12:00:00.125Z",
        "tenant": "acme",
        "device": "dev1",
        "stream": "temperature",
        "content_format": "application/json",
        "payload_encoding": "json",
        "payload": {"celsius": 21.5},
    }


def test_event_without_a_stream(post: Callable[..., dict[str, object]]) -> None:
    event = post("/telemetry", b"21.5")
    assert (event["stream"], event["content_format"], event["payload"]) == (None, None, "21.5")


def test_names_that_need_escapes(post: Callable[..., dict[str, object]]) -> None:
    device = Device('urn:dev:"\n\N{SNOWMAN}', tenant_id="a\\b")
    event = post("/telemetry", b"", device=device)
    assert (event["device"], event["tenant"]) == (device.id, device.tenant_id)


@pytest.mark.parametrize(
    ("content_format", "payload", "encoding", "value"),
    [
        (None, b"21.5", "text", "21.5"),
        (None, b'{"a":1}', "json", {"a": 1}),
        (None, b"[1,2]", "json", [1, 2]),
        (None, b"{not json", "text", "{not json"),
        (None, b"\xff\x00", "base64", "/wA="),
        (None, b"", "text", ""),
        (0, b"caf\xc3\xa9\r\n\x1b[2J\xe2\x80\xa8", "text", "caf\xe9\r\n\x1b[2J\u2028"),
        (0, b'{"a":1}', "text", '{"a":1}'),
        (0, b"\xff", "base64", "/w=="),
        (40, b"</a>", "text", "</a>"),
        (41, b"<a/>", "text", "<a/>"),
        (42, b"text", "base64", "dGV4dA=="),
        (60, b"\xa1aa\x01", "base64", "oWFhAQ=="),
        (50, b"null", "json", None),
        (50, b'"\\ud800"', "json", "\ud800"),
        (50, b"", "text", ""),
        (50, b'{"a":NaN}', "text", '{"a":NaN}'),
        (50, b"1e999", "text", "1e999"),
        (50, b"\xff", "base64", "/w=="),
        (50, b"12345678901234567890123", "json", 12345678901234567890123),
        (110, b'[{"n":"t","v":1}]', "json", [{"n": "t", "v": 1}]),
        (112, b"\x81", "base64", "gQ=="),
        (65000, b"abc", "base64", "YWJj"),
    ],
)
def test_payload_is_json_text_or_base64(
    post: Callable[..., dict[str, object]], content_format: int | None, payload: bytes, encoding: str, value: object
) -> None:
    event = post("/telemetry/s", payload, content_format=content_format)
    assert (event["payload_encoding"], event["payload"]) == (encoding, value)


@pytest.mark.parametrize("depth", [10, 500, 900, 950, 990, 1000, 20_000])
def test_nesting_of_any_depth_is_kept(post: Callable[..., dict[str, object]], depth: int) -> None:
    payload = b"[" * depth + b"]" * depth
    event = post("/telemetry/s", payload, content_format=50)
    text = json.dumps(event["payload"]) if event["payload_encoding"] == "json" else event["payload"]
    assert text == payload.decode()


def test_no_nesting_makes_the_handler_fail() -> None:
    """Around the depth at which reading and writing JSON run out of stack, which need not be the same."""
    app = App()
    telemetry.register(app, LineWriter(None), clock=lambda: NOON)
    client = TestClient(app)
    limit = sys.getrecursionlimit()
    codes = {
        client.post("/telemetry/s", b"[" * depth + b"]" * depth, content_format=50).code
        for depth in range(limit - 200, limit + 2)
    }
    assert codes == {Code.CHANGED}


@pytest.mark.parametrize("stream", ["a", "A9", "room-1.temp_2", "0", "x" * 64])
def test_valid_stream_names(post: Callable[..., dict[str, object]], stream: str) -> None:
    assert post(f"/telemetry/{stream}")["stream"] == stream


@pytest.mark.parametrize("stream", ["-a", ".a", "_a", "a%20b", "a%0A", "a%2Fb", "%C3%A9", "%D9%A1", "x" * 65])
def test_invalid_stream_name_is_4_00_and_no_event(stream: str) -> None:
    app = App()
    writer = LineWriter(Path("/nowhere"))
    telemetry.register(app, writer, clock=lambda: NOON)
    response = TestClient(app).post(f"/telemetry/{stream}", b"1")
    assert response.code == Code.BAD_REQUEST
    assert "1 to 64 of A-Z a-z 0-9 . _ -" in response.text()
    assert writer.queued == 0


@pytest.mark.parametrize("path", ["/telemetry/", "/telemetry/a/b"])
def test_other_paths_are_unknown(path: str) -> None:
    app = App()
    telemetry.install(app, {})
    assert TestClient(app).post(path).code == Code.NOT_FOUND


def test_full_buffer_is_5_03_with_a_time_to_come_back() -> None:
    app = App()
    writer = LineWriter(Path("/nowhere"), capacity_bytes=400)
    telemetry.register(app, writer, clock=lambda: NOON)
    client = TestClient(app)
    codes = [client.post("/telemetry/s", b"x" * 20).code for _ in range(4)]
    assert codes == [Code.CHANGED, Code.CHANGED, Code.SERVICE_UNAVAILABLE, Code.SERVICE_UNAVAILABLE]
    assert client.post("/telemetry/s", b"x" * 20).max_age == 5
    sink = app.sinks["telemetry"]
    assert (sink.queued, sink.dropped, sink.delivered, sink.failed) == (2, 3, 0, 0)


def test_standard_output_is_the_default(capfd: pytest.CaptureFixture[str]) -> None:
    app = App()
    telemetry.install(app, {})
    with TestClient(app) as client:
        client.post("/telemetry/s", b"1")
        client.post("/telemetry/s", b"2")
    lines = capfd.readouterr().out.splitlines()
    assert [json.loads(line)["payload"] for line in lines] == ["1", "2"]
    assert app.sinks["telemetry"].delivered == 2


def test_option_path(tmp_path: Path) -> None:
    app = App()
    target = tmp_path / "t.jsonl"
    telemetry.install(app, {"path": str(target)})
    assert not target.exists()  # nothing happens before the start
    with TestClient(app) as client:
        client.post("/telemetry/s", b"1")
    assert json.loads(target.read_text())["payload"] == "1"
    assert target.stat().st_mode & 0o007 == 0


@pytest.mark.parametrize("value", ["", 5, None, ["x"]])
def test_wrong_path_is_refused(value: object) -> None:
    with pytest.raises(LoadError, match="option path must be a file's name or '-'"):
        telemetry.install(App(), {"path": value})


@pytest.mark.parametrize("install", [time.install, echo.install])
def test_unknown_options_are_refused(install: Callable[[App, dict[str, object]], None]) -> None:
    with pytest.raises(LoadError, match="unknown option 'color'; it has none"):
        install(App(), {"color": "red"})


def test_media_types_are_those_of_iana() -> None:
    """aiocoap carries IANA's registry."""
    for number, name in MEDIA_TYPES.items():
        assert aiocoap.numbers.ContentFormat(number).media_type == name
        assert media_type(number) == name
    assert (media_type(None), media_type(64999)) == (None, "64999")
    assert {number for number, name in MEDIA_TYPES.items() if name.endswith("json")} == JSON_FORMATS


def test_every_known_content_format_has_a_media_type_or_is_told_by_number() -> None:
    assert {int(content_format) for content_format in ContentFormat} - set(MEDIA_TYPES) <= {320, 322}
