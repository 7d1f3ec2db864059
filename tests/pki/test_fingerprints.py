"""A certificate has several encodings that verify. A ban is about all of them, a name by fingerprint about one."""

import hashlib
from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from gateway.pki import (
    ChainProblem,
    ChainRefused,
    IdentityRule,
    PkiError,
    Revocations,
    TrustStore,
    equivalent_fingerprints,
    fingerprint,
    stable_fingerprint,
)
from tests.pki.factory import NOW, Made, ca, make, store, verify

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # SEC 2 section 2.4.2

ROOT = ca("Root")
ISSUING = ca("Issuing", ROOT)


def with_signature(der: bytes, old: bytes, new: bytes, unused: int = 0) -> bytes:
    """A certificate of 256 bytes and more around another signature of at most 124."""
    assert der[:2] == b"\x30\x82"
    assert der.endswith(b"\x03" + bytes((len(old) + 1,)) + b"\0" + old)
    body = der[4 : -len(old) - 3] + bytes((0x03, len(new) + 1, unused)) + new
    return b"\x30\x82" + len(body).to_bytes(2) + body


def encodings(made: Made) -> Iterator[bytes]:
    """What anybody can make of a certificate that an ECDSA key on P-256 signed."""
    signature = made.certificate.signature
    r, s = decode_dss_signature(signature)
    for value in (s, P256_ORDER - s):
        new = encode_dss_signature(r, value)
        for unused in range(8):
            if new[-1] % (1 << unused) == 0:
                yield with_signature(made.der, signature, new, unused)


def unused_bits(der: bytes) -> int:
    return der[-len(x509.load_der_x509_certificate(der).signature) - 1]


def unusual(subject: str, issuer: Made) -> Made:
    """A certificate whose signature ends in zero bits, whichever form of s it has, so that there are more encodings."""
    while True:
        made = make(subject, issuer)
        if len(list(encodings(made))) >= 4:
            return made


LEAF = unusual("dev", ISSUING)
SHA256 = {der: hashlib.sha256(der).hexdigest() for der in encodings(LEAF)}
WHOLE = {
    der: sha256 for der, sha256 in SHA256.items() if not der[-len(x509.load_der_x509_certificate(der).signature) - 1]
}
"""Those in which every bit of the signature is used: others are refused."""


def problem(trust: TrustStore, *chain: bytes) -> ChainProblem:
    with pytest.raises(ChainRefused) as caught:
        trust.verify(chain, NOW)
    return caught.value.problem


def test_both_forms_verify_and_are_known() -> None:
    # If a release of `cryptography` accepts one form only, this module can go.
    trust = store(ROOT)
    assert len(WHOLE) == 2
    for der, sha256 in WHOLE.items():
        verified = trust.verify([der, ISSUING.der], NOW)
        assert verified.fingerprint == sha256
        assert {sha256, verified.twin} == set(WHOLE.values())
    for der in SHA256:
        made = x509.load_der_x509_certificate(der)
        assert equivalent_fingerprints(made, ISSUING.certificate) == set(SHA256.values())
        assert stable_fingerprint(made, ISSUING.certificate) == stable_fingerprint(
            LEAF.certificate, ISSUING.certificate
        )
    assert stable_fingerprint(LEAF.certificate, ISSUING.certificate) in SHA256.values()


def test_a_signature_of_fewer_bits_than_its_bytes_is_refused() -> None:
    # `cryptography` takes it; it would be another fingerprint that nobody issued.
    for der in SHA256.keys() - WHOLE.keys():
        assert problem(store(ROOT), der, ISSUING.der) is ChainProblem.MALFORMED
    for der in encodings(ISSUING):
        if unused_bits(der):
            assert problem(store(ROOT), LEAF.der, der) is ChainProblem.MALFORMED


@pytest.mark.parametrize("banned", SHA256.values())
def test_a_ban_of_a_device_holds_for_every_encoding(banned: str) -> None:
    trust = store(ROOT, banned=[banned])
    for der in WHOLE:
        assert problem(trust, der, ISSUING.der) is ChainProblem.DISTRUSTED
    assert verify(trust, make("dev2", ISSUING), ISSUING).device_name == "dev2"


