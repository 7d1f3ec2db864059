"""Checklist section 8: the return routability check (RFC 9853)."""

import dataclasses
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dtls import Address, DecodeError, ServerEndpoint
from gateway.dtls.connection_id import PROVEN, IdentifiedAssociation
from gateway.dtls.limits import MAX_PATH_CHECKS, PATH_CHECK_TIMEOUT_S
from gateway.dtls.numbers import PathMessage
from gateway.dtls.paths import decode_path_message, encode_path_message
from tests.dtls.moving import ELSEWHERE, THIRD, Sent, answer, connect, give, pass_time, places, taken
from tests.dtls.rawclient import PATH_CHECK, RawClient, default_extensions
from tests.dtls.support import CLIENT, World, counting_random

CHALLENGE, RESPONSE, DROP = 0, 1, 2


def checking(enhanced: bool = True) -> tuple[World, RawClient, IdentifiedAssociation]:
    world = World()
    world.endpoint = ServerEndpoint(dataclasses.replace(world.config, enhanced_path_check=enhanced), counting_random())
    return connect(RawClient(cid=b"", path_check=True), world)


def challenges(client: RawClient, sent: Sent) -> list[tuple[Address, bytes]]:
    """Where challenges went, and their cookies."""
    found = []
    for datagram, address in sent:
        (record,) = client.read([datagram])
        if record.content_type == PATH_CHECK and record.content[0] == CHALLENGE:
            assert len(record.content) == 9
            found.append((address, record.content[1:]))
    return found


def reply(client: RawClient, kind: int, cookie: bytes) -> bytes:
    return client.record(PATH_CHECK, bytes((kind,)) + cookie, 1)


# --- 8.1 negotiation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cid", "answered"), [(None, False), (b"", True), (b"abc", True)])
def test_8_1_answered_only_with_a_connection_id(cid: bytes | None, answered: bool) -> None:
    world, client = World(), RawClient(cid=cid, path_check=True)
    world.connect(client)
    assert client.server_hello is not None
    assert ((client.server_hello.extensions or {}).get(61) == b"") is answered


def test_8_1_not_answered_where_ids_are_switched_off() -> None:
    world, client = World(), RawClient(cid=b"", path_check=True)
    world.endpoint = ServerEndpoint(dataclasses.replace(world.config, connection_ids=False), counting_random())
    world.connect(client)
    assert client.server_hello is not None
    assert not {54, 61} & (client.server_hello.extensions or {}).keys()


def test_8_1_not_answered_where_it_is_not_offered_and_not_done_then() -> None:
    world, client, association = connect()
    assert client.server_hello is not None
    assert 61 not in (client.server_hello.extensions or {})
    assert give(world, client.record(PATH_CHECK, bytes(9), 1), CLIENT) == []
    assert world.drops() == {"unexpected": 1}
    assert give(world, client.data(b"moved"), ELSEWHERE) == []  # no challenge
    assert association.address == ELSEWHERE


def test_8_1_something_in_the_extension_is_a_decode_error() -> None:
    world = World()
    world.reach_server_done(RawClient(cid=b"", extensions=default_extensions() | {61: b"\0"}))
    assert world.reason == "decode_error"


# --- 8.2 messages ----------------------------------------------------------------------------------------------------


@given(st.sampled_from(list(PathMessage)), st.binary(min_size=8, max_size=8))
def test_8_2_messages_are_a_kind_and_a_cookie_of_eight_bytes(kind: PathMessage, cookie: bytes) -> None:
    assert encode_path_message(kind, cookie) == bytes((kind,)) + cookie
    assert decode_path_message(bytes((kind,)) + cookie) == (kind, cookie)


@given(st.binary(max_size=40))
def test_8_2_decoder_is_total(content: bytes) -> None:
    try:
        message = decode_path_message(content)
    except DecodeError:
        assert not content or (content[0] <= 2 and len(content) != 9)
    else:
        assert (message is None) == (content[0] > 2)


