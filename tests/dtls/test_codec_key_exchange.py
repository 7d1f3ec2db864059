"""Key exchange and certificate messages: bytes put together by hand from RFC 5246, RFC 4279 and RFC 8422."""

from collections.abc import Callable
from typing import Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dtls import DecodeError
from gateway.dtls.limits import MAX_CERTIFICATES, MAX_PSK_IDENTITY
from gateway.dtls.messages.certificate import Certificate, CertificateRequest, DigitallySigned
from gateway.dtls.messages.key_exchange import (
    EcdheClientKeyExchange,
    EcdheParameters,
    EcdheServerKeyExchange,
    PskClientKeyExchange,
    PskServerKeyExchange,
)


class Message(Protocol):
    def encode(self) -> bytes: ...


Decode = Callable[[bytes], Message]

POINT = "04" + "11" * 32 + "22" * 32

GOOD: list[tuple[Decode, str, Message]] = [
    # Certificate (RFC 5246 7.4.2): certificate_list<0..2^24-1> of ASN.1Cert<1..2^24-1>
    (Certificate.decode, "000000", Certificate(())),
    (Certificate.decode, "000004" + "000001" + "30", Certificate((b"\x30",))),
    (
        Certificate.decode,
        "00000b" + "000002" + "3001" + "000003" + "300203",
        Certificate((b"\x30\x01", b"\x30\x02\x03")),
    ),
    # CertificateRequest (7.4.4): types<1..2^8-1>, supported_signature_algorithms<2..2^16-2>, authorities<0..2^16-1>
    (CertificateRequest.decode, "0140" + "00020403" + "0000", CertificateRequest(b"\x40", (0x0403,))),
    (
        CertificateRequest.decode,
        "024001" + "000404030503" + "0007" + "0002aabb" + "0001cc",
        CertificateRequest(b"\x40\x01", (0x0403, 0x0503), (b"\xaa\xbb", b"\xcc")),
    ),
    # CertificateVerify (7.4.8, 4.7): algorithm, signature<0..2^16-1>
    (DigitallySigned.decode, "0403" + "0003010203", DigitallySigned(0x0403, b"\x01\x02\x03")),
    (DigitallySigned.decode, "0201" + "0000", DigitallySigned(0x0201, b"")),
    # ServerKeyExchange, PSK (RFC 4279 section 2): psk_identity_hint<0..2^16-1>
    (PskServerKeyExchange.decode, "0000", PskServerKeyExchange(b"")),
    (PskServerKeyExchange.decode, "000468696e74", PskServerKeyExchange(b"hint")),
    # ClientKeyExchange, PSK: psk_identity<0..2^16-1>; bytes, NUL and invalid UTF-8 too
    (PskClientKeyExchange.decode, "0000", PskClientKeyExchange(b"")),
    (PskClientKeyExchange.decode, "000664657631" + "0078", PskClientKeyExchange(b"dev1\x00x")),
    (PskClientKeyExchange.decode, "0002fffe", PskClientKeyExchange(b"\xff\xfe")),
    (
        PskClientKeyExchange.decode,
        MAX_PSK_IDENTITY.to_bytes(2, "big").hex() + "41" * MAX_PSK_IDENTITY,
        PskClientKeyExchange(b"A" * MAX_PSK_IDENTITY),
    ),
    # ServerKeyExchange, ECDHE (RFC 8422 5.4): named_curve(3), secp256r1(23), point<1..2^8-1>, signature
    (
        EcdheServerKeyExchange.decode,
        "03" + "0017" + "41" + POINT + "0403" + "0001" + "ab",
        EcdheServerKeyExchange(EcdheParameters(23, bytes.fromhex(POINT)), DigitallySigned(0x0403, b"\xab")),
    ),
    # ClientKeyExchange, ECDHE (RFC 8422 5.7)
    (EcdheClientKeyExchange.decode, "41" + POINT, EcdheClientKeyExchange(bytes.fromhex(POINT))),
    (EcdheClientKeyExchange.decode, "20" + "09" * 32, EcdheClientKeyExchange(b"\x09" * 32)),
]

