"""From a path to a handler.

A path is resolved first, then the method. Most specific wins: a literal segment over a parameter over a catch-all, from
left to right. Two dictionaries answer nearly every request: one of whole literal paths, and one of the paths that
end in their only parameter, by the segments before it. The tree answers the rest; where they overlap, all three agree.
"""

import keyword
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from gateway.coap import Code
from gateway.handlers.errors import RouteError
from gateway.handlers.invocation import Invocation
from gateway.handlers.limits import BODY_BYTES, MESSAGE_PAYLOAD_BYTES, SEGMENT_BYTES
from gateway.handlers.terms import Terms

METHODS: Final[Mapping[str, Code]] = MappingProxyType(
    {
        "GET": Code.GET,
        "POST": Code.POST,
        "PUT": Code.PUT,
        "DELETE": Code.DELETE,
        "FETCH": Code.FETCH,
        "PATCH": Code.PATCH,
        "IPATCH": Code.IPATCH,
    }
)
"""The methods of RFC 7252 and RFC 8132 by name."""

Segments: TypeAlias = tuple[str, ...]

# Where the built-in handlers are, each in a module of its name.
_BUILTIN: Final = "gateway.handlers.builtin"

# The two kinds of parameter in a template's shape. A literal cannot hold braces, so these are no literals.
_PARAMETER: Final = "{}"
_REST: Final = "{:path}"


class Template:
    """A parsed path template.

    Attributes:
        text: As written: `/telemetry/{stream}`.
        names: The parameters' names, from left to right.
        shape: The segments with the names left out: two templates of one shape match the same paths.
    """

    __slots__ = ("names", "shape", "text")

    def __init__(self, text: str) -> None:
        """Parse a template.

        Raises:
            RouteError: It is none; the text says what is wrong with it.
        """
        if not text.startswith("/"):
            raise RouteError(f"the path {text!r} must start with a slash")
        if "?" in text or "#" in text:
            raise RouteError(f"the path {text!r} must not hold a query or a fragment; read request.query instead")
        parts = text[1:].split("/") if text != "/" else []
        names: list[str] = []
        shape: list[str] = []
        for position, part in enumerate(parts):
            if "{" not in part and "}" not in part:
                shape.append(_literal(part, text, last=position == len(parts) - 1))
                continue
            name, is_rest = _parameter(part, text)
            if name in names:
                raise RouteError(f"the path {text!r} names the parameter {name!r} twice")
            if is_rest and position != len(parts) - 1:
                raise RouteError(f"in the path {text!r} the catch-all {part} must come last")
            names.append(name)
            shape.append(_REST if is_rest else _PARAMETER)
        self.text = text
        self.names = tuple(names)
        self.shape = tuple(shape)


class Route:
    """One method of one template, and the handler that answers it.

    Attributes:
        template: As written; a closed set, so it is the label for metrics.
        method: The method's code.
        names: The template's parameters.
        invocation: How to call the handler.
        terms: What it asks of a request.
        default_code: The code of an answer that a handler gives as a bare value.
        observable: A GET or FETCH that asks to be told of changes is put on the list (RFC 7641).
        direct: The handler is a plain function, and whatever comes may be given to it at once.
    """

    __slots__ = ("default_code", "direct", "invocation", "method", "names", "observable", "template", "terms")

    def __init__(
        self, template: str, method: Code, names: tuple[str, ...], invocation: Invocation, terms: Terms
    ) -> None:
        self.template = template
        self.method = method
        self.names = names
        self.invocation = invocation
        self.terms = terms
        self.observable = terms.observable
        self.direct = False
        self.limit(BODY_BYTES)
        self.default_code = _DEFAULT_CODES.get(method, Code.CHANGED)

    @property
    def stream(self) -> bool:
        """The handler takes the body block by block."""
        return self.terms.stream

    def limit(self, max_body: int) -> None:
        """Note how many bytes a body may have by default: below what one message carries, each must be looked at."""
        at_once = self.terms.is_plain and not self.invocation.is_async and not self.invocation.thread
        self.direct = at_once and max_body >= MESSAGE_PAYLOAD_BYTES

    def __repr__(self) -> str:
        return f"<Route {self.method.name} {self.template} -> {self.invocation.location}>"


class Endpoint:
    """Everything that answers paths of one shape: the routes by method."""

    __slots__ = ("routes",)

    def __init__(self) -> None:
        self.routes: dict[int, Route] = {}


Match: TypeAlias = tuple[Endpoint, Segments]
"""What a path resolves to, and the parameters' values from left to right."""


