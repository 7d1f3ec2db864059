"""The socket in the event loop: datagrams in, datagrams out, one timer (DESIGN D3).

The path of established traffic is one straight function, `_on_readable`: read, find the association, open, dispatch,
seal, send. It creates no task, sets no timer and logs nothing. Everything else goes through the engine's events, after
the requests of the same wake-up, and for a bounded time.
"""

import asyncio
import errno
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from gateway.dtls import Address, Arrivals, ContentType, DropReason, SequenceExhausted, ServerEndpoint
from gateway.server.dispatch import Dispatcher
from gateway.server.limits import (
    HANDSHAKE_BUDGET_S,
    IDLE_STEPS,
    MAX_DATAGRAM,
    MAX_POSTPONED,
    RECEIVE_BATCH,
    RECEIVE_BUFFER,
    SEND_QUEUE,
    SILENCE_S,
)
from gateway.server.session import Session
from gateway.telemetry import get_logger, together

_APPLICATION_DATA: Final = int(ContentType.APPLICATION_DATA)


class BindError(Exception):
    """The port cannot be had; the text says why and what to do."""


class UdpCounters:
    """Plain integers for metrics."""

    __slots__ = ("bytes_in", "bytes_out", "datagrams_in", "datagrams_out", "send_dropped", "send_errors")

    def __init__(self) -> None:
        self.datagrams_in = self.datagrams_out = 0
        self.bytes_in = self.bytes_out = 0
        self.send_dropped = self.send_errors = 0


