"""Whatever bytes a device presents, `ChainRefused` is the only exception, and no altered content is believed."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.pki import (
    ChainProblem,
    ChainRefused,
    PkiError,
    VerifiedChain,
    files,
    load_certificates,
    load_private_key,
    parse_certificates,
)
from tests.pki.factory import NOW, aki, ca, eku, key_usage, make, name, san, store

ROOT = ca(name("Root", "Works"))
ISSUING = ca(name("Issuing", "Works"), ROOT, key_usage("key_cert_sign"))
LEAF = make(
    "dev",
    ISSUING,
    aki(ISSUING),
    key_usage("digital_signature"),
    eku(ExtendedKeyUsageOID.CLIENT_AUTH),
    san(x509.UniformResourceIdentifier("urn:dev:mac:0024befffe804ff1"), x509.DNSName("dev.example")),
)
CHAIN = [LEAF.der, ISSUING.der]


def outcome(chain: list[bytes]) -> ChainProblem | VerifiedChain:
    """What became of a chain; anything raised but ChainRefused goes up."""
    try:
        return store(ROOT).verify(chain, NOW)
    except ChainRefused as refused:
        problem, detail = refused.problem, refused.detail
    assert detail.isprintable()
    assert len(detail) < 700
    return problem


def accepted(chain: list[bytes]) -> bool:
    return isinstance(outcome(chain), VerifiedChain)


def says_what_was_signed(chain: list[bytes]) -> bool:
    """Refused, or accepted with exactly the content that the CAs signed.

    A certificate's encoding outside its signed part is not unique (the BIT STRING's count of unused bits; s and n-s in
    ECDSA), so a fingerprint can be changed by anybody; `test_fingerprints` is about what follows from that.
    """
    result = outcome(chain)
    return isinstance(result, ChainProblem) or (
        x509.load_der_x509_certificate(chain[0]).tbs_certificate_bytes == LEAF.certificate.tbs_certificate_bytes
        and result.issuers[0].tbs_certificate_bytes == ISSUING.certificate.tbs_certificate_bytes
    )


@given(st.lists(st.binary(max_size=300), max_size=8))
@settings(max_examples=300, deadline=None)
def test_random_bytes(chain: list[bytes]) -> None:
    assert not accepted(chain)


@st.composite
def der(draw: st.DrawFn, depth: int = 4) -> bytes:
    """Well-formed DER of any shape, which gets further than random bytes."""
    tag = draw(st.sampled_from([0x02, 0x03, 0x04, 0x05, 0x06, 0x0C, 0x13, 0x17, 0x30, 0x31, 0xA0, 0xA3, 0x80, 0x86]))
    if depth and tag & 0x20:
        body = b"".join(draw(st.lists(der(depth=depth - 1), max_size=5)))
    else:
        body = draw(st.binary(max_size=20))
    length = bytes([len(body)]) if len(body) < 128 else b"\x82" + len(body).to_bytes(2, "big")
    return bytes([tag]) + length + body


@given(st.lists(der(), min_size=1, max_size=3))
@settings(max_examples=300, deadline=None)
def test_random_der(chain: list[bytes]) -> None:
    assert not accepted(chain)


@given(st.integers(0, len(LEAF.der) - 1), st.integers(1, 255))
@settings(max_examples=1000, deadline=None)
@example(0, 1)
def test_one_altered_byte_of_the_leaf_is_never_believed(position: int, change: int) -> None:
    altered = bytearray(LEAF.der)
    altered[position] ^= change
    assert says_what_was_signed([bytes(altered), ISSUING.der])


@given(st.integers(0, len(ISSUING.der) - 1), st.integers(1, 255))
@settings(max_examples=500, deadline=None)
def test_one_altered_byte_of_the_intermediate_is_never_believed(position: int, change: int) -> None:
    altered = bytearray(ISSUING.der)
    altered[position] ^= change
    assert says_what_was_signed([LEAF.der, bytes(altered)])


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_cut_and_stretched_and_spliced(data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(LEAF.der) - 1))
    assert not accepted([LEAF.der[:cut], ISSUING.der])
    assert not accepted([LEAF.der + data.draw(st.binary(min_size=1, max_size=9)), ISSUING.der])
    insert = data.draw(st.binary(min_size=1, max_size=9))
    assert not accepted([LEAF.der[:cut] + insert + LEAF.der[cut:], ISSUING.der])


def with_extension(oid: str, value: bytes) -> bytes:
    """A leaf signed by the real CA whose extension holds something else than its kind promises."""
    broken = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
    return make("dev", ISSUING, (broken, False)).der


EXTENSIONS = {
    "subjectAltName": "2.5.29.17",
    "basicConstraints": "2.5.29.19",
    "keyUsage": "2.5.29.15",
    "extendedKeyUsage": "2.5.29.37",
    "authorityKeyIdentifier": "2.5.29.35",
    "subjectKeyIdentifier": "2.5.29.14",
    "nameConstraints": "2.5.29.30",
    "certificatePolicies": "2.5.29.32",
    "crlDistributionPoints": "2.5.29.31",
    "SCT list": "1.3.6.1.4.1.11129.2.4.2",
}


@pytest.mark.parametrize("oid", EXTENSIONS.values(), ids=EXTENSIONS.keys())
@given(value=st.one_of(st.binary(max_size=40), der()))
@settings(max_examples=60, deadline=None)
@example(value=b"")
@example(value=b"\x30\x03\x80\x01\xff")
def test_broken_extensions_under_a_valid_signature(oid: str, value: bytes) -> None:
    # A careless CA signs them; the lazy parser meets them after the signature verified.
    chain = [with_extension(oid, value), ISSUING.der]
    result = outcome(chain)
    assert isinstance(result, ChainProblem) or result.device_name == "dev" or oid == EXTENSIONS["subjectAltName"]


def test_the_unaltered_chain_is_accepted() -> None:
    assert accepted(CHAIN)


def test_a_panic_of_the_native_parser_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    panic = type("PanicException", (BaseException,), {})

    def panics(_data: bytes) -> x509.Certificate:
        raise panic("index out of bounds")

    monkeypatch.setattr(x509, "load_der_x509_certificate", panics)
    assert outcome(CHAIN) is ChainProblem.MALFORMED


def test_an_interrupt_is_not_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_data: bytes) -> x509.Certificate:
        raise KeyboardInterrupt

    monkeypatch.setattr(x509, "load_der_x509_certificate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        outcome(CHAIN)


# The operator's files, and what the registry holds, go through the same net.


@pytest.fixture
def panicking(monkeypatch: pytest.MonkeyPatch) -> None:
    panic = type("PanicException", (BaseException,), {})

    def panics(_data: bytes, password: bytes | None = None) -> object:
        raise panic("index out of bounds")

    for loader in ("load_der_x509_certificate", "load_pem_x509_certificates"):
        monkeypatch.setattr(x509, loader, panics)
    for loader in ("load_der_private_key", "load_pem_private_key"):
        monkeypatch.setattr(files, loader, panics)


@pytest.mark.parametrize("data", [b"\x30\x00", b"-----BEGIN CERTIFICATE-----"])
@pytest.mark.usefixtures("panicking")
def test_a_panic_over_a_file_is_an_error_of_the_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(PkiError, match="holds no certificate"):
        load_certificates(path)
    with pytest.raises(PkiError, match="holds no private key"):
        load_private_key(path)


def test_a_file_with_an_extension_twice_is_an_error_of_the_file() -> None:
    # x509.DuplicateExtension is neither a ValueError nor a TypeError. Two OIDs of one length, one renamed to the other.
    one, two = x509.ObjectIdentifier("1.3.6.1.4.1.1.1"), x509.ObjectIdentifier("1.3.6.1.4.1.1.2")
    made = make("dev", None, *((x509.UnrecognizedExtension(oid, b"\x05\x00"), False) for oid in (one, two)))
    prefix = bytes.fromhex("06072b0601040101")
    twice = made.der.replace(prefix + b"\x02", prefix + b"\x01")
    assert twice != made.der
    with pytest.raises(x509.DuplicateExtension):
        _ = x509.load_der_x509_certificate(twice).extensions
    with pytest.raises(PkiError, match="holds no certificate"):
        parse_certificates(twice)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_is_no_error_of_a_file(monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]) -> None:
    def interrupted(_data: bytes) -> x509.Certificate:
        raise stop

    monkeypatch.setattr(x509, "load_der_x509_certificate", interrupted)
    with pytest.raises(stop):
        parse_certificates(b"\x30\x00")
