"""What an attacker may send, and what must not come of it (checklist section 11)."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.dtls import CertificatePresented, handshake_table
from gateway.dtls.limits import MAX_EARLY_RECORDS, MAX_REASSEMBLY_BYTES, MAX_RECORDS_PER_DATAGRAM, MAX_REPEATS
from tests.dtls import stages
from tests.dtls.rawclient import HANDSHAKE, SUITES, Device, RawClient, handshake, prf, raw_record
from tests.dtls.support import CLIENT, EMPTY, PSK, World, alerts, certificate_client, client_for, device, sizes

MAX_SEQUENCE = (1 << 48) - 1


def test_a_hello_with_the_last_record_number_of_its_epoch_is_dropped() -> None:
    # RFC 6347 4.2.1 has our ServerHello go on from the ClientHello's record number; 4.1: it must not wrap.
    world, client = World(), RawClient()
    client.read(world.deliver(client.hello()))
    client.next_number[0] = MAX_SEQUENCE
    assert world.deliver(client.hello()) == []
    assert world.endpoint.handshakes_in_progress == 0
    assert world.drops() == {"malformed": 1}


def test_a_hello_with_the_last_message_number_is_dropped() -> None:
    # message_seq has 16 bits (RFC 6347 4.2.2), and our messages are numbered on from the ClientHello's.
    world, client = World(), RawClient()
    client.read(world.deliver(client.hello()))
    client.next_seq = 0xFFFF
    assert world.deliver(client.hello()) == []
    assert world.endpoint.handshakes_in_progress == 0
    assert world.drops() == {"malformed": 1}


def test_forgeries_are_counted_while_a_new_handshake_is_under_way() -> None:
    world, client = World(), RawClient()
    association = world.connect(client)
    world.reach_server_done(RawClient(random=b"r" * 32))
    forged = client.data(b"hello")
    forged = forged[:-1] + bytes((forged[-1] ^ 1,))
    world.deliver(*[forged] * 10)
    assert association.authentication_failures == 10


def test_records_that_may_be_a_finished_are_no_forgeries_while_a_new_handshake_is_under_way() -> None:
    world, client = World(), RawClient()
    association = world.connect(client)
    world.reach_server_done(RawClient(random=b"r" * 32))
    forged = raw_record(22, 1 << 48 | 60, bytes(40))
    world.deliver(*[forged] * 10)
    # The handshake keeps the first two, as they might be its own early ones.
    assert association.authentication_failures == 8


# --- possession (CVE-2022-29222, CVE-2015-0205, CVE-2022-25640, CVE-2026-2645) ---------------------------------------


def stranger_with_a_copied_certificate() -> RawClient:
    """Has the device's certificate, which is public, and a key of its own."""
    return RawClient(
        suites=(0xC0AE,), device=Device(ec.generate_private_key(ec.SECP256R1()), device().chain), random=b"s" * 32
    )


def test_copied_certificate_without_its_key() -> None:
    world, client = World(), stranger_with_a_copied_certificate()
    world.reach_server_done(client)
    assert alerts(client.read(world.deliver(*client.answer_flight()))) == [(2, 51)]
    assert world.reason == "possession_not_proven"
    assert not any(isinstance(event, CertificatePresented) for event in world.events)


def test_copied_certificate_with_certificate_verify_left_out() -> None:
    world, client = World(), stranger_with_a_copied_certificate()
    world.reach_server_done(client)
    world.deliver(client.certificate(), client.client_key_exchange(), client.change_cipher_spec(), client.finished())
    world.deliver(client.data(b"let me in"))
    assert (world.completed, world.data) == ([], [])
    assert not any(isinstance(event, CertificatePresented) for event in world.events)


def test_certificate_verify_before_certificate() -> None:
    stage = stages.reach("certificate", "ExpectCertificate")
    answers = stage.client.read(stage.world.deliver(stage.client.certificate_verify()))
    assert alerts(answers) == [(2, 10)]


def test_certificate_verify_of_another_handshake() -> None:
    # A signature that the device once gave: over another transcript, with other randoms.
    recorded = RawClient(suites=(0xC0AE,), device=device(), random=b"recorded".ljust(32, b"."))
    World().connect(recorded)
    signature = next(message for message in recorded.transcript if message[0] == 15)[12:]
    world, client = World(), stranger_with_a_copied_certificate()
    world.reach_server_done(client)
    world.deliver(client.certificate(), client.client_key_exchange())
    assert alerts(client.read(world.deliver(client.message(15, signature)))) == [(2, 51)]


