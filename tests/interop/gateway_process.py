"""The gateway as operators run it: a process, its configuration file, its log and its metrics."""

import json
import signal
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from prometheus_client.parser import text_string_to_metric_families

from gateway.config import render_template
from gateway.pki import DevelopmentPki, write_development_pki
from gateway.registry import AnchorPolicy, Provision, open_registry
from tests.pki.factory import DAY, Made, aki, make
from tests.process_log import Line, start_logged

REPOSITORY = Path(__file__).parents[2]
START_S = 30.0
STOP_S = 20.0

IDENTITY = "dev1"
KEY = b"secretPSKsecretP"
"""ASCII, because `coap-client` takes nothing else."""

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass(frozen=True, slots=True)
class Site:
    """A folder that a gateway runs on.

    Attributes:
        folder: Where everything lies.
        config: The configuration file.
        pki: Whose root is trusted, and creates devices at their first handshake.
        telemetry: Where telemetry events go.
    """

    folder: Path
    config: Path
    pki: DevelopmentPki = field(repr=False)
    telemetry: Path


def build_site(folder: Path, settings: Mapping[str, object] | None = None) -> Site:
    """Makes a registry with one PSK device, a PKI whose root is trusted with auto-provisioning, and the configuration.

    Args:
        folder: Where to.
        settings: Settings that differ, by dotted name.
    """
    pki = write_development_pki(folder / "pki")
    with open_registry(f"sqlite:///{folder}/registry.db", create=True) as registry:
        registry.add_psk_device(IDENTITY, IDENTITY.encode(), KEY)
        root = pki.root.certificate.public_bytes(Encoding.DER)
        registry.add_trust_anchor(root, "root", policy=AnchorPolicy(provision=Provision.ACTIVE))
    telemetry = folder / "telemetry.jsonl"
    config = folder / "gateway.toml"
    own: dict[str, object] = {
        "server.bind": "127.0.0.1:0",
        "server.workers": 1,
        "admin.bind": "127.0.0.1:0",
        "registry.url": "sqlite:///registry.db",
        "dtls.certificate": "pki/server.pem",
        "dtls.private_key": "pki/server.key",
        # Every client of these tests is the same device, and several are there at once.
        "dtls.max_sessions_per_device": 0,
        "log.format": "json",
    }
    text = render_template({**own, **(settings or {})})
    _write_rsa_certificate(pki, folder / "pki")
    text = text.replace("\n[registry]", _RSA_CERTIFICATE + "\n[registry]")
    config.write_text(f"{text}\n[handlers.telemetry]\npath = {json.dumps(telemetry.name)}\n")
    return Site(folder, config, pki, telemetry)


_RSA_CERTIFICATE = """
[[dtls.certificates]]
certificate = "pki/rsa.pem"
private_key = "pki/rsa.key"
"""


def _write_rsa_certificate(pki: DevelopmentPki, folder: Path) -> None:
    """A second certificate of the server: of the same CA, with an RSA key, for localhost and for rsa.example."""
    now, issuing = datetime.now(UTC), pki.intermediate
    issuer = Made(issuing.certificate, issuing.private_key)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.DNSName("rsa.example")])
    key = rsa.generate_private_key(65537, 2048)
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    made = make(
        "rsa", issuer, aki(issuer), (names, False), (usage, False), key=key, begin=now - DAY, end=now + 30 * DAY
    )
    chain = (made.certificate, *issuing.presented)
    (folder / "rsa.pem").write_bytes(b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain))
    (folder / "rsa.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


class Gateway:
    """A running gateway.

    Attributes:
        site: What it runs on.
        log: What it writes.
        process: The process.
        port: Its UDP port on 127.0.0.1.
        admin_port: Its HTTP port.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        words = (Path(sys.executable).with_name("gateway"), "serve", "--config", site.config)
        self.process, self.log = start_logged(words, site.folder / "gateway.log", cwd=site.folder)
        try:
            started = self.log.wait("server.started", within_s=START_S)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        self.port = _port(started["udp"])
        self.admin_port = _port(started["admin"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> int:
        """SIGTERM to this one process; returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()

    def get(self, path: str) -> str:
        """The body that the admin port gives."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}{path}", timeout=10) as response:
            body: bytes = response.read()
        return body.decode()

    def samples(self) -> Samples:
        """Every sample of /metrics."""
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.get("/metrics"))
            for sample in family.samples
        }

    def telemetry_event(self, stream: str, within_s: float = 10.0) -> Line:
        """The newest telemetry event of a stream; the gateway writes them a moment after it has answered."""
        path, deadline = self.site.telemetry, time.monotonic() + within_s
        while True:
            lines = path.read_text().splitlines(keepends=True) if path.exists() else []
            events: list[Line] = [json.loads(line) for line in lines if line.endswith("\n")]
            of_stream = [event for event in events if event["stream"] == stream]
            if of_stream:
                return of_stream[-1]
            assert time.monotonic() < deadline, f"no telemetry of {stream} in {path}"
            time.sleep(0.02)


def total(samples: Samples, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    wanted = set(labels.items())
    return sum(value for (found, pairs), value in samples.items() if found == name and wanted <= pairs)


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
