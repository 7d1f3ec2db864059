"""A whole gateway on loopback, and a device whose every byte a test decides."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from typing import Any

import aiocoap  # type: ignore[import-untyped]
from cryptography.hazmat.primitives.asymmetric import ec
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from gateway.config import Address, load_settings
from gateway.dtls import Credential, SigningKey
from gateway.handlers import App, Changed, Content, Request
from gateway.pki import CertifiedKey, create_intermediate, create_root, issue_device, issue_server, write_certified_key
from gateway.registry import AnchorPolicy, Provision, Registry, open_registry
from gateway.server import Bound, Worker
from gateway.server.watch import RegistryWatch
from gateway.simulator import DeviceIdentity, SimulatedDevice
from tests.dtls.rawclient import ALERT, DATA, Device, RawClient, Received

PSK_IDENTITY = b"dev1-identity"
PSK = bytes.fromhex("8f14e45fceea167a5a36dedd4bea2543")
ADMIT = AnchorPolicy(provision=Provision.ACTIVE)
PATIENCE_S = 20.0
"""Seconds after which a test gives up. Nothing is measured by it."""

Line = MutableMapping[str, Any]


@dataclass(frozen=True)
class Pki:
    """A factory: its root, its issuing CA, and the gateway's own certificate."""

    root: CertifiedKey
    factory: CertifiedKey
    server: CertifiedKey


@cache
def pki() -> Pki:
    root = create_root("Test Factory Root")
    factory = create_intermediate(root, "Test Factory Line 1")
    return Pki(root, factory, issue_server(factory, ["localhost", "127.0.0.1"]))


def echo_app() -> App:
    """GET /device names the device, POST /echo gives the payload back."""
    app = App()

    @app.get("/device")
    def device(request: Request) -> Content:
        return Content(f"{request.device.tenant_id}/{request.device.id}")

    @app.post("/echo")
    def echo(request: Request) -> Changed:
        return Changed(request.payload)

    return app


@dataclass
class Gateway:
    """Attributes:
    worker: Running.
    port: Its UDP port.
    admin: Its HTTP port.
    url: Of its registry, for a second connection.
    lines: Its log.
    """

    worker: Worker
    bound: Bound
    url: str
    lines: list[Line] = field(repr=False)

    @property
    def port(self) -> int:
        return self.bound.udp.port

    @property
    def watch(self) -> RegistryWatch:
        """Of the registry, while it runs."""
        found = self.worker._watch
        assert found is not None
        return found

    def psk_device(self, psk: bytes = PSK, identity: bytes = PSK_IDENTITY) -> SimulatedDevice:
        return SimulatedDevice(DeviceIdentity("psk", psk_identity=identity, psk=psk), "127.0.0.1", self.port)

    def certificate_device(self, name: str) -> SimulatedDevice:
        return SimulatedDevice(certificate_identity(name), "127.0.0.1", self.port)

    def wire(self, client: RawClient | None = None) -> "WireDevice":
        return WireDevice(self.port, client)

    def events(self, name: str) -> list[Line]:
        """The log lines of one event."""
        return [line for line in self.lines if line["event"] == name]

    async def event(self, name: str, count: int = 1) -> Line:
        """The log line of an event, as soon as there are so many; the last of them."""
        await until(lambda: len(self.events(name)) >= count)
        return self.events(name)[count - 1]

    async def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page of the admin port."""
        return await asyncio.to_thread(fetch, self.bound.admin, path)

    async def scrape(self) -> dict[str, Metric]:
        status, body = await self.get("/metrics")
        assert status == 200
        return {family.name: family for family in text_string_to_metric_families(body)}

    async def samples(self, name: str) -> Counter[tuple[str, ...]]:
        """See `samples_of`."""
        status, body = await self.get("/metrics")
        assert status == 200
        return samples_of(body, name)

    @contextmanager
    def registry(self) -> Iterator[Registry]:
        """The registry through a connection of its own, as another process has it."""
        registry = open_registry(self.url)
        try:
            yield registry
        finally:
            registry.close()


async def until(condition: Callable[[], bool]) -> None:
    """Lets the gateway work until something is so."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if condition():
                return
            await asyncio.sleep(0.005)


def samples_of(text: str, name: str) -> Counter[tuple[str, ...]]:
    """The samples of one metric that are not zero, by their label values in the order of the label names."""
    found: Counter[tuple[str, ...]] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and sample.value:
                found[tuple(value for _, value in sorted(sample.labels.items()))] += int(sample.value)
    return found


