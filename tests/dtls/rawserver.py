"""A server that does one step at a time, and any step wrong: the counterpart of `rawclient`, and a client to try it on.

Records, counters, reassembly and the formulas of the RFCs are those of `RawClient`: they are the same on both sides.
What a server says, and what it makes of the words of the client, is here.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.dtls import (
    Address,
    ApplicationData,
    Association,
    AssociationClosed,
    CertificatePresented,
    ClientConfig,
    ClientConnection,
    ClientParameters,
    ClientSession,
    Credential,
    Event,
    HandshakeCompleted,
    HandshakeError,
    HandshakeFailed,
    RawPublicKeyPresented,
    SigningKey,
)
from gateway.dtls.handshake.flight import FlightFilter
from gateway.dtls.messages.certificate import Certificate, CertificateRequest, DigitallySigned
from gateway.dtls.messages.hello import ClientHello, HelloVerifyRequest, ServerHello
from gateway.dtls.messages.key_exchange import EcdheParameters, EcdheServerKeyExchange
from tests.dtls.rawclient import (
    CURVES,
    DIGESTS,
    ECDHE_PSK_SUITES,
    ECDHE_RSA_SUITES,
    PSK_SUITES,
    Device,
    Key,
    RawClient,
    certificate_key,
    ecdhe_premaster,
    handshake,
    plain_premaster,
    sign,
)
from tests.dtls.support import PSK, alerts, counting_random, device, rsa_identity, server_identity

SERVER: Address = ("192.0.2.2", 5684)


@dataclass(slots=True)
class RawServer(RawClient):
    """`received`, `messages` and the read side are the client's words here, `random` is the client's random.

    Attributes:
        chosen: The suite of the ServerHello.
        group: Of the ServerKeyExchange.
        heard: The client's newest hello.
        client_chain: None before its Certificate has come.
        possession_proven: Its CertificateVerify is its leaf's signature over the transcript.
        client_finished_verified: Its Finished is what the transcript calls for.
    """

    chosen: int = 0xC0A8
    group: int = 23
    extensions: dict[int, bytes] | None = field(default_factory=lambda: {23: b"", 0xFF01: b"\x00"})
    server_random: bytes = bytes(range(200, 232))
    heard: ClientHello | None = None
    client_identity: bytes = b""
    client_chain: tuple[bytes, ...] | None = None
    signature_scheme: int = 0
    possession_proven: bool = False
    client_finished_verified: bool = False
    _points: dict[int, ec.EllipticCurvePrivateKey] = field(
        default_factory=lambda: {group: ec.generate_private_key(curve()) for group, curve in CURVES.items()}
    )
    _x25519: x25519.X25519PrivateKey = field(default_factory=x25519.X25519PrivateKey.generate)

    # --- the server's messages -------------------------------------------------------------------------------------

    def verify_request(self, cookie: bytes) -> bytes:
        return self.message(3, HelloVerifyRequest(cookie).encode())

    def answer_hello(self, **changes: Any) -> bytes:
        """ServerHello; `changes` are fields of it."""
        answer = ServerHello(self.server_random, self.chosen, self.extensions)
        self.server_hello = replace(answer, **changes)
        return self.message(2, self.server_hello.encode())

    def present(self, chain: tuple[bytes, ...] | None = None) -> bytes:
        return self.message(11, Certificate(self._identity().chain if chain is None else chain).encode())

    def hint(self, hint: bytes = b"a hint") -> bytes:
        return self.message(12, len(hint).to_bytes(2, "big") + hint)

    def share(
        self,
        *,
        group: int | None = None,
        public: bytes | None = None,
        scheme: int | None = None,
        key: Key | None = None,
        signed: bytes | None = None,
        signature: bytes | None = None,
    ) -> bytes:
        """ServerKeyExchange with our point, signed (RFC 8422 section 5.4)."""
        parameters = EcdheParameters(group or self.group, self._public() if public is None else public)
        if scheme is None:
            scheme = 0x0804 if self.chosen in ECDHE_RSA_SUITES else 0x0403
        if signed is None:
            signed = self.random + self.server_random + parameters.encode()
        if signature is None:
            signature = sign(key or self._identity().key, scheme, signed)
        return self.message(12, EcdheServerKeyExchange(parameters, DigitallySigned(scheme, signature)).encode())

    def psk_share(self, hint: bytes = b"", *, group: int | None = None, public: bytes | None = None) -> bytes:
        """ServerKeyExchange of ECDHE_PSK (RFC 5489 section 2): the hint, then our point; unsigned."""
        point = self._public() if public is None else public
        parameters = b"\x03" + (group or self.group).to_bytes(2, "big") + bytes((len(point),)) + point
        return self.message(12, len(hint).to_bytes(2, "big") + hint + parameters)

    def request(self, schemes: tuple[int, ...] = (0x0403,), types: bytes = b"\x40") -> bytes:
        return self.message(13, CertificateRequest(types, schemes).encode())

    def done(self, body: bytes = b"") -> bytes:
        return self.message(14, body)

    def finished(self, *, epoch: int = 1, verify_data: bytes | None = None) -> bytes:
        if verify_data is None:
            verify_data = self.prf(b"server finished", self.transcript_hash())
        return self.message(20, verify_data, epoch=epoch)

    def new_ticket(self, ticket: bytes = b"a ticket", hint: int = 3600) -> bytes:
        return self.message(4, hint.to_bytes(4, "big") + len(ticket).to_bytes(2, "big") + ticket)

    def first_flight(self, *, request: bool = True) -> list[bytes]:
        """ServerHello to ServerHelloDone as they should be, one record an item."""
        if self.chosen in PSK_SUITES:
            return [self.answer_hello(), self.done()]
        if self.chosen in ECDHE_PSK_SUITES:
            return [self.answer_hello(), self.psk_share(), self.done()]
        flight = [self.answer_hello(), self.present(), self.share()]
        if request:
            flight.append(self.request())
        return [*flight, self.done()]

    # --- the client's side -----------------------------------------------------------------------------------------

    def _take(self, message_type: int, seq: int, body: bytes) -> None:
        self.messages.append((message_type, seq, body))
        if message_type == 1:
            self.heard = ClientHello.decode(body)
            self.random = self.heard.random
            self.transcript.clear()  # RFC 6347 section 4.2.6
        elif message_type == 15:
            self._check_possession(DigitallySigned.decode(body))
        elif message_type == 20:
            expected = self.prf(b"client finished", self.transcript_hash())
            self.client_finished_verified = body == expected
        self.transcript.append(handshake(message_type, seq, body))
        if message_type == 11:
            self.client_chain = Certificate.decode(body).chain
        elif message_type == 16:
            self._derive(self._premaster(body))

    def _check_possession(self, signed: DigitallySigned) -> None:
        assert self.client_chain
        key, content = certificate_key(self.client_chain[0]), b"".join(self.transcript)
        if isinstance(key, ed25519.Ed25519PublicKey):
            assert signed.scheme == 0x0807
            key.verify(signed.signature, content)
        else:
            assert signed.scheme in (0x0403, 0x0503, 0x0603)
            key.verify(signed.signature, content, ec.ECDSA(DIGESTS.get(signed.scheme, hashes.SHA256())))
        self.signature_scheme = signed.scheme
        self.possession_proven = True

    def _premaster(self, body: bytes) -> bytes:
        if self.is_psk:
            self.client_identity = body[2:]
            return plain_premaster(self.psk)
        if self.chosen in ECDHE_PSK_SUITES:
            identity_length = int.from_bytes(body[:2], "big")
            self.client_identity, body = body[2 : 2 + identity_length], body[2 + identity_length :]
            return ecdhe_premaster(self.psk, self._shared(body[1:]))
        return self._shared(body[1:])

    def _shared(self, point: bytes) -> bytes:
        if self.group == 29:
            return self._x25519.exchange(x25519.X25519PublicKey.from_public_bytes(point))
        key = self._points[self.group]
        return key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(key.curve, point))

    def _public(self) -> bytes:
        if self.group == 29:
            return self._x25519.public_key().public_bytes_raw()
        return self._points[self.group].public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def _identity(self) -> Device:
        return rsa_identity() if self.chosen in ECDHE_RSA_SUITES else server_identity()

    def resume(self) -> None:
        RawClient.resume(self)
        self.write_keys, self.read_keys = self.read_keys, self.write_keys

    def _derive(self, premaster: bytes) -> None:
        RawClient._derive(self, premaster)  # super() does not find its way out of a slotted dataclass
        self.write_keys, self.read_keys = self.read_keys, self.write_keys


class ClientWorld:
    """The client under test, its shell, and its clock.

    Attributes:
        now: Seconds; moves only by `advance`.
        verdict: What the shell says of the server's chain; None accepts.
        answering: Whether the shell answers at once.
        events: Everything that the engine has said, in order.
        opening: The datagrams with the first hello.
    """

    def __init__(
        self,
        parameters: ClientParameters | None = None,
        *,
        datagram_limit: int = 1232,
        handshake_timeout_s: float = 60.0,
        flight_filter: FlightFilter | None = None,
    ) -> None:
        self.now = 1000.0
        self.config = ClientConfig(
            parameters or psk_parameters(),
            datagram_limit=datagram_limit,
            retransmit_initial_s=1.0,
            handshake_timeout_s=handshake_timeout_s,
            flight_filter=flight_filter,
        )
        self.connection = ClientConnection(self.config, SERVER, counting_random(), self.now)
        self.verdict: HandshakeError | None = None
        self.answering = True
        self.events: list[Event] = []
        self.opening = self.collect()

    def deliver(self, *datagrams: bytes) -> list[bytes]:
        """Gives datagrams to the client and returns what it sends."""
        answers: list[bytes] = []
        for datagram in datagrams:
            self.connection.receive_datagram(datagram, self.now)
            answers += self.collect()
        return answers

    def collect(self) -> list[bytes]:
        while (event := self.connection.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, CertificatePresented | RawPublicKeyPresented) and self.answering:
                self.connection.certificate_verdict(self.verdict, self.now)
        return self.connection.datagrams_to_send()

    def advance(self, seconds: float) -> list[bytes]:
        """Lets time pass, each timer at its moment; returns what was sent."""
        until = self.now + seconds
        sent: list[bytes] = []
        while (timer := self.connection.next_timer()) is not None and timer <= until:
            self.now = max(self.now, timer)
            self.connection.handle_timer(self.now)
            sent += self.collect()
        self.now = until
        return sent

    def connect(self, server: RawServer) -> Association:
        """A whole handshake, without a cookie."""
        server.read(self.opening)
        server.read(self.deliver(*server.first_flight()))
        assert server.client_finished_verified
        assert self.deliver(server.change_cipher_spec(), server.finished()) == []
        return self.completed.association

    # --- what has happened -----------------------------------------------------------------------------------------

    @property
    def completed(self) -> HandshakeCompleted:
        """The one success that there was."""
        (event,) = (event for event in self.events if isinstance(event, HandshakeCompleted))
        return event

    @property
    def connected(self) -> bool:
        return self.connection.association is not None

    @property
    def failure(self) -> HandshakeFailed:
        """The one failure that there was; nothing may come after it, and no timer may run."""
        (event,) = (event for event in self.events if isinstance(event, HandshakeFailed))
        assert self.events[-1] is event
        assert self.connection.next_timer() is None
        assert self.connection.association is None
        return event

    @property
    def ended(self) -> bool:
        return any(isinstance(event, HandshakeCompleted | HandshakeFailed) for event in self.events)

    @property
    def closed(self) -> list[str]:
        return [event.reason for event in self.events if isinstance(event, AssociationClosed)]

    @property
    def data(self) -> list[bytes]:
        return [event.data for event in self.events if isinstance(event, ApplicationData)]

    def drops(self) -> dict[str, int]:
        """The drop counters that are not zero."""
        return {reason.value: count for reason, count in self.connection.drops.items() if count}

    def refuses(self, server: RawServer, *datagrams: bytes) -> tuple[str, list[tuple[int, int]]]:
        """The reason of the failure that these datagrams bring, and the alerts that the server hears of it."""
        heard = alerts(server.read(self.deliver(*datagrams)))
        return self.failure.reason.value, heard


def own_credential() -> Credential:
    return Credential(device().chain, SigningKey(device().key))


def psk_parameters(suite: int = 0xC0A8, **changes: Any) -> ClientParameters:
    return replace(ClientParameters((suite,), psk_identity=b"dev1", psk=PSK), **changes)


def certificate_parameters(suite: int = 0xC0AE, **changes: Any) -> ClientParameters:
    return replace(ClientParameters((suite,), credential=own_credential()), **changes)


def saved_session(**changes: Any) -> ClientSession:
    """What a client keeps of a session before."""
    session = ClientSession(
        suite=0xC0A8,
        extended_master_secret=True,
        server_name=None,
        session_id=b"",
        ticket=b"the ticket of before",
        lifetime_hint=3600,
        master=bytes(range(48)),
    )
    return replace(session, **changes)


def pair(kind: str, **changes: Any) -> tuple[ClientWorld, RawServer]:
    """A client (psk, ecdhe_psk, certificate, ticket or session_id) and a server that has read its first hello."""
    if kind in ("ticket", "session_id"):
        answers = {23: b"", 0xFF01: b"\x00"}
        session = saved_session()
        if kind == "ticket":
            answers[35] = b""
        else:
            session = saved_session(ticket=b"", session_id=b"the id of before")
        world = ClientWorld(psk_parameters(session=session, **changes))
        server = RawServer(chosen=0xC0A8, resuming=session.master, extensions=answers)
    elif kind == "psk":
        world, server = ClientWorld(psk_parameters(**changes)), RawServer(chosen=0xC0A8)
    elif kind == "ecdhe_psk":
        world, server = ClientWorld(psk_parameters(0xD003, **changes)), RawServer(chosen=0xD003)
    else:
        world, server = ClientWorld(certificate_parameters(**changes)), RawServer(chosen=0xC0AE)
    server.read(world.opening)
    return world, server
