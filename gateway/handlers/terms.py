"""What a route asks of a request before its handler runs, as the decorators take it."""

import inspect
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeAlias, TypedDict

from gateway.handlers.errors import RouteError
from gateway.handlers.limits import MAX_BODY_BYTES, MAX_STREAM_BYTES
from gateway.handlers.media_types import content_format

if TYPE_CHECKING:
    from gateway.handlers.request import Request

CurrentETag: TypeAlias = Callable[["Request"], bytes | Awaitable[bytes | None] | None]
"""`f(request)`, def or async def: the ETag of what is there, None when nothing is."""


class RouteOptions(TypedDict, total=False):
    """What a route can declare beside its path and methods.

    Keys:
        thread: Run the handler, a plain function that blocks, in a thread.
        stream: The handler, an async function, takes the body block by block from `request.blocks()`.
        observable: Devices may observe it (RFC 7641): `App.notify` says that it has changed. For GET and FETCH.
        max_body: Bytes that the body of a request may have; more gets 4.13. The default is the configuration's.
        consumes: Content formats that the handler takes, by number or media type; another gets 4.15.
        produces: Content formats that it can give, likewise; a device that accepts another only gets 4.06.
        etag: Tells the resource's present ETag, so that If-Match, If-None-Match and ETag are honoured.
        fresh: Seconds, or a timedelta: a request must prove by Echo that it is no older (RFC 9175); 0 for no proof.
        rt: Resource types for `/.well-known/core`, separated by spaces (RFC 6690 section 3.1).
        interface: Interface descriptions for it, the attribute "if" (section 3.2).
        title: A title for it.
        listed: Whether the path stands in it at all.
    """

    thread: bool
    stream: bool
    observable: bool
    max_body: int
    consumes: Iterable[int | str]
    produces: Iterable[int | str]
    etag: CurrentETag
    fresh: float | timedelta
    rt: str
    interface: str
    title: str
    listed: bool


class Terms:
    """The options of a route, checked.

    Attributes:
        stream: See `RouteOptions`, as the others.
        max_body: None for the default of the app.
        consumes: None for any.
        produces: None for any.
        etag: None where conditional requests are refused.
        fresh_s: Seconds; 0 for any age.
        attributes: Attributes of the link by name, without those that follow from the rest.
        listed: Whether there is a link.
    """

    __slots__ = ("attributes", "consumes", "etag", "fresh_s", "listed", "max_body", "observable", "produces", "stream")

    def __init__(self, options: RouteOptions) -> None:
        """Check the options.

        Raises:
            RouteError: One is unknown or out of its range.
        """
        unknown = sorted(set(options) - set(RouteOptions.__annotations__))
        if unknown:
            raise RouteError(f"there is no route option {unknown[0]!r}; there are {', '.join(_NAMES)}")
        self.fresh_s = _seconds(options.get("fresh", 0))
        self.stream = options.get("stream", False)
        self.observable = options.get("observable", False)
        self.max_body = options.get("max_body")
        self.consumes = _formats(options.get("consumes"), "consumes")
        self.produces = _formats(options.get("produces"), "produces")
        self.etag = options.get("etag")
        self.listed = options.get("listed", True)
        texts = {"rt": options.get("rt"), "if": options.get("interface"), "title": options.get("title")}
        self.attributes = {name: text for name, text in texts.items() if text is not None}
        self._check()

    @property
    def is_plain(self) -> bool:
        """Nothing is asked of a request: the handler can be called at once."""
        return (
            not self.stream
            and not self.fresh_s
            and self.max_body is None
            and self.consumes is None
            and self.produces is None
            and self.etag is None
        )

    @property
    def waits(self) -> bool:
        """The present ETag is told by an async function."""
        return self.etag is not None and inspect.iscoroutinefunction(self.etag)

    def _check(self) -> None:
        most = MAX_STREAM_BYTES if self.stream else MAX_BODY_BYTES
        if self.max_body is not None and not isinstance(self.max_body, int):
            raise RouteError(f"max_body is a number of bytes, such as 10_000, not {self.max_body!r}")
        if self.max_body is not None and not 0 <= self.max_body <= most:
            remedy = "" if self.stream else "; a larger one is taken with stream=True"
            raise RouteError(f"max_body is 0 to {most} bytes, not {self.max_body}{remedy}")
        if self.etag is not None and not callable(self.etag):
            raise RouteError(f"etag is a function of the request that returns the ETag, not {self.etag!r}")
        for name, text in self.attributes.items():
            if not isinstance(text, str):
                raise RouteError(f"the attribute {name} is a text, not {text!r}")
            if not text.isprintable() or '"' in text or "\\" in text:
                raise RouteError(f"the attribute {name} must be printable, without quotes and backslashes: {text!r}")


_NAMES: Final = tuple(RouteOptions.__annotations__)


def _seconds(fresh: object) -> float:
    seconds = fresh.total_seconds() if isinstance(fresh, timedelta) else fresh
    if not isinstance(seconds, int | float) or seconds < 0:
        raise RouteError(f"fresh is a number of seconds or a timedelta, not {fresh!r}")
    return float(seconds)


def _formats(values: Iterable[int | str] | None, name: str) -> tuple[int, ...] | None:
    if values is None:
        return None
    try:
        formats = tuple([content_format(value) for value in ([values] if isinstance(values, str) else values)])
    except TypeError:
        raise RouteError(f"{name} is a list of content formats by number or media type, not {values!r}") from None
    except ValueError as error:
        raise RouteError(f"{name}: {error}") from None
    if not formats:
        raise RouteError(f"{name} is one content format or more")
    return formats
