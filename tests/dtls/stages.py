"""Handshakes that stop at every state of the server, and can go on from there."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from gateway.dtls import Address, Association, Event
from tests.dtls.kinds import RESUMED, client_of
from tests.dtls.rawclient import RawClient, raw_record, split
from tests.dtls.resuming import ResumingWorld, move_session, newcomer, returning
from tests.dtls.support import CLIENT, World

HELLO_CUT = 60
"""Bytes of our ClientHellos that reach past the compression methods, which is as far as the gate looks."""


def records(datagram: bytes) -> list[bytes]:
    """The records of a datagram, each as bytes."""
    return [raw_record(content_type, number, body, version) for content_type, version, number, body in split(datagram)]


@dataclass(slots=True)
class Stage:
    """A handshake that has come to a state and no further.

    Attributes:
        state: Name of the server's state.
        world: The endpoint and its shell.
        client: The peer.
        steps: What is left of the honest handshake.
    """

    state: str
    world: World
    client: RawClient
    steps: Iterator[str]

    def complete(self) -> None:
        """Goes on as an honest client does; the handshake must succeed."""
        for _ in self.steps:
            pass
        assert self.client.server_finished_verified
        assert len(self.world.completed) == 1

    @property
    def epoch(self) -> int:
        """The epoch that the server reads in this state."""
        return 1 if self.state in ("ExpectFinished", "ExpectResumedFinished", "Established") else 0


def psk_steps(world: World, client: RawClient, source: Address = CLIENT) -> Iterator[str]:
    yield from _hellos(world, client, source)
    yield "ExpectPskKeyExchange"
    world.answering = False
    world.deliver(client.client_key_exchange(), source=source)
    question = world.events[-1]
    yield "AwaitPsk"
    yield from _answer_and_finish(world, client, question, source)


def certificate_steps(world: World, client: RawClient, source: Address = CLIENT) -> Iterator[str]:
    yield from _hellos(world, client, source)
    yield "ExpectCertificate"
    world.deliver(client.certificate(), source=source)
    yield "ExpectEcdheKeyExchange"
    world.deliver(client.client_key_exchange(), source=source)
    yield "ExpectCertificateVerify"
    world.answering = False
    world.deliver(client.certificate_verify(), source=source)
    question = world.events[-1]
    yield "AwaitCertificateVerdict"
    yield from _answer_and_finish(world, client, question, source)


def resumed_steps(world: World, client: RawClient, source: Address = CLIENT) -> Iterator[str]:
    """The client resumes the session of a handshake before, which has left no trace in the world."""
    world.answering = False
    yield from _hellos(world, client, source)
    question = world.events[-1]
    yield "AwaitResumption"
    world.answering = True
    world.answer(question)
    client.read(world.collect(source))
    yield "ExpectChangeCipherSpec"
    world.deliver(client.change_cipher_spec(), source=source)
    yield "ExpectResumedFinished"
    client.read(world.deliver(client.finished(), source=source))
    yield "Established"


PSK_STATES = (
    "ExpectClientHello",
    "ExpectPskKeyExchange",
    "AwaitPsk",
    "ExpectChangeCipherSpec",
    "ExpectFinished",
    "Established",
)
CERTIFICATE_STATES = (
    "ExpectClientHello",
    "ExpectCertificate",
    "ExpectEcdheKeyExchange",
    "ExpectCertificateVerify",
    "AwaitCertificateVerdict",
    "ExpectChangeCipherSpec",
    "ExpectFinished",
    "Established",
)

RESUMED_STATES = (
    "ExpectClientHello",
    "AwaitResumption",
    "ExpectChangeCipherSpec",
    "ExpectResumedFinished",
    "Established",
)

STATES = {
    "psk": PSK_STATES,
    "ecdhe_psk": PSK_STATES,
    "certificate": CERTIFICATE_STATES,
    "raw_public_key": CERTIFICATE_STATES,
    "ticket": RESUMED_STATES,
    "session_id": RESUMED_STATES,
}
"""States by kind of handshake, in their order: see `kinds`."""

EVERY = [(kind, state) for kind, states in STATES.items() for state in states]
"""(kind of handshake, state)"""

ALL = [(kind, state) for kind, state in EVERY if kind in ("psk", "certificate", "ticket")]
"""The same with one kind for each order of states: enough where it is the state that counts."""

UNFINISHED = [(kind, state) for kind, state in ALL if state != "Established"]

STEPS = {PSK_STATES: psk_steps, CERTIFICATE_STATES: certificate_steps, RESUMED_STATES: resumed_steps}


def world_for(kind: str) -> World:
    """A world in which a handshake of this kind can come about."""
    return ResumingWorld() if kind in RESUMED else World()


def client_for(kind: str, world: World) -> RawClient:
    """The client of a handshake of this kind; a session of before has left no other trace in the world."""
    if kind not in RESUMED:
        return client_of(kind)
    assert isinstance(world, ResumingWorld)
    other, before, association = _session(kind)
    if kind == "session_id":
        move_session(before, association, other, world)
    return returning(before)


@cache
def _session(kind: str) -> tuple[ResumingWorld, RawClient, Association]:
    world, client = ResumingWorld(), newcomer(tickets=kind == "ticket")
    return world, client, world.connect(client)


def reach(
    kind: str, state: str, world: World | None = None, client: RawClient | None = None, source: Address = CLIENT
) -> Stage:
    """A handshake of a kind (a key of STATES) stopped at a state."""
    world = world or world_for(kind)
    client = client or client_for(kind, world)
    steps = STEPS[STATES[kind]](world, client, source)
    for name in steps:
        if name == state:
            return Stage(state, world, client, steps)
    raise AssertionError(f"a {kind} handshake has no {state}")


def _hellos(world: World, client: RawClient, source: Address) -> Iterator[str]:
    client.read(world.deliver(client.hello(), source=source))
    first, *rest = records(client.hello(pieces=(HELLO_CUT + len(client.session_id),)))
    world.deliver(first, source=source)
    yield "ExpectClientHello"
    client.read(world.deliver(*rest, source=source))


def _answer_and_finish(world: World, client: RawClient, question: Event, source: Address) -> Iterator[str]:
    world.answering = True
    world.answer(question)
    world.collect(source)
    yield "ExpectChangeCipherSpec"
    world.deliver(client.change_cipher_spec(), source=source)
    yield "ExpectFinished"
    client.read(world.deliver(client.finished(), source=source))
    yield "Established"
