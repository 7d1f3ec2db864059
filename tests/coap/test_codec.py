"""The codec against vectors worked out by hand from RFC 7252."""

import pytest

from gateway.coap import (
    DecodeError,
    Malformed,
    Message,
    decode,
    decode_uint,
    encode,
    encode_options,
    encode_uint,
)

CON, NON, ACK, RST = range(4)

# RFC 7252 appendix A draws each message of its figures bit by bit; these are the bytes.
APPENDIX_A = [
    # Figure 16: CON GET /temperature, id 0x7d34, no token. 0xbb = delta 11, length 11.
    (
        "40017d34bb" + b"temperature".hex(),
        Message(CON, 0x01, 0x7D34, b"", [(11, b"temperature")]),
    ),
    # Figure 16, the answer: ACK 2.05 "22.3 C".
    ("60457d34ff" + b"22.3 C".hex(), Message(ACK, 0x45, 0x7D34, b"", [], b"22.3 C")),
    # Figure 17: the same with the one-byte token 0x20.
    ("41017d3520bb" + b"temperature".hex(), Message(CON, 0x01, 0x7D35, b"\x20", [(11, b"temperature")])),
    ("61457d3520ff" + b"22.3 C".hex(), Message(ACK, 0x45, 0x7D35, b"\x20", [], b"22.3 C")),
    # Figure 20: CON GET, id 0x7d38, token 0x53, an empty ACK, then a separate CON response 0xad7b and its ACK.
    ("41017d3853bb" + b"temperature".hex(), Message(CON, 0x01, 0x7D38, b"\x53", [(11, b"temperature")])),
    ("60007d38", Message(ACK, 0x00, 0x7D38)),
    ("4145ad7b53ff" + b"22.3 C".hex(), Message(CON, 0x45, 0xAD7B, b"\x53", [], b"22.3 C")),
    ("6000ad7b", Message(ACK, 0x00, 0xAD7B)),
    # Figure 22: a RST to an unknown message.
    ("7000ad7c", Message(RST, 0x00, 0xAD7C)),
    # Figure 23: NON GET and NON 2.05.
    ("51017d4053bb" + b"temperature".hex(), Message(NON, 0x01, 0x7D40, b"\x53", [(11, b"temperature")])),
    # Section 4.3, CoAP ping: an Empty confirmable message.
    ("40001234", Message(CON, 0x00, 0x1234)),
]

# Section 3.1: each nibble ends at 12; 13 adds one byte (13-268), 14 two bytes (269 and more).
EXTENDED = [
    ("40010001c0", [(12, b"")]),
    ("40010001d000", [(13, b"")]),
    ("40010001d0ff", [(268, b"")]),
    ("40010001e00000", [(269, b"")]),
    ("40010001e0fef2", [(65535, b"")]),
    ("400100011c" + "61" * 12, [(1, b"a" * 12)]),
    ("400100011d00" + "61" * 13, [(1, b"a" * 13)]),
    ("400100011dff" + "61" * 268, [(1, b"a" * 268)]),
    ("400100011e0000" + "61" * 269, [(1, b"a" * 269)]),
    # Both extended: the bytes of the delta come first.
    ("40010001dd0102" + "61" * 15, [(14, b"a" * 15)]),
    ("40010001ed000001" + "61" * 14, [(269, b"a" * 14)]),
    ("40010001de020000" + "61" * 269, [(15, b"a" * 269)]),
    ("40010001ee00010001" + "61" * 270, [(270, b"a" * 270)]),
    # A delta of 0 repeats the number: Uri-Path /a/b, then Content-Format 0 with no byte at all.
    ("40020001b161016210", [(11, b"a"), (11, b"b"), (12, b"")]),
]

