"""Small facts about the process that metrics and health checks need."""

import os
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

_UDP_TABLES: Final = (Path("/proc/net/udp"), Path("/proc/net/udp6"))
_INODE_COLUMN: Final = 9
_DROPS_COLUMN: Final = 12


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


def udp_receive_drops(sockets: Iterable[socket.socket], tables: Iterable[Path] = _UDP_TABLES) -> int:
    """Datagrams that the kernel threw away because these sockets' buffers were full.

    Args:
        sockets: Open UDP sockets of this network namespace.
        tables: The kernel's lists of UDP sockets; 0 is the answer where there are none.
    """
    inodes = {str(os.fstat(each.fileno()).st_ino) for each in sockets if each.fileno() >= 0}
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
