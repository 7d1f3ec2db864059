"""The message layer of the server, request by request; datagrams in and out are written out by hand."""

import pytest

from gateway.coap import CRITICAL_OPTIONS, Message, MessageLayer, OptionFormat, Peer, TransmissionParameters
from tests.coap.support import fixed_random, new_layer, post, sent

CHANGED = 0x44
CONTENT = 0x45

EXCHANGE_LIFETIME_S = 247  # RFC 7252 section 4.8.2
NON_LIFETIME_S = 145


def receive(layer: MessageLayer, peer: Peer, data: bytes, now: float = 0.0) -> Message:
    request = layer.receive(peer, data, now)
    assert request is not None
    return request


def test_appendix_a_piggybacked() -> None:
    # RFC 7252 figure 17.
    layer, peer = new_layer(), Peer()
    request = receive(layer, peer, bytes.fromhex("41017d3520bb") + b"temperature")
    assert request.uri_path == ("temperature",)
    answer = layer.reply(peer, request, CONTENT, [], b"22.3 C", 0.0)
    assert answer == bytes.fromhex("61457d3520ff") + b"22.3 C"
    assert sent(layer, peer) == []


def test_appendix_a_non_confirmable() -> None:
    # RFC 7252 figure 22: the response is a NON with a message id of the server's own and the client's token.
    layer, peer = MessageLayer(random=lambda count: bytes.fromhex("ad7d")[:count]), Peer()
    request = receive(layer, peer, bytes.fromhex("51017d4075bb") + b"temperature")
    answer = layer.reply(peer, request, CONTENT, [], b"22.3 C", 0.0)
    assert answer == bytes.fromhex("5145ad7d75ff") + b"22.3 C"


def test_options_of_a_response() -> None:
    layer, peer = new_layer(), Peer()
    request = receive(layer, peer, post(1))
    # Content-Format 50 and Max-Age 60: delta 12, length 1, then delta 2, length 1.
    answer = layer.reply(peer, request, CONTENT, [(12, b"2"), (14, b"<")], b"{}", 0.0)
    assert answer.hex() == "61450001aa" + "c132" + "213c" + "ff7b7d"


def test_message_ids_of_our_own_count_up_and_wrap() -> None:
    layer, peer = new_layer(0xFF), Peer()
    ids = []
    for message_id in range(3):
        request = receive(layer, peer, post(message_id, non=True))
        ids.append(layer.reply(peer, request, CHANGED, [], b"", 0.0)[2:4].hex())
    assert ids == ["ffff", "0000", "0001"]


@pytest.mark.parametrize("code", [0, 1, 0x20, 0x3F, 0xC0, 0xFF, 0x145, -1])
def test_a_response_needs_the_code_of_a_response(code: int) -> None:
    layer, peer = new_layer(), Peer()
    request = receive(layer, peer, post(1))
    with pytest.raises(ValueError, match="not the code"):
        layer.reply(peer, request, code, [], b"", 0.0)
    # The request is still open.
    assert layer.reply(peer, request, 0xA0, [], b"", 0.0).hex() == "61a00001aa"


def test_a_response_that_cannot_be_encoded_leaves_the_request_open() -> None:
    layer, peer = new_layer(), Peer()
    for defer in (False, True):
        request = receive(layer, peer, post(int(defer)))
        if defer:
            layer.defer(peer, request, 0.0)
        with pytest.raises(ValueError, match="out of range"):
            layer.reply(peer, request, CHANGED, [(70000, b"")], b"", 0.0)
        assert layer.reply(peer, request, 0xA0, [], b"", 0.0) != b""


# De-duplication, RFC 7252 section 4.5.


def test_a_repeated_con_gets_the_same_bytes_and_is_not_handed_out_again() -> None:
    layer, peer = new_layer(), Peer()
    answer = layer.reply(peer, receive(layer, peer, post(7)), CHANGED, [], b"stored", 0.0)
    for repetition in range(1, 5):
        assert layer.receive(peer, post(7), repetition * 10.0) is None
        assert sent(layer, peer) == [answer.hex()]
    assert (layer.counters.requests, layer.counters.duplicates) == (1, 4)


