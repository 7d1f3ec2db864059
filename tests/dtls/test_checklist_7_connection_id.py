"""Checklist section 7: connection ids (RFC 9146). Records are made and opened by the tests' own arithmetic."""

import pytest

from gateway.dtls import Address
from gateway.dtls.connection_id import IdentifiedAssociation
from tests.dtls.rawclient import (
    DATA,
    TLS12_CID,
    RawClient,
)
from tests.dtls.support import CLIENT, World

ELSEWHERE: Address = ("203.0.113.7", 61000)
EPOCH_1 = 1 << 48


def connect(
    client: RawClient | None = None, world: World | None = None, source: Address = CLIENT
) -> tuple[World, RawClient, IdentifiedAssociation]:
    world, client = world or World(), client or RawClient(cid=b"")
    association = world.connect(client, source)
    assert isinstance(association, IdentifiedAssociation)
    return world, client, association


# --- 7.1 negotiation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 7, 8, 20, 255])
def test_7_1_ids_of_any_length_in_both_directions(length: int) -> None:
    world, client, association = connect(RawClient(cid=bytes(range(length))))
    assert (association.cid, association.peer_cid) == (client.server_cid, client.cid)
    world.deliver(client.data(b"up"))
    assert world.data == [b"up"]
    world.endpoint.send(association, b"down", world.now)
    (down,) = world.collect()
    assert down[0] == (TLS12_CID if length else DATA)
    (record,) = client.read([down])
    assert (record.content_type, record.content) == (DATA, b"down")
