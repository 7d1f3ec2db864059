"""DTLS-CHECKLIST section 4, the profile for constrained devices (RFC 7925), and section 9, BCP 195 (RFC 9325) and CoAP
(RFC 7252 section 9): rows that are about several layers, each looked at from outside. What they rest on is tested where
it lives.
"""

import pytest

from gateway.dtls import DEFAULT_SUITES
from gateway.dtls.crypto import SUITES
from gateway.dtls.limits import (
    HANDSHAKE_TIMEOUT_S,
    MAX_TICKET_LIFETIME_S,
    RETRANSMIT_MAX_S,
)
from gateway.dtls.messages import extensions as ext
from gateway.handlers.limits import MAX_RESPONSE_BYTES
from gateway.registry import InvalidValue, open_registry
from gateway.registry.limits import MIN_PSK_BYTES
from tests.dtls.kinds import client_of
from tests.dtls.rawclient import RawClient, default_extensions, without
from tests.dtls.support import CLIENT, World, alerts, certificate_client, client_for

# RFC 7925 sections 4.2 to 4.4, and RFC 7252 section 9.1.3.
MANDATORY_PSK, MANDATORY_CERTIFICATE = 0xC0A8, 0xC0AE
NEVER = {0x0000, 0x00AE, 0x008C, 0x002F, 0xC013, 0x003C, 0x0005, 0xC007}
"""Without encryption, with CBC, RSA key transport, RC4: what RFC 9325 section 4.1 forbids or discourages."""


def one_of_each() -> tuple[RawClient, RawClient, RawClient]:
    """With a pre-shared key, a certificate and a raw public key."""
    return (
        RawClient(suites=(MANDATORY_PSK,)),
        certificate_client(MANDATORY_CERTIFICATE),
        client_of("raw_public_key", suite=MANDATORY_CERTIFICATE),
    )


@pytest.mark.parametrize("suite", [0xC0A9, 0xC0A5, 0x00A9, 0xC0AF, 0xC0AD, 0xC02C, 0xCCAB, 0xCCA9])
def test_3_5_suites_with_256_bits_and_chacha(suite: int) -> None:
    world, client = World(), client_for(suite)
    world.connect(client)
    assert client.suite == suite
    assert world.deliver(client.data(b"data")) == []
    assert world.data == [b"data"]


def test_3_12_unknown_identity_looks_like_a_wrong_key() -> None:
    seen = []
    for client in (RawClient(identity=b"nobody"), RawClient(psk=bytes(16))):
        world = World()
        world.reach_server_done(client)
        flights = [world.deliver(datagram) for datagram in client.answer_flight()]
        seen.append([[len(datagram) for datagram in flight] for flight in flights])
    assert seen[0] == seen[1]


def test_3_14_short_keys_are_refused(tmp_path: object) -> None:
    assert MIN_PSK_BYTES == 16
    with open_registry(f"sqlite:///{tmp_path}/registry.db", create=True) as registry:
        for key in (b"", b"secret", bytes(15)):
            with pytest.raises(InvalidValue):
                registry.add_psk_device("dev1", b"dev1", key)
        registry.add_psk_device("dev1", b"dev1", bytes(16))


def test_4_1_pre_shared_key_raw_key_and_certificate_on_one_endpoint() -> None:
    world = World()
    for number, client in enumerate(one_of_each()):
        world.connect(client, ("192.0.2.1", 40_000 + number))
    assert world.endpoint.association_count == 3


@pytest.mark.parametrize("name", ["gateway.example", "127.0.0.1", "localhost", None])
def test_4_2_server_name_is_processed_and_may_be_missing(name: str | None) -> None:
    world = World()
    client = RawClient(extensions=default_extensions() | ({0: ext.encode_server_name(name)} if name else {}))
    world.connect(client)
    assert world.completed[0].facts.server_name == name


