"""One question to a web server and its answer, within one time for all of it: name, connection, TLS, every byte.

A time-out of a socket holds for each read, so that whoever sends a byte now and then keeps its reader for ever. Here
each read and write has what is left. No redirect is followed: the URL is the operator's word, and where it leads to
that of whoever answers there, who could have the gateway ask for what only it can reach. No proxy is taken from the
environment.
"""

import socket
import ssl
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from io import BufferedReader, RawIOBase
from threading import BoundedSemaphore, Thread
from time import monotonic
from typing import Any, Final, TypeVar
from urllib.parse import SplitResult, urlsplit

from gateway.identity.limits import MAX_RESOLVING

T = TypeVar("T")
_PIECE: Final = 65_536
_SHOWN_LOCATION: Final = 200
_PORTS: Final = {"http": 80, "https": 443}
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
# Of the process, as its threads are.
_resolving: Final = BoundedSemaphore(MAX_RESOLVING)


class WebError(Exception):
    """There is no answer that could be used; `str()` says why, and what to do where that is not plain."""


@dataclass(frozen=True, slots=True)
class WebAnswer:
    """What a server said.

    Attributes:
        status: Of HTTP, and no redirect.
        body: Of a 2xx; of others it is not read.
    """

    status: int
    body: bytes


def ask_web(url: str, *, limit_s: float, max_bytes: int, json: bytes | None = None) -> WebAnswer:
    """Asks once. Waits; called outside the event loop.

    Args:
        url: http or https.
        limit_s: Seconds for everything.
        max_bytes: How long a body may be that is read; with 0 none is.
        json: Posted; without it GET.

    Raises:
        WebError: No answer, not in time, too long, none of HTTP, or a redirect.
    """
    until = monotonic() + limit_s
    try:
        parts = _split(url)
        with _connect(parts, until, limit_s) as line:
            return _exchange(parts, _Timed(line, until), max_bytes, json)
    except TimeoutError as error:
        # The kernel's own has a number: nobody at that address.
        problem = str(error) if error.errno is not None else f"it took longer than {limit_s:g} seconds"
        raise WebError(problem) from error
    except (OSError, HTTPException, ValueError) as error:
        raise WebError(str(error) or type(error).__name__) from error


def in_background(work: Callable[[], T], name: str) -> Future[T]:
    """Runs in a thread that nobody has to wait for: not who wants the result, and not the end of the process."""
    future: Future[T] = Future()

    def run() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, name=name, daemon=True).start()
    return future


def _split(url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise WebError(f"{url} is no URL of http or https")
    if parts.username is not None or parts.password is not None:
        raise WebError("a URL with a name or a password is not asked: give one that needs neither")
    return parts


def _connect(parts: SplitResult, until: float, limit_s: float) -> socket.socket:
    host = parts.hostname or ""
    addresses = _resolve(host, parts.port or _PORTS[parts.scheme], until, limit_s)
    line = _reach(addresses, until)
    try:
        if parts.scheme == "https":
            line = ssl.create_default_context().wrap_socket(line, server_hostname=host, do_handshake_on_connect=False)
            line.settimeout(_left(until))
            line.do_handshake()  # OpenSSL's wrapper keeps to this time for all of it
    except BaseException:
        line.close()
        raise
    return line


def _resolve(host: str, port: int, until: float, limit_s: float) -> list[tuple[Any, ...]]:
    """The resolver knows no time but its own, which may be minutes."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass  # a name

    def look_up() -> list[tuple[Any, ...]]:
        try:
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        finally:
            _resolving.release()

    late = WebError(f"{host} was not resolved within {limit_s:g} seconds: see the name servers of this machine")
    if not _resolving.acquire(timeout=_left(until)):
        raise late
    try:
        found = in_background(look_up, "resolve")
    except BaseException:
        # No thread could be started.
        _resolving.release()
        raise
    try:
        return found.result(_left(until))
    except TimeoutError:
        raise late from None


def _reach(addresses: list[tuple[Any, ...]], until: float) -> socket.socket:
    """The first address that answers. Each has its share of the time: one that is dead leaves some to the next."""
    problem = OSError("it has no address")
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        try:
            line = socket.socket(family, kind, protocol)
        except OSError as error:  # such as IPv6 where there is none
            problem = error
            continue
        try:
            line.settimeout(_left(until) / (len(addresses) - number))
            line.connect(address)
        except OSError as error:
            line.close()
            problem = error
        else:
            return line
    raise problem


def _exchange(parts: SplitResult, line: "_Timed", max_bytes: int, json: bytes | None) -> WebAnswer:
    connection = HTTPConnection(parts.hostname or "", parts.port or _PORTS[parts.scheme])
    connection.default_port = _PORTS[parts.scheme]  # which the Host header leaves out
    connection.sock = line
    headers = {"User-Agent": "dtls-gateway", "Connection": "close"}
    if json is not None:
        headers["Content-Type"] = "application/json"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection.request("GET" if json is None else "POST", target, json, headers)
    response = connection.getresponse()
    if response.status in _REDIRECTS:
        where = (response.headers["Location"] or "")[:_SHOWN_LOCATION]
        raise WebError(
            f"it redirects to {where!r} (HTTP {response.status}), which is not followed: give the final URL, if that "
            "is a good one"
        )
    body = _body(response, max_bytes) if max_bytes and 200 <= response.status < 300 else b""
    return WebAnswer(response.status, body)


def _body(response: HTTPResponse, max_bytes: int) -> bytes:
    pieces = bytearray()
    # read1, as read takes a chunk of a negative length for all that comes.
    while piece := response.read1(_PIECE):
        pieces += piece
        if len(pieces) > max_bytes:
            raise WebError(f"what is there has more than {max_bytes} bytes")
    if response.length:
        raise WebError(f"it ended {response.length} bytes early")
    return bytes(pieces)


def _left(until: float) -> float:
    left = until - monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _Timed:
    """As much of a socket as `http.client` asks of one, until the time is up."""

    def __init__(self, line: socket.socket, until: float) -> None:
        self._line = line
        self._until = until

    def sendall(self, data: bytes) -> None:
        # Of a TLS socket, sendall has the whole time-out for each piece.
        rest = memoryview(data)
        while rest:
            self._line.settimeout(_left(self._until))
            rest = rest[self._line.send(rest) :]

    def makefile(self, mode: str) -> BufferedReader:
        return BufferedReader(_Received(self._line, self._until))

    def close(self) -> None:
        """Whoever opened the socket closes it: a response is read after its connection was closed."""


class _Received(RawIOBase):
    def __init__(self, line: socket.socket, until: float) -> None:
        self._line = line
        self._until = until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._line.settimeout(_left(self._until))
        return self._line.recv_into(buffer)
