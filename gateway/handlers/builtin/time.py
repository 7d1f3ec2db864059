"""`time`: GET /time gives the time, for devices without a clock of their own."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from time import time as clock

from gateway.handlers.app import App
from gateway.handlers.loading import known_options
from gateway.handlers.request import Request
from gateway.handlers.response import Content


def install(app: App, options: Mapping[str, object]) -> None:
    """Register the handler; it has no options.

    Raises:
        LoadError: There is an option.
        RouteError: /time is taken.
    """
    known_options(options)

    @app.get("/time")
    def time(request: Request) -> Content:
        return this_second(int(clock()))


@lru_cache(1)
def this_second(seconds: int) -> Content:
    """The answer, the same for all that ask within one second: writing a date costs more than all the rest."""
    # Max-Age 0: a proxy on the way must not answer with the time of a minute ago (RFC 7252 section 5.10.5).
    return Content(rfc3339(datetime.fromtimestamp(seconds, UTC)), max_age=0)


def rfc3339(moment: datetime) -> str:
    """Return a moment as RFC 3339 text in UTC, whole seconds: `2026-05-04T12:30:00Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
