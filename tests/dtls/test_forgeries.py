"""Which records that do not authenticate count, and what they can end."""

import pytest

from gateway.dtls import Address, Association
from gateway.dtls.connection_id import IdentifiedAssociation
from gateway.dtls.limits import MAX_AUTHENTICATION_FAILURES_LONG_TAG
from tests.dtls.rawclient import RawClient
from tests.dtls.support import CLIENT, World, client_for

ELSEWHERE: Address = ("203.0.113.9", 6666)
LIMIT = 1000


def forged(client: RawClient) -> bytes:
    datagram = client.data(b"hello")
    return datagram[:-1] + bytes((datagram[-1] ^ 1,))


def connected() -> tuple[World, RawClient, Association]:
    world, client = World(max_auth_failures=LIMIT), RawClient(cid=b"")
    return world, client, world.connect(client)


def test_forgeries_from_the_session_s_address_end_it_at_the_bound() -> None:
    world, client, association = connected()
    for _ in range(LIMIT - 1):
        world.deliver(forged(client))
    assert not association.closed
    world.deliver(forged(client))
    assert [event.reason for event in world.closed] == ["authentication_failures"]


def test_forgeries_from_elsewhere_end_nothing() -> None:
    world, client, association = connected()
    assert isinstance(association, IdentifiedAssociation)
    for _ in range(3 * LIMIT):
        world.deliver(forged(client), source=ELSEWHERE)
    assert world.closed == []
    assert association.authentication_failures == 0
    assert association.failures_elsewhere == LIMIT
    assert world.drops() == {"bad_mac": LIMIT, "out_of_reach": 2 * LIMIT}
    # It goes on where it is, and cannot be reached from elsewhere, not even by a record that is genuine.
    world.deliver(client.data(b"here"))
    world.deliver(client.data(b"there"), source=ELSEWHERE)
    assert world.endpoint.open_from_elsewhere(client.data(b"there"), ELSEWHERE, world.now) is None
    assert world.data == [b"here"]
    # Until the device has a new session.
    world.connect(RawClient(cid=b"", random=b"2" * 32), ELSEWHERE)


def test_some_forgeries_from_elsewhere_do_not_keep_the_device_from_moving() -> None:
    world, client, _ = connected()
    for _ in range(LIMIT - 1):
        world.deliver(forged(client), source=ELSEWHERE)
    world.deliver(client.data(b"moved"), source=("198.51.100.1", 7000))
    assert world.data == [b"moved"]


@pytest.mark.parametrize(("suite", "limit"), [(0xC0A8, LIMIT), (0xC0A4, MAX_AUTHENTICATION_FAILURES_LONG_TAG)])
def test_bound_follows_the_length_of_the_tag(suite: int, limit: int) -> None:
    world, client = World(max_auth_failures=LIMIT), client_for(suite)
    association = world.connect(client)
    association.authentication_failures = limit - 2
    world.deliver(forged(client))
    assert not association.closed
    world.deliver(forged(client), source=CLIENT)
    assert association.closed