def test_a_repeated_non_is_ignored() -> None:
    layer, peer = new_layer(), Peer()
    layer.reply(peer, receive(layer, peer, post(7, non=True)), CHANGED, [], b"", 0.0)
    assert layer.receive(peer, post(7, non=True), 1.0) is None
    assert sent(layer, peer) == []
    assert layer.counters.duplicates == 1


@pytest.mark.parametrize("non", [False, True])
def test_a_request_repeated_before_its_answer_is_not_handed_out_again(non: bool) -> None:
    layer, peer = new_layer(), Peer()
    receive(layer, peer, post(7, non=non))
    assert layer.receive(peer, post(7, non=non), 1.0) is None
    assert sent(layer, peer) == []


@pytest.mark.parametrize(("non", "lifetime_s"), [(False, EXCHANGE_LIFETIME_S), (True, NON_LIFETIME_S)])
def test_a_message_id_is_free_again_after_its_lifetime(non: bool, lifetime_s: float) -> None:
    layer, peer = new_layer(), Peer()
    layer.reply(peer, receive(layer, peer, post(7, non=non), 100.0), CHANGED, [], b"", 100.0)
    assert layer.receive(peer, post(7, non=non), 100.0 + lifetime_s - 0.1) is None
    assert receive(layer, peer, post(7, non=non), 100.0 + lifetime_s).message_id == 7


def test_con_and_non_share_the_message_ids() -> None:
    layer, peer = new_layer(), Peer()
    layer.reply(peer, receive(layer, peer, post(7)), CHANGED, [], b"", 0.0)
    assert layer.receive(peer, post(7, non=True), 1.0) is None
    assert sent(layer, peer) == []


def test_peers_do_not_share_message_ids() -> None:
    layer = new_layer()
    for peer in (Peer(), Peer()):
        assert receive(layer, peer, post(7)).message_id == 7


def test_a_second_answer_does_nothing() -> None:
    layer, peer = new_layer(), Peer()
    for message_id, non in ((1, False), (2, True)):
        request = receive(layer, peer, post(message_id, non=non))
        first = layer.reply(peer, request, CHANGED, [], b"", 0.0)
        assert layer.reply(peer, request, 0xA3, [], b"", 0.0) == b""
        layer.receive(peer, post(message_id, non=non), 1.0)
        assert sent(layer, peer) == ([] if non else [first.hex()])


def test_the_ring_is_freed_after_the_exchange_lifetime() -> None:
    layer, peer = new_layer(), Peer()
    assert layer.next_timer() is None
    layer.reply(peer, receive(layer, peer, post(1), 0.0), CHANGED, [], b"", 0.0)
    layer.reply(peer, receive(layer, peer, post(2), 60.0), CHANGED, [], b"", 60.0)
    last_sweep = 0.0
    while (deadline := layer.next_timer()) is not None:
        layer.handle_timer(deadline)
        if 0.0 + EXCHANGE_LIFETIME_S <= deadline < 60.0 + EXCHANGE_LIFETIME_S:
            assert peer.ring is not None
            assert list(peer.ring) == [2]
        last_sweep = deadline
    assert peer.ring is None
    assert 60.0 + EXCHANGE_LIFETIME_S <= last_sweep <= 60.0 + 1.25 * EXCHANGE_LIFETIME_S
    assert sent(layer, peer) == []
    # And the peer starts over.
    assert receive(layer, peer, post(1), 1000.0).message_id == 1


# What is no request.


def test_ping_is_answered_with_reset() -> None:
    layer, peer = new_layer(), Peer()
    assert layer.receive(peer, bytes.fromhex("40001234"), 0.0) is None
    assert sent(layer, peer) == ["70001234"]
    assert layer.counters.pings == 1
    assert peer.ring is None


@pytest.mark.parametrize(
    "rest",
    [
        "4900000700",  # token length 9
        "40020007ff",  # a marker and no payload
        "40020007f0",  # delta 15
        "40020007b2aa",  # an option that ends too soon
        "4000000700",  # an Empty message that is not
    ],
)
def test_malformed_is_reset_when_confirmable_and_ignored_otherwise(rest: str) -> None:
    layer, peer = new_layer(), Peer()
    data = bytearray.fromhex(rest)
    for type in range(4):
        data[0] = data[0] & 0xCF | type << 4
        assert layer.receive(peer, bytes(data), 0.0) is None
        assert sent(layer, peer) == (["70000007"] if type == 0 else [])
    assert layer.counters.malformed == 4


