"""Every state of the client against every message type, alert, and answer of the shell (RFC 5246 section 7.3)."""

import pytest

from gateway.dtls import CertificatePresented, FailureReason, HandshakeError
from gateway.dtls.handshake import client_states, states
from gateway.dtls.numbers import HandshakeType
from tests.dtls import client_stages
from tests.dtls.client_stages import ClientStage, reach
from tests.dtls.rawclient import HANDSHAKE, handshake
from tests.dtls.rawserver import ClientWorld, certificate_parameters, pair
from tests.dtls.support import alerts
from tests.dtls.test_states import concrete

# RFC 5246 section 7.3 figure 1, RFC 6347 section 4.2.4 figure 1 and RFC 5489 section 2, for all kinds of
# handshake.
#
# A HelloRequest is in no row. RFC 5246 section 7.4.1.1 has clients ignore one in the middle of a handshake, and servers
# not send it there; in DTLS it would take a message_seq that the transcript then lacks. This client gives up instead.
ACCEPTED = {
    "ExpectServerHello": {2, 3},
    "ExpectPskHint": {12, 14},
    "ExpectEcdhePskParameters": {12},
    "ExpectServerCertificate": {11},
    "ExpectEcdheParameters": {12},
    "ExpectCertificateRequest": {13, 14},
    "ExpectServerHelloDone": {14},
    "AwaitServerVerdict": set(),
    "ExpectChangeCipherSpec": set(),
    "ExpectNewSessionTicket": {4},
    "ExpectResumedServerFinished": {20},
    "ExpectServerFinished": {20},
    "Established": set(),
}

# Every assigned handshake type of TLS 1.2 and DTLS 1.2, one of TLS 1.3, and two that nobody has assigned.
TYPES = [*HandshakeType, 8, 99, 255]

each_type = pytest.mark.parametrize("message_type", TYPES, ids=str)
each_stage = pytest.mark.parametrize(("kind", "state"), client_stages.UNFINISHED)
running = [pair for pair in client_stages.UNFINISHED if pair[1] != "AwaitServerVerdict"]

# As long as a body of garbage needs to be to be wrong for each accepted type, ServerHelloDone included.
GARBAGE = b"\xff"


def offer(stage: ClientStage, message_type: int) -> list[bytes]:
    """What the client sends when the next message of the server is of this type."""
    content = handshake(message_type, stage.server.next_seq, GARBAGE)
    stage.server.next_seq += 1
    return stage.world.deliver(stage.server.record(HANDSHAKE, content, stage.epoch))


def test_table_has_every_state() -> None:
    shared = {states.ExpectChangeCipherSpec, states.Established}
    assert {cls.__name__ for cls in concrete(client_states) | shared} == set(ACCEPTED)
    assert {state for _, state in client_stages.ALL} == set(ACCEPTED)


def test_states_say_what_they_accept() -> None:
    for cls in concrete(client_states):
        assert issubclass(cls, states.State)
        assert {int(number) for number in cls.accepts} == ACCEPTED[cls.__name__], cls.__name__


@each_stage
def test_stage_is_where_it_says(kind: str, state: str) -> None:
    stage = reach(kind, state)
    assert stage.world.connection._handshake is not None
    assert type(stage.world.connection._handshake._state).__name__ == state
    stage.complete()


@pytest.mark.parametrize(("kind", "state"), running)
@each_type
def test_message_in_a_state(kind: str, state: str, message_type: int) -> None:
    stage = reach(kind, state)
    offer(stage, message_type)
    accepted = message_type in ACCEPTED[state]
    # The body is right for no message: a type that is accepted fails for another reason.
    assert (stage.world.failure.reason is FailureReason.UNEXPECTED_MESSAGE) is not accepted
    assert (stage.world.failure.alert == "unexpected_message") is not accepted


@each_type
def test_message_while_the_shell_thinks(message_type: int) -> None:
    stage = reach("certificate", "AwaitServerVerdict")
    assert offer(stage, message_type) == []
    assert not stage.world.ended
    # It was kept, and is as wrong after the answer as before.
    stage.world.connection.certificate_verdict(None, stage.world.now)
    stage.world.collect()
    assert stage.world.failure.reason is FailureReason.UNEXPECTED_MESSAGE


