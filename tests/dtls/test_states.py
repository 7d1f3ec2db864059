"""Every state of the server against every message type: accepted, or unexpected_message (RFC 5246 7.3)."""

import inspect

import pytest

from gateway.dtls.handshake import server_states, states
from gateway.dtls.numbers import HandshakeType
from tests.dtls import stages
from tests.dtls.kinds import FULL, kind_of
from tests.dtls.rawclient import HANDSHAKE, RawClient, handshake, raw_record
from tests.dtls.support import alerts

# RFC 5246 section 7.3 figures 1 and 2, RFC 5489 section 2 and RFC 7250 section 4.1: with a pre-shared key, with a
# client certificate or a bare key required, and resumed.
ACCEPTED = {
    "ExpectClientHello": {1},
    "AwaitResumption": set(),
    "ExpectResumedFinished": {20},
    "ExpectPskKeyExchange": {16},
    "AwaitPsk": set(),
    "ExpectCertificate": {11},
    "ExpectEcdheKeyExchange": {16},
    "ExpectCertificateVerify": {15},
    "AwaitCertificateVerdict": set(),
    "ExpectChangeCipherSpec": set(),
    "ExpectFinished": {20},
    "Established": set(),
}

# Every assigned handshake type of TLS 1.2 and DTLS 1.2, one of TLS 1.3, and two that nobody has assigned.
TYPES = [*HandshakeType, 8, 99, 255]
SUSPENDED = {"AwaitPsk", "AwaitCertificateVerdict", "AwaitResumption"}
UNEXPECTED = (2, 10)

running = [pair for pair in stages.UNFINISHED if pair[1] not in SUSPENDED | {"ExpectClientHello"}]
each_type = pytest.mark.parametrize("message_type", TYPES, ids=str)


def concrete(module: object) -> set[type]:
    """The states that a module defines and that have no further kinds."""
    found = {
        cls
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, states.State) and cls.__module__ == getattr(module, "__name__", "")
    }
    return {cls for cls in found if not any(other is not cls and issubclass(other, cls) for other in found)}


def test_table_has_every_state() -> None:
    shared = {states.ExpectChangeCipherSpec, states.Established}
    assert {cls.__name__ for cls in concrete(server_states) | shared} == set(ACCEPTED)
    assert {state for _, state in stages.ALL} == set(ACCEPTED)


def test_states_say_what_they_accept() -> None:
    for cls in concrete(server_states) | {states.ExpectChangeCipherSpec, states.Established}:
        assert issubclass(cls, states.State)
        assert {int(number) for number in cls.accepts} == ACCEPTED[cls.__name__], cls.__name__


@pytest.mark.parametrize(("kind", "state"), stages.EVERY)
def test_stage_is_where_it_says(kind: str, state: str) -> None:
    stage = stages.reach(kind, state)
    if state == "Established":
        assert kind_of(stage.client, stage.world.completed[0]) == kind
        return
    (current,) = stage.world.endpoint._handshakes.values()
    assert type(current._state).__name__ == state
    stage.complete()


def offer(stage: stages.Stage, message_type: int, body: bytes = b"") -> list[tuple[int, int]]:
    """The alerts that the next message of the client brings, if it is of this type."""
    content = handshake(message_type, stage.client.next_seq, body)
    stage.client.next_seq += 1
    answers = stage.world.deliver(stage.client.record(HANDSHAKE, content, stage.epoch))
    return alerts(stage.client.read(answers))


@pytest.mark.parametrize(("kind", "state"), running)
@each_type
def test_message_in_a_state(kind: str, state: str, message_type: int) -> None:
    stage = stages.reach(kind, state)
    answer = offer(stage, message_type)
    # An empty body is right for none of these messages: a type that is accepted fails for another reason.
    assert len(answer) == 1
    assert (answer == [UNEXPECTED]) is (message_type not in ACCEPTED[state])
    (failure,) = stage.world.failures
    assert (failure.reason.value == "unexpected_message") is (message_type not in ACCEPTED[state])
    assert stage.world.endpoint.handshakes_in_progress == 0