@pytest.mark.parametrize("data", ["", "40", "400100", "00010007", "80010007", "c0010007"])
def test_no_header_of_ours_no_answer(data: str) -> None:
    layer, peer = new_layer(), Peer()
    assert layer.receive(peer, bytes.fromhex(data), 0.0) is None
    assert sent(layer, peer) == []
    assert layer.counters.malformed == 1


# Section 4.2 and 4.3: responses nobody waits for, and the reserved code classes 1, 6 and 7.
@pytest.mark.parametrize("code", ["45", "84", "a0", "20", "3f", "c0", "ff"])
def test_out_of_place_is_reset_when_confirmable_and_ignored_otherwise(code: str) -> None:
    layer, peer = new_layer(), Peer()
    for first in ("40", "50", "60", "70"):
        assert layer.receive(peer, bytes.fromhex(first + code + "0007"), 0.0) is None
        # RFC 7641 section 3.6: a non-confirmable response that nobody waits for is reset too, so that a server hears
        # that nobody observes any more.
        resets = first == "40" or (first == "50" and code in ("45", "84", "a0"))
        assert sent(layer, peer) == (["70000007"] if resets else [])
    assert layer.counters.unexpected == 4
    assert layer.counters.requests == 0


@pytest.mark.parametrize("data", ["60010007", "70020007", "60000007", "70000007", "50000007"])
def test_stray_messages_are_ignored(data: str) -> None:
    # An ACK or RST with a request in it, an ACK and a RST for nothing, an Empty NON (section 4.3: must not be Empty).
    layer, peer = new_layer(), Peer()
    assert layer.receive(peer, bytes.fromhex(data), 0.0) is None
    assert sent(layer, peer) == []
    assert layer.counters.unexpected == 1


# What the layer answers itself.

BAD_OPTIONS = [
    "11aa",  # If-Match (1), which nothing here honours
    "50",  # If-None-Match (5)
    "90",  # OSCORE (9)
    "d10801",  # EDHOC (21)
    "d10a08",  # Block2 (23)
    "d10e08",  # Block1 (27)
    "d00c",  # 25, unassigned and critical
    "e0fef2",  # 65535
    "30",  # Uri-Host of no byte (5.10: 1-255)
    "7101" + "01" + "00",  # Uri-Port twice (5.4.5)
    "73010203",  # Uri-Port of three bytes
    "d104" + "32" + "01" + "32",  # Accept (17) twice
    "d304" + "000032",  # Accept of three bytes
    "b1ff",  # Uri-Path that is not UTF-8
    "b2c080",  # an overlong encoding
    "b12e",  # "." (5.10.1)
    "b161022e2e",  # "a", ".."
    "bdf3" + "61" * 256,  # a segment of 256 bytes
    "d102ff",  # Uri-Query (15) that is not UTF-8
    "31ff",  # Uri-Host that is not UTF-8
]


@pytest.mark.parametrize("option", BAD_OPTIONS)
def test_critical_option_that_cannot_be_honoured(option: str) -> None:
    # RFC 7252 section 5.4.1: 4.02 for a CON, rejection for a NON.
    layer, peer = new_layer(), Peer()
    con, non = post(1, rest=bytes.fromhex(option)), post(2, non=True, rest=bytes.fromhex(option))
    assert layer.receive(peer, con, 0.0) is None
    (answer,) = sent(layer, peer)
    assert answer.startswith("61820001aaff")
    assert b"option " in bytes.fromhex(answer)
    assert layer.receive(peer, con, 1.0) is None
    assert sent(layer, peer) == [answer]
    assert layer.receive(peer, non, 2.0) is None
    assert sent(layer, peer) == ["70000002"]
    assert layer.receive(peer, non, 3.0) is None
    assert sent(layer, peer) == []
    assert (layer.counters.refused, layer.counters.duplicates, layer.counters.requests) == (2, 2, 0)


