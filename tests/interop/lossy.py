"""A network path that loses, repeats and delays datagrams, both ways, by a seeded plan."""

import contextlib
import heapq
import random
import selectors
import socket
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_MAX_DATAGRAM = 65536
_CHANGE_CIPHER_SPEC, _HANDSHAKE, _APPLICATION_DATA, _CONNECTION_ID_RECORD = 20, 22, 23, 25


@dataclass(slots=True)
class Flow:
    """One client's way through.

    Attributes:
        upstream: The socket that stands for the client before the gateway.
        client: The client's address.
        plan: What happens to its datagrams.
        lost: Datagrams lost so far, of either direction.
        in_a_row: Those since one last came back to the client.
    """

    upstream: socket.socket
    client: tuple[str, int]
    plan: random.Random
    lost: int = 0
    in_a_row: int = 0


class LossyPath:
    """Between clients, which talk to `port` on 127.0.0.1, and a server.

    Each client has a plan of its own, by the seed and its address, whoever else is there. One address is one client.
    """

    def __init__(self, server_port: int, *, seed: int, loss: float, repeated: float, delayed: float) -> None:
        """Opens the path.

        Args:
            server_port: The gateway's, on 127.0.0.1.
            seed: Of the plans.
            loss: Probability that a datagram is lost.
            repeated: Probability that it comes twice.
            delayed: Probability that it comes 50-300 ms late, and so after later ones.
        """
        self._server = ("127.0.0.1", server_port)
        self._seed = seed
        self._odds = loss, repeated, delayed
        self._selector = selectors.DefaultSelector()
        self._downstream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._downstream.bind(("127.0.0.1", 0))
        self._selector.register(self._downstream, selectors.EVENT_READ, None)
        self.port: int = self._downstream.getsockname()[1]
        self.flows: dict[str, Flow] = {}
        self._due: list[tuple[float, int, Flow, bool, bytes]] = []
        self._count = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        self._selector.close()
        self._downstream.close()
        for flow in self.flows.values():
            flow.upstream.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            wait = 0.1 if not self._due else min(0.1, max(0.0, self._due[0][0] - time.monotonic()))
            for key, _ in self._selector.select(wait):
                if key.data is None:
                    data, client = self._downstream.recvfrom(_MAX_DATAGRAM)
                    self._take(self._flow(client), up=True, data=data)
                else:
                    self._take(key.data, up=False, data=key.data.upstream.recv(_MAX_DATAGRAM))
            while self._due and self._due[0][0] <= time.monotonic():
                _, _, flow, up, data = heapq.heappop(self._due)
                self._send(flow, up, data)

    def _flow(self, client: tuple[str, int]) -> Flow:
        flow = self.flows.get(client[0])
        if flow is None or flow.client != client:
            upstream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            upstream.connect(self._server)
            flow = self.flows[client[0]] = Flow(upstream, client, random.Random(f"{self._seed} {client[0]}"))
            self._selector.register(upstream, selectors.EVENT_READ, flow)
        return flow

    def _take(self, flow: Flow, *, up: bool, data: bytes) -> None:
        loss, repeated, delayed = self._odds
        if flow.plan.random() < loss:
            flow.lost += 1
            return
        for _ in range(2 if flow.plan.random() < repeated else 1):
            delay = flow.plan.uniform(0.05, 0.3) if flow.plan.random() < delayed else 0.0
            self._count += 1
            heapq.heappush(self._due, (time.monotonic() + delay, self._count, flow, up, data))

    def _send(self, flow: Flow, up: bool, data: bytes) -> None:
        with contextlib.suppress(OSError):  # the client has gone
            if up:
                flow.upstream.send(data)
            else:
                self._downstream.sendto(data, flow.client)


class LosesData(LossyPath):
    """A path that loses some of the records of application data, and nothing of the handshake.

    It loses three in a row and no more: five attempts without an answer end a request (RFC 7252 section 4.2), and of
    the transfers of a thousand blocks over a path that loses a tenth at random, one in a hundred ends so, whoever the
    peers are.
    """

    IN_A_ROW = 3

    def __init__(self, server_port: int, *, seed: int, up: float = 0.1, down: float = 0.1) -> None:
        """Opens the path.

        Args:
            server_port: The gateway's, on 127.0.0.1.
            seed: Of the plans.
            up: Probability that a record of the client is lost.
            down: The same of the gateway's.
        """
        super().__init__(server_port, seed=seed, loss=0.0, repeated=0.0, delayed=0.0)
        self._loss_of = {True: up, False: down}

    def _take(self, flow: Flow, *, up: bool, data: bytes) -> None:
        if data[0] in (_APPLICATION_DATA, _CONNECTION_ID_RECORD):
            if flow.plan.random() < self._loss_of[up] and flow.in_a_row < self.IN_A_ROW:
                flow.lost += 1
                flow.in_a_row += 1
                return
            if not up:
                flow.in_a_row = 0
        super()._take(flow, up=up, data=data)


class LosingPath(LossyPath):
    """A path that loses one datagram of a handshake, and nothing else."""

    def __init__(self, server_port: int, number: int) -> None:
        """Opens the path.

        Args:
            server_port: The gateway's, on 127.0.0.1.
            number: Which one, counted from 1 over both directions.
        """
        super().__init__(server_port, seed=0, loss=0.0, repeated=0.0, delayed=0.0)
        self._number = number

    def _take(self, flow: Flow, *, up: bool, data: bytes) -> None:
        if data[0] in (_CHANGE_CIPHER_SPEC, _HANDSHAKE):
            self._number -= 1
            if self._number == 0:
                flow.lost += 1
                return
        super()._take(flow, up=up, data=data)


class WatchedPath(LossyPath):
    """A path that loses nothing, and writes down every record that the server sends.

    Attributes:
        records: Content type, epoch and length of each.
    """

    def __init__(self, server_port: int) -> None:
        super().__init__(server_port, seed=0, loss=0.0, repeated=0.0, delayed=0.0)
        self.records: list[tuple[int, int, int]] = []

    def _take(self, flow: Flow, *, up: bool, data: bytes) -> None:
        rest = b"" if up else data
        while rest and rest[0] != _CONNECTION_ID_RECORD:  # those do not say how long their id is
            length = int.from_bytes(rest[11:13])
            self.records.append((rest[0], int.from_bytes(rest[3:5]), length))
            rest = rest[13 + length :]
        super()._take(flow, up=up, data=data)


class AlertingPath(LossyPath):
    """A path that loses nothing, and answers each record of a session with the alert of `unknown_session = "alert"`."""

    def __init__(self, server_port: int) -> None:
        super().__init__(server_port, seed=0, loss=0.0, repeated=0.0, delayed=0.0)
        self.alerts = 0

    def _take(self, flow: Flow, *, up: bool, data: bytes) -> None:
        if up and data[0] in (_APPLICATION_DATA, _CONNECTION_ID_RECORD):
            self.alerts += 1
            # alert, DTLS 1.2, epoch 0, the number of the record that it answers; fatal, bad_record_mac
            self._downstream.sendto(b"\x15\xfe\xfd\x00\x00" + data[5:11] + b"\x00\x02\x02\x14", flow.client)
        super()._take(flow, up=up, data=data)
