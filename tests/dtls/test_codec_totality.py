"""Decoders are total (DESIGN section 6, rule 1): any bytes give a value or `DecodeError`, never anything else."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dtls import Authentication, DecodeError, HandshakeError, TicketKeys
from gateway.dtls.crypto import KeyShare, leaf_key
from gateway.dtls.messages.certificate import Certificate, CertificateRequest, DigitallySigned
from gateway.dtls.messages.framing import Alert, decode_fragments
from gateway.dtls.messages.hello import ClientHello, HelloPrefix, HelloVerifyRequest, NewSessionTicket, ServerHello
from gateway.dtls.messages.key_exchange import (
    EcdheClientKeyExchange,
    EcdheServerKeyExchange,
    PskClientKeyExchange,
    PskServerKeyExchange,
)
from gateway.dtls.record import split_records
from gateway.dtls.resumption import SessionState
from tests.dtls.captured import CAPTURES
from tests.dtls.support import device

SHORT = st.binary(max_size=200)
HELLO = CAPTURES["libcoap-gnutls-certificate"].datagram[25:]

DECODERS: dict[str, Callable[[bytes], object]] = {
    "ClientHello": ClientHello.decode,
    "HelloPrefix": HelloPrefix.decode,
    "HelloVerifyRequest": HelloVerifyRequest.decode,
    "ServerHello": ServerHello.decode,
    "NewSessionTicket": NewSessionTicket.decode,
    "SessionState": SessionState.decode,
    "Certificate": Certificate.decode,
    "CertificateRequest": CertificateRequest.decode,
    "DigitallySigned": DigitallySigned.decode,
    "PskServerKeyExchange": PskServerKeyExchange.decode,
    "PskClientKeyExchange": PskClientKeyExchange.decode,
    "EcdheServerKeyExchange": EcdheServerKeyExchange.decode,
    "EcdheClientKeyExchange": EcdheClientKeyExchange.decode,
    "Alert": Alert.decode,
    "fragments": decode_fragments,
}


@st.composite
def mutated(draw: st.DrawFn, original: bytes) -> bytes:
    """A few bytes changed, then perhaps cut or extended."""
    data = bytearray(original)
    for _ in range(draw(st.integers(0, 6))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))]) + draw(st.binary(max_size=4))


@pytest.mark.parametrize("decode", DECODERS.values(), ids=DECODERS)
@given(data=SHORT)
def test_any_bytes(decode: Callable[[bytes], object], data: bytes) -> None:
    with suppress(DecodeError):
        decode(data)


@given(data=mutated(HELLO))
def test_mutated_client_hello(data: bytes) -> None:
    with suppress(DecodeError):
        hello = ClientHello.decode(data)
        # What was read is what was there.
        assert hello.encode() == data
    with suppress(DecodeError):
        HelloPrefix.decode(data)


@given(data=SHORT)
def test_records_of_any_bytes(data: bytes) -> None:
    records, whole = split_records(data)
    rebuilt = b"".join(
        bytes((r.content_type,))
        + r.version.to_bytes(2, "big")
        + r.number
        + len(r.fragment).to_bytes(2, "big")
        + r.fragment
        for r in records
    )
    assert data.startswith(rebuilt)
    assert whole == (rebuilt == data and data != b"")


@settings(max_examples=60)
@given(data=SHORT | mutated(device().chain[0]))
def test_any_certificate(data: bytes) -> None:
    with suppress(DecodeError, HandshakeError):
        leaf_key(data)


@settings(max_examples=60)
@given(data=st.binary(max_size=80))
def test_any_signature(data: bytes) -> None:
    with pytest.raises(HandshakeError):
        leaf_key(device().chain[0]).verify(0x0403, data, b"signed")


@settings(max_examples=60)
@given(
    group=st.sampled_from([23, 29]),
    point=st.binary(max_size=70) | st.binary(min_size=64, max_size=64).map(b"\x04".__add__),
)
def test_any_public_value(group: int, point: bytes) -> None:
    with suppress(HandshakeError):
        KeyShare.generate(group).agree(point)


SESSION = SessionState(
    authentication=Authentication.CERTIFICATE,
    identity=bytes(32),
    credential=b"what the shell remembers",
    suite=0xC0AE,
    extended_master_secret=True,
    server_name="gateway.example",
    authenticated_at=1_790_000_000,
    issued_at=1_790_000_100,
    master=bytes(48),
)


@given(data=mutated(SESSION.encode()))
def test_mutated_session(data: bytes) -> None:
    with suppress(DecodeError):
        assert SessionState.decode(data).encode()[:15] == data[:15]


@given(data=st.binary(max_size=1100))
def test_any_ticket(data: bytes) -> None:
    assert TicketKeys([bytes(32)], 3600.0).open(data, 1.8e9) is None
