"""What is counted is what was on the wire."""

from collections import Counter

from gateway.dtls import ContentType
from tests.dtls.rawclient import RawClient, handshake, split
from tests.dtls.support import World, certificate_client


def content_types(datagrams: list[bytes]) -> Counter[int]:
    return Counter(content_type for datagram in datagrams for content_type, *_ in split(datagram))


def test_records_sent_are_counted_by_content_type() -> None:
    for client in (RawClient(), certificate_client()):
        world, sent = World(), []
        client.read(world.deliver(client.hello()))  # its answer is a HelloVerifyRequest, which has a counter of its own
        sent += world.reach_server_done(client)
        answer = world.deliver(*client.answer_flight())
        client.read(answer)
        sent += answer
        (association,) = world.endpoint.associations.values()
        sent += world.deliver(client.record(22, handshake(1, client.next_seq, client.hello_body()), 1))
        world.endpoint.send(association, b"data", world.now)
        world.endpoint.close(association, world.now)
        sent += world.collect()
        counted = Counter(world.endpoint.counters.sent)
        counted[ContentType.APPLICATION_DATA] += world.endpoint.counters.application_data_sent
        # no_renegotiation and close_notify are the two alerts.
        assert content_types(sent)[ContentType.ALERT] == 2
        assert +counted == content_types(sent)
