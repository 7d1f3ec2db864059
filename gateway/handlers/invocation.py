"""How to call a handler: worked out once, when it is registered, and checked against its template."""

import inspect
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from gateway.handlers.errors import RouteError

Handler: TypeAlias = Callable[..., Any]
"""`f(request)` or `f(request, parameter, ...)`, def or async def."""

_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VARIADIC: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Invocation:
    """A handler and the path parameters that it wants.

    Attributes:
        handler: The function.
        positions: Which of the template's values follow the request, in the handler's order.
        keywords: Which of them are passed by name.
        plain: At most one value, by position: the call that `App.dispatch` makes itself.
        is_async: Calling it gives something to await.
        thread: It runs in a thread.
        location: Where the handler is defined, for messages to its author.
    """

    __slots__ = ("handler", "is_async", "keywords", "location", "plain", "positions", "thread")

    def __init__(
        self, handler: Handler, names: tuple[str, ...], template: str, *, thread: bool = False, stream: bool = False
    ) -> None:
        """Inspect a handler.

        Raises:
            RouteError: Its signature does not fit the template, an async function is to run in a thread, or one that
                is not async is to wait for blocks.
        """
        self.handler = handler
        self.location = _location(handler)
        self.thread = thread
        self.is_async = _is_async(handler)
        if thread and self.is_async:
            raise RouteError(f"{self.location} is async: thread=True is for functions that block")
        if stream and not self.is_async:
            raise RouteError(f"{self.location} must be async def: it waits for the blocks of request.blocks()")
        self.positions, self.keywords = self._wanted(names, template)
        self.plain = len(self.positions) <= 1 and not self.keywords

    def call(self, request: object, values: tuple[str, ...]) -> Any:
        """Call the handler with the request and the values that it wants."""
        positional = [values[position] for position in self.positions]
        return self.handler(request, *positional, **{name: values[position] for name, position in self.keywords})

    def _wanted(self, names: tuple[str, ...], template: str) -> tuple[tuple[int, ...], tuple[tuple[str, int], ...]]:
        parameters = self._parameters_after_request(names, template)
        positions: list[int] = []
        keywords: list[tuple[str, int]] = []
        in_a_row = True
        for parameter in parameters:
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                taken = {*(names[position] for position in positions), *(name for name, _ in keywords)}
                keywords += [(name, position) for position, name in enumerate(names) if name not in taken]
            elif parameter.name in names and in_a_row and parameter.kind in _POSITIONAL:
                positions.append(names.index(parameter.name))
            elif parameter.name in names and parameter.kind is not inspect.Parameter.POSITIONAL_ONLY:
                keywords.append((parameter.name, names.index(parameter.name)))
            elif parameter.default is inspect.Parameter.empty and parameter.kind not in _VARIADIC:
                known = ", ".join(names) or "none"
                raise RouteError(
                    f"{self.location} wants {parameter.name!r}, which is no parameter of the path {template!r} "
                    f"(its parameters: {known})"
                )
            else:
                in_a_row = False
        return tuple(positions), tuple(keywords)

    def _parameters_after_request(self, names: tuple[str, ...], template: str) -> list[inspect.Parameter]:
        try:
            parameters = list(inspect.signature(self.handler).parameters.values())
        except (TypeError, ValueError):
            raise RouteError(f"{self.location} is no function whose parameters can be read") from None
        if not parameters or parameters[0].kind not in (*_POSITIONAL, inspect.Parameter.VAR_POSITIONAL):
            raise RouteError(f"{self.location} must take the request as its first parameter")
        if parameters[0].name in names:
            raise RouteError(
                f"{self.location} takes {parameters[0].name!r} first, but the first parameter is the request: "
                f"write def handler(request, {', '.join(names)}) for the path {template!r}"
            )
        return parameters[1:]


def _is_async(handler: Handler) -> bool:
    # A callable object with an async __call__ is async too.
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004


def _location(handler: Handler) -> str:
    name = getattr(handler, "__qualname__", None) or type(handler).__qualname__
    code = getattr(inspect.unwrap(handler), "__code__", None)
    module = getattr(handler, "__module__", None)
    where = f"{module}.{name}" if module else name
    return where if code is None else f"{where}, line {code.co_firstlineno}"
