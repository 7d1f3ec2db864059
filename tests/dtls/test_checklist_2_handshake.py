"""Checklist section 2: what a server must enforce of the TLS 1.2 handshake (RFC 5246)."""

import hmac
import itertools
from collections.abc import Callable

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.dtls.messages import extensions as ext
from gateway.dtls.messages.certificate import CertificateRequest
from tests.dtls.rawclient import (
    HANDSHAKE,
    RawClient,
    certificate_key,
    default_extensions,
    handshake,
    raw_record,
    without,
)
from tests.dtls.support import CLIENT, World, alerts, certificate_client, counting_random, device

FATAL = 2
UNEXPECTED_MESSAGE, HANDSHAKE_FAILURE, ILLEGAL_PARAMETER, DECODE_ERROR = 10, 40, 47, 50
DECRYPT_ERROR, PROTOCOL_VERSION, NO_RENEGOTIATION = 51, 70, 100


def refusal(world: World, client: RawClient, *datagrams: bytes) -> int:
    """The description of the one fatal alert that these bring, after which nothing is left of the handshake."""
    records = client.read(world.deliver(*datagrams))
    ((level, description),) = alerts(records)
    assert level == FATAL
    assert world.endpoint.handshakes_in_progress == 0
    assert world.completed == []
    assert len(world.failures) == 1
    return description


def refused_hello(client: RawClient, world: World | None = None, change: Callable[[bytes], bytes] = bytes) -> int:
    """The alert for a second ClientHello whose body was changed behind the part that the cookie covers."""
    world = world or World()
    client.read(world.deliver(client.hello()))
    body = change(client.hello_body())
    return refusal(world, client, client.record(HANDSHAKE, handshake(1, 1, body)))


def with_extension(number: int, body: bytes) -> dict[int, bytes]:
    return {**default_extensions(), number: body}


# --- 2.1 to 2.6 hello ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0xFEFD, 0xFEFC, 0xFEFB, 0xFE00])
def test_2_1_version_1_2_is_chosen_for_clients_that_speak_it_or_later(version: int) -> None:
    # RFC 5246 7.4.1.3 and E.1; RFC 6347 4.1: the numbers count down, so a later version is a smaller number.
    world, client = World(), RawClient(version=version)
    world.connect(client)
    assert client.server_hello is not None
    assert client.server_hello.version == 0xFEFD


@pytest.mark.parametrize("version", [0xFEFF, 0xFEFE, 0x0303, 0xFFFF, 0x0100])
def test_2_1_earlier_version_gets_protocol_version(version: int) -> None:
    # RFC 5246 E.1: "If server supports (or is willing to use) only versions greater than client_version, the server
    # MUST send a "protocol_version" alert message and close the connection."
    assert refused_hello(RawClient(version=version)) == PROTOCOL_VERSION


def test_2_2_unknown_suites_extensions_groups_and_algorithms_are_ignored() -> None:
    extensions = {
        **default_extensions(),
        10: ext.encode_u16_list((0xFAFA, 25, 23)),
        13: ext.encode_u16_list((0xFAFA, 0x0809, 0x0403)),
        0xFAFA: b"grease",
        5: bytes(5),
        22: b"",
        28: b"\x40\x00",
        35: b"",
        53: b"\x00",
        60: b"\x00",
    }
    world = World()
    client = RawClient(suites=(0xFAFA, 0x1301, 0xC0AE, 0x5600), device=device(), extensions=extensions)
    world.connect(client)
    assert client.server_hello is not None
    # RFC 5246 7.4.1.4: nothing but what was offered, and of that nothing which we do not do.
    assert set(client.server_hello.extensions or {}) == {23, 0xFF01, 11, 28}


def test_2_2_extension_that_comes_twice() -> None:
    def twice(body: bytes) -> bytes:
        return body[:-2] + b"\x00\x08" + b"\x00\x17\x00\x00" * 2

    alert = refused_hello(RawClient(extensions={}), change=twice)
    assert alert in (DECODE_ERROR, ILLEGAL_PARAMETER)