def fetch(address: Address, path: str) -> tuple[int, str]:
    connection = HTTPConnection(address.host, address.port, timeout=PATIENCE_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def certificate_identity(name: str) -> DeviceIdentity:
    return DeviceIdentity(name, credential=_credential(issue_device(pki().factory, name)))


def wire_certificate(name: str) -> Device:
    """The same for `RawClient`."""
    issued = issue_device(pki().factory, name)
    assert isinstance(issued.private_key, ec.EllipticCurvePrivateKey)
    return Device(issued.private_key, tuple(issued.presented_der))


def _credential(issued: CertifiedKey) -> Credential:
    return Credential(tuple(issued.presented_der), SigningKey(issued.private_key))


def prepare(folder: Path) -> dict[str, object]:
    """A registry with one PSK device and an auto-provisioning anchor, and the gateway's certificate.

    Returns:
        Overrides for `load_settings`.
    """
    url = f"sqlite:///{folder / 'registry.db'}"
    with open_registry(url, create=True) as registry:
        registry.add_psk_device("dev1", PSK_IDENTITY, PSK)
        root = pki().root.certificate
        registry.add_trust_anchor(pki().root.presented_der[0], root.subject.rfc4514_string(), policy=ADMIT)
    certificate, key = folder / "server.pem", folder / "server.key"
    write_certified_key(pki().server, certificate, key)
    return {
        "server.bind": "127.0.0.1:0",
        "server.shutdown_grace": "5s",
        "admin.bind": "127.0.0.1:0",
        "registry.url": url,
        "dtls.certificate": str(certificate),
        "dtls.private_key": str(key),
        "handlers.enabled": [],
    }


@asynccontextmanager
async def running(folder: Path, app: App | None = None, **overrides: object) -> AsyncIterator[Gateway]:
    """A gateway with what `prepare` made; `overrides` are settings with `__` for the dot."""
    values = prepare(folder) | {name.replace("__", "."): value for name, value in overrides.items()}
    with capture_logs() as lines:
        worker = Worker(load_settings(None, values, environ={}), app=app or echo_app())
        async with worker as bound:
            yield Gateway(worker, bound, str(values["registry.url"]), lines)


class WireDevice:
    """A device on a real socket whose records a `RawClient` makes and whose messages aiocoap encodes."""

    def __init__(self, port: int, client: RawClient | None = None, host: str = "127.0.0.1") -> None:
        self.client = client or RawClient(identity=PSK_IDENTITY, psk=PSK)
        self.udp = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.setblocking(False)
        self.udp.connect((host, port))
        self.plaintexts: list[bytes] = []
        self._message_ids = count(1)

    async def __aenter__(self) -> "WireDevice":
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.udp.close()

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.udp.getsockname()[:2]
        return host, port

    async def connect(self) -> None:
        """The whole handshake; every Finished verifies."""
        await self.reach_server_done()
        for datagram in self.client.answer_flight():
            self.send(datagram)
        while not self.client.server_finished_verified:
            await self.read()

    async def reach_server_done(self) -> None:
        self.send(self.client.hello())
        while not self.client.cookie:
            await self.read()
        self.send(self.client.hello())
        while not any(message_type == 14 for message_type, _, _ in self.client.messages):
            await self.read()

    def send(self, datagram: bytes) -> None:
        self.udp.send(datagram)

    async def datagram(self) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await asyncio.get_running_loop().sock_recv(self.udp, 65535)

    async def read(self) -> list[Received]:
        """The records of the next datagram."""
        return self.client.read([await self.datagram()])

    async def alert(self) -> tuple[int, int]:
        """Level and description of the next alert."""
        while True:
            for record in await self.read():
                if record.content_type == ALERT:
                    return record.content[0], record.content[1]

    async def plaintext(self) -> bytes:
        """The next application data."""
        while not self.plaintexts:
            self.plaintexts += [record.content for record in await self.read() if record.content_type == DATA]
        return self.plaintexts.pop(0)

    # --- CoAP ------------------------------------------------------------------------------------------------------

    def request(
        self, code: aiocoap.Code, path: str, payload: bytes = b"", *, confirmable: bool = True, mid: int | None = None
    ) -> bytes:
        """A request, encoded by aiocoap."""
        message_id = next(self._message_ids) if mid is None else mid
        message = aiocoap.Message(code=code, payload=payload, uri_path=tuple(path.strip("/").split("/")))
        return encoded(message, aiocoap.CON if confirmable else aiocoap.NON, message_id, message_id.to_bytes(2, "big"))

    async def ask(self, message: bytes) -> aiocoap.Message:
        """Sends a message and reads one, decoded by aiocoap."""
        self.send(self.client.data(message))
        return await self.message()

    async def message(self) -> aiocoap.Message:
        return aiocoap.Message.decode(await self.plaintext())


def encoded(message: aiocoap.Message, kind: aiocoap.Type, message_id: int, token: bytes = b"") -> bytes:
    message.mtype, message.mid, message.token = kind, message_id, token
    data: bytes = message.encode()
    return data


def empty(kind: aiocoap.Type, message_id: int) -> bytes:
    """An empty ACK, RST or ping."""
    return encoded(aiocoap.Message(code=aiocoap.EMPTY), kind, message_id)


def no_lines(lines: list[Line], *levels: str) -> None:
    assert [line for line in lines if line["log_level"] in levels] == []


def labels(family: Metric) -> Mapping[str, set[str]]:
    """Label name -> its values in a scrape."""
    found: dict[str, set[str]] = {}
    for sample in family.samples:
        for name, value in sample.labels.items():
            found.setdefault(name, set()).add(value)
    return found
