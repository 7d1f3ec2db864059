"""What a simulated device has to show when the gateway asks: a small table of resources."""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from gateway.coap import Code, Message, Option

Resource: TypeAlias = bytes | Callable[[Message], bytes]
"""A value, or what makes one of a request."""

_ANY_METHOD: Final = frozenset({Code.GET, Code.POST, Code.PUT})


class DeviceResources:
    """GET reads a value, PUT writes one, DELETE takes it away; a function answers GET, POST and PUT itself.

    Attributes:
        values: Path such as "/status" -> resource.
        observers: Path -> tokens of the server that observe it (RFC 7641).
    """

    def __init__(self, values: Mapping[str, Resource] | None = None) -> None:
        self.values: dict[str, Resource] = dict(values or {})
        self.observers: dict[str, dict[bytes, None]] = {}

    def serve(self, request: Message) -> tuple[int, list[tuple[int, bytes]], bytes]:
        """Code, options and payload of the answer."""
        path = "/" + "/".join(request.uri_path)
        value = self.values.get(path)
        if value is None and request.code != Code.PUT:
            return Code.NOT_FOUND, [], b""
        if callable(value):
            if request.code not in _ANY_METHOD:
                return Code.METHOD_NOT_ALLOWED, [], b""
            code = Code.CONTENT if request.code == Code.GET else Code.CHANGED
            return code, self._observe(path, request), value(request)
        if request.code == Code.GET and value is not None:
            return Code.CONTENT, self._observe(path, request), value
        if request.code == Code.PUT:
            self.values[path] = request.payload
            return Code.CREATED if value is None else Code.CHANGED, [], b""
        if request.code == Code.DELETE:
            del self.values[path]
            return Code.DELETED, [], b""
        return Code.METHOD_NOT_ALLOWED, [], b""

    def _observe(self, path: str, request: Message) -> list[tuple[int, bytes]]:
        tokens = self.observers.setdefault(path, {})
        if request.code == Code.GET and request.observe == 0:
            tokens[request.token] = None
            return [(int(Option.OBSERVE), b"")]
        tokens.pop(request.token, None)
        return []
