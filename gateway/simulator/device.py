"""A simulated device: the client engines on a UDP socket, with requests to await."""

import asyncio
import os
import socket
from dataclasses import dataclass, field, replace
from typing import assert_never

from gateway.coap import Code, Message, Option
from gateway.coap.client import Client, ClientExchange
from gateway.dtls import (
    ApplicationData,
    AssociationClosed,
    CertificatePresented,
    CertificateType,
    ClientConfig,
    ClientConnection,
    ClientParameters,
    ClientSession,
    Credential,
    Event,
    HandshakeCompleted,
    HandshakeFailed,
    PskRequested,
    RawPublicKeyPresented,
    ResumptionRequested,
)
from gateway.simulator.resources import DeviceResources

_RECEIVE_BYTES = 65535


class DeviceError(Exception):
    """The device could not connect, or got no answer; the text says what happened."""


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """What the device proves itself with: a pre-shared key, a certificate or a raw public key.

    Attributes:
        name: For messages to humans.
        psk_identity: With `psk`.
        psk: The pre-shared key.
        credential: Chain and key.
        raw_public_key: The credential's key alone is presented, as a raw public key (RFC 7250).
    """

    name: str
    psk_identity: bytes | None = None
    psk: bytes | None = field(default=None, repr=False)
    credential: Credential | None = None
    raw_public_key: bool = False

    def parameters(self, server_name: str | None) -> ClientParameters:
        bare = CertificateType.RAW_PUBLIC_KEY
        return ClientParameters(
            psk_identity=self.psk_identity,
            psk=self.psk,
            credential=self.credential,
            server_name=server_name,
            client_certificate_types=(bare,) if self.raw_public_key else (),
            server_certificate_types=(bare, CertificateType.X509) if self.raw_public_key else (),
        )


