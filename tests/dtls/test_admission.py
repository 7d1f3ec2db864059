"""Who gets a place among the handshakes, who yields, and who waits: models, and a flood for each limit."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dtls import Address, FailureReason, HandshakeError
from gateway.dtls.admission import Buffers, CookieLoops, Places, network_of
from gateway.dtls.backoff import Backoff
from gateway.dtls.limits import (
    BACKOFF_CAP_S,
    BACKOFF_FREE,
    COOKIE_LOOP_HELLOS,
    COOKIE_PERIOD_S,
    EVICTION_SAMPLE,
    HANDSHAKE_TIMEOUT_S,
    MAX_BACKOFF_ENTRIES,
    NETWORK_BACKOFF_CAP_S,
    NETWORK_BACKOFF_FREE,
)
from gateway.dtls.messages.framing import handshake_header
from tests.dtls.rawclient import RawClient, raw_record
from tests.dtls.support import CLIENT, EMPTY, World, certificate_client, sizes

WRONG = b"wrong key of 16 b"


def at(host: str, port: int = 40000) -> Address:
    return host, port


def empty(world: World) -> bool:
    """Nothing is held but what remembers the randoms of handshakes that have ended."""
    return {**sizes(world.endpoint), "_settled": 0} == EMPTY


def attempt(world: World, source: Address, number: int, *, identity: bytes = b"dev1", psk: bytes = WRONG) -> RawClient:
    """A handshake up to the client's Finished."""
    client = RawClient(random=number.to_bytes(32), identity=identity, psk=psk)
    world.reach_server_done(client, source)
    client.read(world.deliver(*client.answer_flight(), source=source))
    return client


# --- networks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.255", True),
        ("192.0.2.1", "192.0.3.1", False),
        ("::ffff:192.0.2.1", "192.0.2.7", True),
        ("2001:db8:0:1100::1", "2001:db8:0:11ff:ffff::1", True),
        ("2001:db8:0:1100::1", "2001:db8:0:1200::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("::1", "::2", True),
        ("somewhere", "somewhere", True),
    ],
)
def test_network_of_an_address(one: str, other: str, same: bool) -> None:
    assert (network_of(at(one)) == network_of(at(other, 1))) is same


# --- places ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=60))
def test_places_are_like_a_list(steps: list[tuple[bool, int]]) -> None:
    places, model = Places(), list[tuple[int, int]]()
    for number, (come, which) in enumerate(steps):
        if come:
            places.enter(number, at(f"192.0.{which}.{number}"))
            model.append((number, which))
        elif model:
            gone = model.pop(which % len(model))[0]
            places.leave(gone)
            places.leave(gone)
        assert len(places) == len(model)
        counts = Counter(network for _, network in model)
        assert places.networks == len(counts)
        if model:
            victim = places.next_to_go()
            network = dict(model)[victim]
            assert counts[network] == max(counts.values())
            assert victim == next(number for number, each in model if each == network)
    for number, _ in model:
        places.leave(number)
    assert (len(places), places.networks, places._by_count, places._most) == (0, 0, {}, 0)


def test_flood_from_one_network_displaces_itself() -> None:
    world = World(max_handshakes=50)
    honest = [(RawClient(random=bytes((n,)) * 32), at(f"198.51.{n}.1")) for n in range(20)]
    for client, source in honest:
        world.reach_server_done(client, source)
    for n in range(300):
        world.reach_server_done(RawClient(random=n.to_bytes(32)), at(f"203.0.113.{n % 256}", 1000 + n))
    assert world.endpoint.handshakes_in_progress == 50
    assert {network_of(failure.facts.address) for failure in world.failures} == {"203.0.113"}
    assert {failure.reason for failure in world.failures} == {FailureReason.EVICTED}
    for client, source in honest:
        client.read(world.deliver(*client.answer_flight(), source=source))
        assert client.server_finished_verified
    world.answering = False
    drain(world)
    assert sizes(world.endpoint)["_places"] == 0


def drain(world: World) -> None:
    """Lets every handshake time out, whatever is sent to whom."""
    world.now += HANDSHAKE_TIMEOUT_S + 1
    world.endpoint.handle_timer(world.now)
    while world.endpoint.next_event() is not None:
        pass
    world.endpoint.datagrams_to_send()


