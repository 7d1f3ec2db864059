"""From the plaintext of a session to the answer: CoAP message, route, handler, response.

A plain handler's answer is there when `receive` returns. An `async def` handler runs as a task, within the limits of
number and time; its answer goes out through `send`.
"""

import asyncio
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any

from gateway.coap import Code, Message, MessageLayer, Option, encode_uint
from gateway.handlers import App, Request, Response
from gateway.server.limits import RETRY_AFTER_S, SLOW_HANDLER_S
from gateway.server.metrics import RequestMetrics
from gateway.server.session import Session
from gateway.telemetry import get_logger

_RETRY_LATER = [(int(Option.MAX_AGE), encode_uint(RETRY_AFTER_S))]


class Dispatcher:
    """Attributes:
    layer: The CoAP message layer.
    metrics: Counts and durations of requests.
    """

    def __init__(
        self,
        app: App,
        layer: MessageLayer,
        metrics: RequestMetrics,
        *,
        send: Callable[[Session, bytes, float], None],
        clock: Callable[[], float],
        time_limit_s: float,
        max_concurrent: int,
    ) -> None:
        """Ties an app to a message layer.

        Args:
            app: Answers requests.
            layer: Understands messages.
            metrics: Where requests are counted.
            send: Takes an answer that comes later: session, CoAP message, time.
            clock: Seconds, monotonic.
            time_limit_s: Seconds that an asynchronous handler may take.
            max_concurrent: Asynchronous handlers at once.
        """
        self.layer = layer
        self.metrics = metrics
        self._app = app
        self._send = send
        self._clock = clock
        self._time_limit_s = time_limit_s
        self._max_concurrent = max_concurrent
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = get_logger("gateway.server")

    @property
    def running(self) -> int:
        """Asynchronous handlers that have not answered yet."""
        return len(self._tasks)

    def receive(self, session: Session, plaintext: bytes, now: float) -> bytes | None:
        """Takes one CoAP message of a session. Returns the answer if there is one at once."""
        message = self.layer.receive(session, plaintext, now)
        if message is None:
            return None
        request = Request(message, session.principal)
        started = perf_counter()
        result = self._app.dispatch(request)
        if isinstance(result, Response):
            took = perf_counter() - started
            if took > SLOW_HANDLER_S:
                self._warn_slow(request, took)
            self.metrics.observe(request, result.code, took)
            return self._reply(session, message, result, now)
        if len(self._tasks) >= self._max_concurrent:
            result.close()
            self.metrics.rejected += 1
            self.metrics.observe(request, Code.SERVICE_UNAVAILABLE, 0.0)
            return self.layer.reply(session, message, Code.SERVICE_UNAVAILABLE, _RETRY_LATER, b"", now)
        self.layer.defer(session, message, now)
        task = asyncio.get_running_loop().create_task(self._run(session, request, result, started))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return None

    async def drain(self, grace_s: float) -> None:
        """Waits for running handlers, for `grace_s` seconds at most, then cancels what is left."""
        if self._tasks and grace_s > 0:
            await asyncio.wait(self._tasks, timeout=grace_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(
        self, session: Session, request: Request, pending: Coroutine[Any, Any, Response], started: float
    ) -> None:
        try:
            async with asyncio.timeout(self._time_limit_s):
                response = await pending
        except TimeoutError:
            route = request.route.template if request.route is not None else None
            device = session.principal.device
            self._log.error("handler.timed_out", route=route, device=device.id, tenant=device.tenant_id)
            response = Response(code=Code.GATEWAY_TIMEOUT)
        self.metrics.observe(request, response.code, perf_counter() - started)
        now = self._clock()
        data = self._reply(session, request.message, response, now)
        if data:
            self._send(session, data, now)

    def _reply(self, session: Session, message: Message, response: Response, now: float) -> bytes:
        try:
            return self.layer.reply(session, message, response.code, response.options, response.payload, now)
        except ValueError as error:  # a handler made a response that CoAP cannot express
            self._log.error("handler.failed", device=session.principal.device.id, error=str(error))
            return self.layer.reply(session, message, Code.INTERNAL_SERVER_ERROR, [], b"", now)

    def _warn_slow(self, request: Request, took: float) -> None:
        route = request.route.template if request.route is not None else None
        self._log.warning(
            "handler.slow",
            route=route,
            duration_ms=round(took * 1000, 1),
            hint="a plain handler stops everybody else while it runs: make it async def, or register it thread=True",
        )
