"""The one way from a request to a response: route, terms, handler."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog

from gateway.coap import Code, ContentFormat, Option, describe_option, encode_uint
from gateway.handlers.answers import respond
from gateway.handlers.bodies import BodyContent, read_part
from gateway.handlers.conditions import LAST_CONDITION, find_condition, judge
from gateway.handlers.freshness import Freshness
from gateway.handlers.invocation import Invocation
from gateway.handlers.limits import BODY_BYTES
from gateway.handlers.links import WELL_KNOWN, link_format, links_of
from gateway.handlers.request import Request
from gateway.handlers.response import Reject, Response
from gateway.handlers.routing import Endpoint, Match, Route, Router, Segments
from gateway.handlers.streams import UploadAborted
from gateway.handlers.terms import Terms

_LOGGER: Final = "gateway.handlers"
_ACCEPT: Final = int(Option.ACCEPT)


class Answering:
    """What an app does with a request; `App` is how it comes to its routes.

    Attributes:
        problem_details: Give each refusal that says something as problem details, also to devices that do not ask.
    """

    def __init__(self) -> None:
        self._router = Router()
        self._error: list[Callable[[Request, Exception], None]] = []
        self._freshness = Freshness()
        self._max_body = BODY_BYTES
        self.problem_details = False
        own = Route("/.well-known/core", Code.GET, (), Invocation(self._core, (), ""), Terms({"listed": False}))
        endpoint = Endpoint()
        endpoint.routes[Code.GET] = own
        self._own: dict[Segments, Match] = {WELL_KNOWN: (endpoint, ())}

    @property
    def routes(self) -> tuple[Route, ...]:
        """All routes."""
        return self._router.routes

    def match(self, method: int, segments: Segments) -> Route | None:
        """Return the route that answers this method of this path, or None."""
        found = self._router.resolve(segments)
        return None if found is None else found[0].routes.get(method)

    def dispatch(self, request: Request) -> Response | Coroutine[Any, Any, Response]:
        """Answer a request: at once from a plain function, else by a coroutine that never raises but when cancelled.

        Every outcome is a response: 4.04 for an unknown path, 4.05 for another method of a known one, the code of a
        `Reject`, 4.06 for an answer in another content format than the device accepts, 5.00 for any other exception.
        """
        message = request.message
        path = message.uri_path
        found = self._router.resolve(path) or self._own.get(path)
        if found is None:
            return self.refuse(request, Code.NOT_FOUND)
        endpoint, request.values = found
        route = endpoint.routes.get(message.code)
        if route is None:
            return self.refuse(request, Code.METHOD_NOT_ALLOWED)
        request.route = route
        invocation = route.invocation
        options = message.options
        if not route.direct or (options and options[0][0] <= LAST_CONDITION):
            answer = self._prepare(request, route)
            if answer is not None:
                return answer
        try:
            if not invocation.plain:
                result = invocation.call(request, request.values)
            elif invocation.positions:
                result = invocation.handler(request, request.values[invocation.positions[0]])
            else:
                result = invocation.handler(request)
            if isinstance(result, Response):
                if not result.options or (
                    # Nearly every request: no ETag and no Accept, and nothing for `respond` to do.
                    options
                    and options[0][0] > LAST_CONDITION
                    and options[-1][0] < _ACCEPT
                    and not isinstance(result, BodyContent)
                ):
                    return result
            elif result is None:
                return Response(code=route.default_code)
            return self._answer(request, route, result)
        except Reject as refusal:
            return self._rejected(request, refusal)
        except Exception as error:
            return self._failed(request, route, error)

    def locate(self, request: Request) -> Route | Response:
        """Find the route of a request and note it there, without calling its handler; 4.04 or 4.05 if there is none."""
        path = request.message.uri_path
        found = self._router.resolve(path) or self._own.get(path)
        if found is None:
            return self.refuse(request, Code.NOT_FOUND)
        endpoint, request.values = found
        route = endpoint.routes.get(request.message.code)
        if route is None:
            return self.refuse(request, Code.METHOD_NOT_ALLOWED)
        request.route = route
        return route

    def admit(self, request: Request, route: Route) -> Response | None:
        """What a route answers to a request without calling its handler; None for one that it takes.

        For a body that comes in blocks this is asked once, at the first one.
        """
        message, terms = request.message, route.terms
        condition = find_condition(message)
        if condition is not None and terms.etag is None:
            # RFC 7252 section 5.4.1: it must not be done unconditionally.
            return self.refuse(request, Code.BAD_OPTION, f"option {describe_option(condition)} is not supported here")
        max_body = self.max_body_of(route)
        if len(message.payload) > max_body:
            refusal = self.refuse(request, Code.REQUEST_ENTITY_TOO_LARGE, f"at most {max_body} bytes")
            refusal.options.append((int(Option.SIZE1), encode_uint(max_body)))
            return refusal
        if terms.consumes is not None and message.content_format not in terms.consumes:
            return self.refuse(request, Code.UNSUPPORTED_CONTENT_FORMAT, f"this takes {_listed(terms.consumes)}")
        if terms.produces is not None and message.accept is not None and message.accept not in terms.produces:
            return self.refuse(request, Code.NOT_ACCEPTABLE, f"available as {_listed(terms.produces)}")
        if terms.fresh_s and not self._freshness.is_fresh(message.option(Option.ECHO), request.device, terms.fresh_s):
            # RFC 9175 section 2.3: the device sends the request again, with this.
            response = self.refuse(request, Code.UNAUTHORIZED, "send it again with the Echo option")
            response.options.append((int(Option.ECHO), self._freshness.challenge(request.device)))
            return response
        return None

    def refuse(self, request: Request, code: int, reason: str = "") -> Response:
        """Make the response that a refusal becomes."""
        return self._rejected(request, Reject(code, reason))

    def max_body_of(self, route: Route) -> int:
        """Bytes that the body of a request for this route may have."""
        own = route.terms.max_body
        return self._max_body if own is None else own

    def limit_bodies(self, max_body: int) -> int:
        """Set how many bytes a body may have where the route does not say.

        Returns:
            The most that any route takes, which the message layer is to let through.
        """
        self._max_body = max_body
        for route in self.routes:
            # A message that can be larger than the limit is looked at first.
            route.limit(max_body)
        return max([max_body, *(self.max_body_of(route) for route in self.routes)])

    def _prepare(self, request: Request, route: Route) -> Response | Coroutine[Any, Any, Response] | None:
        """The answer to a request whose handler cannot be called at once; None if it can after all."""
        if not request.admitted and (refusal := self.admit(request, route)) is not None:
            return refusal
        invocation, terms = route.invocation, route.terms
        if invocation.thread:
            return self._later(request, route, self._run_in_thread)
        if invocation.is_async or terms.waits:
            return self._later(request, route, self._run)
        if terms.etag is None:
            return None
        try:
            current = terms.etag(request)
            if hasattr(current, "__await__"):  # a plain function that hands on what an async one gave it
                return self._later(request, route, self._run, current)
            return judge(request.message, current)
        except Reject as reject:
            return self._rejected(request, reject)
        except Exception as error:
            return self._failed(request, route, error)

    def _answer(self, request: Request, route: Route, result: Any) -> Response | Coroutine[Any, Any, Response]:
        """Make a response of whatever a plain function returned."""
        if hasattr(result, "__await__"):  # it hands on what an async one gave it
            return self._later(request, route, self._await, result)
        response = respond(request, route, result)
        return self._later(request, route, _read, response) if isinstance(response, BodyContent) else response

    async def _later(
        self, request: Request, route: Route, work: Callable[..., Coroutine[Any, Any, Response]], *arguments: Any
    ) -> Response:
        try:
            return await work(request, route, *arguments)
        except Reject as refusal:
            return self._rejected(request, refusal)
        except UploadAborted:
            # Nobody is left to be answered, and it is no failure of the handler.
            return self.refuse(request, Code.REQUEST_ENTITY_INCOMPLETE)
        except Exception as error:
            return self._failed(request, route, error)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Not we were cancelled, but something that the handler awaited: that is the handler's failure.
            failure = RuntimeError("what the handler awaited was cancelled")
            failure.__cause__ = error
            return self._failed(request, route, failure)

    async def _run(self, request: Request, route: Route, current: Any = None) -> Response:
        """Call a handler on the event loop, if the condition of the request is fulfilled."""
        etag = route.terms.etag
        if etag is not None:
            current = etag(request) if current is None else current
            answer = judge(request.message, await current if hasattr(current, "__await__") else current)
            if answer is not None:
                return answer
        return await self._await(request, route, route.invocation.call(request, request.values))

    async def _await(self, request: Request, route: Route, pending: Any) -> Response:
        result = await pending if hasattr(pending, "__await__") else pending
        response = respond(request, route, result)
        return response if not isinstance(response, BodyContent) else await _read(request, route, response)

    async def _run_in_thread(self, request: Request, route: Route) -> Response:
        """Do all that may block in one go."""
        etag = route.terms.etag
        told: Any = etag(request) if etag is not None and route.terms.waits else None
        if told is not None:
            told = await told

        def call() -> Response:
            if etag is not None:
                current: Any = told if route.terms.waits else etag(request)
                if (answer := judge(request.message, current)) is not None:
                    return answer
            response = respond(request, route, route.invocation.call(request, request.values))
            return read_part(request.message, response) if isinstance(response, BodyContent) else response

        return await asyncio.to_thread(call)

    def _rejected(self, request: Request, refusal: Reject) -> Response:
        """The response of a refusal, as problem details (RFC 9290) for those who want them."""
        asked = request.message.accept == ContentFormat.PROBLEM_DETAILS
        return refusal.response(problem=asked or (self.problem_details and bool(refusal.diagnostic)))

    def _core(self, request: Request) -> Response:
        """GET /.well-known/core, where the app has no handler of its own for it (RFC 6690 section 4)."""
        text = link_format(links_of(self.routes), request.message.uri_query)
        return Response(text, content_format=ContentFormat.LINK_FORMAT)

    def _failed(self, request: Request, route: Route, error: Exception) -> Response:
        log = structlog.get_logger(_LOGGER).bind(
            route=route.template,
            method=route.method.name,
            handler=route.invocation.location,
            tenant=request.device.tenant_id,
            device=request.device.id,
        )
        log.error("handler.failed", exc_info=error)
        for hook in self._error:
            try:
                hook(request, error)
            except Exception:
                log.exception("handler.error_hook_failed", hook=repr(hook))
        return Response(code=Code.INTERNAL_SERVER_ERROR)


async def _read(request: Request, route: Route, response: BodyContent) -> Response:
    return await asyncio.to_thread(read_part, request.message, response)


def _listed(formats: tuple[int, ...]) -> str:
    return "content format " + " or ".join(map(str, formats))
