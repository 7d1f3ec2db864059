"""Tells when one of some files has changed, however it was replaced.

What counts is what the path leads to: its inode, size, times and mode. So an editor that renames a new file over the
old one, a symlink that is turned to another folder (Kubernetes swaps `..data`, certbot relinks `live/`), and a `chmod`
that makes a file readable at last are changes, and another file in the same folder is none. The kernel wakes us where
it can (inotify, on the folders); a look every few seconds finds the rest, such as changes on a network file system.
"""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Final

from watchfiles import awatch

from gateway.server.limits import MAX_LINKS, WATCH_POLL_S, WATCH_SETTLE_S
from gateway.telemetry import get_logger

_MS: Final = 1000

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
        self._log = get_logger("gateway.server")

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
        """Returns when the watching thread has ended."""
        task, self._task, self._seen = self._task, None, {}
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self, seen: dict[Path, Print]) -> None:
        while True:
            places = _places(seen)
            async with aclosing(self._wake_ups(places.keys())) as wake_ups:
                async for _ in wake_ups:
                    if all(look(file) == before for file, before in seen.items()):
                        continue
                    await asyncio.sleep(WATCH_SETTLE_S)
                    seen.update((file, look(file)) for file in seen)
                    self._on_change()
                    if _places(seen) != places:
                        break  # a link leads elsewhere, or a folder is another one: that has to be watched

    async def _wake_ups(self, entries: Iterable[Path]) -> AsyncGenerator[None]:
        """Something happened to one of these names, or some seconds went by."""
        names = {str(entry) for entry in entries}
        clock = asyncio.get_running_loop().time
        due = clock() + WATCH_POLL_S
        logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it would report each change in words of its own
        folders = sorted({entry.parent for entry in map(Path, names) if entry.parent.is_dir()})
        try:
            events = awatch(
                *folders,
                watch_filter=None,
                step=int(WATCH_SETTLE_S * _MS),  # its thread looks at us so often
                rust_timeout=int(WATCH_POLL_S * _MS),
                yield_on_timeout=True,
                recursive=False,
                ignore_permission_denied=True,
            )
            async with aclosing(events):
                async for changes in events:
                    # Where something else is written all the time, the seconds still go by.
                    if not changes or clock() >= due or not names.isdisjoint(path for _, path in changes):
                        due = clock() + WATCH_POLL_S
                        yield
        except (OSError, RuntimeError) as error:
            # No inotify, no watch left for us (fs.inotify.max_user_watches), or a fault of the library.
            self._log.warning(
                "config.watch_failed", error=str(error), hint=f"files are looked at every {WATCH_POLL_S:.0f} s instead"
            )
            while True:
                await asyncio.sleep(WATCH_POLL_S)
                yield


def _places(files: Iterable[Path]) -> dict[Path, int | None]:
    """The entries that lead to some files, each with the inode of its folder."""
    found: dict[Path, int | None] = {}
    for entry in {entry for file in files for entry in entries_of(file)}:
        folder = look(entry.parent)
        found[entry] = None if folder is None else folder[1]
    return found


def look(file: Path) -> Print:
    """What a path leads to now; None for nothing that can be had."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode


def entries_of(file: Path) -> set[Path]:
    """The directory entries of which one has to change so that an absolute path leads elsewhere: itself, and links."""
    found: set[Path] = set()
    walk, left = Path(file.anchor), list(file.parts[1:])
    links = 0
    while left:
        part = left.pop(0)
        if part == os.pardir:
            walk = walk.parent
            continue
        entry = walk / part
        if not left:
            found.add(entry)
        try:
            target = Path(os.readlink(entry))
        except OSError:
            walk = entry
            continue
        found.add(entry)
        links += 1
        if links > MAX_LINKS:
            break
        if target.is_absolute():
            walk = Path(target.anchor)
        left = [*target.parts[1 if target.is_absolute() else 0 :], *left]
    return found
