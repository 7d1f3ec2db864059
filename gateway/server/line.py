"""A worker's line to the other workers, through the hub: what it says, asks, and does for them.

Nothing here knows of devices. When a message is lost on either side, both forget all that is under way, whoever asked
something hears that nobody knows what became of it, and the worker tells everything anew (`on_reset`).
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

from gateway.server.channel import Message
from gateway.server.limits import COLLEAGUE_S, HUB_RETRY_S, KEPT_NOTIFICATIONS, MAX_EXCHANGES
from gateway.server.outbox import ITEM_BYTES, KIND, Item, Outbox, weight
from gateway.telemetry import get_logger

Target: TypeAlias = int | list[str] | None
"""A worker, or the one that has the newest session of a device (tenant and device), or the hub itself."""

Doer: TypeAlias = Callable[[list[Any], Callable[[Any], None]], Awaitable[Any]]
"""Does what another worker asks: takes the arguments, and what takes news on the way; gives the answer."""


class Channel(Protocol):
    """What a line needs of `gateway.server.channel.Channel`."""

    def on(self, kind: str, handler: Callable[[Message], None]) -> None:
        """Has messages of a kind handled."""

    def send(self, message: Message) -> bool:
        """Sends a message; False where it is lost."""


class Trouble(StrEnum):
    """Why another worker gave no answer."""

    ABSENT = "absent"  # no worker has the device
    AWAY = "away"  # the hub takes nothing at present: it was not asked
    FULL = "full"  # too much is under way already: it was not asked
    LOST = "lost"  # the worker is gone, or a message is: it may have done it
    SILENT = "silent"  # it does not answer: it may yet do it


_OUTCOMES = ("answered", *Trouble)


class Unreachable(Exception):
    """Another worker gave no answer.

    Attributes:
        trouble: Why.
    """

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.value)
        self.trouble = trouble

    @property
    def asked(self) -> bool:
        """Whether it may have done what it was asked."""
        return self.trouble in (Trouble.LOST, Trouble.SILENT)


class _Exchange:
    """Something asked."""

    __slots__ = ("answer", "ended", "news", "something", "trouble")

    def __init__(self) -> None:
        self.news: deque[Any] = deque(maxlen=KEPT_NOTIFICATIONS)
        self.something = asyncio.Event()
        self.ended = False
        self.answer: Any = None
        self.trouble: Trouble | None = None

    def end(self, answer: Any = None, trouble: Trouble | None = None) -> None:
        self.answer, self.trouble, self.ended = answer, trouble, True
        self.something.set()


class Line:
    """One for each worker that is not alone.

    Attributes:
        workers: The others that are there.
        outcomes: What came of what was asked.
        resets: How often everything was told anew because a message was lost.
    """

    def __init__(self, channel: Channel, on_reset: Callable[[], None]) -> None:
        """Says nothing before `begin`.

        Args:
            channel: To the supervisor; reads already or soon.
            on_reset: Called when the hub knows nothing of this worker: tells everything, beginning with this call.
        """
        self.workers: set[int] = set()
        self.outcomes = Counter(dict.fromkeys(_OUTCOMES, 0))
        self.resets = 0
        self._channel = channel
        self._on_reset = on_reset
        self._outbox = Outbox(channel.send, self._on_refused)
        self._open = False
        self._in_step = False
        self._closed = False
        self._flush_asked = False
        self._retry: asyncio.TimerHandle | None = None
        self._numbers = 0
        self._exchanges: dict[int, _Exchange] = {}
        self._doers: dict[str, Doer] = {"read": _read}
        self._tasks: dict[tuple[int, int], asyncio.Task[None]] = {}
        self._log = get_logger("gateway.server")
        self._on: dict[str, Callable[..., None]] = {
            "start": self._on_start,
            "again": self._on_again,
            "joined": self.workers.add,
            "parted": self.workers.discard,
            "ask": self._on_ask,
            "cancel": self._on_cancel,
            "answer": self._on_answer,
            "news": self._on_news,
            "absent": lambda number: self._on_trouble(number, Trouble.ABSENT),
            "lost": lambda number: self._on_trouble(number, Trouble.LOST),
        }
        channel.on(KIND, self._on_message)

    def on(self, word: str, handler: Callable[..., None]) -> None:
        """Has an item of the hub handled, after what the line does about it itself."""
        first = self._on.get(word)
        if first is None:
            self._on[word] = handler
            return

        def both(*args: Any) -> None:
            first(*args)
            handler(*args)

        self._on[word] = both

    def do(self, what: str, doer: Doer) -> None:
        """Has something done for other workers that ask."""
        self._doers[what] = doer

    def begin(self) -> None:
        """Introduces this worker to the hub, which forgets what it knew of it."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._closed:
            return
        self._forget_all()
        self._open = self._channel.send({"kind": KIND, "items": [["reset"]]})
        if self._open:
            self._on_reset()
        else:
            self._retry_later()

    async def close(self) -> None:
        """Says nothing more, and does nothing more for others."""
        self.say(["bye"])
        self._flush()
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
        tasks = list(self._tasks.values())
        self._forget_all()
        await asyncio.gather(*tasks, return_exceptions=True)

    def say(self, item: Item, size: int = ITEM_BYTES) -> None:
        """Tells the hub something, at the end of this turn of the event loop.

        While the hub has to be told everything anew it is left out.
        """
        if self._open:
            self._outbox.put(item, size)
            if not self._flush_asked:
                self._flush_asked = True
                asyncio.get_running_loop().call_soon(self._flush)

    def tell(self, worker: int | None, what: str, args: list[Any]) -> None:
        """Lets another worker know, or all others; handled there by `on("told", ...)`."""
        self.say(["tell", worker, what, args], ITEM_BYTES + weight(args))

    async def ask(self, target: Target, what: str, args: list[Any], *, within_s: float, insist: bool = False) -> Any:
        """Has something done by another worker.

        Args:
            target: Who does it.
            what: Says what; see `do`.
            args: JSON.
            within_s: Seconds that are waited for the answer.
            insist: It is to be done although nobody waits for the answer any more.

        Raises:
            Unreachable: There is no answer, or none within so many seconds.
        """
        number, exchange = self._begin_exchange(target, what, args)
        try:
            async with asyncio.timeout(within_s):
                while not exchange.ended:
                    exchange.something.clear()
                    await exchange.something.wait()
        except TimeoutError:
            raise self._failed(Trouble.SILENT) from None
        finally:
            self._end_exchange(number, insist=insist)
        return self._outcome(exchange)

    async def keep_pace(self, worker: int | None) -> None:
        """Returns when another worker, or the hub, has read all that was said until now: for whoever says much.

        Raises:
            Unreachable: It does not read.
        """
        await self.ask(worker, "read", [], within_s=COLLEAGUE_S)

    async def follow(
        self, target: Target, what: str, args: list[Any], *, first_within_s: float
    ) -> AsyncGenerator[Any, None]:
        """The same for something that has news on the way; the last item is the answer.

        Raises:
            Unreachable: There is no answer, or nothing at all within so many seconds.
        """
        number, exchange = self._begin_exchange(target, what, args)
        within_s: float | None = first_within_s
        try:
            while True:
                async with asyncio.timeout(within_s):
                    while not exchange.news and not exchange.ended:
                        exchange.something.clear()
                        await exchange.something.wait()
                if not exchange.news:
                    break
                within_s = None
                yield exchange.news.popleft()
        except TimeoutError:
            raise self._failed(Trouble.SILENT) from None
        finally:
            self._end_exchange(number)
        yield self._outcome(exchange)

    # --- asking -------------------------------------------------------------------------------------------------------

    def _begin_exchange(self, target: Target, what: str, args: list[Any]) -> tuple[int, _Exchange]:
        if not self._in_step:
            raise self._failed(Trouble.AWAY)
        if len(self._exchanges) >= MAX_EXCHANGES:
            raise self._failed(Trouble.FULL)
        number = self._numbers = self._numbers + 1
        exchange = self._exchanges[number] = _Exchange()
        self.say(["ask", number, target, what, args], ITEM_BYTES + weight(args))
        return number, exchange

    def _end_exchange(self, number: int, *, insist: bool = False) -> None:
        if self._exchanges.pop(number, None) is not None and not insist:
            self.say(["cancel", number])

    def _outcome(self, exchange: _Exchange) -> Any:
        if exchange.trouble is not None:
            raise self._failed(exchange.trouble)
        self.outcomes["answered"] += 1
        return exchange.answer

    def _failed(self, trouble: Trouble) -> Unreachable:
        self.outcomes[trouble] += 1
        return Unreachable(trouble)

    def _on_answer(self, number: int, body: Any) -> None:
        exchange = self._exchanges.pop(number, None)
        if exchange is not None:
            exchange.end(body, None if body is not None else Trouble.LOST)

    def _on_news(self, number: int, body: Any) -> None:
        exchange = self._exchanges.get(number)
        if exchange is not None:
            exchange.news.append(body)
            exchange.something.set()

    def _on_trouble(self, number: int, trouble: Trouble) -> None:
        exchange = self._exchanges.pop(number, None)
        if exchange is not None:
            exchange.end(trouble=trouble)

    # --- doing --------------------------------------------------------------------------------------------------------

    def _on_ask(self, origin: int, number: int, what: str, args: list[Any]) -> None:
        task = asyncio.get_running_loop().create_task(self._do(origin, number, what, args))
        self._tasks[origin, number] = task
        task.add_done_callback(lambda _: self._tasks.pop((origin, number), None))

    async def _do(self, origin: int, number: int, what: str, args: list[Any]) -> None:
        def news(body: Any) -> None:
            self.say(["news", origin, number, body], ITEM_BYTES + weight(body))

        try:
            answer = await self._doers[what](args, news)
        except Exception as fault:  # a bug of ours: whoever asked must not wait for ever
            self._log.error("server.fault", exc_info=fault)
            answer = None
        self.say(["answer", origin, number, answer], ITEM_BYTES + weight(answer))

    def _on_cancel(self, origin: int, number: int) -> None:
        task = self._tasks.get((origin, number))
        if task is not None:
            task.cancel()

    # --- the hub ------------------------------------------------------------------------------------------------------

    def _on_message(self, message: Message) -> None:
        if self._closed:
            return
        for item in message["items"]:
            try:
                self._on[item[0]](*item[1:])
            except Exception as fault:  # a bug of ours in one item must not take the others along
                self._log.error("server.fault", exc_info=fault)

    def _on_start(self, workers: list[int]) -> None:
        self.workers.clear()
        self.workers.update(workers)
        self._in_step = True

    def _on_again(self) -> None:
        self.resets += 1
        self.begin()

    def _flush(self) -> None:
        self._flush_asked = False
        if self._open:
            self._outbox.flush()

    def _on_refused(self) -> None:
        if self._closed:
            return
        self.resets += 1
        self._log.warning(
            "hub.message_lost",
            worker=None,
            hint="the supervisor does not read what this worker tells it; it is told anew",
        )
        self._forget_all()
        self._retry_later()

    def _retry_later(self) -> None:
        if self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(HUB_RETRY_S, self.begin)

    def _forget_all(self) -> None:
        """What is under way has lost an end."""
        self._open = self._in_step = False
        self._outbox.clear()
        self.workers.clear()
        exchanges, self._exchanges = self._exchanges, {}
        for exchange in exchanges.values():
            exchange.end(trouble=Trouble.LOST)
        for task in list(self._tasks.values()):
            task.cancel()


async def _read(args: list[Any], news: object) -> bool:
    """What was said before has been read."""
    return True