@pytest.mark.parametrize("content", [b"\x03", b"\x03" + bytes(8), b"\xff" * 9, b"\x80" + bytes(100)])
def test_8_2_a_kind_that_nobody_knows_is_ignored(content: bytes) -> None:
    world, client, association = checking()
    assert give(world, client.record(PATH_CHECK, content, 1), CLIENT) == []
    assert world.drops() == {}
    assert not association.closed


@pytest.mark.parametrize("content", [b"", b"\x00", b"\x00" + bytes(7), b"\x00" + bytes(9), b"\x02"])
def test_8_2_a_broken_message_is_dropped(content: bytes) -> None:
    world, client, _ = checking()
    assert give(world, client.record(PATH_CHECK, content, 1), CLIENT) == []
    assert world.drops() == {"malformed": 1}


def test_8_2_unprotected_it_is_dropped() -> None:
    world, client, association = checking()
    assert give(world, client.record(PATH_CHECK, bytes(9), 0), CLIENT) == []
    assert association.address == CLIENT
    assert sum(world.drops().values()) == 1


# --- 8.3 while the check runs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("enhanced", [False, True])
def test_8_3_data_is_passed_on_and_the_new_address_gets_three_times_what_came_from_there(enhanced: bool) -> None:
    world, client, association = checking(enhanced)
    question = client.data(b"question")
    sent = give(world, question, ELSEWHERE)
    assert world.data == [b"question"]
    assert association.address == CLIENT  # for now
    total = sum(len(datagram) for datagram, address in sent if address == ELSEWHERE)
    for _ in range(30):
        more = answer(world, association, b"x" * 12)
        assert set(places(more)) <= {ELSEWHERE}
        total += sum(len(datagram) for datagram, _ in more)
    assert 3 * len(question) - 45 < total <= 3 * len(question)
    assert world.endpoint.counters.withheld > 0
    # More bytes from there, more to there; the challenges of the whole check count too.
    question = client.data(b"question")
    give(world, question, ELSEWHERE)
    assert places(answer(world, association, b"x" * len(question))) == [ELSEWHERE]


def test_8_3_challenges_count_against_the_limit() -> None:
    world, client, association = checking(enhanced=False)
    question = client.data(b"")
    sent = give(world, question, ELSEWHERE) + pass_time(world, 0.9)
    for _ in range(20):
        sent += answer(world, association, b"")
    assert sum(len(datagram) for datagram, _ in sent) <= 3 * len(question)
    assert places(sent) == [ELSEWHERE] * len(sent)


# --- 8.4 basic -------------------------------------------------------------------------------------------------------


def test_8_4_the_new_address_is_challenged_and_taken_when_it_answers() -> None:
    world, client, association = checking(enhanced=False)
    ((address, cookie),) = challenges(client, give(world, client.data(b"moved"), ELSEWHERE))
    assert address == ELSEWHERE
    assert give(world, reply(client, RESPONSE, cookie), ELSEWHERE) == []
    assert (association.address, association.credit) == (ELSEWHERE, PROVEN)
    assert world.endpoint.counters.address_changes == 1
    assert places(answer(world, association, bytes(1000))) == [ELSEWHERE]
    assert pass_time(world, 10) == []
    assert len(world.endpoint._delivery.checks) == 0
    assert world.endpoint.associations == {ELSEWHERE: association}


def test_8_4_without_an_answer_the_old_address_stays() -> None:
    world, client, association = checking(enhanced=False)
    give(world, client.data(b"moved"), ELSEWHERE)
    pass_time(world, PATH_CHECK_TIMEOUT_S)
    assert (association.address, association.credit) == (CLIENT, PROVEN)
    assert places(answer(world, association, b"back")) == [CLIENT]
    assert world.endpoint.counters.address_changes == 0
    assert len(world.endpoint._delivery.checks) == 0


@pytest.mark.parametrize("what", ["cookie", "source", "kind", "late"])
def test_8_4_a_wrong_answer_moves_nothing(what: str) -> None:
    world, client, association = checking(enhanced=False)
    ((_, cookie),) = challenges(client, give(world, client.data(b"moved"), ELSEWHERE))
    if what == "late":
        pass_time(world, PATH_CHECK_TIMEOUT_S)
    kind = DROP if what == "kind" else RESPONSE
    wrong = reply(client, kind, bytes(8) if what == "cookie" else cookie)
    source = THIRD if what == "source" else ELSEWHERE
    give(world, wrong, source)
    assert association.address == CLIENT


