"""CONVENTIONS section 5, row by row: what our policy accepts and refuses, and why it has the checks that it has."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError

from gateway.pki import ChainProblem, ChainRefused, TrustAnchor, TrustStore
from tests.pki.factory import (
    DAY,
    NOW,
    Extension,
    Key,
    Made,
    aki,
    ca,
    eku,
    key_usage,
    make,
    name,
    san,
    store,
    verify,
)

ROOT = ca("Root")
INTERMEDIATE = ca("Intermediate", ROOT)
URN = x509.UniformResourceIdentifier("urn:dev:mac:0024befffe804ff1")
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
UNKNOWN_EXTENSION = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.32473.1"), b"\x05\x00")
STRICT_CA: tuple[Extension, ...] = (key_usage("key_cert_sign", "crl_sign"),)


def refused(problem: ChainProblem, *chain: Made, anchors: tuple[Made, ...] = (ROOT,), strict: bool = False) -> str:
    with pytest.raises(ChainRefused) as caught:
        verify(store(*anchors, strict=strict), *chain)
    assert caught.value.problem is problem, caught.value.detail
    return caught.value.detail


# First table: leaves.

ACCEPTED: dict[str, tuple[x509.Name, tuple[Extension, ...], str]] = {
    "common name only, no SAN": (name("dev"), (aki(ROOT),), "dev"),
    "bare: no extension at all": (name("dev"), (), "dev"),
    "no authority key id": (name("dev"), (eku(CLIENT), key_usage("digital_signature")), "dev"),
    "SAN URI, clientAuth, authority key id": (name("dev"), (san(URN), eku(CLIENT), aki(ROOT)), URN.value),
    "SAN DNS, clientAuth": (name("x"), (san(x509.DNSName("dev.example")), eku(CLIENT), aki(ROOT)), "dev.example"),
    "SAN, no extendedKeyUsage": (name("dev"), (san(URN), aki(ROOT)), URN.value),
    "SAN, critical basicConstraints ca=false": (
        name("dev"),
        (san(URN), aki(ROOT), (x509.BasicConstraints(ca=False, path_length=None), True)),
        URN.value,
    ),
    "anyExtendedKeyUsage": (name("dev"), (eku(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE),), "dev"),
    "client and server": (name("dev"), (eku(SERVER, CLIENT),), "dev"),
    "unknown extension, not critical": (name("dev"), ((UNKNOWN_EXTENSION, False),), "dev"),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted_leaves(case: str) -> None:
    subject, extensions, expected = ACCEPTED[case]
    assert verify(store(ROOT), make(subject, ROOT, *extensions)).device_name == expected


def test_server_purpose_only_is_refused() -> None:
    detail = refused(ChainProblem.WRONG_KEY_USAGE, make("dev", ROOT, eku(SERVER)))
    assert "clientAuth" in detail


def test_key_usage_without_digital_signature_is_refused() -> None:
    detail = refused(ChainProblem.WRONG_KEY_USAGE, make("dev", ROOT, key_usage("key_agreement")))
    assert "digitalSignature" in detail


def test_unknown_critical_extension_is_refused() -> None:
    refused(ChainProblem.INVALID, make("dev", ROOT, (UNKNOWN_EXTENSION, True)))


def test_an_intermediate_as_device_is_refused() -> None:
    refused(ChainProblem.CA_AS_LEAF, INTERMEDIATE)
    refused(ChainProblem.CA_AS_LEAF, INTERMEDIATE, ROOT)


def test_the_root_itself_as_device_is_refused() -> None:
    refused(ChainProblem.CA_AS_LEAF, ROOT)


# Second table: why the three checks are there. If a release of `cryptography` closes one of these, look again.


def library_accepts(policy: ExtensionPolicy, leaf: Made, *others: Made) -> bool:
    factory_ca = ExtensionPolicy.permit_all().require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
    builder = PolicyBuilder().store(Store([ROOT.certificate])).time(NOW)
    verifier = builder.extension_policies(ca_policy=factory_ca, ee_policy=policy).build_client_verifier()
    try:
        verifier.verify(leaf.certificate, [other.certificate for other in others])
    except VerificationError:
        return False
    return True


def test_the_library_alone_would_refuse_plain_device_certificates() -> None:
    web = ExtensionPolicy.webpki_defaults_ee()
    assert library_accepts(web, make("dev", ROOT, san(URN), aki(ROOT), eku(CLIENT)))
    assert not library_accepts(web, make("dev", ROOT, aki(ROOT), eku(CLIENT)))
    assert not library_accepts(web, make("dev", ROOT, san(URN), eku(CLIENT)))


def test_the_library_alone_would_accept_a_ca_and_a_server_as_device() -> None:
    anything = ExtensionPolicy.permit_all()
    assert library_accepts(anything, INTERMEDIATE)
    assert library_accepts(anything, ROOT)
    assert library_accepts(anything, make("dev", ROOT, eku(SERVER)))


# Invariants.


@pytest.mark.parametrize("years", [20, 7973], ids=["20 years", "9999-12-31"])
def test_long_lived_leaves_are_fine(years: int) -> None:
    end = NOW.replace(year=9999, month=12, day=31, hour=23, minute=59, second=59) if years > 20 else NOW + 7300 * DAY
    assert verify(store(ROOT), make("dev", ROOT, end=end)).device_name == "dev"


def test_an_issuer_without_basic_constraints_is_refused() -> None:
    not_a_ca = make("Intermediate", ROOT, key_usage("key_cert_sign"))
    detail = refused(ChainProblem.NOT_A_CA, make("dev", not_a_ca), not_a_ca)
    assert "'Intermediate'" in detail


def test_a_leaf_signed_by_a_leaf_is_refused() -> None:
    other_device = make("dev1", ROOT, (x509.BasicConstraints(ca=False, path_length=None), True))
    refused(ChainProblem.NOT_A_CA, make("dev2", other_device), other_device)


def test_an_issuer_without_key_cert_sign_is_refused() -> None:
    no_signer = ca("Intermediate", ROOT, key_usage("digital_signature"))
    detail = refused(ChainProblem.NOT_A_CA, make("dev", no_signer), no_signer)
    assert "keyCertSign" in detail


def test_a_path_length_is_kept() -> None:
    top = ca("Top", ROOT, path_length=0)
    below = ca("Below", top)
    assert verify(store(ROOT), make("dev", top), top).device_name == "dev"
    detail = refused(ChainProblem.CHAIN_TOO_LONG, make("dev", below), below, top)
    assert "'Top'" in detail
    assert "pathLenConstraint" in detail


def test_four_intermediates_are_followed_and_five_are_not() -> None:
    chain = [ROOT]
    for level in range(5):
        chain.append(ca(f"Level {level}", chain[-1]))
    four, five = make("dev", chain[4]), make("dev", chain[5])
    assert len(verify(store(ROOT), four, *chain[4:0:-1]).issuers) == 5
    refused(ChainProblem.CHAIN_TOO_LONG, five, *chain[5:0:-1])


def test_a_mesh_of_cross_signed_intermediates_is_given_up() -> None:
    # The library's signature budget: 30 CAs that all certified each other, none of them certified by the root.
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(30)]
    nodes = [ca("Mesh", key=key) for key in keys]
    mesh = [ca("Mesh", node, key=key) for node in nodes for key in keys[:2]]
    trust = store(ROOT, intermediates=mesh)
    with pytest.raises(ChainRefused):
        verify(trust, make("dev", nodes[0], issuer_name=name("Mesh")))


WEAK_CA_KEYS: dict[str, ec.EllipticCurve] = {"secp256k1": ec.SECP256K1(), "P-192": ec.SECP192R1()}
GOOD_CA_KEYS: dict[str, ec.EllipticCurve] = {"P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}


@pytest.mark.parametrize("curve", WEAK_CA_KEYS)
def test_ca_keys_that_are_refused(curve: str) -> None:
    root = ca("Odd Root", key=ec.generate_private_key(WEAK_CA_KEYS[curve]))
    refused(ChainProblem.INVALID, make("dev", root), anchors=(root,))


@pytest.mark.parametrize("curve", GOOD_CA_KEYS)
def test_ca_keys_that_are_fine(curve: str) -> None:
    root = ca("Root 2", key=ec.generate_private_key(GOOD_CA_KEYS[curve]))
    assert verify(store(root), make("dev", root)).device_name == "dev"


def test_an_rsa_factory_ca_is_fine() -> None:
    root = ca("RSA Root", key=rsa.generate_private_key(65537, 2048))
    assert verify(store(root), make("dev", root)).device_name == "dev"


# The leaf's own key, which the library does not look at.

WEAK_LEAF_KEYS: dict[str, Key] = {
    "secp256k1": ec.generate_private_key(ec.SECP256K1()),
    "brainpoolP256r1": ec.generate_private_key(ec.BrainpoolP256R1()),
    "secp521r1": ec.generate_private_key(ec.SECP521R1()),
    "Ed448": ed448.Ed448PrivateKey.generate(),
    "RSA key of 1024 bits": rsa.generate_private_key(65537, 1024),
    "RSA key of 2048 bits": rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize("key", WEAK_LEAF_KEYS)
def test_leaf_keys_off_the_list_are_refused(key: str) -> None:
    detail = refused(ChainProblem.WEAK_KEY, make("dev", ROOT, key=WEAK_LEAF_KEYS[key]))
    assert key in detail
    assert "secp256r1" in detail


@pytest.mark.parametrize("key", ["secp256k1", "Ed448", "RSA key of 1024 bits"])
def test_the_library_alone_would_accept_a_weak_leaf_key(key: str) -> None:
    assert library_accepts(ExtensionPolicy.permit_all(), make("dev", ROOT, key=WEAK_LEAF_KEYS[key]))


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()])
def test_p_384_and_ed25519_leaves_are_accepted(key: Key) -> None:
    assert verify(store(ROOT), make("dev", ROOT, key=key)).device_name == "dev"


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()])
def test_own_certificate_again_among_those_above_is_ignored(key: Key) -> None:
    """`openssl s_client -cert_chain` sends it twice. An Ed25519 key would be none for a CA."""
    issuing = ca("Issuing", ROOT)
    leaf = make("dev", issuing, aki(issuing), key=key)
    assert verify(store(ROOT), leaf, leaf, issuing).device_name == "dev"


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()])
def test_the_accepted_curves_are_a_parameter(key: Key) -> None:
    curve = "secp384r1" if isinstance(key, ec.EllipticCurvePrivateKey) else "ed25519"
    trust = TrustStore([TrustAnchor.of(ROOT.certificate)], leaf_curves=frozenset({curve}))
    assert verify(trust, make("dev", ROOT, key=key)).device_name == "dev"
    with pytest.raises(ChainRefused) as caught:
        verify(trust, make("dev", ROOT))
    assert caught.value.problem is ChainProblem.WEAK_KEY


def test_empty_subject_without_san_is_refused() -> None:
    refused(ChainProblem.NO_IDENTITY, make(x509.Name([]), ROOT))


# Name constraints: DNS only; the others make the library give up, so they isolate nothing.


def constrained(permitted: x509.GeneralName) -> Made:
    return ca("Constrained", ROOT, (x509.NameConstraints([permitted], None), True))


def test_dns_name_constraints_hold_for_a_san_and_not_for_a_common_name() -> None:
    issuer = constrained(x509.DNSName("a.example"))
    assert verify(store(ROOT), make("x", issuer, san(x509.DNSName("dev.a.example"))), issuer).device_name
    refused(ChainProblem.INVALID, make("x", issuer, san(x509.DNSName("dev.b.example"))), issuer)
    assert verify(store(ROOT), make("dev.b.example", issuer), issuer).device_name == "dev.b.example"


def test_other_name_constraints_refuse_everything() -> None:
    for permitted, names in (
        (x509.DirectoryName(name(organization="A")), [x509.DirectoryName(name("dev", "A"))]),
        (x509.UniformResourceIdentifier(".a.example"), [x509.UniformResourceIdentifier("https://dev.a.example")]),
    ):
        issuer = constrained(permitted)
        refused(ChainProblem.INVALID, make(name("dev", "A"), issuer, san(*names)), issuer)


# Trust anchors.


def test_an_intermediate_as_anchor() -> None:
    verified = verify(store(INTERMEDIATE), make("dev", INTERMEDIATE))
    assert verified.anchor.certificate == INTERMEDIATE.certificate


def test_with_root_and_intermediate_trusted_the_nearer_one_verifies() -> None:
    verified = verify(store(ROOT, INTERMEDIATE), make("dev", INTERMEDIATE), INTERMEDIATE)
    assert verified.anchor.certificate == INTERMEDIATE.certificate


def test_two_anchors_with_the_same_subject() -> None:
    twin = ca("Root")
    trust = store(ROOT, twin)
    for anchor in (ROOT, twin):
        assert verify(trust, make("dev", anchor)).anchor.certificate == anchor.certificate
        assert verify(trust, make("dev", anchor, aki(anchor))).anchor.certificate == anchor.certificate


def test_a_self_signed_device_certificate_as_anchor_pins_that_device() -> None:
    pinned, stranger = make("dev"), make("dev")
    assert verify(store(pinned), pinned).issuers == ()
    refused(ChainProblem.UNKNOWN_ROOT, stranger, anchors=(pinned,))


def test_a_pinned_device_cannot_vouch_for_another_one() -> None:
    pinned = make("dev")
    refused(ChainProblem.NOT_A_CA, make("dev2", pinned), anchors=(pinned,))


def test_a_factory_root_without_key_usage_is_fine_unless_strict() -> None:
    leaf = make("dev", ROOT)
    assert verify(store(ROOT), leaf).device_name == "dev"
    refused(ChainProblem.INVALID, leaf, strict=True)


def test_a_strict_root_follows_the_web_profile() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    strict_root = ca("Strict Root", None, *STRICT_CA, key=key)
    assert verify(store(strict_root, strict=True), make("dev", strict_root)).device_name == "dev"


def test_an_expired_anchor_verifies_nothing() -> None:
    old = ca("Old Root", end=NOW - DAY / 2)
    detail = refused(ChainProblem.EXPIRED, make("dev", old), anchors=(old,))
    assert "CA certificate 'Old Root'" in detail


def test_a_missing_intermediate_is_refused_unless_it_is_stored() -> None:
    root = ca(name("Root", "Works"))
    intermediate = ca(name("Issuing", "Works"), root)
    leaf = make("dev", intermediate, aki(intermediate))
    with pytest.raises(ChainRefused) as caught:
        verify(store(root), leaf)
    assert caught.value.problem is ChainProblem.MISSING_INTERMEDIATE
    assert verify(store(root, intermediates=[intermediate]), leaf).anchor.certificate == root.certificate


def test_the_root_in_the_chain_and_any_order_are_tolerated() -> None:
    lower = ca("Lower", INTERMEDIATE)
    leaf = make("dev", lower)
    assert verify(store(ROOT), leaf, ROOT, INTERMEDIATE, lower).device_name == "dev"
