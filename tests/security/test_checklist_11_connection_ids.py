"""Section 11 of the checklist, the rows of connection ids, beside tests/dtls/test_checklist_11_connection_id.py."""

import pytest

from gateway.dtls import Address
from gateway.dtls.limits import AMPLIFICATION_FACTOR
from tests.dtls.moving import ELSEWHERE, answer, connect, give, places
from tests.dtls.rawclient import DATA, TLS12_CID, RawClient, raw_record
from tests.dtls.support import CLIENT, World

NEIGHBOUR: Address = ("192.0.2.2", 40_000)


@pytest.mark.parametrize("content_type", [20, 21, 22, 23, 27])
def test_11_connection_id_stripped_or_put_on(content_type: int) -> None:
    """wolfSSL PR 11177: a record of type 25 passed for one of type 23 without the id, and the other way round."""
    world, client, association = connect()
    whole = client.data(b"mine")
    stripped = bytes((content_type,)) + whole[1:11] + whole[19:]
    assert give(world, stripped, CLIENT) == []
    assert give(world, stripped, ELSEWHERE) == []
    bare = client.bare_record(content_type, b"\x01\x00")
    dressed = bytes((TLS12_CID,)) + bare[1:11] + client.server_cid + bare[11:]
    assert give(world, bare, CLIENT) == []
    assert give(world, dressed, CLIENT) == []
    assert world.data == []
    assert world.closed == []
    assert association.address == CLIENT
    give(world, whole, CLIENT)
    assert world.data == [b"mine"]


def test_11_overtaken_record_from_a_new_address_moves_nothing() -> None:
    """Held back by somebody on the path and let go from elsewhere, when a newer one has come."""
    world, client, association = connect()
    held, newer = client.data(b"held"), client.data(b"newer")
    give(world, newer, CLIENT)
    give(world, held, ELSEWHERE)
    assert association.address == CLIENT
    assert world.data == [b"newer", b"held"]


def test_11_record_taken_from_the_path_moves_for_three_times_its_bytes_and_back() -> None:
    """The newest record, from another address before the device's own: this moves the answers, for as long and as much
    as RFC 9146 section 6 lets it. The device's next record brings them back."""
    world, client, association = connect()
    stolen = client.data(b"newest")
    sent = give(world, stolen, ELSEWHERE)
    for _ in range(50):
        sent += answer(world, association, b"reply" * 4)
    assert set(places(sent)) == {ELSEWHERE}
    assert sum(len(datagram) for datagram, _ in sent) <= AMPLIFICATION_FACTOR * len(stolen)
    give(world, client.data(b"next"), CLIENT)
    assert places(answer(world, association, b"back")) == [CLIENT]
    assert places(give(world, stolen, ELSEWHERE)) == []
    assert association.address == CLIENT


@pytest.mark.parametrize("length", range(1, 40, 3))
def test_11_record_with_a_connection_id_of_any_length(length: int) -> None:
    """CVE-2022-46393: the buffer for an id was as long as ours, and the record said otherwise."""
    world, client, association = connect()
    datagram = client.data(b"mine")
    assert give(world, datagram[:length], CLIENT) == []
    assert give(world, datagram[:11] + bytes(length) + datagram[11:], CLIENT) == []
    assert world.data == []
    assert association.address == CLIENT
    give(world, datagram, CLIENT)
    assert world.data == [b"mine"]


def test_11_connection_id_of_a_closed_session_is_unknown() -> None:
    world, client, association = connect()
    late = client.data(b"late")
    world.endpoint.close(association, world.now)
    world.collect()
    assert give(world, late, CLIENT) == []
    assert give(world, late, ELSEWHERE) == []
    assert world.data == []
    assert world.endpoint.associations_by_id == {}
    assert DATA not in {record.content_type for record in client.received}


@pytest.mark.parametrize("kind", [0, 1, 2, 255])
def test_11_return_routability_check_by_somebody_without_keys(kind: int) -> None:
    world, client = World(), RawClient(cid=b"", path_check=True)
    connect(client, world)
    body = bytes((kind,)) + bytes(8)
    for record in (raw_record(27, 5, body), raw_record(27, 1 << 48 | 5, body + bytes(40))):
        assert give(world, record, CLIENT) == []
        assert give(world, record, ELSEWHERE) == []
    assert places(answer(world, world.completed[-1].association, b"reply")) == [CLIENT]  # type: ignore[arg-type]
