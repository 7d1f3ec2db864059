"""`gateway demo`: what arrives, and the lines that it prints, pasted into a shell while it runs."""

import os
import re
import shlex
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.cli.support import GATEWAY, environment
from tests.interop.peers import program

PATIENCE_S = 60.0
"""Seconds after which a test gives up. Nothing is measured by it."""

ANY_PORTS = ("--port", "0", "--metrics-port", "0")
PING, RESET = b"\x40\x00\x5a\x5a", b"\x70\x00\x5a\x5a"
"""A CoAP ping and its answer (RFC 7252 section 4.3)."""


class Demo:
    """A running demo, read line by line.

    Attributes:
        folder: Where its temporary folder lies.
        seen: What it has written so far, as it was read.
    """

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder = folder
        self.seen = ""
        self._process = subprocess.Popen(
            [GATEWAY, "demo", *ANY_PORTS, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**environment(), "TMPDIR": str(folder)},
        )
        self._watchdog = threading.Timer(PATIENCE_S, self._process.kill)
        self._watchdog.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._watchdog.cancel()
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    @property
    def commands(self) -> list[str]:
        """The lines to paste, continued ones as one."""
        return re.findall(r"^  ((?:[^\n]*\\\n)*[^\n]+)$", self.seen, re.MULTILINE)

    def command(self, *words: str) -> str:
        """The one with these words; without its program, the test is skipped, or fails under REQUIRE_PEERS=1."""
        [found] = [command for command in self.commands if all(word in command for word in words)]
        program(shlex.split(found)[0])
        return found

    def until(self, pattern: str) -> str:
        """Reads on to the first line that has it."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.seen += line
            if re.search(pattern, line):
                return line
        raise AssertionError(f"no {pattern!r} in\n{self.seen}")

    def signal(self, number: signal.Signals) -> int:
        self._process.send_signal(number)
        return self.finish()

    def finish(self) -> int:
        assert self._process.stdout is not None
        self.seen += self._process.stdout.read()
        return self._process.wait()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with Demo(tmp_path_factory.mktemp("demo")) as running:
        running.until("^Stop with Ctrl-C")
        yield running


def paste(command: str, stdin: bytes | None = None) -> bytes:
    """What the line prints in a shell."""
    done = subprocess.run(
        ["sh", "-c", command], input=stdin or b"", capture_output=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done
    return done.stdout


def ping(command: str) -> bytes:
    """What a line prints that stays until it is stopped, and carries what it is given: the answer to a CoAP ping."""
    words = shlex.split(command.replace("\\\n", ""))
    process = subprocess.Popen(words, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    watchdog = threading.Timer(PATIENCE_S, process.kill)
    watchdog.start()
    try:
        process.stdin.write(PING)
        printed = b""
        while not printed.endswith(RESET) and (part := process.stdout.read(4096)):
            printed += part
        return printed
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


def test_for_some_seconds(tmp_path: Path) -> None:
    with Demo(tmp_path, "--duration", "3") as demo:
        assert demo.finish() == 0
    arrived = re.findall(r"^\d\d:\d\d:\d\d  (\S+) +(\S+(?: key)?) +(\S+) = ([\d.]+)$", demo.seen, re.MULTILINE)
    assert {arrival[:3] for arrival in arrived} == {
        ("demo-psk", "pre-shared key", "temperature"),
        ("demo-cert", "certificate", "humidity"),
    }
    assert "Traceback" not in demo.seen
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["^Stop with Ctrl-C", "^$"], ids=["running", "starting"])
def test_a_signal_ends_it_and_leaves_nothing_behind(tmp_path: Path, number: signal.Signals, moment: str) -> None:
    with Demo(tmp_path) as demo:
        demo.until(moment)
        assert len(list(tmp_path.iterdir())) == 1
        assert demo.signal(number) == 0
        assert "Traceback" not in demo.seen
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_was_asked_for_and_is_taken(demo: Demo, tmp_path: Path) -> None:
    [port] = re.findall(r"listens on 127\.0\.0\.1:(\d+)", demo.seen)
    done = subprocess.run(
        [GATEWAY, "demo", *ANY_PORTS, "--port", port],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done
    assert f"127.0.0.1:{port}" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_every_line_to_paste_is_tested_here(demo: Demo) -> None:
    programs = sorted(shlex.split(command)[0] for command in demo.commands)
    assert programs == ["coap-client-openssl"] * 4 + ["openssl"] * 2


def test_metrics(demo: Demo) -> None:
    demo.until("humidity|temperature")
    [url] = re.findall(r"metrics are at (http\S+)", demo.seen)
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert b"gateway_dtls_handshakes_total" in answer.read()


@pytest.mark.interop
@pytest.mark.parametrize("how", [" -k ", "guest.pem"])
def test_paste_coap_client_get(demo: Demo, how: str) -> None:
    printed = paste(demo.command("coap-client", "-m get", how)).decode()
    assert datetime.fromisoformat(printed.strip()).utcoffset() is not None


@pytest.mark.interop
@pytest.mark.parametrize(
    ("how", "arrives"),
    [
        (" -k ", r"demo-psk +pre-shared key +outside = 23\.5$"),
        ("guest.pem", r"demo-guest +certificate +cellar = 47\.1$"),
    ],
)
def test_paste_coap_client_post(demo: Demo, how: str, arrives: str) -> None:
    assert paste(demo.command("coap-client", "-m post", how)) == b""
    demo.until(arrives)


@pytest.mark.interop
def test_paste_openssl_with_a_key(demo: Demo) -> None:
    assert ping(demo.command("openssl s_client", "-psk ")) == RESET


@pytest.mark.interop
def test_paste_openssl_with_a_certificate(demo: Demo) -> None:
    printed = paste(demo.command("openssl s_client", "guest.pem")).decode()
    assert "ECDHE-ECDSA-AES128-GCM-SHA256" in printed
    assert "Verify return code: 0 (ok)" in printed
