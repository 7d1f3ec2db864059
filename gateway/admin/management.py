"""The management API: the table of operations over HTTP, for those who have a token.

It runs in the threads of the admin server, on a registry handle of its own: the worker's belongs to the data path.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_to_bytes

from pydantic import BaseModel, ValidationError

from gateway.admin.api import ApiAnswer, ApiRequest, Guarded
from gateway.admin.limits import MAX_MANAGEMENT_BODY
from gateway.admin.patience import Patience
from gateway.admin.tokens import TokenError, TokenFile
from gateway.management.openapi import document
from gateway.management.operation import Operation, refusal
from gateway.management.preconditions import check_unchanged, entity_tag
from gateway.management.problems import Code, code_of, problem
from gateway.management.table import OPERATIONS
from gateway.registry import InvalidValue, Registry, RegistryError
from gateway.telemetry import get_logger

PREFIX: Final = "/api/"
_DOCUMENT: Final = PREFIX + "openapi.json"
_MAX_FIELDS: Final = 32


class ManagementApi:
    """Serves the operations. `guarded` is what the admin server takes."""

    def __init__(
        self,
        tokens: TokenFile | None,
        open_registry: Callable[[], Registry],
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes what it works with.

        Args:
            tokens: Who is let in; None switches it off.
            open_registry: Called at the first request, in a thread; what it opens is used by one thread at a time.
            clock: Seconds since the epoch, UTC.
            monotonic: Seconds that never go back.
        """
        self._tokens = tokens
        self._open = open_registry
        self._clock = clock
        self._patience = Patience(monotonic)
        self._lock = threading.Lock()
        self._registry: Registry | None = None
        self._closed = False
        self._by_shape: dict[tuple[str, ...], dict[str, Operation[Any, Any]]] = {}
        for each in OPERATIONS:
            self._by_shape.setdefault(_shape(each.path), {})[each.method] = each

    @property
    def guarded(self) -> Guarded:
        """For the admin server, under `PREFIX`."""
        return Guarded(self._admit, self._answer, MAX_MANAGEMENT_BODY, _refused)

    def close(self) -> None:
        """Closes the registry, after a request that is under way; further ones are refused."""
        with self._lock:
            self._closed = True
            if self._registry is not None:
                self._registry.close()
                self._registry = None

    @cached_property
    def _document(self) -> dict[str, Any]:
        # A third of a second, which a gateway's start need not wait for.
        return document(OPERATIONS)

    def _admit(self, request: ApiRequest) -> ApiRequest | ApiAnswer:
        if self._tokens is None:
            return _refused(HTTPStatus.FORBIDDEN, "switched off: set [admin] token_file")
        if request.origin:
            # A page in an operator's browser can reach what the browser can; nothing of ours is such a page.
            return _refused(HTTPStatus.FORBIDDEN, "not from a browser")
        scheme, _, token = request.authorization.partition(" ")
        try:
            name = self._tokens.name_of(token.strip())
        except TokenError as error:
            get_logger("gateway.admin").error("admin.tokens_unusable", error=str(error))
            return _problem(Code.UNAVAILABLE, "no token can be checked now; the gateway's log says why")
        if name is None or scheme.lower() != "bearer":
            return self._turned_away(request.peer)
        return replace(request, principal=name)

    def _turned_away(self, peer: str) -> ApiAnswer:
        """What a wrong token gets.

        A right one is let in however many wrong ones came from its address: behind a reverse proxy or ssh all have one
        address, and a stranger there would keep the operators out. So every guess is compared, and the wait slows no
        guessing down; 192 random bits need no such help. It spares the log, and has a script with an old file notice.
        """
        wait_s = self._patience.wait_s(peer)
        if wait_s:
            return _refused(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too many wrong tokens from this address; a right one is let in at any time",
                ("Retry-After", str(wait_s)),
            )
        self._patience.failed(peer)
        get_logger("gateway.admin").warning("admin.token_refused", peer=peer)
        # No word on what is wrong with it.
        return replace(_problem(Code.UNAUTHORIZED, ""), headers=(("WWW-Authenticate", "Bearer"),))

    def _answer(self, request: ApiRequest) -> ApiAnswer:
        try:
            if request.raw_path == _DOCUMENT:
                _only(request.method, ("GET",))
                return ApiAnswer(200, self._document)
            operation, in_path = self._find(request)
            given = _given(operation, in_path, request)
            answer, tag = self._perform(operation, given, request)
        except _Refused as refused:
            return refused.answer
        except RegistryError as error:
            return _problem(code_of(error), " ".join(str(error).split()))
        if operation.writes:
            get_logger("gateway.admin").info(
                "admin.change_made", operation=operation.name, actor=_actor(request), peer=request.peer
            )
        headers = (("ETag", tag),) if tag else ()
        return ApiAnswer(operation.status, answer.model_dump(mode="json", exclude_unset=True), headers)

    def _find(self, request: ApiRequest) -> tuple[Operation[Any, Any], dict[str, str]]:
        """The operation of a path, and what stands in the path."""
        parts = tuple(request.raw_path.split("/"))
        for shape, methods in self._by_shape.items():
            if len(shape) == len(parts) and all(a in ("", b) for a, b in zip(shape[1:], parts[1:], strict=True)):
                _only(request.method, tuple(methods))
                operation = methods[request.method]
                words = [part for name, part in zip(shape[1:], parts[1:], strict=True) if not name]
                return operation, dict(zip(operation.path_fields, map(_decoded, words), strict=True))
        raise _Refused(_refused(HTTPStatus.NOT_FOUND, f"no such path; {_DOCUMENT} lists them"))

    def _perform(
        self, operation: Operation[Any, Any], given: BaseModel, request: ApiRequest
    ) -> tuple[BaseModel, str | None]:
        # Of one thing, not of a list.
        shown = self._by_shape[_shape(operation.path)].get("GET") if operation.path_fields else None
        now = self._clock()
        with self._lock:
            registry = self._opened()
            registry.actor = _actor(request)

            def work() -> tuple[BaseModel, str | None]:
                if request.if_match:
                    check_unchanged(registry, shown, given, request.if_match, now)
                answer = operation.perform(registry, given, now)
                return answer, entity_tag(answer) if operation is shown else None

            return registry.together(work, write=operation.writes)

    def _opened(self) -> Registry:
        if self._closed:
            raise _Refused(_problem(Code.UNAVAILABLE, "the gateway stops"))
        if self._registry is None:
            self._registry = self._open()
        return self._registry


