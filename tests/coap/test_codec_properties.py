"""The codec against aiocoap's, and against an encoder that knows nothing of it."""

import aiocoap  # type: ignore[import-untyped]
import aiocoap.error  # type: ignore[import-untyped]
import pytest
from aiocoap.numbers.optionnumbers import OptionNumber  # type: ignore[import-untyped]
from aiocoap.options import Options  # type: ignore[import-untyped]
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.coap import DecodeError, Malformed, Message, decode, decode_uint, encode, encode_uint
from tests.coap.strategies import datagrams, fields, unhurried, valid, wire

# Where aiocoap accepts what the RFC does not:
LAXER_ORACLE = {
    # RFC 7252 section 3: "Lengths 9-15 are reserved, MUST NOT be sent, and MUST be processed as a message format
    # error."
    Malformed.TOKEN_LENGTH: "49010001000000000000000000",
    # Section 3: the token has as many bytes as TKL says; aiocoap takes those that are left.
    Malformed.TOKEN_TRUNCATED: "42010001aa",
    # Section 3: a marker followed by a zero-length payload MUST be processed as a message format error.
    Malformed.PAYLOAD_MISSING: "40010001ff",
    # Section 4.1: "bytes MUST NOT be present after the Message ID field" of an Empty message.
    Malformed.EMPTY_NOT_EMPTY: "40000001b161",
    # Section 12.2: option numbers are 0 to 65535.
    Malformed.OPTION_NUMBER: "40010001e0ffff",
}

# aiocoap is stricter in one thing: it refuses a string option that is not UTF-8 while it decodes (and by an exception
# that it does not declare). RFC 7252 section 5.4.1 wants 4.02 for such a critical option, so that the message must be
# decoded first; test_layer.py has that. These are its string options.
STRINGS = {3, 8, 11, 15, 20, 35, 39}

# aiocoap turns uint options into numbers, so leading zero bytes are lost (section 3.2 allows them).
UINTS = {6, 7, 12, 13, 14, 16, 17, 23, 27, 28, 60, 258}


def oracle(data: bytes) -> aiocoap.Message | UnicodeDecodeError | None:
    try:
        return aiocoap.Message.decode(data)
    except aiocoap.error.UnparsableMessage:
        return None
    except UnicodeDecodeError as error:
        return error


@pytest.mark.parametrize(("reason", "data"), LAXER_ORACLE.items())
def test_where_the_oracle_is_laxer_than_the_rfc(reason: Malformed, data: str) -> None:
    assert isinstance(oracle(bytes.fromhex(data)), aiocoap.Message)
    with pytest.raises(DecodeError) as caught:
        decode(bytes.fromhex(data))
    assert caught.value.reason is reason


def attempt(data: bytes) -> Message | DecodeError:
    try:
        return decode(data)
    except DecodeError as error:
        return error


def is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def comparable(options: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    return [(number, value.lstrip(b"\0") if number in UINTS else value) for number, value in options]


def options_of(options: Options) -> list[tuple[int, bytes]]:
    return [(int(option.number), option.encode()) for option in options.option_list()]


@unhurried
@given(datagrams)
@example(bytes.fromhex("40010001b1ff"))
@example(bytes.fromhex("40010001c40000002a"))
def test_the_oracle_says_the_same(data: bytes) -> None:
    theirs = oracle(data)
    ours = attempt(data)
    if isinstance(ours, DecodeError):
        assert theirs is None or isinstance(theirs, UnicodeDecodeError) or ours.reason in LAXER_ORACLE
        return
    if isinstance(theirs, UnicodeDecodeError):
        assert any(number in STRINGS and not is_utf8(value) for number, value in ours.options)
        return
    assert theirs is not None
    assert (ours.type, ours.code, ours.message_id) == (theirs.mtype, theirs.code, theirs.mid)
    assert (ours.token, ours.payload) == (theirs.token, theirs.payload)
    assert comparable(ours.options) == comparable(options_of(theirs.opt))


@unhurried
@given(fields)
def test_the_oracle_reads_what_we_write(parts: tuple[int, int, int, bytes, list[tuple[int, bytes]], bytes]) -> None:
    type, code, message_id, token, options, payload = parts
    data = encode(Message(type, code, message_id, token, options, payload))
    theirs = oracle(data)
    if isinstance(theirs, UnicodeDecodeError):
        return
    assert theirs is not None
    assert (theirs.mtype, theirs.code, theirs.mid, theirs.token) == (type, code, message_id, token)
    assert theirs.payload == payload
    assert comparable(options_of(theirs.opt)) == comparable(options)


@unhurried
@given(fields)
def test_every_message_has_one_form(parts: tuple[int, int, int, bytes, list[tuple[int, bytes]], bytes]) -> None:
    data = wire(*parts)
    message = decode(data)
    assert message == Message(*parts)
    assert encode(message) == data


@unhurried
@given(fields)
def test_the_oracle_writes_what_we_write(parts: tuple[int, int, int, bytes, list[tuple[int, bytes]], bytes]) -> None:
    type, code, message_id, token, options, payload = parts
    options = [(number, value) for number, value in comparable(options) if number not in STRINGS or is_utf8(value)]
    theirs = aiocoap.Message(code=code, payload=payload, _mtype=type, _mid=message_id, _token=token)
    for number, value in options:
        theirs.opt.add_option(OptionNumber(number).create_option(decode=value))
    assert encode(Message(type, code, message_id, token, options, payload)) == theirs.encode()


@unhurried
@given(st.one_of(datagrams, st.binary(max_size=64)))
def test_decode_is_total_and_encode_its_inverse(data: bytes) -> None:
    found = attempt(data)
    if isinstance(found, DecodeError):
        readable = len(data) >= 4 and data[0] >> 6 == 1
        assert found.message_id == (int.from_bytes(data[2:4], "big") if readable else None)
        assert found.type == (data[0] >> 4 & 3 if readable else None)
    else:
        # Every number and length has one form only: 13 and 14 begin where the shorter form ends.
        assert encode(found) == data


@unhurried
@given(valid, st.integers(0, 400))
def test_every_prefix_is_a_message_or_an_error(data: bytes, length: int) -> None:
    found = attempt(data[:length])
    assert isinstance(found, DecodeError) or encode(found) == data[:length]


@unhurried
@given(st.integers(0, 2**64))
def test_uint(value: int) -> None:
    data = encode_uint(value)
    assert decode_uint(data) == value
    assert not data.startswith(b"\0")
