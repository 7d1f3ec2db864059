"""A NAT on loopback that forgets: between devices and a gateway, with loss, reordering, and ever new source ports."""

import asyncio
import random
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self

Address = tuple[str, int]

_LATE_S = 0.004
"""Seconds by which an overtaken datagram is late."""


class Relay:
    """For devices that send to `port` on 127.0.0.1.

    Attributes:
        port: Where the devices send to.
        moving: Whether the source ports change; a handshake is bound to one.
        moves: How often a device's source port has changed.
        lost: Datagrams lost.
        late: Datagrams that others overtook.
    """

    def __init__(
        self, gateway_port: int, *, every: int, loss: float = 0.0, late: float = 0.0, overlap: int = 1, seed: int = 1
    ) -> None:
        """Prepares a relay.

        Args:
            gateway_port: On 127.0.0.1.
            every: Datagrams of a device after which its source port changes, at the most.
            loss: Probability that a datagram is lost, either way.
            late: Probability that it is overtaken, either way.
            overlap: How many ports of a device still take answers.
            seed: Of all chances.
        """
        self._gateway = ("127.0.0.1", gateway_port)
        self._every, self._loss, self._late, self._overlap = every, loss, late, overlap
        self._random = random.Random(seed)
        self._ways: dict[Address, _Way] = {}
        self._inside: asyncio.DatagramTransport | None = None
        self.port = 0
        self.moving = False
        self.moves = self.lost = self.late = 0

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._inside, _ = await loop.create_datagram_endpoint(lambda: _Inside(self), ("127.0.0.1", 0))
        self.port = self._inside.get_extra_info("sockname")[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._inside is not None:
            self._inside.close()
        for way in self._ways.values():
            way.task.cancel()
            await asyncio.gather(way.task, return_exceptions=True)
            for port in way.ports:
                port.close()
        await asyncio.sleep(0)  # the transports close in the loop's next turn

    def up(self, datagram: bytes, device: Address) -> None:
        way = self._ways.get(device)
        if way is None:
            way = self._ways[device] = _Way()
            way.task = asyncio.create_task(self._carry(way, device))
        way.waiting.put_nowait(datagram)

    def down(self, datagram: bytes, device: Address) -> None:
        assert self._inside is not None
        self._chance(partial(_send, self._inside, datagram, device))

    async def _carry(self, way: "_Way", device: Address) -> None:
        """One after the other, because a new port is not there at once."""
        loop = asyncio.get_running_loop()
        left = 0
        while True:
            datagram = await way.waiting.get()
            if not way.ports or (self.moving and left <= 0):
                left = self._random.randint(1, self._every)
                protocol = partial(_Outside, self, device)
                port, _ = await loop.create_datagram_endpoint(protocol, remote_addr=self._gateway)
                self.moves += bool(way.ports)
                way.ports.append(port)
                if len(way.ports) > self._overlap:
                    way.ports.pop(0).close()
            left -= 1
            port = way.ports[-1]
            self._chance(partial(_send, port, datagram))

    def _chance(self, send: Callable[[], None]) -> None:
        if self._random.random() < self._loss:
            self.lost += 1
        elif self._random.random() < self._late:
            self.late += 1
            asyncio.get_running_loop().call_later(_LATE_S, send)
        else:
            send()


def _send(transport: asyncio.DatagramTransport, datagram: bytes, to: Address | None = None) -> None:
    if not transport.is_closing():
        transport.sendto(datagram, to)


class _Way:
    """One device's way through: its ports on the gateway's side, oldest first."""

    task: asyncio.Task[None]

    def __init__(self) -> None:
        self.waiting: asyncio.Queue[bytes] = asyncio.Queue()
        self.ports: list[asyncio.DatagramTransport] = []


class _Inside(asyncio.DatagramProtocol):
    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._relay.up(data, addr)


class _Outside(asyncio.DatagramProtocol):
    def __init__(self, relay: Relay, device: Address) -> None:
        self._relay, self._device = relay, device

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._relay.down(data, self._device)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there: the gateway has stopped."""
