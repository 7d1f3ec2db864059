"""The order in which handshakes are served: a model of the queue, and which hellos count as returning."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dtls import Address
from gateway.dtls.arrivals import Arrivals, Rank, resumes
from gateway.dtls.limits import MAX_ARRIVALS, MAX_ARRIVALS_BYTES, NETWORK_BACKOFF_FREE, TURNS_OF_THE_FIRST
from gateway.dtls.messages.framing import handshake_header
from tests.dtls.captured import CAPTURES
from tests.dtls.rawclient import RawClient, raw_record
from tests.dtls.support import CLIENT, World

ELSEWHERE: Address = ("198.51.100.1", 5000)


@given(st.lists(st.one_of(st.none(), st.sampled_from(Rank)), max_size=200))
def test_queue_is_like_sorting(steps: list[Rank | None]) -> None:
    limit = 20
    queue, model, dropped, turns = Arrivals(limit), list[tuple[int, int]](), 0, 0
    for number, rank in enumerate(steps):
        if rank is not None:
            queue.put(rank, b"%d" % number, CLIENT)
            model.append((rank, number))
            if len(model) > limit:
                held = Counter(rank for rank, _ in model)
                fullest = max(held, key=lambda rank: (held[rank], rank))
                model.remove(min(each for each in model if each[0] == fullest))
                dropped += 1
        elif model:
            turns += 1
            ranks = sorted({rank for rank, _ in model})
            chosen, others = ranks[0], ranks[:0:-1]
            if turns % TURNS_OF_THE_FIRST == 0 and others:
                chosen = others[(turns // TURNS_OF_THE_FIRST - 1) % len(others)]
            expected = min(each for each in model if each[0] == chosen)
            model.remove(expected)
            assert queue.take() == (b"%d" % expected[1], CLIENT)
        assert len(queue) == len(model)
        assert queue.dropped == dropped
    while queue:
        queue.take()
    assert [len(each) for each in queue._queues] == [0] * len(Rank)


def test_flood_of_strangers_does_not_displace_who_is_known() -> None:
    queue = Arrivals()
    for n in range(10):
        queue.put(Rank.KNOWN, b"known%d" % n, CLIENT)
        queue.put(Rank.RETURNING, b"back%d" % n, CLIENT)
    for n in range(5 * MAX_ARRIVALS):
        queue.put(Rank.NEW, b"%d" % n, CLIENT)
    assert len(queue) == MAX_ARRIVALS
    assert queue.dropped == 4 * MAX_ARRIVALS + 20
    taken = [queue.take()[0] for _ in range(30)]
    assert sum(each.startswith(b"known") for each in taken) == 10
    assert sum(each.startswith(b"back") for each in taken) == 10
    # Nobody starves.
    assert taken.index(next(each for each in taken if each.isdigit())) < TURNS_OF_THE_FIRST


def test_whole_fleet_that_comes_back_at_once_finds_room() -> None:
    # What found none is repeated after 1, 2, 4, ... seconds, all at once again: the last of 20,000 took two minutes.
    queue, hello = Arrivals(), RawClient(cookie=b"c" * 32).hello()
    for _ in range(50_000):
        queue.put(Rank.NEW, hello, CLIENT)
    assert queue.dropped == 0


def test_flood_of_large_datagrams_displaces_itself() -> None:
    queue, hello = Arrivals(), RawClient().hello()
    for _ in range(1000):
        queue.put(Rank.NEW, hello, ELSEWHERE)
    for n in range(2 * MAX_ARRIVALS_BYTES // 65_000):
        queue.put(Rank.KNOWN, bytes([n & 0xFF]) * 65_000, CLIENT)
    taken = [queue.take() for _ in range(len(queue))]
    assert [address for _, address in taken].count(ELSEWHERE) == 1000
    assert sum(len(datagram) for datagram, _ in taken) <= MAX_ARRIVALS_BYTES
    assert queue.dropped
    for _ in range(1000):
        queue.put(Rank.NEW, hello, ELSEWHERE)
    assert len(queue) == 1000  # what was taken and what was dropped is counted no more


@pytest.mark.parametrize(
    ("hello", "returning"),
    [
        (RawClient(), False),
        (RawClient(extensions={}), False),
        (RawClient(extensions=None), False),
        (RawClient(extensions={35: b""}), False),
        (RawClient(extensions={35: b"ticket"}), True),
        (RawClient(extensions={10: b"\x00\x02\x00\x17", 35: b"t" * 200}, cookie=b"c" * 16), True),
        (RawClient(extensions={54: b"\x00"}), False),
    ],
)
def test_hellos_that_resume(hello: RawClient, returning: bool) -> None:
    assert resumes(hello.hello()) is returning


def test_session_id_resumes() -> None:
    hello = RawClient().hello()
    length = 25 + 2 + 32
    assert resumes(hello[:length] + b"\x20" + bytes(32) + hello[length + 1 :])


@pytest.mark.parametrize("name", sorted(CAPTURES))
def test_first_hellos_of_real_clients_do_not_resume(name: str) -> None:
    assert not resumes(CAPTURES[name].datagram)


@given(st.binary(max_size=200))
def test_any_bytes_have_an_answer(data: bytes) -> None:
    assert resumes(data) in (True, False)
    assert resumes(RawClient().hello()[:59] + data) in (True, False)


@pytest.mark.parametrize("size", [120, 200, 400])
@pytest.mark.parametrize("ticket", [b"", b"t" * 40], ids=["new", "returning"])
def test_pieces_of_a_hello_stay_in_order(size: int, ticket: bytes) -> None:
    # As a socket's batch: each has its rank before any of them is served.
    world, client = World(), RawClient(extensions={65000: b"\x11" * 500, 35: ticket, 23: b""})
    client.read(world.deliver(client.hello()))
    whole = client.hello()[25:]
    queue = Arrivals()
    for number, at in enumerate(range(0, len(whole), size)):
        piece = whole[at : at + size]
        datagram = raw_record(22, 1 + number, handshake_header(1, len(whole), 1, at, len(piece)) + piece)
        queue.put(world.endpoint.rank(datagram, CLIENT, world.now), datagram, CLIENT)
    answers = [answer for _ in range(len(queue)) for answer in world.deliver(queue.take()[0])]
    client.read(answers)
    assert [kind for kind, _, _ in client.messages][:2] == [3, 2]
    assert not world.drops()


def test_pieces_of_a_hello_of_a_handshake_under_way_are_known() -> None:
    world, client = World(), RawClient(extensions={65000: b"\x11" * 500})
    client.read(world.deliver(client.hello()))
    whole = client.hello()[25:]
    first, rest = (
        raw_record(22, 1 + n, handshake_header(1, len(whole), 1, at, len(piece)) + piece)
        for n, (at, piece) in enumerate(((0, whole[:100]), (100, whole[100:])))
    )
    assert world.endpoint.rank(rest, CLIENT, world.now) is Rank.NEW
    world.deliver(first)
    assert world.endpoint.rank(first, CLIENT, world.now) is Rank.NEW
    assert world.endpoint.rank(rest, CLIENT, world.now) is Rank.KNOWN


def test_ranks() -> None:
    world, client = World(), RawClient()
    endpoint = world.endpoint
    assert endpoint.rank(RawClient().hello(), CLIENT, world.now) is Rank.NEW
    world.reach_server_done(client)
    assert endpoint.rank(b"anything", CLIENT, world.now) is Rank.KNOWN
    world.deliver(*client.answer_flight())
    assert endpoint.rank(b"anything", CLIENT, world.now) is Rank.KNOWN
    assert endpoint.rank(RawClient(extensions={35: b"t"}).hello(), ELSEWHERE, world.now) is Rank.RETURNING
    for _ in range(2 * NETWORK_BACKOFF_FREE):
        endpoint._handshaking._questions._networks.failed(hash("198.51.100"), world.now)
    assert endpoint.rank(RawClient(extensions={35: b"t"}).hello(), ELSEWHERE, world.now) is Rank.SUSPECT
    assert endpoint.rank(raw_record(22, 0, b""), ("203.0.113.1", 1), world.now) is Rank.NEW
