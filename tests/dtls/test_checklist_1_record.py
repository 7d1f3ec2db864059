"""Checklist section 1: the record layer, the handshake's transport and its timers (RFC 6347)."""

import pytest

from gateway.dtls.limits import (
    HANDSHAKE_TIMEOUT_S,
    LINGER_S,
    MAX_EARLY_RECORD_BYTES,
    MAX_EARLY_RECORDS,
    MAX_FUTURE_MESSAGES,
    MAX_HANDSHAKE_MESSAGE,
    MAX_WRITE_SEQUENCE,
)
from tests.dtls import stages
from tests.dtls.rawclient import HANDSHAKE, RawClient, handshake, raw_record, split
from tests.dtls.stages import records
from tests.dtls.support import CLIENT, World, alerts, certificate_client, sizes

EPOCH_1 = 1 << 48


def cookie_hello(world: World, client: RawClient) -> bytes:
    """The ClientHello with the cookie, not yet delivered."""
    client.read(world.deliver(client.hello()))
    return client.hello()


# --- 1.1 record numbers ----------------------------------------------------------------------------------------------


def test_1_1_record_numbers_restart_at_zero_in_the_new_epoch() -> None:
    # RFC 6347 4.1: "Sequence numbers are maintained separately for each epoch, with each sequence_number initially
    # being 0 for each epoch."
    world, client = World(), RawClient()
    association = world.connect(client)
    for _ in range(3):
        world.endpoint.send(association, b"x", world.now)
    client.read(world.collect())
    assert [record.sequence for record in client.received if record.epoch == 1] == [0, 1, 2, 3]


def test_1_1_record_numbers_never_wrap_the_association_closes_instead() -> None:
    world, client = World(), RawClient()
    association = world.connect(client)
    association._write_number = EPOCH_1 + MAX_WRITE_SEQUENCE - 1  # as after 2**48 records
    world.endpoint.send(association, b"last", world.now)
    ((_, _, number, _),) = split(*world.collect())
    assert number == EPOCH_1 + MAX_WRITE_SEQUENCE - 1
    world.endpoint.send(association, b"one too many", world.now)
    assert world.collect() == []
    assert [event.reason for event in world.closed] == ["exhausted"]
    assert world.endpoint.associations == {}


def test_1_1_close_notify_is_left_out_when_no_record_number_is_left() -> None:
    world, client = World(), RawClient()
    association = world.connect(client)
    association._write_number = EPOCH_1 + MAX_WRITE_SEQUENCE
    world.endpoint.close(association, world.now)
    assert world.collect() == []
    assert world.endpoint.associations == {}


# --- 1.2 invalid records ---------------------------------------------------------------------------------------------

_GOOD_KEYS = 16


def _invalid_records() -> dict[str, tuple[bytes, str]]:
    """Records of a connected client made invalid in one way each, and the reason under which they are counted."""
    number = (EPOCH_1 + 9).to_bytes(8, "big")
    body = bytes(40)
    length = len(body).to_bytes(2, "big")
    return {
        "bad MAC": (b"\x17\xfe\xfd" + number + length + body, "bad_mac"),
        "bad MAC of an alert": (b"\x15\xfe\xfd" + number + length + body, "bad_mac"),
        "version 1.0": (b"\x17\xfe\xff" + number + length + body, "bad_version"),
        "version of TLS": (b"\x17\x03\x03" + number + length + body, "bad_version"),
        "unknown type": (b"\x63\xfe\xfd" + number + length + body, "bad_mac"),
        "epoch 2": (b"\x17\xfe\xfd\x00\x02" + number[2:] + length + body, "future_epoch"),
        "last epoch": (b"\x17\xfe\xfd\xff\xff" + number[2:] + length + body, "future_epoch"),
        "shorter than nonce and tag": (b"\x17\xfe\xfd" + number + b"\x00\x0f" + bytes(15), "malformed"),
        "length past the datagram": (b"\x17\xfe\xfd" + number + b"\x00\x29" + body, "malformed"),
        "cut header": (b"\x17\xfe\xfd" + number, "malformed"),
        "longer than a record may be": (b"\x17\xfe\xfd" + number + b"\x40\x19" + bytes(0x4019), "malformed"),
        "nothing at all": (b"", "malformed"),
    }


