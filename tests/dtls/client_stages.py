"""Handshakes that stop at every state of the client, and can go on from there; `stages` the other way around."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.dtls.rawkeys import CLIENT_TYPE, RAW, SERVER_TYPE, raw_pair
from tests.dtls.rawserver import ClientWorld, RawServer, pair

BARE = {CLIENT_TYPE: bytes((RAW,)), SERVER_TYPE: bytes((RAW,))}


@dataclass(slots=True)
class ClientStage:
    """A handshake that has come to a state and no further.

    Attributes:
        state: Name of the client's state.
        world: The client and its shell.
        server: The peer.
        steps: What is left of the honest handshake.
    """

    state: str
    world: ClientWorld
    server: RawServer
    steps: Iterator[str]

    def complete(self) -> None:
        """Goes on as an honest server does; the handshake must succeed."""
        for _ in self.steps:
            pass
        assert self.server.client_finished_verified
        assert self.world.completed.association is self.world.connection.association

    @property
    def epoch(self) -> int:
        """The epoch that the client reads in this state."""
        return 1 if self.state in ("ExpectServerFinished", "ExpectResumedServerFinished", "Established") else 0


def psk_steps(world: ClientWorld, server: RawServer) -> Iterator[str]:
    yield "ExpectServerHello"
    world.deliver(server.answer_hello())
    yield "ExpectPskHint"
    world.deliver(server.hint())
    yield "ExpectServerHelloDone"
    server.read(world.deliver(server.done()))
    yield from _finish(world, server)


def ecdhe_psk_steps(world: ClientWorld, server: RawServer) -> Iterator[str]:
    yield "ExpectServerHello"
    world.deliver(server.answer_hello())
    yield "ExpectEcdhePskParameters"
    world.deliver(server.psk_share(b"a hint"))
    yield "ExpectServerHelloDone"
    server.read(world.deliver(server.done()))
    yield from _finish(world, server)


def certificate_steps(world: ClientWorld, server: RawServer) -> Iterator[str]:
    yield "ExpectServerHello"
    world.deliver(server.answer_hello())
    yield "ExpectServerCertificate"
    world.deliver(server.present())
    yield "ExpectEcdheParameters"
    world.deliver(server.share())
    yield "ExpectCertificateRequest"
    world.deliver(server.request())
    yield "ExpectServerHelloDone"
    world.answering = False
    world.deliver(server.done())
    yield "AwaitServerVerdict"
    world.answering = True
    world.connection.certificate_verdict(None, world.now)
    server.read(world.collect())
    yield from _finish(world, server)


def resumed_steps(world: ClientWorld, server: RawServer) -> Iterator[str]:
    yield "ExpectServerHello"
    assert server.heard is not None
    hello = server.answer_hello(session_id=server.heard.session_id)
    server.resume()
    world.deliver(hello)
    if 35 in (server.extensions or {}):
        yield "ExpectNewSessionTicket"
        world.deliver(server.new_ticket())
    yield "ExpectChangeCipherSpec"
    world.deliver(server.change_cipher_spec())
    yield "ExpectResumedServerFinished"
    server.read(world.deliver(server.finished()))
    yield "Established"


def _finish(world: ClientWorld, server: RawServer) -> Iterator[str]:
    yield "ExpectChangeCipherSpec"
    world.deliver(server.change_cipher_spec())
    yield "ExpectServerFinished"
    world.deliver(server.finished())
    yield "Established"


STEPS = {
    "psk": psk_steps,
    "ecdhe_psk": ecdhe_psk_steps,
    "certificate": certificate_steps,
    "raw_public_key": certificate_steps,
    "ticket": resumed_steps,
    "session_id": resumed_steps,
}
"""By kind of handshake: see `kinds`."""


def pair_for(kind: str) -> tuple[ClientWorld, RawServer]:
    return raw_pair(BARE) if kind == "raw_public_key" else pair(kind)


def reach(kind: str, state: str) -> ClientStage:
    """A handshake of a kind (a key of STEPS) stopped at a state."""
    world, server = pair_for(kind)
    steps = STEPS[kind](world, server)
    for name in steps:
        if name == state:
            return ClientStage(state, world, server, steps)
    raise AssertionError(f"a {kind} handshake has no {state}")


def _all() -> list[tuple[str, str]]:
    return [(kind, state) for kind, steps in STEPS.items() for state in steps(*pair_for(kind))]


ALL = _all()
"""(kind of handshake, state)"""

UNFINISHED = [(kind, state) for kind, state in ALL if state != "Established"]
