"""Checklist section 7: connection ids (RFC 9146). Records are made and opened by the tests' own arithmetic."""

import dataclasses

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from gateway.dtls import ApiMisuse, ServerConfig, ServerEndpoint, ServerParameters
from gateway.dtls.connection_id import ConnectionIds, IdentifiedAssociation, associate
from gateway.dtls.crypto import SUITES
from tests.dtls.moving import ELSEWHERE, THIRD, answer, connect, give, pass_time, places, read
from tests.dtls.rawclient import (
    CCS,
    DATA,
    HANDSHAKE,
    PATH_CHECK,
    TLS12_CID,
    RawClient,
    default_extensions,
    raw_record,
)
from tests.dtls.rawclient import SUITES as SUITE_NAMES
from tests.dtls.support import CLIENT, EMPTY, World, certificate_client, client_for, counting_random, sizes

EPOCH_1 = 1 << 48


# --- 7.1 negotiation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 20, 255])
def test_7_1_ids_of_any_length_of_the_client(length: int) -> None:
    world, client, association = connect(RawClient(cid=bytes(range(length))))
    assert (association.cid, association.peer_cid) == (client.server_cid, client.cid)
    world.deliver(client.data(b"up"))
    assert world.data == [b"up"]
    ((down, _),) = answer(world, association, b"down")
    # RFC 9146 3: with an empty id the peer wants none.
    assert down[0] == (TLS12_CID if length else DATA)
    (record,) = client.read([down])
    assert (record.content_type, record.content, record.cid) == (DATA, b"down", client.cid)


@pytest.mark.parametrize("suite", SUITE_NAMES)
@pytest.mark.parametrize("cid", [b"", b"client id"])
def test_7_1_ids_with_every_suite(suite: int, cid: bytes) -> None:
    client = client_for(suite)
    client.cid = cid
    world, client, association = connect(client)
    for number in range(3):
        world.deliver(client.data(b"up %d" % number))
        assert client.read([datagram for datagram, _ in answer(world, association, b"down")])[0].content == b"down"
    assert world.data == [b"up 0", b"up 1", b"up 2"]
    world.endpoint.close(association, world.now)
    assert client.read(world.collect())[0].content == b"\x01\x00"


def test_7_1_a_client_that_does_not_offer_the_extension_gets_none() -> None:
    world, client = World(), RawClient()
    association = world.connect(client)
    assert client.server_hello is not None
    assert 54 not in (client.server_hello.extensions or {})
    assert not isinstance(association, IdentifiedAssociation)
    world.deliver(client.data(b"plain"))
    assert world.data == [b"plain"]


def test_7_1_switched_off_the_extension_is_ignored() -> None:
    world = World()
    world.endpoint = ServerEndpoint(dataclasses.replace(world.config, connection_ids=False), counting_random())
    client = RawClient(cid=b"wanted")
    association = world.connect(client)
    assert client.server_cid == b""
    assert association.cid == association.peer_cid == b""


@pytest.mark.parametrize("body", [b"", b"\x01", b"\x05abcd", b"\x03abcd"])
def test_7_1_broken_extension_is_a_decode_error(body: bytes) -> None:
    world = World()
    client = RawClient(extensions=default_extensions() | {54: body})
    world.reach_server_done(client)
    assert world.reason == "decode_error"
    assert sizes(world.endpoint) == EMPTY | {"_settled": 1}


# --- 7.2 our ids -----------------------------------------------------------------------------------------------------


def test_7_2_id_is_node_worker_and_six_random_bytes() -> None:
    world = World()
    config = dataclasses.replace(world.config, connection_id_prefix=b"\x07\x03")
    world.endpoint = ServerEndpoint(config, counting_random())
    ids = set()
    for port in range(1, 60):
        _, client, association = connect(world=world, source=("192.0.2.1", port))
        assert client.server_cid == association.cid
        assert (len(client.server_cid), client.server_cid[:2]) == (8, b"\x07\x03")
        ids.add(client.server_cid[2:])
    assert len(ids) == 59
    with pytest.raises(ApiMisuse, match="two bytes"):
        ServerConfig(ServerParameters(), cookie_secret=bytes(16), connection_id_prefix=b"\0")


