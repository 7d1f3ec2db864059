"""What was negotiated is remembered by what was offered, within bounds, and says nothing of one client to another."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.dtls import FailureReason, HandshakeError, ServerParameters
from gateway.dtls.handshake.negotiation import Agreements, negotiate
from gateway.dtls.limits import MAX_REMEMBERED_OFFER, MAX_REMEMBERED_OFFERS
from gateway.dtls.messages import extensions as ext
from gateway.dtls.messages.hello import ClientHello
from tests.dtls.rawclient import RawClient, default_extensions
from tests.dtls.resuming import ResumingWorld
from tests.dtls.support import credential

PARAMETERS = ServerParameters(credential=credential())


def received(hello: ClientHello) -> ClientHello:
    return ClientHello.decode(hello.encode())


def hello(number: int = 0, *, suites: tuple[int, ...] = (0xC0A8, 0xC02B), padding: int = 0) -> ClientHello:
    """One that offers what no other number does."""
    extensions = default_extensions() | {21: bytes(padding), 0: ext.encode_server_name(f"host-{number}.example")}
    return received(ClientHello(bytes(32), suites, extensions))


def test_what_changes_from_hello_to_hello_is_no_part_of_the_offer() -> None:
    first = hello()
    agreements = Agreements(PARAMETERS)
    agreed = agreements.negotiate(first)
    assert agreed == negotiate(first, PARAMETERS)
    again = received(replace(first, random=b"r" * 32, session_id=b"session", cookie=b"cookie"))
    assert agreements.negotiate(again) is agreed
    assert len(agreements) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"version": 0xFEFC},
        {"compression_methods": b"\1\0"},
        {"cipher_suites": (0xC02B, 0xC0A8)},
        {"cipher_suites": (0xC02B,)},
        {"extensions": {10: ext.encode_u16_list((23,)), 13: ext.encode_u16_list((0x0403,))}},
    ],
)
def test_every_part_of_the_offer_counts(change: dict[str, Any]) -> None:
    agreements = Agreements(PARAMETERS)
    agreements.negotiate(hello())
    other = received(replace(hello(), **change))
    assert agreements.negotiate(other) == negotiate(other, PARAMETERS)
    assert len(agreements) == 2


def test_a_flood_of_offers_keeps_to_the_limit() -> None:
    agreements = Agreements(PARAMETERS)
    for number in range(3 * MAX_REMEMBERED_OFFERS):
        assert agreements.negotiate(hello(number)).server_name == f"host-{number}.example"
        assert len(agreements) <= MAX_REMEMBERED_OFFERS
    long = hello(0, padding=MAX_REMEMBERED_OFFER)
    known = len(agreements)
    assert agreements.negotiate(long) is not agreements.negotiate(long)
    assert len(agreements) == known


def test_a_refusal_is_a_refusal_each_time() -> None:
    agreements = Agreements(PARAMETERS)
    for _ in range(3):
        with pytest.raises(HandshakeError) as caught:
            agreements.negotiate(hello(suites=(0x002F,)))
        assert caught.value.reason is FailureReason.NO_SHARED_SUITE
    assert len(agreements) == 0


def test_a_handshake_leaves_nothing_of_its_own_in_what_is_remembered() -> None:
    """One with a ticket and a connection id, of two with the same offer; then the same again."""
    world = ResumingWorld()
    seen = []
    for number in range(2):
        client = RawClient(cid=b"id", extensions=default_extensions() | {35: b""})
        world.connect(client, ("192.0.2.7", 40_000 + number))
        assert client.server_hello is not None
        seen.append(client.server_hello)
    first, second = ((one.extensions or {}) for one in seen)
    assert list(first) == list(second)
    assert first[35] == second[35] == b""
    assert first[54] != second[54]
    (remembered,) = world.endpoint._handshaking._agreements._by_offer.values()
    assert not {35, 54} & set(remembered.extensions)
