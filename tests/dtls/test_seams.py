"""Where one feature meets another: what each does right by itself, and what must hold of both together."""

from dataclasses import replace

import pytest

from gateway.dtls import ServerEndpoint
from gateway.dtls.arrivals import Arrivals, Rank
from gateway.dtls.limits import BACKOFF_FREE, MAX_ARRIVALS, MAX_REMEMBERED_SUITES, NETWORK_BACKOFF_FREE
from tests.dtls.rawclient import RawClient
from tests.dtls.rawkeys import opaque24, spki
from tests.dtls.resuming import ResumingWorld, newcomer, returning
from tests.dtls.support import CLIENT, World, certificate_client, client_for, counting_random, device
from tests.dtls.test_admission import advance_all, at, attempt

LONGEST_ID = bytes(range(255))

# --- sizes and suites, sizes and connection ids ----------------------------------------------------------------------


def limited(size: int, client: RawClient) -> World:
    """A world that takes records of so many bytes, and a session with a client that was told so."""
    world = World()
    world.config = replace(world.config, parameters=replace(world.config.parameters, record_size_limit=size))
    world.endpoint = ServerEndpoint(world.config, counting_random())
    client.extensions = {**(client.extensions or {}), 28: b"\x40\x00"}
    world.connect(client)
    return world


@pytest.mark.parametrize("cid", [None, b"", b"mine"], ids=["no id", "our id", "both ids"])
@pytest.mark.parametrize("suite", [0xC0A8, 0x00A8, 0xCCAB])
def test_direct_path_takes_no_record_that_is_larger_than_the_limit(suite: int, cid: bytes | None) -> None:
    client = client_for(suite)
    client.cid = cid
    world = limited(100, client)
    association = world.completed[-1].association
    assert association.open_application(client.data(bytes(100))) == bytes(100)
    for size in (101, 102, 200):
        assert association.open_application(client.data(bytes(size))) is None


@pytest.mark.parametrize("suite", [0xC0A8, 0xCCAB])
def test_larger_record_with_a_connection_id_is_counted_as_too_large(suite: int) -> None:
    client = client_for(suite)
    client.cid = b""
    world = limited(100, client)
    world.deliver(client.data(bytes(102)))
    assert world.drops() == {"too_large": 1}


# --- connection ids and datagrams that get smaller -------------------------------------------------------------------


def test_longest_connection_id_in_the_smallest_datagrams() -> None:
    # The last flight goes out in datagrams of 256 bytes at most once enough was repeated; its records have 285 bytes
    # beside their content.
    world, client = World(), RawClient(cid=LONGEST_ID)
    world.reach_server_done(client)
    world.advance(40.0)
    client.read(world.deliver(*client.answer_flight()))
    assert client.server_finished_verified


def test_longest_connection_id_in_a_flight_that_resumes_and_is_repeated() -> None:
    world, client = ResumingWorld(), newcomer()
    world.connect(client)
    again = returning(client, cid=LONGEST_ID)
    world.reach_server_done(again)
    repeated = world.advance(60.0)
    assert len(repeated) > 5
    assert again.server_finished_verified
    world.deliver(again.change_cipher_spec(), again.finished())
    assert world.completed[-1].facts.resumed


@pytest.mark.parametrize("limit", [192, 256, 300])
def test_longest_connection_id_where_datagrams_are_small_from_the_start(limit: int) -> None:
    world, client = World(datagram_limit=limit), certificate_client()
    client.cid = LONGEST_ID
    world.connect(client)
    assert client.server_finished_verified


# --- held back questions and those of others -------------------------------------------------------------------------


def test_questions_held_back_for_one_network_keep_nobody_else_out() -> None:
    world = World(max_waiting=20)
    for n in range(NETWORK_BACKOFF_FREE + BACKOFF_FREE):
        attempt(world, at("203.0.113.1", 1000 + n), n, identity=b"scan%d" % n)
    for n in range(100, 140):  # all of them wait for their turn
        attempt(world, at("203.0.113.1", 1000 + n), n, identity=b"scan%d" % n)
    assert len(world.endpoint._handshaking._questions) == 20
    world.connect(RawClient(), CLIENT)
    advance_all(world, 200.0)
    assert (len(world.endpoint._handshaking._questions), len(world.endpoint._handshaking._questions._waiting)) == (0, 0)


