"""Our client against a server that breaks the rules of the handshake, one rule at a time."""

from collections.abc import Callable

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gateway.dtls import CertificatePresented, ClientParameters
from tests.dtls.rawclient import HANDSHAKE, Device, handshake, raw_record, sign
from tests.dtls.rawserver import ClientWorld, RawServer, certificate_parameters, own_credential, pair
from tests.dtls.support import alerts, rsa_identity, self_signed, server_identity

# Alerts (RFC 5246 section 7.2) as the server hears them.
UNEXPECTED_MESSAGE, HANDSHAKE_FAILURE, UNSUPPORTED_CERTIFICATE = [(2, 10)], [(2, 40)], [(2, 43)]
ILLEGAL_PARAMETER, DECODE_ERROR, DECRYPT_ERROR, PROTOCOL_VERSION = [(2, 47)], [(2, 50)], [(2, 51)], [(2, 70)]

EXTENDED, RENEGOTIATION = {23: b""}, {0xFF01: b"\x00"}

both = pytest.mark.parametrize("kind", ["psk", "ecdhe_psk", "certificate"])


def at_share() -> tuple[ClientWorld, RawServer]:
    """A certificate handshake that has come to the ServerKeyExchange."""
    world, server = pair("certificate")
    assert world.deliver(server.answer_hello(), server.present()) == []
    return world, server


def before_finished(kind: str) -> tuple[ClientWorld, RawServer]:
    """A handshake in which everything has been said but the server's last flight."""
    world, server = pair(kind)
    server.read(world.deliver(*server.first_flight()))
    assert server.client_finished_verified
    return world, server


# --- ServerHello ------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("version", [0xFEFF, 0x0303, 0xFEFC, 0xFEFE, 0])
def test_version_that_we_did_not_offer(kind: str, version: int) -> None:
    world, server = pair(kind)
    assert world.refuses(server, server.answer_hello(version=version)) == ("protocol_version", PROTOCOL_VERSION)


@both
@pytest.mark.parametrize("suite", [0xC0A4, 0xC02B, 0x00FF, 0x0000, 0x1301])
def test_suite_that_we_did_not_offer(kind: str, suite: int) -> None:
    world, server = pair(kind)
    assert world.refuses(server, server.answer_hello(cipher_suite=suite)) == ("illegal_parameter", ILLEGAL_PARAMETER)


@both
def test_compression(kind: str) -> None:
    world, server = pair(kind)
    refusal = world.refuses(server, server.answer_hello(compression_method=1))
    assert refusal == ("illegal_parameter", ILLEGAL_PARAMETER)


@both
@pytest.mark.parametrize("extension", [0, 35, 54, 22, 0x1234])
def test_extension_that_we_did_not_send(kind: str, extension: int) -> None:
    world, server = pair(kind)
    ((level, _),) = world.refuses(server, server.answer_hello(extensions={extension: b""}))[1]
    assert level == 2


@both
def test_extension_that_we_did_not_send_has_its_own_alert(kind: str) -> None:
    """RFC 5246 section 7.4.1.4: "it MUST abort the handshake with an unsupported_extension fatal alert"."""
    world, server = pair(kind)
    assert world.refuses(server, server.answer_hello(extensions={35: b""}))[1] == [(2, 110)]


@both
def test_extended_master_secret_that_we_did_not_offer(kind: str) -> None:
    world, server = pair(kind, extended_master_secret=False)
    assert server.heard is not None
    assert 23 not in (server.heard.extensions or {})
    ((level, _),) = world.refuses(server, server.answer_hello(extensions=EXTENDED))[1]
    assert level == 2


@both
@pytest.mark.parametrize("value", [b"", b"\x01x", b"\x0c" + bytes(12), b"\x00\x00", b"\x05"])
def test_renegotiation_info_that_is_not_empty(kind: str, value: bytes) -> None:
    """RFC 5746 section 3.4: the client MUST verify its length, and else abort with handshake_failure."""
    world, server = pair(kind)
    assert world.refuses(server, server.answer_hello(extensions={0xFF01: value}))[1] == HANDSHAKE_FAILURE


