"""Checklist 1.15, 4.3, 4.7 and 5.11 to 5.16: sizes of records and datagrams, and the extensions beside them."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dtls import ApiMisuse, Association, Credential, ServerEndpoint, SigningKey
from gateway.dtls.handshake.flight import Sealer
from gateway.dtls.limits import FALLBACK_DATAGRAM_PAYLOADS, MAX_PLAINTEXT, MIN_DATAGRAM_PAYLOAD
from gateway.dtls.messages import extensions as ext
from gateway.dtls.messages.certificate import Certificate
from gateway.dtls.sizes import MAX_FRAGMENT_LENGTHS, UNLIMITED, RecordSizes
from tests.dtls.rawclient import HANDSHAKE, RawClient, default_extensions, raw_record, split
from tests.dtls.rawserver import pair
from tests.dtls.stages import records
from tests.dtls.support import World, alerts, certificate_client, counting_random, server_identity

MFL, RSL = 1, 28
ILLEGAL_PARAMETER, DECODE_ERROR = [(2, 47)], [(2, 50)]
CODES = {1: 512, 2: 1024, 3: 2048, 4: 4096}  # RFC 6066 section 4


def client_with(extensions: dict[int, bytes], *, certificate: bool = False) -> RawClient:
    client = certificate_client() if certificate else RawClient()
    client.extensions = {**default_extensions(), **extensions}
    return client


def world_with_chain(certificates: int, datagram_limit: int = 1232) -> World:
    """A server whose Certificate message is long."""
    world, identity = World(datagram_limit=datagram_limit), server_identity()
    long = Credential(identity.chain * certificates, SigningKey(identity.key))
    world.config = replace(world.config, parameters=replace(world.config.parameters, credential=long))
    world.endpoint = ServerEndpoint(world.config, counting_random())
    return world


def answered(client: RawClient) -> dict[int, bytes]:
    assert client.server_hello is not None
    return client.server_hello.extensions or {}


def refusal(client: RawClient) -> tuple[str, list[tuple[int, int]]]:
    """Why the hello is refused, and the alert."""
    world = World()
    client.read(world.deliver(client.hello()))
    heard = alerts(client.read(world.deliver(client.hello())))
    return world.reason, heard


def size_of(contents: list[bytes]) -> int:
    return max(map(len, contents))


# --- 5.12, 4.3 max_fragment_length -----------------------------------------------------------------------------------


@pytest.mark.parametrize("certificate", [False, True])
@pytest.mark.parametrize("code", CODES)
def test_5_12_max_fragment_length_is_echoed(code: int, certificate: bool) -> None:
    # RFC 6066 4: servers "MAY accept ... by including an extension of type max_fragment_length in the (extended) server
    # hello ... MUST be the same as the requested maximum fragment length". 4.3: RFC 7925 section 15 wants it.
    world, client = World(), client_with({MFL: bytes((code,))}, certificate=certificate)
    world.connect(client)
    assert answered(client)[MFL] == bytes((code,))


def test_5_12_what_the_codes_mean() -> None:
    assert tuple(CODES.values()) == MAX_FRAGMENT_LENGTHS


@pytest.mark.parametrize("code", CODES)
def test_5_12_handshake_records_keep_to_the_length_from_the_server_hello_on(code: int) -> None:
    world = world_with_chain(8, datagram_limit=20_000)
    client = client_with({MFL: bytes((code,))}, certificate=True)
    flight = world.reach_server_done(client)
    contents = [content for datagram in flight for _, _, _, content in split(datagram)]
    whole = len(client.messages[2][2]) + 12  # Certificate, in one fragment
    assert size_of(contents) == min(CODES[code], whole)
    # Cut where they have to be and nowhere else: all but a message's last fragment are full.
    for content, following in pairwise(contents):
        if int.from_bytes(following[6:9], "big"):
            assert len(content) == CODES[code]
    client.read(world.deliver(*client.answer_flight()))
    assert client.server_finished_verified


@settings(max_examples=60, deadline=None)
@given(limit=st.integers(MIN_DATAGRAM_PAYLOAD, 3000), code=st.sampled_from([None, *CODES]))
def test_1_15_and_5_12_fragments_are_as_large_as_record_and_datagram_allow(limit: int, code: int | None) -> None:
    """A fragment that could have been larger counts as a fault, at any MTU."""
    world = world_with_chain(5, datagram_limit=limit)
    client = client_with({} if code is None else {MFL: bytes((code,))}, certificate=True)
    flight = world.reach_server_done(client)
    most = MAX_PLAINTEXT if code is None else CODES[code]
    assert size_of(flight) <= limit
    for datagram, following in pairwise(flight):
        offset = int.from_bytes(split(following)[0][3][6:9], "big")
        free = limit - len(datagram)
        # Full to the last byte; else the next fragment begins a message or a record, and not one byte of it fitted.
        assert free == 0 or free < 13 + 12 + 1
        if offset and len(split(datagram)[-1][3]) < most:
            assert free == 0
    for datagram in flight:
        for (_, _, _, content), (_, _, _, after) in pairwise(split(datagram)):
            assert len(content) <= most
            if int.from_bytes(after[6:9], "big"):  # cut inside a datagram: only the record's limit may do that
                assert len(content) == most
    client.read(world.deliver(*client.answer_flight()))
    assert client.server_finished_verified


@pytest.mark.parametrize("body", [b"\x00", b"\x05", b"\x06", b"\xff"])
def test_5_12_value_outside_1_to_4_is_illegal(body: bytes) -> None:
    # RFC 6066 4: "If a server receives a maximum fragment length negotiation request for a value other than the
    # allowed values, it MUST abort the handshake with an "illegal_parameter" alert."
    assert refusal(client_with({MFL: body})) == ("illegal_parameter", ILLEGAL_PARAMETER)


@pytest.mark.parametrize("body", [b"", b"\x01\x01"])
def test_5_12_body_of_another_length_cannot_be_read(body: bytes) -> None:
    assert refusal(client_with({MFL: body})) == ("decode_error", DECODE_ERROR)


def test_5_12_holds_for_what_we_send_after_the_handshake() -> None:
    world, client = World(), client_with({MFL: b"\x01"})
    association = world.connect(client)
    assert association.sizes.send == 512
    world.endpoint.send(association, bytes(512), world.now)
    assert [len(record.content) for record in client.read(world.collect())] == [512]
    with pytest.raises(ApiMisuse, match="the peer takes 512"):
        world.endpoint.send(association, bytes(513), world.now)
    assert world.collect() == []


def test_5_12_larger_record_of_the_device_is_dropped_without_an_alert() -> None:
    # RFC 6066 4: "implementations SHOULD NOT generate record_overflow alerts unless the packet passes message
    # authentication".
    world, client = World(), client_with({MFL: b"\x01"})
    association = world.connect(client)
    events = len(world.events)
    too_large = client.data(bytes(513))
    assert association.open_application(too_large) is None
    assert world.deliver(too_large) == []
    assert world.drops() == {"too_large": 1}
    assert len(world.events) == events
    assert association.open_application(client.data(b"x" * 512)) == b"x" * 512
    world.deliver(client.data(b"y" * 512))
    assert world.data == [b"y" * 512]


def test_5_12_larger_plain_record_of_the_device_is_dropped_and_the_handshake_goes_on() -> None:
    world, client = World(), client_with({MFL: b"\x01"}, certificate=True)
    client.device = replace(server_identity(), chain=server_identity().chain * 3)
    world.reach_server_done(client)
    number, seq = client.next_number[0], client.next_seq
    whole = client.certificate()
    assert len(whole) > 512 + 13
    assert world.deliver(whole) == []
    assert world.drops() == {"too_large": 1}
    client.transcript.pop()
    client.next_seq = seq
    assert client.next_number[0] == number + 1
    chain = client.device.chain
    body_cuts = tuple(range(500, sum(map(len, chain)), 500))
    pieces = client.message(11, Certificate(chain).encode(), pieces=body_cuts)
    rest = [client.client_key_exchange(), client.certificate_verify(), client.change_cipher_spec(), client.finished()]
    client.read(world.deliver(*records(pieces), *rest))
    assert client.server_finished_verified


def test_5_12_fragment_that_was_counted_without_its_header_is_taken() -> None:
    """As wolfSSL 5 counts: 512 bytes of the message and 12 of the header, in a record of 524."""
    world, client = World(), client_with({MFL: b"\x01"}, certificate=True)
    client.device = replace(server_identity(), chain=server_identity().chain * 3)
    world.reach_server_done(client)
    chain = client.device.chain
    pieces = client.message(11, Certificate(chain).encode(), pieces=tuple(range(512, sum(map(len, chain)), 512)))
    assert max(len(record) for record in records(pieces)) == 13 + 12 + 512
    rest = [client.client_key_exchange(), client.certificate_verify(), client.change_cipher_spec(), client.finished()]
    client.read(world.deliver(*records(pieces), *rest))
    assert client.server_finished_verified
    assert "too_large" not in world.drops()


def test_5_12_repeated_hello_may_be_larger_for_it_was_sent_before() -> None:
    world, client = World(), client_with({MFL: b"\x01", 0xFAFA: bytes(600)})
    client.read(world.deliver(client.hello()))
    hello = client.hello()
    assert len(hello) > 512 + 13
    flight = world.deliver(hello)
    world.now += 1
    again = raw_record(HANDSHAKE, 9, split(hello)[0][3])
    assert [len(datagram) for datagram in world.deliver(again)] == [len(datagram) for datagram in flight]
    assert "too_large" not in world.drops()


def test_5_12_each_handshake_settles_it_anew() -> None:
    world = World()
    small = world.connect(client_with({MFL: b"\x01"}))
    large = RawClient(random=b"2" * 32)
    association = world.connect(large)
    assert small.closed
    assert (small.sizes.send, association.sizes.send) == (512, MAX_PLAINTEXT)


# --- 5.13, 5.14 record_size_limit ------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [64, 65, 512, 16384])
def test_5_14_record_size_limit_is_answered_with_our_own_and_kept(limit: int) -> None:
    # RFC 8449 4: "an endpoint MUST NOT generate a protected record with plaintext that is larger than the
    # RecordSizeLimit value it receives from its peer".
    world, client = World(), client_with({RSL: limit.to_bytes(2, "big")})
    association = world.connect(client)
    assert answered(client)[RSL] == (1 << 14).to_bytes(2, "big")
    world.endpoint.send(association, bytes(limit), world.now)
    assert [len(record.content) for record in client.read(world.collect())] == [limit]
    with pytest.raises(ApiMisuse):
        world.endpoint.send(association, bytes(limit + 1), world.now)


@pytest.mark.parametrize("limit", [16385, 40000, 65535])
def test_5_14_limit_above_the_protocol_s_is_no_fault_of_the_client(limit: int) -> None:
    # RFC 8449 4: "A server MUST NOT enforce this restriction". GnuTLS sends 16385.
    world, client = World(), client_with({RSL: limit.to_bytes(2, "big")})
    assert world.connect(client).sizes is UNLIMITED


@pytest.mark.parametrize("limit", [0, 1, 63])
def test_5_14_limit_below_64_is_illegal(limit: int) -> None:
    # RFC 8449 4: "MUST treat receipt of a smaller value as a fatal error and generate an "illegal_parameter" alert."
    assert refusal(client_with({RSL: limit.to_bytes(2, "big")})) == ("illegal_parameter", ILLEGAL_PARAMETER)


@pytest.mark.parametrize("body", [b"", b"\x40", b"\x00\x40\x00"])
def test_5_14_body_of_another_length_cannot_be_read(body: bytes) -> None:
    assert refusal(client_with({RSL: body})) == ("decode_error", DECODE_ERROR)


def test_5_14_limit_is_for_each_direction_by_itself() -> None:
    # The device may send as much as we said, however little it takes itself.
    world, client = World(), client_with({RSL: b"\x00\x40"})
    association = world.connect(client)
    world.deliver(client.data(bytes(MAX_PLAINTEXT)))
    assert world.data == [bytes(MAX_PLAINTEXT)]
    assert (association.sizes.send, association.sizes.receive) == (64, MAX_PLAINTEXT)


def test_5_14_our_own_limit_is_enforced() -> None:
    # RFC 8449 4: "a DTLS endpoint that receives a record larger than its advertised limit MAY either generate a fatal
    # "record_overflow" alert or discard the record."
    world = World()
    world.config = replace(world.config, parameters=replace(world.config.parameters, record_size_limit=100))
    world.endpoint = ServerEndpoint(world.config, counting_random())
    client = client_with({RSL: b"\x40\x00"})
    world.connect(client)
    assert answered(client)[RSL] == b"\x00\x64"
    world.deliver(client.data(bytes(101)), client.data(bytes(100)))
    assert world.data == [bytes(100)]
    assert world.drops() == {"too_large": 1}
    # It was said to nobody who did not ask.
    plain = RawClient(random=b"p" * 32)
    world.connect(plain)
    world.deliver(plain.data(bytes(101)))
    assert world.data == [bytes(100), bytes(101)]


@pytest.mark.parametrize(("limit", "largest"), [(64, 512), (512, 512), (600, 600)])
def test_5_14_plain_records_follow_a_limit_that_is_not_tiny(limit: int, largest: int) -> None:
    """GnuTLS drops unprotected records that are larger than its limit."""
    sealer = Sealer()
    sealer.sizes = RecordSizes(limit, MAX_PLAINTEXT)
    assert sealer.plain_limit == largest


def test_5_14_unprotected_messages_are_not_subject_to_the_limit() -> None:
    # RFC 8449 4, in so many words. A certificate in pieces of 64 bytes would be eight datagrams of headers.
    world, client = World(), client_with({RSL: b"\x00\x40"}, certificate=True)
    flight = world.reach_server_done(client)
    assert size_of([content for datagram in flight for _, _, _, content in split(datagram)]) > 200
    client.read(world.deliver(*client.answer_flight()))
    assert client.server_finished_verified


def test_5_14_unprotected_messages_of_the_device_are_not_subject_to_the_limit() -> None:
    # RFC 8449 4, in so many words.
    world = World()
    world.config = replace(world.config, parameters=replace(world.config.parameters, record_size_limit=64))
    world.endpoint = ServerEndpoint(world.config, counting_random())
    client = client_with({RSL: b"\x40\x00"}, certificate=True)
    world.reach_server_done(client)
    flight = client.answer_flight()
    assert len(flight[0]) > 200  # its Certificate, in one record
    client.read(world.deliver(*flight))
    assert client.server_finished_verified
    assert world.drops() == {}


@pytest.mark.parametrize("code", [b"\x01", b"\x04", b"\x09", b""])
def test_5_13_record_size_limit_wins_and_the_other_is_ignored(code: bytes) -> None:
    # RFC 8449 5: "A server that supports the "record_size_limit" extension MUST ignore a "max_fragment_length" that
    # appears in a ClientHello if both extensions appear." Ignored is also: not judged.
    world, client = World(), client_with({RSL: b"\x03\x00", MFL: code})
    association = world.connect(client)
    assert RSL in answered(client)
    assert MFL not in answered(client)
    assert association.sizes.send == 0x300


# --- the client ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", CODES)
def test_5_12_our_client_asks_and_keeps_to_it(code: int) -> None:
    world, server = pair("psk", max_fragment_length=CODES[code])
    assert server.heard is not None
    assert (server.heard.extensions or {})[MFL] == bytes((code,))
    server.extensions = {**(server.extensions or {}), MFL: bytes((code,))}
    server.read(world.deliver(*server.first_flight()))
    world.deliver(server.change_cipher_spec(), server.finished())
    with pytest.raises(ApiMisuse):
        world.connection.send(bytes(CODES[code] + 1), world.now)
    world.deliver(server.data(bytes(CODES[code] + 1)), server.data(bytes(CODES[code])))
    assert world.data == [bytes(CODES[code])]
    assert world.drops() == {"too_large": 1}


def test_5_14_our_client_asks_and_keeps_to_it() -> None:
    world, server = pair("psk", record_size_limit=100)
    server.extensions = {**(server.extensions or {}), RSL: b"\x00\xc8"}
    server.read(world.deliver(*server.first_flight()))
    world.deliver(server.change_cipher_spec(), server.finished())
    assert world.completed.association.sizes.send == 200
    world.deliver(server.data(bytes(101)), server.data(bytes(100)))
    assert world.data == [bytes(100)]


def test_5_14_server_that_does_not_answer_limits_nothing() -> None:
    world, server = pair("psk", record_size_limit=100, max_fragment_length=512)
    server.read(world.deliver(*server.first_flight()))
    world.deliver(server.change_cipher_spec(), server.finished())
    assert world.completed.association.sizes is UNLIMITED


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({MFL: b"\x02"}, "illegal_parameter"),
        ({MFL: b""}, "illegal_parameter"),
        ({RSL: b"\x00\x3f"}, "illegal_parameter"),
        ({RSL: b"\x40\x01"}, "illegal_parameter"),
        ({RSL: b"\x40"}, "decode_error"),
        ({RSL: b"\x00\x64", MFL: b"\x01"}, "illegal_parameter"),
    ],
)
def test_5_12_to_5_14_answers_that_our_client_refuses(answer: dict[int, bytes], reason: str) -> None:
    world, server = pair("psk", record_size_limit=100, max_fragment_length=512)
    server.extensions = {**(server.extensions or {}), **answer}
    assert world.refuses(server, server.answer_hello())[0] == reason


# --- 1.15 the path's MTU ---------------------------------------------------------------------------------------------


def test_1_15_datagrams_get_smaller_in_steps_and_stay_small() -> None:
    # RFC 6347 4.1.1.1: "subsequent retransmissions SHOULD back off to a smaller record size, fragmenting the handshake
    # message as appropriate".
    world, client = world_with_chain(4), certificate_client()
    flights = [world.reach_server_done(client)]
    for wait in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0):
        flights.append(world.advance(wait))
    assert FALLBACK_DATAGRAM_PAYLOADS == (512, 256)
    assert [size_of([*flight]) for flight in flights] == [1232, 1232, 1232, 512, 512, 256, 256]
    # Small datagrams are filled as well as large ones.
    for flight in flights:
        for datagram, following in pairwise(flight):
            if int.from_bytes(split(following)[0][3][6:9], "big"):
                assert len(datagram) == size_of(flight)
    client.read(world.deliver(*client.answer_flight()))
    assert client.server_finished_verified


def test_1_15_configured_limit_below_a_step_stays() -> None:
    world, client = world_with_chain(2, datagram_limit=300), certificate_client()
    flights = [world.reach_server_done(client)]
    for wait in (1.0, 2.0, 4.0, 8.0, 16.0):
        flights.append(world.advance(wait))
    assert [size_of([*flight]) for flight in flights] == [300, 300, 300, 300, 300, 256]


def test_1_15_last_flight_keeps_to_what_the_handshake_has_learnt() -> None:
    world, client = World(), certificate_client()
    world.reach_server_done(client)
    for wait in (1.0, 2.0, 4.0):
        world.advance(wait)
    client.read(world.deliver(*client.answer_flight()))
    (linger,) = world.endpoint._delivery.lingering.values()
    assert linger._limit == 512


def test_1_15_another_handshake_begins_at_full_size() -> None:
    world, client = World(), certificate_client()
    world.reach_server_done(client)
    for wait in (1.0, 2.0, 4.0):
        world.advance(wait)
    other = certificate_client()
    other.random = b"o" * 32
    assert size_of(world.reach_server_done(other)) > 512


# --- 4.7, 5.11, 5.15, 5.16 what is answered, and what is not ---------------------------------------------------------


def test_4_7_encrypt_then_mac_and_truncated_hmac_are_never_echoed() -> None:
    # RFC 7366 3: for AEAD suites "the server MUST NOT send an encrypt-then-MAC response"; RFC 7925 section 8 forbids
    # compression, and truncated HMAC means nothing to AEAD.
    world, client = World(), client_with({22: b"", 4: b""})
    client.compression = b"\x01\x00"
    world.connect(client)
    assert not {22, 4} & answered(client).keys()
    assert client.server_hello is not None
    assert client.server_hello.compression_method == 0


@pytest.mark.parametrize("name", ["gateway.example", "127.0.0.1", "localhost", "nobody-knows-this.example"])
def test_5_11_any_one_host_name_is_heard_and_not_refused(name: str) -> None:
    world, client = World(), client_with({0: ext.encode_server_name(name)})
    world.connect(client)
    assert world.completed[0].facts.server_name == name


def test_5_11_two_host_names_are_refused() -> None:
    # RFC 6066 3: "The ServerNameList MUST NOT contain more than one name of the same name_type."
    names = b"\x00\x00\x01a" + b"\x00\x00\x01b"
    assert refusal(client_with({0: len(names).to_bytes(2, "big") + names}))[1] == DECODE_ERROR


def test_5_15_alpn_is_ignored_with_or_without_coap_in_it() -> None:
    # RFC 7301 is optional, and a server that does not implement it answers nothing.
    for protocols in (b"\x00\x05\x04coap", b"\x00\x03\x02h2"):
        world, client = World(), client_with({16: protocols})
        world.connect(client)
        assert 16 not in answered(client)


@settings(max_examples=50, deadline=None)
@given(st.sets(st.sampled_from([0, 5, 10, 11, 13, 16, 17, 21, 22, 23, 43, 51, 0xFAFA, 0xFF01, MFL, RSL])))
def test_5_16_nothing_is_answered_that_was_not_offered(offered: set[int]) -> None:
    # RFC 5246 7.4.1.4: "An extension type MUST NOT appear in the ServerHello unless the same extension type appeared in
    # the corresponding ClientHello."
    bodies = {**default_extensions(), 0: ext.encode_server_name("a.example"), MFL: b"\x01", RSL: b"\x01\x00"}
    world, client = World(), RawClient(extensions={number: bodies.get(number, b"") for number in offered})
    world.connect(client)
    assert answered(client).keys() <= offered


# --- memory ----------------------------------------------------------------------------------------------------------


def test_usual_sizes_cost_an_association_nothing() -> None:
    kept: list[Association] = []
    for number, extensions in enumerate([{}, {MFL: b"\x01"}, {MFL: b"\x01"}, {RSL: b"\x40\x01"}]):
        world, client = World(), client_with(extensions)
        client.random = bytes((number,)) * 32
        kept.append(world.connect(client))
    assert kept[0].sizes is kept[3].sizes is UNLIMITED
    assert kept[1].sizes is kept[2].sizes
