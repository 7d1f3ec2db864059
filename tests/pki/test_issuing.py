"""The profile of what we issue, the files it goes into, and the development PKI."""

import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

import gateway.pki
from gateway.pki import (
    CertifiedKey,
    PkiError,
    TrustAnchor,
    TrustStore,
    create_intermediate,
    create_root,
    issue_device,
    issue_server,
    load_certificates,
    load_certified_key,
    load_private_key,
    parse_certificates,
    pem_bundle,
    write_certificates,
    write_certified_key,
    write_development_pki,
    write_private_key,
)
from tests.pki.factory import DAY, NOW, ca, key_usage

ROOT = create_root("Factory", at=NOW)
ISSUING = create_intermediate(ROOT, "Factory Line 1", at=NOW)
DEVICE = issue_device(ISSUING, "meter-1", at=NOW)


def extension(owner: CertifiedKey, kind: type[x509.ExtensionType]) -> x509.Extension[x509.ExtensionType]:
    return owner.certificate.extensions.get_extension_for_class(kind)


def test_an_intermediate_does_not_have_its_issuers_name() -> None:
    with pytest.raises(PkiError, match="--name"):
        create_intermediate(ROOT, "Factory", at=NOW)


def test_an_intermediate_of_others_with_its_issuers_name_is_no_root() -> None:
    """Its devices present it: by the name alone it would be taken for the root."""
    top = ca("Twin")
    below = ca("Twin", top, key_usage("key_cert_sign"))
    assert isinstance(below.key, ec.EllipticCurvePrivateKey)
    device = issue_device(CertifiedKey(below.certificate, below.key), "meter-1", at=NOW)
    assert device.chain == (below.certificate,)


# Profile: RFC 5280 section 4.2.1, RFC 7925 section 4.4.


def test_cas_are_cas() -> None:
    for owner, length in ((ROOT, None), (ISSUING, 0)):
        constraints = extension(owner, x509.BasicConstraints)
        assert constraints.critical
        assert constraints.value == x509.BasicConstraints(ca=True, path_length=length)
        usage = extension(owner, x509.KeyUsage).value
        assert isinstance(usage, x509.KeyUsage)
        assert (usage.key_cert_sign, usage.crl_sign, usage.digital_signature) == (True, True, False)


def test_devices_and_servers_are_not() -> None:
    server = issue_server(ISSUING, ["localhost"], at=NOW)
    for owner, purpose in (
        (DEVICE, ExtendedKeyUsageOID.CLIENT_AUTH),
        (server, ExtendedKeyUsageOID.SERVER_AUTH),
    ):
        assert extension(owner, x509.BasicConstraints).value == x509.BasicConstraints(ca=False, path_length=None)
        usage = extension(owner, x509.KeyUsage).value
        assert isinstance(usage, x509.KeyUsage)
        assert (usage.digital_signature, usage.key_cert_sign) == (True, False)
        assert extension(owner, x509.ExtendedKeyUsage).value == x509.ExtendedKeyUsage([purpose])


def test_key_ids_lead_up_the_chain() -> None:
    for owner, issuer in ((DEVICE, ISSUING), (ISSUING, ROOT), (ROOT, ROOT)):
        authority = extension(owner, x509.AuthorityKeyIdentifier).value
        subject = extension(issuer, x509.SubjectKeyIdentifier).value
        assert isinstance(authority, x509.AuthorityKeyIdentifier)
        assert isinstance(subject, x509.SubjectKeyIdentifier)
        assert authority.key_identifier == subject.digest


def test_our_chain_passes_the_strict_profile_also_with_more_levels() -> None:
    top = create_intermediate(ROOT, "Top", path_length=1, at=NOW)
    below = create_intermediate(top, "Below", at=NOW)
    trust = TrustStore([TrustAnchor.of(ROOT.certificate, strict=True)])
    for issuer, depth in ((ROOT, 2), (ISSUING, 3), (below, 4)):
        verified = trust.verify(issue_device(issuer, "dev", at=NOW).presented_der, NOW)
        assert len(verified.issuers) == depth - 1


def test_lifetimes_end_with_the_issuers() -> None:
    issuing = create_intermediate(ROOT, "Short", at=NOW, lifetime=10 * DAY)
    device = issue_device(issuing, "dev", at=NOW + DAY, lifetime=100 * DAY)
    assert device.certificate.not_valid_after_utc == NOW + 10 * DAY
    assert issuing.certificate.not_valid_before_utc == NOW - timedelta(hours=1)
    with pytest.raises(PkiError, match="has expired"):
        issue_device(issuing, "dev", at=NOW + 11 * DAY)


def test_a_device_cannot_issue() -> None:
    with pytest.raises(PkiError, match="not a CA"):
        issue_device(DEVICE, "dev", at=NOW)
    with pytest.raises(PkiError, match="not a CA"):
        create_intermediate(DEVICE, "CA", at=NOW)


def test_a_ca_that_may_not_have_cas_below_it_makes_none() -> None:
    # RFC 5280 section 4.2.1.9: with pathLenConstraint 0, every chain through it would be refused.
    with pytest.raises(PkiError, match="pathLenConstraint"):
        create_intermediate(ISSUING, "Too Deep", at=NOW)
    upper = create_intermediate(ROOT, "Upper", path_length=1, at=NOW)
    assert create_intermediate(upper, "Lower", at=NOW).chain == (upper.certificate,)
    with pytest.raises(PkiError, match="pathLenConstraint"):
        create_intermediate(upper, "As Deep", path_length=1, at=NOW)


