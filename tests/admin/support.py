"""A running admin server, and the standard library's HTTP client as the foreign side."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

from gateway.admin import AdminServer, Check
from gateway.telemetry import Heartbeat, Metrics


class Bench:
    """A running admin server with everything that it asks."""

    def __init__(self, host: str | Path = "127.0.0.1", **options: Any) -> None:
        self.now = 0.0
        self.heartbeat = Heartbeat(lambda: self.now)
        self.checks: dict[str, Check] = {}
        self.metrics = Metrics()
        self.server = AdminServer(
            host,
            0,
            registry=self.metrics.registry,
            loop_age_s=self.heartbeat.age_s,
            checks=self.checks,
            heartbeat_limit_s=10.0,
            **options,
        )

    def ask(
        self, path: str, method: str = "GET", content: bytes | None = None, **headers: str
    ) -> tuple[HTTPResponse, bytes]:
        host, port = self.server.address
        connection = HTTPConnection(host, port, timeout=10)
        try:
            connection.request(method, path, content, headers)
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def json(self, path: str) -> tuple[int, Any]:
        response, body = self.ask(path)
        assert response.getheader("Content-Type") == "application/json"
        return response.status, json.loads(body)


@contextmanager
def running(**options: Any) -> Iterator[Bench]:
    bench = Bench(**options)
    with bench.server:
        yield bench