def test_fleet_behind_one_address_may_use_the_whole_house() -> None:
    world = World(max_handshakes=50)
    fleet = [(RawClient(random=bytes((n,)) * 32), at("203.0.113.1", 1000 + n)) for n in range(50)]
    for client, source in fleet:
        world.reach_server_done(client, source)
    for client, source in fleet:
        client.read(world.deliver(*client.answer_flight(), source=source))
        assert client.server_finished_verified
    assert world.failures == []


# --- buffers ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 100)), max_size=60))
def test_buffers_are_like_a_dict(steps: list[tuple[int, int]]) -> None:
    buffers, model = Buffers(), dict[int, int]()
    for handshake, size in steps:
        buffers.account(handshake, size)
        model[handshake] = size
        assert buffers.total == sum(model.values())
        assert len(buffers) == sum(map(bool, model.values()))
        if buffers.total:
            assert model[buffers.next_to_go()] == max(model.values())
    for handshake in model:
        buffers.account(handshake, 0)
    assert (buffers.total, len(buffers)) == (0, 0)


def test_search_for_the_largest_buffer_is_bounded() -> None:
    buffers = Buffers()
    for handshake in range(3 * EVICTION_SAMPLE):
        buffers.account(handshake, handshake + 1)
    assert buffers.next_to_go() == EVICTION_SAMPLE - 1


def incomplete(message_seq: int, length: int, offset: int, data: bytes, number: int) -> bytes:
    return raw_record(22, number, handshake_header(11, length, message_seq, offset, len(data)) + data)


def test_buffers_of_all_handshakes_are_bounded() -> None:
    limit = 100_000
    world = World(max_reassembly=limit)
    honest, source = certificate_client(), at("192.0.2.1")
    world.reach_server_done(honest, source)
    world.deliver(incomplete(2, 700, 0, bytes(350), 50), source=source)
    for n in range(20):
        attacker = at("203.0.113.1", 1000 + n)
        world.reach_server_done(certificate_client_with(n), attacker)
        for piece in range(20):
            world.deliver(incomplete(3, 16_000, piece * 700, bytes(600), 60 + piece), source=attacker)
            assert world.endpoint._handshaking._buffers.total <= limit
    assert {(f.facts.address[0], f.reason) for f in world.failures} == {("203.0.113.1", FailureReason.BUFFERS_FULL)}
    drain(world)
    assert (world.endpoint._handshaking._buffers.total, len(world.endpoint._handshaking._buffers)) == (0, 0)


def certificate_client_with(number: int) -> RawClient:
    client = certificate_client()
    client.random = number.to_bytes(32)
    return client


def test_time_out_with_a_gap_names_what_is_missing() -> None:
    world, client = World(), certificate_client()
    world.reach_server_done(client)
    world.deliver(incomplete(2, 700, 0, bytes(300), 50))
    world.deliver(incomplete(2, 700, 200, bytes(200), 51))
    world.deliver(incomplete(2, 700, 600, bytes(50), 52))
    world.advance(HANDSHAKE_TIMEOUT_S + 1)
    assert world.reason == "fragment_timeout"
    assert world.failures[0].detail == (
        "waited for the peer's certificate; only 450 of 700 bytes of message 2 in 3 fragments came"
    )
    assert empty(world)


# --- questions -------------------------------------------------------------------------------------------------------


def test_number_of_unanswered_questions_is_bounded() -> None:
    world = World(max_waiting=5)
    world.answering = False
    for n in range(8):
        attempt(world, at("192.0.2.1", n + 1), n, psk=b"")
    assert [failure.reason for failure in world.failures] == [FailureReason.TOO_MANY_WAITING] * 3
    assert len(world.endpoint._handshaking._questions) == 5
    drain(world)
    assert empty(world)


def test_answered_questions_make_room() -> None:
    world = World(max_waiting=1)
    for n in range(8):
        world.connect(RawClient(random=n.to_bytes(32)), at("192.0.2.1", n + 1))
    assert len(world.endpoint._handshaking._questions) == 0


