"""Asking a web server: whatever it does, there is an end."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gateway.identity import WebAnswer, WebError, ask_web
from gateway.identity import web as web_module
from tests.slow_web import slow_web

LONG_S = 30.0
"""Seconds that no test needs."""


@contextmanager
def saying(answer: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that says the same to each that comes, and hangs up; and what it was asked."""
    asked: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                asked.append(connection.recv(65_536))
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    ("beginning", "piece"),
    [
        pytest.param(b"", b"", id="nothing"),
        pytest.param(b"HTTP/1.1 200 ", b"O", id="status"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: ", b"a", id="header"),
        pytest.param(b"HTTP/1.1 200 OK\r\n", b"X: a\r\n", id="headers"),
        pytest.param(b"", b"HTTP/1.1 100 Continue\r\n\r\n", id="continue"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", b"a", id="body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a", id="chunk line"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n", id="chunks"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: a\r\n", id="trailers"),
    ],
)
def test_an_answer_that_dribbles_has_one_time_for_all_of_it(beginning: bytes, piece: bytes) -> None:
    with slow_web(beginning, piece) as web:
        with pytest.raises(WebError, match=r"^it took longer than 0\.4 seconds$"):
            ask_web(web.url(), limit_s=0.4, max_bytes=1_000_000)
        assert web.asked.is_set()
        assert not piece or web.left.wait(LONG_S)


def test_a_tls_handshake_that_dribbles_has_the_same_time() -> None:
    # A handshake record of 16 kB, of which the rest comes byte by byte.
    with slow_web(b"\x16\x03\x03\x3f\xff\x02\x00\x3f\xfb") as web:
        with pytest.raises(WebError, match=r"^it took longer than 0\.4 seconds$"):
            ask_web(web.url("https"), limit_s=0.4, max_bytes=1000)
        assert web.left.wait(LONG_S)


def test_a_request_that_nobody_takes_has_the_same_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(WebError, match=r"^it took longer than 0\.4 seconds$"):
            ask_web(url, limit_s=0.4, max_bytes=0, json=bytes(64 * 1024 * 1024))


@pytest.fixture
def silent_resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Semaphore]:
    """A resolver that gives no answer to a name before the test is over; counts who asks it."""
    over, asked = threading.Event(), threading.Semaphore(0)
    real = socket.getaddrinfo

    def resolve(host: str, port: int, **more: Any) -> Any:
        if more.get("flags", 0) & socket.AI_NUMERICHOST:
            return real(host, port, **more)
        asked.release()
        over.wait(LONG_S)
        raise socket.gaierror(socket.EAI_AGAIN, "over")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(web_module, "_resolving", threading.BoundedSemaphore(2))
    yield asked
    over.set()


def test_a_name_server_that_is_silent_has_the_same_time(silent_resolver: threading.Semaphore) -> None:
    for _ in range(3):  # one more than there are threads for
        with pytest.raises(WebError, match=r"^ca\.example was not resolved within 0\.2 seconds: see the name servers"):
            ask_web("http://ca.example/a.crl", limit_s=0.2, max_bytes=1000)
    assert silent_resolver.acquire(timeout=0)
    assert silent_resolver.acquire(timeout=0)
    assert not silent_resolver.acquire(timeout=0)
    with saying(b"HTTP/1.0 200 OK\r\n\r\nabc") as (url, _):  # an address needs no name server
        assert ask_web(url, limit_s=LONG_S, max_bytes=1000).body == b"abc"


def test_an_address_that_is_dead_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with an IPv6 address where IPv6 leads nowhere is usual."""
    with (
        saying(b"HTTP/1.0 200 OK\r\n\r\nabc") as (url, _),
        socket.create_server(("127.0.0.2", 0), backlog=0) as full,
        # Its queue is full now: the kernel answers nobody else.
        socket.create_connection(full.getsockname()),
    ):
        addresses = (full.getsockname(), ("127.0.0.1", int(url.rpartition(":")[2])))
        found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address) for address in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        assert ask_web(url, limit_s=2.0, max_bytes=1000).body == b"abc"


def test_what_is_asked() -> None:
    with saying(b"HTTP/1.1 201 Created\r\nContent-Length: 3\r\n\r\nabc") as (url, asked):
        assert ask_web(url, limit_s=LONG_S, max_bytes=3) == WebAnswer(201, b"abc")
        assert ask_web(f"{url}/a/b?c=d#e", limit_s=LONG_S, max_bytes=0, json=b"{}") == WebAnswer(201, b"")
    host = url.removeprefix("http://").encode()
    get, post = (each.split(b"\r\n") for each in asked)
    assert get[0] == b"GET / HTTP/1.1"
    assert b"Host: " + host in get
    assert post[0] == b"POST /a/b?c=d HTTP/1.1"
    assert b"Content-Type: application/json" in post


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(status: int) -> None:
    with saying(b"HTTP/1.0 200 OK\r\n\r\nsecret") as (inner, asked):
        answer = f"HTTP/1.0 {status} Moved\r\nLocation: {inner}/\x1b[2J{'a' * 999}\r\n\r\n".encode()
        with saying(answer) as (outer, _), pytest.raises(WebError) as refused:
            ask_web(outer, limit_s=LONG_S, max_bytes=1000)
    assert asked == []
    said = str(refused.value)
    assert f"it redirects to '{inner}/" in said
    assert "give the final URL" in said
    assert said.isprintable()
    assert len(said) < 400


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "SSH-2.0"),
        (b"", "closed connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", "2 bytes early"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", "IncompleteRead"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno\r\nabc", "IncompleteRead"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n" + bytes(10_000), "more than 1000"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 200 + b"\r\n", "headers"),
    ],
)
def test_what_is_no_answer(answer: bytes, problem: str) -> None:
    with saying(answer) as (url, _), pytest.raises(WebError, match=problem):
        ask_web(url, limit_s=LONG_S, max_bytes=1000)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "http://",
        "http://127.0.0.1:port/",
        "http://127.0.0.1:99999/",
        "http://[::1/",
        "http://name:word@127.0.0.1/",
        "http://" + "a" * 70 + ".example/",
    ],
)
def test_what_is_no_url_is_not_asked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_module, "_reach", lambda *_: pytest.fail("somebody was asked"))
    with pytest.raises(WebError):
        ask_web(url, limit_s=LONG_S, max_bytes=1000)
