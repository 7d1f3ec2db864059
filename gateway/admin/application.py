"""The pages of the admin port, as a WSGI application."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

from gateway.admin.api import Api, ApiAnswer, ApiRequest, Guarded
from gateway.admin.health import Health
from gateway.admin.hosts import Hosts
from gateway.admin.limits import MAX_BODY
from gateway.telemetry import get_logger

RAW_PATH: Final = "gateway.raw_path"
"""Where the server's environment has the path as it came."""

_BY_ANY_NAME: Final = frozenset({"/metrics", "/livez", "/readyz"})
"""Pages without devices and certificates: scrapers and probes ask for them by whatever name leads here."""
_DRAIN: Final = 16 * 1024
_MAX_DIGITS: Final = 16

Page = Callable[[Mapping[str, str]], Health]
"""From the parameters behind the question mark, of which the last of a name counts, to an answer."""
_Headers = list[tuple[str, str]]


class Application:
    """`/metrics`, `/livez`, `/readyz` and other pages by GET and HEAD, and what the APIs answer."""

    def __init__(
        self,
        registry: CollectorRegistry,
        pages: dict[str, Page],
        apis: Mapping[str, Api | Guarded],
        hosts: Hosts | None,
    ) -> None:
        """Take what is served.

        Args:
            registry: Rendered at `/metrics`, as OpenMetrics to those who accept it.
            pages: Path -> what computes its answer.
            apis: Beginning of paths, with a slash at its end -> who answers them.
            hosts: Under which names what asks for no token answers, but for `/metrics`, `/livez` and `/readyz`; None
                for any.
        """
        self._metrics = make_wsgi_app(registry)
        self._pages = pages
        self._apis = apis
        self._hosts = hosts

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request; see PEP 3333."""
        head = environ["REQUEST_METHOD"] == "HEAD"
        try:
            status, headers, body = self._answer(environ)
        except Exception:
            get_logger("gateway.admin").exception("admin.request_failed", path=environ.get("PATH_INFO"))
            status, headers, body = _json(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": "see the log"})
        headers += [
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ]
        start_response(status, headers)
        return [] if head else [body]

    def _answer(self, environ: WSGIEnvironment) -> tuple[str, _Headers, bytes]:
        path = environ["PATH_INFO"]
        asked = next((api for prefix, api in self._apis.items() if path.startswith(prefix)), None)
        # A web page under another name has no token to show.
        if self._hosts is not None and path not in _BY_ANY_NAME and not isinstance(asked, Guarded):
            refusal = self._hosts.refusal(environ.get("HTTP_HOST"))
            if refusal is not None:
                _drain(environ, min(_length(environ) or 0, MAX_BODY))
                return _json(HTTPStatus.FORBIDDEN, {"error": refusal})
        if asked is not None:
            return self._ask(asked, environ)
        if path != "/metrics" and path not in self._pages:
            known = ["/metrics", *self._pages]
            return _json(HTTPStatus.NOT_FOUND, {"error": "no such page", "pages": known})
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            status, headers, body = _json(HTTPStatus.METHOD_NOT_ALLOWED, {"error": "GET and HEAD only"})
            return status, [*headers, ("Allow", "GET, HEAD")], body
        if path == "/metrics":
            return self._scrape(environ)
        health = self._pages[path](dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)))
        return _json(HTTPStatus.OK if health.ok else HTTPStatus.SERVICE_UNAVAILABLE, health.body)

    def _ask(self, api: Api | Guarded, environ: WSGIEnvironment) -> tuple[str, _Headers, bytes]:
        length = _length(environ)
        guarded = api if isinstance(api, Guarded) else Guarded(lambda request: request, api)
        request = guarded.admit(_request(environ))
        if isinstance(request, ApiAnswer):
            _drain(environ, min(length or 0, guarded.max_body))
            return _answered(request)
        if length is None or length > guarded.max_body:
            text = f"at most {guarded.max_body} bytes, and their number in Content-Length"
            return _answered(guarded.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text))
        body = _read(environ, length)
        if len(body) < length:
            return _answered(guarded.refuse(HTTPStatus.BAD_REQUEST, "the body is shorter than it says"))
        return _answered(guarded.api(replace(request, body=body)))

    def _scrape(self, environ: WSGIEnvironment) -> tuple[str, _Headers, bytes]:
        started: list[tuple[str, _Headers]] = []

        def start(status: str, headers: _Headers, exc_info: Any = None) -> None:
            started.append((status, headers))

        # Selecting by ?name[]= needs collectors that can describe themselves; ours ask their sources when scraped.
        request = {**environ, "REQUEST_METHOD": "GET", "QUERY_STRING": ""}
        body = b"".join(self._metrics(request, start))
        status, headers = started[0]
        return status, list(headers), body


def _request(environ: WSGIEnvironment) -> ApiRequest:
    """Without its body."""
    return ApiRequest(
        environ["REQUEST_METHOD"],
        # PEP 3333: the bytes of the path, each as a character of its own.
        environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace"),
        (environ.get("CONTENT_TYPE") or "").partition(";")[0].strip().lower(),
        environ.get("HTTP_ORIGIN", ""),
        b"",
        raw_path=environ.get(RAW_PATH, ""),
        query=environ.get("QUERY_STRING", ""),
        authorization=environ.get("HTTP_AUTHORIZATION", ""),
        if_match=environ.get("HTTP_IF_MATCH", ""),
        peer=environ.get("REMOTE_ADDR", ""),
    )


def _answered(answer: ApiAnswer) -> tuple[str, _Headers, bytes]:
    status, _, text = _json(HTTPStatus(answer.status), answer.body)
    return status, [("Content-Type", answer.content_type), *answer.headers], text


def _length(environ: WSGIEnvironment) -> int | None:
    """Bytes of the body; None where it is not said how many."""
    size = environ.get("CONTENT_LENGTH") or "0"
    return int(size) if size.isascii() and size.isdigit() and len(size) < _MAX_DIGITS else None


def _read(environ: WSGIEnvironment, length: int) -> bytes:
    """What comes of a body; nothing from a client that goes away or dawdles."""
    try:
        body: bytes = environ["wsgi.input"].read(length)
    except OSError:
        return b""
    return body


def _drain(environ: WSGIEnvironment, length: int) -> None:
    """Reads what nobody wants: a connection that is closed over it may lose the answer on its way."""
    while length > 0 and (part := _read(environ, min(length, _DRAIN))):
        length -= len(part)


def _json(status: HTTPStatus, body: dict[str, Any]) -> tuple[str, _Headers, bytes]:
    text = json.dumps(body, separators=(",", ":")) + "\n"
    return f"{status.value} {status.phrase}", [("Content-Type", "application/json")], text.encode()
