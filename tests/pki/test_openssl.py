"""Foreign truth: chains made by the `openssl` command, and our certificates read and verified by it."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.pki import (
    ChainProblem,
    ChainRefused,
    TrustAnchor,
    TrustStore,
    VerifiedChain,
    create_intermediate,
    create_root,
    issue_device,
    issue_server,
    load_certificates,
    load_certified_key,
    load_private_key,
    write_certificates,
    write_certified_key,
)
from tests.pki.peers import ISSUING_SUBJECT, ROOT_SUBJECT, Openssl

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> Openssl:
    openssl = Openssl(tmp_path_factory.mktemp("works"))
    openssl.root("root", ROOT_SUBJECT)
    openssl.sign(
        "issuing",
        ISSUING_SUBJECT,
        "root",
        "basicConstraints=critical,CA:TRUE,pathlen:0",
        "keyUsage=critical,keyCertSign,cRLSign",
        "subjectKeyIdentifier=hash",
        "authorityKeyIdentifier=keyid",
    )
    openssl.root("stranger", "/O=Elsewhere/CN=Other Root")
    return openssl


@pytest.fixture
def openssl(tmp_path: Path) -> Openssl:
    return Openssl(tmp_path)


def verify(works: Openssl, *names: str, at: datetime | None = None) -> VerifiedChain:
    (root,) = load_certificates(works.folder / "root.pem")
    trust = TrustStore([TrustAnchor.of(root)])
    return trust.verify([works.der(name) for name in names], at or datetime.now(UTC))


def problem(works: Openssl, *names: str) -> ChainProblem:
    with pytest.raises(ChainRefused) as caught:
        verify(works, *names)
    return caught.value.problem


def test_a_version_1_leaf(works: Openssl) -> None:
    # `openssl x509 -req` without an extension file, the shortest recipe on the web, makes one up to OpenSSL 3.1.
    works.sign("old-style", "/CN=meter-1", "issuing", options=("-extfile", os.devnull))
    if "Version: 1" not in works.run("x509", "-in", "old-style.pem", "-noout", "-text"):
        pytest.skip("this openssl makes version 3 of its own accord")
    with pytest.raises(ChainRefused) as caught:
        verify(works, "old-style", "issuing")
    assert caught.value.problem is ChainProblem.NOT_VERSION_3
    assert "-extfile" in caught.value.detail


def test_a_plain_leaf(works: Openssl) -> None:
    works.sign("plain", "/CN=meter-1", "issuing", "basicConstraints=CA:FALSE")
    assert verify(works, "plain", "issuing").device_name == "meter-1"
    assert verify(works, "plain", "issuing", "root").device_name == "meter-1"


def test_a_full_profile_leaf_with_a_urn(works: Openssl) -> None:
    works.sign(
        "full",
        "/CN=ignored",
        "issuing",
        "basicConstraints=critical,CA:FALSE",
        "keyUsage=critical,digitalSignature",
        "extendedKeyUsage=clientAuth",
        "subjectKeyIdentifier=hash",
        "authorityKeyIdentifier=keyid",
        "subjectAltName=URI:urn:dev:mac:0024befffe804ff1",
    )
    verified = verify(works, "full", "issuing")
    assert verified.device_name == "urn:dev:mac:0024befffe804ff1"
    shown = works.run("x509", "-in", "full.pem", "-noout", "-fingerprint", "-sha256")
    assert verified.fingerprint == shown.split("=")[1].strip().replace(":", "").lower()


def test_a_serial_number_attribute(works: Openssl) -> None:
    works.sign("serial", "/O=Works/serialNumber=SN-0042", "issuing", "basicConstraints=CA:FALSE")
    assert verify(works, "serial", "issuing").device_name == "SN-0042"


def test_missing_intermediate(works: Openssl) -> None:
    works.sign("lone", "/CN=meter-2", "issuing", "authorityKeyIdentifier=keyid")
    assert problem(works, "lone") is ChainProblem.MISSING_INTERMEDIATE


def test_unknown_root(works: Openssl) -> None:
    works.sign("foreign", "/CN=meter-3", "stranger")
    assert problem(works, "foreign") is ChainProblem.UNKNOWN_ROOT
    assert problem(works, "foreign", "stranger") is ChainProblem.UNKNOWN_ROOT


def test_expired(works: Openssl) -> None:
    works.sign("old", "/CN=meter-4", "issuing", "basicConstraints=CA:FALSE", options=("-days", "-1"))
    assert problem(works, "old", "issuing") is ChainProblem.EXPIRED


def test_ca_as_device(works: Openssl) -> None:
    assert problem(works, "issuing") is ChainProblem.CA_AS_LEAF
    assert problem(works, "root") is ChainProblem.CA_AS_LEAF


def test_server_certificate_as_device(works: Openssl) -> None:
    works.sign("server", "/CN=www", "issuing", "extendedKeyUsage=serverAuth")
    assert problem(works, "server", "issuing") is ChainProblem.WRONG_KEY_USAGE


@pytest.mark.parametrize(
    "kind",
    [
        ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"),
        ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"),
        ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit"),
        ("-algorithm", "ED448"),
    ],
    ids=["RSA-1024", "secp256k1", "explicit parameters", "Ed448"],
)
def test_weak_leaf_keys(works: Openssl, kind: tuple[str, ...]) -> None:
    works.sign("weak", "/CN=meter-5", "issuing", "basicConstraints=CA:FALSE", kind=kind)
    # Explicit parameters: forbidden by RFC 5480 section 2.1.1, and the way of CVE-2020-0601.
    assert problem(works, "weak", "issuing") is ChainProblem.WEAK_KEY


@pytest.mark.parametrize(
    "kind", [("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"), ("-algorithm", "ED25519")]
)
def test_other_leaf_keys(works: Openssl, kind: tuple[str, ...]) -> None:
    works.sign("other", "/CN=meter-6", "issuing", "basicConstraints=CA:FALSE", kind=kind)
    assert verify(works, "other", "issuing").device_name == "meter-6"


def test_sha1_is_no_signature(works: Openssl) -> None:
    works.sign("sha1", "/CN=meter-6", "issuing", "basicConstraints=CA:FALSE", options=("-sha1",))
    assert problem(works, "sha1", "issuing") in (ChainProblem.BAD_SIGNATURE, ChainProblem.INVALID)


def test_a_leaf_issued_by_a_leaf(works: Openssl) -> None:
    works.sign("parent", "/CN=meter-7", "issuing", "basicConstraints=CA:FALSE")
    works.sign("child", "/CN=meter-8", "parent", "basicConstraints=CA:FALSE")
    assert problem(works, "child", "parent", "issuing") is ChainProblem.NOT_A_CA


def test_path_length(works: Openssl) -> None:
    works.sign("below", "/O=Works/CN=Below", "issuing", "basicConstraints=critical,CA:TRUE")
    works.sign("deep", "/CN=meter-9", "below", "basicConstraints=CA:FALSE")
    assert problem(works, "deep", "below", "issuing") is ChainProblem.CHAIN_TOO_LONG


# Our certificates, judged by OpenSSL.


@pytest.mark.parametrize("device_id", ["meter-1", "urn:dev:ops:32473-Refrigerator-5002"])
def test_openssl_verifies_our_device_chain(openssl: Openssl, device_id: str) -> None:
    root = create_root("Factory")
    issuing = create_intermediate(root, "Factory Line 1")
    device = issue_device(issuing, device_id)
    write_certificates(openssl.folder / "root.pem", root.presented)
    write_certified_key(device, openssl.folder / "device.pem", openssl.folder / "device.key")
    shown = openssl.run(
        *("verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", "root.pem"),
        *("-untrusted", "device.pem", "device.pem"),
    )
    assert shown == "device.pem: OK\n"
    text = openssl.run("x509", "-in", "device.pem", "-noout", "-text")
    assert f"URI:{device_id}" in text or f"Subject: CN = {device_id}" in text
    for line in ("ASN1 OID: prime256v1", "TLS Web Client Authentication", "Digital Signature", "CA:FALSE"):
        assert line in text
    assert "ecdsa-with-SHA256" in text
    assert openssl.run("pkey", "-in", "device.key", "-pubout") == openssl.run(
        "x509", "-in", "device.pem", "-noout", "-pubkey"
    )


def test_openssl_verifies_our_server_chain_for_each_name(openssl: Openssl) -> None:
    root = create_root("Factory")
    issuing = create_intermediate(root, "Factory Line 1")
    server = issue_server(issuing, ["gateway.example", "127.0.0.1", "::1"])
    write_certificates(openssl.folder / "root.pem", root.presented)
    write_certificates(openssl.folder / "server.pem", server.presented)
    base = ("verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "root.pem", "-untrusted", "server.pem")
    for option, value in (
        ("-verify_hostname", "gateway.example"),
        ("-verify_ip", "127.0.0.1"),
        ("-verify_ip", "::1"),
    ):
        assert openssl.run(*base, option, value, "server.pem") == "server.pem: OK\n"


# Keys and certificates in the forms that OpenSSL writes.


def test_key_files_of_openssl_are_read(openssl: Openssl) -> None:
    openssl.root("root", ROOT_SUBJECT)
    openssl.run("ec", "-in", "root.key", "-out", "sec1.key")
    openssl.run("pkey", "-in", "root.key", "-outform", "DER", "-out", "pkcs8.der")
    openssl.run("ecparam", "-name", "prime256v1", "-genkey", "-out", "with-parameters.key")
    expected = load_private_key(openssl.folder / "root.key").private_numbers()
    for name in ("sec1.key", "pkcs8.der"):
        assert load_private_key(openssl.folder / name).private_numbers() == expected
    assert load_private_key(openssl.folder / "with-parameters.key").curve.name == "secp256r1"


def test_certificate_files_of_openssl_are_read(openssl: Openssl) -> None:
    openssl.root("root", ROOT_SUBJECT)
    openssl.sign("dev", "/CN=meter-1", "root")
    chain = openssl.folder / "chain.pem"
    # With text around, as `openssl x509 -text` and CA bundles have it.
    chain.write_text(
        openssl.run("x509", "-in", "dev.pem", "-text") + "\n# the root\n" + openssl.run("x509", "-in", "root.pem")
    )
    loaded = load_certified_key(chain, openssl.folder / "dev.key")
    assert [c.subject.rfc4514_string() for c in loaded.presented] == ["CN=meter-1", "CN=Works Root,O=Works"]
    openssl.der("root")
    assert load_certificates(openssl.folder / "root.der") == list(loaded.chain)
