"""Checklist row 1.9, where the policy says so: who resumes a session by a ticket need not show a cookie.

RFC 6347 section 4.2.1: "the server MAY choose not to do a cookie exchange when a session is resumed".
"""

from dataclasses import replace
from typing import Any

import pytest

from gateway.dtls import Address, FailureReason
from gateway.dtls.limits import LINGER_S, SPARED_SHARE
from tests.dtls.rawclient import RawClient, handshake, split
from tests.dtls.resuming import DAY, EMS, SNI, TICKET, ResumingWorld, less, newcomer, returning
from tests.dtls.support import CLIENT, EMPTY, alerts, sizes

ELSEWHERE: Address = ("192.0.2.77", 50_000)
KINDS = pytest.mark.parametrize("suite", [0xC0A8, 0xC0AE], ids=["psk", "certificate"])


def lenient(**options: Any) -> ResumingWorld:
    return ResumingWorld(resume_without_cookie=True, **options)


def first(world: ResumingWorld, suite: int = 0xC0A8, **fields: Any) -> RawClient:
    """A client that has connected, with a cookie like everybody."""
    client = newcomer(suite, **fields)
    world.connect(client)
    assert world.endpoint.counters.hello_verify_sent == 1
    return client


def asked_for_a_cookie(answers: list[bytes]) -> bool:
    """Whether the whole answer is a HelloVerifyRequest."""
    return [(record[0], record[3][0]) for each in answers for record in split(each)] == [(22, 3)]


@KINDS
def test_session_is_resumed_in_one_round_trip(suite: int) -> None:
    world = lenient()
    again = returning(first(world, suite))
    hello = again.hello()
    answers = world.deliver(hello, source=ELSEWHERE)
    again.read(answers)
    assert [kind for kind, _, _ in again.messages] == [2, 20]
    assert again.server_finished_verified
    assert sum(map(len, answers)) <= len(hello)
    assert world.deliver(again.change_cipher_spec(), again.finished(), source=ELSEWHERE) == []
    assert world.completed[-1].facts.resumed
    world.deliver(again.data(b"hello again"), source=ELSEWHERE)
    assert world.data == [b"hello again"]
    assert world.endpoint.counters.hello_verify_sent == 1
    assert world.outcomes() == {"resumed": 1}


def test_who_does_not_resume_needs_a_cookie() -> None:
    world = lenient()
    assert asked_for_a_cookie(world.deliver(newcomer().hello(), source=ELSEWHERE))
    assert sizes(world.endpoint) == EMPTY


def test_a_session_id_does_not_stand_for_a_ticket() -> None:
    world = lenient()
    client = newcomer(tickets=False)
    world.connect(client)
    assert asked_for_a_cookie(world.deliver(returning(client).hello(), source=ELSEWHERE))


@pytest.mark.parametrize(
    "change",
    [
        lambda again, world: again.extensions.update({TICKET: again.extensions[TICKET][:-1] + b"?"}),
        lambda again, world: again.extensions.update({TICKET: b"?"}),
        lambda again, world: setattr(again, "extensions", less(again.extensions, EMS)),
        lambda again, world: setattr(again, "suites", (0xC0A4,)),
        lambda again, world: again.extensions.update({SNI: b"\0\6\0\0\3abc"}),
        lambda again, world: again.extensions.update({SNI: b"broken"}),
        lambda again, world: setattr(world.clock, "now", world.clock.now + DAY),
        lambda again, world: setattr(world.clock, "now", world.clock.now + DAY / 2),  # it would get a new ticket
    ],
    ids=[
        "forged",
        "short",
        "no EMS",
        "other suite",
        "other name",
        "broken",
        "old",
        "to be renewed",
    ],
)
def test_a_ticket_that_does_not_fit_needs_a_cookie(change: Any) -> None:
    # CVE-2022-2576: a full handshake that was begun without a cookie.
    world = lenient()
    again = returning(first(world))
    change(again, world)
    assert asked_for_a_cookie(world.deliver(again.hello(), source=ELSEWHERE))
    assert world.endpoint.handshakes_in_progress == 0
    assert world.outcomes() == {}


def test_a_fragmented_hello_needs_a_cookie() -> None:
    world = lenient()
    again = returning(first(world))
    whole = again.hello(pieces=(100,))
    (answer,) = world.deliver(whole, source=ELSEWHERE)
    assert asked_for_a_cookie([answer])


def test_who_may_not_resume_is_asked_for_a_cookie_after_all() -> None:
    world = lenient()
    again = returning(first(world))
    world.welcome = False
    hello = again.hello()
    answers = world.deliver(hello, source=ELSEWHERE)
    assert asked_for_a_cookie(answers)
    assert len(answers[0]) <= len(hello)
    assert world.endpoint.handshakes_in_progress == 0
    again.read(answers)
    world.connect(again, ELSEWHERE)
    assert [event.facts.resumed for event in world.completed] == [False, False]
    assert world.outcomes() == {"refused": 2}
    assert not world.failures


def test_who_may_not_resume_leaves_nothing_behind() -> None:
    # What came behind the hello was buffered: it once counted for ever, and then hung the endpoint.
    world = lenient(max_reassembly=20_000)
    client = first(world)
    world.endpoint.close(world.completed[0].association, world.now)
    assert world.collect()
    world.welcome = False
    for number in range(5):
        again = returning(client, random=bytes((number,)) * 32)
        piece = handshake(16, 1, bytes(15_000), 0, 14_000)
        datagram = again.hello() + again.record(22, piece)
        assert asked_for_a_cookie(world.deliver(datagram, source=("192.0.2.80", 1000 + number)))
    world.advance(LINGER_S)
    assert sizes(world.endpoint) == EMPTY | {"_settled": 1}  # of the session that was closed
    assert world.endpoint._handshaking._buffers.total == 0