class SimulatedDevice:
    """One device and its session.

        async with SimulatedDevice(identity, "127.0.0.1", 5684) as device:
            response = await device.post("telemetry/temperature", b"21.5")

    Attributes:
        identity: See `DeviceIdentity`.
        connection: The DTLS client.
        resources: What the gateway may ask of it.
    """

    def __init__(
        self,
        identity: DeviceIdentity,
        host: str,
        port: int,
        *,
        server_name: str | None = None,
        connection_id: bool = True,
        resources: DeviceResources | None = None,
    ) -> None:
        """Prepares a device; nothing is sent before `connect`.

        Args:
            identity: What it proves itself with.
            host: The gateway's address.
            port: Its UDP port.
            server_name: Sent as SNI.
            connection_id: Whether to offer the extension, as Mbed TLS does: no id of its own, but the gateway's in what
                it sends.
            resources: What the gateway may ask of it; without them requests of the gateway are reset.
        """
        self._connection_id = connection_id
        self.resources = resources
        self._sequence = 0
        self.identity = identity
        self._host, self._port, self._server_name = host, port, server_name
        self._udp: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._client = Client(random=os.urandom, serves=resources is not None)
        self._waiting: dict[ClientExchange, asyncio.Future[None]] = {}
        self._observing: dict[ClientExchange, DeviceObservation] = {}
        self._connected: asyncio.Future[None] | None = None
        self.connection: ClientConnection | None = None
        # Outlives the connection: `connect` after `close` takes the session up again, as a device does that slept.
        self._session: ClientSession | None = None

    async def __aenter__(self) -> "SimulatedDevice":
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connect(self) -> None:
        """Makes the handshake.

        Raises:
            DeviceError: It failed, or the address cannot be resolved.
        """
        loop = asyncio.get_running_loop()
        await self._open()
        self._connected = loop.create_future()
        parameters = replace(
            self.identity.parameters(self._server_name),
            tickets=True,
            session=self._session,
            connection_id=0 if self._connection_id else None,
        )
        self._session = None  # until the gateway has shown that it still knows it
        config = ClientConfig(parameters)
        self.connection = ClientConnection(config, (self._host, self._port), os.urandom, loop.time())
        self._flush()
        try:
            await self._connected
        except BaseException:
            await self.close()
            raise

    async def move(self) -> None:
        """Goes on from another port, as behind a NAT that forgot: what is still on its way to the old one is lost.

        Raises:
            DeviceError: There is no port to be had.
        """
        await self._open()

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        if self._udp is not None:
            # Of a session before this one, which the gateway may have ended.
            loop.remove_reader(self._udp)
            self._udp.close()
            self._udp = None
        try:
            found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)
            family, kind, protocol, _, address = found[0]
            self._udp = socket.socket(family, kind, protocol)
            self._udp.setblocking(False)
            self._udp.connect(address)
        except OSError as error:
            raise DeviceError(f"{self._host}:{self._port}: {error.strerror or error}") from error
        loop.add_reader(self._udp, self._on_readable)

    async def get(self, path: str) -> Message:
        """A confirmable GET. See `request`."""
        return await self.request(Code.GET, path)

    async def post(self, path: str, payload: bytes, *, confirmable: bool = True) -> Message:
        """A POST. See `request`."""
        return await self.request(Code.POST, path, payload, confirmable=confirmable)

    async def request(self, code: int, path: str, payload: bytes = b"", *, confirmable: bool = True) -> Message:
        """Sends a request and waits for its response.

        Raises:
            DeviceError: There is no session, or the request got no response.
        """
        return await self._ask(code, _path_options(path), payload, path, confirmable=confirmable)

    async def _ask(
        self,
        code: int,
        options: list[tuple[int, bytes]],
        payload: bytes,
        path: str,
        *,
        confirmable: bool = True,
        token: bytes | None = None,
    ) -> Message:
        if self.connection is None or self.connection.association is None:
            raise DeviceError(f"{self.identity.name} is not connected")
        loop = asyncio.get_running_loop()
        exchange = self._client.request(code, options, payload, loop.time(), confirmable=confirmable, token=token)
        self._waiting[exchange] = future = loop.create_future()
        self._flush()
        try:
            await future
        finally:
            self._waiting.pop(exchange, None)
            self._client.cancel(exchange)
        if exchange.response is None:
            outcome = exchange.outcome.value if exchange.outcome is not None else "cancelled"
            raise DeviceError(f"{self.identity.name}: no response to {path}: {outcome}")
        return exchange.response

    async def observe(self, path: str) -> "DeviceObservation":
        """Observes a resource of the gateway (RFC 7641); returns when its present state is there, or is refused.

        Raises:
            DeviceError: There is no session, or no response.
        """
        if self.connection is None or self.connection.association is None:
            raise DeviceError(f"{self.identity.name} is not connected")
        options = [(int(Option.OBSERVE), b""), *_path_options(path)]
        exchange = self._client.request(Code.GET, options, b"", asyncio.get_running_loop().time(), observing=True)
        observation = self._observing[exchange] = DeviceObservation(self, path, exchange)
        self._flush()
        await observation.begun()
        return observation

    def change(self, path: str, value: bytes) -> None:
        """Changes a resource of the device, and tells the gateway if it observes it."""
        if self.resources is None:
            return
        self.resources.values[path] = value
        for token in self.resources.observers.get(path, ()):
            self._sequence += 1
            option = (int(Option.OBSERVE), self._sequence.to_bytes(3, "big"))
            self._client.notify(token, Code.CONTENT, [option], value)
        self._flush()

    def forget(self, observation: "DeviceObservation") -> None:
        """Knows nothing of an observation any more: the gateway's next notification is reset."""
        self._observing.pop(observation.exchange, None)
        self._client.cancel(observation.exchange)

    async def deregister(self, observation: "DeviceObservation") -> Message:
        """Ends an observation by a GET with Observe 1 and its token (RFC 7641 section 3.6)."""
        self.forget(observation)
        options = [(int(Option.OBSERVE), b"\x01"), *_path_options(observation.path)]
        return await self._ask(Code.GET, options, b"", observation.path, token=observation.exchange.request.token)

    async def close(self) -> None:
        """Says goodbye to the gateway and closes the socket; harmless when done twice."""
        loop = asyncio.get_running_loop()
        if self._udp is None:
            return
        if self.connection is not None:
            self.connection.close(loop.time())
            self._flush()
        if self._timer is not None:
            self._timer.cancel()
        loop.remove_reader(self._udp)
        self._udp.close()
        self._udp = None

    def _on_readable(self) -> None:
        if self._udp is None or self.connection is None:
            return
        now = asyncio.get_running_loop().time()
        while True:
            try:
                datagram = self._udp.recv(_RECEIVE_BYTES)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:  # nobody listens there: an ICMP error came back
                self._fail(DeviceError(f"{self._host}:{self._port}: {error.strerror}"))
                break
            self.connection.receive_datagram(datagram, now)
        self._flush()

    def _flush(self) -> None:
        """Passes everything on: events, CoAP messages, datagrams, the timer."""
        if self.connection is None or self._udp is None:
            return
        now = asyncio.get_running_loop().time()
        while (event := self.connection.next_event()) is not None:
            self._on_event(event, self.connection, now)
        self._serve(now)
        for message in self._client.datagrams_to_send():
            self.connection.send(message, now)
        self._hand_out()
        for datagram in self.connection.datagrams_to_send():
            try:
                self._udp.send(datagram)
            except OSError:
                continue  # the engines repeat what matters
        self._set_timer()

    def _serve(self, now: float) -> None:
        """Answers what the gateway has asked."""
        if self.resources is not None:
            for request in self._client.requests():
                self._client.respond(request, *self.resources.serve(request), now)

    def _hand_out(self) -> None:
        """Gives notifications and responses to whoever waits for them."""
        for exchange, message in self._client.notifications():
            if (observation := self._observing.get(exchange)) is not None:
                observation.put(message)
        for exchange in self._client.finished():
            future = self._waiting.get(exchange)
            if future is not None and not future.done():
                future.set_result(None)
            if (observation := self._observing.pop(exchange, None)) is not None:
                observation.put(exchange.response)

    def _on_event(self, event: Event, connection: ClientConnection, now: float) -> None:
        match event:
            case ApplicationData():
                self._client.receive(event.data, now)
            case CertificatePresented() | RawPublicKeyPresented():
                # A simulated device trusts whatever answers: the gateway is under test, not the path to it.
                connection.certificate_verdict(None, now)
            case HandshakeCompleted():
                self._session = connection.session
                self._settle_connect(None)
            case HandshakeFailed():
                alert = f" (alert {event.alert})" if event.alert else ""
                self._settle_connect(DeviceError(f"{self.identity.name}: {event.reason}{alert}: {event.detail}"))
            case AssociationClosed():
                self._session = connection.session
                self._fail(DeviceError(f"{self.identity.name}: the gateway ended the session ({event.reason})"))
            case PskRequested() | ResumptionRequested():
                pass  # only a server is asked
            case _:
                assert_never(event)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.connection is None:
            return
        times = [t for t in (self.connection.next_timer(), self._client.next_timer()) if t is not None]
        if times:
            self._timer = asyncio.get_running_loop().call_at(min(times), self._on_timer)

    def _on_timer(self) -> None:
        now = asyncio.get_running_loop().time()
        if self.connection is not None:
            self.connection.handle_timer(now)
        self._client.handle_timer(now)
        self._flush()

    def _settle_connect(self, error: DeviceError | None) -> None:
        if self._connected is None or self._connected.done():
            return
        if error is None:
            self._connected.set_result(None)
        else:
            self._connected.set_exception(error)

    def _fail(self, error: DeviceError) -> None:
        self._settle_connect(error)
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(error)
        for observation in self._observing.values():
            observation.put(None)
        self._observing.clear()


class DeviceObservation:
    """What a device observes of the gateway.

        observation = await device.observe("/setpoint")
        message = await observation.next()

    Attributes:
        path: Of the resource.
        exchange: The registration.
    """

    def __init__(self, device: SimulatedDevice, path: str, exchange: ClientExchange) -> None:
        self.path = path
        self.exchange = exchange
        self._device = device
        self._states: asyncio.Queue[Message | None] = asyncio.Queue()
        self._begun = asyncio.Event()

    async def begun(self) -> None:
        """Until the gateway has answered the registration."""
        await self._begun.wait()

    def put(self, message: Message | None) -> None:
        """The next state; None when there will be none."""
        self._states.put_nowait(message)
        self._begun.set()

    async def next(self) -> Message:
        """The next state, or the error that ends the observation.

        Raises:
            DeviceError: It has ended.
        """
        message = await self._states.get()
        if message is None:
            self._states.put_nowait(None)
            raise DeviceError(f"{self._device.identity.name}: the observation of {self.path} has ended")
        return message


def _path_options(path: str) -> list[tuple[int, bytes]]:
    return [(int(Option.URI_PATH), segment.encode()) for segment in path.strip("/").split("/") if segment]
