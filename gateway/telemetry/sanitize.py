"""Makes the values of a log line safe: no secrets, no raw bytes, no terminal control, no unbounded text."""

from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from typing import Any, Final

from gateway.telemetry.limits import MAX_FIELD_NAMES, MAX_ITEMS, MAX_NESTING, MAX_TEXT, MAX_TRACEBACK

REDACTED: Final = "[redacted]"
# Parts of a name, between underscores, that mark its value as secret. "key" alone is one; "key_id" is not.
_SECRET_WORDS: Final = frozenset({"psk", "secret", "password", "passphrase", "passwd", "token", "cookie", "plaintext"})
_SECRET_NAMES: Final = frozenset({"key", "private_key", "master_key", "session_key", "payload", "authorization"})
_PUBLIC_SUFFIXES: Final = ("_id", "_identity", "_hash", "_count", "_total", "_bytes", "_length", "_type", "_version")
# These have line breaks on purpose; the message of the exception in them may still be a stranger's.
_TRACEBACKS: Final = frozenset({"exception", "stack"})


def sanitize(logger: Any, method: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The link in the log chain, where another one renders."""
    for name, value in event_dict.items():
        event_dict[name] = shown(name, value)
    return event_dict


def shown(name: str, value: Any) -> Any:
    """What stands under a name in a line."""
    if is_secret(name):
        return REDACTED
    return _traceback(str(value)) if name in _TRACEBACKS else _safe(value, 0)


def is_plain(name: str) -> bool:
    """Whether a short printable text, a number, a truth value or None under this name is shown as it is."""
    return not is_secret(name) and name not in _TRACEBACKS


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
