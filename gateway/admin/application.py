"""The pages of the admin port, as a WSGI application."""

import json
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

from gateway.admin.api import Api, ApiRequest
from gateway.admin.health import Health
from gateway.admin.limits import MAX_BODY
from gateway.telemetry import get_logger

Page = Callable[[Mapping[str, str]], Health]
"""From the parameters behind the question mark, of which the last of a name counts, to an answer."""
_Headers = list[tuple[str, str]]


class Application:
    """`/metrics`, `/livez`, `/readyz` and other pages by GET and HEAD, and what the APIs answer."""

    def __init__(self, registry: CollectorRegistry, pages: dict[str, Page], apis: Mapping[str, Api]) -> None:
        """Take what is served.

        Args:
            registry: Rendered at `/metrics`, as OpenMetrics to those who accept it.
            pages: Path -> what computes its answer.
            apis: Beginning of paths, with a slash at its end -> who answers them.
        """
        self._metrics = make_wsgi_app(registry)
        self._pages = pages
        self._apis = apis

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
        for prefix, api in self._apis.items():
            if path.startswith(prefix):
                return self._ask(api, environ)
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

    def _ask(self, api: Api, environ: WSGIEnvironment) -> tuple[str, _Headers, bytes]:
        size = environ.get("CONTENT_LENGTH") or "0"
        if not size.isascii() or not size.isdigit() or int(size) > MAX_BODY:
            return _json(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": f"at most {MAX_BODY} bytes"})
        body = environ["wsgi.input"].read(int(size))
        if len(body) < int(size):
            return _json(HTTPStatus.BAD_REQUEST, {"error": "the body is shorter than it says"})
        answer = api(
            ApiRequest(
                environ["REQUEST_METHOD"],
                # PEP 3333: the bytes of the path, each as a character of its own.
                environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace"),
                (environ.get("CONTENT_TYPE") or "").partition(";")[0].strip().lower(),
                environ.get("HTTP_ORIGIN", ""),
                body,
            )
        )
        status, headers, text = _json(HTTPStatus(answer.status), answer.body)
        return status, [*headers, *answer.headers], text

    def _scrape(self, environ: WSGIEnvironment) -> tuple[str, _Headers, bytes]:
        started: list[tuple[str, _Headers]] = []

        def start(status: str, headers: _Headers, exc_info: Any = None) -> None:
            started.append((status, headers))

        # Selecting by ?name[]= needs collectors that can describe themselves; ours ask their sources when scraped.
        request = {**environ, "REQUEST_METHOD": "GET", "QUERY_STRING": ""}
        body = b"".join(self._metrics(request, start))
        status, headers = started[0]
        return status, list(headers), body


def _json(status: HTTPStatus, body: dict[str, Any]) -> tuple[str, _Headers, bytes]:
    text = json.dumps(body, separators=(",", ":")) + "\n"
    return f"{status.value} {status.phrase}", [("Content-Type", "application/json")], text.encode()