@pytest.mark.parametrize("tail", [b"\x00", b"\x00\x00\x00\x00"])
def test_2_2_bytes_after_the_extensions(tail: bytes) -> None:
    assert refused_hello(RawClient(), change=lambda body: body + tail) == DECODE_ERROR


@pytest.mark.parametrize(
    ("number", "body"),
    [(10, b"\x00\x03\x00\x17\x00"), (13, b"\x00"), (11, b"\x05\x00"), (0, b"\x00\x00"), (23, b"\x00"), (0xFF01, b"")],
)
def test_2_2_extension_with_a_broken_body(number: int, body: bytes) -> None:
    client = certificate_client()
    client.extensions = with_extension(number, body)
    assert refused_hello(client) == DECODE_ERROR


@pytest.mark.parametrize("extensions", [None, {}])
def test_2_2_no_extensions_at_all_is_legal(extensions: dict[int, bytes] | None) -> None:
    # node-dtls-client sends none; RFC 5246 7.4.1.2: "the presence of extensions can be detected by determining whether
    # there are bytes following the compression_methods".
    world, client = World(), RawClient(extensions=extensions)
    world.connect(client)
    assert client.server_hello is not None
    assert client.server_hello.extensions is None


@pytest.mark.parametrize("methods", [b"\x00", b"\x01\x00", b"\x00\x40\x01"])
def test_2_3_null_compression_is_chosen(methods: bytes) -> None:
    world, client = World(), RawClient(compression=methods)
    world.connect(client)
    assert client.server_hello is not None
    assert client.server_hello.compression_method == 0


def test_2_3_list_without_null_compression_is_refused() -> None:
    # RFC 5246 7.4.1.2: "This vector MUST contain, and all implementations MUST support, CompressionMethod.null."
    assert refused_hello(RawClient(compression=b"\x01\x40")) == ILLEGAL_PARAMETER


HELLO_START = b"\xfe\xfd" + bytes(32)


@pytest.mark.parametrize(
    "body",
    [
        HELLO_START + b"\x21" + bytes(33) + b"\x00\x00\x02\xc0\xa8\x01\x00",
        HELLO_START + b"\x00\x00" + b"\x00\x03\xc0\xa8\xc0" + b"\x01\x00",
        HELLO_START + b"\x00\x00" + b"\x00\x00" + b"\x01\x00",
        HELLO_START + b"\x00\x00" + b"\x00\x02\xc0\xa8" + b"\x00",
    ],
    ids=["session id of 33", "odd suites", "no suite", "no compression method"],
)
def test_2_4_vectors_of_a_hello_outside_of_their_bounds(body: bytes) -> None:
    world = World()
    assert world.deliver(raw_record(HANDSHAKE, 0, handshake(1, 0, body))) == []
    assert world.drops() == {"malformed": 1}


def test_2_4_longest_session_id_is_accepted_and_not_echoed() -> None:
    # RFC 5246 7.4.1.3: an empty session_id says that the session will not be cached.
    world, client = World(), RawClient(session_id=b"s" * 32)
    world.connect(client)
    assert client.server_hello is not None
    assert client.server_hello.session_id == b""


def test_2_5_server_random_is_32_fresh_bytes_of_the_generator() -> None:
    drawn: list[bytes] = []
    source = counting_random()

    def random(count: int) -> bytes:
        drawn.append(source(count))
        return drawn[-1]

    world = World(random=random)
    for number in range(20):
        client = RawClient(random=bytes((number,)) * 32)
        world.connect(client, ("192.0.2.1", number))
        assert client.server_hello is not None
        assert len(client.server_hello.random) == 32
        assert client.server_hello.random == drawn[-1]
    assert len(set(drawn)) == 20