@pytest.mark.parametrize("names", [["gw.example"], ["localhost"], ["a_b.local"], ["*.example"], ["x-1.2.example"]])
def test_server_names_that_are_fine(names: list[str]) -> None:
    made = issue_server(ISSUING, names, at=NOW).certificate
    san = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.DNSName) == names


@pytest.mark.parametrize(
    "bad",
    [
        *([], ["ä.example"], [""], ["two words"], [" gw"], ["gw\n"], ["a,b"], ["-a.example"], ["a-.example"], ["a..b"]),
        *(
            ["gw.example."],
            ["10.0.0.300"],
            ["."],
            ["*"],
            ["a.*"],
            ["a*.example"],
            ["coaps://gw"],
            ["gw:5684"],
            ["10.0.0.0/8"],
            ["gw\0.example"],
        ),
        *(["x" * 64 + ".example"], [".".join(["x" * 60] * 5)], ["ok.example", "not ok"]),
    ],
)
def test_server_names_that_are_refused(bad: list[str]) -> None:
    with pytest.raises(PkiError):
        issue_server(ISSUING, bad, at=NOW)


def test_ca_names_that_are_refused() -> None:
    for bad in ("", "x" * 65):
        with pytest.raises(PkiError):
            create_root(bad)


def test_the_private_key_has_no_repr() -> None:
    assert "private" not in repr(DEVICE).lower()


# Files.


def test_a_written_pair_is_read_back(tmp_path: Path) -> None:
    chain, key = tmp_path / "device.pem", tmp_path / "device.key"
    write_certified_key(DEVICE, chain, key)
    loaded = load_certified_key(chain, key)
    assert loaded.presented == (DEVICE.certificate, ISSUING.certificate)
    assert loaded.private_key.private_numbers() == DEVICE.private_key.private_numbers()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(chain.stat().st_mode) == 0o644


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    chain, key = tmp_path / "device.pem", tmp_path / "device.key"
    for there, other in ((chain, key), (key, chain)):
        there.write_text("mine")
        with pytest.raises(PkiError, match="exists already"):
            write_certified_key(DEVICE, chain, key)
        assert there.read_text() == "mine"
        assert not other.exists()  # both or neither
        there.unlink()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    (tmp_path / "device.key").symlink_to(target)
    with pytest.raises(PkiError):
        write_private_key(tmp_path / "device.key", DEVICE.private_key)
    assert not target.exists()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PkiError, match="cannot create"):
        write_certificates(tmp_path / "nowhere" / "x.pem", ROOT.presented)
    with pytest.raises(PkiError, match="cannot read"):
        load_certificates(tmp_path / "nowhere.pem")


def test_certificates_are_read_as_pem_and_der(tmp_path: Path) -> None:
    assert parse_certificates(pem_bundle(DEVICE.presented)) == list(DEVICE.presented)
    assert parse_certificates(DEVICE.presented_der[0]) == [DEVICE.certificate]


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"-----BEGIN "]
)
def test_what_is_no_certificate(data: bytes) -> None:
    with pytest.raises(PkiError, match="no certificate"):
        parse_certificates(data)


def test_keys_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.key"
    pkcs8 = PrivateFormat.PKCS8
    for data, text in (
        (b"nothing", "no private key"),
        (DEVICE.private_key.private_bytes(Encoding.PEM, pkcs8, BestAvailableEncryption(b"pw")), "is encrypted"),
        (rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, pkcs8, NoEncryption()), "elliptic curve"),
    ):
        path.write_bytes(data)
        with pytest.raises(PkiError, match=text):
            load_private_key(path)


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    write_certificates(tmp_path / "chain.pem", [ISSUING.certificate, DEVICE.certificate])
    write_private_key(tmp_path / "device.key", DEVICE.private_key)
    with pytest.raises(PkiError, match="does not belong to the first certificate"):
        load_certified_key(tmp_path / "chain.pem", tmp_path / "device.key")


# Development PKI.


def test_the_development_pki_is_complete(tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    pki = write_development_pki(folder, at=NOW)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    assert modes == {
        **dict.fromkeys(("root.key", "intermediate.key", "server.key"), 0o600),
        **dict.fromkeys(("root.pem", "intermediate.pem", "server.pem", "ca-bundle.pem"), 0o644),
    }
    assert load_certificates(pki.server_certificate) == [pki.server.certificate, pki.intermediate.certificate]
    assert load_certificates(pki.root_certificate) == [pki.root.certificate]
    san = extension(pki.server, x509.SubjectAlternativeName).value
    assert isinstance(san, x509.SubjectAlternativeName)
    assert san.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(a) for a in san.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]


def test_a_device_issued_from_the_files_verifies(tmp_path: Path) -> None:
    pki = write_development_pki(tmp_path / "certs", at=NOW)
    issuing = load_certified_key(pki.intermediate_certificate, pki.intermediate_key)
    device = issue_device(issuing, "dev", at=NOW)
    (root,) = load_certificates(pki.root_certificate)
    assert TrustStore([TrustAnchor.of(root)]).verify(device.presented_der, NOW).device_name == "dev"


def test_the_development_pki_is_never_overwritten(tmp_path: Path) -> None:
    write_development_pki(tmp_path, at=NOW)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(PkiError, match="exists already"):
        write_development_pki(tmp_path, at=NOW)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_public_names_exist() -> None:
    assert sorted(gateway.pki.__all__) == sorted(set(gateway.pki.__all__))
    assert all(hasattr(gateway.pki, exported) for exported in gateway.pki.__all__)
