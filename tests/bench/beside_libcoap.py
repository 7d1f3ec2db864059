"""Measures the gateway beside libcoap's server, in turn, with the same load generator on the same machine.

    python -m tests.bench.beside_libcoap --load ./coapload [--rounds 5] [--seconds 4] [--json FILE]

The load generator is a C program on OpenSSL: many devices, closed loop, one thread; it reads the server's CPU time. On
a shared machine only the ratio to the peer of the same run means something: the two take turns, the median counts.
The peer is `coap-server-openssl` (Debian: libcoap3-bin). Everything happens on loopback, in a temporary folder.
"""

import argparse
import contextlib
import json
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.identity import trust_ca
from gateway.pki import DevelopmentPki, issue_device, write_certified_key, write_development_pki
from gateway.registry import open_registry

KEY = "secretPSKsecretP"
DEVICES = 20_000
_TRIES = 8


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its process id and the ports for the two kinds of device."""

    name: str
    folder: Path
    pids: dict[str, int]
    ports: dict[str, int]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load", required=True, type=Path, help="the load generator's binary")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--sessions", type=int, default=5000, help="idle sessions of the gateway (libcoap gets 500)")
    parser.add_argument("--json", type=Path, help="where to write every round's raw result")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as name:
        folder = Path(name)
        pki = prepare(folder)
        with gateway(folder) as ours, libcoap(folder, pki) as theirs:
            for number in range(options.rounds):
                for server in (ours, theirs):
                    for what, arguments in workloads(server.name).items():
                        result = measure(options.load, server, what, arguments, options.seconds)
                        rows.append({**result, "round": number, "server": server.name, "what": what})
                        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
        for factory, sessions in ((gateway, options.sessions), (libcoap_alone, 500)):
            with factory(folder) as server:
                result = measure(options.load, server, "idle", ["-mode", "idle", "-hs", "8", "-n", str(sessions)], 1.0)
                rows.append({**result, "round": 0, "server": server.name, "what": "idle"})
    if options.json is not None:
        options.json.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(table(rows))
    return 0


def prepare(folder: Path) -> DevelopmentPki:
    """Registry, certificates and a configuration."""
    pki = write_development_pki(folder / "certs")
    device = issue_device(pki.intermediate, "bench")
    write_certified_key(device, folder / "device.pem", folder / "device.key")
    with open_registry(f"sqlite:///{folder / 'registry.db'}", create=True) as registry:
        for number in range(DEVICES):
            registry.add_psk_device(f"dev{number:05d}", b"dev%05d" % number, KEY.encode())
        ca = [pki.root.certificate, pki.intermediate.certificate]
        trust_ca(registry, ca, policy={"provision": "active"})
    (folder / "benchapp.py").write_text(
        "from gateway.handlers import App, Changed, Request\n"
        "app = App()\n"
        "@app.post('/sink/{stream}')\n"
        "def sink(request: Request, stream: str) -> Changed:\n"
        "    return Changed()\n"
    )
    (folder / "gateway.toml").write_text(
        # The load generator is one device many times when it has a certificate.
        '[dtls]\ncertificate = "certs/server.pem"\nprivate_key = "certs/server.key"\nmax_sessions_per_device = 0\n'
        '[registry]\nurl = "sqlite:///registry.db"\n[admin]\nbind = "127.0.0.1:0"\n'
        '[handlers]\nenabled = ["time", "echo"]\napp = "benchapp:app"\n'
    )
    return pki


def workloads(server: str) -> dict[str, list[str]]:
    """What is measured: the load generator's arguments by name. libcoap's example server has nothing to post to."""
    handshake = ["-mode", "hs", "-n", "16", "-hs", "8", "-path", "time"]
    post = ["-mode", "req", "-n", "50", "-hs", "8", "-path", "sink/x", "-post", "-payload", "32"]
    return {
        "request": ["-mode", "req", "-n", "50", "-hs", "8", "-path", "time"],
        **({"post": post} if server == "gateway" else {}),
        "psk handshake": handshake,
        "resumed handshake": [*handshake, "-resume"],
        "certificate handshake": handshake,
    }


def measure(load: Path, server: Server, what: str, arguments: list[str], seconds: float) -> dict[str, Any]:
    """One run of the load generator; its last line."""
    kind = "certificate" if what == "certificate handshake" else "psk"
    base = server.folder
    credentials = ["-id", "dev%05d", "-psk", KEY]
    if kind == "certificate":
        # Its trust store holds the intermediate too: libcoap's server sends its own certificate alone.
        credentials = [
            "-cert",
            f"{base}/device.pem",
            "-key",
            f"{base}/device.key",
            "-ca",
            f"{base}/certs/ca-bundle.pem",
        ]
    command = [str(load), "-p", str(server.ports[kind]), "-pid", str(server.pids[kind]), *credentials, *arguments]
    for _ in range(_TRIES):
        # The generator sometimes stops before its first request, with every handshake done, or before its first
        # handshake, whichever server it talks to: such a run says nothing and is repeated.
        with contextlib.suppress(subprocess.TimeoutExpired):
            run = subprocess.run(
                [*command, "-t", str(seconds)], capture_output=True, text=True, timeout=20 + 2 * seconds, check=False
            )
            lines = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
            if not lines:
                raise SystemExit(f"{server.name}, {what}: the load generator said nothing: {run.stderr[:500]}")
            result: dict[str, Any] = lines[-1]
            if what == "idle" or result["n"]:
                return result
        print(f"{server.name}, {what}: the load generator hung, once more", file=sys.stderr)
    raise SystemExit(f"{server.name}, {what}: the load generator hung {_TRIES} times")


@contextlib.contextmanager
def gateway(folder: Path, workers: int = 1) -> Iterator[Server]:
    """`gateway serve` as a process of its own, or as several: the load generator adds those that a process started."""
    port = free_pair()
    command = [
        str(Path(sys.executable).with_name("gateway")),
        "serve",
        "--config",
        "gateway.toml",
        "--bind",
        f"127.0.0.1:{port}",
        "--workers",
        str(workers),
    ]
    with (folder / "gateway.log").open("ab") as log, process(command, folder, log) as pid:
        yield Server(
            "gateway", folder, dict.fromkeys(("psk", "certificate"), pid), dict.fromkeys(("psk", "certificate"), port)
        )


@contextlib.contextmanager
def libcoap(folder: Path, pki: DevelopmentPki) -> Iterator[Server]:
    """Two of libcoap's servers; each listens for DTLS on the port after the one it is given."""
    psk, certificate = free_pair(), free_pair()
    tls = ["-c", str(pki.server_certificate), "-j", str(pki.server_key), "-C", str(pki.root_certificate), "-n"]
    base = ["coap-server-openssl", "-A", "127.0.0.1", "-v", "3", "-p"]
    with (
        process([*base, str(psk), "-k", KEY, "-h", "hint"], folder) as one,
        process([*base, str(certificate), *tls], folder) as two,
    ):
        yield Server(
            "libcoap", folder, {"psk": one, "certificate": two}, {"psk": psk + 1, "certificate": certificate + 1}
        )