@both
def test_extended_master_secret_that_is_not_empty(kind: str) -> None:
    """RFC 7627 section 5.1: the extension_data is empty."""
    world, server = pair(kind)
    assert world.refuses(server, server.answer_hello(extensions={23: b"\x00"})) == ("decode_error", DECODE_ERROR)


@both
@pytest.mark.parametrize("extensions", [None, {}, EXTENDED, RENEGOTIATION, EXTENDED | RENEGOTIATION], ids=str)
def test_extensions_that_may_be_missing(kind: str, extensions: dict[int, bytes] | None) -> None:
    world, server = pair(kind)
    server.extensions = extensions
    server.read(world.deliver(*server.first_flight()))
    world.deliver(server.change_cipher_spec(), server.finished())
    assert world.completed.facts.extended_master_secret is (23 in (extensions or {}))


@both
def test_session_id_of_the_server_is_no_matter(kind: str) -> None:
    world, server = pair(kind)
    world.deliver(server.answer_hello(session_id=bytes(32)))
    assert not world.ended


@pytest.mark.parametrize(("seen", "version"), [(b"", 0xFEFF), (b"c" * 255, 0xFEFF), (b"cookie", 0xFEFD)])
@both
def test_cookie(kind: str, seen: bytes, version: int) -> None:
    world, server = pair(kind)
    first = server.heard
    assert first is not None
    answer = world.deliver(server.verify_request(seen))
    server.read(answer)
    second = server.heard
    assert second is not None
    assert (first.cookie, second.cookie) == (b"", seen)
    # RFC 6347 section 4.2.1: the same parameters as before.
    assert (second.random, second.cipher_suites, second.extensions) == (
        first.random,
        first.cipher_suites,
        first.extensions,
    )
    server.read(world.deliver(*server.first_flight()))
    assert server.client_finished_verified
    world.deliver(server.change_cipher_spec(), server.finished())
    assert world.connected


@both
def test_second_cookie(kind: str) -> None:
    """A server whose secret has changed meanwhile asks again (RFC 6347 section 4.2.1)."""
    world, server = pair(kind)
    server.read(world.deliver(server.verify_request(b"old")))
    server.read(world.deliver(server.verify_request(b"new")))
    assert server.heard is not None
    assert server.heard.cookie == b"new"
    server.read(world.deliver(*server.first_flight()))
    assert server.client_finished_verified


# --- PSK --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hint", [None, b"", b"a hint", b"\xff" * 300])
def test_hint(hint: bytes | None) -> None:
    world, server = pair("psk")
    flight = [server.answer_hello()]
    if hint is not None:
        flight.append(server.hint(hint))
    server.read(world.deliver(*flight, server.done()))
    assert server.client_identity == b"dev1"
    assert server.client_finished_verified


@pytest.mark.parametrize("body", [b"", b"\x00", b"\x00\x05hint", b"\x00\x01hint"])
def test_hint_that_is_cut_off(body: bytes) -> None:
    world, server = pair("psk")
    assert world.refuses(server, server.answer_hello(), server.message(12, body)) == ("decode_error", DECODE_ERROR)


def test_server_with_another_key() -> None:
    """The server cannot read our Finished. It may as well invent one of its own."""
    world, server = pair("psk")
    server.psk = b"not the key"
    datagrams = world.deliver(*server.first_flight())
    with pytest.raises(InvalidTag):
        server.read(datagrams)
    assert server.write_keys is not None
    world.deliver(server.change_cipher_spec(), server.finished())
    assert world.failure.reason.value == "finished_mismatch"


# --- Certificate and ServerKeyExchange --------------------------------------------------------------------------------


