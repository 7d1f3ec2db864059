"""Checklist section 3, suites with ephemeral keys: ECDHE_PSK (RFC 5489, 8442, 7905), RSA servers, P-384, Ed25519."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from gateway.dtls.messages import extensions as ext
from tests.dtls.rawclient import (
    ECDHE_PSK_SUITES,
    ECDHE_RSA_SUITES,
    PSK_SUITES,
    Device,
    RawClient,
    default_extensions,
    suite_hash,
    without,
)
from tests.dtls.rawserver import ClientWorld, RawServer, certificate_parameters, psk_parameters
from tests.dtls.support import (
    World,
    alerts,
    certificate_client,
    client_for,
    credential_of,
    rsa_identity,
    self_signed,
)
from tests.dtls.test_checklist_3_suites import P256_POINTS, X25519_POINTS, hello_alerts, talk, with_extension

HANDSHAKE_FAILURE, ILLEGAL_PARAMETER, DECRYPT_ERROR, DECODE_ERROR = (2, 40), (2, 47), (2, 51), (2, 50)

each_ecdhe_psk = pytest.mark.parametrize("suite", ECDHE_PSK_SUITES, ids=hex)
RSA_SCHEMES = (0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601)


def key_client(suite: int = 0xD003, groups: tuple[int, ...] = (23,)) -> RawClient:
    client = RawClient(suites=(suite,))
    client.extensions = with_extension(10, ext.encode_u16_list(groups))
    return client


# --- 2.12 the hash of the suite --------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", [0x00A9, 0xD002, 0xC02C, 0xC030], ids=hex)
@pytest.mark.parametrize("extended", [True, False])
def test_2_12_prf_and_transcript_of_aes_256_gcm_are_sha_384(suite: int, extended: bool) -> None:
    # RFC 5246 section 5, RFC 5487 section 3.1, RFC 5289 section 3.2, RFC 8442 section 3
    assert suite_hash(suite) == "sha384"
    client = client_for(suite)
    if not extended:
        client.extensions = {number: body for number, body in (client.extensions or {}).items() if number != 23}
    talk(World(), client)


@pytest.mark.parametrize(("suite", "kind"), [(0x00A9, "psk"), (0xD002, "psk"), (0xC02C, "cert"), (0xC030, "cert")])
def test_2_12_our_client_hashes_with_sha_384_too(suite: int, kind: str) -> None:
    world = ClientWorld(psk_parameters(suite) if kind == "psk" else certificate_parameters(suite))
    association = world.connect(RawServer(chosen=suite))
    assert association.suite.id == suite


def test_2_12_cookie_exchange_does_not_fix_the_hash() -> None:
    """The transcript begins again with the second hello; the suite, and so the hash, is known only after it."""
    world, server = ClientWorld(psk_parameters(0x00A9)), RawServer(chosen=0x00A9)
    server.read(world.opening)
    server.read(world.deliver(server.verify_request(b"cookie")))
    server.read(world.deliver(*server.first_flight()))
    assert server.client_finished_verified


# --- 3.3, 3.9, 3.10, 3.13 ECDHE_PSK ----------------------------------------------------------------------------------


@each_ecdhe_psk
@pytest.mark.parametrize("group", [23, 24, 29])
def test_3_3_ecdhe_psk(suite: int, group: int) -> None:
    world, client = World(), key_client(suite, (group,))
    talk(world, client)
    assert client.server_share is not None
    assert client.server_share.group == group
    facts = world.completed[0].facts
    assert facts.key_exchange is not None
    assert (facts.key_exchange.value, facts.psk_identity) == ("ecdhe_psk", b"dev1")


@each_ecdhe_psk
@pytest.mark.parametrize("group", [23, 24, 29])
def test_3_3_ecdhe_psk_of_our_client(suite: int, group: int) -> None:
    world, server = ClientWorld(psk_parameters(suite)), RawServer(chosen=suite, group=group)
    world.connect(server)
    assert server.client_identity == b"dev1"
    world.deliver(server.data(b"with these keys"))
    assert world.data == [b"with these keys"]


@pytest.mark.parametrize("suite", ECDHE_PSK_SUITES, ids=hex)
@pytest.mark.parametrize("plain", PSK_SUITES, ids=hex)
def test_3_9_forward_secrecy_goes_first_with_a_pre_shared_key(suite: int, plain: int) -> None:
    world, client = World(), key_client(suite)
    client.suites = (plain, suite)
    talk(world, client)
    assert client.suite == suite


def test_3_9_plain_psk_goes_before_a_certificate() -> None:
    """Who lists ECDHE_ECDSA suites may have no certificate; who lists a PSK suite has a key."""
    world = World()
    client = client_for(0xC0AE)
    client.suites = (0xC0AE, 0xC02B, 0x00A9)
    talk(world, client)
    assert client.suite == 0x00A9


def test_3_9_client_without_a_group_of_ours_gets_plain_psk() -> None:
    world, client = World(), key_client(0xD003, (25, 30))
    client.suites = (0xD003, 0xC0A8)
    talk(world, client)
    assert client.suite == 0xC0A8
    client.suites = (0xD003,)
    lonely = key_client(0xD003, (25, 30))
    fresh = World()
    assert hello_alerts(lonely, fresh) == [HANDSHAKE_FAILURE]
    assert fresh.reason == "no_shared_group"


def test_3_9_plain_psk_without_extensions_of_elliptic_curves() -> None:
    """RFC 8422 section 4: who proposes no such suite sends none of them, and is not asked for them."""
    client = RawClient(suites=(0x00A8,), extensions=without(10, 11, 13))
    talk(World(), client)


@pytest.mark.parametrize("key", [b"k", bytes(16), b"k" * 64, b"k" * 256])
@pytest.mark.parametrize("group", [23, 24, 29])
def test_3_10_premaster_of_the_shared_secret_and_the_key(key: bytes, group: int) -> None:
    # RFC 5489 section 2
    world, client = World(), key_client(0xD001, (group,))
    world.keys, client.psk = {b"dev1": key}, key
    talk(world, client)


@pytest.mark.parametrize("hint", [None, b"", b"a hint", b"h" * 128])
@each_ecdhe_psk
def test_3_13_ecdhe_psk_always_sends_a_server_key_exchange(suite: int, hint: bytes | None) -> None:
    # RFC 5489 section 2; the hint may be empty
    world, client = World(hint=hint), key_client(suite)
    talk(world, client)
    assert [kind for kind, _, _ in client.messages] == [3, 2, 12, 14, 20]
    assert client.server_hint == (hint or b"")


def test_3_15_ecdhe_psk_without_a_list_of_groups_is_p_256() -> None:
    client = RawClient(suites=(0xD005,), extensions=without(10, 11, 13))
    talk(World(), client)
    assert client.server_share is not None
    assert client.server_share.group == 23


def test_3_16_point_formats_are_answered_for_ecdhe_psk_and_not_for_psk() -> None:
    for suite, answered in ((0xD003, True), (0xC0A8, False)):
        client = key_client(suite)
        talk(World(), client)
        assert client.server_hello is not None
        assert (11 in (client.server_hello.extensions or {})) is answered


BAD_POINTS = [(23, point) for point in P256_POINTS.values()] + [(29, point) for point in X25519_POINTS.values()]


@pytest.mark.parametrize(("group", "public"), BAD_POINTS)
@pytest.mark.parametrize("identity", [b"dev1", b"nobody"])
def test_3_17_bad_point_with_a_pre_shared_key(group: int, public: bytes, identity: bytes) -> None:
    """Refused before anybody looks the identity up: the answer says nothing about that."""
    world, client = World(), key_client(0xD003, (group,))
    client.identity = identity
    world.reach_server_done(client)
    assert alerts(client.read(world.deliver(client.client_key_exchange(public)))) == [ILLEGAL_PARAMETER]
    assert [type(event).__name__ for event in world.events] == ["HandshakeFailed"]


G384 = ec.derive_private_key(1, ec.SECP384R1()).public_key().public_numbers()


@pytest.mark.parametrize(
    "public",
    [
        b"\x04" + G384.x.to_bytes(48, "big") + (G384.y ^ 1).to_bytes(48, "big"),
        b"\x04" + bytes(96),
        b"\x00",
        bytes((2 + G384.y % 2,)) + G384.x.to_bytes(48, "big"),
        b"\x04" + G384.x.to_bytes(48, "big") + G384.y.to_bytes(48, "big") + b"\x00",
        P256_POINTS["off the curve"],
        X25519_POINTS["p"],
    ],
)
@pytest.mark.parametrize("suite", [0xC0AE, 0xD003], ids=hex)
def test_3_17_bad_p_384_point(suite: int, public: bytes) -> None:
    world, client = World(), client_for(suite)
    client.extensions = with_extension(10, ext.encode_u16_list((24, 23)))
    world.reach_server_done(client)
    if suite == 0xC0AE:
        world.deliver(client.certificate())
    assert alerts(client.read(world.deliver(client.client_key_exchange(public)))) == [ILLEGAL_PARAMETER]


@pytest.mark.parametrize("group", [23, 24, 29])
def test_3_18_ephemeral_key_with_a_pre_shared_key_is_new_in_every_handshake(group: int) -> None:
    world, publics = World(), set()
    for number in range(10):
        client = key_client(0xD003, (group,))
        client.random = bytes((number,)) * 32
        world.reach_server_done(client, ("192.0.2.1", number))
        assert client.server_share is not None
        publics.add(client.server_share.public)
    assert len(publics) == 10


@pytest.mark.parametrize("rest", [b"", b"\x00", b"\x41\x04", b"\x01\x04x"])
def test_3_10_broken_client_key_exchange(rest: bytes) -> None:
    world, client = World(), key_client()
    world.reach_server_done(client)
    assert alerts(client.read(world.deliver(client.message(16, b"\x00\x04dev1" + rest)))) == [DECODE_ERROR]
    assert world.endpoint.handshakes_in_progress == 0


# --- 3.4 an RSA certificate of the server ----------------------------------------------------------------------------


@pytest.mark.parametrize("suite", ECDHE_RSA_SUITES, ids=hex)
@pytest.mark.parametrize("scheme", RSA_SCHEMES, ids=hex)
def test_3_4_rsa_certificate_of_the_server(suite: int, scheme: int) -> None:
    """The device's own certificate is a P-256 one as ever."""
    world, client = World(), client_for(suite)
    client.extensions = with_extension(13, ext.encode_u16_list((0x0403, 0x0201, scheme)))
    talk(world, client)
    assert client.server_chain == rsa_identity().chain
    assert client.server_key_exchange is not None
    assert client.server_key_exchange.signed.scheme == scheme