# --- 8.5 enhanced ----------------------------------------------------------------------------------------------------


def test_8_5_the_old_address_is_asked_first_and_kept_when_it_answers() -> None:
    # An attacker copies a datagram and is faster: the device is still where it was.
    world, client, association = checking()
    ((address, cookie),) = challenges(client, give(world, client.data(b"copied"), ELSEWHERE))
    assert address == CLIENT
    assert give(world, reply(client, RESPONSE, cookie), CLIENT) == []
    assert (association.address, association.credit, len(world.endpoint._delivery.checks)) == (CLIENT, PROVEN, 0)
    assert pass_time(world, 10) == []
    assert world.endpoint.counters.address_changes == 0


def test_8_5_a_drop_on_the_old_path_begins_the_basic_check() -> None:
    world, client, association = checking()
    ((_, cookie),) = challenges(client, give(world, client.data(b"moved"), ELSEWHERE))
    ((address, second),) = challenges(client, give(world, reply(client, DROP, cookie), CLIENT))
    assert address == ELSEWHERE
    give(world, reply(client, RESPONSE, second), ELSEWHERE)
    assert association.address == ELSEWHERE


def test_8_5_silence_on_the_old_path_begins_the_basic_check() -> None:
    world, client, association = checking()
    sent = give(world, client.data(b"moved"), ELSEWHERE)
    sent += pass_time(world, PATH_CHECK_TIMEOUT_S)
    found = challenges(client, sent)
    assert [address for address, _ in found] == [CLIENT] * 3 + [ELSEWHERE]
    give(world, reply(client, RESPONSE, found[-1][1]), ELSEWHERE)
    assert association.address == ELSEWHERE


def test_8_5_the_old_paths_cookie_is_worth_nothing_on_the_new_one() -> None:
    world, client, association = checking()
    ((_, cookie),) = challenges(client, give(world, client.data(b"copied"), ELSEWHERE))
    give(world, reply(client, RESPONSE, cookie), ELSEWHERE)
    assert association.address == CLIENT
    found = challenges(client, pass_time(world, PATH_CHECK_TIMEOUT_S))
    assert found[-1][0] == ELSEWHERE
    give(world, reply(client, RESPONSE, cookie), ELSEWHERE)
    assert association.address == CLIENT


def test_8_5_a_newer_record_from_the_old_address_ends_the_check() -> None:
    world, client, association = checking()
    give(world, client.data(b"copied"), ELSEWHERE)
    give(world, client.data(b"still here"), CLIENT)
    assert (association.address, association.credit, len(world.endpoint._delivery.checks)) == (CLIENT, PROVEN, 0)
    assert places(answer(world, association, bytes(500))) == [CLIENT]


def test_8_5_the_newest_candidate_counts() -> None:
    world, client, association = checking(enhanced=False)
    ((_, first),) = challenges(client, give(world, client.data(b"one"), ELSEWHERE))
    ((address, second),) = challenges(client, give(world, client.data(b"two"), THIRD))
    assert address == THIRD
    give(world, reply(client, RESPONSE, first), ELSEWHERE)  # a newer record from there: it is the candidate again
    assert association.address == CLIENT
    give(world, reply(client, RESPONSE, second), THIRD)
    assert association.address == CLIENT
    assert len(world.endpoint._delivery.checks) == 1


# --- 8.6 cookies and pace --------------------------------------------------------------------------------------------


def test_8_6_each_challenge_has_its_own_cookie_and_any_of_them_may_be_answered() -> None:
    for which in range(3):
        world, client, association = checking(enhanced=False)
        sent = give(world, client.data(b"moved" * 20), ELSEWHERE) + pass_time(world, 0.9)
        cookies = [cookie for _, cookie in challenges(client, sent)]
        assert len(set(cookies)) == 3
        give(world, reply(client, RESPONSE, cookies[which]), ELSEWHERE)
        assert association.address == ELSEWHERE