@pytest.mark.parametrize("kind", ["psk", "ecdhe_psk", "certificate", "raw_public_key"])
@each_type
def test_message_after_the_handshake(kind: str, message_type: int) -> None:
    stage = reach(kind, "Established")
    assert offer(stage, message_type) == []
    assert stage.world.drops() == {"repeated": 1}
    stage.world.deliver(stage.server.data(b"unharmed"))
    assert stage.world.data == [b"unharmed"]


@pytest.mark.parametrize(("kind", "state"), running)
def test_nothing_comes_after_a_failure(kind: str, state: str) -> None:
    stage = reach(kind, state)
    offer(stage, 99)
    assert stage.world.failure.reason is FailureReason.UNEXPECTED_MESSAGE
    assert offer(stage, 2) == []
    stage.world.connection.certificate_verdict(None, stage.world.now)
    stage.world.connection.send(b"data", stage.world.now)
    stage.world.connection.close(stage.world.now)
    stage.world.connection.handle_timer(stage.world.now + 1000)
    assert stage.world.collect() == []
    assert stage.world.failure.reason is FailureReason.UNEXPECTED_MESSAGE
    assert stage.world.drops() == {"no_session": 1}


# --- alerts -----------------------------------------------------------------------------------------------------------


@each_stage
@pytest.mark.parametrize(
    ("level", "description", "name"),
    [(2, 40, "handshake_failure"), (2, 51, "decrypt_error"), (2, 199, "unknown"), (1, 0, "close_notify")],
)
def test_alert_that_ends_the_handshake(kind: str, state: str, level: int, description: int, name: str) -> None:
    stage = reach(kind, state)
    # An alert is not answered by an alert.
    assert stage.world.deliver(stage.server.alert(level, description, stage.epoch)) == []
    assert (stage.world.failure.reason, stage.world.failure.alert) == (FailureReason.PEER_ALERT, name)


@each_stage
@pytest.mark.parametrize("description", [90, 100, 112, 41, 200])
def test_warning_is_passed_over(kind: str, state: str, description: int) -> None:
    stage = reach(kind, state)
    assert stage.world.deliver(stage.server.alert(1, description, stage.epoch)) == []
    stage.complete()


@each_stage
def test_alert_of_a_wrong_length(kind: str, state: str) -> None:
    stage = reach(kind, state)
    stage.world.deliver(stage.server.record(21, b"\x02\x28\x00", stage.epoch))
    assert stage.world.drops() == {"malformed": 1}
    stage.complete()


# --- the shell and time -----------------------------------------------------------------------------------------------


@each_stage
def test_close_during_the_handshake(kind: str, state: str) -> None:
    stage = reach(kind, state)
    stage.world.connection.close(stage.world.now)
    answer = stage.world.collect()
    assert alerts(stage.server.read(answer)) == [(2, 90)]
    assert stage.world.failure.reason is FailureReason.SHUTDOWN
    assert stage.world.advance(1000.0) == []


@each_stage
def test_server_falls_silent(kind: str, state: str) -> None:
    stage = reach(kind, state)
    repeated = stage.world.advance(59.0)
    assert not stage.world.ended
    # RFC 6347 section 4.2.4.1: the flight goes out again after 1, 2, 4... seconds, but not while it is us who think.
    assert bool(repeated) is (state != "AwaitServerVerdict")
    stage.world.advance(1.0)
    assert (stage.world.failure.reason, stage.world.failure.alert) == (FailureReason.TIMEOUT, None)
    assert stage.world.failure.detail.startswith("waited for the ")
    assert state not in stage.world.failure.detail
    assert stage.world.failure.facts.finished_at == 1060.0


def test_repetitions_double() -> None:
    world = ClientWorld()
    sent_at = []
    while not world.ended:
        timer = world.connection.next_timer()
        assert timer is not None
        if world.advance(timer - world.now):
            sent_at.append(world.now - 1000.0)
    assert sent_at[:5] == [1.0, 3.0, 7.0, 15.0, 31.0]
    assert world.failure.facts.retransmissions == len(sent_at)


@each_stage
def test_data_during_the_handshake_goes_nowhere(kind: str, state: str) -> None:
    stage = reach(kind, state)
    stage.world.connection.send(b"too early", stage.world.now)
    assert stage.world.collect() == []
    stage.complete()