@pytest.mark.parametrize("which", _invalid_records())
def test_1_2_invalid_record_is_dropped_in_silence_and_changes_nothing(which: str) -> None:
    # RFC 6347 4.1.2.7: "invalid records SHOULD be silently discarded, thus preserving the association"
    world, client = World(), RawClient()
    association = world.connect(client)
    datagram, reason = _invalid_records()[which]
    events = len(world.events)
    assert world.deliver(datagram) == []
    assert world.drops() == {reason: 1}
    assert len(world.events) == events
    assert world.endpoint.associations == {CLIENT: association}
    world.deliver(client.data(b"still here"))
    assert world.data == [b"still here"]


@pytest.mark.parametrize(("kind", "state"), stages.UNFINISHED)
@pytest.mark.parametrize(
    "datagram",
    [
        raw_record(HANDSHAKE, 99, b"\x10\x00\x00"),
        raw_record(HANDSHAKE, 99, b""),
        raw_record(99, 99, b"unknown content type"),
        raw_record(21, 99, b"\x02"),
        raw_record(20, 99, b"\x02"),
        raw_record(20, 99, b"\x01\x01"),
        raw_record(HANDSHAKE, 99, handshake(16, 2, b"abc"), 0x0303),
        raw_record(23, (2 << 48) + 1, bytes(40)),
        b"",
        b"\x16",
    ],
    ids=lambda datagram: datagram.hex()[:60] or "empty",
)
def test_1_2_invalid_record_does_not_disturb_a_handshake(kind: str, state: str, datagram: bytes) -> None:
    stage = stages.reach(kind, state)
    assert stage.world.deliver(datagram) == []
    assert sum(stage.world.drops().values()) == 1
    stage.complete()


# --- 1.3 replay ------------------------------------------------------------------------------------------------------


def test_1_3_replay_window_moves_only_after_verification() -> None:
    world, client = World(), RawClient()
    world.connect(client)
    forged = bytearray(client.data(b"x", sequence=(1 << 48) - 1))
    forged[-1] ^= 1
    world.deliver(bytes(forged))
    world.deliver(client.data(b"in order"))
    assert world.data == [b"in order"]
    assert world.drops() == {"bad_mac": 1}


def test_1_3_replayed_record_is_delivered_once() -> None:
    world, client = World(), RawClient()
    world.connect(client)
    record = client.data(b"once")
    world.deliver(record, record, record + record)
    assert world.data == [b"once"]
    assert world.drops() == {"replay": 3}


def test_1_3_every_association_has_its_own_window() -> None:
    world = World()
    one, two = RawClient(), RawClient(random=b"2" * 32)
    world.connect(one, ("192.0.2.1", 1))
    world.connect(two, ("192.0.2.1", 2))
    one.next_number[1] = 500
    world.deliver(one.data(b"one"), source=("192.0.2.1", 1))
    world.deliver(two.data(b"two"), source=("192.0.2.1", 2))
    assert world.data == [b"one", b"two"]


# --- 1.4 to 1.9 the cookie exchange ----------------------------------------------------------------------------------


def test_1_4_nothing_is_kept_of_a_hello_without_a_cookie() -> None:
    world, client = World(), RawClient()
    world.deliver(client.hello())
    endpoint = world.endpoint
    assert (endpoint.handshakes_in_progress, endpoint.associations, endpoint.next_timer()) == (0, {}, None)
    assert world.events == []
    assert (endpoint.counters.hello_verify_sent, endpoint.counters.hello_verify_valid) == (1, 0)


def test_1_4_cookie_is_at_most_255_bytes_and_depends_on_the_address() -> None:
    world = World()
    cookies = set()
    for port in range(1, 50):
        client = RawClient()
        client.read(world.deliver(client.hello(), source=("192.0.2.1", port)))
        assert 0 < len(client.cookie) <= 255
        cookies.add(client.cookie)
    assert len(cookies) == 49


def test_1_4_cookie_of_another_address_is_challenged() -> None:
    world, client = World(), RawClient()
    hello = cookie_hello(world, client)
    for other in (("192.0.2.2", CLIENT[1]), ("192.0.2.1", CLIENT[1] + 1)):
        (answer,) = world.deliver(hello, source=other)
        assert split(answer)[0][3][0] == 3
    assert world.endpoint.handshakes_in_progress == 0
    assert world.endpoint.counters.hello_verify_invalid == 2


