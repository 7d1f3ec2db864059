"""TLS tools that carry what is piped to them: CoAP requests go in, responses come out, one at a time."""

import os
import select
import subprocess
import tempfile
from types import TracebackType
from typing import NoReturn, Self

import aiocoap  # type: ignore[import-untyped]
from aiocoap.numbers.types import Type  # type: ignore[import-untyped]

_ANSWER_S = 20.0
_EXIT_S = 20.0
_MAX_DATAGRAM = 65536
_TOKEN = b"\x5a\x01"


class Piped:
    """A running tool."""

    def __init__(self, command: list[str]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - open for as long as this is
        self._process = subprocess.Popen(
            command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
        )
        self._requests = 0

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

    def request(self, code: aiocoap.Code, path: str, payload: bytes = b"") -> aiocoap.Message:
        """Sends a confirmable request; returns the response on its acknowledgement."""
        self._requests += 1
        segments = path.strip("/").split("/")
        request = aiocoap.Message(
            code=code, uri_path=segments, payload=payload, _mid=self._requests, _mtype=Type.CON, _token=_TOKEN
        )
        self._write(request.encode())
        answer = self._read()
        # The tools hand a record on in pieces, and without an end. A ping marks it: its answer is four known bytes.
        ping = (0x8000 | self._requests).to_bytes(2, "big")
        self._write(b"\x40\x00" + ping)
        reset = b"\x70\x00" + ping
        while not answer.endswith(reset):
            answer += self._read()
        response = aiocoap.Message.decode(answer.removesuffix(reset))
        assert (response.mtype, response.mid, response.token) == (Type.ACK, self._requests, _TOKEN)
        return response

    def finish(self) -> int:
        """Ends its input, whereupon it says goodbye and exits. Returns the exit status."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self.wait()

    def wait(self) -> int:
        """Returns its exit status when it has exited."""
        return self._process.wait(_EXIT_S)

    def kill(self) -> None:
        """Ends it without a word to the server."""
        self._process.kill()
        self._process.wait()

    def diagnosis(self) -> str:
        """What it has written to standard error."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def _write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
        except BrokenPipeError:
            self._give_up("it ended before the request")

    def _read(self) -> bytes:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], _ANSWER_S)
        data = os.read(self._process.stdout.fileno(), _MAX_DATAGRAM) if ready else b""
        return data or self._give_up("it ended before the response" if ready else "no response")

    def _give_up(self, what: str) -> NoReturn:
        raise AssertionError(f"{what}; it says:\n{self.diagnosis()}")