# --- wrong keys ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("identity", [b"dev1", b"nobody"], ids=["wrong key", "unknown identity"])
def test_storm_of_one_credential_is_slowed_down(identity: bytes) -> None:
    world = World()
    for n in range(BACKOFF_FREE + 1):
        attempt(world, CLIENT, n, identity=identity)
    assert len(world.failures) == BACKOFF_FREE + 1
    waits = []
    for n in range(100, 107):
        began = world.now
        failed = len(world.failures)
        attempt(world, CLIENT, n, identity=identity)
        assert len(world.failures) == failed
        while len(world.failures) == failed:
            world.advance(0.25)
            assert world.now - began < 60
        waits.append(world.now - began)
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert world.endpoint.counters.questions_held == len(waits)
    assert len(world.failures) == BACKOFF_FREE + 1 + len(waits)


def test_somebody_elsewhere_does_not_slow_the_device_down() -> None:
    world = World()
    for n in range(30):
        attempt(world, at("203.0.113.9", 1000 + n), n)
        world.advance(BACKOFF_CAP_S, at("203.0.113.9", 1000 + n))
    held = world.endpoint.counters.questions_held
    assert held > 0
    world.connect(RawClient(), CLIENT)
    assert world.endpoint.counters.questions_held == held


def test_device_gets_in_beside_an_attacker_of_its_own_network_who_knows_its_identity() -> None:
    world = World()
    attackers = [at("192.0.2.1", 1000 + n) for n in range(40)]
    for n, source in enumerate(attackers):
        attempt(world, source, n)
    device = attempt(world, CLIENT, 5000, psk=bytes(range(16)))
    assert world.completed == []
    device.read(advance_all(world, BACKOFF_CAP_S))
    assert device.server_finished_verified
    # And its success clears the slate for its network.
    again = attempt(world, at("192.0.2.77"), 5001, psk=bytes(range(16)))
    assert again.server_finished_verified


def advance_all(world: World, seconds: float) -> list[bytes]:
    """Like `World.advance` with many peers: what is sent to the one at CLIENT."""
    until, sent = world.now + seconds, list[bytes]()
    while (timer := world.endpoint.next_timer()) is not None and timer <= until:
        world.now = max(world.now, timer)
        world.endpoint.handle_timer(world.now)
        while (event := world.endpoint.next_event()) is not None:
            world.events.append(event)
            world.answer(event)
        sent += [datagram for datagram, address in world.endpoint.datagrams_to_send() if address == CLIENT]
    world.now = until
    return sent


def test_certificates_that_are_refused_are_slowed_down_too() -> None:
    world = World()
    world.verdict = HandshakeError(FailureReason.UNKNOWN_ROOT)
    for n in range(BACKOFF_FREE + 2):
        client = certificate_client_with(n)
        world.reach_server_done(client)
        world.deliver(*client.answer_flight())
    assert len(world.failures) == BACKOFF_FREE + 1
    world.advance(BACKOFF_CAP_S)
    assert len(world.failures) == BACKOFF_FREE + 2


def test_registry_that_cannot_be_read_is_nobody_s_failure() -> None:
    world = World()
    world.refusals[b"dev1"] = HandshakeError(FailureReason.REGISTRY_UNAVAILABLE)
    for n in range(3 * BACKOFF_FREE):
        attempt(world, CLIENT, n)
    assert len(world.failures) == 3 * BACKOFF_FREE
    assert world.endpoint._handshaking._questions.remembered == 0


def test_scan_of_identities_slows_its_network_down_a_little() -> None:
    world = World()
    for n in range(2 * NETWORK_BACKOFF_FREE):
        attempt(world, at("203.0.113.1", 1000 + n), n, identity=b"scan%d" % n)
    assert world.endpoint._handshaking._questions.suspect(at("203.0.113.200"), world.now)
    assert not world.endpoint._handshaking._questions.suspect(CLIENT, world.now)
    device = attempt(world, at("203.0.113.50"), 9999, psk=bytes(range(16)))
    assert not device.server_finished_verified
    before = len(world.completed)
    advance_all(world, NETWORK_BACKOFF_CAP_S)
    assert len(world.completed) == before + 1
    world.now += 10_000
    world.endpoint.handle_timer(world.now)
    assert world.endpoint._handshaking._questions.remembered == 0
    assert not world.endpoint._handshaking._questions.suspect(at("203.0.113.200"), world.now)