def test_2_6_without_signature_algorithms_no_sha_1_but_handshake_failure() -> None:
    # RFC 5246 7.4.1.4.1: the default would be {sha1,ecdsa}, which RFC 9155 forbids.
    client = certificate_client()
    client.extensions = without(13)
    assert refused_hello(client) == HANDSHAKE_FAILURE


def test_2_6_psk_needs_no_signature_algorithms() -> None:
    World().connect(RawClient(extensions=without(13)))


def test_2_6_psk_is_taken_where_the_certificate_suite_lacks_an_algorithm() -> None:
    world, client = World(suites=(0xC0AE, 0xC0A8)), RawClient(suites=(0xC0AE, 0xC0A8), extensions=without(13))
    world.connect(client)
    assert client.suite == 0xC0A8


# --- 2.7 to 2.9 certificates -----------------------------------------------------------------------------------------

HASHES: dict[int, hashes.HashAlgorithm] = {0x0403: hashes.SHA256(), 0x0503: hashes.SHA384(), 0x0603: hashes.SHA512()}


@pytest.mark.parametrize(
    ("listed", "chosen"),
    [
        ((0x0403,), 0x0403),
        ((0x0503,), 0x0503),
        ((0x0603,), 0x0603),
        ((0x0203, 0x0603), 0x0603),
        ((0x0401, 0x0804, 0x0403), 0x0403),
    ],
)
def test_2_7_key_exchange_is_signed_with_a_listed_pair_over_randoms_and_parameters(
    listed: tuple[int, ...], chosen: int
) -> None:
    # RFC 5246 7.4.3, RFC 8422 5.4
    world, client = World(), certificate_client()
    client.extensions = with_extension(13, ext.encode_u16_list(listed))
    world.reach_server_done(client)
    assert client.server_hello is not None
    assert client.server_key_exchange is not None
    signed = client.server_key_exchange.signed
    assert signed.scheme == chosen
    parameters = client.server_key_exchange.parameters
    content = (
        client.random
        + client.server_hello.random
        + b"\x03"
        + parameters.group.to_bytes(2, "big")
        + bytes((len(parameters.public),))
        + parameters.public
    )
    key = certificate_key(client.server_chain[0])
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(signed.signature, content, ec.ECDSA(HASHES[chosen]))
    with pytest.raises(InvalidSignature):
        key.verify(signed.signature, content + b"x", ec.ECDSA(HASHES[chosen]))


@pytest.mark.parametrize("listed", [(0x0203,), (0x0401, 0x0501), (0x0807,), (0xFAFA,)])
def test_2_7_no_common_pair_is_handshake_failure(listed: tuple[int, ...]) -> None:
    client = certificate_client()
    client.extensions = with_extension(13, ext.encode_u16_list(listed))
    assert refused_hello(client) == HANDSHAKE_FAILURE


def test_2_8_certificate_request() -> None:
    # RFC 5246 7.4.4; RFC 8422 5.5: ecdsa_sign is 64, for Ed25519 too. No SHA-1 and no RSA, as no such certificate is
    # taken.
    world, client = World(), certificate_client()
    world.reach_server_done(client)
    (body,) = (body for message_type, _, body in client.messages if message_type == 13)
    assert CertificateRequest.decode(body) == CertificateRequest(b"\x40", (0x0403, 0x0503, 0x0603, 0x0807), ())


def test_2_9_empty_certificate_is_handshake_failure() -> None:
    world, client = World(), certificate_client()
    world.reach_server_done(client)
    assert refusal(world, client, client.certificate(())) == HANDSHAKE_FAILURE
    assert world.reason == "no_certificate"


def test_2_9_certificate_without_certificate_verify() -> None:
    world, client = World(), certificate_client()
    world.reach_server_done(client)
    world.deliver(client.certificate(), client.client_key_exchange(), client.change_cipher_spec(), client.finished())
    assert (world.completed, world.failures) == ([], [])
    world.advance(121.0)
    assert world.reason == "timeout"


