"""What a gateway of one process and one of several have in common: how they start, are told to stop, and are left."""

import asyncio
import socket
from abc import ABC, abstractmethod
from dataclasses import dataclass

from gateway.config import Address


@dataclass(frozen=True, slots=True)
class Bound:
    """Where a running gateway listens: the real ports, also where the settings say 0."""

    udp: Address
    admin: Address


class Service(ABC):
    """Serves from when it is entered until it is left; a start that fails leaves nothing behind either."""

    def __init__(self) -> None:
        """Starts nothing."""
        self._stopping = asyncio.Event()

    async def __aenter__(self) -> Bound:
        try:
            return await self._start()
        except BaseException:
            await self._take_down()
            raise

    async def __aexit__(self, *_: object) -> None:
        await self._take_down()

    def stop(self) -> None:
        """Asks `wait` to return; safe in a signal handler of the event loop."""
        self._stopping.set()

    @abstractmethod
    async def _start(self) -> Bound: ...

    @abstractmethod
    async def _take_down(self) -> None:
        """Closes what `_start` has opened, as far as it came."""


def address_of(udp: socket.socket) -> Address:
    """Where a socket is bound."""
    host, port, *_ = udp.getsockname()
    return Address(host, port)