def test_questions_of_handshakes_that_ended_are_not_put() -> None:
    world = World()
    for n in range(BACKOFF_FREE + 1):
        attempt(world, CLIENT, n)
    asked = len(world.events)
    for n in range(1000, 1500):
        world.now += 0.001
        attempt(world, CLIENT, n)  # each supersedes the one before, and is held back
        assert world.endpoint._handshaking._questions.held <= 70
    world.advance(BACKOFF_CAP_S)
    assert sum(type(event).__name__ == "PskRequested" for event in world.events[asked:]) == 1


STEPS = st.lists(
    st.tuples(st.sampled_from(["fail", "succeed", "ease", "wait", "ask"]), st.integers(0, 3), st.floats(0, 50)),
    max_size=80,
)


@given(STEPS)
def test_backoff_is_like_a_leaking_bucket(steps: list[tuple[str, int, float]]) -> None:
    free, first, cap, decay = 3, 0.5, 4.0, 10.0
    backoff = Backoff(free=free, first_s=first, cap_s=cap, decay_s=decay, size=100)
    levels, now = dict.fromkeys(range(4), 0.0), 0.0
    for what, key, seconds in steps:
        if what == "fail":
            backoff.failed(key, now)
            levels[key] = min(levels[key] + 1, free + 4)
        elif what == "succeed":
            backoff.succeeded(key)
            levels[key] = 0.0
        elif what == "ease":
            backoff.eased(key, now)
            levels[key] /= 2
        elif what == "wait":
            now += seconds
            levels = {each: max(0.0, level - seconds / decay) for each, level in levels.items()}
        else:
            delay = backoff.delay(key, now)
            assert 0 <= delay <= cap
            expected = levels[key] - free
            if abs(expected - round(expected)) > 1e-6:  # else rounding decides
                over = 0 if expected <= 0 else int(expected) + 1
                assert delay == (min(cap, first * 2 ** (over - 1)) if over else 0)
    assert backoff.expires_at == float("inf") or backoff.expires_at > 0
    backoff.forget(now + 1000)
    assert len(backoff) == 0


def test_backoff_is_bounded_and_forgets_the_oldest() -> None:
    backoff = Backoff(free=0, first_s=1, cap_s=8, decay_s=1000, size=MAX_BACKOFF_ENTRIES)
    for key in range(2 * MAX_BACKOFF_ENTRIES):
        backoff.failed(key, float(key) / 1000)
        assert len(backoff) <= MAX_BACKOFF_ENTRIES
    now = 2 * MAX_BACKOFF_ENTRIES / 1000
    assert backoff.delay(0, now) == 0
    assert backoff.delay(2 * MAX_BACKOFF_ENTRIES - 1, now) == 1


# --- cookie loops ----------------------------------------------------------------------------------------------------


def test_cookie_loop_is_reported_once_a_period() -> None:
    world = World()
    for n in range(5 * COOKIE_LOOP_HELLOS):
        world.deliver(RawClient(random=n.to_bytes(32), cookie=bytes(16)).hello())
    assert world.reason == "cookie_loop"
    assert world.failures[0].facts.address == CLIENT
    assert world.failures[0].alert is None
    assert empty(world)
    world.now += COOKIE_PERIOD_S
    for n in range(5 * COOKIE_LOOP_HELLOS):
        world.deliver(RawClient(random=n.to_bytes(32), cookie=bytes(16)).hello())
    assert len(world.failures) == 2


def test_cookies_that_verify_or_are_missing_are_no_loop() -> None:
    world = World()
    for n in range(5 * COOKIE_LOOP_HELLOS):
        world.reach_server_done(RawClient(random=n.to_bytes(32)))
    assert FailureReason.COOKIE_LOOP not in {failure.reason for failure in world.failures}


def test_reports_of_cookie_loops_are_bounded() -> None:
    loops = CookieLoops()
    reports = sum(loops.report(at(f"10.{n >> 8 & 255}.{n & 255}.1"), 5.0) for n in range(20_000) for _ in range(2))
    assert 0 < reports <= 256
