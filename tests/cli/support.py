"""The command as a function, and as the program that users start."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from typer.testing import CliRunner

from gateway.cli import app
from tests.process_log import start_logged

GATEWAY = str(Path(sys.executable).with_name("gateway"))
STOP_S = 30.0
"""Seconds after which a test gives up. Nothing is measured by it."""
_numbers = itertools.count(1)
"""Of the processes of `Running`: each writes to a file of its own."""


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)

    def refused(self, status: int) -> str:
        """The one line that says why."""
        assert self.status == status, self
        assert re.fullmatch(r"gateway: [^\n]+\n", self.stderr), self
        assert self.stdout == "", self
        return self.stderr


def run(*words: str, stdin: bytes = b"") -> Done:
    """Runs the command in this process; what it raises beyond its exit status fails the test."""
    result = CliRunner().invoke(app, list(words), input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


def ok(*words: str, stdin: bytes = b"") -> Done:
    done = run(*words, stdin=stdin)
    assert done.status == 0, done
    return done


def execute(*words: str | bytes, stdin: bytes | None = b"", environ: Mapping[str, str] | None = None) -> Done:
    """Starts the installed command and waits for its end."""
    done = subprocess.run(
        [GATEWAY, *words],
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
        env={**environment(), **(environ or {})},
    )
    return Done(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def environment() -> dict[str, str]:
    """As a user has it: output into a pipe is buffered there."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


class Running:
    """The installed command while it runs.

    Attributes:
        process: The process.
        log: What it writes to standard output, standard error among it.
    """

    def __init__(self, folder: Path, *words: str, environ: Mapping[str, str] | None = None) -> None:
        self.process, self.log = start_logged(
            (GATEWAY, *words),
            folder / f"{words[0]}-{next(_numbers)}.log",
            env={**environment(), **(environ or {})},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def signal(self, number: signal.Signals) -> int:
        """Sends a signal to this one process; returns its exit status."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        return self.process.wait(STOP_S)


class Serving(Running):
    """`gateway serve` on free ports, once it serves; one process, unless the words say how many.

    Attributes:
        site: The folder that it runs on.
        port: Its UDP port on 127.0.0.1.
        admin: Address and port of its metrics.
    """

    def __init__(self, site: Path, *words: str) -> None:
        self.site = site
        environ = {"GATEWAY_SERVER__BIND": "127.0.0.1:0", "GATEWAY_ADMIN__BIND": "127.0.0.1:0"}
        if "--workers" not in words:
            environ["GATEWAY_SERVER__WORKERS"] = "1"
        super().__init__(site, "serve", "--config", str(site / "gateway.toml"), *words, environ=environ)
        try:
            started = self.log.wait("server.started", within_s=STOP_S)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.port = int(str(started["udp"]).rpartition(":")[2])
        self.admin = str(started["admin"])

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"
