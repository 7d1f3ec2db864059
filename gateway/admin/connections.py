"""Who has a thread of the admin server, and who has to go when there are none left.

Whoever connects and says nothing would keep its thread for as long as a request may take. Enough of them, and no probe
is answered: an orchestrator starts a gateway again then that is well. So the oldest of those that keep a thread waiting
makes room for whoever comes.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from gateway.admin.limits import YIELD_S


class Connections:
    """May be used from several threads."""

    def __init__(self, most: int) -> None:
        """Takes how many there may be at once."""
        self._places = threading.BoundedSemaphore(most)
        self._lock = threading.Lock()
        self._came = 0
        # In the order in which they came; who was hung up on is not among them.
        self._numbers: dict[socket.socket, int] = {}
        # Whom a thread waits for, and who goes first: who has not asked before who does not take its answer, then the
        # oldest. Nobody whose answer is being made.
        self._waited_for: dict[socket.socket, tuple[bool, int]] = {}

    def enter(self, connection: socket.socket) -> bool:
        """Takes a place, if need be that of another; False if there is none to be had."""
        if not self._places.acquire(blocking=False) and not (self._hang_up() and self._places.acquire(timeout=YIELD_S)):
            return False
        with self._lock:
            self._came += 1
            self._numbers[connection] = self._came
            self._waited_for[connection] = (False, self._came)
        return True

    def leave(self, connection: socket.socket) -> None:
        """Gives the place back."""
        with self._lock:
            self._numbers.pop(connection, None)
            self._waited_for.pop(connection, None)
        self._places.release()

    def asked(self, connection: socket.socket) -> None:
        """Its request is there, but for a body: it is no longer waited for.

        Raises:
            ConnectionAbortedError: It had to go. What has come may not be all of it.
        """
        with self._lock:
            self._number(connection)
            self._waited_for.pop(connection, None)

    @contextmanager
    def waiting(self, connection: socket.socket, *, answering: bool = False) -> Iterator[None]:
        """While a thread waits for a client to send something, or to take its answer.

        Raises:
            ConnectionAbortedError: It had to go.
        """
        with self._lock:
            before = self._waited_for.get(connection)
            self._waited_for[connection] = (answering, self._number(connection))
        try:
            yield
        finally:
            with self._lock:
                self._number(connection)
                if before is None:
                    del self._waited_for[connection]
                else:
                    self._waited_for[connection] = before

    def _number(self, connection: socket.socket) -> int:
        try:
            return self._numbers[connection]
        except KeyError:
            raise ConnectionAbortedError("made room for another") from None

    def _hang_up(self) -> bool:
        """Ends the wait for the oldest; its thread gives the place back."""
        with self._lock:
            if not self._waited_for:
                return False
            oldest = min(self._waited_for, key=self._waited_for.__getitem__)
            del self._waited_for[oldest], self._numbers[oldest]
            # Under the lock, so that its thread has not closed it yet.
            with suppress(OSError):
                oldest.shutdown(socket.SHUT_RDWR)
        return True
