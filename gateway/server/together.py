"""One of several workers that are one gateway for their devices: what a worker has in place of `Pushes` alone.

With one worker there is nothing of this.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any

from prometheus_client.core import Metric

from gateway.handlers import DeviceRequest, QueuedRequest, Response
from gateway.server.clones import Clones
from gateway.server.commands import Commands
from gateway.server.device_sessions import DeviceSessions
from gateway.server.elsewhere import Elsewhere
from gateway.server.everywhere import Everywhere, is_name
from gateway.server.limits import COLLEAGUE_S, SYNC_SLICE
from gateway.server.line import Channel, Line, Unreachable
from gateway.server.parcels import pack_response, unpack_response
from gateway.server.pushes import Pushes
from gateway.server.queue_mirror import QueueMirror
from gateway.server.session import Session
from gateway.telemetry import counter_family

_Owner = tuple[str, str]


class Together:
    """A `DevicePort` for the devices of all workers, and the listener of `DeviceSessions`.

    Attributes:
        reach: Requests to the devices of all workers.
        line: To the other workers.
    """

    def __init__(
        self,
        channel: Channel,
        commands: Commands,
        of_devices: DeviceSessions,
        clones: Clones,
        *,
        close: Callable[[Session, str], None],
        clock: Callable[[], float],
        awake_s: float,
    ) -> None:
        """To be completed by `join`, because the queue of requests is made with `reach`.

        Args:
            channel: To the supervisor, whose `Hub` is at its other end.
            commands: Requests to the devices of this worker.
            of_devices: Its sessions.
            clones: Judges two sessions of a device.
            close: Ends a session for a reason (`CLOSE_REASONS`).
            clock: Seconds, monotonic, the same for all processes of the machine: the event loop's.
            awake_s: A device that spoke so many seconds ago, or less, is awake.
        """
        self.line = Line(channel, self._tell_everything)
        self._elsewhere = Elsewhere(self.line, of_devices, clones, close=close, on_moved=self._on_moved)
        self.reach = Everywhere(commands, self.line, self._elsewhere, clock=clock, awake_s=awake_s)
        self._of_devices = of_devices
        self._clock = clock
        self._syncing: asyncio.Task[None] | None = None
        self.line.do("notify", self._notify_for_another)

    def join(self, pushes: Pushes) -> None:
        """Takes the place of what this worker does alone.

        Args:
            pushes: Of this worker, made with `reach`.
        """
        self._pushes = pushes
        self._queue = pushes.queue_of_requests
        self._mirror = QueueMirror(self._queue, self.line, clock=self._clock)
        self.reach.on_heard = self._queue.deliver
        pushes.on_heard = self.reach.heard
        self._of_devices.listener = self

    def begin(self) -> None:
        """From now on this worker's devices are reached from others, and theirs from here. The channel is in use."""
        self.line.begin()

    async def close(self) -> None:
        """The gateway stops: this worker is alone from now on."""
        if self._syncing is not None:
            self._syncing.cancel()
            await asyncio.gather(self._syncing, return_exceptions=True)
        await self._mirror.close()
        await self._elsewhere.close()
        await self.line.close()

    def families(self) -> Iterable[Metric]:
        """For the metrics of this worker."""
        yield counter_family(
            "gateway_hub_exchanges_total",
            "What this worker has asked of others, by what came of it.",
            ("result",),
            {(str(outcome),): count for outcome, count in self.line.outcomes.copy().items()},
        )
        yield counter_family(
            "gateway_hub_resyncs_total",
            "How often this worker told the hub everything anew, because a message between them was lost.",
            (),
            {(): self.line.resets},
        )

    # --- the port -----------------------------------------------------------------------------------------------------

    def is_connected(self, tenant: str, device: str) -> bool:
        """See `DevicePort`."""
        return self.reach.is_connected(tenant, device)

    async def request(self, tenant: str, device: str, request: DeviceRequest, timeout_s: float) -> Response:
        """See `DevicePort`."""
        return await self.reach.request(tenant, device, request, timeout_s)

    def observe(
        self, tenant: str, device: str, request: DeviceRequest, timeout_s: float
    ) -> AsyncGenerator[Response, None]:
        """See `DevicePort`."""
        return self.reach.observe(tenant, device, request, timeout_s)

    def queue(self, tenant: str, device: str, request: DeviceRequest, expires_s: float) -> QueuedRequest:
        """See `DevicePort`. The queue is of the worker that is asked."""
        if not is_name(tenant, device):
            raise ValueError("no device can have such a name")
        return self._queue.put(tenant, device, request, expires_s)

    def queued(self, request_id: str) -> QueuedRequest | None:
        """See `DevicePort`; what other workers have is known with some milliseconds' delay."""
        return self._queue.find(request_id) or self._mirror.find(request_id)

    async def look_for_queued(self, request_id: str) -> QueuedRequest | None:
        """See `Pushes.look_for_queued`."""
        return await self._mirror.look_for(request_id)

    async def take_back(self, queued: QueuedRequest) -> bool:
        """See `Pushes.take_back`."""
        return await self._mirror.cancel(queued)

    async def notify(
        self, path: str, tenant: str, device: str | None, response: Response | None, *, confirmable: bool
    ) -> int:
        """See `DevicePort`. A worker that does not answer in time counts for nothing, and tells its observers late."""
        here = self._pushes.notify(path, tenant, device, response, confirmable=confirmable)
        if not self.line.workers:
            return await here
        args = [path, tenant, device, None if response is None else pack_response(response), confirmable]
        return sum(await asyncio.gather(here, *(self._notify_at(worker, args) for worker in self.line.workers)))

    async def _notify_at(self, worker: int, args: list[Any]) -> int:
        try:
            told: int = await self.line.ask(worker, "notify", args, within_s=COLLEAGUE_S, insist=True)
        except Unreachable:
            return 0
        return told

    async def _notify_for_another(self, args: list[Any], news: object) -> int:
        path, tenant, device, parcel, confirmable = args
        response = None if parcel is None else unpack_response(parcel)
        return await self._pushes.notify(path, tenant, device, response, confirmable=confirmable)

    # --- sessions -----------------------------------------------------------------------------------------------------

    def on_entered(self, session: Session) -> None:
        """A device has a new session here, which is its newest."""
        self._elsewhere.entered(session)
        self.reach.entered(session.owner)
        self._pushes.on_entered(session)

    def on_left(self, session: Session, heir: Session | None) -> None:
        """A session has ended here."""
        self._elsewhere.left(session, heir)
        self.reach.left(session.owner, heir=heir is not None)
        self._pushes.on_left(session, heir)

    def _on_moved(self, owner: _Owner, heard: bool) -> None:
        """A device has a newer session in another worker from now on."""
        if self._queue.waits_for(owner):
            if heard:
                self._queue.deliver(owner)
            else:
                self.reach.watch(*owner)

    # --- the hub ------------------------------------------------------------------------------------------------------

    def _tell_everything(self) -> None:
        """The hub knows nothing of this worker."""
        if self._syncing is not None:
            self._syncing.cancel()
        self.reach.begin_anew()
        self._syncing = asyncio.get_running_loop().create_task(self._sync())

    async def _sync(self) -> None:
        owners = self._of_devices.devices()
        for start in range(0, len(owners), SYNC_SLICE):
            self._elsewhere.tell_all(owners[start : start + SYNC_SLICE])
            await asyncio.sleep(0)  # requests go first
        for owner in self._queue.waiting():
            if not self.reach.is_here(*owner):
                self.reach.watch(*owner)
