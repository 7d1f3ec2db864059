"""Runs the command lines of a page, in their order, as somebody would who pastes them.

`gateway serve` runs beside the others, on ports that the system chooses; the ports in the lines are replaced by them.
A block that begins by activating the environment is a new terminal, which starts in the page's folder.
A command that is to fail says so in a comment at its end: `# exit status 1`.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.docs.pages import ROOT, blocks
from tests.interop import peers
from tests.interop.gateway_process import START_S, STOP_S
from tests.process_log import Line, Log, start_logged

PATIENCE_S = 60.0
_ACTIVATE = ". .venv/bin/activate"
_STATUS = re.compile(r"(.*?)\s+# exit status (\d+)")
_URL = re.compile(r"coaps://(127\.0\.0\.1|localhost)(?=[/\s]|$)")


@dataclass(frozen=True, slots=True)
class Command:
    """One command line.

    Attributes:
        page: Where it stands.
        line: Its line in the page.
        text: Itself, continued lines joined.
        new_terminal: Whether it is the first one of a block that begins in a new terminal.
    """

    page: Path
    line: int
    text: str
    new_terminal: bool = False

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def commands(page: Path) -> list[Command]:
    """The command lines of a page's `sh` blocks."""
    found: list[Command] = []
    for block in blocks(page, "sh"):
        text, begun = "", block.line
        for number, line in enumerate(block.text.splitlines(), block.line):
            begun = begun if text else number
            text += line.removesuffix("\\").rstrip() + " " if line.endswith("\\") else line
            if text.strip() and not line.endswith("\\"):
                found.append(Command(page, begun, text.strip(), text.strip() == _ACTIVATE))
                text = ""
        assert not text, f"{page.name}:{begun}: a continued line without an end"
    return found