@pytest.mark.parametrize(("code", "size"), [(1, 512), (2, 1024), (3, 2048), (4, 4096)])
def test_4_3_max_fragment_length_is_supported(code: int, size: int) -> None:
    world = World()
    client = RawClient(extensions=default_extensions() | {1: bytes((code,))})
    association = world.connect(client)
    assert client.server_hello is not None
    assert (client.server_hello.extensions or {})[1] == bytes((code,))
    assert (association.sizes.send, association.sizes.receive) == (size, size)


@pytest.mark.parametrize("suite", [MANDATORY_PSK, MANDATORY_CERTIFICATE])
def test_4_5_extended_master_secret_is_answered_when_it_is_offered(suite: int) -> None:
    for extensions in (default_extensions(), without(23)):
        world, client = World(), client_for(suite)
        client.extensions = extensions
        world.connect(client)  # the client derives its keys as RFC 7627 section 4 says, or as RFC 5246 does
        assert client.server_hello is not None
        assert (23 in (client.server_hello.extensions or {})) is (23 in extensions)


def test_5_1_extended_master_secret_is_answered_when_it_is_offered() -> None:
    world, client = World(), RawClient()
    world.connect(client)
    assert world.completed[0].facts.extended_master_secret


def test_4_6_renegotiation_is_refused_and_the_session_goes_on() -> None:
    world, client = World(), RawClient()
    world.connect(client)
    answer = client.read(world.deliver(client.message(1, client.hello_body(), epoch=1)))
    assert alerts(answer) == [(1, 100)]
    world.deliver(client.data(b"still here"))
    assert world.data == [b"still here"]


def test_4_7_encrypt_then_mac_truncated_hmac_and_heartbeat_are_not_answered() -> None:
    """4.9 too: no heartbeat (RFC 6520)."""
    world = World()
    client = RawClient(extensions=default_extensions() | {22: b"", 4: b"", 15: b"\x01"})
    world.connect(client)
    assert client.server_hello is not None
    assert not {22, 4, 15} & set(client.server_hello.extensions or {})


def test_4_8_a_slow_client_of_nine_seconds_completes() -> None:
    """RFC 7925 section 11: it begins with 9 s, and doubles."""
    assert HANDSHAKE_TIMEOUT_S >= 120
    assert RETRANSMIT_MAX_S >= 60
    world, client = World(), certificate_client()
    world.reach_server_done(client)
    world.advance(9.0 + 18.0)  # what it sent got lost twice
    client.read(world.deliver(*client.answer_flight()))
    assert client.server_finished_verified
    assert world.failures == []


def test_4_9_heartbeat_is_not_answered() -> None:
    world, client = World(), RawClient()
    world.connect(client)
    assert world.deliver(client.record(24, b"\x01\x00\x04ping" + bytes(16), 1)) == []
    assert world.drops() == {"unexpected": 1}


def test_4_10_forward_secrecy_comes_first() -> None:
    """Among what proves the same thing: ephemeral before plain pre-shared keys."""
    world, client = World(), RawClient(suites=(0xC0A8, 0xCCAC, 0xD001))
    world.reach_server_done(client)
    assert SUITES[client.suite].key_exchange.is_ephemeral


def test_4_11_device_is_not_asked_for_a_host_name() -> None:
    """RFC 7925 section 4.4.2: its certificate names it by its CN alone."""
    world, client = World(), certificate_client()
    world.connect(client)
    assert client.device is not None
    assert world.completed[0].facts.chain == client.device.chain


def test_4_12_status_request_is_ignored() -> None:
    world = World()
    client = RawClient(extensions=default_extensions() | {5: b"\x01\x00\x00\x00\x00"})
    world.connect(client)
    assert client.server_hello is not None
    assert 5 not in (client.server_hello.extensions or {})