@pytest.mark.parametrize("scheme", RSA_SCHEMES, ids=hex)
def test_3_4_rsa_certificate_of_the_server_and_our_client(scheme: int) -> None:
    world, server = ClientWorld(certificate_parameters(0xC02F)), RawServer(chosen=0xC02F)
    server.read(world.opening)
    flight = [server.answer_hello(), server.present(), server.share(scheme=scheme), server.request(), server.done()]
    server.read(world.deliver(*flight))
    assert server.client_finished_verified
    assert server.possession_proven


def test_3_4_groups_of_the_certificate_do_not_matter_to_rsa() -> None:
    client = client_for(0xC02F)
    client.extensions = {**(client.extensions or {}), 10: ext.encode_u16_list((29,))}
    talk(World(), client)


@pytest.mark.parametrize("suite", [0xC02F, 0xC0AE], ids=hex)
def test_2_7_only_schemes_of_the_other_kind_of_key(suite: int) -> None:
    # RFC 5246 7.4.3: a pair that the client listed and that the key can
    client = client_for(suite)
    client.extensions = with_extension(13, ext.encode_u16_list((0x0403,) if suite == 0xC02F else RSA_SCHEMES))
    world = World()
    assert hello_alerts(client, world) == [HANDSHAKE_FAILURE]
    assert world.reason == "no_shared_signature_algorithm"