@pytest.mark.parametrize(("kind", "state"), [pair for pair in stages.EVERY if pair[1] in SUSPENDED])
@each_type
def test_message_while_the_shell_thinks(kind: str, state: str, message_type: int) -> None:
    stage = stages.reach(kind, state)
    assert offer(stage, message_type) == []
    assert stage.world.failures == []
    # It was kept, and is as wrong after the answer as before.
    stage.world.answering = True
    stage.world.answer(next(event for event in stage.world.events if type(event).__name__ in QUESTIONS))
    assert alerts(stage.client.read(stage.world.collect())) == [UNEXPECTED]
    assert stage.world.reason == "unexpected_message"


QUESTIONS = {"PskRequested", "CertificatePresented", "RawPublicKeyPresented", "ResumptionRequested"}


@pytest.mark.parametrize("kind", ["psk", "certificate", "ticket"])
@each_type
def test_message_before_the_hello_is_whole(kind: str, message_type: int) -> None:
    # Half of the ClientHello has come as message 1; something else under that number disagrees with it.
    stage = stages.reach(kind, "ExpectClientHello")
    assert stage.world.deliver(raw_record(HANDSHAKE, 70, handshake(message_type, 1, b""))) == []
    assert stage.world.drops() == {"bad_fragment": 1}
    stage.complete()


@pytest.mark.parametrize("kind", ["psk", "certificate", "ticket"])
@each_type
def test_message_after_the_handshake(kind: str, message_type: int) -> None:
    stage = stages.reach(kind, "Established")
    stage.world.advance(1.0)
    answers = stage.client.record(HANDSHAKE, handshake(message_type, stage.client.next_seq, b""), 1)
    records = stage.client.read(stage.world.deliver(answers))
    if message_type == HandshakeType.CLIENT_HELLO:
        assert alerts(records) == [(1, 100)]
    elif message_type == HandshakeType.FINISHED:
        # Of a resumed session the client's Finished is the last message, and nothing answers it.
        assert [record.content_type for record in records] == ([20, 22] if kind in FULL else [])
    else:
        assert records == []
        assert stage.world.drops() == {"unexpected": 1}
    stage.world.deliver(stage.client.data(b"unharmed"))
    assert stage.world.data == [b"unharmed"]


@pytest.mark.parametrize(("kind", "state"), running)
def test_message_after_a_failure_is_nobody_s(kind: str, state: str) -> None:
    stage = stages.reach(kind, state)
    offer(stage, 99)
    assert stage.world.deliver(raw_record(HANDSHAKE, 200, handshake(16, 9, b"\x00\x00"))) == []
    assert stage.world.drops() == {"no_session": 1}


def test_failure_does_not_stick() -> None:
    # CVE-2020-27222: one failed handshake made the next one of that peer fail, too.
    for kind, state in running:
        world = stages.world_for(kind)
        offer(stages.reach(kind, state, world), 99)
        world.events.clear()
        world.connect(RawClient(random=b"another try".ljust(32, b".")))


# --- answers of the shell that come at the wrong time ----------------------------------------------------------------


@pytest.mark.parametrize(("kind", "state"), stages.ALL)
def test_answer_to_a_question_that_nobody_asked(kind: str, state: str) -> None:
    stage = stages.reach(kind, state)
    if state not in SUSPENDED:
        stage.world.endpoint.provide_psk(1, b"x" * 16, stage.world.now)
        stage.world.endpoint.certificate_verdict(1, None, stage.world.now)
    elif state == "AwaitPsk":
        stage.world.endpoint.certificate_verdict(1, None, stage.world.now)
    else:
        stage.world.endpoint.provide_psk(1, b"x" * 16, stage.world.now)
    stage.world.endpoint.provide_psk(77, None, stage.world.now)
    stage.world.endpoint.certificate_verdict(77, None, stage.world.now)
    stage.complete()


def test_answer_that_comes_after_the_end() -> None:
    stage = stages.reach("psk", "AwaitPsk")
    world = stage.world
    world.advance(121.0)
    assert world.reason == "timeout"
    world.endpoint.provide_psk(1, b"x" * 16, world.now)
    assert world.collect() == []
    assert world.endpoint.handshakes_in_progress == 0


def test_second_answer_changes_nothing() -> None:
    stage = stages.reach("psk", "AwaitPsk")
    stage.world.endpoint.provide_psk(1, bytes(range(16)), stage.world.now, context="first")
    stage.world.endpoint.provide_psk(1, b"x" * 16, stage.world.now, context="second")
    client = stage.client
    client.read(stage.world.deliver(client.change_cipher_spec(), client.finished()))
    assert client.server_finished_verified
    assert stage.world.completed[0].association.context == "first"