@pytest.mark.parametrize(
    ("extensions", "suites", "answered"),
    [
        (default_extensions(), (0xC0A8,), True),
        (without(0xFF01), (0xC0A8, 0x00FF), True),
        (without(0xFF01), (0xC0A8,), False),
    ],
)
def test_5_10_renegotiation_info_or_its_suite_gets_an_empty_answer(
    extensions: dict[int, bytes], suites: tuple[int, ...], answered: bool
) -> None:
    world, client = World(), RawClient(extensions=extensions, suites=suites)
    world.connect(client)
    assert client.server_hello is not None
    assert (client.server_hello.extensions or {}).get(0xFF01) == (b"\x00" if answered else None)


def test_5_10_renegotiation_info_that_is_not_empty_is_refused() -> None:
    world, client = World(), RawClient(extensions=default_extensions() | {0xFF01: b"\x01x"})
    world.reach_server_done(client)
    assert world.reason == "insecure_renegotiation"


@pytest.mark.parametrize("version", [0xFEFF, 0xFEFE])
def test_9_1_nothing_below_dtls_1_2(version: int) -> None:
    world, client = World(), RawClient(version=version)
    world.reach_server_done(client)
    assert alerts(client.received) == [(2, 70)]
    assert world.reason == "protocol_version"


def test_9_2_no_suite_without_aead_and_no_compression() -> None:
    assert not NEVER & set(DEFAULT_SUITES)
    assert all(SUITES[number].tag_length in (8, 16) for number in DEFAULT_SUITES)
    world, client = World(), RawClient(compression=b"\x01\x00")
    world.connect(client)
    assert client.server_hello is not None
    assert client.server_hello.compression_method == 0


def test_9_3_sessions_are_resumed_for_a_week_at_most() -> None:
    assert MAX_TICKET_LIFETIME_S <= 7 * 24 * 3600


def test_9_4_gcm_nonces_count() -> None:
    world, client = World(), RawClient(suites=(0x00A8,))
    association = world.connect(client)
    for number in range(3):
        world.endpoint.send(association, b"%d" % number, world.now)
    records = client.read(world.collect())
    for record in records:
        assert int.from_bytes(record.nonce[4:]) == 1 << 48 | record.sequence
    assert len({record.nonce for record in records}) == 3


def test_9_5_identity_is_available_with_each_datagram_of_the_session() -> None:
    """RFC 7252 section 9.1: messages belong to a session and its epoch; who it is stands in the association."""
    world = World()
    first, second = RawClient(), RawClient(random=b"2" * 32)
    world.connect(first)
    world.deliver(first.data(b"one"))
    old = first.data(b"of the session before")
    again = world.connect(second)
    assert world.deliver(old) == []
    world.deliver(second.data(b"two"))
    assert world.data == [b"one", b"two"]
    assert again.context == b"dev1"


def test_9_6_every_kind_of_identity_is_handed_up() -> None:
    world = World()
    contexts = []
    for number, client in enumerate(one_of_each()):
        contexts.append(world.connect(client, ("192.0.2.1", 40_000 + number)).context)
    assert contexts[0] == b"dev1"
    assert isinstance(contexts[1], tuple)
    assert isinstance(contexts[2], bytes)


def test_9_7_a_response_fits_a_datagram_with_all_that_goes_around_it() -> None:
    """RFC 7252 section 4.6: 1152 bytes of message; 1280 less 40 and 8 hold it with the longest record there is."""
    longest = max(13 + SUITES[number].expansion for number in DEFAULT_SUITES) + 1
    assert MAX_RESPONSE_BYTES <= 1152
    assert MAX_RESPONSE_BYTES + longest <= 1280 - 40 - 8


def test_9_8_a_client_that_lost_its_session_comes_back_on_the_same_port() -> None:
    world = World()
    world.connect(RawClient())
    again = RawClient(random=b"r" * 32)
    world.connect(again)
    assert world.endpoint.association_count == 1
    world.deliver(again.data(b"back"), source=CLIENT)
    assert world.data == [b"back"]
