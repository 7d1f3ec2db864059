"""The engine next to the automaton of legal sequences: each transition, and each sequence up to a length."""

import itertools
from collections.abc import Iterator

import pytest

from tests.dtls import model, stages
from tests.dtls.kinds import kind_of
from tests.dtls.rawclient import HANDSHAKE, RawClient, handshake
from tests.dtls.resuming import ResumingWorld
from tests.dtls.support import World, device

IGNORED = "DW"
ALIKE = ("ecdhe_psk", "raw_public_key", "session_id")


def at_the_flight(kind: str) -> tuple[World, RawClient]:
    """A server that has answered the hellos of a client."""
    if kind != "refused":
        world = stages.world_for(kind)
        client = stages.client_for(kind, world)
        world.reach_server_done(client)
        return world, client
    world = ResumingWorld()
    world.welcome = False
    client = stages.client_for("ticket", world)
    world.reach_server_done(client)
    client.write_keys = client.read_keys = None  # it sees that it begins anew
    return world, client


class Conversation:
    """A client after its hellos, that sends what the letters say.

    Attributes:
        possible: The states of the automaton that agree with all that was seen.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.world, self.client = at_the_flight(kind)
        self.client.device = device()
        self.possible = model.start()

    def send(self, letter: str) -> None:
        self.possible = model.step(self.kind, self.possible, letter)
        self.world.deliver(self.record(letter))
        self.possible = frozenset(state for state in self.possible if state.end == self.end)

    def record(self, letter: str) -> bytes:
        client = self.client
        match letter:
            case "C":
                return client.certificate()
            case "K":
                return client.client_key_exchange()
            case "V":
                return client.certificate_verify()
            case "S":
                return client.change_cipher_spec()
            case "F" if client.write_keys is not None:
                return client.finished()
            case "F" | "P":
                client.next_seq += 1
                return client.record(HANDSHAKE, handshake(20, client.next_seq - 1, bytes(12)))
            case "D":
                return client.record(23, b"data")
            case "W":
                return client.alert(1, 90)
            case _:
                return client.alert(2, 40)

    @property
    def end(self) -> str | None:
        """As the automaton says it."""
        world = self.world
        assert len(world.completed) + len(world.failures) <= 1
        if world.completed:
            return "done"
        if not world.failures:
            return None
        reason = world.failures[0].reason.value
        return "gone" if reason == "peer_alert" else reason


def conforms(kind: str, letters: str) -> None:
    conversation = Conversation(kind)
    for position, letter in enumerate(letters):
        conversation.send(letter)
        assert conversation.possible, f"{letters[: position + 1]} ends with {conversation.end}"


def around_the_legal_way(kind: str, length: int) -> Iterator[str]:
    """From each state, everything of a length, and then the rest of the legal way."""
    honest = model.HONEST[kind]
    for cut in range(len(honest) + 1):
        for detour in itertools.product(model.LETTERS[kind], repeat=length):
            yield honest[:cut] + "".join(detour) + honest[cut:]


@pytest.mark.parametrize("kind", model.HONEST)
def test_the_legal_way_ends_well_and_every_shorter_one_waits(kind: str) -> None:
    honest = model.HONEST[kind]
    for cut in range(len(honest)):
        conversation = Conversation(kind)
        for letter in honest[:cut]:
            conversation.send(letter)
        assert {state.end for state in conversation.possible} == {None}
    conversation = Conversation(kind)
    for letter in honest:
        conversation.send(letter)
    assert {state.end for state in conversation.possible} == {"done"}
    assert kind_of(conversation.client, conversation.world.completed[0]) == ("psk" if kind == "refused" else kind)


@pytest.mark.parametrize("kind", model.HONEST)
def test_every_transition(kind: str) -> None:
    seen = set()
    for letters in around_the_legal_way(kind, 1):
        conforms(kind, letters)
        seen.add(letters)
    assert len(seen) >= len(model.LETTERS[kind]) * len(model.HONEST[kind])


@pytest.mark.parametrize(
    "kind",
    # Those with the letters of another kind do as it does; the long form looks.
    ["psk", "certificate", "ticket", "refused", *(pytest.param(kind, marks=pytest.mark.long) for kind in ALIKE)],
)
def test_every_pair_of_transitions(kind: str) -> None:
    for letters in around_the_legal_way(kind, 2):
        conforms(kind, letters)


def test_every_sequence_of_four() -> None:
    for letters in itertools.product("CKSFPA", repeat=4):
        conforms("psk", "".join(letters))


@pytest.mark.long
@pytest.mark.parametrize("kind", model.HONEST)
def test_every_sequence_of_five(kind: str) -> None:
    for letters in itertools.product(sorted(set(model.LETTERS[kind]) - set(IGNORED)), repeat=5):
        conforms(kind, "".join(letters))


@pytest.mark.parametrize("kind", model.HONEST)
def test_a_handshake_completes_only_after_all_that_must_come(kind: str) -> None:
    """Of the automaton itself: whatever is left out of the legal way, it does not end well."""
    honest = model.HONEST[kind]
    for missing in range(len(honest)):
        states = model.start()
        for letter in honest[:missing] + honest[missing + 1 :]:
            states = model.step(kind, states, letter)
        assert "done" not in {state.end for state in states}