MALFORMED = [
    ("", Malformed.TOO_SHORT, None),
    ("400100", Malformed.TOO_SHORT, None),
    # Section 3: other versions are silently ignored, so there is nothing to answer.
    ("00010001", Malformed.VERSION, None),
    ("80010001", Malformed.VERSION, None),
    ("c0010001", Malformed.VERSION, None),
    # Section 3: "Lengths 9-15 are reserved, MUST NOT be sent, and MUST be processed as a message format error".
    *[(f"4{length:x}010007" + "00" * 15, Malformed.TOKEN_LENGTH, 7) for length in range(9, 16)],
    ("4900000700", Malformed.TOKEN_LENGTH, 7),
    ("4801000700000000000000", Malformed.TOKEN_TRUNCATED, 7),
    ("41010007", Malformed.TOKEN_TRUNCATED, 7),
    # Section 4.1: nothing behind the message id of an Empty message.
    ("4000000700", Malformed.EMPTY_NOT_EMPTY, 7),
    ("4100000700", Malformed.EMPTY_NOT_EMPTY, 7),
    ("40000007ff01", Malformed.EMPTY_NOT_EMPTY, 7),
    ("41000007", Malformed.TOKEN_TRUNCATED, 7),
    # Section 3: "the presence of a marker followed by a zero-length payload MUST be processed as a format error".
    ("40010007ff", Malformed.PAYLOAD_MISSING, 7),
    ("40010007b161ff", Malformed.PAYLOAD_MISSING, 7),
    # Section 3.1: 15 in either nibble, the other one not.
    ("40010007f0", Malformed.OPTION_RESERVED, 7),
    ("40010007fe0000", Malformed.OPTION_RESERVED, 7),
    ("400100070f", Malformed.OPTION_RESERVED, 7),
    ("40010007ef0000", Malformed.OPTION_RESERVED, 7),
    # Section 3.1: announced and not there.
    ("40010007b2aa", Malformed.OPTION_TRUNCATED, 7),
    ("40010007d0", Malformed.OPTION_TRUNCATED, 7),
    ("40010007e000", Malformed.OPTION_TRUNCATED, 7),
    ("400100070d", Malformed.OPTION_TRUNCATED, 7),
    ("400100070e00", Malformed.OPTION_TRUNCATED, 7),
    ("40010007dd00", Malformed.OPTION_TRUNCATED, 7),
    ("40010007ee000000", Malformed.OPTION_TRUNCATED, 7),
    ("400100070effff00", Malformed.OPTION_TRUNCATED, 7),
    # Section 12.2: numbers are 0 to 65535.
    ("40010007e0fef3", Malformed.OPTION_NUMBER, 7),
    ("40010007e0fef210", Malformed.OPTION_NUMBER, 7),
]


@pytest.mark.parametrize(("wire", "message"), APPENDIX_A)
def test_appendix_a(wire: str, message: Message) -> None:
    assert decode(bytes.fromhex(wire)) == message
    assert encode(message) == bytes.fromhex(wire)


@pytest.mark.parametrize(("wire", "options"), EXTENDED)
def test_option_delta_and_length(wire: str, options: list[tuple[int, bytes]]) -> None:
    message = Message(CON, int(wire[2:4], 16), 1, b"", options)
    assert decode(bytes.fromhex(wire)) == message
    assert encode(message) == bytes.fromhex(wire)


@pytest.mark.parametrize(("wire", "reason", "message_id"), MALFORMED)
def test_malformed(wire: str, reason: Malformed, message_id: int | None) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(bytes.fromhex(wire))
    assert caught.value.reason is reason
    assert caught.value.message_id == message_id
    assert caught.value.type == (None if message_id is None else CON)
    assert reason.value in str(caught.value)


@pytest.mark.parametrize(("type", "first"), [(CON, "42"), (NON, "52"), (ACK, "62"), (RST, "72")])
def test_a_malformed_message_says_its_type(type: int, first: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(bytes.fromhex(first + "010203aa"))
    assert (caught.value.type, caught.value.message_id) == (type, 0x0203)


@pytest.mark.parametrize("length", range(9))
def test_token_lengths(length: int) -> None:
    token = bytes(range(length))
    wire = bytes([0x40 + length, 1, 0, 1]) + token + b"\xff!"
    assert decode(wire).token == token
    assert encode(Message(CON, 1, 1, token, [], b"!")) == wire


def test_options_are_sorted_and_repetitions_keep_their_order() -> None:
    scrambled = [(15, b"q"), (11, b"z"), (3, b"h"), (11, b"a")]
    assert encode_options(scrambled) == bytes.fromhex("3168" + "817a" + "0161" + "4171")


@pytest.mark.parametrize(
    "message",
    [
        Message(4, 1, 1),
        Message(-1, 1, 1),
        Message(CON, 256, 1),
        Message(CON, 1, 65536),
        Message(CON, 1, -1),
        Message(CON, 1, 1, bytes(9)),
        Message(CON, 0, 1, b"t"),
        Message(CON, 0, 1, b"", [(11, b"")]),
        Message(CON, 0, 1, b"", [], b"x"),
        Message(CON, 1, 1, b"", [(-1, b"")]),
        Message(CON, 1, 1, b"", [(3, b""), (-1, b"")]),
        Message(CON, 1, 1, b"", [(65536, b"")]),
        Message(CON, 1, 1, b"", [(1, bytes(65535 + 269 + 1))]),
    ],
)
def test_what_cannot_be_expressed_is_refused(message: Message) -> None:
    with pytest.raises(ValueError, match=r"out of range|not|no token"):
        encode(message)


# Section 3.2: "a sender SHOULD represent the integer with as few bytes as possible", 0 as none.
@pytest.mark.parametrize(
    ("value", "wire"), [(0, ""), (1, "01"), (255, "ff"), (256, "0100"), (65536, "010000"), (2**32 - 1, "ffffffff")]
)
def test_uint(value: int, wire: str) -> None:
    assert encode_uint(value) == bytes.fromhex(wire)
    assert decode_uint(bytes.fromhex(wire)) == value


def test_uint_with_leading_zeros() -> None:
    assert decode_uint(bytes.fromhex("00000032")) == 50


def test_uint_is_not_negative() -> None:
    with pytest.raises(ValueError, match="negative"):
        encode_uint(-1)
