"""A log line: when (RFC 3339, UTC, "Z"), how important, what and who stand in front, where every reader looks for them.

A line stands on a handshake's path, and most of its values need nothing. So one link of the chain does what structlog
has four for, which cost four times as much.
"""

import json
import time
from collections.abc import Callable, Mapping, MutableMapping
from functools import lru_cache
from json.encoder import encode_basestring
from math import isfinite
from typing import Any, Final

from gateway.telemetry.limits import MAX_FIELD_NAMES, MAX_TEXT
from gateway.telemetry.sanitize import is_plain, shown

_LEVELS: Final = {"warn": "warning", "exception": "error"}
"""Levels by method, where the names differ."""
_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode
# How JSON writes them; the encoder takes ten times as long for a single one.
_SCALARS: Final[Mapping[type, Callable[[Any], str]]] = {
    int: str,
    bool: lambda value: "true" if value else "false",
    float: lambda value: repr(value) if isfinite(value) else "null",
    type(None): lambda value: "null",
}


def describe(logger: Any, method: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The link in the log chain, where another one renders."""
    described: dict[str, Any] = {
        "timestamp": _timestamp(),
        "level": _LEVELS.get(method, method),
        "event": event_dict.pop("event", ""),
    }
    # structlog cannot take a first value called "logger", which is what `logging` calls it.
    if (name := event_dict.pop("logger_name", None)) is not None:
        described["logger"] = name
    described.update(event_dict)
    return described


def render_json(logger: Any, method: str, event_dict: MutableMapping[str, Any]) -> str:
    """The last link in the log chain: one line of JSON, described, and with every value made safe."""
    event = event_dict.pop("event", "")
    line = f'{{"timestamp":"{_timestamp()}","level":{_level(method)},"event":{_event(event)}'
    if (name := event_dict.pop("logger_name", None)) is not None:
        line += _logger(name)
    for name, value in event_dict.items():
        start, kind = _start(name), type(value)
        if not start:
            line += f",{_encode(name)}:{_encode(shown(name, value))}"
        elif kind is str and len(value) <= MAX_TEXT and value.isprintable():
            line += start + encode_basestring(value)
        elif kind in _SCALARS:
            line += start + _SCALARS[kind](value)
        else:
            line += start + _encode(shown(name, value))
    return line + "}"


def _timestamp() -> str:
    now = time.time()
    second = int(now)
    return f"{_second(second)}.{int((now - second) * 1_000_000):06d}Z"


@lru_cache(1)
def _second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def _event(event: Any) -> str:
    """Ours are words of the code; those of other libraries are sentences with anything in them."""
    if type(event) is str and len(event) <= MAX_TEXT and event.isprintable():
        return encode_basestring(event)
    return _encode(shown("event", event))


@lru_cache(MAX_FIELD_NAMES)
def _level(method: str) -> str:
    """Encoded: a library may name a level of its own as it likes."""
    return _encode(_LEVELS.get(method, method))


@lru_cache(MAX_FIELD_NAMES)
def _logger(name: str) -> str:
    return f',"logger":{_encode(shown("logger", name))}'


@lru_cache(MAX_FIELD_NAMES)
def _start(name: str) -> str:
    """What a field begins with; empty where its value is not shown as it is."""
    return f",{_encode(name)}:" if is_plain(name) else ""
