"""Asks the admin servers of workers, at their local sockets, in the threads of the supervisor's own."""

import json
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final

from gateway.admin import ApiAnswer, ApiRequest
from gateway.server.limits import ASK_THREADS, ASK_WORKER_S, DEVICE_API_S, MAX_WORKER_ANSWER

_PASSED_ON: Final = ("Allow", "Retry-After")


@dataclass(frozen=True, slots=True)
class Answer:
    """Of one worker.

    Attributes:
        status: HTTP's.
        body: As it came.
        headers: Those that a client is to see.
    """

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()

    def json(self) -> dict[str, Any]:
        """The body; an empty object where it is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


class Asking:
    """Any number of threads may ask at once."""

    def __init__(self, serving: Callable[[], Mapping[int, Path]]) -> None:
        """Takes who can be asked.

        Args:
            serving: Gives the local sockets of the workers that serve now, by their numbers; called in threads.
        """
        self._serving = serving
        self._threads = ThreadPoolExecutor(ASK_THREADS, "asking")

    def close(self) -> None:
        """Waits for nobody."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def all(self, path: str) -> dict[int, Answer | None]:
        """A page of every worker that serves, in the order of their numbers; None of one that does not answer."""
        workers = dict(sorted(self._serving().items()))

        def ask(local: Path) -> Answer | None:
            return _ask(local, "GET", path, timeout_s=ASK_WORKER_S)

        asked = {worker: self._threads.submit(ask, local) for worker, local in workers.items()}
        answers: dict[int, Answer | None] = {}
        for worker, future in asked.items():
            try:
                answers[worker] = future.result()
            except (ConnectionError, FileNotFoundError):
                continue  # it has just ended
            except (OSError, HTTPException):
                answers[worker] = None
        return answers

    def pass_on(self, request: ApiRequest) -> ApiAnswer:
        """An `Api`: the first worker that serves answers."""
        target = request.raw_path or request.path
        if request.query:
            target += f"?{request.query}"
        headers = {"Content-Type": request.content_type, "Origin": request.origin}
        for _, local in sorted(self._serving().items()):
            try:
                answer = _ask(
                    local,
                    request.method,
                    target,
                    body=request.body,
                    headers={name: value for name, value in headers.items() if value},
                    timeout_s=DEVICE_API_S,
                )
            except (ConnectionRefusedError, FileNotFoundError):
                continue  # it has just ended; nothing has been asked
            except (OSError, HTTPException):
                return _unavailable("the worker that was asked does not answer; perhaps it did what was asked")
            return ApiAnswer(answer.status, answer.json(), answer.headers)
        return _unavailable("no worker serves now")


class _LocalConnection(HTTPConnection):
    def __init__(self, local: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._local = local

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._local))


def _ask(
    local: Path,
    method: str,
    target: str,
    *,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    timeout_s: float,
) -> Answer:
    connection = _LocalConnection(local, timeout_s)
    try:
        connection.request(method, target, body or None, dict(headers or {}))
        response = connection.getresponse()
        kept = tuple((name, value) for name in _PASSED_ON if (value := response.getheader(name)) is not None)
        return Answer(response.status, response.read(MAX_WORKER_ANSWER), kept)
    finally:
        connection.close()


def _unavailable(text: str) -> ApiAnswer:
    return ApiAnswer(503, {"error": text}, (("Retry-After", "1"),))
