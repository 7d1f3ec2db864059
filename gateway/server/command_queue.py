"""Requests that wait for devices that sleep: delivered when the device next speaks or connects, one after the other."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Protocol

from gateway.coap import Code
from gateway.handlers import (
    DeviceBusy,
    DeviceNotConnected,
    DeviceRefused,
    DeviceRequest,
    DeviceRequestError,
    DeviceTimeout,
    QueueState,
    Response,
)
from gateway.server.commands import Performed, received
from gateway.server.limits import (
    KEPT_RESULT_BYTES,
    KEPT_RESULT_S,
    KEPT_RESULTS,
    MAX_QUEUED,
    MAX_QUEUED_BYTES,
    MAX_QUEUED_OF_ONE,
)
from gateway.telemetry import get_logger

_Owner = tuple[str, str]
# RFC 7252 section 5.1 and RFC 8132: whoever does these twice has done them once.
_IDEMPOTENT = frozenset({Code.GET, Code.PUT, Code.DELETE, Code.FETCH, Code.IPATCH})
_OVER = frozenset({QueueState.DONE, QueueState.FAILED, QueueState.EXPIRED})


class Reach(Protocol):
    """How the queue gets at devices: `Commands`, or in one worker of several `Everywhere`."""

    def last_heard(self, tenant: str, device: str) -> float | None:
        """When it spoke last in this worker; None where its newest session is not here."""

    def watch(self, tenant: str, device: str, since: float = 0.0) -> None:
        """Has `deliver` called when it next speaks or connects.

        Args:
            tenant: The device's.
            device: Its id.
            since: On the layer's clock: a device that is awake elsewhere has spoken if it was heard after that.
        """

    def unwatch(self, tenant: str, device: str) -> None:
        """No longer."""

    async def perform(self, tenant: str, device: str, request: DeviceRequest, timeout_s: float) -> Performed:
        """Asks it. See `Commands.perform`."""


class Queued:
    """A `QueuedRequest`.

    Attributes:
        id: Its name.
        owner: Tenant and device.
        request: What is asked.
        expires_at: On the engine's clock.
        state: Where it is.
        response: The device's answer.
        error: Why there is none.
        ended_at: When it was over.
    """

    __slots__ = (
        "_ended",
        "_queue",
        "ended_at",
        "error",
        "expires_at",
        "id",
        "owner",
        "request",
        "response",
        "state",
        "timer",
    )

    def __init__(
        self, queue: "CommandQueue", id: str, owner: _Owner, request: DeviceRequest, expires_at: float
    ) -> None:
        self._queue = queue
        self._ended: asyncio.Event | None = None
        self.id = id
        self.owner = owner
        self.request = request
        self.expires_at = expires_at
        self.state = QueueState.QUEUED
        self.response: Response | None = None
        self.error: DeviceRequestError | None = None
        self.ended_at = 0.0
        self.timer: asyncio.TimerHandle | None = None

    @property
    def device(self) -> str:
        """See `QueuedRequest.device`."""
        return self.owner[1]

    @property
    def answer_bytes(self) -> int:
        """What its answer holds."""
        return 0 if self.response is None else len(self.response.payload)

    async def wait(self) -> Response:
        """See `QueuedRequest.wait`."""
        if self.state not in _OVER:
            if self._ended is None:
                self._ended = asyncio.Event()
            await self._ended.wait()
        if self.response is None:
            raise self.error or DeviceTimeout("the request is over", sent=False)
        return self.response

    def cancel(self) -> bool:
        """See `QueuedRequest.cancel`."""
        return self._queue.cancel(self)

    def end(self, state: QueueState, now: float) -> None:
        """It is over."""
        self.state = state
        self.ended_at = now
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self._ended is not None:
            self._ended.set()


class CommandQueue:
    """All requests that wait, and those that ended lately.

    Attributes:
        on_change: Called with each request that came, or went on.
    """

    def __init__(
        self,
        commands: Reach,
        *,
        clock: Callable[[], float],
        random: Callable[[int], bytes],
        awake_s: float,
        attempt_s: float,
    ) -> None:
        """Makes an empty queue.

        Args:
            commands: Gets at devices.
            clock: Seconds, monotonic: the layer's.
            random: Gives that many random bytes, for names that nobody guesses.
            awake_s: A device that spoke so many seconds ago, or less, is awake.
            attempt_s: Seconds that an attempt may take.
        """
        self.on_change: Callable[[Queued], None] = _nobody
        self._commands = commands
        self._clock = clock
        self._random = random
        self._awake_s = awake_s
        self._attempt_s = attempt_s
        self._waiting: dict[_Owner, deque[Queued]] = {}
        self._by_id: dict[str, Queued] = {}
        self._bytes = 0
        self._ended_bytes = 0
        self._ended: OrderedDict[str, Queued] = OrderedDict()
        self._attempts: set[asyncio.Task[None]] = set()
        self._log = get_logger("gateway.server")

    def __len__(self) -> int:
        """How many wait, those on their way included."""
        return len(self._by_id)

    def put(self, tenant: str, device: str, request: DeviceRequest, expires_s: float) -> Queued:
        """See `RemoteDevice.queue`."""
        owner = (tenant, device)
        now = self._clock()
        if self._bytes + len(request.payload) > MAX_QUEUED_BYTES:
            raise DeviceBusy(f"{MAX_QUEUED_BYTES} bytes wait for devices that sleep")
        if len(self._by_id) >= MAX_QUEUED:
            raise DeviceBusy(f"{MAX_QUEUED} requests wait for devices that sleep")
        if len(self._waiting.get(owner, ())) >= MAX_QUEUED_OF_ONE:
            raise DeviceBusy(f"{MAX_QUEUED_OF_ONE} requests wait for this device")
        queued = Queued(self, self._random(16).hex(), owner, request, now + expires_s)
        queued.timer = asyncio.get_running_loop().call_at(queued.expires_at, self._on_expired, queued)
        self._waiting.setdefault(owner, deque()).append(queued)
        self._by_id[queued.id] = queued
        self._bytes += len(request.payload)
        heard = self._commands.last_heard(tenant, device)
        if heard is not None and now - heard <= self._awake_s:
            self.deliver(owner)
        if queued.state is QueueState.QUEUED:
            self._commands.watch(tenant, device)
            self.on_change(queued)
        return queued

    def waits_for(self, owner: _Owner) -> bool:
        """Whether something waits for a device, or is on its way to it."""
        return owner in self._waiting

    def left(self, owner: _Owner) -> None:
        """A session of the device has ended: what waits for it waits for it to speak in another one."""
        if owner in self._waiting:
            self._commands.watch(*owner)

    def waiting(self) -> list[_Owner]:
        """All devices for which something waits."""
        return list(self._waiting)

    def all(self) -> list[Queued]:
        """All requests that wait or ended lately."""
        return [*self._by_id.values(), *self._ended.values()]

    def find(self, request_id: str) -> Queued | None:
        """A request that waits or ended lately."""
        self._forget_old(self._clock())
        return self._by_id.get(request_id) or self._ended.get(request_id)

    def deliver(self, owner: _Owner) -> None:
        """The device is there: sends what waits for it, the next one when this one is answered."""
        mine = self._waiting.get(owner)
        if not mine or mine[0].state is not QueueState.QUEUED:
            return
        queued = mine[0]
        queued.state = QueueState.SENT
        self.on_change(queued)
        task = asyncio.get_running_loop().create_task(self._attempt(queued))
        self._attempts.add(task)
        task.add_done_callback(self._attempts.discard)

    def cancel(self, queued: Queued) -> bool:
        """Takes a request back that has not been sent."""
        if queued.state is not QueueState.QUEUED:
            return False
        queued.error = DeviceTimeout("the request was taken back", sent=False)
        self._finish(queued, QueueState.FAILED)
        return True

    async def close(self) -> None:
        """The gateway stops: nothing waits any more."""
        for queued in [each for mine in self._waiting.values() for each in mine]:
            queued.error = DeviceTimeout("the gateway stops", sent=queued.state is QueueState.SENT)
            self._finish(queued, QueueState.FAILED)
        for task in self._attempts:
            task.cancel()
        await asyncio.gather(*self._attempts, return_exceptions=True)

    async def _attempt(self, queued: Queued) -> None:
        """Sends a request, and what waits behind it as long as the device is there."""
        owner = queued.owner
        began = self._clock()
        within_s = min(self._attempt_s, queued.expires_at - began)
        try:
            done = await self._commands.perform(*owner, queued.request, within_s)
        except ValueError as error:
            done = Performed(None, DeviceRefused(str(error)), sent=False)
        if queued.state is not QueueState.SENT:
            return  # the gateway stops
        refused = isinstance(done.error, DeviceRefused)
        if done.response is not None:
            queued.response = received(done.response)
            self._finish(queued, QueueState.DONE)
        elif refused or (done.sent and queued.request.code not in _IDEMPOTENT):
            queued.error = done.error
            self._finish(queued, QueueState.FAILED)
        elif self._clock() >= queued.expires_at:
            queued.error = done.error
            self._finish(queued, QueueState.FAILED if done.sent else QueueState.EXPIRED)
        else:
            queued.state = QueueState.QUEUED
            self.on_change(queued)
        moved = isinstance(done.error, DeviceNotConnected) and self._commands.last_heard(*owner) is not None
        if done.response is not None or refused or moved:
            self.deliver(owner)  # it is there, or has another session
        elif self._waiting.get(owner):
            # It is silent, busy or gone: it speaks before anything else is sent. One whose session has ended may have
            # begun another one meanwhile, which counts.
            gone = isinstance(done.error, DeviceNotConnected)
            self._commands.watch(*owner, began if gone else self._clock())

    def _on_expired(self, queued: Queued) -> None:
        queued.timer = None
        if queued.state is QueueState.QUEUED:
            queued.error = DeviceTimeout("the device did not speak in time", sent=False)
            self._finish(queued, QueueState.EXPIRED)

    def _finish(self, queued: Queued, state: QueueState) -> None:
        queued.end(state, self._clock())
        mine = self._waiting[queued.owner]
        mine.remove(queued)
        if not mine:
            del self._waiting[queued.owner]
            self._commands.unwatch(*queued.owner)
        del self._by_id[queued.id]
        self._bytes -= len(queued.request.payload)
        queued.request = DeviceRequest(queued.request.code, [], b"")
        self._ended[queued.id] = queued
        self._ended_bytes += queued.answer_bytes
        self._forget_old(queued.ended_at)
        self.on_change(queued)
        self._log.info(
            "coap.queued_request_ended",
            request=queued.id,
            tenant=queued.owner[0],
            device=queued.owner[1],
            result=state.value,
        )

    def _forget_old(self, now: float) -> None:
        """Of what has ended, the newest are kept for an hour, as far as their answers are not too large together."""
        ended = self._ended
        while ended:
            oldest = next(iter(ended.values()))
            bounded = len(ended) <= KEPT_RESULTS and self._ended_bytes <= KEPT_RESULT_BYTES
            if bounded and now - oldest.ended_at < KEPT_RESULT_S:
                return
            del ended[oldest.id]
            self._ended_bytes -= oldest.answer_bytes


def _nobody(queued: Queued) -> None:
    """Nobody wants to know."""
