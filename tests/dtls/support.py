"""A server endpoint with a clock, a registry of one device, and no network."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from operator import attrgetter

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from gateway.dtls import (
    DEFAULT_SUITES,
    Address,
    ApplicationData,
    Association,
    AssociationClosed,
    CertificatePresented,
    Credential,
    Event,
    HandshakeCompleted,
    HandshakeError,
    HandshakeFailed,
    PskRequested,
    RawPublicKeyPresented,
    ResumptionConfig,
    ResumptionRequested,
    ServerConfig,
    ServerEndpoint,
    ServerParameters,
    SigningKey,
)
from gateway.dtls.messages import extensions as ext
from tests.dtls.rawclient import ECDHE_RSA_SUITES, Device, RawClient, Received, default_extensions

PSK = bytes(range(16))
CLIENT: Address = ("192.0.2.1", 40000)


def counting_random() -> Callable[[int], bytes]:
    """Different bytes at each call, the same in each run."""
    calls = 0

    def random(count: int) -> bytes:
        nonlocal calls
        calls += 1
        return sha256(calls.to_bytes(4, "big")).digest()[:count]

    return random


def self_signed(key: CertificateIssuerPrivateKeyTypes, name: str) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()
    certificate = builder.not_valid_after(datetime(2120, 1, 1, tzinfo=UTC)).sign(key, algorithm)
    return certificate.public_bytes(Encoding.DER)


@cache
def device() -> Device:
    """A device with a P-256 certificate. Who signed it is no matter here: that is the shell's verdict."""
    key = ec.generate_private_key(ec.SECP256R1())
    return Device(key, (self_signed(key, "dev1"),))


@cache
def server_identity() -> Device:
    key = ec.generate_private_key(ec.SECP256R1())
    return Device(key, (self_signed(key, "localhost"),))


@cache
def rsa_identity() -> Device:
    """A server with an RSA certificate."""
    key = rsa.generate_private_key(65537, 2048)
    return Device(key, (self_signed(key, "localhost"),))


def credential_of(identity: Device) -> Credential:
    return Credential(identity.chain, SigningKey(identity.key))


def credential() -> Credential:
    return credential_of(server_identity())