def test_2_7_the_suite_that_the_client_can_verify_is_chosen() -> None:
    """It lists both kinds of suites, and signatures for RSA only: it cannot verify our first choice."""
    client = client_for(0xC0AE)
    client.suites = (0xC0AE, 0xC02F)
    client.extensions = with_extension(13, ext.encode_u16_list((0x0401,)))
    world = World()
    world.reach_server_done(client)
    assert client.suite == 0xC02F


# --- 3.15 to 3.20 keys of certificates -------------------------------------------------------------------------------


def of_key(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, name: str = "dev1") -> Device:
    return Device(key, (self_signed(key, name),))


@pytest.mark.parametrize("scheme", [0x0403, 0x0503, 0x0603], ids=hex)
def test_3_19_p_384_certificate_of_a_device(scheme: int) -> None:
    world, client = World(), certificate_client()
    client.device = of_key(ec.generate_private_key(ec.SECP384R1()))
    world.reach_server_done(client)
    flight = [client.certificate(), client.client_key_exchange(), client.certificate_verify(scheme=scheme)]
    client.read(world.deliver(*flight, client.change_cipher_spec(), client.finished()))
    assert client.server_finished_verified
    assert world.completed[0].facts.chain == client.device.chain


def test_3_20_ed25519_certificate_of_a_device() -> None:
    world, client = World(), certificate_client()
    client.device = of_key(ed25519.Ed25519PrivateKey.generate())
    talk(world, client)


