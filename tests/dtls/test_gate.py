"""The gate under a flood: a stranger costs nothing (DESIGN D5, RFC 6347 4.2.1)."""

from collections.abc import Callable
from operator import attrgetter

import pytest

from gateway.dtls import Address, FailureReason
from gateway.dtls.crypto import KeyShare, SigningKey
from gateway.dtls.limits import MAX_HELLO_SEQUENCE
from tests.dtls.captured import CAPTURES, Capture
from tests.dtls.rawclient import ALERT, CCS, DATA, HANDSHAKE, RawClient, handshake, raw_record
from tests.dtls.support import CONTAINERS, EMPTY, MEMORY, World, certificate_client, sizes


@pytest.mark.pure("it looks at the dictionary of an object")
def test_list_of_containers_is_complete() -> None:
    endpoint = World().endpoint
    parts = (
        endpoint._table,
        endpoint._handshakes,
        endpoint._handshaking,
        endpoint._strangers,
        endpoint._established,
        endpoint._delivery,
    )
    values = [*vars(endpoint).values(), *(getattr(part, name) for part in parts for name in part.__slots__)]
    found = {id(value) for value in values if hasattr(value, "__len__") and value not in parts}
    assert found == {id(attrgetter(place)(endpoint)) for place in (CONTAINERS | MEMORY).values()}


