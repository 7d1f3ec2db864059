"""The whole endpoint against bytes: nothing may come out of `receive_datagram` but silence or answers.

The test's world raises whatever the engine raises: a test here fails by any exception at all.
"""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.dtls.limits import MAX_EARLY_RECORDS, MAX_REASSEMBLY_BYTES
from tests.dtls import stages
from tests.dtls.rawclient import RawClient, raw_record
from tests.dtls.support import PSK, World, certificate_client, sizes

fuzz = settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

content_types = st.sampled_from([20, 21, 22, 23, 25]) | st.integers(0, 255)
epochs = st.sampled_from([0, 0, 0, 1, 1, 2]) | st.integers(0, 0xFFFF)
sequences = st.integers(0, 30) | st.integers(0, (1 << 48) - 1)
versions = st.sampled_from([0xFEFD, 0xFEFD, 0xFEFF]) | st.integers(0, 0xFFFF)


@st.composite
def handshake_contents(draw: st.DrawFn) -> bytes:
    """A fragment with a header of any values, which may or may not fit what follows."""
    body = draw(st.binary(max_size=60))
    length = draw(st.just(len(body)) | st.integers(0, 200) | st.integers(0, (1 << 24) - 1))
    offset = draw(st.just(0) | st.integers(0, 200) | st.integers(0, (1 << 24) - 1))
    size = draw(st.just(len(body)) | st.integers(0, (1 << 24) - 1))
    message_type = draw(st.sampled_from([1, 11, 15, 16, 20]) | st.integers(0, 255))
    seq = draw(st.integers(0, 8) | st.integers(0, 0xFFFF))
    return (
        bytes((message_type,))
        + length.to_bytes(3, "big")
        + seq.to_bytes(2, "big")
        + offset.to_bytes(3, "big")
        + size.to_bytes(3, "big")
        + body
    )


@st.composite
def some_records(draw: st.DrawFn) -> bytes:
    number = (draw(epochs) << 48) | draw(sequences)
    content = draw(st.binary(max_size=60) | handshake_contents())
    return raw_record(draw(content_types), number, content, draw(versions))


some_datagrams = st.binary(max_size=120) | st.lists(some_records(), min_size=1, max_size=4).map(b"".join)


def bounded(world: World) -> None:
    held = sizes(world.endpoint)
    assert held["_handshakes"] == held["_by_id"] <= 2
    assert held["associations"] <= 2
    assert held["_settled"] <= 2
    assert held["_timers"] <= 30
    assert (held["_outgoing"], held["_events"]) == (0, 0)
    for handshake in world.endpoint._handshakes.values():
        assert handshake._reassembler.buffered <= MAX_REASSEMBLY_BYTES
        assert len(handshake._early) <= MAX_EARLY_RECORDS


@fuzz
@given(st.sampled_from(stages.EVERY), st.lists(some_datagrams, max_size=8), st.floats(0, 3))
def test_any_datagrams_at_any_stage(pair: tuple[str, str], datagrams: list[bytes], pause: float) -> None:
    stage = stages.reach(*pair)
    asked = sum(map(len, stage.client.transcript)) + 4000
    answered = 0
    for datagram in datagrams:
        answered += sum(map(len, stage.world.deliver(datagram)))
        bounded(stage.world)
    stage.world.advance(pause)
    assert answered <= asked + 2000 * len(datagrams)
    # What has no keys completes no handshake and delivers nothing.
    assert len(stage.world.completed) == (1 if stage.state == "Established" else 0)
    assert stage.world.data == []


@fuzz
@given(st.lists(st.tuples(st.integers(1, 4), some_datagrams), max_size=12))
def test_any_datagrams_from_strangers(datagrams: list[tuple[int, bytes]]) -> None:
    world = World()
    for port, datagram in datagrams:
        assert sum(map(len, world.deliver(datagram, source=("192.0.2.9", port)))) <= len(datagram)
    assert set(sizes(world.endpoint).values()) == {0}
    assert world.events == []


def conversation(kind: str) -> tuple[World, RawClient, list[bytes]]:
    """A world after both hellos, and every honest datagram from the first to application data."""
    world = World()
    client = RawClient() if kind == "psk" else certificate_client()
    first = client.hello()
    client.read(world.deliver(first))
    second = client.hello()
    client.read(world.deliver(second))
    flight = client.answer_flight()
    return world, client, [first, second, *flight, client.data(b"honest data")]