BAD: list[tuple[Decode, str]] = [
    (Certificate.decode, ""),
    (Certificate.decode, "0000"),
    (Certificate.decode, "00000000"),
    (Certificate.decode, "000003" + "000000"),
    (Certificate.decode, "000004" + "000002" + "30"),
    (Certificate.decode, "000005" + "000001" + "30"),
    (Certificate.decode, "000005" + "000001" + "3000"),
    (Certificate.decode, (4 * (MAX_CERTIFICATES + 1)).to_bytes(3, "big").hex() + "00000130" * (MAX_CERTIFICATES + 1)),
    (CertificateRequest.decode, ""),
    (CertificateRequest.decode, "00" + "00020403" + "0000"),
    (CertificateRequest.decode, "0140" + "0000" + "0000"),
    (CertificateRequest.decode, "0140" + "0003040305" + "0000"),
    (CertificateRequest.decode, "0140" + "00020403"),
    (CertificateRequest.decode, "0140" + "00020403" + "0002" + "0000"),
    (CertificateRequest.decode, "0140" + "00020403" + "0003" + "0002aa"),
    (CertificateRequest.decode, "0140" + "00020403" + "0000" + "00"),
    (DigitallySigned.decode, ""),
    (DigitallySigned.decode, "04"),
    (DigitallySigned.decode, "0403"),
    (DigitallySigned.decode, "0403" + "0002" + "01"),
    (DigitallySigned.decode, "0403" + "0001" + "0102"),
    (PskServerKeyExchange.decode, "00"),
    (PskServerKeyExchange.decode, "0002aa"),
    (PskServerKeyExchange.decode, "0001aabb"),
    (PskClientKeyExchange.decode, ""),
    (PskClientKeyExchange.decode, "00"),
    (PskClientKeyExchange.decode, "000564657631"),
    (PskClientKeyExchange.decode, "000364657631"),
    (
        PskClientKeyExchange.decode,
        (MAX_PSK_IDENTITY + 1).to_bytes(2, "big").hex() + "41" * (MAX_PSK_IDENTITY + 1),
    ),
    (EcdheServerKeyExchange.decode, ""),
    (EcdheServerKeyExchange.decode, "01" + "0017" + "41" + POINT + "0403" + "0001" + "ab"),
    (EcdheServerKeyExchange.decode, "03" + "0017" + "00" + "0403" + "0001" + "ab"),
    (EcdheServerKeyExchange.decode, "03" + "0017" + "41" + POINT),
    (EcdheServerKeyExchange.decode, "03" + "0017" + "41" + POINT + "0403" + "0001" + "abcd"),
    (EcdheClientKeyExchange.decode, ""),
    (EcdheClientKeyExchange.decode, "00"),
    (EcdheClientKeyExchange.decode, "41" + POINT[:-2]),
    (EcdheClientKeyExchange.decode, "41" + POINT + "00"),
]


def name(value: object) -> str | None:
    return getattr(value, "__qualname__", None)


@pytest.mark.parametrize(("decode", "data", "message"), GOOD, ids=name)
def test_message(decode: Decode, data: str, message: Message) -> None:
    assert decode(bytes.fromhex(data)) == message
    assert message.encode().hex() == data


@pytest.mark.parametrize(("decode", "data"), BAD, ids=name)
def test_broken_message(decode: Decode, data: str) -> None:
    with pytest.raises(DecodeError):
        decode(bytes.fromhex(data))


u16 = st.integers(0, 0xFFFF)
signed = st.builds(DigitallySigned, u16, st.binary(max_size=300))
parameters = st.builds(EcdheParameters, u16, st.binary(min_size=1, max_size=255))
messages: list[st.SearchStrategy[Message]] = [
    st.builds(Certificate, st.lists(st.binary(min_size=1, max_size=300), max_size=MAX_CERTIFICATES).map(tuple)),
    st.builds(
        CertificateRequest,
        st.binary(min_size=1, max_size=255),
        st.lists(u16, min_size=1, max_size=50).map(tuple),
        st.lists(st.binary(min_size=1, max_size=100), max_size=10).map(tuple),
    ),
    signed,
    st.builds(PskServerKeyExchange, st.binary(max_size=300)),
    st.builds(PskClientKeyExchange, st.binary(max_size=MAX_PSK_IDENTITY)),
    st.builds(EcdheServerKeyExchange, parameters, signed),
    st.builds(EcdheClientKeyExchange, st.binary(min_size=1, max_size=255)),
]


@given(st.one_of(messages))
def test_round_trip(message: Message) -> None:
    decode: Decode = type(message).decode  # type: ignore[attr-defined]  # each of the seven has one
    data = message.encode()
    assert decode(data) == message
    for broken in (data[:-1], data + b"\x00"):
        with pytest.raises(DecodeError):
            decode(broken)
