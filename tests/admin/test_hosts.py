"""Under which names the admin port answers: the Host of a page that had its own name lead here is none of them."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from gateway.admin import AdminServer, ApiAnswer, Guarded
from gateway.telemetry import Metrics
from tests.admin.support import Bench, running

CLOSED = ("/debug/failures", "/debug/failures?chains=1", "/devices/dev1/request", "/no-such-page")
OPEN = ("/metrics", "/livez", "/readyz")


def serving(**options: Any) -> Any:
    """Pages, an API and a guarded one, which count what reaches them."""
    return running(
        pages={"/debug/failures": lambda query: {"failures": []}},
        apis={
            "/devices/": lambda request: ApiAnswer(200, {}),
            "/guarded/": Guarded(lambda request: request, lambda request: ApiAnswer(200, {})),
        },
        **options,
    )


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:9464",
        "192.0.2.7",  # through a port mapping
        "[::1]",
        "[::1]:9464",
        "[2001:db8::7]:1",
        "[fe80::1%25eth0]:9464",
        "localhost",
        "LocalHost:9464",
        "localhost.",
        "gateway.localhost:9464",
    ],
)
def test_addresses_and_this_machine_s_own_names(host: str) -> None:
    with serving() as bench:
        for path in ("/debug/failures", "/devices/dev1/request", "/guarded/things", *OPEN):
            assert bench.ask(path, Host=host)[0].status == 200, path


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:9464",
        "localhost.evil.example",
        "evil-localhost",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "evil.example@127.0.0.1",
        "[::1].evil.example",
        "[evil.example]",
        "[]",
        "::1",
        "127.0.0.1, evil.example",
        "",
        ":9464",
        "gateway",
        "x" * 5000,
        "\xfcber.example",
    ],
)
def test_any_other_name_is_told_what_to_do(host: str) -> None:
    with serving(hosts=("other",)) as bench:
        for path in CLOSED:
            response, body = bench.ask(path, Host=host)
            assert response.status == 403, path
            assert "[admin] hosts" in json.loads(body)["error"], path
            assert len(body) < 1000
        # Scrapers and probes come by whatever name, and these pages tell of no device.
        for path in OPEN:
            assert bench.ask(path, Host=host)[0].status == 200, path


def test_names_of_the_configuration() -> None:
    with serving(hosts=("Gateway", "admin.example.com:443", "dotted.example.")) as bench:
        for host in (
            "gateway",
            "GATEWAY:9464",
            "gateway.",
            "admin.example.com",
            "Admin.Example.Com:80",
            "dotted.example",
        ):
            assert bench.ask("/debug/failures", Host=host)[0].status == 200, host
        for host in ("x.gateway", "gateway.example", "example.com"):
            assert bench.ask("/debug/failures", Host=host)[0].status == 403, host


def test_the_name_that_it_is_bound_to(monkeypatch: pytest.MonkeyPatch) -> None:
    found = socket.getaddrinfo("127.0.0.1", 0, type=socket.SOCK_STREAM)
    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", lambda host, *_, **__: {"Admin.Internal": found}[host])
        bench = Bench("Admin.Internal", pages={"/debug/failures": lambda query: {}})
    with bench.server:
        assert bench.ask("/debug/failures", Host="admin.internal:9464")[0].status == 200
        assert bench.ask("/debug/failures", Host="evil.example")[0].status == 403


def test_two_names_are_none() -> None:
    with serving() as bench, socket.create_connection(bench.server.address, timeout=10) as client:
        client.sendall(b"GET /debug/failures HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert b" 403 " in client.recv(1000)


def test_who_says_no_name_is_no_browser() -> None:
    with serving() as bench, socket.create_connection(bench.server.address, timeout=10) as client:
        client.sendall(b"GET /debug/failures HTTP/1.0\r\n\r\n")
        assert b" 200 " in client.recv(1000)


def test_a_path_in_another_spelling_is_the_same_path() -> None:
    with serving() as bench:
        for path in ("/%64ebug/failures", "/%64evices/dev1/request", "/livez/../debug/failures", "/livez%2f"):
            assert bench.ask(path, Host="evil.example")[0].status == 403, path


def test_what_asks_for_a_token_asks_for_no_name() -> None:
    # Behind a reverse proxy that passes Host on; a page that had its own name lead here has no token.
    with serving() as bench:
        assert bench.ask("/guarded/things", "POST", b"{}", Host="gateway.example.com")[0].status == 200


def test_a_body_for_another_name_is_read_before_it_is_refused() -> None:
    with serving() as bench:
        response, body = bench.ask("/devices/dev1/request", "POST", bytes(60_000), Host="evil.example")
        assert response.status == 403
        assert "'evil.example'" in json.loads(body)["error"]


def test_a_local_socket_asks_for_no_name(tmp_path: Path) -> None:
    """Who asks there has been asked already: the supervisor."""
    path = tmp_path / "admin"
    server = AdminServer(
        path,
        0,
        registry=Metrics().registry,
        loop_age_s=lambda: 0.0,
        checks={},
        pages={"/debug/failures": lambda query: {}},
    )
    with server, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(10)
        client.connect(str(path))
        client.sendall(b"GET /debug/failures HTTP/1.1\r\nHost: whoever\r\n\r\n")
        assert b" 200 " in client.recv(1000)
