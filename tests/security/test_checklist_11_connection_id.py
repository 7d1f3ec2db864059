"""Checklist section 11, row "CID": what is done to connection ids by somebody on the way, or somewhere else."""

import random

import pytest

from tests.dtls.moving import ELSEWHERE, THIRD, answer, connect, give, pass_time, places
from tests.dtls.rawclient import DATA, RawClient
from tests.dtls.support import CLIENT, sizes


@pytest.mark.parametrize("keep_id", [False, True])
def test_11_type_25_rewritten_to_23(keep_id: bool) -> None:
    """wolfSSL PR 11177: the id stripped, and the record given for one without."""
    world, client, association = connect()
    record = client.data(b"secret")
    number, cid, rest = record[3:11], record[11:19], record[19:]
    stripped = b"\x17\xfe\xfd" + number + (cid if keep_id else b"") + rest
    for source in (CLIENT, ELSEWHERE):
        assert give(world, stripped, source) == []
    assert world.data == []
    assert not association.closed
    give(world, record, CLIENT)
    assert world.data == [b"secret"]


def test_11_type_23_rewritten_to_25_for_an_association_without_ids() -> None:
    world, _, with_id = connect()
    plain = RawClient()
    world.connect(plain, ELSEWHERE)
    record = plain.data(b"secret")
    disguised = b"\x19" + record[1:11] + with_id.cid + record[11:]
    assert give(world, disguised, ELSEWHERE) == []
    assert world.data == []
    assert with_id.address == CLIENT


def test_11_id_of_another_session() -> None:
    world, one, first = connect()
    _, two, second = connect(RawClient(cid=b"", random=bytes(32)), world, ELSEWHERE)
    stolen = one.inner_record(b"mine now" + bytes((DATA,)), cid=two.server_cid)
    rewritten = bytearray(one.data(b"mine now"))
    rewritten[11:19] = two.server_cid
    for record in (stolen, bytes(rewritten)):
        for source in (CLIENT, ELSEWHERE, THIRD):
            assert give(world, record, source) == []
    assert world.data == []
    assert (first.address, second.address) == (CLIENT, ELSEWHERE)
    assert world.drops() == {"bad_mac": 6}
    give(world, two.data(b"unharmed"), ELSEWHERE)
    assert world.data == [b"unharmed"]


def test_11_id_guess_flood() -> None:
    world, client, association = connect()
    before = sizes(world.endpoint)
    guesses = random.Random(1)
    sample = client.data(b"a record of the right form")
    for _ in range(20_000):
        guess = sample[:11] + b"\0\0" + guesses.randbytes(6) + sample[19:]
        assert give(world, guess, ("198.51.100.9", guesses.randrange(1, 65536))) == []
    assert world.drops() == {"unknown_cid": 20_000}
    assert sizes(world.endpoint) == before
    assert (association.address, association.authentication_failures) == (CLIENT, 0)
    give(world, sample, CLIENT)
    assert world.data == [b"a record of the right form"]


@pytest.mark.parametrize("path_check", [False, True])
def test_11_replayed_datagram_from_a_new_address_moves_nothing(path_check: bool) -> None:
    world, client, association = connect(RawClient(cid=b"", path_check=path_check))
    seen = client.data(b"once")
    give(world, seen, CLIENT)
    for source in (ELSEWHERE, THIRD, CLIENT):
        assert give(world, seen, source) == []
    assert world.data == [b"once"]
    assert world.drops() == {"replay": 3}
    assert association.address == CLIENT
    assert places(answer(world, association, bytes(500))) == [CLIENT]


@pytest.mark.parametrize("direct", [False, True])
def test_11_rebind_then_a_record_from_the_old_address(direct: bool) -> None:
    world, client, association = connect()
    overtaken = client.data(b"overtaken")
    for text in (b"moved", b"and settled"):
        give(world, client.data(text), ELSEWHERE)
    if direct:
        found = world.endpoint.open_from_elsewhere(overtaken, CLIENT, world.now)
        assert found == (association, b"overtaken")
    else:
        give(world, overtaken, CLIENT)
        assert world.data[-1] == b"overtaken"
    assert association.address == ELSEWHERE
    # What answers it goes to where the device is now.
    assert places(answer(world, association, b"ok")) == [ELSEWHERE]


def test_11_a_copy_that_overtakes_the_device_gains_little_and_is_undone_by_the_next_record() -> None:
    """Somebody on the way is faster with a copy from an address of his choice: DESIGN D8 bounds what he gets."""
    world, client, association = connect()
    copied = client.data(b"copied")
    give(world, copied, ELSEWHERE)
    assert sum(len(datagram) for _ in range(9) for datagram, _ in answer(world, association, b"x" * 20)) <= 3 * len(
        copied
    )
    assert give(world, copied, CLIENT) == []  # the device's own: a replay now
    give(world, client.data(b"next"), CLIENT)
    assert association.address == CLIENT


def test_11_a_victims_address_gets_no_more_than_three_times_what_is_spent() -> None:
    """A device that turned bad claims a victim's address with each record; no record of its comes from there twice."""
    world, client, association = connect()
    spent, got = 0, 0
    for number in range(200):
        victim = ("198.51.100.7", 1000 + number % 2)
        record = client.data(b"?")
        spent += len(record)
        sent = give(world, record, victim)
        for _ in range(5):
            sent += answer(world, association, bytes(60))
        got += sum(len(datagram) for datagram, _ in sent)
    assert got <= 3 * spent


def test_11_forged_records_with_a_seen_id_from_everywhere() -> None:
    world, client, association = connect()
    sample = client.data(b"x")
    for port in range(1, 3000):
        forged = sample[:-1] + bytes((sample[-1] ^ 1,))
        assert give(world, forged, ("198.51.100.9", port)) == []
    assert (association.address, association.closed) == (CLIENT, False)
    assert pass_time(world, 1) == []
    give(world, sample, CLIENT)
    assert world.data == [b"x"]
