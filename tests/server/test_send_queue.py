"""Datagrams while the kernel takes none: kept in order, up to a limit, and counted beyond it."""

import asyncio
import errno
import socket
from collections import deque
from collections.abc import Callable
from typing import cast

import pytest

from gateway.coap import MessageLayer
from gateway.dtls import Address, ServerConfig, ServerEndpoint, ServerParameters
from gateway.handlers import App
from gateway.server.dispatch import Dispatcher
from gateway.server.limits import RECEIVE_BATCH, SEND_QUEUE
from gateway.server.metrics import RequestMetrics
from gateway.server.udp import UdpServer
from tests.dtls.rawclient import RawClient
from tests.dtls.support import counting_random


class Kernel:
    """A socket whose buffers a test fills and empties.

    Attributes:
        waiting: Datagrams to be read.
        sent: Datagrams taken, with their destination.
        room: Datagrams that it takes before it is full.
        refused: Ports that it refuses to send to.
    """

    def __init__(self) -> None:
        self.waiting: deque[tuple[bytes, Address]] = deque()
        self.sent: list[tuple[bytes, Address]] = []
        self.room = 0
        self.refused: set[int] = set()

    def recvfrom(self, size: int) -> tuple[bytes, Address]:
        if not self.waiting:
            raise BlockingIOError
        return self.waiting.popleft()

    def sendto(self, datagram: bytes, address: Address) -> int:
        if address[1] in self.refused:
            raise PermissionError(errno.EPERM, "a firewall's word")
        if not self.room:
            raise BlockingIOError
        self.room -= 1
        self.sent.append((datagram, address))
        return len(datagram)


def server_on(kernel: Kernel) -> UdpServer:
    random = counting_random()
    config = ServerConfig(ServerParameters(), cookie_secret=bytes(16))
    endpoint = ServerEndpoint(config, random)
    dispatcher = Dispatcher(
        App(),
        MessageLayer(random=random),
        RequestMetrics(),
        send=lambda session, data, now: None,
        clock=lambda: 0.0,
        time_limit_s=1.0,
        max_concurrent=1,
        max_concurrent_per_device=1,
    )
    udp = cast(socket.socket, kernel)
    return UdpServer(udp, endpoint, dispatcher, on_event=lambda now: None, clock=lambda: 0.0)


def flood(kernel: Kernel, server: UdpServer, count: int) -> None:
    """So many ClientHellos, each from a port of its own and each with an answer."""
    hello = RawClient().hello()
    for port in range(count):
        kernel.waiting.append((hello, ("192.0.2.1", port)))
    for _ in range(-(-count // RECEIVE_BATCH)):
        server._on_readable()
    assert not kernel.waiting


def ports(kernel: Kernel) -> list[int]:
    return [address[1] for _, address in kernel.sent]


def test_what_waited_goes_first() -> None:
    kernel = Kernel()
    server = server_on(kernel)
    flood(kernel, server, 10)
    assert kernel.sent == []
    kernel.room = 4
    server._on_writable()
    assert ports(kernel) == [0, 1, 2, 3]
    # There is room again before the loop says so: a new answer must not overtake those that wait.
    kernel.room = 100
    kernel.waiting.append((RawClient().hello(), ("192.0.2.1", 10)))
    server._on_readable()
    assert ports(kernel) == [0, 1, 2, 3]
    server._on_writable()
    assert ports(kernel) == list(range(11))
    assert server.counters.datagrams_out == 11
    assert server.counters.bytes_out == sum(len(datagram) for datagram, _ in kernel.sent)
    assert server.counters.send_dropped == 0


def test_beyond_the_limit_they_are_dropped_and_counted() -> None:
    kernel = Kernel()
    server = server_on(kernel)
    flood(kernel, server, SEND_QUEUE + 100)
    assert server.counters.send_dropped == 100
    kernel.room = 2 * SEND_QUEUE
    server._on_writable()
    assert ports(kernel) == list(range(SEND_QUEUE))
    assert server.counters.datagrams_out == SEND_QUEUE


def test_what_the_kernel_refuses_is_lost_and_counted() -> None:
    kernel = Kernel()
    kernel.room = 100
    kernel.refused = {3, 5}
    server = server_on(kernel)
    flood(kernel, server, 8)
    assert ports(kernel) == [0, 1, 2, 4, 6, 7]
    assert server.counters.send_errors == 2
    assert server.counters.datagrams_out == 6
    assert server.counters.send_dropped == 0


class Full(socket.socket):
    """A real socket, for the event loop, that is full until told otherwise."""

    full = True
    refused: asyncio.Event

    def sendto(self, *arguments: object) -> int:
        if self.full:
            self.refused.set()
            raise BlockingIOError
        send = cast(Callable[..., int], super().sendto)
        return send(*arguments)


@pytest.mark.asyncio
async def test_the_event_loop_says_when_there_is_room() -> None:
    with Full(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        udp.refused = asyncio.Event()
        udp.setblocking(False)
        device.setblocking(False)
        udp.bind(("127.0.0.1", 0))
        device.connect(udp.getsockname())
        server = server_on(cast(Kernel, udp))
        server.start()
        device.send(RawClient().hello())
        await udp.refused.wait()
        udp.full = False
        answer = await asyncio.get_running_loop().sock_recv(device, 65535)
        assert answer[13] == 3  # hello_verify_request
        assert not server._unsent
        server.stop()