def test_2_9_certificate_verify_before_key_exchange() -> None:
    # CVE-2026-2645
    world, client = World(), certificate_client()
    world.reach_server_done(client)
    assert refusal(world, client, client.certificate(), client.certificate_verify()) == UNEXPECTED_MESSAGE


@pytest.mark.parametrize("scheme", [0x0403, 0x0503, 0x0603])
def test_2_9_certificate_verify_with_any_offered_scheme(scheme: int) -> None:
    world, client = World(), certificate_client()
    world.reach_server_done(client)
    flight = [client.certificate(), client.client_key_exchange(), client.certificate_verify(scheme=scheme)]
    client.read(world.deliver(*flight, client.change_cipher_spec(), client.finished()))
    assert client.server_finished_verified


@pytest.mark.parametrize("scheme", [0x0203, 0x0401, 0x0804, 0x0807, 0x0000])
def test_2_9_certificate_verify_with_a_scheme_that_was_not_offered(scheme: int) -> None:
    # CVE-2022-25638. RFC 5246 7.4.8: "the hash and signature algorithms used in the signature MUST be one of those
    # present in the supported_signature_algorithms field of the CertificateRequest message."
    world, client = World(), certificate_client()
    world.reach_server_done(client)
    world.deliver(client.certificate(), client.client_key_exchange())
    assert refusal(world, client, client.certificate_verify(scheme=scheme)) == ILLEGAL_PARAMETER


def test_2_9_certificate_verify_over_anything_but_the_transcript() -> None:
    # RFC 5246 7.4.8: "all handshake messages sent or received, starting at client hello and up to, but not including,
    # this message"
    for cut in (slice(1, None), slice(None, -1), slice(0, 0)):
        world, client = World(), certificate_client()
        world.reach_server_done(client)
        world.deliver(client.certificate(), client.client_key_exchange())
        content = b"".join(client.transcript[cut])
        assert refusal(world, client, client.certificate_verify(content=content)) == DECRYPT_ERROR
        assert world.reason == "possession_not_proven"


def test_2_9_nobody_is_asked_about_a_chain_before_possession_is_proven() -> None:
    world, client = World(), certificate_client()
    world.answering = False
    world.reach_server_done(client)
    world.deliver(client.certificate(), client.client_key_exchange())
    assert world.events == []
    world.deliver(client.certificate_verify())
    assert len(world.events) == 1


# --- 2.10 to 2.14 order, Finished, renegotiation, sizes --------------------------------------------------------------


def _orders(count: int) -> list[tuple[int, ...]]:
    return [order for order in itertools.permutations(range(count)) if order != tuple(range(count))]


@pytest.mark.parametrize("order", _orders(3))
def test_2_10_messages_of_the_client_in_any_other_order(order: tuple[int, ...]) -> None:
    # RFC 5246 7.3. The numbers say that the client sent them in this order: nothing was reordered on the way.
    world, client = World(), certificate_client()
    world.reach_server_done(client)
    messages: list[Callable[[], bytes]] = [client.certificate, client.client_key_exchange, client.certificate_verify]
    answers = [world.deliver(messages[index]()) for index in order]
    assert alerts(client.read([datagram for answer in answers for datagram in answer])) == [(FATAL, UNEXPECTED_MESSAGE)]
    assert world.reason == "unexpected_message"


def test_2_10_message_left_out() -> None:
    world, client = World(), certificate_client()
    world.reach_server_done(client)
    assert refusal(world, client, client.client_key_exchange()) == UNEXPECTED_MESSAGE


def test_2_10_certificate_in_a_psk_handshake() -> None:
    world = World()
    client = RawClient(device=device())
    world.reach_server_done(client)
    assert refusal(world, client, client.certificate()) == UNEXPECTED_MESSAGE


