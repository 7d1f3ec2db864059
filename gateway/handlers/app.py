"""The application: routes, hooks, and the one way from a request to a response."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol, TypeVar, Unpack

import structlog

from gateway.coap import Code
from gateway.handlers.answering import Answering
from gateway.handlers.blame import told
from gateway.handlers.devices import DevicePort, NotServed, QueuedRequest, RemoteDevice
from gateway.handlers.errors import HandlerError, RouteError, StartupError
from gateway.handlers.invocation import Handler, Invocation
from gateway.handlers.request import Request
from gateway.handlers.response import AUTO, Payload, Response
from gateway.handlers.routing import METHODS, Route, Template
from gateway.handlers.terms import RouteOptions, Terms
from gateway.model import DEFAULT_TENANT, Device

_F = TypeVar("_F", bound=Handler)
_Hook = TypeVar("_Hook", bound=Callable[[], Any])
_ErrorHook = TypeVar("_ErrorHook", bound=Callable[[Request, Exception], None])

_LOGGER: Final = "gateway.handlers"
_OBSERVABLE: Final = frozenset({Code.GET, Code.FETCH})


class SinkStats(Protocol):
    """Counters of something that events are written to; the metrics read them when they are scraped."""

    @property
    def delivered(self) -> int:
        """Events written."""

    @property
    def dropped(self) -> int:
        """Events refused because the buffer was full."""

    @property
    def failed(self) -> int:
        """Events lost because writing failed."""

    @property
    def queued(self) -> int:
        """Events waiting."""


class App(Answering):
    """Handlers by path and method.

        app = App()

        @app.post("/telemetry/{stream}")
        def store(request: Request, stream: str) -> Response:
            return Changed()

    A plain function runs **inline on the data path**: while it runs, no other device is served. It must not block:
    no file, no network, no lock that somebody else may hold, nothing that takes longer than about a millisecond. Write
    `async def` for what waits, or give `thread=True` for a blocking library: the app then runs it in a thread.

    A handler returns a `Response` (`Content`, `Changed`, `Created`, `Deleted`), str (text/plain), bytes
    (application/octet-stream), dict or list (application/json), or None. Bare values and None are sent as 2.05 for GET
    and FETCH, 2.02 for DELETE and 2.04 otherwise. It refuses a request by `raise Reject(Code.FORBIDDEN, "why")`. Any
    other exception is our 5.00: the device learns nothing of it, the log all.

    Attributes:
        sinks: Counters of what the handlers write to, by name.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sinks: dict[str, SinkStats] = {}
        self._startup: list[Callable[[], Any]] = []
        self._shutdown: list[Callable[[], Any]] = []
        self._included_at: str | None = None
        self._parent: tuple[App, str] | None = None
        self._port: DevicePort | None = None

    def get(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[_F], _F]:
        """Register a handler for GET. See `route`."""
        return self.route(path, methods=(Code.GET,), **options)

    def post(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[_F], _F]:
        """Register a handler for POST. See `route`."""
        return self.route(path, methods=(Code.POST,), **options)

    def put(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[_F], _F]:
        """Register a handler for PUT. See `route`."""
        return self.route(path, methods=(Code.PUT,), **options)

    def delete(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[_F], _F]:
        """Register a handler for DELETE. See `route`."""
        return self.route(path, methods=(Code.DELETE,), **options)

    def fetch(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[_F], _F]:
        """Register a handler for FETCH (RFC 8132). See `route`."""
        return self.route(path, methods=(Code.FETCH,), **options)

    def patch(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[_F], _F]:
        """Register a handler for PATCH (RFC 8132). See `route`."""
        return self.route(path, methods=(Code.PATCH,), **options)

    def ipatch(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[_F], _F]:
        """Register a handler for iPATCH (RFC 8132), a PATCH that may be repeated. See `route`."""
        return self.route(path, methods=(Code.IPATCH,), **options)

    def route(
        self, path: str, *, methods: Iterable[str | Code] = (Code.GET,), **options: Unpack[RouteOptions]
    ) -> Callable[[_F], _F]:
        """Register a handler for some methods of a path. The function itself is returned unchanged.

        Args:
            path: A template: `/time`, `/telemetry/{stream}`, or `/files/{rest:path}`, which takes all that follows (one
                segment or more, joined by slashes). A parameter is one whole, non-empty segment. The handler names the
                parameters that it wants; `request.params` has all of them.
            methods: Names such as "GET", or members of `Code`.
            options: See `RouteOptions`.

        Raises:
            RouteError: The path, a method, an option or the handler's parameters are wrong, or another handler answers
                the same.
            TypeError: There is no path: the decorator was written without parentheses.
        """
        if not isinstance(path, str):
            raise TypeError(_pathless(path))
        codes = [_method(method) for method in methods]
        if not codes:
            raise RouteError(f"the path {path!r} needs at least one method")
        if options.get("observable") and not _OBSERVABLE.issuperset(codes):
            raise RouteError(f"the path {path!r} can be observable for GET and FETCH only")
        template = Template(path)
        terms = Terms(options)
        thread = options.get("thread", False)

        def register(handler: _F) -> _F:
            invocation = Invocation(handler, template.names, path, thread=thread, stream=terms.stream)
            self._add(template, [Route(path, code, template.names, invocation, terms) for code in codes])
            return handler

        return register

    def include(self, other: "App", prefix: str = "") -> None:
        """Take over the routes, hooks and sinks of another app, its paths behind a prefix.

        From then on the other app takes no more routes, because they would not be seen here.

        Raises:
            RouteError: The prefix is wrong, a path conflicts, or an app is to include itself.
        """
        if other is self:
            raise RouteError("an app cannot include itself")
        start = prefix.rstrip("/")
        if start and not start.startswith("/"):
            raise RouteError(f"the prefix {prefix!r} must start with a slash")
        for route in other.routes:
            path = start if start and route.template == "/" else start + route.template
            template = Template(path)
            # The handler's wishes are positions among the template's parameters: work them out anew.
            old = route.invocation
            invocation = Invocation(old.handler, template.names, path, thread=old.thread)
            self._add(template, [Route(path, route.method, template.names, invocation, route.terms)])
        self._startup += other._startup
        self._shutdown += other._shutdown
        self._error += other._error
        self.sinks.update(other.sinks)
        other._included_at = prefix or "/"
        other._parent = self, start

    def mount(self, path: str, resource: Any) -> None:
        """Serve an aiocoap `Resource` or `Site`, unchanged, at a path. A site also answers everything below it.

        The resource sees the request with the path below `path`, and the device as the message's `remote` (see
        `gateway.handlers.mount.DeviceRemote`). Observation of a resource is not supported: it is answered once.

        Raises:
            RouteError: The path is wrong or taken, or it is no aiocoap resource.
        """
        # aiocoap takes a tenth of a second to import; who mounts nothing does not pay for it.
        from gateway.handlers.mount import mount_handlers

        for template, handler in mount_handlers(path, resource):
            self.route(template, methods=METHODS.values())(handler)

    def on_startup(self, hook: _Hook) -> _Hook:
        """Register a function, def or async def, that runs before the first request. A failure stops the start."""
        self._startup.append(hook)
        return hook

    def on_shutdown(self, hook: _Hook) -> _Hook:
        """Register a function, def or async def, that runs after the last request, in reverse order of registration.

        It also runs after a failed start, when its counterpart may not have run.
        """
        self._shutdown.append(hook)
        return hook

    def on_error(self, hook: _ErrorHook) -> _ErrorHook:
        """Register a function that sees each exception of a handler, beside the log line `handler.failed`.

        It runs on the data path and must not block.

        Raises:
            RouteError: The function is async.
        """
        if inspect.iscoroutinefunction(hook):
            raise RouteError("an on_error hook runs on the data path: write def, not async def")
        self._error.append(hook)
        return hook

    def device(self, device: str | Device, *, tenant: str = DEFAULT_TENANT) -> RemoteDevice:
        """Return a device to ask something: `await app.device("valve-7").get("/position")`.

        Args:
            device: Its id, or a device, such as `request.device`, whose tenant then counts.
            tenant: The tenant of an id.

        Raises:
            NotServed: The app is not being served.
        """
        if isinstance(device, Device):
            tenant, device = device.tenant_id, device.id
        return RemoteDevice(self._served_by(), tenant, device)

    def queued(self, request_id: str) -> QueuedRequest | None:
        """Return a request that `RemoteDevice.queue` took, by its id; None when it ended more than an hour ago.

        Raises:
            NotServed: The app is not being served.
        """
        return self._served_by().queued(request_id)

    async def notify(
        self,
        path: str,
        payload: Payload | Response | None = None,
        *,
        device: str | Device | None = None,
        tenant: str = DEFAULT_TENANT,
        content_format: int | None = AUTO,
        max_age: int | None = None,
        etag: bytes | None = None,
        confirmable: bool = False,
    ) -> int:
        """Tell those who observe a path that it has changed (RFC 7641).

        An observer that is still busy with an earlier notification gets the newest state after it, and none of those
        between. A `Response` with an error code is the last notification, and ends the observations.

        Args:
            path: The path as a device asks for it, without a query; parameters filled in.
            payload: The new state, the same for all. None: the handler is asked anew for each observer.
            device: Only this one, by id or as a device, whose tenant then counts; None for all, of all tenants.
            tenant: The tenant of an id.
            content_format: Of the payload; what its type says by default.
            max_age: For how many seconds the state holds; 60 when absent.
            etag: Names this version.
            confirmable: Whether each observer must acknowledge it. Every tenth of an observer is in any case.

        Returns:
            To how many it is being said.

        Raises:
            NotServed: The app is not being served.
            ValueError: The path or the payload cannot be expressed.
        """
        if self._parent is not None:
            parent, prefix = self._parent
            return await parent.notify(
                prefix if prefix and path == "/" else prefix + path,
                payload,
                device=device,
                tenant=tenant,
                content_format=content_format,
                max_age=max_age,
                etag=etag,
                confirmable=confirmable,
            )
        if isinstance(device, Device):
            tenant, device = device.tenant_id, device.id
        if payload is None or isinstance(payload, Response):
            response = payload
        else:
            response = Response(payload, content_format=content_format, max_age=max_age, etag=etag)
        return await self._served_by().notify(path, tenant, device, response, confirmable=confirmable)

    def serve_with(self, port: DevicePort | None) -> None:
        """Give the app the devices to talk to; None takes them away. For whoever serves it."""
        self._port = port

    def _served_by(self) -> DevicePort:
        if self._parent is not None:
            return self._parent[0]._served_by()
        if self._port is None:
            raise NotServed("the app is not being served: there are no devices to talk to")
        return self._port

    async def startup(self) -> None:
        """Run the start-up hooks in order.

        Raises:
            HandlerError: A hook raised it, or as `StartupError` anything else. The hooks after it have not run. Call
                `shutdown` all the same.
        """
        for hook in self._startup:
            try:
                result = hook()
                if inspect.isawaitable(result):
                    await result
            except HandlerError:
                raise
            except Exception as error:
                raise StartupError(_explain(hook, error)) from error

    async def shutdown(self) -> None:
        """Run the shut-down hooks in reverse order; a failure is logged and stops none of the others."""
        for hook in reversed(self._shutdown):
            try:
                result = hook()
                if inspect.isawaitable(result):
                    await result
            except Exception:
                structlog.get_logger(_LOGGER).exception("handler.shutdown_failed", hook=repr(hook))

    def _add(self, template: Template, routes: list[Route]) -> None:
        if self._included_at is not None:
            raise RouteError(
                f"{template.text}: this app is already included at {self._included_at!r}, where a new route would not "
                "be seen; register all routes before include()"
            )
        for route in routes:
            self._router.add(template, route)


def _explain(hook: Callable[[], Any], error: Exception) -> str:
    """One line: the hook, its module, what it raised and where."""
    name = getattr(hook, "__qualname__", None) or type(hook).__qualname__
    module = getattr(hook, "__module__", None) or type(hook).__module__
    return f"start-up hook {name} ({module}) failed: {told(error, module)}"


def _pathless(path: object) -> str:
    return f'write @app.get("/path") with the path in parentheses; {getattr(path, "__qualname__", path)!r} is no path'


def _method(method: str | Code) -> Code:
    """Return the method's code.

    Raises:
        RouteError: There is no such method.
    """
    name = method.upper() if isinstance(method, str) else Code(method).name
    if name not in METHODS:
        raise RouteError(f"{method!r} is no CoAP method; the methods are {', '.join(METHODS)}")
    return METHODS[name]
