"""The queued requests of other workers, as they have told of them, so that each worker can say what became of one.

The worker that took a request keeps it, delivers it, and tells the others of each step; what they know is some
milliseconds old. When that worker is gone its requests are forgotten, as a restart of the gateway forgets all.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gateway.handlers import DeviceRequestError, DeviceTimeout, QueuedRequest, QueueState, Response
from gateway.server.command_queue import CommandQueue, Queued
from gateway.server.limits import (
    COLLEAGUE_S,
    HUB_BATCH_BYTES,
    KEPT_RESULT_BYTES,
    KEPT_RESULT_S,
    KEPT_RESULTS,
    MAX_MIRRORED,
)
from gateway.server.line import Line, Unreachable
from gateway.server.outbox import ITEM_BYTES, weight
from gateway.server.parcels import pack_error, pack_response, unpack_error, unpack_response

_OVER = frozenset({QueueState.DONE, QueueState.FAILED, QueueState.EXPIRED})


class Mirrored:
    """A `QueuedRequest` of another worker.

    Attributes:
        id: Its name.
        worker: Who has it.
        device: The device's id.
        state: Where it is, as far as is known here.
        response: The device's answer.
        error: Why there is none.
        ended_at: When that was told.
    """

    __slots__ = ("_changed", "_mirror", "device", "ended_at", "error", "id", "response", "state", "worker")

    def __init__(self, mirror: "QueueMirror", id: str, worker: int, device: str) -> None:
        self._mirror = mirror
        self._changed: asyncio.Event | None = None
        self.id = id
        self.worker = worker
        self.device = device
        self.state = QueueState.QUEUED
        self.response: Response | None = None
        self.error: DeviceRequestError | None = None
        self.ended_at = 0.0

    @property
    def answer_bytes(self) -> int:
        """What its answer holds."""
        return 0 if self.response is None else len(self.response.payload)

    async def wait(self) -> Response:
        """See `QueuedRequest.wait`."""
        if self.state not in _OVER and self.error is None:
            if self._changed is None:
                self._changed = asyncio.Event()
            await self._changed.wait()
        if self.response is None:
            raise self.error or DeviceTimeout("the request is over", sent=False)
        return self.response

    def cancel(self) -> bool:
        """See `QueuedRequest.cancel`: True when the worker that has it was asked to. `state` says what came of it."""
        if self.state is not QueueState.QUEUED:
            return False
        self._mirror.ask_to_cancel(self)
        return True

    def end(self) -> None:
        """It is over, or nobody knows of it any more."""
        if self._changed is not None:
            self._changed.set()


class QueueMirror:
    """One for each worker that is not alone."""

    def __init__(self, queue: CommandQueue, line: Line, *, clock: Callable[[], float]) -> None:
        """Begins to tell of what is queued here.

        Args:
            queue: Of this worker.
            line: To the others.
            clock: Seconds, monotonic.
        """
        self._queue = queue
        self._line = line
        self._clock = clock
        self._waiting: OrderedDict[str, Mirrored] = OrderedDict()
        self._ended: OrderedDict[str, Mirrored] = OrderedDict()
        self._ended_bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()
        queue.on_change = self._tell
        line.on("start", self._on_start)
        line.on("joined", self._on_joined)
        line.on("parted", self._on_parted)
        line.on("told", self._on_told)
        line.do("cancel_queued", self._cancel)
        line.do("find_queued", self._describe)

    def __len__(self) -> int:
        return len(self._waiting) + len(self._ended)

    async def close(self) -> None:
        """Tells nothing more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def find(self, request_id: str) -> Mirrored | None:
        """A request of another worker that waits or ended lately."""
        self._forget_old()
        return self._waiting.get(request_id) or self._ended.get(request_id)

    async def look_for(self, request_id: str) -> QueuedRequest | None:
        """The same of this worker or any; where it is not known yet, the others are asked."""
        found = self._queue.find(request_id) or self.find(request_id)
        if found is not None or not self._line.workers:
            return found
        workers = sorted(self._line.workers)
        answers = await asyncio.gather(*(self._ask(worker, "find_queued", request_id) for worker in workers))
        for worker, answer in zip(workers, answers, strict=True):
            if answer:
                self._take(worker, *answer)
        return self.find(request_id)

    async def cancel(self, queued: QueuedRequest) -> bool:
        """Takes a request back wherever it is; False when it is on its way or over."""
        if not isinstance(queued, Mirrored):
            return queued.cancel()
        answer = await self._ask(queued.worker, "cancel_queued", queued.id)
        if answer:
            self._take(queued.worker, *answer[1])
        return bool(answer and answer[0])

    def ask_to_cancel(self, mirrored: Mirrored) -> None:
        """See `Mirrored.cancel`."""
        self._line.tell(mirrored.worker, "cancel", [mirrored.id])

    async def _ask(self, worker: int, what: str, request_id: str) -> Any:
        try:
            return await self._line.ask(worker, what, [request_id], within_s=COLLEAGUE_S)
        except Unreachable:
            return False

    # --- telling ------------------------------------------------------------------------------------------------------

    def _tell(self, queued: Queued) -> None:
        self._line.tell(None, "queued", _described(queued))

    def _on_joined(self, worker: int) -> None:
        task = asyncio.get_running_loop().create_task(self._tell_all(worker))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell_all(self, worker: int) -> None:
        """As fast as it reads: the answers may be more than a channel takes at once."""
        told = 0
        with suppress(Unreachable):  # it is gone, or will join again
            for queued in self._queue.all():
                described = _described(queued)
                self._line.tell(worker, "queued", described)
                told += ITEM_BYTES + weight(described)
                if told >= HUB_BATCH_BYTES:
                    told = 0
                    await self._line.keep_pace(worker)

    async def _cancel(self, args: list[Any], news: object) -> Any:
        queued = self._queue.find(args[0])
        return False if queued is None else [queued.cancel(), _described(queued)]

    async def _describe(self, args: list[Any], news: object) -> Any:
        queued = self._queue.find(args[0])
        return False if queued is None else _described(queued)

    # --- hearing ------------------------------------------------------------------------------------------------------

    def _on_start(self, workers: list[int]) -> None:
        self._drop(lambda mirrored: mirrored.worker not in workers)
        for worker in workers:
            self._on_joined(worker)

    def _on_parted(self, worker: int) -> None:
        self._drop(lambda mirrored: mirrored.worker == worker)

    def _on_told(self, worker: int, what: str, args: list[Any]) -> None:
        if what == "queued":
            self._take(worker, *args)
        elif what == "cancel" and (queued := self._queue.find(args[0])) is not None:
            queued.cancel()

    def _take(
        self,
        worker: int,
        request_id: str,
        device: str,
        state: str,
        response: list[Any] | None,
        error: list[Any] | None,
    ) -> None:
        if request_id in self._ended:
            return
        mirrored = self._waiting.pop(request_id, None) or Mirrored(self, request_id, worker, device)
        mirrored.state = QueueState(state)
        if mirrored.state not in _OVER:
            while len(self._waiting) >= MAX_MIRRORED:
                _, oldest = self._waiting.popitem(last=False)
                self._give_up(oldest, "too many requests of other workers wait", sent=oldest.state is QueueState.SENT)
            self._waiting[request_id] = mirrored
            return
        mirrored.response = None if response is None else unpack_response(response)
        mirrored.error = None if error is None else unpack_error(error)
        mirrored.ended_at = self._clock()
        self._ended[request_id] = mirrored
        self._ended_bytes += mirrored.answer_bytes
        self._forget_old()
        mirrored.end()

    def _drop(self, goes: Callable[[Mirrored], bool]) -> None:
        for table in (self._waiting, self._ended):
            for mirrored in [each for each in table.values() if goes(each)]:
                del table[mirrored.id]
                if mirrored.state not in _OVER:
                    # It may have been sent meanwhile, whatever is known here.
                    self._give_up(mirrored, "the worker that had the request has forgotten it", sent=True)
        self._ended_bytes = sum(each.answer_bytes for each in self._ended.values())

    def _give_up(self, mirrored: Mirrored, why: str, *, sent: bool) -> None:
        """Nothing more will be known of it here: whoever waits for it waits no longer."""
        mirrored.error = DeviceTimeout(why, sent=sent)
        mirrored.end()

    def _forget_old(self) -> None:
        now = self._clock()
        while self._ended:
            oldest = next(iter(self._ended.values()))
            bounded = len(self._ended) <= KEPT_RESULTS and self._ended_bytes <= KEPT_RESULT_BYTES
            if bounded and now - oldest.ended_at < KEPT_RESULT_S:
                return
            del self._ended[oldest.id]
            self._ended_bytes -= oldest.answer_bytes


def _described(queued: Queued) -> list[Any]:
    return [
        queued.id,
        queued.device,
        queued.state.value,
        None if queued.response is None else pack_response(queued.response),
        None if queued.error is None else pack_error(queued.error),
    ]
