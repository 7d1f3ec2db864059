"""Clients that are told line by line what to do: programs of `clients`, each around one foreign DTLS library.

They know nothing of CoAP. A line on standard input is a command, a line on standard output its answer:

    connect        a handshake                                            -> connected ...
    exchange HEX   sends it as application data, and waits for a record   -> data HEX
    again          a device that rebooted: a new handshake from the same port, without goodbye  -> connected ...
    move           goes on from another port (a NAT that forgot)          -> moved
    resume         says goodbye, and comes back with its session          -> connected ...

At the end of its input a client says goodbye and exits with status 0. What follows `connected` is `name=value` pairs.
"""

import os
import select
import subprocess
import tempfile
from collections.abc import Sequence
from types import TracebackType
from typing import NoReturn, Self

import aiocoap  # type: ignore[import-untyped]
from aiocoap.numbers.types import Type  # type: ignore[import-untyped]

_ANSWER_S = 10.0
_EXIT_S = 20.0
_TOKEN = b"\x5a\x02"

Facts = dict[str, str]
"""What a client says of a session, by name."""


class Driven:
    """A running client."""

    def __init__(self, command: Sequence[str]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - open for as long as this is
        self._process = subprocess.Popen(
            command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
        )
        self._requests = 0
        self._said = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                stream.close()

    def connect(self) -> Facts:
        return self._connected("connect")

    def again(self) -> Facts:
        """A new handshake from the same port; the server has not been told of the end of the old session."""
        return self._connected("again")

    def resume(self) -> Facts:
        """Closes, and makes a handshake that offers the session of before."""
        return self._connected("resume")

    def move(self) -> None:
        """Goes on from another port."""
        assert self.command("move") == "moved"

    def request(self, code: aiocoap.Code, path: str, payload: bytes = b"") -> aiocoap.Message:
        """Sends a confirmable request; returns the response on its acknowledgement."""
        self._requests += 1
        segments = path.strip("/").split("/")
        request = aiocoap.Message(
            code=code, uri_path=segments, payload=payload, _mid=self._requests, _mtype=Type.CON, _token=_TOKEN
        )
        kind, _, data = self.command(f"exchange {request.encode().hex()}").partition(" ")
        assert kind == "data"
        response = aiocoap.Message.decode(bytes.fromhex(data))
        assert (response.mtype, response.mid, response.token) == (Type.ACK, self._requests, _TOKEN)
        return response

    def command(self, line: str) -> str:
        """Sends a command; returns the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{line}\n".encode())
        except BrokenPipeError:
            self._give_up("it ended before the command")
        while b"\n" not in self._said:
            ready, _, _ = select.select([self._process.stdout], [], [], _ANSWER_S)
            data = os.read(self._process.stdout.fileno(), 65536) if ready else b""
            self._said += data or self._give_up("it ended before the answer" if ready else f"no answer to {line!r}")
        answer, _, self._said = self._said.partition(b"\n")
        return answer.decode()

    def finish(self) -> int:
        """Ends its input, whereupon it says goodbye and exits. Returns the exit status."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait(_EXIT_S)

    def _connected(self, command: str) -> Facts:
        kind, *pairs = self.command(command).split()
        assert kind == "connected"
        return dict(pair.split("=", 1) for pair in pairs)

    def _give_up(self, what: str) -> NoReturn:
        self._errors.seek(0)
        raise AssertionError(f"{what}; it says:\n{self._errors.read().decode(errors='replace')}")
