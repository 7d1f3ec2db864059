"""The place of a worker that is one of several: what its supervisor has given it."""

import socket
from dataclasses import dataclass, field
from pathlib import Path

from gateway.server.channel import Channel
from gateway.server.plan import Secrets


@dataclass(frozen=True, slots=True)
class Seat:
    """Attributes:
    worker: Its number, which stands in its connection ids.
    udp: Bound to the port that all share, and non-blocking.
    secrets: The same for all.
    admin: Where its admin server is to listen: a local socket, which the supervisor alone asks.
    channel: To the supervisor, not started yet.
    """

    worker: int
    udp: socket.socket
    secrets: Secrets = field(repr=False)
    admin: Path
    channel: Channel
