"""Small facts about the process that metrics and health checks need."""

import os
import socket
import struct
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

_UDP_TABLES: Final = (Path("/proc/net/udp"), Path("/proc/net/udp6"))
_INODE_COLUMN: Final = 9
_DROPS_COLUMN: Final = 12
_SO_MEMINFO: Final = 55  # asm-generic/socket.h; the socket module has no name for it
_MEMORY: Final = struct.Struct("9I")  # linux/sock_diag.h: SK_MEMINFO_VARS
_DROPS_AT: Final = 8


class Heartbeat:
    """When the event loop was last seen alive. The loop calls `beat`, another thread asks for the age."""

    __slots__ = ("_beat_at", "_clock")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Count from now on.

        Args:
            clock: Seconds that never go back.
        """
        self._clock = clock
        self._beat_at = clock()

    def beat(self) -> None:
        """The loop runs."""
        self._beat_at = self._clock()

    def age_s(self) -> float:
        """Seconds since the last beat."""
        return self._clock() - self._beat_at


def udp_receive_drops(sockets: Iterable[socket.socket], tables: Iterable[Path] | None = None) -> int:
    """Datagrams that the kernel threw away because these sockets' buffers were full.

    Args:
        sockets: Open UDP sockets of this network namespace.
        tables: The kernel's lists of UDP sockets, to be read in the place of asking it for each; 0 is the answer where
            there are none.
    """
    open_ones = [each for each in sockets if each.fileno() >= 0]
    if tables is None:
        try:
            # The lists have every UDP socket of the machine: with 50,000 simulated devices on it, that takes seconds.
            return sum(map(_drops_of, open_ones))
        except OSError:  # a kernel that cannot say
            tables = _UDP_TABLES
    return _listed_drops({str(os.fstat(each.fileno()).st_ino) for each in open_ones}, tables)


def _drops_of(udp: socket.socket) -> int:
    return int(_MEMORY.unpack(udp.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMORY.size))[_DROPS_AT])


def _listed_drops(inodes: set[str], tables: Iterable[Path]) -> int:
    drops = 0
    for table in tables:
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            columns = line.split()
            if len(columns) > _DROPS_COLUMN and columns[_INODE_COLUMN] in inodes:
                drops += int(columns[_DROPS_COLUMN])
    return drops