def open_socket(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A bound, non-blocking UDP socket; for an IPv6 wildcard address it takes IPv4 too.

    Args:
        host: Name or address.
        port: 0 lets the kernel choose.
        shared: Whether other sockets of the same user that are shared too may have the same address.

    Raises:
        BindError: The address cannot be resolved or bound.
    """
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        udp = socket.socket(family, kind, protocol)
    except OSError as error:
        raise BindError(f"server.bind {shown}: {error.strerror or error}; give an address of this machine") from error
    try:
        if family == socket.AF_INET6:
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if shared:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with suppress(OSError):
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        udp.setblocking(False)
        udp.bind(address)
    except OSError as error:
        udp.close()
        hint = _BIND_HINTS.get(error.errno or 0, "choose another address")
        raise BindError(f"server.bind {shown}: {error.strerror}; {hint}") from error
    return udp


_BIND_HINTS: Final = {
    errno.EADDRINUSE: "stop the other process or choose another port",
    errno.EACCES: "a port below 1024 needs CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=); or take a higher one",
}


class UdpServer:
    """Attributes:
    counters: See `UdpCounters`.
    udp: The socket.
    """

    def __init__(
        self,
        udp: socket.socket,
        endpoint: ServerEndpoint,
        dispatcher: Dispatcher,
        *,
        on_event: Callable[[float], None],
        clock: Callable[[], float],
    ) -> None:
        """Ties a socket to the engine.

        Args:
            udp: Bound and non-blocking; `stop` closes it.
            endpoint: The engine.
            dispatcher: Takes the plaintext of sessions.
            on_event: Called with the time after the engine got something new: drains its events.
            clock: Seconds, monotonic: the event loop's.
        """
        self.udp = udp
        self.counters = UdpCounters()
        self._endpoint = endpoint
        self._dispatcher = dispatcher
        self._on_event = on_event
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._arrivals = Arrivals()
        self._postponed = 0
        self._turn_asked = False
        self._idle: asyncio.TimerHandle | asyncio.Handle | None = None
        self._seen = 0
        self._unsent: deque[tuple[bytes, Address]] = deque()
        self._log = get_logger("gateway.server")

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.udp, self._on_readable)

    def stop_reading(self) -> None:
        """From now on nothing comes in; answers still go out."""
        if self._loop is not None:
            self._loop.remove_reader(self.udp)
        self._arrivals = Arrivals()

    def stop(self) -> None:
        """Sends what is queued, as far as the kernel takes it, and closes the socket."""
        self.stop_reading()
        for handle in (self._timer, self._idle):
            if handle is not None:
                handle.cancel()
        self.flush(self._clock())
        if self._loop is not None:
            self._loop.remove_writer(self.udp)
        self.udp.close()

    def send(self, session: Session, data: bytes, now: float) -> None:
        """Sends an answer that comes later than its request."""
        association = session.association
        if association is not None and not association.closed:
            self._endpoint.send(association, data, now)
            self.flush(now)

    def flush(self, now: float) -> None:
        """Sends what engine and message layer have queued, and sets the timer for what they do next."""
        for peer, data in self._dispatcher.layer.datagrams_to_send():
            association = peer.association if isinstance(peer, Session) else None
            if association is not None:
                self._endpoint.send(association, data, now)
        self._on_event(now)
        self._transmit_all(self._endpoint.datagrams_to_send())
        self._set_timer()

    def _on_readable(self) -> None:
        # In three sweeps, reading, working, sending, and not datagram by datagram: each stays in the processor's
        # caches, and a peer that is woken by the first answer is still awake for the last.
        now = self._clock()
        batch = self._read_batch()
        endpoint = self._endpoint
        associations = endpoint.associations
        open_from_elsewhere = endpoint.open_from_elsewhere
        receive = self._dispatcher.receive
        arrivals = self._arrivals
        answers: list[tuple[bytes, Address]] = []
        direct = 0
        for datagram, address in batch:
            association = associations.get(address)
            try:
                if association is None or (plaintext := association.open_application(datagram)) is None:
                    if (found := open_from_elsewhere(datagram, address, now)) is None:
                        arrivals.put(endpoint.rank(datagram, address, now), datagram, address)
                        continue
                    association, plaintext = found
                    direct += 1
                    reply = receive(association.context, plaintext, now)  # type: ignore[arg-type]
                    if reply:
                        endpoint.send(association, reply, now)  # which knows what may go to a new address
                    continue
                association.last_heard = now
                direct += 1
                reply = receive(association.context, plaintext, now)  # type: ignore[arg-type]  # always a Session of ours
                if reply:
                    answers.append((association.seal(_APPLICATION_DATA, reply), address))
            except SequenceExhausted:
                if association is not None:
                    endpoint.close(association, now, "exhausted")
            except (Exception, asyncio.CancelledError) as fault:  # a bug of ours, or a handler's CancelledError
                self._log.error("server.fault", exc_info=fault)  # it must not take other devices' answers along
        endpoint.counters.direct_received += direct
        endpoint.counters.application_data_sent += len(answers)
        self._transmit_all(answers)
        if arrivals:
            with together:  # what the log says of them is written before any of them hears of it
                self._serve_arrivals(len(batch) == RECEIVE_BATCH)
        self.flush(now)

    def _serve_arrivals(self, more_to_read: bool) -> None:
        """Works on what is no application data, for a bounded time; what is left waits for the loop's next turn."""
        arrivals, endpoint, clock = self._arrivals, self._endpoint, self._clock
        self._postponed = self._postponed + 1 if more_to_read and self._postponed < MAX_POSTPONED else 0
        if not self._postponed:
            now = clock()
            until = now + HANDSHAKE_BUDGET_S
            while arrivals:
                try:
                    endpoint.receive_datagram(*arrivals.take(), now)
                    self._on_event(now)
                except (Exception, asyncio.CancelledError) as fault:  # a bug of ours
                    self._log.error("server.fault", exc_info=fault)
                now = clock()
                if now >= until:
                    break
        endpoint.counters.drops[DropReason.OVERLOAD] = arrivals.dropped
        if arrivals and self._loop is not None and not self._turn_asked:
            self._turn_asked = True
            self._loop.call_soon(self._next_turn)
        if self._idle is None and self._loop is not None and endpoint.has_idle_work:
            self._wait_for_silence(self._loop)

    def _next_turn(self) -> None:
        self._turn_asked = False
        if self._arrivals:
            self._on_readable()

    def _wait_for_silence(self, loop: asyncio.AbstractEventLoop) -> None:
        self._seen = self.counters.datagrams_in
        self._idle = loop.call_later(SILENCE_S, self._on_silence, loop)

    def _on_silence(self, loop: asyncio.AbstractEventLoop) -> None:
        """The engine works ahead while nobody sends: a little in each turn of the loop."""
        self._idle = None
        if self.counters.datagrams_in != self._seen:
            self._wait_for_silence(loop)
            return
        for _ in range(IDLE_STEPS):
            self._endpoint.do_idle_work()
        if self._endpoint.has_idle_work:
            self._idle = loop.call_soon(self._on_silence, loop)

    def _read_batch(self) -> list[tuple[bytes, Address]]:
        """What the socket holds, up to a limit."""
        receive_from = self.udp.recvfrom
        batch: list[tuple[bytes, Address]] = []
        size = 0
        for _ in range(RECEIVE_BATCH):
            try:
                received = receive_from(MAX_DATAGRAM)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:  # an ICMP error of an earlier answer; the next read goes on
                continue
            batch.append(received)
            size += len(received[0])
        self.counters.datagrams_in += len(batch)
        self.counters.bytes_in += size
        return batch

    def _transmit_all(self, datagrams: list[tuple[bytes, Address]]) -> None:
        """Sends in order. What the kernel does not take now waits; what it refuses is lost, as UDP may."""
        send_to = self.udp.sendto
        sent = size = 0
        for datagram, address in datagrams:
            if self._unsent:
                self._queue(datagram, address)
                continue
            try:
                size += send_to(datagram, address)
                sent += 1
            except (BlockingIOError, InterruptedError):
                self._queue(datagram, address)
            except OSError:  # unreachable, too large, forbidden by a firewall
                self.counters.send_errors += 1
        self.counters.datagrams_out += sent
        self.counters.bytes_out += size

    def _queue(self, datagram: bytes, address: Address) -> None:
        if len(self._unsent) >= SEND_QUEUE:
            self.counters.send_dropped += 1
            return
        if not self._unsent and self._loop is not None:
            self._loop.add_writer(self.udp, self._on_writable)
        self._unsent.append((datagram, address))

    def _on_writable(self) -> None:
        waiting, self._unsent = self._unsent, deque()
        if self._loop is not None:
            self._loop.remove_writer(self.udp)
        self._transmit_all(list(waiting))

    def _set_timer(self) -> None:
        times = [t for t in (self._endpoint.next_timer(), self._dispatcher.layer.next_timer()) if t is not None]
        due = min(times, default=None)
        # A timer that fires too early costs less than one that is moved with every datagram.
        if due is None or due >= self._timer_at or self._loop is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, float("inf")
        now = self._clock()
        for machine in (self._endpoint, self._dispatcher.layer):
            try:
                machine.handle_timer(now)
            except Exception as fault:  # a bug of ours; everybody else's timers must go on
                self._log.error("server.fault", exc_info=fault)
        self.flush(now)