def test_1_4_fragmented_hello_is_answered_if_its_first_piece_reaches_past_the_cookie() -> None:
    # Policy: the gate looks at the first fragment only, and that must hold everything that the cookie covers.
    world, client = World(), RawClient()
    first, second = records(client.hello(pieces=(stages.HELLO_CUT,)))
    assert world.deliver(second) == []
    client.read(world.deliver(first))
    assert client.cookie
    world.connect(client)


def test_1_4_fragmented_hello_whose_first_piece_is_short_is_dropped() -> None:
    world, client = World(), RawClient()
    for datagram in records(client.hello(pieces=(30, 60))):
        assert world.deliver(datagram) == []
    assert world.endpoint.handshakes_in_progress == 0


def test_1_5_hello_verify_request_on_the_wire() -> None:
    # RFC 6347 4.2.1: server_version SHOULD be DTLS 1.0; the record number is the ClientHello's; 4.2.2: message_seq 0.
    world, client = World(), RawClient()
    client.next_number[0] = 77
    (answer,) = world.deliver(client.hello())
    ((content_type, version, number, body),) = split(answer)
    assert (content_type, version, number) == (HANDSHAKE, 0xFEFF, 77)
    cookie = body[15:]
    assert body == handshake(3, 0, b"\xfe\xff" + bytes((len(cookie),)) + cookie)


@pytest.mark.parametrize("version", [0xFEFF, 0xFEFD, 0xFEFE, 0xFE00])
def test_1_5_record_version_of_the_first_flight_may_be_any_of_dtls_1(version: int) -> None:
    world, client = World(), RawClient()
    client.read(world.deliver(client.hello(version=version)))
    client.read(world.deliver(client.hello(version=version)))
    client.read(world.deliver(*client.answer_flight()))
    assert client.server_finished_verified


@pytest.mark.parametrize("kind", ["psk", "certificate"])
def test_1_6_message_numbers_and_transcript_after_the_cookie(kind: str) -> None:
    # RFC 6347 4.2.2: HelloVerifyRequest 0, then ServerHello 1. 4.2.6: the first ClientHello and HelloVerifyRequest are
    # not hashed, which both Finished show: the client's is accepted, and it accepts the server's.
    world = World()
    client = RawClient() if kind == "psk" else certificate_client()
    world.connect(client)
    types = [(message_type, seq) for message_type, seq, _ in client.messages]
    middle = [(2, 1), (14, 2), (20, 3)] if kind == "psk" else [(2, 1), (11, 2), (12, 3), (13, 4), (14, 5), (20, 6)]
    assert types == [(3, 0), *middle]
    assert client.transcript[0][0] == 1
    assert int.from_bytes(client.transcript[0][4:6], "big") == 1


def test_1_6_transcript_with_the_first_hello_in_it_is_refused() -> None:
    world, client = World(), RawClient()
    first = handshake(1, 0, client.hello_body())
    world.reach_server_done(client)
    client.transcript.insert(0, first)
    world.deliver(*client.answer_flight())
    assert world.reason == "wrong_key"


def test_1_6_server_hello_takes_the_record_number_of_the_hello() -> None:
    # RFC 6347 4.2.1: "the server MUST use the record sequence number in the ClientHello as the record sequence number
    # in its initial ServerHello."
    world, client = World(), RawClient()
    client.next_number[0] = 41
    hello = cookie_hello(world, client)
    (flight,) = world.deliver(hello)
    assert [number for _, _, number, _ in split(flight)] == [42, 43]


def test_1_7_hello_verify_request_is_never_repeated_on_a_timer() -> None:
    world, client = World(), RawClient()
    world.deliver(client.hello())
    assert world.endpoint.next_timer() is None
    assert world.advance(600.0) == []


def test_1_7_every_hello_without_a_cookie_is_answered() -> None:
    world, client = World(), RawClient()
    hello = client.hello()
    answers = [world.deliver(hello) for _ in range(5)]
    assert [len(answer) for answer in answers] == [1] * 5
    assert len({answer[0] for answer in answers}) == 1


def test_1_7_hello_without_a_cookie_is_answered_at_any_stage_and_harms_nothing() -> None:
    for kind, state in stages.ALL:
        stage = stages.reach(kind, state)
        late = raw_record(HANDSHAKE, 0, handshake(1, 0, RawClient(random=b"n" * 32).hello_body()))
        (answer,) = stage.world.deliver(late)
        assert split(answer)[0][3][0] == 3
        stage.complete()


