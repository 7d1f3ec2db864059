"""Checklist section 6: raw public keys (RFC 7250)."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.dtls import (
    CertificatePresented,
    FailureReason,
    HandshakeError,
    KeyExchange,
    RawPublicKeyPresented,
    ServerEndpoint,
)
from gateway.dtls.messages.certificate import RawPublicKey
from tests.dtls.rawclient import default_extensions
from tests.dtls.rawkeys import (
    CLIENT_TYPE,
    OPENPGP,
    P256_PREFIX,
    RAW,
    SERVER_TYPE,
    X509,
    RpkClient,
    listing,
    opaque24,
    raw_pair,
    spki,
)
from tests.dtls.support import World, alerts, counting_random, device, server_identity


def refused(client: RpkClient, world: World | None = None) -> tuple[str, list[tuple[int, int]]]:
    world = world or World()
    heard = alerts(client.read(world.reach_server_done(client)))
    return world.reason, heard or alerts(client.received)


def keys_of(world: World) -> list[bytes]:
    return [event.public_key for event in world.events if isinstance(event, RawPublicKeyPresented)]


# --- 6.1 negotiation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", [0xC0AE, 0xC0AC, 0xC02B])
def test_6_1_both_sides_present_bare_keys(suite: int) -> None:
    # tinydtls lists nothing else, and LwM2M means this by RPK.
    world, client = World(), listing(bytes((RAW,)), bytes((RAW,)), (suite,))
    world.reach_server_done(client)
    assert (client.answers[CLIENT_TYPE], client.answers[SERVER_TYPE]) == (b"\x02", b"\x02")  # RFC 7250 4.2: one value
    assert client.server_key == spki(server_identity().key)
    client.read(world.deliver(*client.answer_flight()))
    assert client.server_finished_verified
    assert keys_of(world) == [spki(device().key)]
    (done,) = world.completed
    assert done.facts.raw_public_key
    assert done.facts.public_key == spki(device().key)
    assert done.facts.chain == ()
    assert done.facts.key_exchange is KeyExchange.ECDHE_ECDSA
    world.deliver(client.data(b"hello"))
    assert world.data == [b"hello"]


def test_6_1_server_key_is_what_signs_the_key_exchange() -> None:
    world, client = World(), listing(bytes((RAW,)), bytes((RAW,)))
    world.reach_server_done(client)
    exchange = client.server_key_exchange
    assert exchange is not None
    assert client.server_hello is not None
    point = client.server_key.removeprefix(P256_PREFIX)
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    signed = client.random + client.server_hello.random + exchange.parameters.encode()
    key.verify(exchange.signed.signature, signed, ec.ECDSA(hashes.SHA256()))


def test_6_1_each_side_is_negotiated_by_itself() -> None:
    # RFC 7250 section 5, example of a client with a bare key and a server with a certificate; and the other way round.
    world, client = World(), listing(client=bytes((RAW,)))
    world.reach_server_done(client)
    assert SERVER_TYPE not in client.answers
    assert client.server_chain == server_identity().chain
    client.read(world.deliver(*client.answer_flight()))
    assert client.server_finished_verified
    assert len(keys_of(world)) == 1
    world, client = World(), listing(server=bytes((RAW,)))
    world.connect(client)
    assert CLIENT_TYPE not in client.answers
    assert client.server_key == spki(server_identity().key)
    assert keys_of(world) == []
    assert not world.completed[0].facts.raw_public_key


@pytest.mark.parametrize(
    ("types", "chosen"),
    [
        (bytes((RAW, X509)), RAW),
        (bytes((X509, RAW)), X509),
        (bytes((OPENPGP, RAW)), RAW),
        (bytes((255, 3, X509)), X509),
        (bytes((X509,)), X509),
    ],
)
def test_6_1_the_client_s_order_decides(types: bytes, chosen: int) -> None:
    # RFC 7250 4.1: the list is "in descending order of preference"; X.509 alone "MUST be omitted", and one that is said
    # all the same is what holds without saying it.
    world, client = World(), listing(types, types)
    world.reach_server_done(client)
    assert (client.answers[CLIENT_TYPE], client.answers[SERVER_TYPE]) == (bytes((chosen,)),) * 2
    client.read(world.deliver(*client.answer_flight()))
    assert client.server_finished_verified


def test_6_1_device_with_a_bare_key_gets_a_bare_key_if_it_takes_one() -> None:
    # coap-client-gnutls -M lists X.509 first for the server, and has no root then.
    world, client = World(), listing(bytes((RAW,)), bytes((X509, RAW)))
    world.reach_server_done(client)
    assert (client.answers[CLIENT_TYPE], client.answers[SERVER_TYPE]) == (b"\x02", b"\x02")
    world, client = World(), listing(bytes((RAW,)), bytes((X509,)))
    world.reach_server_done(client)
    assert (client.answers[CLIENT_TYPE], client.answers[SERVER_TYPE]) == (b"\x02", b"\x00")


def test_6_1_nothing_is_answered_where_nothing_is_presented() -> None:
    # RFC 7250 4.2: only what the server will use. With a pre-shared key there is no Certificate.
    world, client = World(), listing(bytes((RAW,)), bytes((RAW,)), (0xC0A8, 0xC0AE))
    world.connect(client)
    assert client.suite == 0xC0A8
    assert not {CLIENT_TYPE, SERVER_TYPE} & client.answers.keys()


def test_6_1_nothing_is_answered_that_was_not_asked() -> None:
    world, client = World(), listing()
    world.connect(client)
    assert not {CLIENT_TYPE, SERVER_TYPE} & client.answers.keys()


# --- 6.2 no common type ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("types", [bytes((OPENPGP,)), bytes((3,)), b"\xff\xfe"])
@pytest.mark.parametrize("which", ["client", "server"])
def test_6_2_no_common_type_is_unsupported_certificate(types: bytes, which: str) -> None:
    # RFC 7250 4.2, case 2: "terminates the session with a fatal alert of type "unsupported_certificate"".
    client = listing(types) if which == "client" else listing(server=types)
    assert refused(client) == ("no_shared_certificate_type", [(2, 43)])


@pytest.mark.parametrize("which", ["client", "server"])
def test_6_2_switched_off_a_bare_key_is_unsupported(which: str) -> None:
    client = listing(bytes((RAW,))) if which == "client" else listing(server=bytes((RAW,)))
    world = without_raw_public_keys()
    assert refused(client, world) == ("no_shared_certificate_type", [(2, 43)])
    assert "[dtls] raw_public_keys" in world.failures[0].detail


def test_6_2_switched_off_who_can_do_both_gets_a_certificate() -> None:
    world, client = without_raw_public_keys(), listing(bytes((RAW, X509)), bytes((RAW, X509)))
    world.connect(client)
    assert (client.answers[CLIENT_TYPE], client.answers[SERVER_TYPE]) == (b"\x00", b"\x00")


@pytest.mark.parametrize("body", [b"", b"\x00", b"\x02\x02", b"\x01\x02\x00"])
def test_6_2_broken_lists(body: bytes) -> None:
    client = listing()
    client.extensions = {**default_extensions(), CLIENT_TYPE: body}
    assert refused(client) == ("decode_error", [(2, 50)])


def without_raw_public_keys() -> World:
    world = World()
    world.config = replace(world.config, parameters=replace(world.config.parameters, raw_public_keys=False))
    world.endpoint = ServerEndpoint(world.config, counting_random())
    return world


# --- 6.3 the message, possession, and whose key it is ----------------------------------------------------------------


def test_6_3_the_message_is_the_bare_key_without_a_list() -> None:
    # RFC 7250 3: "case RawPublicKey: opaque ASN.1_subjectPublicKeyInfo<1..2^24-1>"
    key = spki(device().key)
    assert RawPublicKey(key).encode() == bytes.fromhex("00005b") + key
    assert RawPublicKey.decode(bytes.fromhex("00005b") + key).public_key == key
    world, client = World(), listing(bytes((RAW,)), bytes((RAW,)))
    world.reach_server_done(client)
    (body,) = (body for message_type, _, body in client.messages if message_type == 11)
    assert body == bytes.fromhex("00005b") + spki(server_identity().key)


def test_6_3_certificate_verify_is_mandatory() -> None:
    # RFC 7250 4.3; the classic of CVE-2022-29222: the key is known, but who sends it does not hold it.
    world, client = World(), listing(bytes((RAW,)), bytes((RAW,)))
    world.reach_server_done(client)
    records = [client.key(), client.client_key_exchange(), client.change_cipher_spec(), client.finished()]
    client.read(world.deliver(*records))
    assert world.completed == []
    assert keys_of(world) == []


def test_6_3_certificate_verify_by_another_key() -> None:
    world, client = World(), listing(bytes((RAW,)), bytes((RAW,)))
    world.reach_server_done(client)
    other = ec.generate_private_key(ec.SECP256R1())
    records = [client.key(), client.client_key_exchange(), client.certificate_verify(key=other)]
    assert alerts(client.read(world.deliver(*records))) == [(2, 51)]
    assert world.reason == "possession_not_proven"
    assert keys_of(world) == []


def test_6_3_refusal_of_the_shell() -> None:
    world, client = World(), listing(bytes((RAW,)), bytes((RAW,)))
    world.verdict = HandshakeError(FailureReason.UNKNOWN_PUBLIC_KEY, "not in the registry")
    world.reach_server_done(client)
    assert alerts(client.read(world.deliver(*client.answer_flight()))) == [(2, 46)]
    (failure,) = world.failures
    assert failure.facts.raw_public_key
    assert failure.facts.public_key == spki(device().key)
    assert world.endpoint.handshakes_in_progress == 0


def test_6_3_no_key_at_all() -> None:
    world, client = World(), listing(bytes((RAW,)), bytes((RAW,)))
    world.reach_server_done(client)
    assert alerts(client.read(world.deliver(client.key(b"")))) == [(2, 40)]
    assert world.reason == "no_certificate"


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP256K1()), ec.generate_private_key(ec.SECP521R1())])
def test_6_3_key_on_another_curve(key: ec.EllipticCurvePrivateKey) -> None:
    world, client = World(), listing(bytes((RAW,)), bytes((RAW,)))
    world.reach_server_done(client)
    assert alerts(client.read(world.deliver(client.key(spki(key))))) == [(2, 43)]
    assert world.reason == "weak_key"


@pytest.mark.parametrize("cut", [1, 26, 27, 60, 90])
def test_6_3_key_that_cannot_be_read(cut: int) -> None:
    world, client = World(), listing(bytes((RAW,)), bytes((RAW,)))
    world.reach_server_done(client)
    assert alerts(client.read(world.deliver(client.key(spki(device().key)[:cut])))) == [(2, 50)]
    assert world.reason == "decode_error"


def test_6_3_point_that_is_not_on_the_curve() -> None:
    world, client = World(), listing(bytes((RAW,)), bytes((RAW,)))
    world.reach_server_done(client)
    assert alerts(client.read(world.deliver(client.key(P256_PREFIX + b"\x04" + bytes(64))))) == [(2, 50)]


# --- 6.4 only what was negotiated ------------------------------------------------------------------------------------


@pytest.mark.parametrize("types", [None, bytes((X509,)), bytes((X509, RAW))])
def test_6_4_bare_key_that_was_not_negotiated(types: bytes | None) -> None:
    # CVE-2026-55960 (wolfSSL): the type of the message was taken from the message.
    world, client = World(), listing(types)
    world.reach_server_done(client)
    assert alerts(client.read(world.deliver(client.key()))) == [(2, 50)]
    assert world.reason == "decode_error"
    assert keys_of(world) == []


def test_6_4_bare_key_dressed_as_a_list_of_certificates() -> None:
    world, client = World(), listing()
    world.reach_server_done(client)
    assert alerts(client.read(world.deliver(client.certificate((spki(device().key),))))) == [(2, 50)]
    assert keys_of(world) == []


def test_6_4_certificate_where_a_bare_key_was_negotiated() -> None:
    world, client = World(), listing(bytes((RAW,)), bytes((RAW,)))
    world.reach_server_done(client)
    assert alerts(client.read(world.deliver(client.certificate(device().chain)))) == [(2, 50)]
    assert not any(isinstance(event, CertificatePresented) for event in world.events)


def test_6_4_certificate_dressed_as_a_bare_key() -> None:
    world, client = World(), listing(bytes((RAW,)), bytes((RAW,)))
    world.reach_server_done(client)
    assert alerts(client.read(world.deliver(client.key(device().chain[0])))) == [(2, 50)]
    assert "RFC 7250" in world.failures[0].detail


# --- our client ------------------------------------------------------------------------------------------------------


def test_6_1_our_client_asks_for_bare_keys_and_presents_one() -> None:
    world, server = raw_pair({CLIENT_TYPE: b"\x02", SERVER_TYPE: b"\x02"})
    assert server.heard is not None
    offered = server.heard.extensions or {}
    assert (offered[CLIENT_TYPE], offered[SERVER_TYPE]) == (b"\x01\x02", b"\x01\x02")
    flight = [server.answer_hello(), server.present()]
    world.answering = False
    world.deliver(*flight, server.share(), server.request(), server.done())
    (question,) = (event for event in world.events if isinstance(event, RawPublicKeyPresented))
    assert question.public_key == spki(server_identity().key)
    world.connection.certificate_verdict(None, world.now)
    server.read(world.collect())
    assert server.client_key == spki(device().key)
    assert server.possession_proven
    assert server.client_finished_verified
    world.deliver(server.change_cipher_spec(), server.finished())
    assert world.connected


def test_6_1_our_client_says_nothing_of_x509_alone() -> None:
    # RFC 7250 4.1: "MUST omit the client_certificate_type extension"
    _, server = raw_pair({}, (X509,), ())
    assert server.heard is not None
    assert not {CLIENT_TYPE, SERVER_TYPE} & (server.heard.extensions or {}).keys()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({SERVER_TYPE: b"\x00"}, "illegal_parameter"),
        ({CLIENT_TYPE: b"\x01"}, "illegal_parameter"),
        ({CLIENT_TYPE: b""}, "decode_error"),
        ({CLIENT_TYPE: b"\x01\x02"}, "decode_error"),
    ],
)
def test_6_2_answers_that_our_client_refuses(answer: dict[int, bytes], reason: str) -> None:
    world, server = raw_pair(answer)
    assert world.refuses(server, server.answer_hello())[0] == reason


def test_6_4_our_client_takes_only_what_was_negotiated() -> None:
    world, server = raw_pair({SERVER_TYPE: b"\x02"})
    assert world.refuses(server, server.answer_hello(), server.present(server_identity().chain))[0] == "decode_error"
    world, server = raw_pair({})
    bare = opaque24(spki(server_identity().key))
    assert world.refuses(server, server.answer_hello(), server.message(11, bare))[0] == "decode_error"


def test_6_3_key_on_p_384() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    world, client = World(), listing(bytes((RAW,)), bytes((RAW,)))
    world.reach_server_done(client)
    records = [client.key(spki(key)), client.client_key_exchange(), client.certificate_verify(key=key, scheme=0x0503)]
    client.read(world.deliver(*records, client.change_cipher_spec(), client.finished()))
    assert client.server_finished_verified
    assert keys_of(world) == [spki(key)]
