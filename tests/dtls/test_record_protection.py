"""Protected records against records put together by hand from RFC 5246 section 6.2.3.3, 6655, 5288 and 7905.

The other side of each comparison uses the AEAD of `cryptography` directly, with nonce and associated data spelled out.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dtls import Association, DropReason
from gateway.dtls.association import associate
from gateway.dtls.crypto import SUITES
from tests.dtls.rawclient import aead, explicit_length, iv_length, key_length, nonce, tag_length

CLIENT_KEY, SERVER_KEY = bytes(range(32)), bytes(range(32, 64))
CLIENT_IV, SERVER_IV = bytes(range(0xC0, 0xCC)), bytes(range(0x50, 0x5C))
MESSAGE = b"\x40\x01\x12\x34\xb4time"

each_suite = pytest.mark.parametrize("number", SUITES)


def server(number: int) -> Association:
    key, iv = key_length(number), iv_length(number)
    return associate(
        ("192.0.2.1", 1), SUITES[number], CLIENT_KEY[:key], CLIENT_IV[:iv], SERVER_KEY[:key], SERVER_IV[:iv]
    )


def by_hand(suite: int, content_type: int, sequence: int, content: bytes, *, key: bytes, salt: bytes) -> bytes:
    seq_num = bytes((0, 1)) + sequence.to_bytes(6, "big")  # epoch 1
    additional_data = seq_num + bytes((content_type, 0xFE, 0xFD)) + len(content).to_bytes(2, "big")
    record_nonce = nonce(suite, salt[: iv_length(suite)], seq_num)
    sealed = aead(suite, key[: key_length(suite)]).encrypt(record_nonce, content, additional_data)
    sealed = seq_num[: explicit_length(suite)] + sealed
    return bytes((content_type, 0xFE, 0xFD)) + seq_num + len(sealed).to_bytes(2, "big") + sealed


@each_suite
def test_sealed_record_is_the_one_made_by_hand(number: int) -> None:
    association = server(number)
    for sequence, content_type in enumerate((22, 23, 21, 23)):
        expected = by_hand(number, content_type, sequence, MESSAGE, key=SERVER_KEY, salt=SERVER_IV)
        assert association.seal(content_type, MESSAGE) == expected


@each_suite
def test_record_made_by_hand_opens(number: int) -> None:
    record = by_hand(number, 22, 7, MESSAGE, key=CLIENT_KEY, salt=CLIENT_IV)
    assert server(number).open(22, record[3:11], record[13:]) == MESSAGE


@each_suite
def test_application_record_made_by_hand_opens_on_the_direct_path(number: int) -> None:
    association = server(number)
    for sequence in (5, 3, (1 << 48) - 1):
        record = by_hand(number, 23, sequence, MESSAGE, key=CLIENT_KEY, salt=CLIENT_IV)
        assert association.open_application(record) == MESSAGE
        assert association.open_application(record) is None


@each_suite
def test_lengths_on_the_wire(number: int) -> None:
    # Header 13, explicit nonce 8, tag 8 or 16: the 29 and 37 bytes that RFC 7252 section 4.6 has to leave room for.
    # ChaCha20-Poly1305 has no explicit nonce (RFC 7905 section 2).
    overhead = len(server(number).seal(23, b"x" * 100)) - 100
    assert overhead == (29 if tag_length(number) == 8 or explicit_length(number) == 0 else 37)


@each_suite
def test_empty_application_data_is_legal(number: int) -> None:
    # RFC 5246 section 6.2.1: "Zero-length fragments of Application data MAY be sent".
    record = by_hand(number, 23, 0, b"", key=CLIENT_KEY, salt=CLIENT_IV)
    assert server(number).open_application(record) == b""


@each_suite
def test_both_directions_have_keys_of_their_own(number: int) -> None:
    mirrored = by_hand(number, 23, 0, MESSAGE, key=SERVER_KEY, salt=SERVER_IV)
    assert server(number).open(23, mirrored[3:11], mirrored[13:]) is DropReason.BAD_MAC


@each_suite
def test_every_bit_of_a_record_is_authenticated(number: int) -> None:
    record = by_hand(number, 23, 3, MESSAGE, key=CLIENT_KEY, salt=CLIENT_IV)
    association = server(number)
    for bit in range(8 * len(record)):
        broken = bytearray(record)
        broken[bit // 8] ^= 1 << (bit % 8)
        assert association.open_application(bytes(broken)) is None
    # Nothing of this has moved the window.
    assert association.open_application(record) == MESSAGE


@each_suite
def test_record_that_is_too_short_for_nonce_and_tag(number: int) -> None:
    association = server(number)
    for length in range(explicit_length(number) + tag_length(number)):
        assert association.open(23, bytes(8), bytes(length)) is DropReason.MALFORMED
        datagram = b"\x17\xfe\xfd\x00\x01" + bytes(6) + length.to_bytes(2, "big") + bytes(length)
        assert association.open_application(datagram) is None
    assert association.authentication_failures == 0


@settings(max_examples=50)
@given(st.sampled_from(sorted(SUITES)), st.binary(max_size=1400), st.integers(0, (1 << 48) - 1))
def test_any_content_at_any_number_opens(number: int, content: bytes, sequence: int) -> None:
    record = by_hand(number, 23, sequence, content, key=CLIENT_KEY, salt=CLIENT_IV)
    assert server(number).open_application(record) == content
    assert server(number).open(23, record[3:11], record[13:]) == content


@given(st.binary(max_size=100))
def test_direct_path_takes_any_bytes(datagram: bytes) -> None:
    assert server(0xC0A8).open_application(datagram) is None
    assert server(0xC0A8).open_application(b"\x17\xfe\xfd\x00\x01" + datagram) is None


@pytest.mark.parametrize("number", [0x00A8, 0xCCAB])
def test_resting_frees_the_ciphers_and_nothing_else(number: int) -> None:
    association = server(number)
    first = by_hand(number, 23, 0, MESSAGE, key=CLIENT_KEY, salt=CLIENT_IV)
    second = by_hand(number, 23, 1, MESSAGE, key=CLIENT_KEY, salt=CLIENT_IV)
    association.seal(23, MESSAGE)
    assert association.open_application(first) == MESSAGE
    association.rest()
    assert association.open_application(first) is None
    assert association.open_application(second) == MESSAGE
    assert association.seal(23, MESSAGE) == by_hand(number, 23, 1, MESSAGE, key=SERVER_KEY, salt=SERVER_IV)


def test_association_shows_no_key() -> None:
    assert repr(server(0xC0A8)) == "<Association ('192.0.2.1', 1) TLS_PSK_WITH_AES_128_CCM_8>"


def test_chacha20_poly1305_nonce_rfc_7905() -> None:
    # RFC 7905 section 2: the 64-bit number is padded on the left to 96 bits and XORed with the write IV. The expected
    # nonce is worked out on paper: epoch 1, number 2, over an IV of 0x50 to 0x5B.
    association = server(0xCCAB)
    association.seal(23, b"")
    association.seal(23, b"")
    record = association.seal(23, MESSAGE)
    paper = bytes.fromhex("50515253545456575859" + "5a59")
    additional_data = bytes.fromhex("0001000000000002" + "17" + "fefd" + "0009")
    assert aead(0xCCAB, SERVER_KEY).decrypt(paper, record[13:], additional_data) == MESSAGE