def test_7_2_an_id_that_somebody_has_is_drawn_again() -> None:
    # Six equal bytes each time they are asked for until they are taken: then others.
    six = [b"firsts", b"firsts", b"firsts", b"second", b"second", b"thirds"]
    rest = counting_random()
    world = World(random=lambda count: six.pop(0) if count == 6 else rest(count))
    _, one, _ = connect(world=world, source=("192.0.2.1", 1))
    two = RawClient(cid=b"")
    world.reach_server_done(two, ("192.0.2.1", 2))  # not established: its id is reserved all the same
    _, three, _ = connect(world=world, source=("192.0.2.1", 3))
    assert [c.server_cid[2:] for c in (one, two, three)] == [b"firsts", b"second", b"thirds"]


def test_7_2_reserved_ids_of_handshakes_that_fail_are_given_back() -> None:
    world = World()
    for port in range(1, 30):
        world.reach_server_done(RawClient(cid=b""), ("192.0.2.1", port))
    assert sizes(world.endpoint)["_reserved_ids"] == 29
    pass_time(world, 1000)
    assert sizes(world.endpoint)["_reserved_ids"] == 0


# --- 7.3 what goes out with the id -----------------------------------------------------------------------------------


def test_7_3_every_protected_record_to_a_peer_with_an_id_and_none_before() -> None:
    world, client = World(), certificate_client()
    client.cid = b"peer"
    seen: list[tuple[int, int]] = []

    def note(datagrams: list[bytes]) -> list[bytes]:
        position = 0
        for datagram in datagrams:
            position = 0
            while position < len(datagram):
                kind, epoch = datagram[position], int.from_bytes(datagram[position + 3 : position + 5])
                seen.append((kind, epoch))
                at = position + 11 + (4 if kind == TLS12_CID else 0)
                if kind == TLS12_CID:
                    assert datagram[position + 11 : at] == b"peer"
                position = at + 2 + int.from_bytes(datagram[at : at + 2])
        return datagrams

    client.read(note(world.deliver(client.hello())))
    client.read(note(world.deliver(client.hello())))
    client.read(note(world.deliver(*client.answer_flight())))
    association = world.completed[0].association
    world.endpoint.send(association, b"data", world.now)
    client.read(note(world.collect()))
    world.endpoint.close(association, world.now)
    client.read(note(world.collect()))
    assert client.server_finished_verified
    assert {kind for kind, epoch in seen if epoch == 0} == {HANDSHAKE, CCS}
    assert [kind for kind, epoch in seen if epoch == 1] == [TLS12_CID] * 3  # Finished, data, alert


def test_7_3_a_plain_record_of_type_25_is_dropped_at_every_turn() -> None:
    # RFC 9146 3: "implementations MUST NOT use ... in epoch 0".
    world, client = World(), RawClient(cid=b"")
    plain = raw_record(TLS12_CID, 7, b"\x01\x17", cid=bytes(8))
    assert world.deliver(plain) == []
    world.reach_server_done(client)
    assert world.deliver(plain) == []
    client.read(world.deliver(*client.answer_flight()))
    assert world.deliver(plain) == []
    assert sum(world.drops().values()) == 3
    world.deliver(client.data(b"unharmed"))
    assert world.data == [b"unharmed"]


# --- 7.4 records without the id --------------------------------------------------------------------------------------


@pytest.mark.parametrize("content_type", [21, 22, 23, 27])
def test_7_4_a_record_without_the_id_is_discarded_though_it_authenticates(content_type: int) -> None:
    # RFC 9146 3: a receiver that negotiated a non-zero id discards encrypted records without it.
    world, client, association = connect()
    assert world.deliver(client.bare_record(content_type, b"\x02\x00")) == []
    assert world.drops() == {"missing_cid": 1}
    assert not association.closed
    assert association.authentication_failures == 0
    world.deliver(client.data(b"unharmed"))
    assert world.data == [b"unharmed"]