def test_bare_public_key_instead_of_a_certificate() -> None:
    # CVE-2026-55960: a raw public key that was not negotiated (RFC 7250 section 4).
    world, client = World(), certificate_client()
    spki = device().key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    world.reach_server_done(client)
    ((level, _),) = alerts(client.read(world.deliver(client.certificate((spki,)))))
    assert level == 2
    assert world.failures != []


# --- order of Finished and ChangeCipherSpec (CVE-2014-0224) ----------------------------------------------------------


@pytest.mark.parametrize(("kind", "state"), [pair for pair in stages.EVERY if pair[1] != "Established"])
def test_plain_finished_never_completes_a_handshake(kind: str, state: str) -> None:
    # With the right content, too, wherever the client has its keys: what is wrong is that it is not protected.
    stage = stages.reach(kind, state)
    world, client = stage.world, stage.client
    verify_data = client.prf(b"client finished", client.transcript_hash()) if client.master else bytes(12)
    world.deliver(client.record(HANDSHAKE, handshake(20, client.next_seq, verify_data)))
    assert world.completed == []
    assert world.endpoint.associations == {}


def test_right_finished_in_the_wrong_epoch_is_nothing() -> None:
    stage = stages.reach("psk", "ExpectFinished")
    world, client = stage.world, stage.client
    verify_data = prf(client.master, b"client finished", client.transcript_hash(), 12)
    assert world.deliver(client.record(HANDSHAKE, handshake(20, client.next_seq, verify_data))) == []
    assert world.drops() == {"old_epoch": 1}
    assert world.completed == []
    client.read(world.deliver(client.finished()))
    assert client.server_finished_verified


@pytest.mark.parametrize(("kind", "state"), stages.UNFINISHED)
def test_injected_change_cipher_spec_does_not_help_or_hurt(kind: str, state: str) -> None:
    stage = stages.reach(kind, state)
    assert stage.world.deliver(raw_record(20, MAX_SEQUENCE, b"\x01"), raw_record(20, 3, b"\x01")) == []
    assert stage.world.completed == []
    stage.complete()


@pytest.mark.parametrize("kind", ["psk", "certificate"])
def test_plain_pieces_do_not_mix_into_the_protected_finished(kind: str) -> None:
    stage = stages.reach(kind, "ExpectChangeCipherSpec")
    world, client = stage.world, stage.client
    for start, stop in ((0, 6), (3, 11)):
        world.deliver(client.record(HANDSHAKE, handshake(20, client.next_seq, bytes(12), start, stop)))
    stage.complete()


def test_finished_of_the_server_sent_back() -> None:
    stage = stages.reach("psk", "ExpectFinished")
    world, client = stage.world, stage.client
    mirrored = prf(client.master, b"server finished", client.transcript_hash(), 12)
    assert alerts(client.read(world.deliver(client.finished(verify_data=mirrored)))) == [(2, 51)]


# --- alerts, replay and epochs by somebody without keys --------------------------------------------------------------


@pytest.mark.parametrize("level", [1, 2, 0, 255])
@pytest.mark.parametrize("description", [0, 10, 20, 40, 51, 90, 255])
def test_plain_alert_never_harms_an_association(level: int, description: int) -> None:
    world, client = World(), RawClient()
    association = world.connect(client)
    assert world.deliver(raw_record(21, 99, bytes((level, description)))) == []
    # Nor while somebody pretends to begin anew from the same address.
    world.reach_server_done(RawClient(random=b"p" * 32))
    world.deliver(raw_record(21, 99, bytes((level, description))))
    world.deliver(client.data(b"unharmed"))
    assert world.data == [b"unharmed"]
    assert world.endpoint.associations == {CLIENT: association}
    assert world.closed == []


def test_protected_fatal_alert_ends_the_association_and_is_not_answered() -> None:
    world, client = World(), RawClient()
    world.connect(client)
    assert world.deliver(client.alert(2, 80, epoch=1)) == []
    assert [event.reason for event in world.closed] == ["alert"]


def test_protected_warning_is_only_counted() -> None:
    world, client = World(), RawClient()
    world.connect(client)
    assert world.deliver(client.alert(1, 90, epoch=1), client.alert(1, 250, epoch=1)) == []
    assert world.closed == []
    counted = world.endpoint.counters.alerts
    assert counted == {("received", "warning", "user_canceled"): 1, ("received", "warning", "unknown"): 1}


