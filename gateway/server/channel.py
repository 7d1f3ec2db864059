"""Messages between the supervisor and its workers, over a pair of local sockets.

A message is a JSON object with a `kind`, four bytes of length before it. Neither end ever waits for the other: what the
kernel does not take now waits in a bounded queue, and what does not fit into that is refused, so that a worker that
hangs stops nobody's data path.
"""

import asyncio
import json
import socket
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeAlias

from gateway.server.limits import CHANNEL_READ, MAX_CHANNEL_BACKLOG, MAX_CHANNEL_MESSAGE
from gateway.telemetry import get_logger

Message: TypeAlias = dict[str, Any]
"""A JSON object; its `kind` is a text."""

_PREFIX: Final = 4

_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class ChannelError(Exception):
    """The other end said what is no message, or went away in the middle of one."""


def channel_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends: a stream and not packets, because a packet has to fit into the kernel's send buffer at once."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


def receive_message(end: socket.socket) -> Message:
    """Waits for one message and takes no byte more, so that a `Channel` can have the socket after it.

    Args:
        end: Blocking.

    Raises:
        ChannelError: The other end is gone, or sent what is no message.
    """
    return _decoded(_exactly(end, _length(_exactly(end, _PREFIX))))


def send_message(end: socket.socket, message: Message) -> None:
    """Says one last thing, at an end whose `Channel` was never started.

    Raises:
        OSError: The other end is gone.
    """
    body = _encode(message).encode()
    end.setblocking(True)
    end.sendall(len(body).to_bytes(_PREFIX) + body)


class Channel:
    """One end. Belongs to the thread of its event loop.

    Attributes:
        refused: Messages that found no room in the queue.
    """

    def __init__(self, end: socket.socket, *, on_close: Callable[[], None] | None = None) -> None:
        """Takes a socket; neither reads nor writes before `start`.

        Args:
            end: Of `channel_pair`; `close` closes it.
            on_close: Called once, when the other end has gone or talks nonsense. Not called by `close`.
        """
        self.refused = 0
        self._end = end
        self._end.setblocking(False)
        self._on_close = on_close
        self._handlers: dict[str, Callable[[Message], None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._received = bytearray()
        self._unsent: deque[memoryview] = deque()
        self._unsent_bytes = 0
        self._closed = False
        self._log = get_logger("gateway.server")

    def on(self, kind: str, handler: Callable[[Message], None]) -> None:
        """Has messages of a kind handled, one after the other; a handler must not wait. To be said before `start`."""
        self._handlers[kind] = handler

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Reads from now on, and sends what was queued."""
        if not self._closed:
            self._loop = loop
            loop.add_reader(self._end, self._on_readable)
            self._write()

    def send(self, message: Message) -> bool:
        """Sends a message, now or as soon as the other end takes it.

        Returns:
            False if it is not sent: the channel is closed, or too much waits in it already.

        Raises:
            ValueError: It is larger than `MAX_CHANNEL_MESSAGE`.
        """
        body = _encode(message).encode()
        if len(body) > MAX_CHANNEL_MESSAGE:
            raise ValueError(f"a message of {len(body)} bytes; {MAX_CHANNEL_MESSAGE} are the most")
        if self._closed or self._unsent_bytes + len(body) > MAX_CHANNEL_BACKLOG:
            self.refused += 1
            return False
        waiting = bool(self._unsent)
        self._unsent.append(memoryview(len(body).to_bytes(_PREFIX) + body))
        self._unsent_bytes += _PREFIX + len(body)
        if not waiting and self._loop is not None:
            self._write()
        return True

    def close(self) -> None:
        """Drops what is queued. Calling it again does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._loop is not None:
            self._loop.remove_reader(self._end)
            self._loop.remove_writer(self._end)
        self._unsent.clear()
        self._unsent_bytes = 0
        self._end.close()

    def _write(self) -> None:
        try:
            while self._unsent:
                first = self._unsent[0]
                sent = self._end.send(first)
                self._unsent_bytes -= sent
                if sent < len(first):
                    self._unsent[0] = first[sent:]
                else:
                    self._unsent.popleft()
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:  # the other end is gone; reading tells who has to know
            self._unsent.clear()
            self._unsent_bytes = 0
        if self._loop is not None:
            if self._unsent:
                self._loop.add_writer(self._end, self._write)
            else:
                self._loop.remove_writer(self._end)

    def _on_readable(self) -> None:
        try:
            data = self._end.recv(CHANNEL_READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
            return
        self._received += data
        try:
            self._take_messages()
        except ChannelError as error:
            self._log.error("worker.channel_failed", error=str(error))
            self._lost()

    def _take_messages(self) -> None:
        at, received = 0, self._received
        while not self._closed and len(received) - at >= _PREFIX:
            length = _length(received[at : at + _PREFIX])
            end = at + _PREFIX + length
            if len(received) < end:
                break
            message = _decoded(bytes(received[at + _PREFIX : end]))
            at = end
            self._handle(message)
        del received[:at]

    def _handle(self, message: Message) -> None:
        handler = self._handlers.get(message["kind"])
        try:
            if handler is None:
                raise LookupError(f"nobody handles a message of kind {message['kind']!r}")
            handler(message)
        except Exception as fault:  # a bug of ours: it must not end the channel
            self._log.error("server.fault", exc_info=fault)

    def _lost(self) -> None:
        if not self._closed:
            self.close()
            if self._on_close is not None:
                self._on_close()


class Switchboard:
    """The supervisor's ends of all channels: who talks to whom goes by the number of the worker."""

    def __init__(self) -> None:
        """Nobody is plugged in."""
        self._channels: dict[int, Channel] = {}
        self._handlers: dict[str, Callable[[int, Message], None]] = {}
        self._listeners: list[Callable[[int, bool], None]] = []

    @property
    def workers(self) -> list[int]:
        """The numbers of those that can be sent to, in order."""
        return sorted(self._channels)

    def on(self, kind: str, handler: Callable[[int, Message], None]) -> None:
        """Has messages of a kind handled, from whichever worker. To be said before the first one is plugged in."""
        self._handlers[kind] = handler

    def listen(self, listener: Callable[[int, bool], None]) -> None:
        """Tells of each worker that comes (True), and of each that is gone with all that it held (False)."""
        self._listeners.append(listener)

    def send(self, worker: int, message: Message) -> bool:
        """As `Channel.send`; False too for a worker that is not there."""
        channel = self._channels.get(worker)
        return channel is not None and channel.send(message)

    def plug(self, worker: int, channel: Channel) -> None:
        """Takes a worker's channel, before it is started."""
        for kind, handler in self._handlers.items():
            channel.on(kind, partial(handler, worker))
        self._channels[worker] = channel
        for listener in self._listeners:
            listener(worker, True)

    def unplug(self, worker: int) -> None:
        """Closes it. A worker that is not there is no error."""
        channel = self._channels.pop(worker, None)
        if channel is not None:
            channel.close()
            for listener in self._listeners:
                listener(worker, False)


def _length(prefix: bytes | bytearray) -> int:
    length = int.from_bytes(prefix)
    if length > MAX_CHANNEL_MESSAGE:
        raise ChannelError(f"a message of {length} bytes; {MAX_CHANNEL_MESSAGE} are the most")
    return length


def _decoded(body: bytes) -> Message:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        raise ChannelError("what came is no JSON") from None
    if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
        raise ChannelError("what came is no object with a kind")
    return message


def _exactly(end: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = end.recv(length - len(data))
        if not part:
            raise ChannelError("the other end is gone")
        data += part
    return bytes(data)
