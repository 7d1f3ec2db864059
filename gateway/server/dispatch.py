"""From the plaintext of a session to the answer: CoAP message, route, handler, response.

A plain handler's answer is there when `receive` returns. An `async def` handler runs as a task, within the limits of
number and time; its answer goes out through `send`. Requests with options beyond the ordinary ones, and answers that
fit no message, go through `Transfers`.

`receive` is on the hot path: a plain request passes it without a task, a timer, a line of the log or an object for the
metrics, which are integers.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from time import perf_counter
from typing import Any, Final

from gateway.coap import (
    BLOCK_OPTIONS,
    CONDITIONAL_OPTIONS,
    CRITICAL_OPTIONS,
    MAX_BLOCK_BYTES,
    Code,
    Message,
    MessageLayer,
    Option,
    OptionFormat,
    encode_uint,
)
from gateway.handlers import App, Request, Response, Transfers
from gateway.server.flow import Rates, Running
from gateway.server.limits import RETRY_AFTER_S, SLOW_HANDLER_S
from gateway.server.metrics import RequestMetrics
from gateway.server.observations import ObservedRoutes
from gateway.server.session import Session
from gateway.telemetry import get_logger

# At most: header, token and payload marker; delta and length of an option.
_HEADER_BYTES: Final = 4 + 8 + 1
_OPTION_BYTES: Final = 5
_FITS_ANY_DEVICE: Final = 63
"""Bytes of a message that every device takes: the smallest record_size_limit (RFC 8449 section 4), less the type that
stands in a record with a connection id."""
SERVER_OPTIONS: Final[Mapping[int, OptionFormat]] = {**CRITICAL_OPTIONS, **BLOCK_OPTIONS, **CONDITIONAL_OPTIONS}
"""The critical options that are honoured here: by `Transfers` those about blocks, by `App` the conditions."""
_ACCEPT: Final = int(Option.ACCEPT)
"""The last option by number of an ordinary request: all about blocks, and No-Response, comes behind it."""
_RETRY_LATER: Final = [(int(Option.MAX_AGE), encode_uint(RETRY_AFTER_S))]


class Dispatcher:
    """Attributes:
    layer: The CoAP message layer.
    transfers: Bodies that go in blocks.
    metrics: Counts and durations of requests.
    rates: Of devices and tenants; None where they may ask as often as they like. May change.
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
        max_concurrent_per_device: int,
        block_size: int = MAX_BLOCK_BYTES,
        rates: Rates | None = None,
        observed: ObservedRoutes | None = None,
    ) -> None:
        """Ties an app to a message layer.

        Args:
            app: Answers requests.
            layer: Understands messages.
            metrics: Where requests are counted.
            send: Takes an answer that comes later: session, CoAP message, time.
            clock: Seconds, monotonic.
            time_limit_s: Seconds that an asynchronous handler may take, for each block of a stream.
            max_concurrent: Asynchronous handlers at once; and as many that take a stream.
            max_concurrent_per_device: Those that work for one device.
            block_size: Bytes of the largest block of a body.
            rates: Of devices and tenants, None where they may ask as often as they like.
            observed: Sees the answers of observable routes.
        """
        self.layer = layer
        self.transfers = Transfers(app, block_size=block_size, max_streams=max_concurrent, stream_grace_s=time_limit_s)
        self.metrics = metrics
        self._app = app
        self._send = send
        self._clock = clock
        self._time_limit_s = time_limit_s
        self._max_concurrent = max_concurrent
        self._for_device = Running(max_concurrent_per_device)
        self.rates = rates
        self._observed = observed
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False
        self._expiry: asyncio.TimerHandle | None = None
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
        if self.rates is not None and (refused := self.rates.refuse(request.device, now)) is not None:
            return self._turn_away(session, request, refused.scope, refused.retry_after_s, now)
        options = message.options
        reply = self._reply
        started = perf_counter()
        if options and options[-1][0] > _ACCEPT:
            result = self.transfers.dispatch(session, request, now)
            reply = self._reply_in_parts
        else:
            result = self._app.dispatch(request)
        if isinstance(result, Response):
            took = perf_counter() - started
            if took > SLOW_HANDLER_S:
                self._warn_slow(request, took)
            route = request.route
            if route is not None and route.observable:
                reply = self._reply_in_parts
            return reply(session, request, result, took, now)
        if self._draining or len(self._tasks) >= self._max_concurrent:
            result.close()
            self.metrics.limited["global"] += not self._draining
            self.metrics.observe(request, Code.SERVICE_UNAVAILABLE, 0.0)
            return self.layer.reply(session, message, Code.SERVICE_UNAVAILABLE, _RETRY_LATER, b"", now)
        device = request.device
        if self._for_device.is_full(device):
            result.close()
            return self._turn_away(session, request, "device", RETRY_AFTER_S, now)
        self._for_device.begin(device)
        self.layer.defer(session, message, now)
        task = asyncio.get_running_loop().create_task(self._run(session, request, result, started))
        self._tasks.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._for_device.end(device)
            result.close()  # of a task that was cancelled before its first step

        task.add_done_callback(done)
        return None

    def limit(self, *, time_limit_s: float, max_concurrent: int, max_concurrent_per_device: int) -> None:
        """Changes the limits of asynchronous handlers; those that work already keep theirs."""
        self._time_limit_s = time_limit_s
        self._max_concurrent = max_concurrent
        self._for_device.limit = max_concurrent_per_device

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
        await self.transfers.close()
        if self._expiry is not None:
            self._expiry.cancel()

    def forget(self, session: Session) -> None:
        """The session is gone: nothing more is sent to it, and nothing is kept for it."""
        self.layer.forget(session)
        self.transfers.forget(session)

    def _turn_away(self, session: Session, request: Request, scope: str, retry_after_s: int, now: float) -> bytes:
        """RFC 8516: it asks too much, and is told when to ask again."""
        self.metrics.limited[scope] += 1
        response = Response(code=Code.TOO_MANY_REQUESTS, max_age=retry_after_s)
        return self._reply_in_parts(session, request, response, 0.0, now)

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
        data = self._reply_in_parts(session, request, response, perf_counter() - started, now)
        if data:
            self._send(session, data, now)

    def _reply_in_parts(
        self, session: Session, request: Request, response: Response, took_s: float, now: float
    ) -> bytes:
        """`_reply` with so much of the answer as was asked for; nothing where nobody wants it (RFC 7967)."""
        if self._observed is not None and request.route is not None and request.route.observable:
            response = self._observed.on_response(session, request, response, now)
        response = self._finish(session, request, response, now)
        if response.code != Code.CONTINUE and _is_unwanted(request.message, response.code):
            self.metrics.observe(request, response.code, took_s)
            return self.layer.withhold(session, request.message, now)
        return self._reply(session, request, response, took_s, now)

    def _finish(self, session: Session, request: Request, response: Response, now: float) -> Response:
        try:
            response = self.transfers.finish(session, request, response, now)
        except Exception as error:
            self._failed(request, error)
            return Response(code=Code.INTERNAL_SERVER_ERROR)
        due = self.transfers.next_expiry()
        if due is not None and self._expiry is None and not self._draining:
            # Moved when it fires, not with each block.
            self._expiry = asyncio.get_running_loop().call_at(due, self._expire)
        return response

    def _expire(self) -> None:
        self.transfers.expire(self._clock())
        due = self.transfers.next_expiry()
        self._expiry = None if due is None else asyncio.get_running_loop().call_at(due, self._expire)

    def _reply(self, session: Session, request: Request, response: Response, took_s: float, now: float) -> bytes:
        """The answer's bytes, and the request counted; 5.00 in place of an answer that cannot be sent."""
        # Before the message layer, which remembers what it has encoded: a repetition would get it.
        size = _HEADER_BYTES + len(response.payload)
        for _, value in response.options:
            size += len(value) + _OPTION_BYTES
        if size > _FITS_ANY_DEVICE and size > session.max_message:
            response = self._finish(session, request, response, now)
        code = response.code
        try:
            data = self.layer.reply(session, request.message, code, response.options, response.payload, now)
        except Exception as error:  # a handler made a response that CoAP cannot express
            self._failed(request, error)
            code = Code.INTERNAL_SERVER_ERROR
            data = self.layer.reply(session, request.message, code, [], b"", now)
        self.metrics.observe(request, code, took_s)
        return data

    def _failed(self, request: Request, error: Exception) -> None:
        route = request.route.template if request.route is not None else None
        device = request.device
        self._log.error("handler.failed", route=route, device=device.id, tenant=device.tenant_id, error=str(error))

    def _warn_slow(self, request: Request, took: float) -> None:
        route = request.route.template if request.route is not None else None
        self._log.warning(
            "handler.slow",
            route=route,
            duration_ms=round(took * 1000, 1),
            hint="a plain handler stops everybody else while it runs: make it async def, or register it thread=True",
        )


def _is_unwanted(message: Message, code: int) -> bool:
    """Whether the device said that it does not want answers of this class (RFC 7967 section 2.1)."""
    classes = message.uint_option(Option.NO_RESPONSE, 1)
    return classes is not None and classes >> (code >> 5) - 1 & 1 == 1