def test_1_8_answer_to_the_smallest_hello_is_not_larger() -> None:
    # node-dtls-client sends 67 bytes: one suite, no extensions.
    world, client = World(), RawClient(extensions=None)
    hello = client.hello()
    assert len(hello) == 67
    (answer,) = world.deliver(hello)
    assert len(answer) <= len(hello)


def test_1_8_many_hellos_in_one_datagram_get_one_answer() -> None:
    # With the headers below them, twenty answers would be more than the one datagram that asked.
    world, client = World(), RawClient(extensions=None)
    datagram = b"".join(raw_record(HANDSHAKE, n, handshake(1, 0, client.hello_body())) for n in range(20))
    answers = world.deliver(datagram)
    assert len(answers) == 1
    assert len(answers[0]) <= len(datagram)


@pytest.mark.parametrize("session_id", [b"s", b"s" * 32])
def test_1_9_session_id_does_not_stand_for_a_cookie(session_id: bytes) -> None:
    # CVE-2022-2576: a failed resumption fell back to a full handshake without a cookie.
    world, client = World(), RawClient(session_id=session_id, extensions={35: b"a ticket", 23: b""})
    client.read(world.deliver(client.hello()))
    assert [message[0] for message in client.messages] == [3]
    assert world.endpoint.handshakes_in_progress == 0
    world.connect(client)


# --- 1.10 to 1.12 fragments ------------------------------------------------------------------------------------------


def test_1_10_fragments_of_one_message_must_agree() -> None:
    stage = stages.reach("certificate", "ExpectCertificate")
    body = bytes(100)
    stage.world.deliver(
        raw_record(HANDSHAKE, 90, handshake(11, 2, body, 0, 10)),
        raw_record(HANDSHAKE, 91, handshake(11, 2, body + b"x", 10, 101)),
        raw_record(HANDSHAKE, 92, handshake(16, 2, body, 10, 100)),
    )
    assert stage.world.drops() == {"bad_fragment": 2}
    assert stage.world.failures == []


def test_1_10_fragment_past_its_message_is_dropped() -> None:
    stage = stages.reach("psk", "ExpectPskKeyExchange")
    header = bytes((16,)) + (10).to_bytes(3, "big") + b"\x00\x02" + (8).to_bytes(3, "big") + (3).to_bytes(3, "big")
    assert stage.world.deliver(raw_record(HANDSHAKE, 90, header + b"abc")) == []
    assert stage.world.drops() == {"malformed": 1}
    stage.complete()


def test_1_10_message_over_the_cap_ends_the_handshake_and_allocates_nothing() -> None:
    for length in (MAX_HANDSHAKE_MESSAGE + 1, (1 << 24) - 1):
        stage = stages.reach("certificate", "ExpectCertificate")
        header = b"\x0b" + length.to_bytes(3, "big") + b"\x00\x02" + bytes(3) + (1).to_bytes(3, "big")
        answers = stage.client.read(stage.world.deliver(raw_record(HANDSHAKE, 90, header + b"x")))
        assert alerts(answers) == [(2, 40)]
        assert stage.world.reason == "handshake_too_large"


def test_1_11_shuffled_overlapping_and_repeated_fragments() -> None:
    stage = stages.reach("certificate", "ExpectCertificate")
    client = stage.client
    (whole,) = records(client.certificate())
    body = whole[25:]
    spans = [(200, len(body)), (0, 120), (100, 220), (0, 120), (50, 60)]
    client.next_number[0] += 10
    for number, (start, stop) in enumerate(spans):
        assert stage.world.deliver(raw_record(HANDSHAKE, 50 + number, handshake(11, 2, body, start, stop))) == []
    client.next_number[0] = 60
    stage.world.deliver(client.client_key_exchange(), client.certificate_verify(), client.change_cipher_spec())
    client.read(stage.world.deliver(client.finished()))
    assert client.server_finished_verified


def test_1_11_zero_length_fragment_completes_nothing() -> None:
    stage = stages.reach("psk", "ExpectPskKeyExchange")
    for offset in (0, 3, 6):
        empty = handshake(16, 2, b"\x00\x04dev1", offset, offset)
        assert stage.world.deliver(raw_record(HANDSHAKE, 80 + offset, empty)) == []
    assert stage.world.drops() == {"bad_fragment": 3}
    assert stage.world.events == []
    stage.client.next_number[0] = 100
    stage.complete()


