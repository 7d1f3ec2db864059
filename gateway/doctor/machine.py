"""The machine: its clock, its buffers, its limits for a process."""

import ctypes
import resource
import socket
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import gateway
from gateway.doctor.findings import Finding, ok, problem, status_of, warning
from gateway.doctor.limits import CLOCK_SLACK_S, MEMORY, OPEN_FILES
from gateway.server.limits import RECEIVE_BUFFER

_TIME_ERROR: Final = 5
_TIMEX_BYTES: Final = 512
_UNTOLD: Final = (
    "certificates are judged by this clock: see that something sets it, such as chrony or systemd-timesyncd"
)


def clock(now: float, files: Iterable[Path] = (), *, synchronised: bool | None = None) -> Finding:
    """Whether the clock can be right. Ahead of time cannot be told from it; only the kernel may know.

    Args:
        now: Seconds since the epoch.
        files: What was certainly written before.
        synchronised: What the kernel says; None where it does not.
    """
    looked_at = [(path, status_of(path)) for path in (Path(gateway.__file__), *files)]
    written = [(status.st_mtime, path) for path, status in looked_at if status is not None]
    at, newest = max(written)
    shown = _stamp(now)
    if at > now + CLOCK_SLACK_S:
        return problem(
            "clock",
            f"it is {shown}, and {newest} is from {_stamp(at)}",
            "set the clock, or that file's time with touch",
        )
    if synchronised is None:
        return warning("clock", f"it is {shown}; whether that is right cannot be told here", _UNTOLD)
    if not synchronised:
        return warning("clock", f"it is {shown}, and the kernel says that nothing keeps it right", _UNTOLD)
    return ok("clock", f"it is {shown}, kept right by a time server")


def clock_is_synchronised() -> bool | None:
    """What the kernel says (adjtimex(2) with nothing to adjust); None where it does not."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else bool(state != _TIME_ERROR)


def receive_buffer(wanted: int = RECEIVE_BUFFER) -> Finding:
    """What the kernel grants for datagrams that wait, of what the gateway asks for."""
    check = "receive buffer"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wanted)
        granted = probe.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2  # socket(7): the kernel doubles it
    if granted >= wanted:
        return ok(check, f"{granted} bytes")
    return warning(
        check,
        f"the kernel grants {granted} of {wanted} bytes: it drops datagrams when many devices come back at once",
        f"`sysctl -w net.core.rmem_max={wanted}`, and the same in /etc/sysctl.d; in Kubernetes on the node",
    )


def process_limits() -> list[Finding]:
    """What the process may have."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    memory, _ = resource.getrlimit(resource.RLIMIT_AS)
    return [
        _limit("open files", files, OPEN_FILES, "raise it: `ulimit -n 1024`, LimitNOFILE= in a systemd unit"),
        _limit("address space", memory, MEMORY, "raise it: `ulimit -v unlimited`, LimitAS= in a systemd unit"),
    ]


def _limit(check: str, granted: int, wanted: int, remedy: str) -> Finding:
    if granted == resource.RLIM_INFINITY:
        return ok(check, "no limit")
    if granted >= wanted:
        return ok(check, f"up to {granted}")
    return warning(check, f"up to {granted}, and a busy gateway needs {wanted}", remedy)


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
