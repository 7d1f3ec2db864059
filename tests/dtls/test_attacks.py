"""What an attacker may send, and what must not come of it (checklist section 11)."""

from tests.dtls.rawclient import RawClient
from tests.dtls.support import World


def test_forgeries_are_counted_while_a_new_handshake_is_under_way() -> None:
    world, client = World(), RawClient()
    association = world.connect(client)
    world.reach_server_done(RawClient(random=b"r" * 32))
    forged = client.data(b"hello")
    forged = forged[:-1] + bytes((forged[-1] ^ 1,))
    world.deliver(*[forged] * 10)
    # The handshake keeps the first two, as they might be its own early ones.
    assert association.authentication_failures == 8