@pytest.fixture
def expensive(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the costly things that were done, in order."""
    done: list[str] = []

    def watch(cls: type, name: str) -> None:
        original: Callable[..., object] = getattr(cls, name)

        def watched(*args: object, **kwargs: object) -> object:
            done.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(cls, name, watched)

    watch(KeyShare, "generate")
    watch(SigningKey, "sign")
    return done


@pytest.mark.pure("it replaces methods of the engine")
def test_ten_thousand_hellos_without_a_cookie(expensive: list[str]) -> None:
    drawn: list[int] = []

    def random(count: int) -> bytes:
        drawn.append(count)
        return bytes(count)

    world = World(random=random)
    hello = certificate_client().hello()
    for number in range(10_000):
        source: Address = (f"192.0.2.{number % 250}", 1024 + number)
        answers = world.deliver(hello, source=source)
        assert len(answers) == 1
        assert len(answers[0]) <= len(hello)
    assert sizes(world.endpoint) == EMPTY
    assert len(world.endpoint._handshaking._agreements) == 0
    assert (world.endpoint.next_timer(), world.events, expensive, drawn) == (None, [], [], [])
    assert world.endpoint.counters.hello_verify_sent == 10_000
    # And a real device still connects; that does cost something.
    world.connect(certificate_client())
    assert expensive == ["generate", "sign"]


@pytest.mark.pure("it replaces methods of the engine")
def test_ten_thousand_hellos_with_an_invented_cookie(expensive: list[str]) -> None:
    world, client = World(), certificate_client()
    for number in range(10_000):
        client.cookie = number.to_bytes(16, "big")
        hello = raw_record(HANDSHAKE, 1, handshake(1, 1, client.hello_body()))
        (answer,) = world.deliver(hello, source=("192.0.2.1", 1024 + number))
        assert len(answer) <= len(hello)
    assert sizes(world.endpoint) == EMPTY
    assert expensive == []
    assert world.endpoint.counters.hello_verify_invalid == 10_000


def test_cookie_of_one_address_from_a_thousand_others() -> None:
    world, client = World(), RawClient()
    client.read(world.deliver(client.hello()))
    hello = client.hello()
    for port in range(1, 1001):
        world.deliver(hello, source=("198.51.100.9", port))
    assert sizes(world.endpoint) == EMPTY


@pytest.mark.parametrize("capture", CAPTURES.values(), ids=CAPTURES)
def test_answer_is_never_larger_than_the_question(capture: Capture) -> None:
    """A captured hello cut at every length: silence, or an answer that fits in it."""
    world = World()
    answered = 0
    for length in range(len(capture.datagram) + 1):
        cut = capture.datagram[:length]
        answers = world.deliver(cut)
        assert sum(map(len, answers)) <= len(cut)
        answered += len(answers)
    assert answered == 1
    assert sizes(world.endpoint) == EMPTY


def test_hello_of_every_length_fragment_is_never_amplified() -> None:
    body = certificate_client().hello_body()
    for length in range(len(body)):
        world = World()
        datagram = raw_record(HANDSHAKE, 0, handshake(1, 0, body, 0, length))
        assert sum(map(len, world.deliver(datagram))) <= len(datagram)
        assert sizes(world.endpoint) == EMPTY


@pytest.mark.parametrize(
    "datagram",
    [
        raw_record(CCS, 0, b"\x01"),
        raw_record(ALERT, 0, b"\x02\x28"),
        raw_record(ALERT, 0, b"\x01\x00"),
        raw_record(DATA, 0, b"hello"),
        raw_record(DATA, 1 << 48, bytes(40)),
        raw_record(HANDSHAKE, 1 << 48, bytes(40)),
        raw_record(HANDSHAKE, 5, handshake(16, 2, b"\x00\x04dev1")),
        raw_record(HANDSHAKE, 5, handshake(20, 3, bytes(12))),
        raw_record(HANDSHAKE, 5, handshake(11, 2, b"\x00\x00\x00")),
        raw_record(HANDSHAKE, 5, handshake(1, 0, bytes(200), 100, 200)),
        raw_record(25, 1 << 48, bytes(8), cid=bytes(8)),
        raw_record(27, 1 << 48, bytes(60)),
        b"\x80" * 40,
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x40\x01\x12\x34",
    ],
    ids=lambda datagram: datagram.hex()[:50],
)
def test_anything_but_a_hello_from_a_stranger_is_silence(datagram: bytes) -> None:
    world = World()
    for port in range(1, 200):
        assert world.deliver(datagram, source=("192.0.2.1", port)) == []
    assert sizes(world.endpoint) == EMPTY
    assert sum(world.drops().values()) == 199


@pytest.mark.parametrize("sequence", [MAX_HELLO_SEQUENCE + 1, (1 << 48) - 1])
def test_hello_with_a_record_number_near_the_end_is_not_even_challenged(sequence: int) -> None:
    world = World()
    hello = raw_record(HANDSHAKE, sequence, handshake(1, 0, RawClient().hello_body()))
    assert world.deliver(hello) == []
    assert world.drops() == {"malformed": 1}


def test_handshakes_in_progress_are_bounded_and_come_free_again() -> None:
    world = World(max_handshakes=50)
    for port in range(1, 101):
        client = RawClient(random=bytes((port,)) * 32)
        client.read(world.deliver(client.hello(), source=("192.0.2.1", port)))
        flight = world.deliver(client.hello(), source=("192.0.2.1", port))
        assert len(flight) == 1
    assert world.endpoint.handshakes_in_progress == 50
    assert {failure.reason for failure in world.failures} == {FailureReason.EVICTED}
    while (timer := world.endpoint.next_timer()) is not None:
        world.now = max(world.now, timer)
        world.endpoint.handle_timer(world.now)
        world.endpoint.datagrams_to_send()
    while world.endpoint.next_event() is not None:
        pass
    assert {**sizes(world.endpoint), "_settled": 0} == EMPTY
    world.connect(RawClient())


def test_new_hello_of_a_client_whose_handshake_runs_replaces_it() -> None:
    world, first, second = World(), RawClient(), RawClient(random=b"second try".ljust(32, b"."))
    world.reach_server_done(first)
    world.reach_server_done(second)
    assert world.reason == "superseded"
    # A late copy of the first one begins nothing and ends nothing.
    assert world.deliver(raw_record(HANDSHAKE, 1, handshake(1, 1, first.hello_body()))) == []
    assert world.drops() == {"stale_hello": 1}
    second.read(world.deliver(*second.answer_flight()))
    assert second.server_finished_verified


def test_late_copy_of_a_hello_does_not_begin_another_handshake() -> None:
    for client, good in ((RawClient(), True), (RawClient(psk=b"wrong" * 4), False)):
        world = World()
        client.read(world.deliver(client.hello()))
        hello = client.hello()
        client.read(world.deliver(hello))
        client.read(world.deliver(*client.answer_flight()))
        assert bool(world.completed) is good
        assert world.deliver(hello) == []
        assert world.drops() == {"stale_hello": 1}
        assert world.endpoint.handshakes_in_progress == 0