@pytest.mark.parametrize("scheme", [0x0403, 0x0503, 0x0804, 0x0401, 0x0808], ids=hex)
def test_3_20_scheme_that_does_not_fit_an_ed25519_key(scheme: int) -> None:
    world, client = World(), certificate_client()
    client.device = of_key(ed25519.Ed25519PrivateKey.generate())
    world.reach_server_done(client)
    flight = [client.certificate(), client.client_key_exchange(), client.certificate_verify(scheme=scheme)]
    assert alerts(client.read(world.deliver(*flight))) == [ILLEGAL_PARAMETER]


@pytest.mark.parametrize("scheme", [0x0807, 0x0804, 0x0401, 0x0203], ids=hex)
def test_3_19_scheme_that_does_not_fit_an_ecdsa_key(scheme: int) -> None:
    world, client = World(), certificate_client()
    world.reach_server_done(client)
    flight = [client.certificate(), client.client_key_exchange(), client.certificate_verify(scheme=scheme)]
    assert alerts(client.read(world.deliver(*flight))) == [ILLEGAL_PARAMETER]


def test_3_20_ed25519_signature_of_another_key() -> None:
    world, client = World(), certificate_client()
    client.device = of_key(ed25519.Ed25519PrivateKey.generate())
    world.reach_server_done(client)
    flight = [client.certificate(), client.client_key_exchange()]
    flight.append(client.certificate_verify(key=ed25519.Ed25519PrivateKey.generate()))
    assert alerts(client.read(world.deliver(*flight))) == [DECRYPT_ERROR]
    assert world.reason == "possession_not_proven"


@pytest.mark.parametrize("kind", ["P-384", "Ed25519"])
def test_3_20_our_client_with_other_keys(kind: str) -> None:
    key = ec.generate_private_key(ec.SECP384R1()) if kind == "P-384" else ed25519.Ed25519PrivateKey.generate()
    world = ClientWorld(certificate_parameters(credential=credential_of(of_key(key))))
    server = RawServer(chosen=0xC0AE)
    server.read(world.opening)
    flight = [server.answer_hello(), server.present(), server.share(), server.request((0x0807, 0x0503)), server.done()]
    server.read(world.deliver(*flight))
    assert server.client_finished_verified
    assert server.signature_scheme == (0x0503 if kind == "P-384" else 0x0807)


def test_3_20_our_client_does_not_show_a_certificate_that_the_server_cannot_verify() -> None:
    # RFC 5246 section 7.4.6: no suitable certificate is an empty Certificate
    world = ClientWorld(certificate_parameters(credential=credential_of(of_key(ed25519.Ed25519PrivateKey.generate()))))
    server = RawServer(chosen=0xC0AE)
    server.read(world.opening)
    server.read(world.deliver(*server.first_flight()))
    assert server.client_chain == ()


# --- 5.3 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", [0xC0A8, 0xC0AE, 0xD003, 0xC02F], ids=hex)
def test_5_3_extended_master_secret_can_be_required(suite: int) -> None:
    # RFC 7627 section 5.4
    world = World(require_extended_master_secret=True)
    talk(world, client_for(suite))
    world, client = World(require_extended_master_secret=True), client_for(suite)
    client.extensions = {number: body for number, body in default_extensions().items() if number != 23}
    assert hello_alerts(client, world) == [HANDSHAKE_FAILURE]
    assert world.reason == "no_extended_master_secret"
    assert "require_extended_master_secret" in world.failures[0].detail


def test_5_3_client_without_extensions_is_refused_where_it_is_required() -> None:
    assert hello_alerts(RawClient(extensions=None), World(require_extended_master_secret=True)) == [HANDSHAKE_FAILURE]
    talk(World(), RawClient(extensions=None))