@contextlib.contextmanager
def libcoap_alone(folder: Path) -> Iterator[Server]:
    """libcoap's server for pre-shared keys, freshly started."""
    port = free_pair()
    command = ["coap-server-openssl", "-A", "127.0.0.1", "-v", "3", "-p", str(port), "-k", KEY, "-h", "hint"]
    with process(command, folder) as pid:
        yield Server("libcoap", folder, {"psk": pid}, {"psk": port + 1})


@contextlib.contextmanager
def process(command: list[str], folder: Path, log: Any = subprocess.DEVNULL) -> Iterator[int]:
    started = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    time.sleep(2.0)  # a server of somebody else says nothing when it is ready
    if started.poll() is not None:
        raise SystemExit(f"{command[0]} ended at once with status {started.returncode}")
    try:
        yield started.pid
    finally:
        started.send_signal(signal.SIGTERM)
        started.wait(30)


def free_pair() -> int:
    """A port below those that the kernel gives to clients, such that the next one is free too."""
    while True:
        port = random.randrange(20_000, 30_000, 2)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for each in (port, port + 1):
                udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                udp.bind(("127.0.0.1", each))
            return port


def table(rows: list[dict[str, Any]]) -> str:
    """Medians over the rounds, and the ratio to the peer."""
    lines = ["| operation | gateway, us | libcoap, us | ratio |", "|---|---|---|---|"]
    for what in ("request", "post", "psk handshake", "resumed handshake", "certificate handshake"):
        ours, theirs = (median(rows, name, what) for name in ("gateway", "libcoap"))
        peer = median(rows, "libcoap", "request") if what == "post" else theirs
        shown = "" if what == "post" else f"{theirs:.0f}"
        lines.append(f"| {what} | {ours:.1f} | {shown} | {ours / peer:.2f} |")
    ours, theirs = (
        next(row["bytes_per_session"] for row in rows if row["what"] == "idle" and row["server"] == name)
        for name in ("gateway", "libcoap")
    )
    lines.append(f"| memory of an idle session, bytes | {ours:.0f} | {theirs:.0f} | {ours / theirs:.2f} |")
    return "\n".join(lines)


def median(rows: list[dict[str, Any]], server: str, what: str) -> float:
    values = [row["server_cpu_us"] for row in rows if (row["server"], row["what"]) == (server, what)]
    return statistics.median(values) if values else float("nan")


if __name__ == "__main__":
    sys.exit(main())
