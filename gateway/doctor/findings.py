"""What a check has found."""

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Status(StrEnum):
    OK = "ok"
    WARNING = "warning"
    """The gateway works, and something is not as it should be, or cannot be told."""
    PROBLEM = "problem"
    """The gateway does not start, or devices cannot connect, or will not soon."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Attributes:
    check: What was looked at; a few words, the same each time.
    status: See `Status`.
    detail: What was found.
    remedy: What to do about it; None where there is nothing to do.
    """

    check: str
    status: Status
    detail: str
    remedy: str | None = None

    def as_json(self) -> dict[str, str | None]:
        return {"check": self.check, "status": self.status.value, "detail": self.detail, "remedy": self.remedy}


def ok(check: str, detail: str) -> Finding:
    return Finding(check, Status.OK, detail)


def warning(check: str, detail: str, remedy: str) -> Finding:
    return Finding(check, Status.WARNING, detail, remedy)


def problem(check: str, detail: str, remedy: str) -> Finding:
    return Finding(check, Status.PROBLEM, detail, remedy)


def status_of(path: Path) -> os.stat_result | None:
    """What the system says of a file; None where it cannot be asked. Who needs the file finds out why."""
    try:
        return path.stat()
    except OSError:
        return None
