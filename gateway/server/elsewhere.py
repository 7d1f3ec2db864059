"""What a worker knows of the sessions that its devices have in other workers, and what follows from them.

A device that restarts comes from another port, and most likely to another worker. Its session there is the newest one;
what it left here counts still for `[dtls] max_sessions_per_device`, and for telling a clone from a device that moved.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gateway.server.clones import Clones
from gateway.server.device_sessions import DeviceSessions
from gateway.server.directory import name_of
from gateway.server.limits import CLONE_ASK_S, COLLEAGUE_S, MAX_YIELDS
from gateway.server.line import Line, Trouble, Unreachable
from gateway.server.session import Session

_Owner = tuple[str, str]


class Elsewhere:
    """One for each worker that is not alone."""

    def __init__(
        self,
        line: Line,
        of_devices: DeviceSessions,
        clones: Clones,
        *,
        close: Callable[[Session, str], None],
        on_moved: Callable[[_Owner, bool], None],
    ) -> None:
        """Knows nothing yet.

        Args:
            line: To the other workers.
            of_devices: The sessions here.
            clones: Judges two sessions at different hosts.
            close: Ends a session for a reason (`CLOSE_REASONS`).
            on_moved: Called with a device that has a newer session in another worker from now on, and whether it was
                heard there just now.
        """
        self._line = line
        self._of_devices = of_devices
        self._clones = clones
        self._close = close
        self._on_moved = on_moved
        # Devices with a session in any worker, by `name_of`: 70 bytes each.
        self._present: set[int] = set()
        # Devices with a session here and a newer one in another worker.
        self._newer: set[_Owner] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        line.on("start", self._on_start)
        line.on("present", self._on_present)
        line.on("newer", self._on_newer)
        line.on("newest", lambda tenant, device: self._newer.discard((tenant, device)))
        line.on("also", self._on_also)
        line.do("sessions", self._say_sessions)
        line.do("yield", self._yield)
        line.do("host", self._say_host)

    def is_connected(self, tenant: str, device: str) -> bool:
        """Whether a device has a session in any worker, as far as is known here: some milliseconds old."""
        return name_of(tenant, device) in self._present

    def has_newer(self, owner: _Owner) -> bool:
        """Whether a device that has a session here has a newer one in another worker."""
        return owner in self._newer

    def entered(self, session: Session) -> None:
        """A session began here: it is the newest of its device."""
        owner = session.owner
        self._newer.discard(owner)
        association = session.association
        if association is not None:
            self._line.say(["place", *owner, self._count(owner), association.last_heard, association.address[0]])

    def left(self, session: Session, heir: Session | None) -> None:
        """A session has ended here; the heir is the newest that is left."""
        owner = session.owner
        if heir is None:
            self._newer.discard(owner)
        self._place(owner, heir)

    def tell_all(self, owners: list[_Owner]) -> None:
        """Tells the hub anew of some devices."""
        for owner in owners:
            newest = self._of_devices.newest(*owner)
            if newest is not None:
                self._place(owner, newest)

    async def close(self) -> None:
        """Does nothing more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _place(self, owner: _Owner, newest: Session | None) -> None:
        at = newest.association.last_heard if newest is not None and newest.association is not None else 0.0
        self._line.say(["place", *owner, self._count(owner), at, None])

    def _count(self, owner: _Owner) -> int:
        return sum(session.is_open for session in self._of_devices.of(*owner))

    # --- the hub ------------------------------------------------------------------------------------------------------

    def _on_start(self, workers: list[int]) -> None:
        self._present.clear()
        self._newer.clear()

    def _on_present(self, came: list[int], went: list[int], more: bool) -> None:
        self._present.update(came)
        self._present.difference_update(went)
        if more:
            self._line.say(["more"])

    def _on_newer(self, tenant: str, device: str, worker: int, host: str | None) -> None:
        owner = (tenant, device)
        if self._of_devices.newest(tenant, device) is None:
            return  # it has ended meanwhile, and the hub will hear of it
        self._newer.add(owner)
        self._on_moved(owner, host is not None)
        if host is not None:

            async def host_now() -> str | None:
                return await self._host(worker, owner)

            self._clones.entered_elsewhere(owner, host, host_now)

    async def _host(self, worker: int, owner: _Owner) -> str | None:
        try:
            host: str = await self._line.ask(worker, "host", [*owner], within_s=CLONE_ASK_S)
        except Unreachable as trouble:
            # A worker that is gone took the session along; one that hangs, or cannot be asked now, has it still.
            return "" if trouble.trouble is Trouble.LOST else None
        return host

    def _on_also(self, tenant: str, device: str, count: int, workers: list[int]) -> None:
        # "newer" of a session before this one may have been on its way when the device entered here.
        self._newer.discard((tenant, device))
        if self._of_devices.limit and count > self._of_devices.limit:
            task = asyncio.get_running_loop().create_task(self._make_room((tenant, device), workers))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    # --- a device's sessions ------------------------------------------------------------------------------------------

    async def _make_room(self, owner: _Owner, workers: list[int]) -> None:
        """Above the limit, the session that was silent longest yields, in whichever worker it is.

        All are counted anew for each: sessions may begin in several workers at once, and the one that was to yield may
        have spoken meanwhile. The worker with the newest session alone does it, so that no two end each other's.
        """
        for _ in range(MAX_YIELDS):
            answers = await asyncio.gather(*(self._sessions(worker, owner) for worker in workers))
            if owner in self._newer:
                return  # the worker that has that one was told the same
            found = [(heard, worker) for worker, times in zip(workers, answers, strict=True) for heard in times]
            here = [session for session in self._of_devices.of(*owner) if session.is_open]
            if not here or len(found) + len(here) <= self._of_devices.limit:
                return
            mine = min(here[1:], key=_heard, default=None)
            if found and (mine is None or min(found)[0] < _heard(mine)):
                heard, worker = min(found)
                with suppress(Unreachable):  # its sessions are gone with it, or cannot be counted the next time
                    await self._line.ask(worker, "yield", [*owner, heard], within_s=COLLEAGUE_S)
            elif mine is not None:
                self._close(mine, "too_many")

    async def _sessions(self, worker: int, owner: _Owner) -> list[float]:
        try:
            times: list[float] = await self._line.ask(worker, "sessions", [*owner], within_s=COLLEAGUE_S)
        except Unreachable:
            return []
        return times

    async def _say_sessions(self, args: list[Any], news: object) -> list[float]:
        """When each session of a device was last heard of."""
        return [_heard(session) for session in self._of_devices.of(*args) if session.is_open]

    async def _yield(self, args: list[Any], news: object) -> bool:
        """Ends the session that was last heard of at some time, unless it has spoken since."""
        tenant, device, heard = args
        for session in self._of_devices.of(tenant, device):
            if session.is_open and _heard(session) == heard:
                self._close(session, "too_many")
                return True
        return False

    async def _say_host(self, args: list[Any], news: object) -> str:
        """Where the newest session of a device is now; nothing where there is none."""
        session = self._of_devices.newest(*args)
        return "" if session is None or session.association is None else session.association.address[0]


def _heard(session: Session) -> float:
    return session.association.last_heard if session.association is not None else float("-inf")
