"""What an attacker may send, and what must not come of it (checklist section 11)."""

from tests.dtls.rawclient import RawClient
from tests.dtls.support import World

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
    # The handshake keeps the first two, as they might be its own early ones.
    assert association.authentication_failures == 8
