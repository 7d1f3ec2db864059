"""Lines to a file or to standard output, written by a thread, so that a slow disk or reader never holds the data path.

The data path appends to a list under a lock that is held for nanoseconds. The thread swaps the list, joins it and
writes it with one call. What waits is bounded in bytes, the batch that is being written included.
"""

import contextlib
import itertools
import os
import select
import sys
import threading
from pathlib import Path
from typing import Final

import structlog

from gateway.handlers.errors import HandlerError
from gateway.handlers.limits import (
    TELEMETRY_BUFFER_BYTES,
    TELEMETRY_CLOSE_TIMEOUT_S,
    TELEMETRY_FLUSH_INTERVAL_S,
)

# Readable by the group, for a log shipper; whole lines by O_APPEND, whoever else appends.
_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
_MODE: Final = 0o640
_NEWLINE: Final = 10


class LineWriter:
    """Appends lines to a file, or writes them to standard output.

    A file that was renamed or removed (logrotate) is opened anew at the next batch.

    Attributes:
        delivered: Lines written.
        dropped: Lines refused because the buffer was full.
        failed: Lines lost because writing failed.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        capacity_bytes: int = TELEMETRY_BUFFER_BYTES,
        flush_interval_s: float = TELEMETRY_FLUSH_INTERVAL_S,
    ) -> None:
        """Prepare; lines may come before `open`.

        Args:
            path: The file; None for standard output.
            capacity_bytes: How much may wait.
            flush_interval_s: For how long a line may wait, in seconds.
        """
        self.delivered = 0
        self.dropped = 0
        self.failed = 0
        self._path = path
        self._capacity_bytes = capacity_bytes
        self._flush_interval_s = flush_interval_s
        self._lines: list[bytes] = []
        self._queued = 0
        self._queued_bytes = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._output: _Output | None = None
        self._thread: threading.Thread | None = None

    @property
    def queued(self) -> int:
        """Lines waiting, those being written included."""
        return self._queued

    def write(self, line: bytes) -> bool:
        """Take a line, its newline included; False when the buffer is full. Never waits for the file."""
        with self._lock:
            if self._queued_bytes + len(line) > self._capacity_bytes:
                self.dropped += 1
                return False
            first = not self._lines
            self._lines.append(line)
            self._queued += 1
            self._queued_bytes += len(line)
        if first:
            self._wake.set()
        return True

    def open(self) -> None:
        """Open the file and start to write.

        Raises:
            HandlerError: It cannot be opened.
        """
        self._output = _Output(self._path)
        self._stop.clear()
        # A daemon: a pipe that nobody reads must not keep the process from exiting.
        self._thread = threading.Thread(target=self._run, args=(self._output,), name="telemetry-writer", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float = TELEMETRY_CLOSE_TIMEOUT_S) -> None:
        """Write what waits, for so many seconds at most, and close the file. A no-op unless open."""
        if self._thread is None or self._output is None:
            return
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            # The thread holds the file; the process is about to exit and takes both along.
            _log().error("sink.close_timed_out", sink="telemetry", target=self._output.name, events=self._queued)
        else:
            self._output.close()
        self._thread = self._output = None

    def _run(self, output: "_Output") -> None:
        while True:
            self._wake.wait()
            stopping = self._stop.wait(self._flush_interval_s)
            # In this order: a line that comes in between wakes us once more, for nothing, but is never forgotten.
            self._wake.clear()
            batch = self._take()
            if batch:
                self._write_batch(output, batch)
            elif stopping:
                return
            if stopping:
                self._wake.set()

    def _take(self) -> list[bytes]:
        with self._lock:
            batch, self._lines = self._lines, []
        return batch

    def _write_batch(self, output: "_Output", batch: list[bytes]) -> None:
        written = output.write(batch)
        with self._lock:
            self.delivered += written
            self.failed += len(batch) - written
            self._queued -= len(batch)
            self._queued_bytes -= sum(map(len, batch))


class _Output:
    """The file descriptor, and what to do when it fails. Used by one thread at a time."""

    def __init__(self, path: Path | None) -> None:
        self.name = "standard output" if path is None else str(path)
        self._path = path
        self._torn = False
        self._failing = False
        try:
            self._fd = self._open()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise HandlerError(f"telemetry: cannot write to {self.name}: {reason}") from error

    def write(self, batch: list[bytes]) -> int:
        """Write lines; return how many were written whole."""
        head = b""
        written = 0
        try:
            self._follow()
            # What an earlier failure cut off stays one bad line, not the head of a good one.
            head = b"\n" if self._torn else b""
            data = head + b"".join(batch)
            while written < len(data):
                count = self._write_some(data[written:])
                written += count
                self._torn = data[written - 1] != _NEWLINE
        except OSError as error:
            self._on_failure(error)
            return _whole_lines(batch, written - len(head))
        if self._failing:
            self._failing = False
            _log().info("sink.write_recovered", sink="telemetry", target=self.name)
        return len(batch)

    def close(self) -> None:
        """Close the file, or our copy of standard output."""
        os.close(self._fd)

    def _open(self) -> int:
        if self._path is not None:
            return os.open(self._path, _FLAGS, _MODE)
        if sys.stdout is None:
            raise ValueError("it is closed")
        sys.stdout.flush()
        return os.dup(sys.stdout.fileno())

    def _follow(self) -> None:
        """Open the file anew if another one, or none, has its name now."""
        if self._path is None:
            return
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(self._path), os.fstat(self._fd)):
                return
        fd = self._open()
        os.close(self._fd)
        self._fd = fd
        self._torn = False

    def _write_some(self, data: bytes) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            # Somebody made standard output non-blocking, for example a terminal's other user.
            poll = select.poll()
            poll.register(self._fd, select.POLLOUT)
            poll.poll()
            return 0

    def _on_failure(self, error: OSError) -> None:
        # Once until it works again: a full disk must not fill the log too.
        if not self._failing:
            self._failing = True
            _log().error("sink.write_failed", sink="telemetry", target=self.name, error=str(error))


def _whole_lines(batch: list[bytes], size: int) -> int:
    """Return how many of the lines fit into so many bytes."""
    ends = itertools.accumulate(map(len, batch))
    return sum(1 for _ in itertools.takewhile(lambda end: end <= size, ends))


def _log() -> structlog.stdlib.BoundLogger:
    return structlog.get_logger("gateway.handlers")  # type: ignore[no-any-return]
