"""A network and a clock that exist only here: seeded loss, duplication, reordering; no socket, no sleep."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from gateway.dtls import (
    ApplicationData,
    CertificatePresented,
    ClientConfig,
    ClientConnection,
    Event,
    HandshakeError,
    PskRequested,
    ResumptionRequested,
    ServerConfig,
    ServerEndpoint,
)

CLIENT = ("192.0.2.1", 5684)
SERVER = ("198.51.100.1", 5684)


@dataclass(frozen=True, slots=True)
class Link:
    """What the network does to each datagram, in either direction.

    Attributes:
        loss: Probability that it is lost.
        duplication: Probability that it comes twice.
        delay_s: Shortest and longest delay; where they differ, datagrams overtake each other.
        mtu: Bytes of UDP payload above which a datagram is lost; None for no bound.
    """

    loss: float = 0.0
    duplication: float = 0.0
    delay_s: tuple[float, float] = (0.01, 0.01)
    mtu: int | None = None


def seeded_bytes(seed: int) -> Callable[[int], bytes]:
    return Random(seed).randbytes


class Simulation:
    """One client and one server on a link."""

    def __init__(
        self,
        server: ServerConfig,
        client: ClientConfig,
        *,
        seed: int = 1,
        link: Link | None = None,
        keys: dict[bytes, bytes] | None = None,
        verdict: HandshakeError | None = None,
        server_verdict: HandshakeError | None = None,
        credential: bytes | None = None,
    ) -> None:
        self.now = 0.0
        self.link = link or Link()
        self.keys = keys or {}
        self.verdict = verdict
        self.server_verdict = server_verdict
        self.credential = credential
        self.random = Random(seed)
        self.server = ServerEndpoint(server, seeded_bytes(seed * 2 + 1))
        self.client = ClientConnection(client, SERVER, seeded_bytes(seed * 2), 0.0)
        self.client_events: list[Event] = []
        self.server_events: list[Event] = []
        self.sent: list[tuple[str, bytes]] = []
        self._queue: list[tuple[float, int, str, bytes]] = []
        self._count = 0
        self._flush()

    def run(self, until: Callable[["Simulation"], bool], *, limit_s: float = 600.0) -> bool:
        """Lets time pass until the condition holds; False when nothing more can happen before the limit."""
        while not until(self):
            timers = [t for t in (self.client.next_timer(), self.server.next_timer()) if t is not None]
            arrivals = [self._queue[0][0]] if self._queue else []
            times = timers + arrivals
            if not times or min(times) > limit_s:
                return False
            self.now = max(self.now, min(times))
            while self._queue and self._queue[0][0] <= self.now:
                _, _, direction, datagram = heapq.heappop(self._queue)
                self._deliver(direction, datagram)
            self.client.handle_timer(self.now)
            self.server.handle_timer(self.now)
            self._flush()
        return True

    def echo(self, data: bytes) -> None:
        """Sends one datagram of application data from the client."""
        self.client.send(data, self.now)
        self._flush()

    def _deliver(self, direction: str, datagram: bytes) -> None:
        if direction == "up":
            self.server.receive_datagram(datagram, CLIENT, self.now)
        else:
            self.client.receive_datagram(datagram, self.now)
        self._flush()

    def _flush(self) -> None:
        while (event := self.server.next_event()) is not None:
            self.server_events.append(event)
            self._answer(event)
        while (event := self.client.next_event()) is not None:
            self.client_events.append(event)
            if isinstance(event, CertificatePresented):
                self.client.certificate_verdict(self.server_verdict, self.now)
        for datagram in self.client.datagrams_to_send():
            self._transmit("up", datagram)
        for datagram, address in self.server.datagrams_to_send():
            assert address == CLIENT
            self._transmit("down", datagram)

    def _answer(self, event: Event) -> None:
        if isinstance(event, PskRequested):
            key = self.keys.get(event.identity)
            self.server.provide_psk(event.handshake, key, self.now, credential=self.credential)
        elif isinstance(event, ResumptionRequested):
            self.server.resumption_verdict(event.handshake, event.credential == self.credential, self.now)
        elif isinstance(event, CertificatePresented):
            self.server.certificate_verdict(event.handshake, self.verdict, self.now)
        elif isinstance(event, ApplicationData):
            self.server.send(event.association, b"echo " + event.data, self.now)

    def _transmit(self, direction: str, datagram: bytes) -> None:
        self.sent.append((direction, datagram))
        copies = 2 if self.random.random() < self.link.duplication else 1
        for _ in range(copies):
            if self.random.random() < self.link.loss:
                continue
            if self.link.mtu is not None and len(datagram) > self.link.mtu:
                continue
            self._count += 1
            arrives_at = self.now + self.random.uniform(*self.link.delay_s)
            heapq.heappush(self._queue, (arrives_at, self._count, direction, datagram))