def test_1_12_flood_of_future_messages_keeps_a_few_and_hurts_nothing() -> None:
    stage = stages.reach("psk", "ExpectPskKeyExchange")
    for seq in range(10, 2000):
        stage.world.deliver(raw_record(HANDSHAKE, seq, handshake(16, seq, bytes(500))))
    assert stage.world.drops() == {"buffer_full": 1990}
    stage.client.next_number[0] = 3000
    stage.complete()


def test_1_12_messages_a_little_early_are_kept() -> None:
    world, client = World(), certificate_client()
    world.reach_server_done(client)
    flight = client.answer_flight()
    assert len(flight) - 2 <= MAX_FUTURE_MESSAGES
    client.read(world.deliver(*reversed(flight)))
    assert client.server_finished_verified


def test_1_12_nothing_is_buffered_for_another_handshake() -> None:
    stage = stages.reach("psk", "ExpectPskKeyExchange")
    early = raw_record(HANDSHAKE, 3, handshake(16, 2, b"\x00\x04dev1"))
    for port in range(1, 200):
        assert stage.world.deliver(early, source=("192.0.2.7", port)) == []
    assert stage.world.drops() == {"no_session": 199}
    assert stage.world.events == []
    stage.complete()


# --- 1.13 to 1.15 epochs and datagrams -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["psk", "certificate"])
def test_1_13_finished_may_overtake_what_precedes_it(kind: str) -> None:
    world = World()
    client = RawClient() if kind == "psk" else certificate_client()
    world.reach_server_done(client)
    *before, finished = client.answer_flight()
    assert world.deliver(finished) == []
    client.read(world.deliver(*before))
    assert client.server_finished_verified


def test_1_13_data_that_overtakes_finished_does_not_take_its_place() -> None:
    world, client = World(), RawClient()
    world.reach_server_done(client)
    *before, finished = client.answer_flight()
    early = [client.data(b"early") for _ in range(3)]
    assert world.deliver(*early, finished) == []
    assert world.drops() == {"early_data": 3}  # before Finished nobody knows whose it is
    client.read(world.deliver(*before))
    assert client.server_finished_verified
    assert world.data == []


def test_1_13_records_of_the_next_epoch_are_bounded() -> None:
    stage = stages.reach("psk", "ExpectPskKeyExchange")
    for sequence in range(500):
        stage.world.deliver(raw_record(21, EPOCH_1 + sequence, bytes(MAX_EARLY_RECORD_BYTES + 1)))
    assert stage.world.drops() == {"buffer_full": 500}
    for sequence in range(500):
        stage.world.deliver(raw_record(21, EPOCH_1 + sequence, bytes(MAX_EARLY_RECORD_BYTES)))
    assert stage.world.drops() == {"buffer_full": 1000 - MAX_EARLY_RECORDS}
    # What was kept is of no use and no harm: the client's own Finished comes after it, or again.
    stage.complete()


def test_1_14_whole_flight_in_one_datagram() -> None:
    for client in (RawClient(), certificate_client()):
        world = World()
        world.reach_server_done(client)
        client.read(world.deliver(b"".join(client.answer_flight())))
        assert client.server_finished_verified


def test_1_14_several_messages_in_one_record() -> None:
    world, client = World(), certificate_client()
    world.reach_server_done(client)
    certificate, exchange, verify, ccs, finished = client.answer_flight()
    together = b"".join(split(record)[0][3] for record in (certificate, exchange, verify))
    client.read(world.deliver(raw_record(HANDSHAKE, 50, together) + raw_record(20, 51, b"\x01") + finished))
    assert ccs
    assert client.server_finished_verified


def test_1_14_flights_are_packed_into_as_few_datagrams_as_fit() -> None:
    for client in (RawClient(), certificate_client()):
        world = World()
        assert len(world.reach_server_done(client)) == 1
        last = world.deliver(*client.answer_flight())
        assert [[content_type for content_type, *_ in split(datagram)] for datagram in last] == [[20, 22]]