def test_7_4_a_finished_without_the_id_completes_nothing() -> None:
    world, client = World(), RawClient(cid=b"")
    world.reach_server_done(client)
    key_exchange, change_cipher_spec, finished = client.answer_flight()
    world.deliver(key_exchange, change_cipher_spec)
    body = client.transcript[-1]
    assert world.deliver(client.bare_record(HANDSHAKE, body)) == []
    assert world.drops() == {"missing_cid": 1}
    client.read(world.deliver(finished))
    assert client.server_finished_verified


# --- 7.5 the inner plaintext -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("zeros", [0, 1, 2, 15, 16, 17, 255, 1000])
def test_7_5_zeros_behind_the_type_are_stripped(zeros: int) -> None:
    world, client, _ = connect()
    world.deliver(client.inner_record(b"content\0\0" + bytes((DATA,)) + bytes(zeros)))
    assert world.data == [b"content\0\0"]


@pytest.mark.parametrize("zeros", [1, 2, 100])
def test_7_5_nothing_but_zeros_is_discarded(zeros: int) -> None:
    world, client, association = connect()
    assert world.deliver(client.inner_record(bytes(zeros))) == []
    assert world.drops() == {"malformed": 1}
    assert not association.closed
    world.deliver(client.data(b"unharmed"))
    assert world.data == [b"unharmed"]


def test_7_5_an_inner_plaintext_without_a_byte_is_discarded() -> None:
    world, client, association = connect()
    assert world.deliver(client.inner_record(b"")) == []
    assert world.drops() == {"malformed": 1}
    assert association.authentication_failures == 0


def test_7_5_empty_content_is_content() -> None:
    world, client, _ = connect()
    world.deliver(client.inner_record(bytes((DATA,))))
    assert world.data == [b""]


def test_7_5_the_largest_content_and_one_more() -> None:
    world, client, _ = connect()
    world.deliver(client.data(bytes(1 << 14)))
    assert world.data == [bytes(1 << 14)]
    assert world.deliver(client.data(bytes((1 << 14) + 1))) == []
    assert world.drops() == {"malformed": 1}


@pytest.mark.parametrize("content_type", [0, 20, 24, TLS12_CID, 26, PATH_CHECK, 255])
def test_7_5_an_inner_type_that_fits_nothing_is_dropped(content_type: int) -> None:
    world, client, _ = connect()
    assert world.deliver(client.inner_record(b"\x01" + bytes((content_type,)))) == []
    assert world.drops() == {"unexpected": 1}
    world.deliver(client.data(b"unharmed"))
    assert world.data == [b"unharmed"]


# --- 7.6 the additional data -----------------------------------------------------------------------------------------

KEY, SALT = bytes(range(16)), b"salt"


def by_hand(cid: bytes, content: bytes, content_type: int = DATA) -> bytes:
    """The first record of epoch 1 as RFC 9146 section 5.3 has it, with CCM_8; nothing of the engine is used."""
    number = bytes.fromhex("0001000000000000")
    inner = content + bytes((content_type,))
    additional = b"".join(
        [
            bytes.fromhex("ffffffffffffffff"),  # seq_num_placeholder
            bytes.fromhex("19"),  # tls12_cid
            bytes((len(cid),)),  # cid_length
            bytes.fromhex("19"),  # tls12_cid
            bytes.fromhex("fefd"),  # DTLSCiphertext.version
            number,  # epoch, sequence_number
            cid,
            len(inner).to_bytes(2, "big"),  # length_of_DTLSInnerPlaintext
        ]
    )
    body = number + AESCCM(KEY, tag_length=8).encrypt(SALT + number, inner, additional)
    return b"\x19\xfe\xfd" + number + cid + len(body).to_bytes(2, "big") + body


@pytest.mark.parametrize("length", [1, 8, 255])
def test_7_6_what_is_sealed_is_byte_for_byte_what_the_rfc_says(length: int) -> None:
    cid = bytes(range(1, length + 1))
    association = associate(CLIENT, SUITES[0xC0A8], (bytes(16), bytes(4), KEY, SALT), ConnectionIds(b"", cid))
    assert association.seal(DATA, b"hello") == by_hand(cid, b"hello")


