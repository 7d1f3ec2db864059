"""What handlers may look like, and which parameters they get."""

import functools
from typing import Any

import pytest

from gateway.handlers import App, Request, RouteError, TestClient


def swapped(request: Request, b: str, a: str) -> str:
    return f"{a} {b}"


def none(request: Request) -> str:
    return f"{request.params['a']} {request.params['b']}"


def second_only(request: Request, b: str) -> str:
    return f"1 {b}"


def keyword_only(request: Request, *, b: str, a: str) -> str:
    return f"{a} {b}"


def everything(request: Request, **params: str) -> str:
    return f"{params.pop('a')} {params.pop('b')}{params or ''}"


def mixed(request: Request, a: str, /, unit: str = "", *, b: str) -> str:
    return f"{a} {b}{unit}"


def after_a_gap(request: Request, unit: str = "", a: str = "", b: str = "") -> str:
    return f"{a} {b}{unit}"


def rest_by_name(request: Request, b: str, **params: str) -> str:
    return f"{params.pop('a')} {b}{params or ''}"


class Method:
    def handle(self, request: Request, a: str, b: str) -> str:
        return f"{a} {b}"

    async def handle_async(self, request: Request, a: str, b: str) -> str:
        return f"{a} {b}"


class CallableObject:
    def __call__(self, request: Request, a: str, b: str) -> str:
        return f"{a} {b}"


class AsyncCallableObject:
    async def __call__(self, request: Request, a: str, b: str) -> str:
        return f"{a} {b}"


def with_prefix(prefix: str, request: Request, a: str, b: str) -> str:
    return f"{prefix}{a} {b}"


@pytest.mark.parametrize(
    "handler",
    [
        swapped,
        none,
        second_only,
        keyword_only,
        everything,
        mixed,
        after_a_gap,
        rest_by_name,
        Method().handle,
        Method().handle_async,
        CallableObject(),
        AsyncCallableObject(),
        functools.partial(with_prefix, ""),
    ],
)
@pytest.mark.parametrize("thread", [False, True])
def test_handler_gets_the_parameters_that_it_names(handler: Any, thread: bool) -> None:
    app = App()
    if thread and "async" in repr(handler).lower():
        with pytest.raises(RouteError, match="is async: thread=True is for functions that block"):
            app.get("/{a}/{b}", thread=True)(handler)
        return
    assert app.get("/{a}/{b}", thread=thread)(handler) is handler
    assert TestClient(app).get("/1/2").text() == "1 2"


def no_parameter() -> None:
    """Not a handler."""


def keyword_request(*, request: Request) -> None:
    """Not a handler."""


def forgot_request(stream: str) -> None:
    """Not a handler."""


def misspelt(request: Request, straem: str) -> None:
    """Not a handler."""


@pytest.mark.parametrize(
    ("handler", "complaint"),
    [
        (no_parameter, "must take the request as its first parameter"),
        (keyword_request, "must take the request as its first parameter"),
        (forgot_request, r"write def handler\(request, stream\)"),
        (misspelt, r"misspelt, line \d+ wants 'straem', .* path '/a/{stream}' \(its parameters: stream\)"),
        (42, "no function"),
    ],
)
def test_handler_that_does_not_fit_is_refused_when_registered(handler: Any, complaint: str) -> None:
    with pytest.raises(RouteError, match=complaint):
        App().post("/a/{stream}")(handler)


def test_template_of_an_included_app_changes_the_positions() -> None:
    inner, app = App(), App()
    inner.get("/{b}")(second_only)
    app.include(inner, "/x/{a}")
    assert TestClient(app).get("/x/0/2").text() == "1 2"
