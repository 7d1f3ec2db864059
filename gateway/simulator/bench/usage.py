"""What processes have used of the machine, out of /proc: nothing of it where there is none."""

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
# Fields of /proc/PID/stat behind the command's name, which may have blanks and brackets in it (proc(5)).
_PARENT, _USER, _SYSTEM = 1, 11, 12

# Of the first line of /proc/stat: what counts as doing nothing.
_IDLE, _IO_WAIT, _LAST = 3, 4, 8


def machine_busy_s() -> float | None:
    """Seconds that all processors together have worked since the machine's start; None where it does not say."""
    try:
        fields = (_PROC / "stat").read_text().splitlines()[0].split()[1 : _LAST + 1]
        ticks = sum(map(int, fields)) - int(fields[_IDLE]) - int(fields[_IO_WAIT])
    except (OSError, IndexError, ValueError):
        return None
    return ticks / os.sysconf("SC_CLK_TCK")


class ProcessTree:
    """A process and those that it started: a gateway with its workers."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def cpu_s(self) -> float | None:
        """Seconds of user and system time since the start; None where the system does not say."""
        ticks = [int(fields[_USER]) + int(fields[_SYSTEM]) for fields in self._stats()]
        return sum(ticks) / os.sysconf("SC_CLK_TCK") if ticks else None

    def resident_bytes(self) -> int | None:
        """Resident memory. What workers share is counted for each of them."""
        pages = []
        for pid in self._members():
            try:
                pages.append(int((_PROC / str(pid) / "statm").read_text().split()[1]))
            except (OSError, IndexError, ValueError):
                continue
        return sum(pages) * os.sysconf("SC_PAGE_SIZE") if pages else None

    def kill(self) -> None:
        """Ends all of them at once, and none of them by another's end."""
        for pid in self._members():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _stats(self) -> list[list[str]]:
        return [fields for pid in self._members() if (fields := _stat(pid)) is not None]

    def _members(self) -> list[int]:
        """The process and its descendants that live."""
        if _stat(self.pid) is None:
            return []
        children: dict[int, list[int]] = {}
        for entry in _PROC.iterdir():
            if entry.name.isdigit() and (fields := _stat(int(entry.name))) is not None:
                children.setdefault(int(fields[_PARENT]), []).append(int(entry.name))
        members = [self.pid]
        for member in members:  # grows while it is gone through
            members += children.get(member, [])
        return members


def _stat(pid: int) -> list[str] | None:
    """The fields behind the name; None for a process that is not there."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return None