@pytest.mark.parametrize(("kind", "state"), [pair for pair in client_stages.ALL if pair[1] != "AwaitServerVerdict"])
@pytest.mark.parametrize("refusal", [None, HandshakeError(FailureReason.UNKNOWN_ROOT)], ids=["yes", "no"])
def test_verdict_that_nobody_asked_for(kind: str, state: str, refusal: HandshakeError | None) -> None:
    stage = reach(kind, state)
    stage.world.connection.certificate_verdict(refusal, stage.world.now)
    assert stage.world.collect() == []
    stage.complete()


def test_second_verdict_changes_nothing() -> None:
    stage = reach("certificate", "AwaitServerVerdict")
    connection = stage.world.connection
    connection.certificate_verdict(None, stage.world.now)
    connection.certificate_verdict(HandshakeError(FailureReason.UNKNOWN_ROOT), stage.world.now)
    connection.certificate_verdict(None, stage.world.now)
    stage.server.read(stage.world.collect())
    assert [message[0] for message in stage.server.messages] == [1, 11, 16, 15, 20]
    stage.world.deliver(stage.server.change_cipher_spec(), stage.server.finished())
    assert stage.world.connected


def test_verdict_that_comes_late() -> None:
    stage = reach("certificate", "AwaitServerVerdict")
    assert stage.world.advance(59.0) == []
    stage.complete()


def test_verdict_that_comes_too_late() -> None:
    stage = reach("certificate", "AwaitServerVerdict")
    stage.world.advance(60.0)
    assert stage.world.failure.reason is FailureReason.TIMEOUT
    stage.world.connection.certificate_verdict(None, stage.world.now)
    assert stage.world.collect() == []
    assert stage.world.failure.reason is FailureReason.TIMEOUT


@pytest.mark.parametrize(
    ("reason", "description"),
    [
        (FailureReason.UNKNOWN_ROOT, 48),
        (FailureReason.CERTIFICATE_EXPIRED, 45),
        (FailureReason.BAD_CERTIFICATE, 42),
        (FailureReason.WEAK_KEY, 43),
    ],
)
def test_verdict_that_refuses(reason: FailureReason, description: int) -> None:
    world, server = pair("certificate")
    world.verdict = HandshakeError(reason, "not for the server's eyes")
    answer = world.deliver(*server.first_flight())
    assert alerts(server.read(answer)) == [(2, description)]
    assert b"eyes" not in b"".join(answer)
    assert (world.failure.reason, world.failure.detail) == (reason, "not for the server's eyes")


def test_question_names_the_server_that_was_meant() -> None:
    world, server = pair("certificate", server_name="gw.example")
    server.read(world.deliver(*server.first_flight()))
    (question,) = (event for event in world.events if isinstance(event, CertificatePresented))
    assert question.server_name == "gw.example"


def test_server_repeats_its_flight_while_the_shell_thinks() -> None:
    stage = reach("certificate", "AwaitServerVerdict")
    stage.world.advance(5.0)
    again = stage.server.record(HANDSHAKE, handshake(14, stage.server.next_seq - 1, b""))
    assert stage.world.deliver(again) == []
    assert stage.world.drops() == {"repeated": 1}
    assert len([event for event in stage.world.events if isinstance(event, CertificatePresented)]) == 1
    stage.complete()


def test_server_repeats_its_flight_because_ours_got_lost() -> None:
    stage = reach("certificate", "ExpectChangeCipherSpec")
    stage.world.advance(0.9)
    again = stage.server.record(HANDSHAKE, handshake(14, stage.server.next_seq - 1, b""))
    repeated = stage.server.read(stage.world.deliver(again))
    types = [record.content[0] for record in repeated if record.content_type == HANDSHAKE]
    assert types == [11, 16, 15, 20]
    # A storm of repetitions is answered once.
    storm = [stage.server.record(HANDSHAKE, handshake(14, stage.server.next_seq - 1, b"")) for _ in range(20)]
    assert stage.world.deliver(*storm) == []
    stage.complete()


def test_credential_is_not_in_any_representation() -> None:
    world = ClientWorld(certificate_parameters(psk_identity=b"dev1", psk=b"a secret of ours"))
    assert b"a secret" not in repr(world.config).encode()
    assert "a secret" not in repr(world.connection)