@pytest.mark.parametrize("content", [b"", b"\x01", b"\x01\x00\x00"])
def test_protected_alert_of_another_length_is_dropped(content: bytes) -> None:
    world, client = World(), RawClient()
    world.connect(client)
    assert world.deliver(client.record(21, content, 1)) == []
    assert world.closed == []
    assert world.drops() == {"malformed": 1}


@pytest.mark.parametrize("content_type", [0, 20, 24, 26, 27, 255])
def test_protected_record_of_another_type_is_dropped(content_type: int) -> None:
    world, client = World(), RawClient()
    world.connect(client)
    assert world.deliver(client.record(content_type, b"\x01", 1)) == []
    assert world.drops() == {"unexpected": 1}
    world.deliver(client.data(b"unharmed"))
    assert world.data == [b"unharmed"]


def test_protected_handshake_record_that_is_broken_is_dropped() -> None:
    world, client = World(), RawClient()
    world.connect(client)
    assert world.deliver(client.record(HANDSHAKE, b"\x14\x00", 1)) == []
    assert world.drops() == {"malformed": 1}


def test_protected_handshake_record_that_is_broken_is_dropped_before_finished_too() -> None:
    stage = stages.reach("psk", "ExpectFinished")
    assert stage.world.deliver(stage.client.record(HANDSHAKE, b"\x14\x00", 1)) == []
    assert stage.world.deliver(stage.client.record(21, b"\x14", 1)) == []
    assert stage.world.drops() == {"malformed": 2}
    stage.complete()


@pytest.mark.parametrize("epoch", [1, 2, 3, 0xFFFF])
def test_records_without_keys_move_neither_window_nor_epoch(epoch: int) -> None:
    # CVE-2016-2181, CVE-2021-42141, CVE-2021-42146
    world, client = World(), RawClient()
    association = world.connect(client)
    for content_type in (20, 21, 22, 23):
        for sequence in (0, 5, MAX_SEQUENCE):
            assert world.deliver(raw_record(content_type, (epoch << 48) | sequence, bytes(50))) == []
    world.deliver(client.data(b"one"), client.data(b"two"))
    assert world.data == [b"one", b"two"]
    assert world.endpoint.associations == {CLIENT: association}


def test_record_of_one_device_from_the_address_of_another() -> None:
    world, one, two = World(), RawClient(), RawClient(random=b"2" * 32)
    world.connect(one, ("192.0.2.1", 1))
    world.connect(two, ("192.0.2.1", 2))
    assert world.deliver(one.data(b"hello"), source=("192.0.2.1", 2)) == []
    assert world.data == []
    assert world.drops() == {"bad_mac": 1}


def test_reflected_records_of_the_server() -> None:
    world, client = World(), RawClient()
    association = world.connect(client)
    world.endpoint.send(association, b"reading", world.now)
    (sent,) = world.collect()
    assert world.deliver(sent) == []
    assert world.drops() in ({"bad_mac": 1}, {"replay": 1})


# --- nonces ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", SUITES, ids=hex)
def test_no_nonce_is_used_twice_over_retransmissions(suite: int) -> None:
    world, client = World(), client_for(suite)
    association = world.connect(client)
    finished = client.transcript[-2]
    for _ in range(MAX_REPEATS):
        world.advance(1.0)
        client.read(world.deliver(client.record(HANDSHAKE, finished, 1)))
        world.endpoint.send(association, b"data", world.now)
        client.read(world.deliver(client.record(HANDSHAKE, handshake(1, 9, client.hello_body()), 1)))
        client.read(world.collect())
    client.read(world.deliver(client.alert(1, 0, epoch=1)))
    nonces = [record.nonce for record in client.received if record.epoch == 1]
    assert len(nonces) == 1 + 3 * MAX_REPEATS + 1
    assert len(set(nonces)) == len(nonces)


def test_two_associations_of_one_device_share_no_key() -> None:
    world, first, second = World(), RawClient(), RawClient(random=b"2" * 32)
    world.connect(first)
    world.connect(second)
    assert first.master != second.master
    # The same client random: the server's makes the difference.
    third, fourth = RawClient(), RawClient()
    world.connect(third, ("192.0.2.1", 3))
    world.connect(fourth, ("192.0.2.1", 4))
    assert third.master != fourth.master


# --- floods, after which everything is as it was ---------------------------------------------------------------------


def drain(world: World) -> None:
    """Lets all time pass, and all events and datagrams go."""
    while (timer := world.endpoint.next_timer()) is not None:
        world.now = max(world.now, timer)
        world.endpoint.handle_timer(world.now)
        world.endpoint.datagrams_to_send()
        while world.endpoint.next_event() is not None:
            pass


