"""What a stranger's chain may cost: hostile CA certificates are refused before any signature of theirs is checked."""

import random

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.verification import VerifiedClient

from gateway.pki import ChainProblem, ChainRefused, diagnosis
from gateway.pki.limits import MAX_DIAGNOSIS_SIGNATURES
from gateway.pki.verifier import Verifier
from tests.pki.factory import DAY, NOW, Made, ca, make, name, store, verify

ROOT = ca("Root")
RANDOM = random.Random(1)


def rsa_public(bits: int, exponent: int) -> rsa.RSAPublicKey:
    """A key that nobody has the private half of; making one costs a stranger nothing."""
    modulus = RANDOM.getrandbits(bits) | 1 | 1 << (bits - 1)
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

COSTLY: dict[str, PublicKey] = {
    "RSA-3072, exponent of full size": rsa_public(3072, RANDOM.getrandbits(3070) | 1 | 1 << 3069),
    "RSA-2048, exponent of 33 bits": rsa_public(2048, (1 << 32) + 1),
    "RSA-4104": rsa_public(4104, 65537),
    "RSA-16384": rsa_public(16384, 65537),
    "brainpoolP512r1": ec.generate_private_key(ec.BrainpoolP512R1()).public_key(),
    "secp256k1": ec.generate_private_key(ec.SECP256K1()).public_key(),
    "Ed25519": ed25519.Ed25519PrivateKey.generate().public_key(),
}
PLAIN: dict[str, PublicKey] = {
    "RSA-4096, exponent of 32 bits": rsa_public(4096, (1 << 32) - 1),
    "RSA-2048": rsa_public(2048, 65537),
    "P-256": ec.generate_private_key(ec.SECP256R1()).public_key(),
    "P-384": ec.generate_private_key(ec.SECP384R1()).public_key(),
    "P-521": ec.generate_private_key(ec.SECP521R1()).public_key(),
}


def stranger_ca(key: PublicKey, subject: str = "X", issuer: str = "X") -> x509.Certificate:
    """A CA certificate over any public key, signed by nobody in particular."""
    return (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )


def presented(certificate: x509.Certificate) -> Made:
    return Made(certificate, ec.generate_private_key(ec.SECP256R1()))


LEAF = make("dev", ca("X"))


@pytest.fixture
def verifications(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each call of the library's verifier."""
    calls: list[int] = []
    original = Verifier.path

    def counted(self: Verifier, *arguments: object) -> VerifiedClient:
        calls.append(1)
        return original(self, *arguments)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(Verifier, "path", counted)
    return calls


@pytest.fixture
def signatures(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each signature that a diagnosis checks."""
    calls: list[int] = []
    original = diagnosis.signed_by

    def counted(subject: x509.Certificate, issuer: x509.Certificate) -> bool:
        calls.append(1)
        return original(subject, issuer)

    monkeypatch.setattr(diagnosis, "signed_by", counted)
    return calls


def refused(*chain: Made, anchors: tuple[Made, ...] = (ROOT,)) -> ChainRefused:
    with pytest.raises(ChainRefused) as caught:
        verify(store(*anchors), *chain)
    return caught.value


@pytest.mark.parametrize("key", COSTLY)
@pytest.mark.parametrize("position", [1, 2])
def test_a_ca_with_a_costly_key_is_refused_before_any_signature(
    verifications: list[int], signatures: list[int], key: str, position: int
) -> None:
    chain = [LEAF, presented(stranger_ca(PLAIN["P-256"], "X", "Y"))]
    chain.insert(position, presented(stranger_ca(COSTLY[key], "Z")))
    problem = refused(*chain)
    assert problem.problem is ChainProblem.WEAK_KEY
    assert f"certificate {position} of the chain" in problem.detail
    assert (verifications, signatures) == ([], [])


@pytest.mark.parametrize("key", PLAIN)
def test_the_keys_of_real_cas_are_looked_at(verifications: list[int], key: str) -> None:
    problem = refused(LEAF, presented(stranger_ca(PLAIN[key])))
    assert problem.problem is ChainProblem.UNKNOWN_ROOT
    assert verifications


def test_a_trust_anchor_may_be_presented_whatever_its_key() -> None:
    # The operator vouches for it, and the verifier takes it from the store, not from the peer.
    odd = ca("Odd Root", key=ec.generate_private_key(ec.BrainpoolP256R1()))
    issuing = ca("Issuing", ROOT)
    assert verify(store(ROOT, odd), make("dev", issuing), issuing, odd).device_name == "dev"


# Many certificates of one name: the verifier tries every order of them.


def test_a_mesh_of_one_name_is_refused_before_any_signature(verifications: list[int], signatures: list[int]) -> None:
    key = ec.generate_private_key(ec.SECP521R1())
    mesh = [ca("X", key=key) for _ in range(5)]
    problem = refused(make("dev", mesh[0]), *mesh)
    assert problem.problem is ChainProblem.INVALID
    assert "'CN=X'" in problem.detail
    assert (verifications, signatures) == ([], [])


def test_a_mesh_of_two_names_is_refused_before_any_signature(verifications: list[int], signatures: list[int]) -> None:
    key = ec.generate_private_key(ec.SECP521R1())
    x, y = ca("X", key=key), ca("Y", key=key)
    mesh = [ca("X", y, key=key), ca("Y", x, key=key), ca("X", y, key=key), ca("Y", x, key=key)]
    assert refused(make("dev", x), *mesh).problem is ChainProblem.INVALID
    assert (verifications, signatures) == ([], [])


def test_the_same_certificate_twice_is_one() -> None:
    issuing = ca("Issuing", ROOT)
    assert verify(store(ROOT), make("dev", issuing), issuing, issuing, ROOT, ROOT).device_name == "dev"


def test_a_cross_signed_ca_may_come_with_its_self_signed_form() -> None:
    own = ca("New Root")
    cross = ca("New Root", ROOT, key=own.key)
    issuing = ca("Issuing", own)
    assert verify(store(ROOT), make("dev", issuing), issuing, own, cross).device_name == "dev"


def test_a_root_that_certified_its_own_new_key_is_followed() -> None:
    # RFC 4210 section 4.4: "new with old", self-issued and yet not self-signed.
    renewed = ca("Root", ROOT)
    assert verify(store(ROOT), make("dev", renewed), renewed, ROOT).device_name == "dev"


# The diagnosis.


def test_a_diagnosis_checks_few_signatures(signatures: list[int]) -> None:
    # Stored namesakes without key ids, among which only a signature could tell.
    namesakes = [presented(stranger_ca(PLAIN["P-256"], "X", "Y")) for _ in range(30)]
    with pytest.raises(ChainRefused):
        verify(store(ROOT, intermediates=namesakes), LEAF)
    assert len(signatures) == MAX_DIAGNOSIS_SIGNATURES


def test_a_diagnosis_has_its_own_budget_each_time(signatures: list[int]) -> None:
    forged = make("dev", make("Thief"), issuer_name=ROOT.certificate.subject)
    for _ in range(MAX_DIAGNOSIS_SIGNATURES + 1):
        assert refused(forged).problem is ChainProblem.BAD_SIGNATURE
    assert len(signatures) == MAX_DIAGNOSIS_SIGNATURES + 1
