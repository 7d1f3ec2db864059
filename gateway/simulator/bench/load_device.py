"""A device of the load: the client engines on a socket, without tasks and futures.

`SimulatedDevice` is what one wants to talk to a gateway with. Here ten thousand of them share a process, and what the
process spends on each is missing to load the gateway: so the loop calls the device, and hears at once what came of it.
"""

import os
import socket
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum, auto

from gateway.coap import code_text
from gateway.coap.client import Client, ClientExchange
from gateway.dtls import (
    ApplicationData,
    AssociationClosed,
    CertificatePresented,
    CipherSuite,
    ClientConfig,
    ClientConnection,
    ClientSession,
    HandshakeCompleted,
    HandshakeFailed,
    RawPublicKeyPresented,
)
from gateway.simulator.device import DeviceIdentity

_RECEIVE_BYTES = 65535
# What RFC 7925 section 4.2 and 4.4 have every constrained device do: one suite, so that two results can be compared.
_PSK_SUITES = (CipherSuite.TLS_PSK_WITH_AES_128_CCM_8,)
_CERTIFICATE_SUITES = (CipherSuite.TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8,)


class Step(Enum):
    """What has ended."""

    CONNECTED = auto()
    ANSWERED = auto()
    FAILED = auto()


class LoadDevice:
    """One device, which does one thing at a time.

    Attributes:
        udp: Its socket, connected to the gateway.
        busy: It has begun something that has not ended.
        began_at: When that was, seconds.
        timer_at: When the loop is going to look at its timers; the loop's own note.
        bytes_sent: UDP payload since it began.
        bytes_received: The same of what came.
        failure: Why, after FAILED.
        suite: Of the newest session, by name.
    """

    __slots__ = (
        "_client",
        "_connection",
        "_exchange",
        "_must_resume",
        "_parameters",
        "_session",
        "began_at",
        "busy",
        "bytes_received",
        "bytes_sent",
        "failure",
        "suite",
        "timer_at",
        "udp",
    )

    def __init__(self, identity: DeviceIdentity, udp: socket.socket) -> None:
        self.udp = udp
        self.busy = False
        self.began_at = 0.0
        self.timer_at: float | None = None
        self.bytes_sent = self.bytes_received = 0
        self.failure = ""
        self.suite = ""
        parameters = identity.parameters(None)
        suites = _PSK_SUITES if parameters.psk is not None else _CERTIFICATE_SUITES
        self._parameters = replace(parameters, suites=suites, tickets=True, connection_id=0)
        self._connection: ClientConnection | None = None
        self._client: Client | None = None
        self._exchange: ClientExchange | None = None
        self._session: ClientSession | None = None
        self._must_resume = False

    @property
    def connected(self) -> bool:
        """Whether it has a session."""
        return self._connection is not None and self._connection.association is not None

    def connect(self, now: float, *, resume: bool = False) -> None:
        """Begins a handshake: CONNECTED ends it. With `resume` it fails unless the gateway takes up the session."""
        self._begin(now)
        self._must_resume = resume and self._session is not None
        parameters = replace(self._parameters, session=self._session) if resume else self._parameters
        self._connection = ClientConnection(ClientConfig(parameters), self.udp.getpeername(), os.urandom, now)
        self._client = self._exchange = None
        self._send()

    def request(self, code: int, options: Sequence[tuple[int, bytes]], payload: bytes, now: float) -> None:
        """Sends a confirmable request: ANSWERED ends it."""
        self._begin(now)
        if self._client is None:
            self._client = Client(random=os.urandom)
        self._exchange = self._client.request(code, list(options), payload, now)
        self._pass_on(self._client, now)

    def receive(self, now: float) -> Step | None:
        """Takes the datagram that waits, and says what has ended by it."""
        try:
            datagram = self.udp.recv(_RECEIVE_BYTES)
        except OSError:  # nothing there, or an ICMP error: what matters is repeated
            return None
        self.bytes_received += len(datagram)
        if self._connection is None:
            return None
        self._connection.receive_datagram(datagram, now)
        return self._settle(self._connection, now)

    def next_timer(self) -> float | None:
        """When `handle_timer` is due, seconds."""
        machines = (self._connection, self._client)
        return min((t for m in machines if m is not None and (t := m.next_timer()) is not None), default=None)

    def handle_timer(self, now: float) -> Step | None:
        """Repeats, or gives up, what is due."""
        if self._connection is None:
            return None
        self._connection.handle_timer(now)
        if self._client is not None:
            self._client.handle_timer(now)
        return self._settle(self._connection, now)

    def close(self, now: float) -> None:
        """Ends the session, or the handshake, with an alert."""
        if self._connection is not None:
            self._connection.close(now)
            self._send()
        self.forget()

    def forget(self) -> None:
        """Loses the session, as a device without power does, and whatever it was doing."""
        self._connection = self._client = self._exchange = None
        self.busy = False

    def _begin(self, now: float) -> None:
        self.busy = True
        self.began_at = now
        self.bytes_sent = self.bytes_received = 0

    def _settle(self, connection: ClientConnection, now: float) -> Step | None:
        step = None
        while (event := connection.next_event()) is not None:
            match event:
                case ApplicationData():
                    if self._client is not None:
                        self._client.receive(event.data, now)
                case CertificatePresented() | RawPublicKeyPresented():
                    connection.certificate_verdict(None, now)  # the gateway is measured, not the path to it
                case HandshakeCompleted():
                    self._session = connection.session
                    self.suite = event.facts.suite or ""
                    refused = self._must_resume and not event.facts.resumed
                    step = self._failed("the session was not resumed") if refused else Step.CONNECTED
                case HandshakeFailed():
                    step = self._failed(f"handshake: {event.reason}" + (f" ({event.alert})" if event.alert else ""))
                case AssociationClosed():
                    step = self._failed(f"the session was closed: {event.reason}")
                case _:
                    pass  # what only a server is asked
        if self._client is not None:
            self._pass_on(self._client, now)
            if self._exchange is not None and self._exchange.outcome is not None:
                step = self._answered(self._exchange)
        else:
            self._send()
        if step is not None:
            self.busy = False
        return step

    def _answered(self, exchange: ClientExchange) -> Step:
        self._exchange = None
        if self._client is not None:
            self._client.finished()
        if exchange.response is None:
            return self._failed(f"request: {exchange.outcome}")
        code = exchange.response.code
        return Step.ANSWERED if code >> 5 == 2 else self._failed(f"request: answered with {code_text(code)}")

    def _failed(self, why: str) -> Step:
        self.failure = why
        return Step.FAILED

    def _pass_on(self, client: Client, now: float) -> None:
        if self._connection is not None:
            for message in client.datagrams_to_send():
                self._connection.send(message, now)
            self._send()

    def _send(self) -> None:
        if self._connection is None:
            return
        for datagram in self._connection.datagrams_to_send():
            try:
                self.bytes_sent += self.udp.send(datagram)
            except OSError:
                continue  # nobody listens, or no room: the engines repeat what matters