class Router:
    """The routes of one application."""

    def __init__(self) -> None:
        self._by_shape: dict[Segments, Endpoint] = {}
        self._literal: dict[Segments, Match] = {}
        self._tail: dict[Segments, Endpoint] = {}
        self._root = _Node()

    @property
    def routes(self) -> tuple[Route, ...]:
        """All routes in the order in which their paths were first registered."""
        return tuple(route for endpoint in self._by_shape.values() for route in endpoint.routes.values())

    def add(self, template: Template, route: Route) -> None:
        """Register a route.

        Raises:
            RouteError: Another route answers the same method of the same paths.
        """
        endpoint = self._by_shape.get(template.shape) or self._new_endpoint(template.shape)
        other = endpoint.routes.setdefault(route.method, route)
        if other is not route:
            raise RouteError(
                f"{route.method.name} {route.template} ({route.invocation.location}) conflicts with "
                f"{other.method.name} {other.template} ({other.invocation.location}): both match the same paths"
                f"{_remedy(other, route)}"
            )

    def resolve(self, segments: Segments) -> Match | None:
        """Return the endpoint of a path and its parameters' values, or None."""
        found = self._literal.get(segments)
        if found is not None:
            return found
        if segments and segments[-1]:
            endpoint = self._tail.get(segments[:-1])
            if endpoint is not None:
                return endpoint, segments[-1:]
        elif len(segments) == 1:
            # RFC 7252 section 6.5: one empty Uri-Path composes to "/", the same resource as none.
            return self._literal.get(())
        return self._root.find(segments, 0)

    def _new_endpoint(self, shape: Segments) -> Endpoint:
        endpoint = self._by_shape[shape] = Endpoint()
        if _PARAMETER not in shape and _REST not in shape:
            self._literal[shape] = endpoint, ()
        elif shape[-1] == _PARAMETER and _PARAMETER not in shape[:-1]:
            self._tail[shape[:-1]] = endpoint
        node = self._root
        for part in shape:
            node = node.child(part)
        node.endpoint = endpoint
        return endpoint


class _Node:
    """One position in the tree of templates."""

    __slots__ = ("endpoint", "literals", "parameter", "rest")

    def __init__(self) -> None:
        self.endpoint: Endpoint | None = None
        self.literals: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.rest: _Node | None = None

    def child(self, part: str) -> "_Node":
        if part == _PARAMETER:
            self.parameter = self.parameter or _Node()
            return self.parameter
        if part == _REST:
            self.rest = self.rest or _Node()
            return self.rest
        return self.literals.setdefault(part, _Node())

    def find(self, segments: Segments, position: int) -> Match | None:
        """Match the segments from `position` on; the depth is bounded by the deepest template, not by the peer."""
        if position == len(segments):
            return None if self.endpoint is None else (self.endpoint, ())
        segment = segments[position]
        node = self.literals.get(segment)
        found = None if node is None else node.find(segments, position + 1)
        if found is not None:
            return found
        if self.parameter is not None and segment:
            found = self.parameter.find(segments, position + 1)
            if found is not None:
                return found[0], (segment, *found[1])
        if self.rest is not None and self.rest.endpoint is not None:
            return self.rest.endpoint, ("/".join(segments[position:]),)
        return None


_DEFAULT_CODES: Final[Mapping[int, Code]] = MappingProxyType(
    {Code.GET: Code.CONTENT, Code.FETCH: Code.CONTENT, Code.DELETE: Code.DELETED}
)


def _remedy(*routes: Route) -> str:
    """How to switch off what we brought; between two routes of others, the author knows better."""
    for route in routes:
        package, _, name = str(getattr(route.invocation.handler, "__module__", "")).rpartition(".")
        if package == _BUILTIN:
            return f'; to answer it yourself, take "{name}" out of [handlers] enabled'
    return ""


def _literal(part: str, text: str, *, last: bool) -> str:
    if not part and not last:
        raise RouteError(f"the path {text!r} has an empty segment; write one slash between two segments")
    if len(part.encode()) > SEGMENT_BYTES:
        raise RouteError(
            f"the path {text!r} has a segment of more than {SEGMENT_BYTES} bytes, which no CoAP message can carry"
        )
    return part


def _parameter(part: str, text: str) -> tuple[str, bool]:
    """Return the name of a parameter, and whether it takes the rest of the path."""
    if not (part.startswith("{") and part.endswith("}") and part.count("{") == part.count("}") == 1):
        raise RouteError(f"in the path {text!r} a parameter must be a whole segment such as {{name}}, not {part!r}")
    name, colon, kind = part[1:-1].partition(":")
    if colon and kind != "path":
        raise RouteError(f"in the path {text!r} the only kind of parameter is {{{name}:path}}, not {kind!r}")
    if not name.isidentifier() or keyword.iskeyword(name):
        raise RouteError(f"in the path {text!r} the parameter's name {name!r} must be a Python identifier")
    return name, bool(colon)