@pytest.mark.parametrize("bit", [0, 7, 50, 95])
def test_2_11_finished_with_a_wrong_bit(bit: int) -> None:
    for client in (RawClient(), certificate_client()):
        world = World()
        world.reach_server_done(client)
        *before, _ = client.answer_flight()
        client.next_seq -= 1
        client.next_number[1] = 0
        wrong = bytearray(client.transcript.pop()[12:])
        wrong[bit // 8] ^= 1 << (bit % 8)
        assert refusal(world, client, *before, client.finished(verify_data=bytes(wrong))) == DECRYPT_ERROR
        assert world.endpoint.associations == {}


@pytest.mark.parametrize("length", [0, 1, 11, 13, 48])
def test_2_12_finished_has_twelve_bytes(length: int) -> None:
    # RFC 5246 7.4.9
    world, client = World(), RawClient()
    world.reach_server_done(client)
    exchange, ccs = client.client_key_exchange(), client.change_cipher_spec()
    right = client.finished()[13:]
    assert len(right) == 8 + 12 + 12 + 8
    client.next_seq -= 1
    client.transcript.pop()
    client.next_number[1] = 0
    finished = client.finished(verify_data=bytes(length))
    assert refusal(world, client, exchange, ccs, finished) in (DECRYPT_ERROR, DECODE_ERROR)


def test_2_11_finished_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def spy(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    world, client = World(), RawClient()
    world.reach_server_done(client)
    flight = client.answer_flight()
    monkeypatch.setattr(hmac, "compare_digest", spy)
    world.deliver(*flight)
    verify_data = client.transcript[-1][12:]
    assert (verify_data, verify_data) in compared


def test_2_11_no_data_is_delivered_before_finished() -> None:
    for client in (RawClient(), certificate_client()):
        world = World()
        world.reach_server_done(client)
        *before, finished = client.answer_flight()
        world.deliver(*before, client.data(b"early"))
        assert world.data == []
        client.read(world.deliver(finished))
        assert client.server_finished_verified
        assert world.data == []


@pytest.mark.parametrize("resumed_random", [bytes(range(100, 132)), b"other" * 6 + b"!!"])
def test_2_13_renegotiation_is_refused_and_the_connection_kept(resumed_random: bytes) -> None:
    # RFC 5246 7.2.2: no_renegotiation is always a warning.
    world, client = World(), RawClient()
    association = world.connect(client)
    body = RawClient(random=resumed_random).hello_body()
    answers = client.read(world.deliver(client.record(HANDSHAKE, handshake(1, client.next_seq, body), 1)))
    assert alerts(answers) == [(1, NO_RENEGOTIATION)]
    assert [record.epoch for record in answers] == [1]
    assert world.endpoint.handshakes_in_progress == 0
    assert world.endpoint.associations == {CLIENT: association}
    world.deliver(client.data(b"unharmed"))
    assert world.data == [b"unharmed"]


def test_2_14_plaintext_of_2_to_the_14_is_taken_and_one_byte_more_is_not() -> None:
    # RFC 5246 6.2.1: "The length MUST NOT exceed 2^14."
    for suite in (0xC0A8, 0x00A8):
        world, client = World(), RawClient(suites=(suite,))
        association = world.connect(client)
        world.deliver(client.data(bytes(1 << 14)))
        assert world.data == [bytes(1 << 14)]
        longer = client.data(bytes((1 << 14) + 1))
        assert association.open_application(longer) is None
        assert world.deliver(longer) == []
        assert len(world.data) == 1
        assert world.drops() == {"malformed": 1}


def test_2_14_plain_record_of_more_than_2_to_the_14_bytes_is_dropped() -> None:
    world, client = World(), certificate_client()
    world.reach_server_done(client)
    many = b"".join(handshake(11, 2, bytes(4000), start, start + 1) for start in range(1261))
    assert len(many) > 1 << 14
    assert world.deliver(raw_record(HANDSHAKE, 90, many)) == []
    assert world.drops() == {"malformed": 1}


def test_2_14_empty_application_data_is_delivered() -> None:
    world, client = World(), RawClient()
    world.connect(client)
    world.deliver(client.data(b""))
    assert world.data == [b""]
