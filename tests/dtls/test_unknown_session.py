"""A device whose session is gone: silence, or an alert if the operator wants it (`unknown_session`)."""

import dataclasses

import pytest

from gateway.dtls import Address, ServerEndpoint
from gateway.dtls.limits import UNKNOWN_SESSION_ALERTS_PER_S
from tests.dtls.moving import ELSEWHERE, give
from tests.dtls.rawclient import ALERT, DATA, RawClient, raw_record, split
from tests.dtls.support import CLIENT, EMPTY, World, counting_random, sizes

EPOCH_1 = 1 << 48
WITH_ID = raw_record(25, EPOCH_1 + 5, bytes(40), cid=b"\0\0nobody")
WITHOUT = raw_record(DATA, EPOCH_1 + 5, bytes(40))


def world(alert: bool = True) -> World:
    world = World()
    world.endpoint = ServerEndpoint(dataclasses.replace(world.config, alert_unknown_sessions=alert), counting_random())
    return world


@pytest.mark.parametrize("record", [WITH_ID, WITHOUT])
def test_by_default_there_is_no_answer(record: bytes) -> None:
    silent = World()
    assert give(silent, record, ELSEWHERE) == []
    assert sum(silent.drops().values()) == 1


@pytest.mark.parametrize(("record", "reason"), [(WITH_ID, "unknown_cid"), (WITHOUT, "no_session")])
def test_the_alert_is_fatal_plain_and_smaller_than_the_question(record: bytes, reason: str) -> None:
    asked = world()
    ((alert, address),) = give(asked, record, ELSEWHERE)
    assert address == ELSEWHERE
    assert len(alert) < len(record)
    # RFC 6347 4.1.2.7: bad_record_mac. Under the number of the record: nothing is kept to count by.
    assert split(alert) == [(ALERT, 0xFEFD, 5, b"\x02\x14")]
    assert asked.drops() == {reason: 1}
    assert sizes(asked.endpoint) == EMPTY


def test_several_records_in_a_datagram_are_answered_once() -> None:
    asked = world()
    assert len(give(asked, WITHOUT + WITH_ID + WITHOUT, ELSEWHERE)) == 1


@pytest.mark.parametrize("length", range(0, 60))
def test_never_more_than_was_asked(length: int) -> None:
    for record in (raw_record(DATA, EPOCH_1, bytes(length)), raw_record(25, EPOCH_1, bytes(length), cid=bytes(8))):
        sent = give(world(), record, ELSEWHERE)
        assert sum(len(datagram) for datagram, _ in sent) <= len(record)


def test_rate_is_bounded_whoever_asks_and_recovers() -> None:
    flooded = world()

    def flood() -> int:
        sources: list[Address] = [("198.51.100.1", port) for port in range(1, 1000)]
        return sum(len(give(flooded, WITHOUT, source)) for source in sources)

    assert flood() == UNKNOWN_SESSION_ALERTS_PER_S
    assert flood() == 0
    flooded.now += 0.5
    assert flood() == UNKNOWN_SESSION_ALERTS_PER_S // 2
    flooded.now += 1000
    assert flood() == UNKNOWN_SESSION_ALERTS_PER_S
    assert sizes(flooded.endpoint) == EMPTY


def test_who_has_a_session_or_makes_one_is_not_answered() -> None:
    busy, client = world(), RawClient(cid=b"")
    busy.reach_server_done(client)
    assert give(busy, WITHOUT, CLIENT) == []  # of this handshake, perhaps
    client.read(busy.deliver(*client.answer_flight()))
    assert give(busy, WITHOUT, CLIENT) == []  # without the id: dropped as that
    forged = bytearray(client.data(b"x"))
    forged[-1] ^= 1
    assert give(busy, bytes(forged), ELSEWHERE) == []  # of a session that lives
    assert give(busy, raw_record(DATA, 2 << 48, bytes(40)), CLIENT) == []
    busy.deliver(client.data(b"unharmed"))
    assert busy.data == [b"unharmed"]


def test_what_a_refused_handshake_still_sends_is_not_answered() -> None:
    refusing, client = world(), RawClient(identity=b"nobody")
    refusing.reach_server_done(client)
    refusing.deliver(*client.answer_flight())
    assert len(refusing.failures) == 1
    assert give(refusing, client.data(b"early request"), CLIENT) == []


@pytest.mark.parametrize("content_type", [20, 21, 22, 23, 27, 99])
def test_no_plain_record_is_answered(content_type: int) -> None:
    # Two gateways must not talk to each other about alerts for ever.
    assert give(world(), raw_record(content_type, 5, b"\x02\x14"), ELSEWHERE) == []
