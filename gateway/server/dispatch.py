"""From the plaintext of a session to the answer: CoAP message, route, handler, response.

A plain handler's answer is there when `receive` returns. An `async def` handler runs as a task, within the limits of
number and time; its answer goes out through `send`.
"""

import asyncio
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any

from gateway.coap import Code, Message, MessageLayer, Option, encode_options, encode_uint
from gateway.handlers import App, Request, Response
from gateway.server.limits import RETRY_AFTER_S, SLOW_HANDLER_S
from gateway.server.metrics import RequestMetrics
from gateway.server.observations import ObservedRoutes
from gateway.server.session import Session
from gateway.telemetry import get_logger

# At most: header, token and payload marker; delta and length of an option.
_HEADER_BYTES = 4 + 8 + 1
_OPTION_BYTES = 5
_FITS_ANY_DEVICE = 63
"""Bytes of a message that every device takes: the smallest record_size_limit (RFC 8449 section 4), less the type that
stands in a record with a connection id."""
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
        observed: ObservedRoutes | None = None,
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
            observed: Sees the answers of observable routes.
        """
        self.layer = layer
        self.metrics = metrics
        self._app = app
        self._send = send
        self._clock = clock
        self._time_limit_s = time_limit_s
        self._max_concurrent = max_concurrent
        self._observed = observed
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False
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
            return self._reply(session, request, result, took, now)
        if self._draining or len(self._tasks) >= self._max_concurrent:
            result.close()
            self.metrics.rejected += not self._draining
            self.metrics.observe(request, Code.SERVICE_UNAVAILABLE, 0.0)
            return self.layer.reply(session, message, Code.SERVICE_UNAVAILABLE, _RETRY_LATER, b"", now)
        self.layer.defer(session, message, now)
        task = asyncio.get_running_loop().create_task(self._run(session, request, result, started))
        self._tasks.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            result.close()  # of a task that was cancelled before its first step

        task.add_done_callback(done)
        return None

    async def drain(self, grace_s: float) -> None:
        """Waits for running handlers, for `grace_s` seconds at most, then cancels what is left.

        From now on a request for an asynchronous handler is answered 5.03.
        """
        self._draining = True
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
        now = self._clock()
        data = self._reply(session, request, response, perf_counter() - started, now)
        if data:
            self._send(session, data, now)

    def _reply(self, session: Session, request: Request, response: Response, took_s: float, now: float) -> bytes:
        """The answer's bytes, and the request counted; 5.00 in place of an answer that cannot be sent."""
        if request.route is not None and request.route.observable and self._observed is not None:
            response = self._observed.on_response(session, request, response, now)
        code = response.code
        # Before the message layer, which remembers what it has encoded: a repetition would get it.
        size = _HEADER_BYTES + len(response.payload)
        for _, value in response.options:
            size += len(value) + _OPTION_BYTES
        try:
            if size > _FITS_ANY_DEVICE and size > session.max_message:
                _check_fits(session, request.message, response)
            data = self.layer.reply(session, request.message, code, response.options, response.payload, now)
        except Exception as error:  # a handler made a response that CoAP cannot express
            route = request.route.template if request.route is not None else None
            device = session.principal.device
            self._log.error("handler.failed", route=route, device=device.id, tenant=device.tenant_id, error=str(error))
            code = Code.INTERNAL_SERVER_ERROR
            data = self.layer.reply(session, request.message, code, [], b"", now)
        self.metrics.observe(request, code, took_s)
        return data

    def _warn_slow(self, request: Request, took: float) -> None:
        route = request.route.template if request.route is not None else None
        self._log.warning(
            "handler.slow",
            route=route,
            duration_ms=round(took * 1000, 1),
            hint="a plain handler stops everybody else while it runs: make it async def, or register it thread=True",
        )


def _check_fits(session: Session, request: Message, response: Response) -> None:
    """Raises `ValueError` for a response that is larger than one record may be to this device."""
    size = 4 + len(request.token) + len(encode_options(response.options)) + 1 + len(response.payload)
    if size > session.max_message:
        raise ValueError(f"a response of {size} bytes is too large: this device takes {session.max_message} at once")