class _Refused(Exception):
    """Carries the answer."""

    def __init__(self, answer: ApiAnswer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def _actor(request: ApiRequest) -> str:
    """Who asks, as the audit trail and the log name it."""
    return f"api:{request.principal}"


def _problem(code: Code, detail: str, status: HTTPStatus | None = None) -> ApiAnswer:
    number, body = problem(code, detail, status)
    return ApiAnswer(number, body, content_type="application/problem+json")


def _refused(status: HTTPStatus, detail: str, *headers: tuple[str, str]) -> ApiAnswer:
    return replace(_problem(Code.REFUSED, detail, status), headers=headers)


def _only(method: str, allowed: tuple[str, ...]) -> None:
    if method not in allowed:
        listed = ", ".join(allowed)
        raise _Refused(_refused(HTTPStatus.METHOD_NOT_ALLOWED, f"{listed} only", ("Allow", listed)))


def _shape(template: str) -> tuple[str, ...]:
    """The parts of a path, empty where something is to be filled in."""
    return tuple("" if part.startswith("{") else part for part in template.split("/"))


def _decoded(part: str) -> str:
    try:
        return unquote_to_bytes(part).decode()
    except UnicodeError:
        raise InvalidValue("the path is not valid UTF-8") from None


def _given(operation: Operation[Any, Any], in_path: Mapping[str, str], request: ApiRequest) -> BaseModel:
    """What the request says, checked.

    Raises:
        InvalidValue: A field is missing, unknown or not of its kind.
    """
    try:
        if not operation.has_body:
            if request.body:
                raise InvalidValue(f"{operation.method} takes no body; write it into the query")
            query = _query(request.query)
            _no_second(in_path, query)
            model: BaseModel = operation.given.model_validate_strings({**query, **in_path})
            return model
        if request.query:
            raise InvalidValue(f"{operation.method} takes no query; write it into the body")
        fields = _fields(request)
        _no_second(in_path, fields)
        model = operation.given.model_validate_json(json.dumps({**fields, **in_path}), strict=True)
        return model
    except ValidationError as error:
        raise InvalidValue(refusal(error)) from None


def _no_second(in_path: Mapping[str, str], fields: Mapping[str, Any]) -> None:
    for name in in_path:
        if name in fields:
            raise InvalidValue(f"{name}: stands in the path already")


def _query(text: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            text, keep_blank_values=True, strict_parsing=bool(text), errors="strict", max_num_fields=_MAX_FIELDS
        )
    except (ValueError, UnicodeError):
        raise InvalidValue("the query is not understood; write name=value&name=value, percent-encoded") from None
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise InvalidValue("the query has a name twice")
    return fields


def _fields(request: ApiRequest) -> dict[str, Any]:
    if not request.body and not request.content_type:
        return {}
    if request.content_type != "application/json":
        raise _Refused(_refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send application/json"))
    try:
        fields = json.loads(request.body)
    except (ValueError, RecursionError):
        raise InvalidValue("the body is no JSON") from None
    if not isinstance(fields, dict):
        raise InvalidValue("the body is no JSON object")
    return fields
