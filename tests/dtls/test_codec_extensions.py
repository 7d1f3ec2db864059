"""Bodies of hello extensions, put together by hand from RFC 6066, RFC 8422, RFC 5246 and RFC 5746."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dtls import DecodeError
from gateway.dtls.messages import extensions as ext


@pytest.mark.parametrize(
    ("data", "name"),
    [
        # ServerNameList<1..2^16-1> of name_type host_name(0), HostName<1..2^16-1>
        ("000c" + "00" + "0009" + "6c6f63616c686f7374", "localhost"),
        # An IP literal, although RFC 6066 section 3 forbids it: libcoap sends it
        ("000c" + "00" + "0009" + "3132372e302e302e31", "127.0.0.1"),
        # A name of an unknown type, alone and in front of a host name
        ("0005" + "07" + "0002" + "aabb", None),
        ("0009" + "07" + "0002" + "aabb" + "00" + "0001" + "61", "a"),
    ],
)
def test_server_name(data: str, name: str | None) -> None:
    assert ext.decode_server_name(bytes.fromhex(data)) == name


@pytest.mark.parametrize(
    "data",
    [
        "",
        "0000",
        "0003" + "00" + "0000",
        "0004" + "00" + "0002" + "61",
        "0004" + "00" + "0001" + "61" + "00",
        "0008" + "00" + "0001" + "61" + "00" + "0001" + "62",
        "0004" + "00" + "0001" + "ff",
        "0005" + "00" + "0001" + "61" + "00",
    ],
)
def test_broken_server_name(data: str) -> None:
    with pytest.raises(DecodeError):
        ext.decode_server_name(bytes.fromhex(data))


def test_encoded_server_name() -> None:
    assert ext.encode_server_name("localhost").hex() == "000c" + "00" + "0009" + "6c6f63616c686f7374"


@pytest.mark.parametrize(("data", "values"), [("00020017", (23,)), ("0004001d0017", (29, 23)), ("0002fafa", (0xFAFA,))])
def test_groups_and_signature_algorithms(data: str, values: tuple[int, ...]) -> None:
    assert ext.decode_u16_list(bytes.fromhex(data)) == values
    assert ext.encode_u16_list(values).hex() == data


@pytest.mark.parametrize("data", ["", "00", "0000", "000117", "0003001700", "00040017", "0002001700"])
def test_broken_groups_and_signature_algorithms(data: str) -> None:
    with pytest.raises(DecodeError):
        ext.decode_u16_list(bytes.fromhex(data))


@pytest.mark.parametrize(("data", "formats"), [("0100", b"\x00"), ("03000102", b"\x00\x01\x02")])
def test_point_formats(data: str, formats: bytes) -> None:
    assert ext.decode_u8_list(bytes.fromhex(data)) == formats
    assert ext.encode_u8_list(formats).hex() == data


@pytest.mark.parametrize("data", ["", "00", "0200", "010000"])
def test_broken_point_formats(data: str) -> None:
    with pytest.raises(DecodeError):
        ext.decode_u8_list(bytes.fromhex(data))


@pytest.mark.parametrize(("data", "value"), [("00", b""), ("03aabbcc", b"\xaa\xbb\xcc")])
def test_renegotiation_info(data: str, value: bytes) -> None:
    assert ext.decode_renegotiation_info(bytes.fromhex(data)) == value


@pytest.mark.parametrize("data", ["", "01", "0000"])
def test_broken_renegotiation_info(data: str) -> None:
    with pytest.raises(DecodeError):
        ext.decode_renegotiation_info(bytes.fromhex(data))


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=255))
def test_server_name_round_trip(name: str) -> None:
    assert ext.decode_server_name(ext.encode_server_name(name)) == name


DECODERS: list[Callable[[bytes], object]] = [
    ext.decode_server_name,
    ext.decode_u16_list,
    ext.decode_u8_list,
    ext.decode_renegotiation_info,
]


@given(st.sampled_from(DECODERS), st.binary(max_size=60))
def test_any_bytes(decode: Callable[[bytes], object], data: bytes) -> None:
    with suppress(DecodeError):
        decode(data)