def test_an_answer_that_comes_late_finds_nobody() -> None:
    world = lenient()
    again = returning(first(world))
    world.answering = False
    assert world.deliver(again.hello(), source=ELSEWHERE) == []
    question = world.events[-1]
    assert world.advance(world.config.handshake_timeout_s + 1, ELSEWHERE) == []
    world.endpoint.resumption_verdict(question.handshake, False, world.now)  # type: ignore[union-attr]
    assert world.collect(ELSEWHERE) == []
    assert world.reason == "timeout"


def test_a_forged_address_gets_no_more_than_was_sent_to_us() -> None:
    world = lenient()
    hello = returning(first(world)).hello()
    answered = sum(map(len, world.deliver(hello, source=ELSEWHERE)))
    for _ in range(20):
        answered += sum(map(len, world.advance(10, ELSEWHERE)))
    assert 0 < answered <= len(hello)
    assert world.endpoint.handshakes_in_progress == 0


def test_the_flight_goes_out_again_when_the_client_repeats_its_hello() -> None:
    world = lenient()
    again = returning(first(world))
    hello = again.hello()
    lost = world.deliver(hello, source=ELSEWHERE)
    assert lost
    world.now += 3
    again.next_number[0] = 1
    again.next_seq = 0
    repeated = again.hello()
    again.read(world.deliver(repeated, source=ELSEWHERE))
    assert again.server_finished_verified
    world.deliver(again.change_cipher_spec(), again.finished(), source=ELSEWHERE)
    assert world.completed[-1].facts.resumed


def test_a_lost_last_flight_is_asked_for_once_more() -> None:
    world = lenient()
    again = returning(first(world))
    again.read(world.deliver(again.hello(), source=ELSEWHERE))
    transcript = list(again.transcript)
    again.change_cipher_spec(), again.finished()  # both get lost
    # Its request says that it is there, and pays for one more flight.
    assert world.deliver(again.data(bytes(100)), source=ELSEWHERE) == []
    reminder = world.advance(20, ELSEWHERE)
    assert reminder
    again.read(reminder)
    again.next_seq, again.transcript = again.next_seq - 1, transcript
    world.deliver(again.change_cipher_spec(), again.finished(), source=ELSEWHERE)
    assert world.completed[-1].facts.resumed


def test_nobody_s_handshake_ends_for_it() -> None:
    world = lenient()
    hello = returning(first(world)).hello()
    other = newcomer(random=bytes(32))
    world.reach_server_done(other, ELSEWHERE)
    assert asked_for_a_cookie(world.deliver(hello, source=ELSEWHERE))  # somebody repeats it from the other's address
    other.read(world.deliver(*other.answer_flight(), source=ELSEWHERE))
    assert other.server_finished_verified


def test_the_owner_of_a_forged_address_comes_in_with_a_cookie() -> None:
    world = lenient()
    world.deliver(returning(first(world)).hello(), source=ELSEWHERE)
    assert world.endpoint.handshakes_in_progress == 1
    owner = newcomer(random=bytes(32))
    world.connect(owner, ELSEWHERE)
    assert owner.server_finished_verified
    assert world.failures[-1].reason is FailureReason.SUPERSEDED


def test_an_association_at_that_address_lives_on_until_the_client_has_finished() -> None:
    world = lenient()
    client = first(world)
    again = returning(client)
    again.read(world.deliver(again.hello()))
    world.deliver(client.data(b"still here"))
    assert world.data == [b"still here"]
    world.deliver(again.change_cipher_spec(), again.finished())
    assert world.completed[-1].facts.resumed
    assert [each.reason for each in world.closed] == ["superseded"]


def test_when_many_handshakes_run_everybody_needs_a_cookie() -> None:
    world = lenient(max_handshakes=2 * SPARED_SHARE)
    client = first(world)
    for number in range(2):
        hello = returning(client, random=bytes((number,)) * 32).hello()
        assert not asked_for_a_cookie(world.deliver(hello, source=("192.0.2.80", 1000 + number)))
    assert asked_for_a_cookie(world.deliver(returning(client).hello(), source=ELSEWHERE))
    assert world.endpoint.handshakes_in_progress == 2


def test_a_network_is_not_slowed_down_by_what_is_sent_in_its_name() -> None:
    world = lenient()
    client = first(world)
    for number in range(40):
        again = returning(client, random=bytes((number,)) * 32)
        again.read(world.deliver(again.hello(), source=(CLIENT[0], 2000 + number)))
        assert again.write_keys is not None
        again.master = bytes(48)
        wrong = again.record(22, bytes(24), epoch=1)
        answers = world.deliver(again.change_cipher_spec(), wrong[:-1] + b"?", source=(CLIENT[0], 2000 + number))
        assert alerts(again.read(answers)) or answers
    assert len(world.failures) == 40
    honest = newcomer(random=b"honest".ljust(32))
    world.connect(honest)
    assert honest.server_finished_verified


def test_without_the_policy_everybody_needs_a_cookie() -> None:
    world = ResumingWorld()
    assert asked_for_a_cookie(world.deliver(returning(first(world)).hello(), source=ELSEWHERE))


def test_the_policy_can_change_while_the_endpoint_lives() -> None:
    world = lenient()
    client = first(world)
    world.endpoint.reconfigure(replace(world.config, resume_without_cookie=False))
    assert asked_for_a_cookie(world.deliver(returning(client).hello(), source=ELSEWHERE))
