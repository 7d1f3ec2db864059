"""Makes the values of a log line safe: no secrets, no raw bytes, no terminal control, no unbounded text."""

import json
from collections.abc import Callable, Mapping, MutableMapping
from functools import lru_cache
from json.encoder import encode_basestring
from math import isfinite
from typing import Any, Final

from gateway.telemetry.limits import MAX_FIELD_NAMES, MAX_ITEMS, MAX_NESTING, MAX_TEXT, MAX_TRACEBACK

REDACTED: Final = "[redacted]"
# Parts of a name, between underscores, that mark its value as secret. "key" alone is one; "key_id" is not.
_SECRET_WORDS: Final = frozenset({"psk", "secret", "password", "passphrase", "passwd", "token", "cookie", "plaintext"})
_SECRET_NAMES: Final = frozenset({"key", "private_key", "master_key", "session_key", "payload", "authorization"})
_PUBLIC_SUFFIXES: Final = ("_id", "_identity", "_hash", "_count", "_total", "_bytes", "_length", "_type", "_version")
# These have line breaks on purpose; the message of the exception in them may still be a stranger's.
_TRACEBACKS: Final = frozenset({"exception", "stack"})
_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode
# How JSON writes them; the encoder takes ten times as long for a single one.
_SCALARS: Final[Mapping[type, Callable[[Any], str]]] = {
    int: str,
    bool: lambda value: "true" if value else "false",
    float: lambda value: repr(value) if isfinite(value) else "null",
    type(None): lambda value: "null",
}


def sanitize(logger: Any, method: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The link in the log chain, where another one renders."""
    for name, value in event_dict.items():
        event_dict[name] = _shown(name, value)
    return event_dict


def render_json(logger: Any, method: str, event_dict: MutableMapping[str, Any]) -> str:
    """The last link in the log chain: one line of JSON.

    It makes values safe on the way: a line stands on a handshake's path, and most of its values need nothing.
    """
    fields = []
    for name, value in event_dict.items():
        start, kind = _start(name), type(value)
        if start and kind is str and len(value) <= MAX_TEXT and value.isprintable():
            fields.append(start + encode_basestring(value))
        elif start and kind in _SCALARS:
            fields.append(start + _SCALARS[kind](value))
        else:
            fields.append(f"{_encode(name)}:{_encode(_shown(name, value))}")
    return f"{{{','.join(fields)}}}"


@lru_cache(MAX_FIELD_NAMES)
def _start(name: str) -> str:
    """What a field begins with; empty where its value is not shown as it is."""
    return "" if is_secret(name) or name in _TRACEBACKS else f"{_encode(name)}:"


def _shown(name: str, value: Any) -> Any:
    if is_secret(name):
        return REDACTED
    return _traceback(str(value)) if name in _TRACEBACKS else _safe(value, 0)


@lru_cache(MAX_FIELD_NAMES)
def is_secret(name: str) -> bool:
    """Whether a value under this name must not be shown."""
    name = name.lower()
    if name in _SECRET_NAMES:
        return True
    if name.endswith(_PUBLIC_SUFFIXES):
        return False
    return not _SECRET_WORDS.isdisjoint(name.split("_")) or name.endswith("_key")


def _safe(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, (bool, int, float, type(None))):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        # Bytes in a log are a key, a payload or an identity: the length is all that a line may tell.
        return f"<{len(value)} bytes>"
    if isinstance(value, Mapping):
        if depth >= MAX_NESTING:
            return "..."
        items = list(value.items())[:MAX_ITEMS]
        return {_text(str(k)): REDACTED if is_secret(str(k)) else _safe(v, depth + 1) for k, v in items}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_safe(item, depth + 1) for item in list(value)[:MAX_ITEMS]] if depth < MAX_NESTING else "..."
    return _text(str(value))


def _text(text: str) -> str:
    if len(text) > MAX_TEXT:
        text = f"{text[:MAX_TEXT]}... ({len(text)} characters)"
    return text if text.isprintable() else _escape(text)


def _traceback(text: str) -> str:
    return _escape(text[-MAX_TRACEBACK:], keep="\n\t")


def _escape(text: str, keep: str = "") -> str:
    """Line breaks would forge lines, escape sequences would command the terminal of whoever reads the log."""
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)
