"""Observed routes (RFC 7641): who is put on the list, what they are told, and what the log says of it."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from copy import copy
from typing import Any, Final

from gateway.coap import (
    EndOfObservation,
    Message,
    MessageLayer,
    Observation,
    ObservationDue,
    ObservationEnded,
    Option,
)
from gateway.handlers import App, Request, Response, path_segments
from gateway.server.limits import NOTIFY_BATCH
from gateway.server.session import Session
from gateway.telemetry import get_logger

_OBSERVE: Final = int(Option.OBSERVE)
_REGISTER: Final = 0
_DEREGISTER: Final = 1


class ObservedRoutes:
    """One for each worker.

    Attributes:
        ends: Observations that ended, by reason.
        time_limit_s: Seconds that an asynchronous handler may take; may change.
    """

    def __init__(
        self,
        app: App,
        layer: MessageLayer,
        *,
        fit: Callable[[Session, Request, Response, float], Response],
        flush_soon: Callable[[], None],
        clock: Callable[[], float],
        time_limit_s: float,
    ) -> None:
        """Ties an app's routes to observations.

        Args:
            app: Says what the state is.
            layer: Sends it.
            fit: Makes a state fit a message, with the rest kept for whoever asks for it (`Transfers.finish`).
            flush_soon: Sees to it that what the layer has queued is sent, after the present call.
            clock: Seconds, monotonic: the layer's.
            time_limit_s: Seconds that an asynchronous handler may take.
        """
        self.ends = Counter(dict.fromkeys(EndOfObservation, 0))
        self._app = app
        self._layer = layer
        self._fit = fit
        self._flush_soon = flush_soon
        self._clock = clock
        self.time_limit_s = time_limit_s
        self._refreshing: set[asyncio.Task[None]] = set()
        self._log = get_logger("gateway.server")

    def on_response(self, session: Session, request: Request, response: Response, now: float) -> Response:
        """A handler of an observable route has answered: what the device gets, which is on the list from now on or not.

        An answer without the option says that it is not (RFC 7641 section 4.1).
        """
        wanted = request.message.observe
        if wanted == _DEREGISTER:
            self._layer.observations.deregister(session, request.message.token, now)
        if wanted != _REGISTER or not response.ok or not session.is_open:
            return response
        observations = self._layer.observations
        message = request.message
        observation = observations.register(
            session,
            message.token,
            _key(message.uri_path),
            now,
            code=response.code,
            options=response.options,
            context=request,
        )
        if observation is None:
            self._log.warning(
                "coap.observation_refused",
                device=request.device.id,
                tenant=request.device.tenant_id,
                route=request.route.template if request.route is not None else None,
            )
            return response
        return _with(response, [observations.observe_option(), *response.options])

    async def notify(
        self, path: str, owner: tuple[str, str] | None, response: Response | None, *, confirmable: bool
    ) -> int:
        """See `App.notify`."""
        found = self._layer.observations.find(_key(path_segments(path.partition("?")[0])), owner)
        for start in range(0, len(found), NOTIFY_BATCH):
            if start:
                await asyncio.sleep(0)  # requests go first
            batch = found[start : start + NOTIFY_BATCH]
            states = [response] * len(batch) if response is not None else await self._ask(batch)
            now = self._clock()
            for observation, state in zip(batch, states, strict=True):
                if state is not None:
                    self._tell(observation, state, now, confirmable=confirmable)
            self._flush_soon()
        return len(found)

    def on_event(self, event: ObservationEnded | ObservationDue) -> None:
        """The engine says that an observation is over, or that it has to be confirmed."""
        if isinstance(event, ObservationEnded):
            self.ends[event.reason] += 1
            device = event.observation.context.device
            self._log.info(
                "coap.observation_ended",
                device=device.id,
                tenant=device.tenant_id,
                route=event.observation.context.route.template,
                reason=event.reason.value,
            )
            return
        task = asyncio.get_running_loop().create_task(self._refresh(event.observation))
        self._refreshing.add(task)
        task.add_done_callback(self._refreshing.discard)

    async def close(self) -> None:
        """Nobody is told anything any more."""
        for task in self._refreshing:
            task.cancel()
        await asyncio.gather(*self._refreshing, return_exceptions=True)

    async def _refresh(self, observation: Observation) -> None:
        (state,) = await self._ask([observation])
        now = self._clock()
        if state is not None:
            self._tell(observation, state, now, confirmable=True)
        self._flush_soon()

    async def _ask(self, observations: Iterable[Observation]) -> list[Response | None]:
        """The handlers' answers to the registrations, given now; None where one took too long."""
        asked = [_again(each.context) for each in observations]
        answers = [self._app.dispatch(request) for request in asked]
        waiting = [
            self._limited(request, answer)
            for request, answer in zip(asked, answers, strict=True)
            if not isinstance(answer, Response)
        ]
        later = iter(await asyncio.gather(*waiting)) if waiting else iter(())
        return [each if isinstance(each, Response) else next(later) for each in answers]

    async def _limited(self, request: Request, pending: Coroutine[Any, Any, Response]) -> Response | None:
        try:
            async with asyncio.timeout(self.time_limit_s):
                return await pending
        except TimeoutError:
            self._failed(request, "the handler timed out")
            return None

    def _tell(self, observation: Observation, state: Response, now: float, *, confirmable: bool) -> None:
        observations, peer = self._layer.observations, observation.peer
        try:
            if isinstance(peer, Session):
                # RFC 7959 section 2.6: the first block of a large state; the device asks for the others. The option
                # stands there while it is measured, and is given its number when it is sent.
                numbered = _with(state, [observations.observe_option(), *state.options])
                state = self._fit(peer, _again(observation.context), numbered, now)
                state = _with(state, [option for option in state.options if option[0] != _OBSERVE])
            observations.notify(observation, state.code, state.options, state.payload, now, confirmable=confirmable)
        except ValueError as error:  # what CoAP cannot express, or what is too large to be kept
            self._failed(observation.context, str(error))

    def _failed(self, request: Request, error: str) -> None:
        self._log.error(
            "coap.notification_failed",
            device=request.device.id,
            tenant=request.device.tenant_id,
            route=request.route.template if request.route is not None else None,
            error=error,
        )


def _key(segments: Iterable[str]) -> tuple[str, ...]:
    """What names a resource: its path. RFC 7252 section 6.5: one empty segment is the root too."""
    key = tuple(segments)
    return () if key == ("",) else key


def _again(request: Request) -> Request:
    """The registration as a handler may have it again: without the option, so that it asks for the state only."""
    message = request.message
    options = [option for option in message.options if option[0] != _OBSERVE]
    again = Message(message.type, message.code, message.message_id, message.token, options, message.payload)
    return Request(again, request.principal)


def _with(response: Response, options: list[tuple[int, bytes]]) -> Response:
    """The response, or the part of one, with other options."""
    changed = copy(response)
    changed.options = options
    return changed