def test_of_questions_held_back_those_of_the_network_with_most_yield() -> None:
    world = World(max_waiting=20)
    for network in ("203.0.113.1", "198.51.100.1"):
        for n in range(NETWORK_BACKOFF_FREE + BACKOFF_FREE):
            attempt(world, at(network, 1000 + n), n, identity=b"scan%d" % n)
    honest = attempt(world, at("198.51.100.7"), 5000, psk=bytes(range(16)))
    assert not honest.server_finished_verified  # waits, for the sake of its neighbours
    for n in range(100, 200):
        attempt(world, at("203.0.113.1", 1000 + n), n, identity=b"scan%d" % n)
    completed = len(world.completed)
    advance_all(world, 10.0)
    assert len(world.completed) == completed + 1


# --- who is served first ---------------------------------------------------------------------------------------------


def test_flood_in_the_name_of_a_known_peer_keeps_no_newcomer_out() -> None:
    queue = Arrivals()
    for _ in range(3 * MAX_ARRIVALS):
        queue.put(Rank.KNOWN, b"junk", CLIENT)
    queue.put(Rank.NEW, b"hello", CLIENT)
    assert b"hello" in [queue.take()[0] for _ in range(40)]


def test_nobody_between_the_first_and_the_last_starves() -> None:
    queue = Arrivals()
    for rank in Rank:
        for _ in range(100):
            queue.put(rank, rank.name.encode(), CLIENT)
    taken = [queue.take()[0].decode() for _ in range(100)]
    assert {rank.name for rank in Rank} == set(taken)


def test_hello_is_no_more_urgent_because_a_handshake_is_under_way() -> None:
    # Else who begins one handshake after the other goes before all who come once.
    world, client = World(), RawClient()
    world.reach_server_done(client)
    assert world.endpoint.rank(RawClient(random=b"o" * 32).hello(), CLIENT, world.now) is Rank.NEW
    assert world.endpoint.rank(client.client_key_exchange(), CLIENT, world.now) is Rank.KNOWN


# --- tickets and what the listener takes -----------------------------------------------------------------------------


def test_ticket_of_a_raw_public_key_is_worth_nothing_where_those_are_switched_off() -> None:
    world = ResumingWorld()
    client = newcomer(0xC0AE, extensions={19: b"\x01\x02"})
    world.reach_server_done(client)
    flight = [
        client.message(11, opaque24(spki(device().key))),
        client.client_key_exchange(),
        client.certificate_verify(),
        client.change_cipher_spec(),
        client.finished(),
    ]
    client.read(world.deliver(*flight))
    assert client.server_finished_verified
    assert client.ticket
    parameters = replace(world.config.parameters, raw_public_keys=False)
    world.endpoint = ServerEndpoint(replace(world.config, parameters=parameters), counting_random())
    world.reach_server_done(returning(client, random=b"2" * 32))
    assert world.outcomes() == {"changed": 1}


# --- what a handshake holds ------------------------------------------------------------------------------------------


def test_long_list_of_suites_is_not_kept_while_the_handshake_lasts() -> None:
    world = World()
    client = RawClient(suites=(0xC0A8, *range(0x1000, 0x2000)))
    world.reach_server_done(client)
    (handshake,) = world.endpoint._handshakes._by_number.values()
    assert len(handshake.facts.suites_offered) == MAX_REMEMBERED_SUITES


def test_messages_that_were_read_count_against_the_bound_of_all_buffers() -> None:
    world = World(max_reassembly=40_000)
    for n in range(10):
        client = certificate_client()
        client.random = n.to_bytes(32)
        client.extensions = {**(client.extensions or {}), 999: bytes(14_000)}
        world.reach_server_done(client, at("192.0.2.1", 1000 + n))
        world.deliver(client.certificate((device().chain[0], bytes(14_000))), source=at("192.0.2.1", 1000 + n))
    assert world.endpoint.handshakes_in_progress < 5
    assert {failure.reason.value for failure in world.failures} == {"buffers_full"}
    assert world.endpoint._handshaking._buffers.total <= 40_000
