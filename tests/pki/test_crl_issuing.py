"""CRLs that we make, judged by openssl and by GnuTLS."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.pki import (
    CertifiedKey,
    Curve,
    PkiError,
    Revocation,
    RevocationReason,
    create_intermediate,
    create_root,
    issue_device,
    make_crl,
    pem_bundle,
)
from gateway.pki.limits import MAX_CRL_NUMBER
from tests.interop.peers import program
from tests.pki.factory import DAY, NOW, ca, key_usage

NOW_REAL = datetime.now(UTC)
ROOT = create_root("Root", curve=Curve.P_384)
CA = create_intermediate(ROOT, "Issuing")
GOOD, BAD, OTHER = (issue_device(CA, f"dev-{n}") for n in range(3))


def revocation(owner: CertifiedKey, reason: RevocationReason = RevocationReason.UNSPECIFIED) -> Revocation:
    return Revocation(owner.certificate.serial_number, NOW_REAL, reason)


def check(folder: Path, device: CertifiedKey, crls: list[x509.CertificateRevocationList], *words: str) -> str:
    """What `openssl verify` says with revocation checked; empty when it accepts."""
    (folder / "root.pem").write_bytes(pem_bundle([ROOT.certificate]))
    (folder / "chain.pem").write_bytes(pem_bundle(device.presented))
    (folder / "crl.pem").write_bytes(b"".join(crl.public_bytes(Encoding.PEM) for crl in crls))
    done = subprocess.run(
        [
            *[program("openssl"), "verify", "-x509_strict", *words, "-CAfile", "root.pem", "-CRLfile", "crl.pem"],
            *["-untrusted", "chain.pem", "chain.pem"],
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else done.stderr + done.stdout


def test_openssl_refuses_what_is_on_it_and_takes_the_rest(tmp_path: Path) -> None:
    crl = make_crl(CA, [revocation(BAD, RevocationReason.KEY_COMPROMISE), revocation(OTHER)], 7)
    assert check(tmp_path, GOOD, [crl], "-crl_check") == ""
    assert "certificate revoked" in check(tmp_path, BAD, [crl], "-crl_check")
    assert "certificate revoked" in check(tmp_path, OTHER, [crl], "-crl_check")


def test_an_empty_one(tmp_path: Path) -> None:
    assert check(tmp_path, GOOD, [make_crl(CA, [], 1)], "-crl_check") == ""


def test_openssl_follows_a_chain_of_them(tmp_path: Path) -> None:
    """The root's list revokes the intermediate, and with it all below."""
    below, above = make_crl(CA, [], 1), make_crl(ROOT, [], 1)
    assert check(tmp_path, GOOD, [below, above], "-crl_check_all") == ""
    assert "unable to get certificate CRL" in check(tmp_path, GOOD, [below], "-crl_check_all")
    above = make_crl(ROOT, [Revocation(CA.certificate.serial_number, NOW_REAL, RevocationReason.CA_COMPROMISE)], 2)
    assert "certificate revoked" in check(tmp_path, GOOD, [below, above], "-crl_check_all")


def test_openssl_sees_that_a_list_has_ended(tmp_path: Path) -> None:
    old = make_crl(CA, [], 1, at=NOW_REAL - timedelta(minutes=50), lifetime=timedelta(minutes=30))
    assert "CRL has expired" in check(tmp_path, GOOD, [old], "-crl_check")


def test_what_openssl_reads_in_it(tmp_path: Path) -> None:
    reasons = list(RevocationReason)
    crl = make_crl(CA, [Revocation(n + 1, NOW, reason) for n, reason in enumerate(reasons)], 0xABCDEF, at=NOW)
    (tmp_path / "crl.der").write_bytes(crl.public_bytes(Encoding.DER))
    command = [program("openssl"), "crl", "-inform", "DER", "-in", "crl.der", "-noout", "-text"]
    text = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert "Version 2 (0x1)" in text
    assert "Last Update: Jun  1 12:00:00 2026 GMT" in text
    assert "Next Update: Jun  8 12:00:00 2026 GMT" in text
    key_id = CA.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    squeezed = "".join(text.split())
    assert f"X509v3AuthorityKeyIdentifier:{key_id.hex(':').upper()}" in squeezed.replace("keyid:", "")
    assert "X509v3CRLNumber:11259375" in squeezed or "X509v3CRLNumber:0xABCDEF" in squeezed
    # RFC 5280 section 5.3.1: no reason code rather than "unspecified".
    for shown in ("Key Compromise", "CA Compromise", "Affiliation Changed", "Superseded"):
        assert text.count(shown) == 1
    assert text.count("X509v3 CRL Reason Code") == len(reasons) - 1
    assert "Unspecified" not in text


def test_gnutls_verifies_it(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(pem_bundle([CA.certificate]))
    (tmp_path / "crl.pem").write_bytes(make_crl(CA, [revocation(BAD)], 1).public_bytes(Encoding.PEM))
    command = [program("certtool"), "--verify-crl", "--load-ca-certificate", "ca.pem", "--infile", "crl.pem"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Verified" in done.stdout + done.stderr, done


def test_the_greatest_number_fits_and_a_greater_one_is_refused() -> None:
    crl = make_crl(CA, [], MAX_CRL_NUMBER)
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == MAX_CRL_NUMBER
    assert len(crl.extensions.get_extension_for_class(x509.CRLNumber).value.public_bytes()) == 2 + 20
    for number in (-1, MAX_CRL_NUMBER + 1):
        with pytest.raises(PkiError, match="CRL number"):
            make_crl(CA, [], number)


def test_who_may_not_sign_one() -> None:
    with pytest.raises(PkiError, match="is not a CA"):
        make_crl(GOOD, [], 1)
    made = ca("Silent", None, key_usage("key_cert_sign"))
    silent = CertifiedKey(made.certificate, made.key)  # type: ignore[arg-type]
    with pytest.raises(PkiError, match="cRLSign"):
        make_crl(silent, [], 1, at=NOW)
    with pytest.raises(PkiError, match="expired"):
        make_crl(CA, [], 1, at=NOW + 9999 * DAY)
    with pytest.raises(PkiError, match="nextUpdate"):
        make_crl(CA, [], 1, lifetime=timedelta(0))


def test_many_entries_are_no_square_of_work() -> None:
    """Each entry added through the builder would copy the list: 20,000 would be 200 million moves."""
    crl = make_crl(CA, (Revocation(n + 1, NOW_REAL) for n in range(20_000)), 1)
    assert len(crl) == 20_000
    assert crl.get_revoked_certificate_by_serial_number(20_000) is not None
