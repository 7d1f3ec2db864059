"""Checklist section 3: suites and key exchange (RFC 4279, 6655, 5487, 7251, 5289, 8422)."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

from gateway.dtls.limits import MAX_AUTHENTICATION_FAILURES, MAX_PSK_IDENTITY
from gateway.dtls.messages import extensions as ext
from tests.dtls.rawclient import (
    ECDHE_SUITES,
    HANDSHAKE,
    PSK_SUITES,
    SUITES,
    RawClient,
    default_extensions,
    explicit_length,
    handshake,
    split,
    without,
)
from tests.dtls.support import PSK, World, alerts, certificate_client, client_for, device, self_signed

HANDSHAKE_FAILURE, UNSUPPORTED_CERTIFICATE, ILLEGAL_PARAMETER = (2, 40), (2, 43), (2, 47)


def talk(world: World, client: RawClient) -> None:
    """A handshake, and data both ways."""
    association = world.connect(client)
    world.deliver(client.data(b"ping"))
    assert world.data == [b"ping"]
    world.endpoint.send(association, b"pong", world.now)
    (answer,) = client.read(world.collect())
    assert (answer.content_type, answer.content) == (23, b"pong")


def hello_alerts(client: RawClient, world: World | None = None) -> list[tuple[int, int]]:
    world = world or World()
    client.read(world.deliver(client.hello()))
    return alerts(client.read(world.deliver(client.hello())))


def with_extension(number: int, body: bytes) -> dict[int, bytes]:
    return {**default_extensions(), number: body}


# --- 3.1, 3.2, 3.9 suites --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", [0xC0A8, 0xC0AE], ids=hex)
def test_3_1_mandatory_suites(suite: int) -> None:
    # RFC 7252 9.1.3.1 and 9.1.3.3, RFC 7925 4.2 and 4.4
    talk(World(), client_for(suite))


@pytest.mark.parametrize("suite", [0xC0A4, 0x00A8, 0xC0AC, 0xC02B], ids=hex)
def test_3_2_suites_of_clients_that_have_no_ccm_8(suite: int) -> None:
    talk(World(), client_for(suite))


@pytest.mark.parametrize("suite", SUITES, ids=hex)
@pytest.mark.parametrize("extended", [True, False])
def test_3_2_every_suite_with_and_without_extended_master_secret(suite: int, extended: bool) -> None:
    client = client_for(suite)
    if not extended:
        client.extensions = {number: body for number, body in (client.extensions or {}).items() if number != 23}
    world = World()
    talk(world, client)
    assert world.completed[0].facts.extended_master_secret is extended


@pytest.mark.parametrize("suites", [(), (0x1301, 0xC0AA, 0x002F), (0x00FF,)])
def test_3_2_no_common_suite_is_handshake_failure(suites: tuple[int, ...]) -> None:
    assert hello_alerts(RawClient(suites=suites or (0x0000,))) == [HANDSHAKE_FAILURE]


def test_3_2_psk_alone_and_certificates_alone() -> None:
    assert hello_alerts(RawClient(), World(psk=False)) == [HANDSHAKE_FAILURE]
    assert hello_alerts(certificate_client(), World(certificate=False)) == [HANDSHAKE_FAILURE]
    talk(World(psk=False), certificate_client())
    talk(World(certificate=False), RawClient())


def test_3_9_the_server_s_order_counts() -> None:
    # RFC 9325 4.2.1
    offered = tuple(reversed(list(SUITES)))
    for first in SUITES:
        order = (first, *(number for number in SUITES if number != first))
        world, client = World(suites=order), client_for(0xC02F)
        client.suites = offered
        world.connect(client)
        assert client.suite == first


# --- 3.6, 3.7, 3.8 record protection ---------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", SUITES, ids=hex)
def test_3_6_explicit_nonce_is_epoch_and_sequence_number(suite: int) -> None:
    # RFC 6655 section 3 for CCM, RFC 9325 7.2.1 for GCM; GHSA-9f3f-wv7r-qc8r drew it at random. RFC 7905 section 2:
    # ChaCha20-Poly1305 has none.
    world, client = World(), client_for(suite)
    association = world.connect(client)
    for _ in range(5):
        world.endpoint.send(association, b"x", world.now)
    sent = world.collect()
    for datagram in sent:
        ((_, _, number, fragment),) = split(datagram)
        explicit = explicit_length(suite)
        assert fragment[:explicit] == number.to_bytes(8, "big")[:explicit]
        assert len(fragment) == explicit + 1 + (8 if SUITES[suite].endswith("CCM_8") else 16)
    assert len(client.read(sent)) == 5


@pytest.mark.parametrize("suite", SUITES, ids=hex)
def test_3_7_header_fields_are_authenticated(suite: int) -> None:
    # RFC 5246 6.2.3.3: seq_num + TLSCompressed.type + TLSCompressed.version + TLSCompressed.length
    world, client = World(), client_for(suite)
    world.connect(client)
    record = client.data(b"hello")
    assert world.deliver(b"\x16" + record[1:]) == []  # another type
    other_number = record[:10] + bytes((record[10] ^ 2,)) + record[11:]
    assert world.deliver(other_number) == []
    assert world.drops() == {"bad_mac": 2}
    assert world.data == []
    world.deliver(record)
    assert world.data == [b"hello"]


@pytest.mark.parametrize(("suite", "most"), [(0x00A8, 23_726_566), (0xC0A8, 2**48 - 1), (0xCCAB, 2**48 - 1)])
def test_3_8_one_key_seals_no_more_records_than_its_cipher_allows(suite: int, most: int) -> None:
    # RFC 9325 4.4: 2^24.5 records for AES-GCM
    world, client = World(), client_for(suite)
    association = world.connect(client)
    association._write_number = (1 << 48) + most - 1
    world.endpoint.send(association, b"the last", world.now)
    assert [record.content for record in client.read(world.collect())] == [b"the last"]
    world.endpoint.send(association, b"one more", world.now)
    assert world.collect() == []
    assert [event.reason for event in world.closed] == ["exhausted"]


def test_3_8_forgeries_close_the_association_at_a_bound_and_not_before() -> None:
    # RFC 9325 4.4, RFC 9147 4.5.3: an 8-byte tag needs one.
    world, client = World(), RawClient()
    association = world.connect(client)
    forged = client.data(b"hello")[:-1] + b"\x00"
    world.deliver(forged)
    assert association.authentication_failures == 1
    assert world.closed == []
    association.authentication_failures = MAX_AUTHENTICATION_FAILURES - 1
    assert world.deliver(forged) == []
    assert [event.reason for event in world.closed] == ["authentication_failures"]
    assert world.endpoint.associations == {}


# --- 3.10 to 3.13 pre-shared keys ------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [b"k", b"secret", bytes(16), b"\x00" * 31 + b"\x01", b"k" * 64, b"k" * 256])
def test_3_10_premaster_of_keys_of_any_length(key: bytes) -> None:
    # RFC 4279 section 2; 5.3: keys of at least 64 octets
    world = World()
    world.keys = {b"dev1": key}
    talk(world, RawClient(psk=key))


IDENTITIES = [
    b"",
    b"d",
    b"dev1\x00x",
    b"\x00",
    b"\xff\xfe\xfd",
    "g\u00e9r\u00e4t".encode(),
    b"i" * 128,
    b"i" * MAX_PSK_IDENTITY,
]


@pytest.mark.parametrize("identity", IDENTITIES, ids=lambda identity: repr(identity[:12]))
def test_3_11_identity_is_any_bytes(identity: bytes) -> None:
    # RFC 4279 5.3: identities of at least 128 octets
    world = World()
    world.keys = {identity: PSK}
    talk(world, RawClient(identity=identity))
    assert world.completed[0].facts.psk_identity == identity
    assert world.completed[0].association.context == identity


@pytest.mark.parametrize("identity", [b"dev1\x00", b"dev1\x00x", b"dev", b"dev11", b"DEV1", b" dev1", b""])
def test_3_11_no_part_of_an_identity_is_the_identity(identity: bytes) -> None:
    # CVE-2026-42010: a NUL ended the comparison.
    world, client = World(), RawClient(identity=identity)
    world.reach_server_done(client)
    assert alerts(client.read(world.deliver(*client.answer_flight()))) == [(2, 51)]
    assert world.reason == "unknown_identity"


@pytest.mark.parametrize("length", [MAX_PSK_IDENTITY + 1, 0xFFFF])
def test_3_11_longer_identity_is_refused(length: int) -> None:
    world, client = World(), RawClient()
    world.reach_server_done(client)
    body = length.to_bytes(2, "big") + b"i" * length
    answers = []
    for start in range(0, len(body), 1000):
        piece = handshake(16, 2, body, start, min(start + 1000, len(body)))
        answers += client.read(world.deliver(client.record(HANDSHAKE, piece)))
    ((level, _),) = alerts(answers)
    assert level == 2
    assert world.completed == []
    assert world.endpoint.handshakes_in_progress == 0


def test_3_13_no_server_key_exchange_without_a_hint() -> None:
    # RFC 4279 section 2: "if no hint is provided, the ServerKeyExchange message is omitted"
    world, client = World(), RawClient()
    talk(world, client)
    assert [message_type for message_type, _, _ in client.messages] == [3, 2, 14, 20]


@pytest.mark.parametrize("hint", [b"", b"example.org"])
def test_3_13_configured_hint_is_sent(hint: bytes) -> None:
    world, client = World(hint=hint), RawClient()
    talk(world, client)
    (body,) = (body for message_type, _, body in client.messages if message_type == 12)
    assert body == len(hint).to_bytes(2, "big") + hint


# --- 3.15 to 3.19 ECDHE ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("groups", "chosen"),
    [
        ((23,), 23),
        ((29, 23), 29),
        ((23, 29), 23),
        ((30, 25, 24, 23), 24),
        ((25, 23, 24), 23),
        ((0xFAFA, 29, 0xFE0D, 23), 29),
    ],
)
def test_3_15_first_group_of_the_client_that_we_have(groups: tuple[int, ...], chosen: int) -> None:
    client = certificate_client()
    client.extensions = with_extension(10, ext.encode_u16_list(groups))
    talk(World(), client)
    assert client.server_key_exchange is not None
    assert client.server_key_exchange.parameters.group == chosen


def test_3_15_no_list_of_groups_means_p_256() -> None:
    # RFC 4492 section 4: a client that sends no list leaves the choice to the server.
    client = certificate_client()
    client.extensions = without(10)
    talk(World(), client)
    assert client.server_key_exchange is not None
    assert client.server_key_exchange.parameters.group == 23


@pytest.mark.parametrize("groups", [(24,), (25, 30), (0xFAFA,), (29,)])
def test_3_15_no_common_group_is_handshake_failure(groups: tuple[int, ...]) -> None:
    # x25519 alone will not do: RFC 8422 5.1 has the list bind the curve of the certificate, too, and ours is on P-256.
    client = certificate_client()
    client.extensions = with_extension(10, ext.encode_u16_list(groups))
    assert hello_alerts(client) == [HANDSHAKE_FAILURE]


def test_3_15_psk_takes_no_notice_of_groups() -> None:
    talk(World(), RawClient(extensions=with_extension(10, ext.encode_u16_list((24,)))))


@pytest.mark.parametrize("formats", [b"\x00", b"\x00\x01\x02", b"\x02\x01\x00"])
def test_3_16_point_formats_are_echoed_for_an_ecc_suite(formats: bytes) -> None:
    # RFC 8422 5.1.2, 5.2
    client = certificate_client()
    client.extensions = with_extension(11, ext.encode_u8_list(formats))
    talk(World(), client)
    assert client.server_hello is not None
    assert (client.server_hello.extensions or {})[11] == b"\x01\x00"
    assert client.server_key_exchange is not None
    assert client.server_key_exchange.parameters.public[0] == 4


def test_3_16_point_formats_are_not_answered_when_not_asked_or_without_ecc() -> None:
    silent, psk = certificate_client(), RawClient()
    silent.extensions = without(11)
    for client in (silent, psk):
        talk(World(), client)
        assert client.server_hello is not None
        assert 11 not in (client.server_hello.extensions or {})


def test_3_16_list_without_uncompressed_is_refused() -> None:
    # RFC 8422 5.1.2: a list "MUST contain" uncompressed; 5.1: "illegal_parameter" where it does not fit
    client = certificate_client()
    client.extensions = with_extension(11, ext.encode_u8_list(b"\x01\x02"))
    assert hello_alerts(client) == [ILLEGAL_PARAMETER]


G = ec.derive_private_key(1, ec.SECP256R1()).public_key().public_numbers()
P = 2**256 - 2**224 + 2**192 + 2**96 - 1


def point(x: int, y: int, form: int = 4) -> bytes:
    return bytes((form,)) + x.to_bytes(32, "big") + y.to_bytes(32, "big")


P256_POINTS = {
    "off the curve": point(G.x, G.y ^ 1),
    "all zero": point(0, 0),
    "infinity": b"\x00",
    "infinity, padded": bytes(65),
    "x out of range": point(P + 1, G.y),
    "compressed": bytes((2 + G.y % 2,)) + G.x.to_bytes(32, "big"),
    "hybrid": point(G.x, G.y, 6 + G.y % 2),
    "cut": point(G.x, G.y)[:-1],
    "too long": point(G.x, G.y) + b"\x00",
    "x25519 key": b"\x09" + bytes(31),
    "one byte": b"\x04",
}

# RFC 7748 section 6.1 and https://cr.yp.to/ecdh.html: the points of low order, which give an all-zero secret.
X25519_POINTS = {
    "zero": bytes(32),
    "one": b"\x01" + bytes(31),
    "order 8": bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    "order 8, other": bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    "p - 1": bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    "p": bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    "p + 1": bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    "cut": bytes(31),
    "too long": bytes(33),
    "P-256 point": point(G.x, G.y),
}


def _exchange(groups: tuple[int, ...], public: bytes) -> tuple[World, list[tuple[int, int]]]:
    world, client = World(), certificate_client()
    client.extensions = with_extension(10, ext.encode_u16_list(groups))
    world.reach_server_done(client)
    world.deliver(client.certificate())
    return world, alerts(client.read(world.deliver(client.client_key_exchange(public))))


@pytest.mark.parametrize("which", P256_POINTS)
def test_3_17_bad_p_256_point_is_refused(which: str) -> None:
    # RFC 8422 5.11: validate, or an invalid curve takes the key bit by bit.
    world, answer = _exchange((23,), P256_POINTS[which])
    assert answer == [ILLEGAL_PARAMETER]
    assert world.endpoint.handshakes_in_progress == 0


@pytest.mark.parametrize("which", X25519_POINTS)
def test_3_17_bad_x25519_key_is_refused(which: str) -> None:
    # RFC 8422 5.11: "MUST check whether the computed Diffie-Hellman shared secret is the all-zero value and abort"
    world, answer = _exchange((29, 23), X25519_POINTS[which])
    assert answer == [ILLEGAL_PARAMETER]
    assert world.endpoint.handshakes_in_progress == 0


@pytest.mark.parametrize("group", [23, 29])
def test_3_18_ephemeral_key_is_new_in_every_handshake(group: int) -> None:
    world, publics = World(), set()
    for number in range(10):
        client = certificate_client()
        client.random = bytes((number,)) * 32
        client.extensions = with_extension(10, ext.encode_u16_list((group, 23)))
        world.reach_server_done(client, ("192.0.2.1", number))
        assert client.server_key_exchange is not None
        publics.add(client.server_key_exchange.parameters.public)
    assert len(publics) == 10


def _foreign_keys() -> dict[str, CertificateIssuerPrivateKeyTypes]:
    return {
        "P-521": ec.generate_private_key(ec.SECP521R1()),
        "secp256k1": ec.generate_private_key(ec.SECP256K1()),
        "RSA": rsa.generate_private_key(65537, 2048),
        "Ed448": ed448.Ed448PrivateKey.generate(),
    }


@pytest.mark.parametrize("kind", ["P-521", "secp256k1", "RSA", "Ed448"])
def test_3_19_certificate_key_must_be_on_an_offered_curve(kind: str) -> None:
    # RFC 8422 5.6: "the client's certificate MUST contain an ECDSA-capable public key" on a curve that was offered
    world, client = World(), certificate_client()
    world.reach_server_done(client)
    chain = (self_signed(_foreign_keys()[kind], "dev1"),)
    assert alerts(client.read(world.deliver(client.certificate(chain)))) == [UNSUPPORTED_CERTIFICATE]
    assert world.reason == "weak_key"
    assert "P-256" in world.failures[0].detail


def test_3_19_what_is_no_certificate_is_refused() -> None:
    for rubbish in (b"rubbish", device().chain[0][:-1], ed25519.Ed25519PrivateKey.generate().private_bytes_raw()):
        world, client = World(), certificate_client()
        world.reach_server_done(client)
        ((level, _),) = alerts(client.read(world.deliver(client.certificate((rubbish,)))))
        assert level == 2
        assert world.endpoint.handshakes_in_progress == 0


def test_3_19_chain_is_given_to_the_shell_as_it_came() -> None:
    world, client = World(), certificate_client()
    issuer = self_signed(ec.generate_private_key(ec.SECP256R1()), "issuer")
    world.reach_server_done(client)
    flight = [client.certificate((*device().chain, issuer)), client.client_key_exchange(), client.certificate_verify()]
    client.read(world.deliver(*flight, client.change_cipher_spec(), client.finished()))
    assert world.completed[0].facts.chain == (*device().chain, issuer)
    assert x509.load_der_x509_certificate(world.completed[0].facts.chain[0]).subject.rfc4514_string() == "CN=dev1"


@pytest.mark.parametrize("suite", PSK_SUITES | ECDHE_SUITES, ids=hex)
def test_3_facts_of_a_handshake(suite: int) -> None:
    world, client = World(), client_for(suite)
    client.extensions = with_extension(0, ext.encode_server_name("127.0.0.1"))
    world.connect(client)
    facts = world.completed[0].facts
    assert facts.suites_offered == (suite,)
    assert facts.suite is not None
    kind, _, aead = SUITES[suite].rpartition("ECDSA_" if suite in ECDHE_SUITES else "PSK_")
    assert aead in facts.suite
    assert facts.key_exchange is not None
    assert facts.key_exchange.value == ("psk" if suite in PSK_SUITES else "ecdhe_ecdsa"), kind
    assert facts.server_name == "127.0.0.1"
    assert (facts.started_at, facts.finished_at, facts.retransmissions) == (world.now, world.now, 0)
