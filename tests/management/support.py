"""A gateway's management API over real sockets, and registries whose time stands still."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from gateway.admin import MANAGEMENT_PREFIX, AdminServer, ManagementApi, TokenFile, add_token
from gateway.management import Remote
from gateway.registry import Registry
from gateway.registry.sqlite_database import connect
from gateway.telemetry import Heartbeat, Metrics

NOW = 1_800_000_000.0


def registry_at(path: Path, *, actor: str = "cli:tester") -> Registry:
    """A registry file, made if need be."""
    return Registry(connect(path, create=True), actor=actor, clock=lambda: NOW)


class Served:
    """A running admin port.

    Attributes:
        registry: The file that it works on.
        file: Its tokens.
        token: The one of `ops`.
        now: Its monotonic time; moved by tests.
        opened: How many registry handles it has opened.
    """

    def __init__(self, folder: Path) -> None:
        self.registry = folder / "served.db"
        registry_at(self.registry).close()
        self.file = folder / "admin.tokens"
        self.token = add_token(self.file, "ops")
        self.now = 0.0
        self.opened = 0
        self.api = ManagementApi(TokenFile(self.file), self._open, clock=lambda: NOW, monotonic=lambda: self.now)
        self.server = AdminServer(
            "127.0.0.1",
            0,
            registry=Metrics().registry,
            loop_age_s=Heartbeat().age_s,
            checks={},
            apis={MANAGEMENT_PREFIX: self.api.guarded},
        )

    def _open(self) -> Registry:
        self.opened += 1
        return registry_at(self.registry, actor="nobody")

    @property
    def url(self) -> str:
        return self.server.url

    def remote(self) -> Remote:
        return Remote(self.url, self.token)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | dict[str, Any] | None = None,
        *,
        token: str | None = "",
        **headers: str,
    ) -> "Answered":
        """One request, as any HTTP client makes it; with the token unless said otherwise."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent.setdefault("Authorization", f"Bearer {token or self.token}")
        if isinstance(body, dict):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        connection = HTTPConnection(*self.server.address, timeout=10)
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            return Answered(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()


class Answered:
    """What came back."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def refused(self, status: int, code: str) -> str:
        """The detail of a problem (RFC 9457)."""
        assert self.status == status, (self.status, self.body)
        assert self.headers["Content-Type"] == "application/problem+json"
        assert (self.json["status"], self.json["code"]) == (status, code)
        assert self.json["title"]
        return str(self.json.get("detail", ""))


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    served = Served(folder)
    with served.server:
        try:
            yield served
        finally:
            served.api.close()
