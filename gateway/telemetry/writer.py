"""Where lines end: a stream, which gets each of them at once, or all of a turn of the event loop together.

The system call takes longer than everything else about a line, and a storm of devices writes two for each.
"""

from contextlib import suppress
from threading import Lock
from typing import Any, Final, TextIO


class Lines:
    """What keeps lines together, for one thread at a time; lines of others then wait with them.

    with together:
        ...  # for milliseconds: what ends the process without a word, SIGKILL say, loses the lines
    """

    __slots__ = ("_kept", "_lock", "_stream", "_together")

    def __init__(self) -> None:
        self._lock = Lock()
        self._together = False
        # A list and not the stream's own buffer, which has none with PYTHONUNBUFFERED.
        self._kept: list[str] = []
        self._stream: TextIO | None = None

    def __enter__(self) -> None:
        self._together = True

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._together = False
            self._release()

    def write(self, stream: TextIO, line: str) -> None:
        """Writes a line, or loses it: a full disk must not end what the line is about."""
        with self._lock:
            if self._stream is not stream:
                self._release()
                self._stream = stream
            self._kept.append(line)
            if not self._together:
                self._release()

    def _release(self) -> None:
        kept, stream = self._kept, self._stream
        if kept and stream is not None:
            kept.append("")
            text = "\n".join(kept)
            kept.clear()
            with suppress(OSError):
                stream.write(text)
                stream.flush()


together: Final = Lines()
"""Of the whole process, as the log is."""


class LineLogger:
    """What structlog hands the rendered line to."""

    __slots__ = ("_stream",)

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        together.write(self._stream, line)

    debug = info = warning = error = critical = exception = warn = fatal = log = msg


class LineLoggerFactory:
    """Makes them; what structlog says about whom the logger is for does not matter."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, *_: Any) -> LineLogger:
        return LineLogger(self._stream)
