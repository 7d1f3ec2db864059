"""An endpoint whose clients have connection ids and move."""

from gateway.dtls import Address
from gateway.dtls.connection_id import IdentifiedAssociation
from tests.dtls.rawclient import RawClient, Received
from tests.dtls.support import CLIENT, World

ELSEWHERE: Address = ("203.0.113.7", 61000)
THIRD: Address = ("203.0.113.8", 62000)

Sent = list[tuple[bytes, Address]]


def connect(
    client: RawClient | None = None, world: World | None = None, source: Address = CLIENT
) -> tuple[World, RawClient, IdentifiedAssociation]:
    world, client = world or World(), client or RawClient(cid=b"")
    association = world.connect(client, source)
    assert isinstance(association, IdentifiedAssociation)
    return world, client, association


def give(world: World, datagram: bytes, source: Address) -> Sent:
    """Gives a datagram to the endpoint; returns all that goes out, and where to."""
    world.endpoint.receive_datagram(datagram, source, world.now)
    return taken(world)


def taken(world: World) -> Sent:
    """What has to go out, and where to; the events are noted."""
    while (event := world.endpoint.next_event()) is not None:
        world.events.append(event)
    return world.endpoint.datagrams_to_send()


def pass_time(world: World, seconds: float) -> Sent:
    until, sent = world.now + seconds, list[tuple[bytes, Address]]()
    while (timer := world.endpoint.next_timer()) is not None and timer <= until:
        world.now = max(world.now, timer)
        world.endpoint.handle_timer(world.now)
        sent += taken(world)
    world.now = until
    return sent


def answer(world: World, association: IdentifiedAssociation, data: bytes) -> Sent:
    world.endpoint.send(association, data, world.now)
    return taken(world)


def read(client: RawClient, sent: Sent) -> list[Received]:
    return client.read([datagram for datagram, _ in sent])


def places(sent: Sent) -> list[Address]:
    return [address for _, address in sent]
