"""The pages of the admin port, as a WSGI application."""

import json
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

from gateway.admin.health import Health
from gateway.telemetry import get_logger

Page = Callable[[], Health]
_Headers = list[tuple[str, str]]


class Application:
    """`/metrics`, `/livez`, `/readyz`; GET and HEAD; nothing else exists."""

    def __init__(self, registry: CollectorRegistry, pages: dict[str, Page]) -> None:
        """Take what is served.

        Args:
            registry: Rendered at `/metrics`, as OpenMetrics to those who accept it.
            pages: Path -> what computes its answer.
        """
        self._metrics = make_wsgi_app(registry)
        self._pages = pages

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
        if path != "/metrics" and path not in self._pages:
            known = ["/metrics", *self._pages]
            return _json(HTTPStatus.NOT_FOUND, {"error": "no such page", "pages": known})
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            status, headers, body = _json(HTTPStatus.METHOD_NOT_ALLOWED, {"error": "GET and HEAD only"})
            return status, [*headers, ("Allow", "GET, HEAD")], body
        if path == "/metrics":
            return self._scrape(environ)
        health = self._pages[path]()
        return _json(HTTPStatus.OK if health.ok else HTTPStatus.SERVICE_UNAVAILABLE, health.body)

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
