"""A throw-away gateway: `gateway serve` in a process of its own, on free ports, with everything in one folder."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from gateway.config import Address
from gateway.identity import trust_ca
from gateway.pki import issue_device, write_certified_key, write_development_pki
from gateway.registry import ImportRow, open_registry
from gateway.simulator.bench.devices import CertificateFleet, PskFleet
from gateway.simulator.bench.errors import BenchError
from gateway.simulator.bench.limits import CERTIFICATES, START_S, STOP_S
from gateway.simulator.bench.usage import ProcessTree

PATH: Final = "bench/telemetry"
"""Where devices post to on a throw-away gateway: a handler that does nothing and answers 2.04."""

_NAME: Final = "bench-{n}"
_BATCH: Final = 1000
_PROGRAM: Final = "from gateway.cli import main; main()"
_APP: Final = """\
from gateway.handlers import App, Changed, Request

app = App()


@app.post("/bench/{stream}")
def take(request: Request, stream: str) -> Changed:
    return Changed()
"""


class ThrowAwayGateway:
    """A gateway that knows so many devices.

    Attributes:
        devices: How many with pre-shared keys it knows.
        psk: Those devices.
        certificates: Its devices with certificates, a chain of three with the root.
        address: Where it listens, once it was started; the same after another start.
        admin: Where its metrics are, from the newest start on.
        usage: What it takes of the machine.
    """

    def __init__(self, folder: Path, devices: int, workers: int = 1) -> None:
        """Makes registry, certificates and configuration.

        Args:
            folder: Empty.
            devices: With pre-shared keys.
            workers: Processes that serve.
        """
        self._folder = folder
        self._workers = workers
        self.devices = devices
        self._process: subprocess.Popen[bytes] | None = None
        self.psk = PskFleet(_NAME, os.urandom(16))
        self.certificates = _prepare(folder, self.psk, devices)
        self.address = self.admin = Address("127.0.0.1", 0)
        self.usage = ProcessTree(-1)

    def __enter__(self) -> "ThrowAwayGateway":
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None

    def start(self) -> None:
        """Starts it, and waits until it serves.

        Raises:
            BenchError: It does not; the text has the end of its log.
        """
        (self._folder / "gateway.toml").write_text(self.configuration())
        log = self._folder / "gateway.log"
        seen = log.stat().st_size if log.exists() else 0
        environ = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603  this very program
                [sys.executable, "-c", _PROGRAM, "serve", "--config", "gateway.toml"],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environ,
            )
        self.address, self.admin = self._wait_for_start(log, seen)
        self.usage = ProcessTree(self._process.pid)

    def configuration(self) -> str:
        """What the configuration file says, for the address that it has or is to get."""
        # A certificate's devices are fewer than the handshakes that are under way with many processes.
        return f"""\
[server]
bind = "{self.address}"
workers = {self._workers}
[admin]
bind = "127.0.0.1:0"
[registry]
url = "sqlite:///registry.db"
[dtls]
certificate = "certs/server.pem"
private_key = "certs/server.key"
max_sessions_per_device = 0
[handlers]
enabled = []
app = "gateway_bench_app:app"
[log]
format = "json"
"""

    def kill(self) -> None:
        """Ends it as a power cut does: no device hears of it."""
        if self._process is not None:
            self.usage.kill()
            self._process.kill()
            self._process.wait()
            self._process = None

    def _wait_for_start(self, log: Path, seen: int) -> tuple[Address, Address]:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            text = log.read_bytes()[seen:]
            for line in text.splitlines(keepends=True):
                if line.endswith(b"\n") and b'"server.started"' in line:
                    started = json.loads(line)
                    return Address.parse(started["udp"]), Address.parse(started["admin"])
            if self._process is None or self._process.poll() is not None:
                break
            time.sleep(0.05)
        said = log.read_bytes()[seen:].decode(errors="replace").strip().splitlines()
        raise BenchError("the throw-away gateway did not start: " + (said[-1] if said else "it said nothing"))


def _prepare(folder: Path, psk: PskFleet, devices: int) -> CertificateFleet:
    pki = write_development_pki(folder / "certs")
    files = []
    for number in range(1, CERTIFICATES + 1):
        name = f"bench-certificate-{number}"
        files.append((folder / f"{name}.pem", folder / f"{name}.key"))
        write_certified_key(issue_device(pki.intermediate, name), *files[-1])
    with open_registry(f"sqlite:///{folder / 'registry.db'}", create=True) as registry:
        for first in range(0, devices, _BATCH):
            names = [psk.template.replace("{n}", str(n + 1)) for n in range(first, min(first + _BATCH, devices))]
            rows = [ImportRow(0, name, "default", name.encode(), psk.key) for name in names]
            registry.import_devices(rows, allow_shared_keys=True)
        trust_ca(registry, [pki.root.certificate, pki.intermediate.certificate], policy={"provision": "active"})
    (folder / "gateway_bench_app.py").write_text(_APP)
    return CertificateFleet(files)