class World:
    """The endpoint under test and what a shell does for it.

    Attributes:
        now: Seconds; moves only by `advance`.
        keys: PSK by identity; any other identity is unknown.
        refusals: Why an identity is refused although it is known.
        verdict: What the shell says of a chain; None accepts.
        credential: What the shell wants to be reminded of when a session is to be resumed.
        welcome: Whether the shell lets sessions be resumed.
        answering: Whether the shell answers the engine's questions at once.
        events: Everything that the engine has said, in order.
    """

    def __init__(
        self,
        *,
        suites: tuple[int, ...] | None = None,
        psk: bool = True,
        certificate: bool = True,
        hint: bytes | None = None,
        require_extended_master_secret: bool = False,
        datagram_limit: int = 1232,
        max_handshakes: int = 10_000,
        max_associations: int = 200_000,
        max_reassembly: int = 1 << 25,
        max_waiting: int = 4096,
        max_auth_failures: int = 1 << 20,
        handshake_timeout_s: float = 120.0,
        idle_timeout_s: float = 86_400.0,
        random: Callable[[int], bytes] | None = None,
        resumption: ResumptionConfig | None = None,
        resume_without_cookie: bool = False,
        key_log: Callable[[bytes, bytes], None] | None = None,
    ) -> None:
        parameters = ServerParameters(
            credential=credential() if certificate else None,
            more_credentials=(credential_of(rsa_identity()),) if certificate else (),
            psk=psk,
            psk_hint=hint,
            require_extended_master_secret=require_extended_master_secret,
            suites=DEFAULT_SUITES if suites is None else suites,
        )
        self.config = ServerConfig(
            parameters,
            cookie_secret=b"cookie secret of the tests",
            datagram_limit=datagram_limit,
            retransmit_initial_s=1.0,  # RFC 6347 section 4.2.4.1: easier to count with than our default
            max_handshakes=max_handshakes,
            max_associations=max_associations,
            max_reassembly=max_reassembly,
            max_waiting=max_waiting,
            max_auth_failures=max_auth_failures,
            handshake_timeout_s=handshake_timeout_s,
            idle_timeout_s=idle_timeout_s,
            resumption=resumption,
            resume_without_cookie=resume_without_cookie,
            key_log=key_log,
        )
        self.endpoint = ServerEndpoint(self.config, random or counting_random())
        self.now = 1000.0
        self.keys = {b"dev1": PSK}
        self.refusals: dict[bytes, HandshakeError] = {}
        self.verdict: HandshakeError | None = None
        self.credential: bytes | None = b"credential 1"
        self.welcome = True
        self.answering = True
        self.events: list[Event] = []

    def deliver(self, *datagrams: bytes, source: Address = CLIENT) -> list[bytes]:
        """Gives datagrams to the endpoint and returns what it sends to that address."""
        answers: list[bytes] = []
        for datagram in datagrams:
            self.endpoint.receive_datagram(datagram, source, self.now)
            answers += self.collect(source)
        return answers

    def collect(self, source: Address = CLIENT) -> list[bytes]:
        """Answers the engine's questions, and takes what it sends to an address; it must send to no other."""
        while (event := self.endpoint.next_event()) is not None:
            self.events.append(event)
            if self.answering:
                self.answer(event)
        sent = self.endpoint.datagrams_to_send()
        assert {address for _, address in sent} <= {source}
        return [datagram for datagram, _ in sent]

    def answer(self, event: Event) -> None:
        if isinstance(event, PskRequested):
            refusal = self.refusals.get(event.identity)
            key = None if refusal else self.keys.get(event.identity)
            self.endpoint.provide_psk(
                event.handshake,
                key,
                self.now,
                context=event.identity,
                refusal=refusal,
                credential=self.credential if key is not None else None,
            )
        elif isinstance(event, CertificatePresented):
            self.endpoint.certificate_verdict(
                event.handshake, self.verdict, self.now, context=event.chain, credential=self.credential
            )
        elif isinstance(event, RawPublicKeyPresented):
            self.endpoint.certificate_verdict(
                event.handshake, self.verdict, self.now, context=event.public_key, credential=self.credential
            )
        elif isinstance(event, ResumptionRequested):
            self.endpoint.resumption_verdict(event.handshake, self.welcome, self.now, context=event.identity)

    def advance(self, seconds: float, source: Address = CLIENT) -> list[bytes]:
        """Lets time pass, each timer at its moment; returns what was sent."""
        until = self.now + seconds
        sent: list[bytes] = []
        while (timer := self.endpoint.next_timer()) is not None and timer <= until:
            self.now = max(self.now, timer)
            self.endpoint.handle_timer(self.now)
            sent += self.collect(source)
        self.now = until
        return sent

    # --- a whole handshake, or up to a point -----------------------------------------------------------------------

    def reach_server_done(self, client: RawClient, source: Address = CLIENT) -> list[bytes]:
        """Both hellos, or the second if the client has a cookie. Returns the server's flight."""
        if not client.cookie:
            client.read(self.deliver(client.hello(), source=source))
        flight = self.deliver(client.hello(), source=source)
        client.read(flight)
        return flight

    def resume(self, client: RawClient, source: Address = CLIENT) -> Association:
        """An abbreviated handshake of a client that offers a session."""
        self.reach_server_done(client, source)
        assert client.server_finished_verified
        assert self.deliver(client.change_cipher_spec(), client.finished(), source=source) == []
        assert self.completed[-1].facts.resumed
        return self.completed[-1].association

    def connect(self, client: RawClient, source: Address = CLIENT) -> Association:
        self.reach_server_done(client, source)
        client.read(self.deliver(*client.answer_flight(), source=source))
        assert client.server_finished_verified
        return self.completed[-1].association

    # --- what has happened -----------------------------------------------------------------------------------------

    @property
    def completed(self) -> list[HandshakeCompleted]:
        return [event for event in self.events if isinstance(event, HandshakeCompleted)]

    @property
    def failures(self) -> list[HandshakeFailed]:
        return [event for event in self.events if isinstance(event, HandshakeFailed)]

    @property
    def closed(self) -> list[AssociationClosed]:
        return [event for event in self.events if isinstance(event, AssociationClosed)]

    @property
    def data(self) -> list[bytes]:
        """Application data, in order of delivery."""
        return [event.data for event in self.events if isinstance(event, ApplicationData)]

    @property
    def reason(self) -> str:
        """The typed reason of the one failure that there was."""
        (failure,) = self.failures
        return failure.reason.value

    def drops(self) -> dict[str, int]:
        """The drop counters that are not zero."""
        return {reason.value: count for reason, count in self.endpoint.counters.drops.items() if count}


def certificate_client(suite: int = 0xC0AE) -> RawClient:
    return RawClient(suites=(suite,), device=device())


def client_for(suite: int) -> RawClient:
    client = RawClient(suites=(suite,), device=device())
    if suite in ECDHE_RSA_SUITES:
        client.extensions = {**default_extensions(), 13: ext.encode_u16_list((0x0804, 0x0403))}
    return client


CONTAINERS = {
    "associations": "associations",
    "associations_by_id": "associations_by_id",
    "_reserved_ids": "_handshaking._reserved_ids",
    "_paths": "_delivery.checks",
    "_handshakes": "_handshakes._by_address",
    "_by_id": "_handshakes._by_number",
    "_places": "_handshakes._places",
    "_timers": "_handshakes._timers",
    "_settled": "_handshakes.settled",
    "_buffers": "_handshaking._buffers",
    "_questions": "_handshaking._questions",
    "_asked": "_handshaking._asked",
    "_newcomers": "_established._newcomers",
    "_lingering": "_delivery.lingering",
    "_outgoing": "_delivery.outgoing",
    "_events": "_events",
}
"""Every container of the endpoint that a peer can make grow, and where it is; but for `MEMORY`."""

MEMORY = {"_agreements": "_handshaking._agreements", "_shares": "_handshaking.shares"}
"""What stays full of what was agreed on lately (`test_agreements`) or made ahead (`test_share_pool`), within bounds,
and is no peer's."""

EMPTY = dict.fromkeys(CONTAINERS, 0)


def sizes(endpoint: ServerEndpoint) -> dict[str, int]:
    """How much the endpoint holds."""
    return {name: len(attrgetter(place)(endpoint)) for name, place in CONTAINERS.items()}


def alerts(records: list[Received]) -> list[tuple[int, int]]:
    """(level, description) of the alerts among some records."""
    return [(record.content[0], record.content[1]) for record in records if record.content_type == 21]
