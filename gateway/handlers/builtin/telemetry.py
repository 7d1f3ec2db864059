"""`telemetry`: POST /telemetry/{stream} and /telemetry become one line of JSON each, in a file or on standard output.

    {"time":"2026-05-04T12:30:00.125Z","tenant":"default","device":"dev1","stream":"temperature",
     "content_format":"application/json","payload_encoding":"json","payload":{"celsius":21.5}}

`payload_encoding` says what `payload` is: "json" a value, "text" a string, "base64" a string of RFC 4648 section 4.
"""

import asyncio
import json
import json.encoder
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from gateway.coap import Code, ContentFormat
from gateway.handlers.app import App
from gateway.handlers.errors import LoadError
from gateway.handlers.limits import STREAM_NAME_CHARACTERS, TELEMETRY_RETRY_AFTER_S
from gateway.handlers.lines import LineWriter
from gateway.handlers.loading import known_options
from gateway.handlers.media_types import JSON_FORMATS, media_type
from gateway.handlers.request import Request, decode_json
from gateway.handlers.response import Changed, Reject

_STREAM: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{STREAM_NAME_CHARACTERS - 1}}}")
_TIME_CHARACTERS: Final = len("2026-05-04T12:30:00.125")
_TEXT_FORMATS: Final = frozenset({ContentFormat.TEXT, ContentFormat.LINK_FORMAT, ContentFormat.XML})

# Both give ASCII with escapes: no payload can break the line, and none can move a terminal's cursor.
_encode: Final = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode
_quote: Final = json.encoder.encode_basestring_ascii


def install(app: App, options: Mapping[str, object]) -> None:
    """Register the handlers.

    Args:
        app: Where to register them.
        options: `path`: the file to append to; standard output when absent or "-".

    Raises:
        LoadError: There is another option, or `path` is no text.
        RouteError: The paths are taken.
    """
    known_options(options, "path")
    writer = LineWriter(_path(options.get("path", "-")))
    register(app, writer, clock=lambda: datetime.now(UTC))


def register(app: App, writer: LineWriter, *, clock: Callable[[], datetime]) -> None:
    """Register the handlers on a writer, which the app's hooks open and close.

    Raises:
        RouteError: The paths are taken.
    """

    @app.post("/telemetry")
    def store_unnamed(request: Request) -> Changed:
        return store(request, None)

    @app.post("/telemetry/{stream}")
    def store(request: Request, stream: str | None) -> Changed:
        if stream is not None and _STREAM.fullmatch(stream) is None:
            raise Reject(
                Code.BAD_REQUEST,
                f"a stream is named by 1 to {STREAM_NAME_CHARACTERS} of A-Z a-z 0-9 . _ - (first a letter or digit)",
            )
        if not writer.write(event_line(request, stream, clock())):
            # Not accepted is not 2.04: a device that can keep the value may send it again.
            raise Reject(Code.SERVICE_UNAVAILABLE, "telemetry buffer is full", max_age=TELEMETRY_RETRY_AFTER_S)
        return Changed()

    app.sinks["telemetry"] = writer
    app.on_startup(writer.open)

    @app.on_shutdown
    async def close() -> None:
        # It waits for the disk; sessions are being closed meanwhile.
        await asyncio.to_thread(writer.close)


def event_line(request: Request, stream: str | None, at: datetime) -> bytes:
    """Return one event, received at a moment in UTC, as a line of JSON, newline included."""
    device = request.device
    content_format = request.content_format
    name = media_type(content_format)
    encoding, payload = _payload(request.payload, content_format)
    # Composed by hand: an encoder over the whole event would cost as much as the rest of the request.
    return (
        f'{{"time":"{at.isoformat(timespec="milliseconds")[:_TIME_CHARACTERS]}Z",'
        f'"tenant":{_quote(device.tenant_id)},"device":{_quote(device.id)},'
        f'"stream":{"null" if stream is None else _quote(stream)},'
        f'"content_format":{"null" if name is None else _quote(name)},'
        f'"payload_encoding":"{encoding}","payload":{payload}}}\n'
    ).encode()


def _payload(payload: bytes, content_format: int | None) -> tuple[str, str]:
    """Return how a payload is written, and it, as JSON.

    A device that names no content format mostly sends JSON or plain text all the same.
    """
    if content_format in JSON_FORMATS or (content_format is None and payload[:1] in (b"{", b"[")):
        try:
            return "json", _encode(decode_json(payload))
        except (ValueError, RecursionError):
            # No JSON; or JSON on the way in only: 1e999 is infinite, and deep nesting ends sooner on the way out.
            content_format = None
    if content_format is None or content_format in _TEXT_FORMATS:
        try:
            return "text", _quote(payload.decode())
        except UnicodeDecodeError:
            pass
    return "base64", _quote(b64encode(payload).decode())


def _path(value: object) -> Path | None:
    if not isinstance(value, str | Path) or not str(value):
        raise LoadError(f"the option path must be a file's name or '-' for standard output, not {value!r}")
    return None if str(value) == "-" else Path(value)