def test_7_6_what_the_rfc_says_is_opened_by_both_paths() -> None:
    cid = b"\x00\x00sixsix"
    record = by_hand(cid, b"hello")
    for _ in range(2):
        association = associate(CLIENT, SUITES[0xC0A8], (KEY, SALT, bytes(16), bytes(4)), ConnectionIds(cid, b""))
        assert association.open_application(record) == b"hello"
        assert association.open_application(record) is None  # seen


@pytest.mark.parametrize("position", range(11, 19))
def test_7_6_the_id_is_authenticated(position: int) -> None:
    cid = b"\x00\x00sixsix"
    record = bytearray(by_hand(cid, b"hello"))
    record[position] ^= 1
    other = bytes(record[11:19])  # somebody who has that id, and the same keys
    association = associate(CLIENT, SUITES[0xC0A8], (KEY, SALT, bytes(16), bytes(4)), ConnectionIds(other, b""))
    assert association.open_application(bytes(record)) is None


@pytest.mark.parametrize("suite", SUITE_NAMES)
def test_7_6_direct_path_is_closed_to_all_but_one_whole_record_of_data(suite: int) -> None:
    client = client_for(suite)
    client.cid = b""
    world, client, association = connect(client)
    good = client.data(b"good")
    padded = client.inner_record(b"padded" + bytes((DATA, 0, 0)))
    for wrong in (
        b"",
        good[:-1],
        good + b"\0",
        good + good,
        b"\x17" + good[1:],
        good[:1] + b"\xfe\xff" + good[3:],
        good[:4] + b"\x02" + good[5:],
        good[:11] + bytes(8) + good[19:],
        good[:-1] + bytes((good[-1] ^ 1,)),
        client.inner_record(b"\x01\x00\x15"),
        client.inner_record(bytes(5)),
        client.inner_record(b""),
        client.bare_record(DATA, b"bare"),
    ):
        assert association.open_application(wrong) is None
    assert association.authentication_failures == 0
    assert association.open_application(padded) == b"padded"
    assert association.open_application(good) == b"good"
    assert association.open_application(good) is None
    assert world.endpoint.open_from_elsewhere(good, ELSEWHERE, world.now) is None


# --- 7.7 a new id in every handshake ---------------------------------------------------------------------------------


def test_7_7_every_handshake_has_a_new_id() -> None:
    world, first, _ = connect()
    second = RawClient(cid=b"", random=bytes(32))
    world.connect(second)
    assert len({first.server_cid, second.server_cid, b""}) == 3


# --- 7.8 look-up -----------------------------------------------------------------------------------------------------


def test_7_8_found_by_id_from_any_address_identity_stays() -> None:
    world, client, association = connect()
    give(world, client.data(b"elsewhere"), ELSEWHERE)
    assert world.data == [b"elsewhere"]
    assert world.completed[0].association is association
    assert association.context == b"dev1"


def test_7_8_unknown_id_is_dropped_in_silence_and_counted() -> None:
    world, client, association = connect()
    for number in range(100):
        unknown = b"\0\0" + number.to_bytes(6, "big")
        assert give(world, client.inner_record(b"guess\x17", cid=unknown), ELSEWHERE) == []
    assert world.drops() == {"unknown_cid": 100}
    assert association.authentication_failures == 0


def test_7_8_records_with_and_without_id_share_a_datagram() -> None:
    world, client = World(), RawClient(cid=b"")
    world.reach_server_done(client)
    flight = b"".join([*client.answer_flight(), client.data(b"at once")])
    client.read(world.deliver(flight))
    assert client.server_finished_verified
    world.deliver(client.data(b"one") + client.data(b"two"))
    assert world.data[-2:] == [b"one", b"two"]


# --- 7.9 the address moves -------------------------------------------------------------------------------------------


def test_7_9_the_newest_authenticated_record_moves_the_address() -> None:
    world, client, association = connect()
    give(world, client.data(b"moved"), ELSEWHERE)
    assert association.address == ELSEWHERE
    assert places(answer(world, association, b"ok")) == [ELSEWHERE]
    assert world.endpoint.counters.address_changes == 1


