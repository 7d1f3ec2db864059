"""The verifier's table: chains good, bad and hostile, each with its verdict, beside the verdict of `openssl verify`.

A row is about one defect, or about several that hide each other. The reasons for the rules are in `test_policy_table`,
the sentences for the operator in `test_refusals`; chains that foreign CAs made are in `test_verdicts_peers`.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.pki import ChainProblem, ChainRefused, CrlPolicy, IdentityRule, fingerprint
from tests.pki.factory import DAY, NOW, Extension, Key, Made, aki, ca, crl, eku, entry, key_usage, make, name, san
from tests.pki.peers import Openssl
from tests.pki.test_cost import COSTLY, presented, stranger_ca
from tests.pki.verdicts import Case, Presented, openssl_accepts, verdict

P = ChainProblem
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
NEVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
URN, DNS = x509.UniformResourceIdentifier("urn:dev:mac:0024befffe804ff1"), x509.DNSName("dev.example")
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.32473.1"), b"\x05\x00")
NO_CA: Extension = (x509.BasicConstraints(ca=False, path_length=None), True)
CLOSED, OPEN = {"crl": CrlPolicy.FAIL_CLOSED}, {"crl": CrlPolicy.FAIL_OPEN}
GRACE = {"expired_grace": 30 * DAY}
OLD: dict[str, Any] = {"begin": NOW - 900 * DAY, "end": NOW - 10 * DAY}
EARLY: dict[str, Any] = {"begin": NOW + DAY}
STALE: dict[str, Any] = {"this_update": NOW - 9 * DAY, "next_update": NOW - 2 * DAY}


def row(expected: ChainProblem | str, *chain: Presented, anchors: tuple[Made, ...] | None = None, **more: Any) -> Case:
    trusted = (ROOT,) if anchors is None else anchors
    return Case(expected, chain, trusted, **more)


def below(issuer: Made, *extensions: Extension, **options: Any) -> tuple[Made, Made]:
    """A device, and the CA that issued its certificate."""
    return make("dev", issuer, *extensions, **options), issuer


def curve(kind: type[ec.EllipticCurve]) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(kind())


def tower(levels: int, path_length: int | None = None) -> tuple[Made, ...]:
    """A device below as many intermediates, then these from the lowest to the highest."""
    chain = [ROOT]
    for level in range(levels):
        chain.append(ca(f"Level {level}", chain[-1], path_length=None if level else path_length))
    return make("dev", chain[-1]), *chain[:0:-1]


def several(oid: x509.ObjectIdentifier, *values: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for value in values])


def altered(made: Made, position: int) -> bytes:
    der = bytearray(made.der)
    der[position] ^= 1
    return bytes(der)


ROOT = ca(name("Root", "Works"), begin=NOW - 900 * DAY)
ISSUING = ca(name("Issuing", "Works"), ROOT, begin=NOW - 900 * DAY)
LEAF, OLD_LEAF = make("dev", ISSUING, aki(ISSUING)), make("dev", ISSUING, **OLD)
STRANGER = ca(name("Other Root", "Elsewhere"))
STRANGE_ISSUING = ca(name("Other Issuing", "Elsewhere"), STRANGER)
LOWER = ca(name("Lower", "Works"), ISSUING)
THIEF = make("Thief")
FORGED = make(
    "I", THIEF, (x509.BasicConstraints(ca=True, path_length=None), True), issuer_name=ROOT.certificate.subject
)

TWIN = ca(name("Root", "Works"))
NEW_WITH_OLD = ca(name("Root", "Works"), ROOT, key=TWIN.key)
PINNED = make("dev")
CROSS_KEY = curve(ec.SECP256R1)
CROSS, CROSS_OWN, CROSS_STRANGE = (ca("Cross", above, key=CROSS_KEY) for above in (ROOT, None, STRANGER))
RSA_ROOT = ca("RSA Root", key=rsa.generate_private_key(65537, 2048))
RSA_ISSUING = ca("RSA Issuing", ROOT, key=rsa.generate_private_key(65537, 2048))
P384_ROOT, P521_ROOT = (ca(kind.name, key=curve(kind)) for kind in (ec.SECP384R1, ec.SECP521R1))
STRICT_ROOT = ca("Strict Root", None, key_usage("key_cert_sign", "crl_sign"))
OLD_ROOT, OLD_ISSUING = ca("Old Root", **OLD), ca(name("Old Issuing", "Works"), ROOT, **OLD)
RENEWED = ca(name("Issuing", "Works"), ROOT, key=ISSUING.key, begin=NOW - 2 * DAY)
WORN_OUT = ca(name("Issuing", "Works"), ROOT, key=ISSUING.key, **OLD)
FOR_A = ca("For a.example", ROOT, (x509.NameConstraints([x509.DNSName("a.example")], None), True))
THREE = tower(3)
ONE_NAME = [ca("X", key=CROSS_KEY) for _ in range(5)]
X, Y = ca("X", key=CROSS_KEY), ca("Y", key=CROSS_KEY)
TWO_NAMES = [ca("X" if above is Y else "Y", above, key=CROSS_KEY) for above in (Y, X, Y, X)]
OTHERS = tuple(ca(f"Factory {number}") for number in range(40))
DECOYS = tuple(presented(stranger_ca(curve(ec.SECP256R1).public_key(), "Issuing")) for _ in range(60))

GOOD = {
    "root and device": row("dev", make("dev", ROOT)),
    "root, intermediate and device": row("dev", LEAF, ISSUING),
    "the root sent as well": row("dev", LEAF, ISSUING, ROOT),
    "in reverse order": row("dev", THREE[0], ROOT, *THREE[:0:-1]),
    "duplicates": row("dev", LEAF, ISSUING, ISSUING, ROOT, ROOT),
    "own certificate sent again": row("dev", LEAF, LEAF, ISSUING),
    "four intermediates": row("dev", *tower(4)),
    "a path length that is just enough": row("dev", *tower(2, path_length=1)),
    "a stranger's root sent as well": row("dev", LEAF, ISSUING, STRANGER),
    "intermediate stored, not sent": row("dev", LEAF, stored=(ISSUING,)),
    "intermediate trusted, root unknown": row("dev", LEAF, anchors=(ISSUING,)),
    "intermediate trusted, and it and its root sent": row("dev", LEAF, ISSUING, ROOT, anchors=(ISSUING,)),
    "two anchors of one name, the first": row("dev", make("dev", ROOT), anchors=(ROOT, TWIN)),
    "two anchors of one name, the second": row("dev", make("dev", TWIN), anchors=(ROOT, TWIN)),
    "one anchor among many": row("dev", make("dev", OTHERS[20]), anchors=OTHERS),
    "a pinned self-signed device": row("dev", PINNED, anchors=(PINNED,)),
    "a pinned device of an unknown CA": row("dev", LEAF, anchors=(LEAF,)),
    "cross-signed, its self-signed form sent as well": row("dev", *below(CROSS), CROSS_OWN),
    "cross-signed by a stranger, our form stored": row("dev", *below(CROSS_STRANGE), stored=(CROSS,)),
    "a root's new key, certified by its old one": row("dev", *below(NEW_WITH_OLD)),
    "an intermediate renewed with its key": row("dev", LEAF, RENEWED),
    "an expired intermediate stored, its renewal sent": row("dev", *below(RENEWED), stored=(WORN_OUT,)),
    "sixty stored decoys of the issuer's name": row("dev", *below(ISSUING), stored=DECOYS),
    "common name only": row("dev", make("dev", ROOT, aki(ROOT))),
    "empty subject, critical SAN URI": row(URN.value, make(x509.Name([]), ROOT, (san(URN)[0], True))),
    "SAN DNS name": row("dev.example", make("x", ROOT, san(DNS))),
    "serialNumber attribute only": row("SN-1", make(name(serial="SN-1"), ROOT)),
    "the full profile": row(
        URN.value, make("x", ROOT, NO_CA, key_usage("digital_signature"), eku(CLIENT), san(URN), aki(ROOT))
    ),
    "anyExtendedKeyUsage": row("dev", make("dev", ROOT, eku(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE))),
    "server and client": row("dev", make("dev", ROOT, eku(SERVER, CLIENT))),
    "an unknown extension, not critical": row("dev", make("dev", ROOT, (UNKNOWN, False))),
    "a P-384 device": row("dev", make("dev", ROOT, key=curve(ec.SECP384R1))),
    "an Ed25519 device": row("dev", make("dev", ROOT, key=ed25519.Ed25519PrivateKey.generate())),
    "an RSA root": row("dev", make("dev", RSA_ROOT), anchors=(RSA_ROOT,)),
    "an RSA intermediate": row("dev", *below(RSA_ISSUING)),
    "a P-384 root": row("dev", make("dev", P384_ROOT), anchors=(P384_ROOT,)),
    "a P-521 root": row("dev", make("dev", P521_ROOT), anchors=(P521_ROOT,)),
    "no end of validity": row("dev", make("dev", ROOT, end=NEVER)),
    "a strict anchor": row("dev", make("dev", STRICT_ROOT), anchors=(STRICT_ROOT,), policy={"strict": True}),
    "inside a DNS name constraint": row("d.a.example", make("x", FOR_A, san(x509.DNSName("d.a.example"))), FOR_A),
    "named by a rule of its own": row(
        "acme-SN-1",
        make(name("x", serial="SN-1"), ROOT),
        policy={"identity_rule": IdentityRule.parse("san_uri | acme-{serial_number}")},
    ),
}

ENCODING = {
    "nothing": row(P.NO_CERTIFICATE),
    "an empty certificate": row(P.MALFORMED, b""),
    "text": row(P.MALFORMED, b"hello"),
    "PEM instead of DER": row(P.MALFORMED, LEAF.certificate.public_bytes(Encoding.PEM), ISSUING),
    "cut short": row(P.MALFORMED, LEAF.der[:-1], ISSUING),
    "a byte too many": row(P.MALFORMED, LEAF.der + b"\0", ISSUING),
    "two certificates in one": row(P.MALFORMED, LEAF.der + ISSUING.der),
    "a length that is not minimal": row(P.MALFORMED, b"\x30\x83\0" + LEAF.der[2:], ISSUING),
    "an indefinite length": row(P.MALFORMED, b"\x30\x80" + LEAF.der[4:] + b"\0\0", ISSUING),
    "an intermediate that is none": row(P.MALFORMED, LEAF, b"\x30\0"),
    "a revocation list as intermediate": row(P.MALFORMED, LEAF, crl(ROOT)),
    "a certificate of 9 kB": row(
        P.MALFORMED, make("dev", ROOT, (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), bytes(9000)), False))
    ),
    "a subjectAltName that is none": row(
        P.MALFORMED,
        make("dev", ROOT, (x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), b"\x04\0"), False)),
    ),
    "basicConstraints that are none": row(
        P.MALFORMED,
        make("dev", ROOT, (x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.19"), b"\x04\0"), False)),
    ),
    "seven certificates": row(P.CHAIN_TOO_LONG, LEAF, *[ISSUING] * 6),
    "a hundred certificates": row(P.CHAIN_TOO_LONG, *[LEAF] * 100),
}

DATES = {
    "device expired": row(P.EXPIRED, OLD_LEAF, ISSUING),
    "intermediate expired": row(P.EXPIRED, *below(OLD_ISSUING)),
    "root expired": row(P.EXPIRED, make("dev", OLD_ROOT), anchors=(OLD_ROOT,)),
    "pinned device expired": row(P.EXPIRED, (WORN := make("dev", **OLD)), anchors=(WORN,)),
    "device not yet valid": row(P.NOT_YET_VALID, *below(ISSUING, **EARLY)),
    "intermediate not yet valid": row(P.NOT_YET_VALID, *below(ca("Early Issuing", ROOT, **EARLY))),
    "everything expired": row(P.EXPIRED, *below(ca("Old", OLD_ROOT, **OLD), **OLD), anchors=(OLD_ROOT,)),
    "device within its grace": row("dev", OLD_LEAF, ISSUING, policy=GRACE),
    "path within its grace": row("dev", *below(ca("Old", OLD_ROOT, **OLD), **OLD), anchors=(OLD_ROOT,), policy=GRACE),
    "device beyond its grace": row(P.EXPIRED, OLD_LEAF, ISSUING, policy={"expired_grace": 9 * DAY}),
    "forged, within the grace": row(
        P.BAD_SIGNATURE, make("dev", THIEF, issuer_name=ROOT.certificate.subject, **OLD), policy=GRACE
    ),
    "a stranger's, within the grace": row(P.UNKNOWN_ROOT, make("dev", STRANGER, **OLD), policy=GRACE),
    "for servers, within the grace": row(P.WRONG_KEY_USAGE, *below(ISSUING, eku(SERVER), **OLD), policy=GRACE),
    "not yet valid, with a grace": row(P.NOT_YET_VALID, *below(ISSUING, **EARLY), policy=GRACE),
}

ISSUERS = {
    "no anchor at all": row(P.UNKNOWN_ROOT, LEAF, ISSUING, anchors=()),
    "a stranger's device": row(P.UNKNOWN_ROOT, make("dev", STRANGER)),
    "a stranger's device with its chain": row(P.UNKNOWN_ROOT, *below(STRANGE_ISSUING), STRANGER),
    "a stranger's device behind our intermediate": row(P.UNKNOWN_ROOT, make("dev", STRANGER), ISSUING, ROOT),
    "a self-signed device": row(P.UNKNOWN_ROOT, make("dev")),
    "another self-signed device of a pinned one's name": row(P.UNKNOWN_ROOT, make("dev"), anchors=(PINNED,)),
    "a root of the same name and another key": row(P.BAD_SIGNATURE, make("dev", TWIN)),
    "the same, telling the key": row(P.UNKNOWN_ROOT, make("dev", TWIN, aki(TWIN))),
    "a root of the same name sent along": row(P.UNKNOWN_ROOT, make("dev", TWIN), TWIN),
    "intermediate missing": row(P.MISSING_INTERMEDIATE, LEAF),
    "intermediate missing, another stored": row(P.MISSING_INTERMEDIATE, LEAF, stored=(OLD_ISSUING,)),
    "the lower of two intermediates missing": row(P.MISSING_INTERMEDIATE, make("dev", LOWER), ISSUING),
    "the wrong intermediate sent": row(P.MISSING_INTERMEDIATE, LEAF, OLD_ISSUING),
    "the root is a bridge for a stranger": row(P.UNKNOWN_ROOT, *below(CROSS_STRANGE), CROSS_OWN),
    "signed by a device": row(P.NOT_A_CA, *below(make("dev1", ROOT, NO_CA))),
    "signed by a device that we trust": row(P.NOT_A_CA, make("dev2", PINNED), anchors=(PINNED,)),
    "an intermediate without basicConstraints": row(P.NOT_A_CA, *below(make("I", ROOT, key_usage("key_cert_sign")))),
    "an intermediate with cA=false": row(P.NOT_A_CA, *below(make("I", ROOT, NO_CA, key_usage("key_cert_sign")))),
    "an intermediate without keyCertSign": row(P.NOT_A_CA, *below(ca("I", ROOT, key_usage("digital_signature")))),
    "a path length exceeded": row(P.CHAIN_TOO_LONG, *tower(3, path_length=1)),
    "five intermediates": row(P.CHAIN_TOO_LONG, *tower(5)),
    "a root that is not as strict as its anchor": row(P.INVALID, make("dev", ROOT), policy={"strict": True}),
    "a stranger's intermediate on secp256k1": row(P.WEAK_KEY, *below(ca("I", ROOT, key=curve(ec.SECP256K1)))),
    "a stranger's root of RSA-16384": row(P.WEAK_KEY, LEAF, presented(stranger_ca(COSTLY["RSA-16384"], "Z"))),
    "a root on secp256k1": row(
        P.INVALID, make("dev", (K1_ROOT := ca("K1", key=curve(ec.SECP256K1)))), anchors=(K1_ROOT,)
    ),
}

SIGNATURES = {
    "a device that is forged": row(
        P.BAD_SIGNATURE, make("dev", THIEF, aki(ROOT), issuer_name=ROOT.certificate.subject)
    ),
    "a device forged below our intermediate": row(
        P.BAD_SIGNATURE, make("dev", THIEF, issuer_name=ISSUING.certificate.subject), ISSUING
    ),
    "an intermediate that is forged": row(P.BAD_SIGNATURE, *below(FORGED)),
    "the last bit of a device's signature": row(P.BAD_SIGNATURE, altered(LEAF, -1), ISSUING),
    "the last bit of an intermediate's signature": row(P.BAD_SIGNATURE, LEAF, altered(ISSUING, -1)),
    "one bit of a device's name": row(P.BAD_SIGNATURE, altered(LEAF, LEAF.der.index(b"\x0c\x03dev") + 4), ISSUING),
    "a mesh of one name": row(P.INVALID, make("dev", ONE_NAME[0]), *ONE_NAME),
    "a mesh of two names": row(P.INVALID, make("dev", X), *TWO_NAMES),
    "a stored mesh that leads nowhere": row(
        P.UNKNOWN_ROOT,
        make("dev", (MESHED := [ca("Mesh", key=curve(ec.SECP256R1)) for _ in range(12)])[0]),
        stored=tuple(ca("Mesh", one, key=other.key) for one in MESHED for other in MESHED[:2]),
    ),
    "only decoys of the issuer's name": row(P.UNKNOWN_ROOT, make("dev", ca("Issuing")), stored=DECOYS),
}

LEAVES = {
    "the intermediate as device": row(P.CA_AS_LEAF, ISSUING),
    "the intermediate as device, with its root": row(P.CA_AS_LEAF, ISSUING, ROOT),
    "the root as device": row(P.CA_AS_LEAF, ROOT),
    "an unknown root as device": row(P.CA_AS_LEAF, STRANGER),
    "for servers only": row(P.WRONG_KEY_USAGE, make("dev", ROOT, eku(SERVER))),
    "for signing code": row(P.WRONG_KEY_USAGE, make("dev", ROOT, eku(ExtendedKeyUsageOID.CODE_SIGNING))),
    "no digitalSignature": row(P.WRONG_KEY_USAGE, make("dev", ROOT, key_usage("key_agreement"))),
    "for servers, and a stranger's": row(P.WRONG_KEY_USAGE, make("dev", STRANGER, eku(SERVER))),
    "an unknown critical extension": row(P.INVALID, make("dev", ROOT, (UNKNOWN, True))),
    "an unknown critical extension above": row(P.INVALID, *below(ca("I", ROOT, (UNKNOWN, True)))),
    "outside a DNS name constraint": row(P.INVALID, make("x", FOR_A, san(x509.DNSName("d.b.example"))), FOR_A),
    "below a directoryName constraint": row(
        P.INVALID, *below(ca("I", ROOT, (x509.NameConstraints([x509.DirectoryName(name("dev"))], None), True)))
    ),
    "no name": row(P.NO_IDENTITY, make(x509.Name([]), ROOT)),
    "an organization is no name": row(P.NO_IDENTITY, make(name(organization="Works"), ROOT)),
    "two SAN URIs": row(P.NO_IDENTITY, make("dev", ROOT, san(URN, x509.UniformResourceIdentifier("urn:dev:other")))),
    "two SAN DNS names": row(P.NO_IDENTITY, make("dev", ROOT, san(DNS, x509.DNSName("other.example")))),
    "two common names": row(P.NO_IDENTITY, make(several(NameOID.COMMON_NAME, "a", "b"), ROOT)),
    "a name with a space": row(P.NO_IDENTITY, make("dev 1", ROOT)),
    "a name with a NUL": row(P.NO_IDENTITY, make("dev\0evil", ROOT)),
    "a name in Cyrillic": row(P.NO_IDENTITY, make("d\u0435v", ROOT)),
    "a name that is too long": row(
        P.NO_IDENTITY, make("dev", ROOT, san(x509.UniformResourceIdentifier("urn:" + "x" * 125)))
    ),
    "a name of another kind than the rule wants": row(
        P.NO_IDENTITY, make("dev", ROOT), policy={"identity_rule": IdentityRule.parse("san_uri | serial_number")}
    ),
}

WEAK: dict[str, Key] = {
    "secp256k1": curve(ec.SECP256K1),
    "brainpoolP256r1": curve(ec.BrainpoolP256R1),
    "P-521": curve(ec.SECP521R1),
    "Ed448": ed448.Ed448PrivateKey.generate(),
    "RSA-1024": rsa.generate_private_key(65537, 1024),
    "RSA-2048": rsa.generate_private_key(65537, 2048),
}
KEYS = {f"a device with a key of {kind}": row(P.WEAK_KEY, make("dev", ROOT, key=WEAK[kind])) for kind in WEAK}

REVOKED = crl(ISSUING, LEAF)
HOLD = crl(ISSUING, entry(LEAF, x509.ReasonFlags.certificate_hold))
LISTED = {
    "lists are there and good": ((crl(ROOT), crl(ISSUING)), CLOSED, "dev"),
    "device revoked": ((crl(ROOT), REVOKED), CLOSED, P.REVOKED),
    "device revoked, fail open": ((REVOKED,), OPEN, P.REVOKED),
    "device revoked, lists ignored": ((REVOKED,), {"crl": CrlPolicy.IGNORE}, "dev"),
    "device on hold": ((crl(ROOT), HOLD), CLOSED, P.REVOKED),
    "intermediate revoked": ((crl(ROOT, ISSUING), crl(ISSUING)), CLOSED, P.REVOKED),
    "both revoked": ((crl(ROOT, ISSUING), REVOKED), CLOSED, P.REVOKED),
    "another device revoked": ((crl(ROOT), crl(ISSUING, OLD_LEAF)), CLOSED, "dev"),
    "list of the intermediate missing": ((crl(ROOT),), CLOSED, P.CRL_UNAVAILABLE),
    "list of the root missing": ((crl(ISSUING),), CLOSED, P.CRL_UNAVAILABLE),
    "list of the root missing, fail open": ((crl(ISSUING),), OPEN, "dev"),
    "list outdated": ((crl(ROOT), crl(ISSUING, **STALE)), CLOSED, P.CRL_EXPIRED),
    "list of the root outdated": ((crl(ROOT, **STALE), crl(ISSUING)), CLOSED, P.CRL_EXPIRED),
    "list outdated, fail open": ((crl(ROOT), crl(ISSUING, **STALE)), OPEN, "dev"),
    "revoked by an outdated list": ((crl(ROOT), crl(ISSUING, LEAF, **STALE)), OPEN, P.REVOKED),
}
REVOCATION = {
    case: row(expected, LEAF, ISSUING, stored=(ISSUING,), lists=lists, policy=policy)
    for case, (lists, policy, expected) in LISTED.items()
} | {
    "revoked, within the grace": row(
        P.REVOKED, OLD_LEAF, ISSUING, stored=(ISSUING,), lists=(crl(ISSUING, OLD_LEAF),), policy=GRACE
    ),
    "device banned": row(P.DISTRUSTED, LEAF, ISSUING, banned=(fingerprint(LEAF.certificate),)),
    "intermediate banned": row(P.DISTRUSTED, LEAF, ISSUING, banned=(fingerprint(ISSUING.certificate),)),
    "stored intermediate banned": row(
        P.DISTRUSTED, LEAF, stored=(ISSUING,), banned=(fingerprint(ISSUING.certificate),)
    ),
    "another device banned": row("dev", LEAF, ISSUING, banned=(fingerprint(OLD_LEAF.certificate),)),
    "banned and revoked": row(
        P.DISTRUSTED, LEAF, ISSUING, stored=(ISSUING,), lists=(REVOKED,), banned=(fingerprint(LEAF.certificate),)
    ),
}

GROUPS = (GOOD, ENCODING, DATES, ISSUERS, SIGNATURES, LEAVES, KEYS, REVOCATION)
CASES = {name: case for group in GROUPS for name, case in group.items()}


def test_there_are_as_many_as_were_asked_for() -> None:
    assert len(CASES) == sum(map(len, GROUPS)) >= 60
    assert {case.expected for case in CASES.values()} >= set(P) - {P.NOT_VERSION_3}


@pytest.mark.parametrize("case", CASES)
def test_verdicts(case: str) -> None:
    said = verdict(CASES[case].trust(), CASES[case])
    assert (said.problem if isinstance(said, ChainRefused) else said.device_name) == CASES[case].expected, said


@pytest.mark.parametrize("case", CASES)
def test_verdicts_of_a_store_that_has_seen_them(case: str) -> None:
    # What is remembered of one chain, of its issuer and of what was refused changes no verdict.
    trust = CASES[case].trust()
    for _ in range(2):
        for warm_up in (LEAF, make("warm-up", ISSUING)):
            verdict(trust, Case("", (warm_up, ISSUING), ()))
        said = verdict(trust, CASES[case])
        assert (said.problem if isinstance(said, ChainRefused) else said.device_name) == CASES[case].expected


# Beside OpenSSL.

DIFFERENCES = {
    "OpenSSL follows the first issuer that has the right name, and tries no other one": (
        "two anchors of one name, the second",
        "cross-signed by a stranger, our form stored",
        "a root's new key, certified by its old one",
    ),
    "OpenSSL has no such policy": (
        *("device within its grace", "path within its grace", "device revoked, lists ignored"),
        *("list of the root missing, fail open", "list outdated, fail open"),
        *("device banned", "intermediate banned", "stored intermediate banned"),
        "a root that is not as strict as its anchor",
    ),
    "OpenSSL's purpose of a client does not know it": ("anyExtendedKeyUsage",),
    "to OpenSSL the purpose of a client is also keyAgreement": ("no digitalSignature",),
    "to OpenSSL a CA may be a client": (
        *("the intermediate as device", "the intermediate as device, with its root", "the root as device"),
    ),
    "a bound on what a chain may cost": ("seven certificates", "five intermediates"),
    "a curve that DTLS devices do not use": ("a stranger's intermediate on secp256k1", "a root on secp256k1"),
    "`cryptography` refuses every constraint but those on DNS names": ("below a directoryName constraint",),
    "keys that the DTLS engine does not take": tuple(KEYS),
    "OpenSSL names no devices": tuple(case for case in LEAVES if LEAVES[case].expected is P.NO_IDENTITY),
}


@pytest.mark.interop
def test_openssl_differs_only_where_there_is_a_reason(tmp_path: Path) -> None:
    openssl = Openssl(tmp_path)
    # What cannot be read reaches no verifier.
    compared = {each: case for each, case in CASES.items() if case.expected not in (P.NO_CERTIFICATE, P.MALFORMED)}
    different = {
        each for each, case in compared.items() if openssl_accepts(openssl, case) is isinstance(case.expected, P)
    }
    assert different == {case for cases in DIFFERENCES.values() for case in cases}
