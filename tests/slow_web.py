"""A web server that is slow on purpose, byte by byte: no single read of its client waits for long."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

PAUSE_S = 0.02
"""Seconds between two pieces: far shorter than any time-out of a client, so that none for one read ever holds."""
PATIENCE_S = 15.0
"""Seconds after which it hangs up, so that a client without a time of its own fails its test, and does not hang."""


@dataclass
class SlowWeb:
    """Attributes:
    port: Where it is, at 127.0.0.1.
    asked: Somebody came.
    left: Somebody went, before it hung up.
    """

    port: int
    asked: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)

    def url(self, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}/slow"


@contextmanager
def slow_web(beginning: bytes, piece: bytes = b"a") -> Iterator[SlowWeb]:
    """Sends everybody a beginning at once, and then a piece again and again until it is stopped."""
    stopped = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65_536)
                connection.sendall(beginning)
                for _ in range(round(PATIENCE_S / PAUSE_S)):
                    if stopped.wait(PAUSE_S):
                        return
                    connection.sendall(piece)
            except OSError:
                web.left.set()

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            web.asked.set()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        web = SlowWeb(listener.getsockname()[1])
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield web
        finally:
            stopped.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
