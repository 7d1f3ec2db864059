"""Tells when one of some files has changed, however it was replaced.

What counts is what the path leads to: its inode, size, times and mode. So an editor that renames a new file over the
old one, a symlink that is turned to another folder (Kubernetes swaps `..data`, certbot relinks `live/`), and a `chmod`
that makes a file readable at last are changes, and another file in the same folder is none.

Files are looked at every second. To be told by the kernel would cost more: it watches folders, and the registry, or a
log, that is written in the same folder would wake a thread of ours with each write.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from gateway.server.limits import WATCH_INTERVAL_S, WATCH_SETTLE_S

Print = tuple[int, ...] | None


class Watch:
    """Calls back when a file has changed.

    Each call means that at least one is not what it was; several changes at once are one call.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        """Watches nothing yet."""
        self._on_change = on_change
        self._seen: dict[Path, Print] = {}
        self._task: asyncio.Task[None] | None = None

    def follow(self, files: Iterable[Path], known: Mapping[Path, Print] | None = None) -> None:
        """From now on these files; none to watch nothing.

        Args:
            files: All of them; what was watched before goes on from what was seen of it then.
            known: What was seen earlier of those that are new, for whoever has read them meanwhile.
        """
        wanted = {Path(os.path.abspath(file)) for file in files}
        if wanted == self._seen.keys():
            return
        earlier = {**(known or {}), **self._seen}
        self._seen = {file: earlier[file] if file in earlier else look(file) for file in wanted}
        if self._task is not None:
            self._task.cancel()
        self._task = asyncio.create_task(self._watch(self._seen)) if wanted else None

    async def stop(self) -> None:
        """Watches nothing any more."""
        task, self._task, self._seen = self._task, None, {}
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self, seen: dict[Path, Print]) -> None:
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            if all(look(file) == before for file, before in seen.items()):
                continue
            await asyncio.sleep(WATCH_SETTLE_S)
            seen.update((file, look(file)) for file in seen)
            self._on_change()


def look(file: Path) -> Print:
    """What a path leads to now; None for nothing that can be had."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode
