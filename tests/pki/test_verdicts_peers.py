"""The verifier's table, of chains that GnuTLS's certtool and OpenSSL make; and what these two say about them.

More chains of OpenSSL are in `test_openssl`: version 1, explicit curve parameters, SHA-1, keys that are refused.
"""

from datetime import UTC, datetime
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.pki import ChainProblem, ChainRefused, load_certificates
from tests.pki.peers import Certtool, Openssl
from tests.pki.verdicts import Case, openssl_accepts, verdict

pytestmark = pytest.mark.interop

P = ChainProblem
CA = ('organization = "Works"', "ca", "cert_signing_key", "crl_signing_key", "expiration_days = 3650")
DEVICE = ("signing_key", "tls_www_client", "expiration_days = 365")
P384, ED25519 = ("--key-type", "ecdsa", "--curve", "secp384r1"), ("--key-type", "ed25519")
RSA, RSA_PSS = ("--key-type", "rsa", "--bits", "2048"), ("--key-type", "rsa-pss", "--bits", "2048")


class Row(NamedTuple):
    """A device's certificate by a template, what is presented with it, and who judges it otherwise than we.

    GnuTLS judges for no purpose in particular; neither names devices nor minds an RSA key; and what `cryptography` does
    not verify at all is a key of a CA that is RSA-PSS or Ed25519.
    """

    expected: ChainProblem | str
    issuer: str | None
    template: tuple[str, ...]
    sent: tuple[str, ...] = ()
    key: tuple[str, ...] = ("--key-type", "ecdsa", "--curve", "secp256r1")
    anchor: str = "root"
    peers_say_otherwise: tuple[str, ...] = ()


CAS = {
    "root": (None, ('cn = "Works Root"', *CA), ()),
    "issuing": ("root", ('cn = "Works Issuing"', "path_len = 0", *CA), ()),
    "below": ("issuing", ('cn = "Below"', *CA), ()),
    "no-signer": ("root", ('cn = "No signer"', "ca", "crl_signing_key", "expiration_days = 3650"), ()),
    "for-a": ("root", ('cn = "For a.example"', 'nc_permit_dns = "a.example"', *CA), ()),
    "odd": ("root", ('cn = "Odd"', 'add_critical_extension = "1.3.6.1.4.1.32473.1 0x0500"', *CA), ()),
    "old": (
        "root",
        ('cn = "Old"', *CA[:-1], 'activation_date = "2020-01-01 00:00:00"', 'expiration_date = "2021-01-01 00:00:00"'),
        (),
    ),
    "stranger": (None, ('cn = "Other Root"', 'organization = "Elsewhere"', *CA[1:]), ()),
    "p384": (None, ('cn = "P-384 Root"', *CA), P384),
    "rsa": (None, ('cn = "RSA Root"', *CA), RSA),
    "rsa-pss": (None, ('cn = "RSA-PSS Root"', *CA), RSA_PSS),
    "ed25519": (None, ('cn = "Ed25519 Root"', *CA), ED25519),
}
BOTH, GNUTLS, OPENSSL = ("openssl", "certtool"), ("certtool",), ("openssl",)
ROWS = {
    "a device": Row("meter-1", "issuing", ('cn = "meter-1"', *DEVICE), ("issuing",)),
    "with the root": Row("meter-1", "issuing", ('cn = "meter-1"', *DEVICE), ("issuing", "root")),
    "of the root": Row("meter-1", "root", ('cn = "meter-1"', *DEVICE)),
    "a URN": Row(
        "urn:dev:mac:0024befffe804ff1",
        "issuing",
        ('cn = "x"', 'uri = "urn:dev:mac:0024befffe804ff1"', *DEVICE),
        ("issuing",),
    ),
    "a DNS name": Row("dev.example", "issuing", ('cn = "x"', 'dns_name = "dev.example"', *DEVICE), ("issuing",)),
    "a serial number": Row("SN-1", "issuing", ('dn = "serialNumber=SN-1,O=Works"', *DEVICE), ("issuing",)),
    "P-384": Row("meter-1", "issuing", ('cn = "meter-1"', *DEVICE), ("issuing",), P384),
    "Ed25519": Row("meter-1", "issuing", ('cn = "meter-1"', *DEVICE), ("issuing",), ED25519),
    "a P-384 root": Row("meter-1", "p384", ('cn = "meter-1"', *DEVICE), anchor="p384"),
    "an RSA root": Row("meter-1", "rsa", ('cn = "meter-1"', *DEVICE), anchor="rsa"),
    "an RSA-PSS root": Row(
        P.INVALID, "rsa-pss", ('cn = "meter-1"', *DEVICE), anchor="rsa-pss", peers_say_otherwise=BOTH
    ),
    "an Ed25519 root": Row(
        P.INVALID, "ed25519", ('cn = "meter-1"', *DEVICE), anchor="ed25519", peers_say_otherwise=BOTH
    ),
    "inside a name constraint": Row("d.a.example", "for-a", ('dns_name = "d.a.example"', *DEVICE), ("for-a",)),
    "outside a name constraint": Row(P.INVALID, "for-a", ('dns_name = "d.b.example"', *DEVICE), ("for-a",)),
    "RSA": Row(P.WEAK_KEY, "issuing", ('cn = "meter-1"', *DEVICE), ("issuing",), RSA, peers_say_otherwise=BOTH),
    "two URIs": Row(
        P.NO_IDENTITY,
        "issuing",
        ('cn = "x"', 'uri = "urn:dev:1"', 'uri = "urn:dev:2"', *DEVICE),
        ("issuing",),
        peers_say_otherwise=BOTH,
    ),
    "for servers": Row(
        P.WRONG_KEY_USAGE,
        "issuing",
        ('cn = "x"', "signing_key", "tls_www_server", "expiration_days = 365"),
        ("issuing",),
        peers_say_otherwise=GNUTLS,
    ),
    "expired": Row(
        P.EXPIRED,
        "issuing",
        (
            'cn = "x"',
            *DEVICE[:-1],
            'activation_date = "2020-01-01 00:00:00"',
            'expiration_date = "2021-01-01 00:00:00"',
        ),
        ("issuing",),
    ),
    "not yet valid": Row(
        P.NOT_YET_VALID,
        "issuing",
        (
            'cn = "x"',
            *DEVICE[:-1],
            'activation_date = "2090-01-01 00:00:00"',
            'expiration_date = "2091-01-01 00:00:00"',
        ),
        ("issuing",),
    ),
    "an expired CA": Row(P.EXPIRED, "old", ('cn = "x"', *DEVICE), ("old",)),
    "without its CA": Row(P.MISSING_INTERMEDIATE, "issuing", ('cn = "x"', *DEVICE)),
    "a stranger's": Row(P.UNKNOWN_ROOT, "stranger", ('cn = "x"', *DEVICE), ("stranger",)),
    "self-signed": Row(P.UNKNOWN_ROOT, None, ('cn = "x"', *DEVICE)),
    "a path length exceeded": Row(P.CHAIN_TOO_LONG, "below", ('cn = "x"', *DEVICE), ("below", "issuing")),
    "of a CA that may not sign": Row(P.NOT_A_CA, "no-signer", ('cn = "x"', *DEVICE), ("no-signer",)),
    "a CA": Row(P.CA_AS_LEAF, "issuing", ('cn = "x"', *CA), ("issuing",), peers_say_otherwise=GNUTLS),
    "a critical extension": Row(
        P.INVALID,
        "issuing",
        ('cn = "x"', 'add_critical_extension = "1.3.6.1.4.1.32473.1 0x0500"', *DEVICE),
        ("issuing",),
    ),
    "a critical extension above": Row(P.INVALID, "odd", ('cn = "x"', *DEVICE), ("odd",)),
}


@pytest.fixture(scope="module")
def certtool(tmp_path_factory: pytest.TempPathFactory) -> Certtool:
    made = Certtool(tmp_path_factory.mktemp("certtool"))
    for name, (issuer, template, key) in CAS.items():
        made.make(name, issuer, *template, **({"key": key} if key else {}))
    return made


@pytest.mark.parametrize("row", ROWS)
def test_chains_of_certtool(certtool: Certtool, row: str) -> None:
    expected, issuer, template, sent, key, anchor, otherwise = ROWS[row]
    leaf = certtool.make("leaf", issuer, *template, key=key)
    (root,) = load_certificates(certtool.folder / f"{anchor}.pem")
    above = [load_certificates(certtool.folder / f"{each}.pem")[0] for each in sent]
    case = Case(expected, (leaf, *(each.public_bytes(Encoding.DER) for each in above)), (root,), at=datetime.now(UTC))
    said = verdict(case.trust(), case)
    assert (said.problem if isinstance(said, ChainRefused) else said.device_name) == expected, said
    ours = not isinstance(expected, P)
    assert openssl_accepts(Openssl(certtool.folder), case) == (not ours if "openssl" in otherwise else ours)
    theirs = certtool.accepts(anchor, "leaf", *sent)
    assert theirs == (not ours if "certtool" in otherwise else ours)


# What certtool does not make.


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> Openssl:
    made = Openssl(tmp_path_factory.mktemp("openssl"))
    made.root("root", "/O=Works/CN=Works Root")
    made.key("rsa", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
    made.run("req", "-x509", "-new", "-key", "rsa.key", "-subj", "/CN=RSA Root", "-days", "99", "-out", "rsa.pem")
    return made


PSS = ("-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest")
ODD: dict[str, tuple[ChainProblem | str, str, str, tuple[str, ...], tuple[str, ...], bool]] = {
    "MD5": (P.BAD_SIGNATURE, "rsa", "/CN=meter-1", (), ("-md5",), True),
    "SHA-1": (P.BAD_SIGNATURE, "rsa", "/CN=meter-1", (), ("-sha1",), True),
    "RSA-PSS": ("meter-1", "rsa", "/CN=meter-1", (), PSS, True),
    "SHA-512": ("meter-1", "root", "/CN=meter-1", (), ("-sha512",), True),
    "SHA-224": (P.INVALID, "root", "/CN=meter-1", (), ("-sha224",), True),
    "an e-mail address is no name": (P.NO_IDENTITY, "root", "/emailAddress=a@example.com", (), (), True),
    "a serial number of 21 octets": ("meter-1", "root", "/CN=meter-1", (), ("-set_serial", "0x" + "7f" * 21), True),
    "a serial number of 22 octets": (P.INVALID, "root", "/CN=meter-1", (), ("-set_serial", "0x" + "7f" * 22), True),
    "an IP address is no name": (P.NO_IDENTITY, "root", "/O=Works", ("subjectAltName=IP:192.0.2.1",), (), True),
    "two DNS names": (P.NO_IDENTITY, "root", "/CN=x", ("subjectAltName=DNS:a.example,DNS:b.example",), (), True),
    "Netscape's server": ("meter-1", "root", "/CN=meter-1", ("nsCertType=server",), (), False),
    "a name constraint on a device": ("meter-1", "root", "/CN=meter-1", ("nameConstraints=permitted;DNS:a",), (), True),
    "an unknown policy, critical": (
        *(P.INVALID, "root", "/CN=meter-1"),
        *(
            ("certificatePolicies=critical,1.3.6.1.4.1.32473.2", "policyConstraints=critical,requireExplicitPolicy:0"),
            (),
            True,
        ),
    ),
}


@pytest.mark.parametrize("row", ODD)
def test_chains_of_openssl(works: Openssl, row: str) -> None:
    expected, issuer, subject, extensions, options, theirs = ODD[row]
    works.sign("leaf", subject, issuer, "basicConstraints=CA:FALSE", *extensions, options=options)
    (root,) = load_certificates(works.folder / f"{issuer}.pem")
    case = Case(expected, (works.der("leaf"),), (root,), at=datetime.now(UTC))
    said = verdict(case.trust(), case)
    assert (said.problem if isinstance(said, ChainRefused) else said.device_name) == expected, said
    assert openssl_accepts(works, case) == theirs