def test_a_ban_of_an_intermediate_holds_for_every_encoding_and_for_all_below() -> None:
    trust = store(ROOT, banned=[fingerprint(ISSUING.certificate)], intermediates=[ISSUING])
    for der in encodings(ISSUING):
        assert problem(trust, LEAF.der, der) in (ChainProblem.DISTRUSTED, ChainProblem.MALFORMED)
    assert problem(trust, LEAF.der) is ChainProblem.DISTRUSTED
    below = ca("Below", ISSUING)
    assert problem(trust, make("dev", below).der, below.der, ISSUING.der) is ChainProblem.DISTRUSTED
    other = ca("Other", ROOT)
    assert verify(trust, make("dev", other), other).device_name == "dev"


def test_a_banned_anchor_vouches_for_nobody() -> None:
    pinned = make("dev")
    trust = store(ROOT, pinned, banned=[fingerprint(ROOT.certificate), fingerprint(pinned.certificate)])
    assert problem(trust, make("dev", ROOT).der) is ChainProblem.DISTRUSTED
    assert problem(trust, pinned.der) is ChainProblem.DISTRUSTED


def test_a_ban_reaches_devices_that_were_verified_before() -> None:
    trust = store(ROOT)
    verify(trust, LEAF, ISSUING)
    banned = trust.with_revocations(Revocations(), [SHA256[LEAF.der]])
    assert problem(banned, LEAF.der, ISSUING.der) is ChainProblem.DISTRUSTED
    lifted = banned.with_revocations(Revocations(), [])
    assert verify(lifted, LEAF, ISSUING).device_name == "dev"


def test_a_ban_says_which_certificate_and_what_to_do() -> None:
    with pytest.raises(ChainRefused) as caught:
        verify(store(ROOT, banned=[SHA256[LEAF.der]]), LEAF, ISSUING)
    assert "device certificate 'dev' is banned" in caught.value.detail
    assert SHA256[LEAF.der] in caught.value.detail
    assert "issue a certificate" in caught.value.detail
    with pytest.raises(ChainRefused) as caught:
        verify(store(ROOT, banned=[fingerprint(ISSUING.certificate)]), LEAF, ISSUING)
    assert "CA certificate 'Issuing' is banned" in caught.value.detail
    assert "another CA" in caught.value.detail


def test_a_fingerprint_may_be_written_as_openssl_prints_it() -> None:
    plain = SHA256[LEAF.der]
    colons = ":".join(plain[at : at + 2] for at in range(0, 64, 2)).upper()
    assert problem(store(ROOT, banned=[colons]), LEAF.der, ISSUING.der) is ChainProblem.DISTRUSTED


@pytest.mark.parametrize(
    "bad", ["", "ab", "g" * 64, "a" * 63, "a" * 65, "sha256 Fingerprint=" + "a" * 64, "\u0661" * 64]
)
def test_a_ban_that_could_never_match_is_an_error(bad: str) -> None:
    with pytest.raises(PkiError, match="fingerprint"):
        store(ROOT, banned=[bad])


@pytest.mark.parametrize(
    "key", [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())], ids=["RSA", "P-384"]
)
def test_other_signatures(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> None:
    root = ca("Other Root", key=key)
    leaf = make("dev", root)
    known = equivalent_fingerprints(leaf.certificate, root.certificate)
    assert fingerprint(leaf.certificate) in known
    if isinstance(key, rsa.RSAPrivateKey):
        assert stable_fingerprint(leaf.certificate, root.certificate) == fingerprint(leaf.certificate)
    assert problem(store(root, banned=known), leaf.der) is ChainProblem.DISTRUSTED


def test_a_name_by_fingerprint_is_the_same_for_every_encoding() -> None:
    trust = store(ROOT, identity_rule=IdentityRule.parse("fingerprint"))
    names = {trust.verify([der, ISSUING.der], NOW).device_name for der in WHOLE}
    assert names == {stable_fingerprint(LEAF.certificate, ISSUING.certificate)}


def test_a_pinned_device_is_named_by_what_was_pinned() -> None:
    # Its own signature is not looked at; here it is of another CA, with a key of another kind.
    stranger = ca("RSA Stranger", key=rsa.generate_private_key(65537, 2048))
    for pinned in (make("dev"), make("dev", stranger), make("dev", key=ed25519.Ed25519PrivateKey.generate())):
        trust = store(pinned, identity_rule=IdentityRule.parse("fingerprint"))
        assert verify(trust, pinned).device_name == fingerprint(pinned.certificate)
