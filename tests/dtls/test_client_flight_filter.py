"""`ClientConfig.flight_filter`: a client that drops, repeats, reorders and alters what it sends, on purpose."""

import pytest

from gateway.dtls.messages.framing import HandshakeMessage
from tests.dtls.rawclient import split
from tests.dtls.rawserver import ClientWorld, RawServer, certificate_parameters, psk_parameters
from tests.dtls.support import World, alerts, device

Items = list[HandshakeMessage | None]


class Filter:
    """Counts the flights, and hands the one with our ClientKeyExchange to a subclass."""

    def __init__(self) -> None:
        self.flights: list[list[int | None]] = []

    def __call__(self, items: Items) -> Items:
        self.flights.append([item.type if item is not None else None for item in items])
        return self.change(items) if len(items) > 1 else items

    def change(self, items: Items) -> Items:
        return items


class Without(Filter):
    def __init__(self, message_type: int | None) -> None:
        super().__init__()
        self._type = message_type

    def change(self, items: Items) -> Items:
        return [item for item in items if (item.type if item is not None else None) != self._type]


class Twice(Filter):
    def change(self, items: Items) -> Items:
        *rest, none, finished = items
        assert none is None
        return [*(item for item in rest for _ in range(2)), None, finished]


class Swapped(Filter):
    def change(self, items: Items) -> Items:
        first, second, *rest = items
        return [second, first, *rest]


class Altered(Filter):
    def __init__(self, message_type: int) -> None:
        super().__init__()
        self._type = message_type

    def change(self, items: Items) -> Items:
        return [self._alter(item) if item is not None and item.type == self._type else item for item in items]

    def _alter(self, item: HandshakeMessage) -> HandshakeMessage:
        return HandshakeMessage.of(item.type, item.message_seq, item.body[:-1] + bytes((item.body[-1] ^ 1,)))


def certificate_run(flight_filter: Filter) -> tuple[ClientWorld, World]:
    """Our client, thus filtered, against our server, with nothing lost."""
    world = ClientWorld(certificate_parameters(), flight_filter=flight_filter)
    server = World()
    to_server = world.opening
    for _ in range(10):
        to_server = world.deliver(*server.deliver(*to_server))
    return world, server


def test_each_flight_goes_through_once() -> None:
    watching = Filter()
    world, server = certificate_run(watching)
    # The messages that RFC 6347 section 4.2.4 figure 1 draws; None is ChangeCipherSpec.
    assert watching.flights == [[1], [1], [11, 16, 15, None, 20]]
    assert world.connected
    assert len(server.completed) == 1


@pytest.mark.parametrize("message_type", [11, 16, 15, 20])
def test_message_left_out(message_type: int) -> None:
    world, server = certificate_run(Without(message_type))
    assert not world.connected
    assert server.completed == []
    # A gap may be a loss: the server waits for it, and the client repeats the same flight.
    assert server.failures == []
    repeated = world.advance(1.0)
    assert repeated
    server.deliver(*repeated)
    assert server.completed == []


def test_change_cipher_spec_left_out() -> None:
    """What follows is in epoch 0 then, where a Finished has no business."""
    world, server = certificate_run(Without(None))
    assert server.completed == []
    assert server.reason == "unexpected_message"
    assert world.failure.alert == "unexpected_message"


def test_messages_twice() -> None:
    world, server = certificate_run(Twice())
    assert world.connected
    assert server.completed[0].facts.chain == device().chain
    assert server.drops() == {"repeated": 3}


def test_messages_in_another_order() -> None:
    world, server = certificate_run(Swapped())
    assert world.connected
    assert server.drops() == {}


@pytest.mark.parametrize(("message_type", "alert"), [(15, "decrypt_error"), (20, "decrypt_error")])
def test_altered_message(message_type: int, alert: str) -> None:
    world, server = certificate_run(Altered(message_type))
    assert server.completed == []
    assert world.failure.reason.value == "peer_alert"
    assert world.failure.alert == server.failures[0].alert == alert


def test_repetition_is_what_was_sent_first() -> None:
    """The filter sees a flight once; its repetition has the same messages under new record numbers."""
    watching = Altered(20)
    world = ClientWorld(psk_parameters(), flight_filter=watching)
    server = RawServer()
    server.read(world.opening)
    first = world.deliver(*server.first_flight())
    server.read(first)
    assert not server.client_finished_verified
    again = world.advance(1.0)
    assert watching.flights == [[1], [16, None, 20]]
    numbers = [number for datagram in [*first, *again] for _, _, number, _ in split(datagram)]
    assert len(set(numbers)) == len(numbers) == 6
    plain = [[body for _, _, number, body in split(datagram) if number < 1 << 48] for datagram in first + again]
    assert plain[0] == plain[1]


def test_transcript_is_that_of_an_honest_client() -> None:
    """What was altered on the wire was not altered in what the client signs and hashes."""
    world = ClientWorld(certificate_parameters(), flight_filter=Altered(16))
    server = RawServer(chosen=0xC0AE)
    server.read(world.opening)
    answer = world.deliver(*server.first_flight())
    plain = [record for datagram in answer for record in split(datagram) if record[2] < 1 << 48]
    assert [body[0] for _, _, _, body in plain] == [11, 16, 15, 1]  # 1: ChangeCipherSpec's only byte
    assert alerts(server.received) == []
