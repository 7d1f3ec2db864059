"""Where one feature meets another: what each does right by itself, and what must hold of both together."""

from dataclasses import replace

import pytest

from gateway.dtls import ServerEndpoint
from tests.dtls.rawclient import RawClient
from tests.dtls.support import World, client_for, counting_random

# --- sizes and suites, sizes and connection ids ----------------------------------------------------------------------


def limited(size: int, client: RawClient) -> World:
    """A world that takes records of so many bytes, and a session with a client that was told so."""
    world = World()
    world.config = replace(world.config, parameters=replace(world.config.parameters, record_size_limit=size))
    world.endpoint = ServerEndpoint(world.config, counting_random())
    client.extensions = {**(client.extensions or {}), 28: b"\x40\x00"}
    world.connect(client)
    return world


@pytest.mark.parametrize("cid", [None, b"", b"mine"], ids=["no id", "our id", "both ids"])
@pytest.mark.parametrize("suite", [0xC0A8, 0x00A8, 0xCCAB])
def test_direct_path_takes_no_record_that_is_larger_than_the_limit(suite: int, cid: bytes | None) -> None:
    client = client_for(suite)
    client.cid = cid
    world = limited(100, client)
    association = world.completed[-1].association
    assert association.open_application(client.data(bytes(100))) == bytes(100)
    for size in (101, 102, 200):
        assert association.open_application(client.data(bytes(size))) is None


@pytest.mark.parametrize("suite", [0xC0A8, 0xCCAB])
def test_larger_record_with_a_connection_id_is_counted_as_too_large(suite: int) -> None:
    client = client_for(suite)
    client.cid = b""
    world = limited(100, client)
    world.deliver(client.data(bytes(102)))
    assert world.drops() == {"too_large": 1}