def test_7_9_an_older_record_from_elsewhere_is_read_and_moves_nothing() -> None:
    world, client, association = connect()
    late = client.data(b"late")
    give(world, client.data(b"newer"), CLIENT)
    give(world, late, ELSEWHERE)
    assert world.data == [b"newer", b"late"]
    assert association.address == CLIENT
    assert world.endpoint.counters.address_changes == 0


def test_7_9_a_forged_record_from_elsewhere_moves_nothing() -> None:
    world, client, association = connect()
    forged = bytearray(client.data(b"x"))
    forged[-1] ^= 1
    assert give(world, bytes(forged), ELSEWHERE) == []
    assert (association.address, world.drops()) == (CLIENT, {"bad_mac": 1})


@pytest.mark.parametrize("direct", [False, True])
def test_7_9_a_new_address_gets_three_times_what_came_from_there_until_the_next_record(direct: bool) -> None:
    world, client, association = connect()

    def arrive(datagram: bytes) -> None:
        if direct:
            assert world.endpoint.open_from_elsewhere(datagram, ELSEWHERE, world.now) is not None
        else:
            assert give(world, datagram, ELSEWHERE) == []

    asked = client.data(b"question")
    arrive(asked)
    limit, sent = 3 * len(asked), 0
    for _ in range(20):
        sent += sum(len(datagram) for datagram, _ in answer(world, association, b"x" * 10))
    assert limit - 40 < sent <= limit
    assert world.endpoint.counters.withheld > 0
    assert answer(world, association, b"x" * limit) == []
    arrive(client.data(b"again"))
    assert places(answer(world, association, bytes(10 * limit))) == [ELSEWHERE]


def test_7_9_several_records_in_a_datagram_are_one_arrival() -> None:
    world, client, association = connect()
    datagram = client.data(b"one") + client.data(b"two")
    give(world, datagram, ELSEWHERE)
    assert association.credit == 3 * len(datagram)
    assert answer(world, association, bytes(1000)) == []


def test_7_9_the_limit_holds_for_alerts_and_flights_too() -> None:
    world, client, association = connect()
    give(world, client.data(b""), ELSEWHERE)
    association.credit = 0
    assert give(world, client.message(1, client.hello_body(), epoch=1), THIRD) != []  # THIRD: fresh credit
    association.credit = 0
    world.endpoint.close(association, world.now)
    assert world.collect(THIRD) == []


def test_7_9_back_and_forth() -> None:
    world, client, association = connect()
    for number in range(50):
        source = (CLIENT, ELSEWHERE, THIRD)[number % 3]
        give(world, client.data(b"%d" % number), source)
        assert association.address == source
        assert places(answer(world, association, b"ok")) == [source]
    assert len(world.data) == 50
    assert world.endpoint.associations_by_id == {association.cid: association}
    assert len(world.endpoint.associations) <= 1


# --- 7.10 several associations at one address ------------------------------------------------------------------------


def test_7_10_two_associations_share_an_address_and_both_are_reached() -> None:
    world, one, first = connect()
    _, two, second = connect(RawClient(cid=b"", random=bytes(32)), world)
    assert world.completed[1].neighbour is first
    assert not first.closed
    assert world.endpoint.associations == {CLIENT: second}
    for client, association in ((one, first), (two, second), (one, first)):
        give(world, client.data(association.cid), CLIENT)
        assert places(answer(world, association, b"ok")) == [CLIENT]
        assert world.endpoint.associations == {CLIENT: association}  # the newest that was heard from there
    assert world.data == [first.cid, second.cid, first.cid]
    assert world.endpoint.association_count == 2


def test_7_10_one_that_moves_to_the_address_of_one_without_an_id_does_not_push_it_out() -> None:
    world, plain = World(), RawClient()
    association = world.connect(plain, ELSEWHERE)
    _, client, moving = connect(world=world)
    for text in (b"one", b"two"):
        give(world, client.data(text), ELSEWHERE)
    assert moving.address == ELSEWHERE
    assert world.endpoint.associations == {ELSEWHERE: association}
    give(world, plain.data(b"plain"), ELSEWHERE)
    assert world.data == [b"one", b"two", b"plain"]
    world.endpoint.shut_down(world.now)
    assert world.endpoint.association_count == 0
    assert not world.endpoint.associations
    assert not world.endpoint.associations_by_id