@pytest.mark.parametrize(("kind", "state"), stages.ALL)
def test_handshakes_abandoned_in_every_state_leave_nothing(kind: str, state: str) -> None:
    world = stages.world_for(kind)
    for port in range(1, 40):
        client = stages.client_for(kind, world)
        client.random = bytes((port,)) * 32
        stages.reach(kind, state, world, client, ("192.0.2.1", port))
    drain(world)
    # What is remembered of failed handshakes stays until others take its place; it is bounded, see below.
    assert {**sizes(world.endpoint), "_settled": 0} == EMPTY


@pytest.mark.pure("it changes a constant")
def test_failed_handshakes_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake_table, "MAX_SETTLED", 10)
    world = World()
    for port in range(1, 40):
        client = RawClient(random=bytes((port,)) * 32, version=0xFEFF)
        world.reach_server_done(client, ("192.0.2.1", port))
    assert len(world.failures) == 39
    assert len(world.endpoint._handshakes.settled) == 10


@pytest.mark.parametrize(("kind", "state"), stages.UNFINISHED)
def test_storm_of_rubbish_within_a_handshake_costs_bounded_memory_and_no_answers(kind: str, state: str) -> None:
    # CVE-2009-1377, CVE-2009-1378, CVE-2014-3506, CVE-2015-0206, CVE-2016-2179
    stage = stages.reach(kind, state)
    world = stage.world
    answers = []
    for number in range(300):
        answers += world.deliver(
            raw_record(23, (1 << 48) + number, bytes(1000)),
            raw_record(23, (2 << 48) + number, bytes(1000)),
            raw_record(HANDSHAKE, 90 + number, handshake(16, 9 + number, bytes(9000), 5, 800)),
            raw_record(HANDSHAKE, 90 + number, handshake(16, 300, bytes(9000), number, number + 1)),
            raw_record(HANDSHAKE, 90 + number, handshake(16, 2, bytes(9000), 50, 50)),
        )
    assert answers == []
    (current,) = world.endpoint._handshakes.values()
    assert current._reassembler.buffered <= MAX_REASSEMBLY_BYTES
    assert len(current._early) <= MAX_EARLY_RECORDS
    world.advance(121.0)
    assert world.endpoint.handshakes_in_progress == 0


def test_datagram_of_many_records_is_read_to_a_bound() -> None:
    world, client = World(), RawClient()
    world.connect(client)
    world.deliver(b"".join(client.data(b"%d" % number) for number in range(100)))
    assert world.data == [b"%d" % number for number in range(MAX_RECORDS_PER_DATAGRAM)]
    assert world.drops() == {"malformed": 1}


def test_storm_of_empty_records_and_fragments_ends() -> None:
    # CVE-2022-29190, CVE-2014-0221: a loop over nothing.
    stage = stages.reach("psk", "ExpectPskKeyExchange")
    empty = raw_record(HANDSHAKE, 50, b"") * 4000
    assert stage.world.deliver(empty) == []
    nothing = raw_record(HANDSHAKE, 50, handshake(16, 2, b"abcd", 2, 2) * 1300)
    assert stage.world.deliver(nothing) == []
    stage.complete()


# --- identity --------------------------------------------------------------------------------------------------------


def test_identity_never_changes_by_what_comes_after_the_handshake() -> None:
    # GnuTLS #1808: the identity of a rehandshake took the place of the first.
    world, client = World(), RawClient()
    world.keys[b"dev2"] = PSK
    association = world.connect(client)
    exchange = handshake(16, client.next_seq, b"\x00\x04dev2")
    world.deliver(client.record(HANDSHAKE, handshake(1, client.next_seq, client.hello_body()), 1))
    world.deliver(client.record(HANDSHAKE, exchange, 1))
    world.deliver(raw_record(HANDSHAKE, 99, exchange))
    assert association.context == b"dev1"
    assert world.endpoint.associations == {CLIENT: association}


def test_new_handshake_of_another_identity_is_another_association() -> None:
    world, first = World(), RawClient()
    world.keys[b"dev2"] = b"another key here"
    second = RawClient(identity=b"dev2", psk=b"another key here", random=b"2" * 32)
    one = world.connect(first)
    two = world.connect(second)
    assert (one.context, two.context) == (b"dev1", b"dev2")
    assert one.closed
    assert not two.closed
