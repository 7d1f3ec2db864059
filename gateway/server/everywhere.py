"""Requests to devices of any worker: those that are here are asked here, the others by the worker that has them.

The outcome is the same either way: a response, or a `DeviceRequestError` with `sent` as honest as it can be. What was
handed to a worker that is gone may have been done.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from gateway.handlers import (
    DeviceBusy,
    DeviceNotConnected,
    DeviceRequest,
    DeviceRequestError,
    DeviceTimeout,
    Response,
)
from gateway.server.commands import Commands, Performed, received
from gateway.server.elsewhere import Elsewhere
from gateway.server.limits import COLLEAGUE_S, MAX_DETOURS
from gateway.server.line import Line, Trouble, Unreachable
from gateway.server.parcels import (
    pack_error,
    pack_performed,
    pack_request,
    pack_response,
    unpack_error,
    unpack_performed,
    unpack_request,
    unpack_response,
)

_Owner = tuple[str, str]


class Everywhere:
    """`Commands` for the devices of all workers.

    Attributes:
        on_heard: Called with a device that was watched and has spoken, or connected, in any worker.
    """

    def __init__(
        self,
        here: Commands,
        line: Line,
        elsewhere: Elsewhere,
        *,
        clock: Callable[[], float],
        awake_s: float,
    ) -> None:
        """Takes over from the commands of one worker.

        Args:
            here: Asks the devices of this one.
            line: To the others.
            elsewhere: Knows of the sessions there.
            clock: Seconds, monotonic.
            awake_s: A device that spoke so many seconds ago, or less, is awake.
        """
        self.on_heard: Callable[[_Owner], None] = _nobody
        self._here = here
        self._line = line
        self._elsewhere = elsewhere
        self._clock = clock
        self._awake_s = awake_s
        # What this worker waits for at the hub, and what it watches for others.
        self._wanted: set[_Owner] = set()
        self._watched: set[_Owner] = set()
        line.on("heard", self._on_heard)
        line.on("watch", self._on_watch)
        line.do("perform", self._perform_for_another)
        line.do("observe", self._observe_for_another)

    # --- as `Commands` ------------------------------------------------------------------------------------------------

    def is_here(self, tenant: str, device: str) -> bool:
        """Whether the device's newest session is in this worker."""
        return self._here.is_connected(tenant, device) and not self._elsewhere.has_newer((tenant, device))

    def is_connected(self, tenant: str, device: str) -> bool:
        """Whether the device has a session in any worker; what is elsewhere is known with some milliseconds' delay."""
        return self._here.is_connected(tenant, device) or self._elsewhere.is_connected(tenant, device)

    def last_heard(self, tenant: str, device: str) -> float | None:
        """When the device spoke last, if that was here."""
        return self._here.last_heard(tenant, device) if self.is_here(tenant, device) else None

    async def request(self, tenant: str, device: str, request: DeviceRequest, timeout_s: float) -> Response:
        """See `RemoteDevice.request`."""
        return received((await self.perform(tenant, device, request, timeout_s)).whole())

    async def perform(self, tenant: str, device: str, request: DeviceRequest, timeout_s: float) -> Performed:
        """See `Commands.perform`."""
        deadline = self._clock() + timeout_s
        done = Performed(None, DeviceNotConnected(), sent=False)
        for _ in range(MAX_DETOURS):
            left_s = deadline - self._clock()
            if self.is_here(tenant, device):
                done = await self._here.perform(tenant, device, request, left_s)
            else:
                try:
                    done = await self._hand_over(tenant, device, request, left_s)
                except Unreachable as trouble:
                    return Performed(None, _error_for(trouble), sent=trouble.asked)
            # What never went out may go another way, when the device has a new session in another worker.
            if done.sent or not isinstance(done.error, DeviceNotConnected):
                break
        return done

    async def observe(
        self, tenant: str, device: str, request: DeviceRequest, timeout_s: float
    ) -> AsyncGenerator[Response, None]:
        """See `RemoteDevice.observe`."""
        tries = 0
        while True:
            try:
                async with aclosing(self._observe_once(tenant, device, request, timeout_s)) as states:
                    async for state in states:
                        tries = 0
                        yield state
                return
            except DeviceNotConnected:
                # It may have made a new session in another worker, and does not know in it what we observe.
                tries += 1
                if tries >= MAX_DETOURS:
                    raise
            except Unreachable as trouble:
                tries += 1
                if trouble.trouble is not Trouble.LOST or tries >= MAX_DETOURS:
                    raise _error_for(trouble) from None

    def watch(self, tenant: str, device: str, since: float = 0.0) -> None:
        """Has `on_heard` called when the device next speaks or connects, in whichever worker. See `Reach.watch`."""
        if self.is_here(tenant, device):
            self._here.watch(tenant, device)
        else:
            self._wanted.add((tenant, device))
            self._line.say(["want", tenant, device, since])

    def unwatch(self, tenant: str, device: str) -> None:
        """No longer."""
        if (tenant, device) in self._wanted:
            self._wanted.discard((tenant, device))
            self._line.say(["drop", tenant, device])

    # --- the sessions here --------------------------------------------------------------------------------------------

    def entered(self, owner: _Owner) -> None:
        """A device has a new session here; the hub tells whoever waits for it."""
        self._watched.discard(owner)

    def left(self, owner: _Owner, *, heir: bool) -> None:
        """A session has ended here; the device has an older one, or none."""
        if owner in self._watched:
            if heir:
                self._here.watch(*owner)
            else:
                self._watched.discard(owner)

    def heard(self, owner: _Owner) -> None:
        """A device that was watched has spoken here."""
        if owner in self._watched:
            self._watched.discard(owner)
            self._line.say(["heard", *owner])
        self.on_heard(owner)

    def begin_anew(self) -> None:
        """The hub knows nothing of what is wanted, and watches nothing by this worker."""
        self._wanted.clear()
        self._watched.clear()

    # --- the hub ------------------------------------------------------------------------------------------------------

    def _on_heard(self, tenant: str, device: str) -> None:
        self._wanted.discard((tenant, device))
        self.on_heard((tenant, device))

    def _on_watch(self, tenant: str, device: str, since: float) -> None:
        heard = self._here.last_heard(tenant, device)
        if heard is None:
            return  # it has left meanwhile, and the hub will hear of it
        # One that was busy a moment ago is awake, and busy: asked again at once, it would be so again, for ever.
        if heard > since and self._clock() - heard <= self._awake_s:
            self._line.say(["heard", tenant, device])
        else:
            self._watched.add((tenant, device))
            self._here.watch(tenant, device)

    # --- asking other workers -----------------------------------------------------------------------------------------

    async def _hand_over(self, tenant: str, device: str, request: DeviceRequest, timeout_s: float) -> Performed:
        if not is_name(tenant, device):
            raise Unreachable(Trouble.ABSENT)
        answer = await self._line.ask(
            [tenant, device],
            "perform",
            [tenant, device, pack_request(request), timeout_s],
            within_s=max(0.0, timeout_s) + COLLEAGUE_S,
        )
        return unpack_performed(answer)

    async def _observe_once(
        self, tenant: str, device: str, request: DeviceRequest, timeout_s: float
    ) -> AsyncGenerator[Response, None]:
        if self.is_here(tenant, device):
            async with aclosing(self._here.observe(tenant, device, request, timeout_s)) as states:
                async for state in states:
                    yield state
            return
        if not is_name(tenant, device):
            raise Unreachable(Trouble.ABSENT)
        follow = self._line.follow(
            [tenant, device],
            "observe",
            [tenant, device, pack_request(request), timeout_s],
            first_within_s=timeout_s + COLLEAGUE_S,
        )
        async with aclosing(follow) as told:
            async for word, body in told:
                if word == "error":
                    raise unpack_error(body)
                if word == "state":
                    yield unpack_response(body)

    # --- what other workers ask ---------------------------------------------------------------------------------------

    async def _perform_for_another(self, args: list[Any], news: object) -> list[Any]:
        tenant, device, packed, timeout_s = args
        try:
            return pack_performed(await self._here.perform(tenant, device, unpack_request(packed), timeout_s))
        except ValueError as error:  # it cannot be expressed, or is too large, and so never went out
            return [None, pack_error(error), False]

    async def _observe_for_another(self, args: list[Any], news: Callable[[Any], None]) -> list[Any]:
        tenant, device, packed, timeout_s = args
        try:
            states = self._here.observe(tenant, device, unpack_request(packed), timeout_s)
            async with aclosing(states):
                async for state in states:
                    news(["state", pack_response(state)])
        except (DeviceRequestError, ValueError) as error:
            return ["error", pack_error(error)]
        return ["over", None]


def is_name(*names: str) -> bool:
    """Whether these can be names of anything: JSON over HTTP can have halves of characters, and UTF-8 cannot."""
    try:
        "".join(names).encode()
    except UnicodeEncodeError:
        return False
    return True


def _error_for(trouble: Unreachable) -> DeviceRequestError:
    """What whoever asks a device is told of trouble between the workers."""
    match trouble.trouble:
        case Trouble.ABSENT:
            return DeviceNotConnected()
        case Trouble.AWAY:
            return DeviceBusy("the other workers cannot be reached at present")
        case Trouble.FULL:
            return DeviceBusy("too many requests to devices of other workers are under way")
        case Trouble.LOST:
            return DeviceNotConnected("the device's worker ended before it answered")
        case Trouble.SILENT:
            return DeviceTimeout("the device's worker did not answer in time", sent=True)


def _nobody(owner: _Owner) -> None:
    """Nobody waits."""
