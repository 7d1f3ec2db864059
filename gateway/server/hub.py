"""Makes several workers one gateway for its devices: the supervisor's side.

A device's newest session may be in any worker. Each worker tells the hub which devices enter and leave it, and the hub
tells the workers what concerns them. Requests, answers and news go from one worker to another through the hub, which
does not look into them. What is here is only what workers have told, so it is never the only copy: a worker of which
the hub has lost a message, or that has lost one, is forgotten, and tells everything anew.

A message is `{"kind": "hub", "items": [...]}`, an item a list. A worker says:

    reset                               forget what you know of me; all of it follows
    place tenant device count at host   a device has so many sessions here, the newest of that time; with a host, it
                                        began just now
    want tenant device since            tell me when it is next heard, or at once if it is awake and was after that time
    drop tenant device                  no longer
    heard tenant device                 one that I was to watch has spoken
    more                                I have read those names
    ask id target what args             have this done by a worker (a number), or by the one with a device's newest
                                        session (tenant, device); for null just answer
    answer worker id body               what was asked is done
    news worker id body                 something on the way to it
    cancel id                           what I asked is of no interest any more
    tell worker what args               let this worker, or all others (null), know
    bye                                 I stop; forget me

The hub says:

    start workers                       after `reset`: these are the others
    again                               a message to you was lost: say `reset`
    joined worker                       another one is there, with nothing as yet
    parted worker                       it is gone with all that it had
    present names names more            these devices have a session somewhere, these have none any more (`name_of`);
                                        with more to come, say `more`
    newer tenant device worker host     a worker has a newer session than yours; with a host, it began just now
    newest tenant device                yours is the newest again
    also tenant device count workers    yours is the newest of so many sessions, and these have the others: said when
                                        one began anywhere, and after `newest`
    watch tenant device since           say when it is heard, or at once as above
    heard tenant device                 it was heard
    ask worker id what args             from another worker, and so are
    cancel worker id
    told worker what args
    answer id body                      to what you asked, and so are
    news id body
    absent id                           the device is not connected
    lost id                             the worker is gone, and nobody knows what it has done
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client.core import Metric

from gateway.server.channel import Message, Switchboard
from gateway.server.directory import Directory, Place, name_of
from gateway.server.limits import HUB_NAMES, HUB_RETRY_S, MAX_WANTED
from gateway.server.outbox import ITEM_BYTES, KIND, Item, Outbox, weight
from gateway.telemetry import counter_family, gauge_family, get_logger

_NAME_BYTES = 21


class _Worker:
    """One that is in step.

    Attributes:
        outbox: What it is to be told.
        refused: A message to it was lost: nothing more is told before it has begun anew.
        asked: What it has asked: number -> worker that does it.
        does: What it does for others: worker and number.
        wants: Devices that it waits for.
        unnamed: Devices whose names it has not been told since it began.
    """

    __slots__ = ("asked", "does", "outbox", "refused", "unnamed", "wants")

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.refused = False
        self.asked: dict[int, int] = {}
        self.does: set[tuple[int, int]] = set()
        self.wants: set[tuple[str, str]] = set()
        self.unnamed: list[tuple[str, str]] = []


class Hub:
    """One for each supervisor, in its event loop.

    Attributes:
        directory: Where devices are.
        lost: Messages to workers that were lost, after each of which one has begun anew.
        malformed: Items that made no sense: a bug of ours.
    """

    def __init__(self, board: Switchboard) -> None:
        """Takes its place at the switchboard; to be made before the first worker is plugged in."""
        self.directory = Directory()
        self.lost = 0
        self.malformed = 0
        self._board = board
        self._workers: dict[int, _Worker] = {}
        # Which workers wait for a device, and since when.
        self._wants: dict[tuple[str, str], dict[int, float]] = {}
        self._names: dict[int, bool] = {}
        # Of these a message was lost, and they have not been told so yet.
        self._astray: set[int] = set()
        self._retry: asyncio.TimerHandle | None = None
        self._flush_asked = False
        self._log = get_logger("gateway.server")
        self._on: dict[str, Callable[..., None]] = {
            "place": self._place,
            "want": self._want,
            "drop": self._drop,
            "heard": self._heard,
            "ask": self._ask,
            "answer": self._answer,
            "news": self._news,
            "cancel": self._cancel,
            "more": self._name_more,
            "tell": self._tell_others,
            "bye": self._forget,
        }
        board.on(KIND, self._on_message)
        board.listen(self._on_worker)

    @property
    def workers(self) -> list[int]:
        """Those that are in step."""
        return list(self._workers)

    def families(self) -> Iterable[Metric]:
        """For the supervisor's metrics."""
        yield gauge_family(
            "gateway_hub_devices", "Devices that have a session in any worker.", (), {(): float(len(self.directory))}
        )
        yield counter_family(
            "gateway_hub_messages_lost_total",
            "Messages to workers that were lost because too many waited; the worker was told everything anew.",
            (),
            {(): self.lost},
        )

    def close(self) -> None:
        """The supervisor stops."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    # --- workers come and go ------------------------------------------------------------------------------------------

    def _on_worker(self, worker: int, here: bool) -> None:
        """A worker that comes says `reset` first."""
        self._astray.discard(worker)
        if not here:
            self._forget(worker)

    def _on_message(self, worker: int, message: Message) -> None:
        for item in message["items"]:
            try:
                if item[0] == "reset":
                    self._begin(worker)
                elif worker in self._workers:  # else it was told to begin anew, and this is older
                    self._on[item[0]](worker, *item[1:])
            except Exception as fault:  # a bug of ours in one item must not take the others along
                self.malformed += 1
                self._log.error("server.fault", exc_info=fault)

    def _begin(self, worker: int) -> None:
        # It is there still, so nobody else has to forget it.
        self._forget(worker, parted=False)
        self._astray.discard(worker)
        others = list(self._workers)
        outbox = Outbox(lambda message: self._board.send(worker, message), lambda: self._on_refused(worker))
        begun = self._workers[worker] = _Worker(outbox)
        self._say(worker, ["start", others])
        begun.unnamed = list(self.directory)
        self._name_more(worker)
        for other in others:
            self._say(other, ["joined", worker])

    def _name_more(self, worker: int) -> None:
        """Some at a time: of a million devices the names are more than a channel takes at once."""
        unnamed = self._workers[worker].unnamed
        next_ones, unnamed[-HUB_NAMES:] = unnamed[-HUB_NAMES:], []
        # Those that have left meanwhile were told so, or will be.
        names = [name_of(*each) for each in next_ones if self.directory.of(*each)]
        if next_ones:
            self._say(worker, ["present", names, [], bool(unnamed)], len(names) * _NAME_BYTES)

    def _forget(self, worker: int, *, parted: bool = True) -> None:
        """With all that it had, and all that others have asked of it."""
        gone = self._workers.pop(worker, None)
        if gone is None:
            return
        if parted:
            for other in self._workers:
                self._say(other, ["parted", worker])
        for origin, number in gone.does:
            if (asker := self._workers.get(origin)) is not None:
                asker.asked.pop(number, None)
                self._say(origin, ["lost", number])
        for number, target in gone.asked.items():
            self._cancel_at(target, worker, number)
        for key in gone.wants:
            self._unwant(worker, key)
        for tenant, device in self.directory.held_by(worker):
            self._place(worker, tenant, device, 0, 0.0, None)

    def _on_refused(self, worker: int) -> None:
        """A message to it was lost. What follows waits for the end of this turn: whoever called goes through a list."""
        self.lost += 1
        self._workers[worker].refused = True
        self._log.warning(
            "hub.message_lost",
            worker=worker,
            hint="the worker does not read what the others tell it: it hangs, or has no CPU time; it is told anew",
        )
        self._flush_soon()

    def _send_again(self) -> None:
        self._retry = None
        for worker in list(self._astray):
            if self._board.send(worker, {"kind": KIND, "items": [["again"]]}):
                self._astray.discard(worker)
        self._retry_later()

    def _retry_later(self) -> None:
        if self._astray and self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(HUB_RETRY_S, self._send_again)

    # --- telling ------------------------------------------------------------------------------------------------------

    def _say(self, worker: int, item: Item, size: int = ITEM_BYTES) -> None:
        told = self._workers.get(worker)
        if told is not None and not told.refused:
            told.outbox.put(item, size)
            self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flush_asked:
            self._flush_asked = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_asked = False
        if self._names:
            changed, self._names = list(self._names.items()), {}
            # A worker that ends takes all its devices along: their names are more than a message holds.
            for start in range(0, len(changed), HUB_NAMES):
                some = changed[start : start + HUB_NAMES]
                came = [name for name, here in some if here]
                went = [name for name, here in some if not here]
                for worker in self._workers:
                    self._say(worker, ["present", came, went, False], len(some) * _NAME_BYTES)
        for told in list(self._workers.values()):
            if not told.refused:
                told.outbox.flush()
        for worker in [worker for worker, told in self._workers.items() if told.refused]:
            self._forget(worker)
            self._astray.add(worker)
        self._retry_later()

    # --- where devices are --------------------------------------------------------------------------------------------

    def _place(self, worker: int, tenant: str, device: str, count: int, at: float, host: str | None) -> None:
        before = self.directory.put(tenant, device, Place(worker, count, at))
        after = self.directory.of(tenant, device)
        if not before or not after:
            self._names[name_of(tenant, device)] = bool(after)
            self._flush_soon()
        newest = after[-1].worker if after else None
        if len(before) > 1 or len(after) > 1:
            self._say_who_is_newest(worker, tenant, device, before, after, host)
        if (wanting := self._wants.get((tenant, device))) is not None:
            if host is not None:
                self._heard(worker, tenant, device)
            elif newest is not None and (not before or before[-1].worker != newest):
                self._say(newest, ["watch", tenant, device, min(wanting.values())])

    def _say_who_is_newest(
        self,
        worker: int,
        tenant: str,
        device: str,
        before: tuple[Place, ...],
        after: tuple[Place, ...],
        host: str | None,
    ) -> None:
        newest = after[-1].worker if after else None
        # They know already that another one has a newer session; a worker that a device has entered does not.
        knew = {place.worker for place in before[:-1]} - ({worker} if host is not None else set())
        begins = host is not None and newest == worker
        for other, _, _ in after:
            if other == newest:
                if other in knew:
                    self._say(other, ["newest", tenant, device])
            elif begins or other not in knew:
                self._say(other, ["newer", tenant, device, newest, host if begins else None])
        if newest is not None and len(after) > 1 and (host is not None or newest in knew):
            count = sum(place.sessions for place in after)
            self._say(newest, ["also", tenant, device, count, [place.worker for place in after[:-1]]])

    # --- waiting for devices ------------------------------------------------------------------------------------------

    def _want(self, worker: int, tenant: str, device: str, since: float) -> None:
        since = float(since)
        wants = self._workers[worker].wants
        if len(wants) >= MAX_WANTED:
            raise OverflowError(f"worker {worker} waits for {MAX_WANTED} devices")
        wants.add((tenant, device))
        self._wants.setdefault((tenant, device), {})[worker] = since
        newest = self.directory.newest(tenant, device)
        if newest is not None:
            self._say(newest, ["watch", tenant, device, since])

    def _drop(self, worker: int, tenant: str, device: str) -> None:
        self._workers[worker].wants.discard((tenant, device))
        self._unwant(worker, (tenant, device))

    def _unwant(self, worker: int, key: tuple[str, str]) -> None:
        wanting = self._wants.get(key)
        if wanting is not None:
            wanting.pop(worker, None)
            if not wanting:
                del self._wants[key]

    def _heard(self, worker: int, tenant: str, device: str) -> None:
        for wanting in self._wants.pop((tenant, device), ()):
            if wanting in self._workers:
                self._workers[wanting].wants.discard((tenant, device))
                self._say(wanting, ["heard", tenant, device])

    # --- from worker to worker ----------------------------------------------------------------------------------------

    def _ask(self, worker: int, number: int, target: int | list[str] | None, what: str, args: list[Any]) -> None:
        if target is None:
            self._say(worker, ["answer", number, True])
            return
        if isinstance(target, list):
            newest = self.directory.newest(*target)
            if newest is None:
                self._say(worker, ["absent", number])
                return
            target = newest
        doer = self._workers.get(target)
        if doer is None or doer.refused:
            self._say(worker, ["lost", number])
            return
        self._workers[worker].asked[number] = target
        doer.does.add((worker, number))
        self._say(target, ["ask", worker, number, what, args], ITEM_BYTES + weight(args))

    def _answer(self, worker: int, origin: int, number: int, body: Any) -> None:
        does = self._workers[worker].does
        if (origin, number) in does:
            does.discard((origin, number))
            self._workers[origin].asked.pop(number, None)
            self._say(origin, ["answer", number, body], ITEM_BYTES + weight(body))

    def _news(self, worker: int, origin: int, number: int, body: Any) -> None:
        if (origin, number) in self._workers[worker].does:
            self._say(origin, ["news", number, body], ITEM_BYTES + weight(body))

    def _cancel(self, worker: int, number: int) -> None:
        target = self._workers[worker].asked.pop(number, None)
        if target is not None:
            self._cancel_at(target, worker, number)

    def _cancel_at(self, target: int, origin: int, number: int) -> None:
        doer = self._workers.get(target)
        if doer is not None:
            doer.does.discard((origin, number))
            self._say(target, ["cancel", origin, number])

    def _tell_others(self, worker: int, to: int | None, what: str, args: list[Any]) -> None:
        size = ITEM_BYTES + weight(args)
        for other in self._workers if to is None else (to,):
            if other != worker:
                self._say(other, ["told", worker, what, args], size)