def test_7_10_one_without_an_id_yields_to_a_handshake_from_its_address() -> None:
    world = World()
    old = world.connect(RawClient())
    _, _, new = connect(RawClient(cid=b"", random=bytes(32)), world)
    assert [event.association for event in world.closed] == [old]
    assert world.endpoint.associations == {CLIENT: new}
    assert world.endpoint.association_count == 1


def test_7_10_superseded_neighbour_goes_without_a_word() -> None:
    world, client, first = connect()
    connect(RawClient(cid=b"", random=bytes(32)), world)
    world.endpoint.supersede(first)
    world.endpoint.supersede(first)
    assert world.collect() == []
    assert [event.reason for event in world.closed] == ["superseded"]
    assert give(world, client.data(b"from the dead"), CLIENT) == []
    assert world.drops() == {"unknown_cid": 1}


# --- 7.11 Finished with the id, ChangeCipherSpec without --------------------------------------------------------------


@pytest.mark.parametrize("cid", [b"", b"abc"])
def test_7_11_finished_carries_the_id_change_cipher_spec_does_not(cid: bytes) -> None:
    world, client = World(), RawClient(cid=cid)
    world.reach_server_done(client)
    _, change_cipher_spec, finished = records = client.answer_flight()
    assert (change_cipher_spec[0], finished[0]) == (CCS, TLS12_CID)
    assert finished[11:19] == client.server_cid
    (last,) = world.deliver(*records)
    assert last[:1] == bytes((CCS,))
    assert last[14] == (TLS12_CID if cid else HANDSHAKE)
    client.read([last])
    assert client.server_finished_verified


def test_7_11_a_repeated_finished_with_id_gets_the_last_flight_again() -> None:
    world, client, _ = connect()
    pass_time(world, 1)
    finished = client.message(20, bytes(12), epoch=1, seq=client.next_seq - 1)
    ((again, address),) = give(world, finished, CLIENT)
    assert address == CLIENT
    assert [record.content_type for record in read(client, [(again, address)])] == [CCS, HANDSHAKE]


# --- 1.21 a new handshake from a known address -----------------------------------------------------------------------


def test_1_21_old_association_with_an_id_serves_on_while_a_new_handshake_runs() -> None:
    world, old, association = connect()
    new = RawClient(cid=b"", random=bytes(32))
    world.reach_server_done(new)
    world.deliver(old.data(b"still me"))
    flight = new.answer_flight()
    world.deliver(*flight[:-1])
    world.deliver(old.data(b"and me"))
    new.read(world.deliver(flight[-1]))
    assert new.server_finished_verified
    assert world.data == [b"still me", b"and me"]
    assert not association.closed
    assert world.drops() == {}


@pytest.mark.parametrize(("old_cid", "new_cid"), [(b"", None), (None, b""), (b"o", b"n")])
def test_1_22_records_of_the_old_and_the_new_epoch_1_do_not_mix(old_cid: bytes | None, new_cid: bytes | None) -> None:
    world, old = World(), RawClient(cid=old_cid)
    world.connect(old)
    new = RawClient(cid=new_cid, random=bytes(32))
    world.reach_server_done(new)
    *flight, finished = new.answer_flight()
    world.deliver(*flight)
    world.deliver(old.data(b"old"))
    new.read(world.deliver(finished))
    assert new.server_finished_verified
    world.deliver(new.data(b"new"))
    assert world.data == [b"old", b"new"]


@pytest.mark.parametrize("suite", [0xC0A8, 0x00A8, 0xCCAB])
def test_1_1_record_numbers_never_wrap_with_ids_either(suite: int) -> None:
    world, _, association = connect(RawClient(suites=(suite,), cid=b"peer"))
    association._write_number = association._last_number - 1
    assert len(answer(world, association, b"last")) == 1
    assert answer(world, association, b"one too many") == []
    assert [event.reason for event in world.closed] == ["exhausted"]
    assert world.endpoint.association_count == 0
