"""The HTTP server of the admin port: a daemon thread that accepts, and a bounded number of threads that answer.

It lives beside the event loop and not in it, so that `/livez` can still tell that the loop is stuck.
"""

import errno
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import BufferedIOBase, BufferedReader, RawIOBase
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from time import monotonic
from types import TracebackType
from typing import Any, ClassVar, Final, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry

from gateway.admin.api import Api, Guarded
from gateway.admin.application import RAW_PATH, Application
from gateway.admin.connections import Connections
from gateway.admin.health import Check, Health, liveness, readiness
from gateway.admin.hosts import Hosts
from gateway.admin.limits import BACKLOG, HEARTBEAT_LIMIT_S, IO_TIMEOUT_S, MAX_CONNECTIONS
from gateway.telemetry import get_logger

_BUSY: Final = b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
_LOCAL: Final = ("local", 0)
_POLL_S: Final = 0.1


class AdminError(Exception):
    """The admin port cannot be opened; `str()` is one line with what to do."""


class AdminServer:
    """Serves `/metrics`, `/livez` and `/readyz`.

    The socket is open once the constructor returns; `start` begins to answer. A context manager does both and stops.
    """

    def __init__(
        self,
        host: str | Path,
        port: int,
        *,
        registry: CollectorRegistry,
        loop_age_s: Callable[[], float],
        checks: Mapping[str, Check],
        pages: Mapping[str, Callable[[Mapping[str, str]], dict[str, Any] | Health]] | None = None,
        apis: Mapping[str, Api | Guarded] | None = None,
        hosts: Sequence[str] = (),
        heartbeat_limit_s: float = HEARTBEAT_LIMIT_S,
        io_timeout_s: float = IO_TIMEOUT_S,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        """Open the port.

        Args:
            host: Host name, IPv4 or IPv6 address (without brackets); a path for a local socket, in a folder that only
                those can enter who may ask.
            port: TCP port; 0 lets the system choose, `address` tells which. No meaning for a local socket.
            registry: Rendered at `/metrics`.
            loop_age_s: Seconds since the event loop's last heartbeat.
            checks: Name -> check of `/readyz`. Read at every request, so the mapping may change. Checks run in
                threads of this server.
            pages: Path -> what computes the JSON object that it shows from the query's parameters, in a thread of this
                server. One of the paths above is answered by it, in the place of what the other arguments say.
            apis: Beginning of paths, with a slash at its end -> who answers them, in a thread of this server.
            hosts: Names that what asks for no token answers to, but for the three pages above, beside IP addresses,
                localhost and `host`, each with or without a port. A local socket answers to any.
            heartbeat_limit_s: A loop that is silent for longer is not alive.
            io_timeout_s: Seconds that a client may take to send its request, and again for each write of the answer.
            max_connections: Connections served at once. A further one takes the place of one that keeps its thread
                waiting, or is told to come back.

        Raises:
            AdminError: The address cannot be bound.
        """
        application = Application(
            registry,
            {
                "/livez": lambda _: liveness(loop_age_s(), heartbeat_limit_s),
                "/readyz": lambda _: readiness(dict(checks)),
                **{path: partial(_page, compute) for path, compute in (pages or {}).items()},
            },
            apis or {},
            None if isinstance(host, Path) else Hosts([host, *hosts]),
        )
        try:
            self._http = _HttpServer(*_resolve(host, port), io_timeout_s, max_connections)
        except OSError as error:
            raise AdminError(_explain(host, port, error)) from None
        self._http.set_app(application)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(_POLL_S,), name="admin", daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that are really bound; path and 0 of a local socket."""
        name = self._http.socket.getsockname()
        return (name, 0) if isinstance(name, str) else name[:2]

    @property
    def url(self) -> str:
        """Where a browser finds it, without a path."""
        host, port = self.address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def start(self) -> None:
        """Begin to answer, in a daemon thread."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port. Answers under way go on in their threads; calling it again does nothing."""
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
        self._http.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _HttpServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    # Stopping must not wait for a client that reads slowly.
    block_on_close = False
    request_queue_size = BACKLOG

    def __init__(self, family: int, address: Any, io_timeout_s: float, max_connections: int) -> None:
        self.address_family = family
        self.connections = Connections(max_connections)
        # `timeout` is a class attribute in the standard library, so each server has its own class.
        super().__init__(address, type("_TimedRequestHandler", (_RequestHandler,), {"timeout": io_timeout_s}))

    def server_bind(self) -> None:
        # Not HTTPServer's: that one asks the DNS for our own name, which can hang a start for half a minute.
        TCPServer.server_bind(self)
        name = self.socket.getsockname()
        self.server_name, self.server_port = "gateway", 0 if isinstance(name, str) else name[1]
        self.setup_environ()

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        return connection, address or _LOCAL  # who calls at a local socket has no address

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self.connections.enter(request):
            request.setblocking(False)
            request.send(_BUSY)
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            # No thread could be started.
            self.connections.leave(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.connections.leave(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that goes away or dawdles. The standard library prints a traceback to stderr here: of no use, and
        # somebody may wait for the place of this thread.
        error = sys.exc_info()[1]
        get_logger("gateway.admin").debug("admin.connection_failed", error=f"{type(error).__name__}: {error}")


class _Request(RawIOBase):
    """What a client sends, until its time is up; then the socket has its whole time-out again, for the answer."""

    def __init__(self, connection: socket.socket, connections: Connections, limit_s: float) -> None:
        self._connection = connection
        self._connections = connections
        self._limit_s = limit_s
        self._end = monotonic() + limit_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._end - monotonic()
        if left <= 0:
            raise TimeoutError("the request took too long")
        self._connection.settimeout(left)
        try:
            with self._connections.waiting(self._connection):
                return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(self._limit_s)


class _Answer(BufferedIOBase):
    """What a client gets; the time-out holds for each write."""

    def __init__(self, connection: socket.socket, connections: Connections) -> None:
        self._connection = connection
        self._connections = connections

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        with self._connections.waiting(self._connection, answering=True):
            self._connection.sendall(data)
        return len(data)


class _RequestHandler(WSGIRequestHandler):
    timeout: ClassVar[float] = IO_TIMEOUT_S
    server: "_HttpServer"

    def setup(self) -> None:
        super().setup()
        # The standard library's time-out holds for each read: who sends a byte now and then would keep its thread.
        self.rfile.close()
        self.rfile = BufferedReader(_Request(self.connection, self.server.connections, self.timeout))
        self.wfile = _Answer(self.connection, self.server.connections)

    def get_environ(self) -> Any:
        self.server.connections.asked(self.connection)
        return {**super().get_environ(), RAW_PATH: self.path.partition("?")[0]}

    def log_message(self, format: str, *args: Any) -> None:
        get_logger("gateway.admin").debug("admin.request_completed", request=format % args)


def _page(compute: Callable[[Mapping[str, str]], dict[str, Any] | Health], query: Mapping[str, str]) -> Health:
    shown = compute(query)
    return shown if isinstance(shown, Health) else Health(True, shown)


def _resolve(host: str | Path, port: int) -> tuple[int, Any]:
    """The kind of socket, and the address to bind it to."""
    if isinstance(host, Path):
        return socket.AF_UNIX, str(host)
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return family, address


def _explain(host: str | Path, port: int, error: OSError) -> str:
    if isinstance(host, Path):
        return f"local socket {host} cannot be opened: {error.strerror or error}: give another folder with TMPDIR"
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return (
            f"admin port {where} is in use, perhaps by another gateway: "
            "stop that one, or choose another with [admin] bind or GATEWAY_ADMIN__BIND"
        )
    return f"admin port {where} cannot be opened: {error.strerror}: check [admin] bind"