class Terminal:
    """Everything that the commands of one page share: a folder, and at most one running gateway.

    Attributes:
        printed: What each of `gateway explain` and `gateway simulate` printed.
    """

    def __init__(self, folder: Path, *, site: bool) -> None:
        """Begins in an empty folder.

        Args:
            folder: Empty.
            site: Whether to make what the README makes first: a site with the PSK device `dev1`.
        """
        self._start = self._folder = folder
        self._gateway: subprocess.Popen[bytes] | None = None
        self._log: Log | None = None
        self._ports = {"udp": 0, "admin": 0}
        self._results: dict[Command, BaseException | None] = {}
        self.printed: dict[Command, str] = {}
        self._site = site
        if site:
            self._shell("gateway init .")
            self._shell(
                "printf 'secretPSKsecretP' | gateway device add dev1 --psk-identity dev1 --psk-stdin --psk-text"
            )

    def result(self, wanted: Command) -> None:
        """Runs all commands of the page up to this one that have not run; raises what this one ended with."""
        for command in commands(wanted.page):
            if command not in self._results:
                self._results[command] = None
                try:
                    self._run(command)
                except (Exception, pytest.skip.Exception, pytest.fail.Exception) as outcome:
                    self._results[command] = outcome
            if command == wanted:
                break
        ended = self._results[wanted]
        if ended is not None:
            raise ended

    def stop(self) -> list[Line]:
        """Stops the gateway; gives all that it printed."""
        assert self._log is not None
        self.close()
        return self._log.lines()

    def close(self) -> None:
        if self._gateway is None or self._log is None:
            return
        self._gateway.send_signal(signal.SIGTERM)
        try:
            assert self._gateway.wait(STOP_S) == 0, self._log.path.read_text()[-4000:]
        finally:
            if self._gateway.poll() is None:
                self._gateway.kill()
                self._gateway.wait()
            self._gateway = None

    def _run(self, command: Command) -> None:
        text = command.text
        if command.new_terminal:
            assert "VENV := .venv\n" in (ROOT / "Makefile").read_text()
            self._folder = self._start
        elif text.startswith("cd "):
            self._folder = self._folder / text.removeprefix("cd ")
            assert self._folder.is_dir()
        elif text.startswith("make "):
            self._check_targets(text.split()[1:])
        elif text.startswith("gateway serve") and "--check" not in text:
            self._serve(text)
        elif text.startswith("curl "):
            self._fetch(text)
        elif text.startswith("coap-client"):
            self._ask(text)
        elif text.startswith(("gateway explain", "gateway simulate")):
            self._need_gateway()
            place = {"explain": "--server http://127.0.0.1:{admin}", "simulate": "--target 127.0.0.1:{udp}"}
            fails = _STATUS.fullmatch(text)
            line, status = (fails[1], int(fails[2])) if fails else (text, 0)
            where = place[text.split()[1]].format(**self._ports)
            self.printed[command] = self._shell(f"{line} {where}", status)
        elif text.startswith("gateway bench"):
            if "--target" in text:
                self._need_gateway()
            self._shell(text.replace(":5684", f":{self._ports['udp']}"))
        elif "openssl s_client" in text:
            peers.program("openssl")
            self._need_gateway()
            output = self._shell(text.replace(":5684", f":{self._ports['udp']}"))
            assert ("Reused" in output) == ("-sess_in" in text)
        elif re.search(r"(^|[ |])(gateway|openssl) |^\(umask 077; |^cat ", text):
            self._shell(text)
        else:
            raise AssertionError(f"{command}: nobody knows how to test {text!r}")

    def _check_targets(self, targets: list[str]) -> None:
        recipes = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        assert targets
        assert set(targets) <= recipes

    def _serve(self, text: str) -> None:
        self.close()
        words = ("sh", "-c", f"exec {text}")
        path = self._start / "gateway.log"
        self._gateway, self._log = start_logged(words, path, cwd=self._folder, env=_environment())
        started = self._log.wait("server.started", within_s=START_S)
        self._ports = {name: int(started[name].rpartition(":")[2]) for name in self._ports}

    def _fetch(self, text: str) -> None:
        self._need_gateway()
        url = re.fullmatch(r"curl -s http://127\.0\.0\.1:9464(/\w+)", text)
        assert url is not None, f"write `curl -s http://127.0.0.1:9464/PAGE`, not {text!r}"
        if shutil.which("curl"):
            line = text.replace("-s", "-sf").replace(":9464", f":{self._ports['admin']}")
            assert self._shell(line).strip()
        else:
            assert self._page(url[1]).strip()

    def _ask(self, text: str) -> None:
        """A foreign client: the gateway must have answered it with a success, so it had a session."""
        peers.program(text.split()[0])
        self._need_gateway()
        line, urls = _URL.subn(rf"coaps://\1:{self._ports['udp']}", text)
        assert urls == 1, f"write coaps://127.0.0.1/PATH or coaps://localhost/PATH, not {text!r}"
        before = self._successes()
        output = self._shell(line)
        assert "WARN" not in output
        assert "ERR" not in output
        assert self._successes() == before + 1, output

    def _successes(self) -> float:
        return sum(
            sample.value
            for family in text_string_to_metric_families(self._page("/metrics"))
            for sample in family.samples
            if sample.name == "gateway_coap_requests_total" and sample.labels["code"].startswith("2.")
        )

    def _page(self, path: str) -> str:
        url = f"http://127.0.0.1:{self._ports['admin']}{path}"
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as response:
            body: bytes = response.read()
        return body.decode()

    def _need_gateway(self) -> None:
        if self._gateway is None:
            assert self._site, "this command needs a gateway, and no line above it starts one"
            self._serve("gateway serve")

    def _shell(self, text: str, status: int = 0) -> str:
        done = subprocess.run(
            ["sh", "-c", text],
            cwd=self._folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        output = done.stdout + done.stderr
        assert done.returncode == status, f"{text}: exit status {done.returncode}\n{output}"
        return output


def _environment() -> dict[str, str]:
    """This process's, without settings of a gateway but those that keep it from the well-known ports."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    return environment | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', os.defpath)}",
        "GATEWAY_SERVER__BIND": "127.0.0.1:0",
        "GATEWAY_SERVER__WORKERS": "1",
        "GATEWAY_ADMIN__BIND": "127.0.0.1:0",
        "GATEWAY_LOG__FORMAT": "json",
    }