def test_no_certificate() -> None:
    world, server = pair("certificate")
    refusal = world.refuses(server, server.answer_hello(), server.present(()))
    assert refusal == ("no_certificate", HANDSHAKE_FAILURE)


@pytest.mark.parametrize("body", [b"", b"\x00\x00\x01", b"\x00\x00\x03\x00\x00\x00", b"\x00\x00\x00\x00"])
def test_certificate_message_that_is_broken(body: bytes) -> None:
    world, server = pair("certificate")
    assert world.refuses(server, server.answer_hello(), server.message(11, body)) == ("decode_error", DECODE_ERROR)


def test_certificate_that_is_none() -> None:
    world, server = pair("certificate")
    refusal = world.refuses(server, server.answer_hello(), server.present((b"no DER",)), server.share())
    assert refusal == ("decode_error", DECODE_ERROR)


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP521R1()), rsa.generate_private_key(65537, 1024)])
def test_certificate_with_a_key_that_we_did_not_offer(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    """RFC 8422 section 5.3: the key must be on one of the curves that the client listed."""
    world, server = pair("certificate")
    refusal = world.refuses(server, server.answer_hello(), server.present((self_signed(key, "gw"),)), server.share())
    assert refusal == ("weak_key", UNSUPPORTED_CERTIFICATE)


@pytest.mark.parametrize(("suite", "identity"), [(0xC0AE, rsa_identity), (0xC02F, server_identity)])
def test_certificate_of_the_other_kind_of_suite(suite: int, identity: Callable[[], Device]) -> None:
    """RFC 8422 section 2: the suite says what kind of key the certificate has."""
    world, server = ClientWorld(certificate_parameters(suite)), RawServer(chosen=suite)
    server.read(world.opening)
    flight = [server.answer_hello(), server.present(identity().chain)]
    flight.append(server.share(key=identity().key, scheme=0x0804 if identity is rsa_identity else 0x0403))
    refusal = world.refuses(server, *flight)
    assert refusal == ("illegal_parameter", ILLEGAL_PARAMETER)


WRONG_SIGNATURES: dict[str, Callable[[RawServer], bytes]] = {
    "another key": lambda server: server.share(key=ec.generate_private_key(ec.SECP256R1())),
    "another client's random": lambda server: server.share(signed=bytes(32) + server.server_random + b"\x03\x00\x17"),
    "the point alone": lambda server: server.share(signed=server._public()),
    "nothing": lambda server: server.share(signature=b""),
    "noise": lambda server: server.share(signature=b"\x30\x06\x02\x01\x01\x02\x01\x01"),
    "another digest": lambda server: server.share(scheme=0x0603, signature=signed_with_sha256(server)),
}


def signed_with_sha256(server: RawServer) -> bytes:
    public = server._public()
    parameters = b"\x03\x00\x17" + len(public).to_bytes(1, "big") + public
    signed = server.random + server.server_random + parameters
    return sign(server_identity().key, 0x0403, signed)


@pytest.mark.parametrize("how", WRONG_SIGNATURES)
def test_signature_over_the_share(how: str) -> None:
    """RFC 5246 section 7.2.2: decrypt_error for a signature that does not verify."""
    world, server = at_share()
    assert world.refuses(server, WRONG_SIGNATURES[how](server)) == ("possession_not_proven", DECRYPT_ERROR)


@pytest.mark.parametrize("scheme", [0x0203, 0x0401, 0x0804, 0x0807, 0])
def test_signature_scheme_that_we_did_not_offer(scheme: int) -> None:
    world, server = at_share()
    assert world.refuses(server, server.share(scheme=scheme)) == ("illegal_parameter", ILLEGAL_PARAMETER)


@pytest.mark.parametrize("scheme", [0x0403, 0x0503, 0x0603])
@pytest.mark.parametrize("group", [23, 29])
def test_share_as_it_should_be(scheme: int, group: int) -> None:
    world, server = at_share()
    server.group = group
    server.read(world.deliver(server.share(scheme=scheme), server.done()))
    assert server.client_finished_verified


@pytest.mark.parametrize("group", [25, 30, 256, 1])
def test_group_that_we_did_not_offer(group: int) -> None:
    world, server = at_share()
    assert world.refuses(server, server.share(group=group)) == ("illegal_parameter", ILLEGAL_PARAMETER)


def test_group_that_we_know_and_did_not_offer() -> None:
    world, server = pair("certificate", groups=(23,))
    server.group = 29
    refusal = world.refuses(server, server.answer_hello(), server.present(), server.share())
    assert refusal == ("illegal_parameter", ILLEGAL_PARAMETER)


# RFC 8422 sections 5.4.1, 5.10, 5.11: only uncompressed points that are on the curve; no all-zero secret.
BAD_POINTS = {
    "not on the curve": (23, b"\x04" + bytes(63) + b"\x01"),
    "at infinity": (23, b"\x00"),
    "too short": (23, b"\x04" + bytes(31)),
    "compressed": (23, b"\x02" + bytes.fromhex("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296")),
    "of order 1": (29, bytes(32)),
    "of order 8": (29, bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")),
    "x25519, 31 bytes": (29, b"\x09" + bytes(30)),
    "x25519, 33 bytes": (29, b"\x09" + bytes(32)),
}


@pytest.mark.parametrize("name", BAD_POINTS)
def test_point(name: str) -> None:
    group, point = BAD_POINTS[name]
    world, server = at_share()
    refusal = world.refuses(server, server.share(group=group, public=point), server.done())
    assert refusal == ("illegal_parameter", ILLEGAL_PARAMETER)


@pytest.mark.parametrize(
    "body", [b"", b"\x03", b"\x01\x00\x17\x01x", b"\x03\x00\x17\x00", b"\x03\x00\x17\x01x\x04\x03"]
)
def test_share_that_is_broken(body: bytes) -> None:
    world, server = at_share()
    assert world.refuses(server, server.message(12, body)) == ("decode_error", DECODE_ERROR)


# --- CertificateRequest and ServerHelloDone ---------------------------------------------------------------------------


def test_nobody_asks_for_our_certificate() -> None:
    world, server = at_share()
    server.read(world.deliver(server.share(), server.done()))
    assert [message[0] for message in server.messages] == [1, 16, 20]
    assert server.client_finished_verified


@pytest.mark.parametrize(
    ("schemes", "chosen"),
    [((0x0403,), 0x0403), ((0x0401, 0x0603, 0x0503), 0x0503), ((0x0603,), 0x0603), ((0x0804, 0x0403), 0x0403)],
)
def test_scheme_of_our_signature(schemes: tuple[int, ...], chosen: int) -> None:
    world, server = at_share()
    server.read(world.deliver(server.share(), server.request(schemes), server.done()))
    assert [message[0] for message in server.messages] == [1, 11, 16, 15, 20]
    assert server.client_chain == own_credential().chain
    assert (server.possession_proven, server.signature_scheme) == (True, chosen)
    assert server.client_finished_verified


@pytest.mark.parametrize(
    ("schemes", "types"),
    [((0x0401, 0x0804), b"\x40"), ((0x0807,), b"\x40"), ((0x0403,), b"\x01"), ((0x0403,), b"\x01\x02")],
)
def test_request_that_we_cannot_meet(schemes: tuple[int, ...], types: bytes) -> None:
    """RFC 5246 section 7.4.6: no suitable certificate, so a Certificate message with none, and no signature."""
    world, server = at_share()
    server.read(world.deliver(server.share(), server.request(schemes, types), server.done()))
    assert [message[0] for message in server.messages] == [1, 11, 16, 20]
    assert server.client_chain == ()
    assert server.client_finished_verified


def test_request_to_a_client_without_a_certificate() -> None:
    world, server = pair("certificate", credential=None)
    server.read(world.deliver(*server.first_flight()))
    assert [message[0] for message in server.messages] == [1, 11, 16, 20]
    assert server.client_chain == ()
    assert server.client_finished_verified


@pytest.mark.parametrize("body", [b"", b"\x01\x40", b"\x00\x00\x02\x04\x03\x00\x00", b"\x01\x40\x00\x02\x04\x03"])
def test_request_that_is_broken(body: bytes) -> None:
    world, server = at_share()
    assert world.refuses(server, server.share(), server.message(13, body)) == ("decode_error", DECODE_ERROR)


@pytest.mark.parametrize("step", ["after the hello", "after the hint", "after the share", "after the request"])
def test_done_with_something_in_it(step: str) -> None:
    """RFC 5246 section 7.4.5: struct { } ServerHelloDone."""
    world, server = pair("psk") if step in ("after the hello", "after the hint") else at_share()
    before = {
        "after the hello": lambda: [server.answer_hello()],
        "after the hint": lambda: [server.answer_hello(), server.hint()],
        "after the share": lambda: [server.share()],
        "after the request": lambda: [server.share(), server.request()],
    }[step]()
    assert world.refuses(server, *before, server.done(b"x")) == ("decode_error", DECODE_ERROR)
    assert not [event for event in world.events if isinstance(event, CertificatePresented)]


# --- ChangeCipherSpec and Finished ------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("verify_data", [bytes(12), b"", b"\x00" * 11, b"\x00" * 13])
def test_finished_that_is_wrong(kind: str, verify_data: bytes) -> None:
    world, server = before_finished(kind)
    world.deliver(server.change_cipher_spec(), server.finished(verify_data=verify_data))
    assert (world.failure.reason.value, world.failure.alert) == ("finished_mismatch", "decrypt_error")


@both
def test_alert_after_our_change_cipher_spec_is_protected(kind: str) -> None:
    """RFC 5246 section 7.2: as the current write state says, and that is epoch 1 since our ChangeCipherSpec."""
    world, server = before_finished(kind)
    answer = world.deliver(server.change_cipher_spec(), server.finished(verify_data=bytes(12)))
    (record,) = server.read(answer)
    assert (record.content_type, record.epoch, record.content) == (21, 1, b"\x02\x33")


@both
def test_finished_of_our_own(kind: str) -> None:
    """The labels differ so that nobody can reflect a Finished (RFC 5246 section 7.4.9)."""
    world, server = before_finished(kind)
    ours = next(body for message_type, _, body in server.messages if message_type == 20)
    world.deliver(server.change_cipher_spec(), server.finished(verify_data=ours))
    assert world.failure.reason.value == "finished_mismatch"


@both
def test_finished_in_epoch_0(kind: str) -> None:
    """Before ChangeCipherSpec it has no business here; after it, epoch 0 has no say."""
    world, server = before_finished(kind)
    plain = server.finished(epoch=0)
    early, _ = before_finished(kind)
    early.deliver(plain)
    assert early.failure.reason.value == "unexpected_message"
    world.deliver(server.change_cipher_spec(), plain)
    assert world.drops() == {"old_epoch": 1}
    assert not world.ended


@both
def test_finished_without_change_cipher_spec(kind: str) -> None:
    world, server = before_finished(kind)
    assert world.deliver(server.finished()) == []
    assert not world.ended
    # It was kept: the two may have been reordered on their way.
    world.deliver(server.change_cipher_spec())
    assert world.connected


@both
@pytest.mark.parametrize("content", [b"", b"\x00", b"\x02", b"\x01\x01"])
def test_change_cipher_spec_that_is_none(kind: str, content: bytes) -> None:
    world, server = before_finished(kind)
    world.deliver(server.record(20, content), server.finished())
    assert not world.ended
    assert world.drops() == {"malformed": 1}


@both
def test_second_change_cipher_spec(kind: str) -> None:
    world, server = before_finished(kind)
    world.deliver(server.change_cipher_spec(), server.change_cipher_spec())
    assert world.drops() == {"unexpected": 1}
    world.deliver(server.finished())
    assert world.connected


@both
def test_data_before_finished(kind: str) -> None:
    """Nothing is known to be the server's before its Finished has verified."""
    world, server = before_finished(kind)
    world.deliver(server.change_cipher_spec(), server.data(b"too early"))
    assert world.data == []
    assert world.drops() == {"unexpected": 1}
    world.deliver(server.finished())
    assert world.connected


@both
def test_plain_data(kind: str) -> None:
    world, server = pair(kind)
    world.deliver(server.record(23, b"in the clear"))
    assert world.data == []
    assert world.drops() == {"epoch_zero_data": 1}
    assert not world.ended


@both
def test_protected_record_that_does_not_open(kind: str) -> None:
    world, server = before_finished(kind)
    spoilt = bytearray(server.finished())
    spoilt[-1] ^= 1
    world.deliver(server.change_cipher_spec(), bytes(spoilt))
    assert world.failure.reason.value == "finished_mismatch"


# --- what is no record, no fragment, no message -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", "malformed"),
        (b"\x16\xfe\xfd", "malformed"),
        (raw_record(HANDSHAKE, 1, b""), "malformed"),
        (raw_record(HANDSHAKE, 1, b"\x02\x00\x00"), "malformed"),
        (raw_record(HANDSHAKE, 1, handshake(2, 0, b"x" * 9, 5, 9)[:-1] + b""), "malformed"),
        (raw_record(99, 1, b"what"), "unexpected"),
        (raw_record(21, 1, b"\x02"), "malformed"),
        (raw_record(HANDSHAKE, 2 << 48, b"what"), "future_epoch"),
        (raw_record(HANDSHAKE, 1, handshake(2, 5000, b"x")), "buffer_full"),
    ],
)
@both
def test_noise_does_not_stop_the_handshake(kind: str, datagram: bytes, reason: str) -> None:
    world, server = pair(kind)
    assert world.deliver(datagram) == []
    assert world.drops() == {reason: 1}
    server.read(world.deliver(*server.first_flight()))
    assert server.client_finished_verified