@pytest.mark.parametrize("limit", [192, 300, 512, 1232])
def test_1_15_handshake_datagrams_keep_to_the_limit_and_fill_it(limit: int) -> None:
    world, client = World(datagram_limit=limit), certificate_client()
    flight = world.reach_server_done(client)
    assert all(len(datagram) <= limit for datagram in flight)
    total = sum(map(len, flight))
    assert len(flight) == -(-total // limit)
    client.read(world.deliver(*client.answer_flight()))
    assert client.server_finished_verified


def test_1_15_default_fits_the_smallest_ipv6_path() -> None:
    assert World().config.datagram_limit == 1280 - 40 - 8


def test_1_15_repeated_loss_makes_the_datagrams_smaller() -> None:
    # RFC 6347 4.1.1.1: "If repeated retransmissions do not result in a response, and the PMTU is unknown, subsequent
    # retransmissions SHOULD back off to a smaller record size"
    world, client = World(), certificate_client()
    flight = world.reach_server_done(client)
    assert max(map(len, flight)) > 600
    assert world.advance(1.0) != []
    assert world.advance(2.0) != []
    third = world.advance(4.0)
    assert max(map(len, third)) <= 512
    client.received.clear()
    client.read(third)
    assert [content for record in client.received if (content := record.content)]
    client.read(world.deliver(*client.answer_flight()))
    assert client.server_finished_verified


def test_1_15_application_data_is_one_record_in_one_datagram() -> None:
    world, client = World(datagram_limit=192), RawClient()
    association = world.connect(client)
    world.endpoint.send(association, bytes(1024), world.now)
    (record,) = client.read(world.collect())
    assert record.content == bytes(1024)


# --- 1.16 to 1.19 flights --------------------------------------------------------------------------------------------


def test_1_16_whole_flight_is_repeated_on_time() -> None:
    world, client = World(datagram_limit=300), certificate_client()
    flight = world.reach_server_done(client)
    again = world.advance(1.0)
    assert len(again) == len(flight) > 1
    assert [len(datagram) for datagram in again] == [len(datagram) for datagram in flight]


def test_1_16_repetition_of_the_peer_brings_the_flight_again() -> None:
    world, client = World(), RawClient()
    hello = cookie_hello(world, client)
    flight = world.deliver(hello)
    world.advance(0.3)
    assert [len(datagram) for datagram in world.deliver(hello)] == [len(datagram) for datagram in flight]


def test_1_16_last_flight_comes_again_when_the_peer_repeats_its_own() -> None:
    # The whole flight again: its plain records, and Finished under a new record number.
    world, client = World(), certificate_client()
    world.reach_server_done(client)
    flight = client.answer_flight()
    last = world.deliver(*flight)
    finished = client.transcript[-1]
    world.advance(1.0)
    answers = world.deliver(*flight[:-1], client.record(HANDSHAKE, finished, 1))
    assert [[content_type for content_type, *_ in split(d)] for d in answers] == [[20, 22]]
    client.read(last)
    assert client.server_finished_verified
    first, second = split(last[0])[1], split(answers[0])[1]
    assert first[2] != second[2]
    assert len(world.completed) == 1


def test_1_16_last_flight_is_not_a_weapon() -> None:
    world, client = World(), RawClient()
    world.connect(client)
    world.advance(1.0)
    finished = client.transcript[-2]
    answers = [world.deliver(client.record(HANDSHAKE, finished, 1)) for _ in range(50)]
    assert sum(map(len, answers)) == 1


def test_1_17_handshake_is_given_up_and_leaves_nothing() -> None:
    for kind, state in stages.UNFINISHED:
        stage = stages.reach(kind, state)
        stage.world.answering = False
        stage.world.advance(HANDSHAKE_TIMEOUT_S + 1)
        assert stage.world.reason in ("timeout", "fragment_timeout")
        assert stage.world.endpoint.handshakes_in_progress == 0
        assert stage.world.endpoint.next_timer() is None


def test_1_17_interval_starts_at_one_second_and_doubles() -> None:
    world = World()
    world.reach_server_done(RawClient())
    start = world.now
    times = []
    for _ in range(4):
        timer = world.endpoint.next_timer()
        assert timer is not None
        assert world.advance(timer - world.now)
        times.append(world.now - start)
    assert times == [1, 3, 7, 15]


def test_1_17_slow_client_is_not_a_dead_one() -> None:
    # RFC 7925 section 11: 9 s initial timer; every flight of it may come late.
    world, client = World(), RawClient()
    hello = cookie_hello(world, client)
    world.advance(45.0)
    client.read(world.deliver(hello))
    world.advance(100.0)
    client.read(world.deliver(*client.answer_flight()))
    assert client.server_finished_verified


@pytest.mark.parametrize("kind", ["psk", "certificate"])
def test_1_18_missing_change_cipher_spec_holds_the_handshake(kind: str) -> None:
    # RFC 6347 4.2.5 and CVE-2014-0224: nothing is established without it, whatever else has come.
    world = World()
    client = RawClient() if kind == "psk" else certificate_client()
    world.reach_server_done(client)
    flight = client.answer_flight()
    assert world.deliver(*flight[:-2], flight[-1]) == []
    assert world.completed == []
    client.read(world.deliver(flight[-2]))
    assert client.server_finished_verified


def test_1_18_change_cipher_spec_sent_too_early_does_not_count() -> None:
    stage = stages.reach("psk", "ExpectPskKeyExchange")
    client, world = stage.client, stage.world
    early = client.change_cipher_spec()
    exchange, finished = client.client_key_exchange(), client.finished()
    assert world.deliver(early, exchange, finished) == []
    assert world.completed == []
    client.read(world.deliver(client.change_cipher_spec()))
    assert client.server_finished_verified


def test_1_18_second_change_cipher_spec_changes_nothing() -> None:
    stage = stages.reach("psk", "ExpectFinished")
    client, world = stage.client, stage.world
    assert world.deliver(client.change_cipher_spec()) == []
    assert world.drops() == {"unexpected": 1}
    client.read(world.deliver(client.finished()))
    assert client.server_finished_verified
    assert world.deliver(client.change_cipher_spec()) == []
    world.deliver(client.data(b"epoch 1, not 2"))
    assert world.data == [b"epoch 1, not 2"]


def test_1_18_change_cipher_spec_has_no_message_number() -> None:
    world, client = World(), RawClient()
    world.connect(client)
    # ClientKeyExchange 2, Finished 3; the server's: Done 2, Finished 3.
    assert client.next_seq == 4
    assert [seq for _, seq, _ in client.messages] == [0, 1, 2, 3]


def test_1_19_hashes_are_over_whole_messages_however_they_were_cut() -> None:
    # RFC 6347 4.2.6. The transcript of the raw client holds each message as one fragment.
    world, client = World(datagram_limit=192), certificate_client()
    client.read(world.deliver(client.hello()))
    for datagram in records(client.hello(pieces=(70, 71, 90))):
        client.read(world.deliver(datagram))
    (whole,) = records(client.certificate())
    body = whole[25:]
    for start in range(0, len(body), 33):
        piece = handshake(11, 2, body, start, min(start + 33, len(body)))
        world.deliver(client.record(HANDSHAKE, piece))
    client.read(
        world.deliver(
            client.client_key_exchange(),
            client.certificate_verify(),
            client.change_cipher_spec(),
            client.finished(),
        )
    )
    assert client.server_finished_verified


# --- 1.20 to 1.25 associations ---------------------------------------------------------------------------------------


def test_1_20_plain_alert_after_the_handshake_is_ignored() -> None:
    world, client = World(), RawClient()
    association = world.connect(client)
    for level, description in ((2, 40), (1, 0), (2, 51)):
        assert world.deliver(client.alert(level, description)) == []
    assert world.endpoint.associations == {CLIENT: association}
    world.deliver(client.data(b"still here"))
    assert world.data == [b"still here"]


def test_1_21_new_handshake_on_the_same_address_completes_and_replaces_the_old_association() -> None:
    # RFC 6347 4.2.8: the device has rebooted and comes from its fixed port.
    world, before, after = World(), RawClient(), RawClient(random=b"after the reboot".ljust(32, b"."))
    old = world.connect(before)
    new = world.connect(after)
    assert world.endpoint.associations == {old.address: new}
    assert [event.reason for event in world.closed] == ["superseded"]
    world.deliver(after.data(b"hello again"))
    assert world.data == [b"hello again"]


def test_1_21_old_association_serves_until_the_new_one_is_proven() -> None:
    for kind, state in stages.UNFINISHED:
        world, before = stages.world_for(kind), RawClient(random=b"before".ljust(32, b"."))
        old = world.connect(before)
        world.events.clear()
        stage = stages.reach(kind, state, world)
        world.deliver(before.data(state.encode()))
        assert world.data == [state.encode()]
        assert world.endpoint.associations == {CLIENT: old}
        stage.complete()
        assert world.endpoint.associations[CLIENT] is not old


def test_1_21_failed_new_handshake_leaves_the_old_association() -> None:
    world, before = World(), RawClient()
    old = world.connect(before)
    intruder = RawClient(random=b"i" * 32, psk=b"not the key of dev1")
    world.reach_server_done(intruder)
    intruder.read(world.deliver(*intruder.answer_flight()))
    assert world.reason == "wrong_key"
    assert world.endpoint.associations == {CLIENT: old}
    world.deliver(before.data(b"unharmed"))
    assert world.data == [b"unharmed"]
    world.endpoint.send(old, b"you too", world.now)
    assert [record.content for record in before.read(world.collect())] == [b"you too"]


def test_1_22_records_of_the_old_association_are_nothing_to_the_new_one() -> None:
    world, before, after = World(), RawClient(), RawClient(random=b"after".ljust(32, b"."))
    world.connect(before)
    late = before.data(b"late")
    world.connect(after)
    assert world.deliver(late) == []
    assert world.data == []
    assert world.drops() == {"bad_mac": 1}


@pytest.mark.parametrize(("kind", "state"), stages.ALL)
def test_1_23_application_data_in_epoch_0_is_dropped_in_every_state(kind: str, state: str) -> None:
    # CVE-2019-20786
    stage = stages.reach(kind, state)
    assert stage.world.deliver(raw_record(23, 500, b"GET /secret")) == []
    assert stage.world.drops() == {"epoch_zero_data": 1}
    stage.complete()
    assert stage.world.data == []


def test_1_23_application_data_in_epoch_0_from_nobody() -> None:
    world = World()
    assert world.deliver(raw_record(23, 0, b"GET /secret")) == []
    assert world.drops() == {"epoch_zero_data": 1}


def test_1_24_close_notify_is_answered_and_ends_the_association() -> None:
    world, client = World(), RawClient()
    world.connect(client)
    assert alerts(client.read(world.deliver(client.alert(1, 0, epoch=1)))) == [(1, 0)]
    assert [event.reason for event in world.closed] == ["close_notify"]
    assert world.endpoint.associations == {}
    world.deliver(client.data(b"too late"))
    assert world.data == []


def test_1_24_idle_association_lives_for_hours_and_not_for_ever() -> None:
    world, client = World(idle_timeout_s=24 * 3600.0), RawClient()
    world.connect(client)
    assert world.advance(23 * 3600.0) == []
    world.deliver(client.data(b"slept well"))
    assert world.data == [b"slept well"]
    assert world.advance(23 * 3600.0) == []
    assert alerts(client.read(world.advance(2 * 3600.0))) == [(1, 0)]
    assert [event.reason for event in world.closed] == ["idle"]
    assert (world.endpoint.associations, world.endpoint.next_timer()) == ({}, None)


def test_1_24_stalest_association_yields_when_there_are_too_many() -> None:
    world = World(max_associations=3)
    clients = [RawClient(random=bytes((n,)) * 32) for n in range(4)]
    for n, client in enumerate(clients[:3]):
        world.connect(client, ("192.0.2.1", n + 1))
        world.advance(1.0, ("192.0.2.1", n + 1))
    world.deliver(clients[0].data(b"x"), source=("192.0.2.1", 1))
    world.connect(clients[3], ("192.0.2.1", 4))
    assert sorted(address[1] for address in world.endpoint.associations) == [1, 3, 4]
    assert [(event.association.address[1], event.reason) for event in world.closed] == [(2, "evicted")]


def test_1_24_last_flight_is_forgotten_after_two_segment_lifetimes() -> None:
    world, client = World(), RawClient()
    world.connect(client)
    world.advance(LINGER_S - 1)
    assert sizes(world.endpoint)["_lingering"] == 1
    world.advance(2)
    assert sizes(world.endpoint)["_lingering"] == 0


def test_1_25_reordered_records_inside_the_window_are_delivered() -> None:
    world, client = World(), RawClient()
    world.connect(client)
    sent = [client.data(b"%d" % n) for n in range(40)]
    order = [*range(39, -1, -2), *range(0, 40, 2)]
    world.deliver(*(sent[n] for n in order))
    assert world.data == [b"%d" % n for n in order]