@st.composite
def mutations(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    """Where, in which datagram, and with what a byte is changed: (datagram, position, exclusive or)."""
    return draw(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 1 << 12), st.integers(1, 255)), max_size=4))


@fuzz
@given(st.sampled_from(["psk", "certificate"]), mutations(), st.data())
def test_honest_datagrams_mutated_shuffled_and_repeated(
    kind: str, changes: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    """Changed bytes may spoil the handshake; what is delivered in the end is what the client sent, or nothing."""
    world, _, datagrams = conversation(kind)
    changed = [bytearray(datagram) for datagram in datagrams]
    for which, where, xor in changes:
        target = changed[which % len(changed)]
        target[where % len(target)] ^= xor
    order = data.draw(st.lists(st.integers(0, len(changed) - 1), max_size=14))
    for index in order:
        world.deliver(bytes(changed[index]))
        bounded(world)
    world.advance(5.0)
    assert world.data in ([], [b"honest data"])
    assert len(world.completed) <= 1


@fuzz
@given(st.sampled_from(["psk", "certificate"]), st.data())
def test_honest_flight_in_any_order_completes_when_repeated(kind: str, data: st.DataObject) -> None:
    """Reordering alone, and losses that are made good by sending again, never break a handshake."""
    world, client, datagrams = conversation(kind)
    flight = datagrams[2:-1]
    for index in data.draw(st.lists(st.integers(0, len(flight) - 1), max_size=8)):
        client.read(world.deliver(flight[index]))
    # Then everything once more, under new record numbers, as a retransmission has it.
    world.advance(0.5)
    if not client.server_finished_verified:
        done = [message[0] for message in client.transcript].index(14)
        *own, finished = client.transcript[done + 1 :]
        again = [client.record(22, message) for message in own]
        again += [client.change_cipher_spec(), client.record(22, finished, 1)]
        for datagram in again:
            client.read(world.deliver(datagram))
    assert world.failures == []
    assert len(world.completed) == 1
    assert client.server_finished_verified


@fuzz
@given(st.lists(st.binary(max_size=300), max_size=6), st.sampled_from([20, 21, 22, 23, 25, 99]))
def test_any_protected_content_of_an_authenticated_peer(contents: list[bytes], content_type: int) -> None:
    """A device with the right key may still send rubbish."""
    world, client = World(), RawClient()
    world.connect(client)
    for content in contents:
        client.read(world.deliver(client.record(content_type, content, 1)))
        bounded(world)
    if content_type == 23:
        assert world.data == contents
    else:
        assert world.data == []


@fuzz
@given(st.binary(max_size=200), st.sampled_from([11, 15, 16, 20]))
def test_any_body_of_the_due_message(body: bytes, message_type: int) -> None:
    for kind, state in stages.UNFINISHED:
        stage = stages.reach(kind, state)
        stage.world.deliver(stage.client.message(message_type, body, epoch=stage.epoch))
        bounded(stage.world)
        assert stage.world.completed == []


@fuzz
@given(st.binary(max_size=80), st.binary(max_size=80))
def test_any_identity_and_any_key(identity: bytes, key: bytes) -> None:
    world, client = World(), RawClient(identity=identity, psk=key)
    world.keys = {b"dev1": PSK}
    world.reach_server_done(client)
    client.read(world.deliver(*client.answer_flight()))
    assert bool(world.completed) is (identity == b"dev1" and key == PSK)


CALLS = ["deliver", "advance", "answer", "close", "send"]


@fuzz
@given(st.lists(st.tuples(st.sampled_from(CALLS), st.integers(0, 50)), max_size=25))
def test_any_order_of_calls_of_the_shell(calls: list[tuple[str, int]]) -> None:
    world, client, datagrams = conversation("psk")
    world.answering = False
    for call, number in calls:
        if call == "deliver":
            world.deliver(datagrams[number % len(datagrams)])
        elif call == "advance":
            world.advance(float(number))
        elif call == "answer" and world.events:
            world.answer(world.events[number % len(world.events)])
            world.collect()
        elif call == "close" and world.completed:
            world.endpoint.close(world.completed[-1].association, world.now)
            world.collect()
        elif call == "send" and world.completed:
            world.endpoint.send(world.completed[-1].association, bytes(number), world.now)
            world.collect()
        bounded(world)
    assert client.master
    assert world.data in ([], [b"honest data"])
    assert len(world.closed) <= len(world.completed) <= 1
