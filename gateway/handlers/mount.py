"""aiocoap resources as handlers, unchanged.

Requests cross as bytes: ours is encoded and aiocoap decodes it, so that a resource sees exactly what it would see
behind aiocoap's own transports. That costs about 20 microseconds a request; a plain handler is the fast way.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeAlias

import aiocoap  # type: ignore[import-untyped]
from aiocoap.error import AnonymousHost, RenderableError  # type: ignore[import-untyped]
from aiocoap.interfaces import EndpointAddress  # type: ignore[import-untyped]
from aiocoap.interfaces import Resource as ResourceInterface
from aiocoap.resource import PathCapable  # type: ignore[import-untyped]

from gateway.coap import Message, Option, encode
from gateway.handlers.errors import RouteError
from gateway.handlers.request import Request
from gateway.handlers.response import Response
from gateway.handlers.routing import Template
from gateway.model import Device, Principal

_Handler: TypeAlias = Callable[[Request], Coroutine[Any, Any, Response]]

_OURS: Final = frozenset({Option.URI_PATH, Option.BLOCK1, Option.BLOCK2, Option.SIZE1, Option.SIZE2})
_BELOW: Final = "{below:path}"


def mount_handlers(path: str, resource: Any) -> list[tuple[str, _Handler]]:
    """Return the templates under which a resource is to be served, each with its handler.

    Raises:
        RouteError: The path is wrong or ends in a catch-all, or it is no aiocoap resource.
    """
    if not isinstance(resource, ResourceInterface):
        raise RouteError(
            f"{path}: mount takes an instance of aiocoap's Resource or Site, not {resource!r}; "
            "write the handler as a function instead, or instantiate the class"
        )
    base = path.rstrip("/")
    template = Template(base or "/")
    if template.text.endswith(":path}"):
        raise RouteError(f"{path}: a resource cannot be mounted at a catch-all; mount a Site at the path before it")

    async def handle(request: Request) -> Response:
        return await _render(resource, request)

    if not isinstance(resource, PathCapable):
        return [(template.text, handle)]
    return [(template.text, handle), (f"{base}/{_BELOW}", handle)]


class DeviceRemote(EndpointAddress):  # type: ignore[misc]
    """Stands where aiocoap has the address of the peer: the device, as it proved itself.

    Attributes:
        principal: The device and its credential; also the one element of `authenticated_claims`.
    """

    scheme = "coaps"
    is_multicast = False
    is_multicast_locally = False

    def __init__(self, principal: Principal) -> None:
        self.principal = principal

    @property
    def device(self) -> Device:
        """The device that sent the request."""
        return self.principal.device

    @property
    def hostinfo(self) -> str:
        """The device's id; it is no host that could be connected to."""
        return self.principal.device.id

    @property
    def hostinfo_local(self) -> str:
        """A name for this gateway; aiocoap writes it into the URI of a request that names no Uri-Host."""
        return "gateway"

    @property
    def uri_base(self) -> str:
        """There is none: a device has no address that outlives its session.

        Raises:
            AnonymousHost: Always.
        """
        raise AnonymousHost("a device of the gateway has no URI")

    @property
    def uri_base_local(self) -> str:
        """The base of this gateway's URIs."""
        return f"{self.scheme}://{self.hostinfo_local}"

    @property
    def authenticated_claims(self) -> tuple[Principal]:
        """The proven identity."""
        return (self.principal,)

    @property
    def blockwise_key(self) -> tuple[str, str]:
        """The device: blocks of one transfer may come from different addresses of it."""
        return (self.device.tenant_id, self.device.id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DeviceRemote) and other.principal == self.principal

    def __hash__(self) -> int:
        return hash(self.principal)

    def __repr__(self) -> str:
        return f"<DeviceRemote {self.device.tenant_id}/{self.device.id}>"


async def _render(resource: Any, request: Request) -> Response:
    try:
        answer = await resource.render(_incoming(request))
    except RenderableError as error:
        answer = error.to_message()
    if not isinstance(answer, aiocoap.Message) or answer.code is None:
        raise TypeError(f"{resource!r} rendered {answer!r}, which is no response with a code")
    # No-Response (RFC 7967) is a request's option: aiocoap leaves it here for its own transport.
    options = [(int(o.number), o.encode()) for o in answer.opt.option_list() if o.number != Option.NO_RESPONSE]
    return Response(bytes(answer.payload), int(answer.code), content_format=None, options=options)


def _incoming(request: Request) -> Any:
    """Return aiocoap's form of a request, its path without the segments at which the resource is mounted."""
    message = request.message
    below = _segments_below(request)
    # The body is whole: what said how it came, and which part of the answer is wanted, is done with here.
    options = [option for option in message.options if option[0] not in _OURS]
    options += [(int(Option.URI_PATH), segment.encode()) for segment in below]
    stripped = Message(message.type, message.code, message.message_id, message.token, options, message.payload)
    return aiocoap.Message.decode(encode(stripped), remote=DeviceRemote(request.principal))


def _segments_below(request: Request) -> tuple[str, ...]:
    template = Template(request.route.template) if request.route is not None else Template("/")
    if not template.text.endswith(_BELOW):
        return ()
    below = request.segments[len(template.shape) - 1 :]
    # aiocoap's own nesting: a site's root is seen with an empty path, reached by a trailing slash.
    return () if below == ("",) else below