def test_a_bad_option_is_named() -> None:
    layer, peer = new_layer(), Peer()
    layer.receive(peer, post(1, rest=bytes.fromhex("d10e08")), 0.0)
    assert b"27 (Block1)" in bytes.fromhex(sent(layer, peer)[0])
    layer.receive(peer, post(2, rest=bytes.fromhex("d00c")), 0.0)
    assert b"option 25 " in bytes.fromhex(sent(layer, peer)[0])


GOOD_OPTIONS = [
    "",
    "3161",  # Uri-Host
    "721634",  # Uri-Port
    "70",
    "b0",  # an empty segment is legal
    "b2c3a9",  # "é"
    "b12d",
    "b22e61",  # ".a" is a name like any other
    "bd0d" + "2e" * 26,
    "bdf2" + "61" * 255,
    "b16101610162",  # /a/a/b
    "d102610161",  # Uri-Query, repeatable
    "d10432",  # Accept
    "60",  # Observe: elective (6)
    "6401020304",  # Observe of four bytes: elective, so ignored, not refused
    "c1320132",  # Content-Format twice: elective
    "d10f01",  # Size2 (28)
    "d12f01",  # Size1 (60)
    "e0fef1",  # 65534
]


@pytest.mark.parametrize("option", GOOD_OPTIONS)
def test_options_that_stop_nothing(option: str) -> None:
    layer, peer = new_layer(), Peer()
    assert receive(layer, peer, post(1, rest=bytes.fromhex(option))).message_id == 1
    assert sent(layer, peer) == []


@pytest.mark.parametrize("option", ["dd1607" + "61" * 20, "d41a" + b"coap".hex()])
def test_proxying_is_not_supported(option: str) -> None:
    # RFC 7252 section 5.10.2, Proxy-Uri (35) and Proxy-Scheme (39); a NON gets the same as a NON.
    layer, peer = new_layer(), Peer()
    assert layer.receive(peer, post(1, rest=bytes.fromhex(option)), 0.0) is None
    assert layer.receive(peer, post(2, non=True, rest=bytes.fromhex(option)), 0.0) is None
    assert sent(layer, peer) == ["61a50001aa", "51a50000aa"]


def test_too_large_a_payload() -> None:
    # RFC 7252 section 5.9.2.9: 4.13 with Size1 (60 = 13 + 47), the most that is taken: 16.
    layer, peer = new_layer(max_payload=16), Peer()
    assert layer.receive(peer, post(1, rest=b"\xff" + bytes(17)), 0.0) is None
    assert sent(layer, peer) == ["618d0001aa" + "d12f10"]
    assert receive(layer, peer, post(2, rest=b"\xff" + bytes(16))).payload == bytes(16)


@pytest.mark.parametrize("code", [8, 15, 31])
def test_a_method_nobody_has_defined(code: int) -> None:
    # RFC 7252 section 5.8.
    layer, peer = new_layer(), Peer()
    assert layer.receive(peer, bytes([0x40, code, 0, 1]), 0.0) is None
    assert sent(layer, peer) == ["60850001"]


@pytest.mark.parametrize("code", range(1, 8))
def test_every_defined_method_is_handed_out(code: int) -> None:
    layer, peer = new_layer(), Peer()
    assert receive(layer, peer, bytes([0x40, code, 0, 1])).code == code


def test_critical_options_can_be_added() -> None:
    formats = {**CRITICAL_OPTIONS, 27: OptionFormat(0, 3, False)}
    layer, peer = MessageLayer(random=fixed_random(0), critical_options=formats), Peer()
    assert receive(layer, peer, post(1, rest=bytes.fromhex("d10e08"))).option(27) == b"\x08"
    assert layer.receive(peer, post(2, rest=bytes.fromhex("d40e08080808")), 0.0) is None


def test_a_ring_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        MessageLayer(random=fixed_random(0), ring_size=0)


def test_the_context_of_a_peer_leads_back() -> None:
    layer = MessageLayer(random=fixed_random(0), parameters=TransmissionParameters())
    peer = Peer("session 5")
    layer.receive(peer, bytes.fromhex("40001234"), 0.0)
    ((back, _),) = layer.datagrams_to_send()
    assert back.context == "session 5"
    assert layer.datagrams_to_send() == []