def test_8_6_challenges_keep_their_distance() -> None:
    world, client, _ = checking(enhanced=False)
    begun = world.now
    at = [begun] * len(challenges(client, give(world, client.data(b"moved" * 20), ELSEWHERE)))
    for _ in range(40):
        at += [world.now] * len(challenges(client, pass_time(world, 0.05)))
    assert len(at) == 3
    # Seen at the end of each step of 0.05 s.
    assert all(later - earlier >= PATH_CHECK_TIMEOUT_S / 3 - 0.051 for earlier, later in pairwise(at))


# --- 8.7 answering ---------------------------------------------------------------------------------------------------


def test_8_7_a_challenge_is_answered_once_at_once_where_it_came_from() -> None:
    world, client, _ = checking()
    challenge = reply(client, CHALLENGE, b"8 bytes!")
    ((response, address),) = give(world, challenge, CLIENT)
    (record,) = client.read([response])
    assert (address, record.content_type, record.content) == (CLIENT, PATH_CHECK, b"\x018 bytes!")
    assert give(world, challenge, CLIENT) == []  # a replay
    assert world.drops() == {"replay": 1}


def test_8_7_a_challenge_on_a_path_that_is_left_gets_a_drop() -> None:
    world, client, _ = checking(enhanced=False)
    late = reply(client, CHALLENGE, b"8 bytes!")
    ((_, cookie),) = challenges(client, give(world, client.data(b"moved"), ELSEWHERE))
    give(world, reply(client, RESPONSE, cookie), ELSEWHERE)
    ((dropped, address),) = give(world, late, CLIENT)
    (record,) = client.read([dropped])
    assert (address, record.content) == (CLIENT, b"\x028 bytes!")


@pytest.mark.parametrize("kind", [RESPONSE, DROP])
def test_8_7_an_answer_to_nothing_is_ignored(kind: int) -> None:
    world, client, association = checking()
    assert give(world, reply(client, kind, bytes(8)), ELSEWHERE) != []  # from elsewhere: that begins a check
    assert give(world, reply(client, kind, bytes(8)), CLIENT) == []
    assert association.address == CLIENT
    assert world.drops() == {"unexpected": 2}


# --- 8.8 time --------------------------------------------------------------------------------------------------------


def test_8_8_a_second_where_the_round_trip_is_unknown() -> None:
    world, client, _ = checking(enhanced=False)
    give(world, client.data(b"moved"), ELSEWHERE)
    pass_time(world, 0.999)
    assert len(world.endpoint._delivery.checks) == 1
    pass_time(world, 0.002)
    assert len(world.endpoint._delivery.checks) == 0


def test_8_8_three_round_trips_where_the_old_path_showed_one() -> None:
    world, client, association = checking()
    ((_, cookie),) = challenges(client, give(world, client.data(b"moved" * 20), ELSEWHERE))
    pass_time(world, 0.2)
    give(world, reply(client, DROP, cookie), CLIENT)
    pass_time(world, 0.599)
    assert len(world.endpoint._delivery.checks) == 1
    pass_time(world, 0.002)
    assert len(world.endpoint._delivery.checks) == 0
    assert association.address == CLIENT


# --- limits ----------------------------------------------------------------------------------------------------------


def test_checks_are_bounded_and_an_association_that_ends_takes_its_check_along() -> None:
    world, client, association = checking()
    give(world, client.data(b"moved"), ELSEWHERE)
    world.endpoint.close(association, world.now)
    taken(world)
    assert len(world.endpoint._delivery.checks) == 0
    pass_time(world, 1000)

    world, client, association = checking()
    filler = {object(): None for _ in range(MAX_PATH_CHECKS)}
    world.endpoint._delivery.checks._checks.update(filler)  # type: ignore[arg-type]
    assert give(world, client.data(b"moved"), ELSEWHERE) == []
    assert (world.data, association.address, association.credit) == ([b"moved"], CLIENT, PROVEN)
    assert len(world.endpoint._delivery.checks) == MAX_PATH_CHECKS
