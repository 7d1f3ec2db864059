"""What goes wrong before the first request: wrong templates, handlers that cannot be loaded."""


class HandlerError(Exception):
    """Base of this room's errors; the text is one readable line that says what to do."""


class RouteError(HandlerError, ValueError):
    """A route cannot be registered: invalid template, conflict, or a handler that does not fit its template."""


class LoadError(HandlerError):
    """An application or a named handler cannot be loaded or installed."""


class StartupError(HandlerError):
    """A start-up hook of the application raised; what it raised is the cause."""
