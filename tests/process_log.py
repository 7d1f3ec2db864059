"""What a process writes, as it is at the moment of asking.

The process writes into a file, and not into a pipe that a thread of the test empties: what it said before it answered
is there when the answer is, however busy the machine.
"""

import json
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Line = dict[str, Any]

_PAUSE_S = 0.02
_PATIENCE_S = 20.0


def start_logged(
    words: Sequence[str | Path],
    path: Path,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> "tuple[subprocess.Popen[bytes], Log]":
    """A process without input, and what it writes to standard output and standard error.

    Args:
        words: Its command line.
        path: The file that it writes to; what was there before is gone.
        cwd: Its folder; without it, this process's.
        env: Its environment; without it, this process's.
        pass_fds: Files of this process that it keeps.
    """
    path.write_bytes(b"")
    # Appending, because the processes that it starts write to the same file.
    with path.open("ab") as output:
        process = subprocess.Popen(
            words,
            cwd=cwd,
            env=env,
            pass_fds=pass_fds,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    return process, Log(process, path)


class Log:
    """The lines of a process.

    Attributes:
        path: The file that they stand in.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", path: Path) -> None:
        self.path = path
        self._process = process
        self._lines: list[Line] = []
        self._read = 0
        # Tests wait for lines in threads of their own.
        self._lock = threading.Lock()

    def lines(self, event: str | None = None, *, after: int = 0) -> list[Line]:
        """The lines so far, of one event or of all, from line number `after` on."""
        with self._lock:
            self._catch_up()
            return [line for line in self._lines[after:] if event in (None, line.get("event"))]

    def __len__(self) -> int:
        return len(self.lines())

    def wait(self, event: str, *, after: int = 0, within_s: float = _PATIENCE_S, **fields: object) -> Line:
        """The first line of an event with these fields, as soon as it is there."""
        wanted = {"event": event, **fields}.items()
        deadline = time.monotonic() + within_s
        while True:
            ended = self._process.poll() is not None  # asked before the last look, so that it misses nothing
            for line in self.lines(after=after):
                if all(line.get(name) == value for name, value in wanted):
                    return line
            if ended or time.monotonic() >= deadline:
                raise AssertionError(f"no {dict(wanted)} in {self.path}:\n{self.path.read_text()[-4000:]}")
            time.sleep(_PAUSE_S)

    def wait_for_all(self, event: str, count: int, *, after: int = 0) -> list[Line]:
        """The lines of an event, as soon as there are that many."""
        deadline = time.monotonic() + _PATIENCE_S
        while len(found := self.lines(event, after=after)) < count:
            assert time.monotonic() < deadline, f"no {count} lines of {event} in {self.path}"
            time.sleep(_PAUSE_S)
        return found

    def _catch_up(self) -> None:
        with self.path.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]  # a line without its end is still being written
        self._read += len(whole)
        for written in whole.splitlines():
            try:
                line = json.loads(written)
            except ValueError:
                line = {"event": "", "text": written.decode(errors="replace")}
            self._lines.append(line)