@both
def test_hello_that_is_broken(kind: str) -> None:
    world, server = pair(kind)
    assert world.refuses(server, server.message(2, b"\xfe\xfd")) == ("decode_error", DECODE_ERROR)


def test_message_that_is_too_large() -> None:
    world, server = pair("psk")
    giant = handshake(2, 0, b"")[:1] + b"\x7f\xff\xff" + handshake(2, 0, b"x")[4:]
    answer = world.deliver(raw_record(HANDSHAKE, 1, giant))
    assert alerts(server.read(answer)) == HANDSHAKE_FAILURE
    assert world.failure.reason.value == "handshake_too_large"


def test_offers_are_what_is_configured() -> None:
    server = RawServer()
    extra = ((0x1234, b"extra"),)
    suites = (0xC0A8, 0xC0A4, 0x00A8)
    parameters = ClientParameters(
        suites, psk_identity=b"dev1", psk=b"key", server_name="gw.example", extra_extensions=extra
    )
    server.read(ClientWorld(parameters).opening)
    assert server.heard is not None
    extensions = server.heard.extensions or {}
    assert server.heard.cipher_suites == (0xC0A8, 0xC0A4, 0x00A8)
    assert extensions[0] == b"\x00\x0d\x00\x00\x0agw.example"  # RFC 6066 section 3
    assert extensions[0x1234] == b"extra"
    # RFC 8422 section 4: these are only for who proposes ECC suites.
    assert not {10, 11, 13} & extensions.keys()
    server = RawServer()
    server.read(ClientWorld(certificate_parameters(groups=(29, 23))).opening)
    assert server.heard is not None
    extensions = server.heard.extensions or {}
    assert extensions[10] == b"\x00\x04\x00\x1d\x00\x17"
    assert extensions[11] == b"\x01\x00"
