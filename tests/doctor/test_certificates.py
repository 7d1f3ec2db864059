"""Server certificates that end, that belong to no key, that stand in the wrong order; and who may read secrets."""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.config import DtlsSettings, Settings
from gateway.doctor import Finding, Status
from gateway.doctor.certificates import end_of, secret_files, server_certificates
from tests.pki.factory import DAY, NOW, Extension, Made, ca, eku, make, san

LOCALHOST = san(x509.DNSName("localhost"))
ROOT = ca("Root")
LINE = ca("Line", ROOT)
AT = NOW.timestamp()


def write(folder: Path, *chain: Made, key: ec.EllipticCurvePrivateKey | None = None) -> DtlsSettings:
    certificate, private_key = folder / "server.pem", folder / "server.key"
    certificate.write_bytes(b"".join(made.certificate.public_bytes(Encoding.PEM) for made in chain))
    own = key if key is not None else chain[0].key
    private_key.write_bytes(own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    private_key.chmod(0o600)
    return DtlsSettings(certificate=certificate, private_key=private_key)


def leaf(*extensions: Extension, **options: object) -> Made:
    return make("server", LINE, *(extensions or (LOCALHOST,)), **options)  # type: ignore[arg-type]


def worst(found: list[Finding]) -> tuple[Status, str]:
    order = list(Status)
    finding = max(found, key=lambda each: order.index(each.status))
    return finding.status, finding.detail


def test_a_good_pair(tmp_path: Path) -> None:
    found = server_certificates(write(tmp_path, leaf(), LINE, ROOT), AT)
    assert {each.status for each in found} == {Status.OK}
    assert "365 days" in found[0].detail
    assert found[1].detail.endswith(": localhost")


def test_none_is_no_fault() -> None:
    [found] = server_certificates(DtlsSettings(), AT)
    assert found.status is Status.OK


@pytest.mark.parametrize(
    ("left", "status"),
    [
        (31 * DAY, Status.OK),
        (29 * DAY, Status.WARNING),
        (8 * DAY, Status.WARNING),
        (6 * DAY, Status.PROBLEM),
        (timedelta(seconds=-1), Status.PROBLEM),
    ],
    ids=str,
)
def test_a_certificate_that_ends(tmp_path: Path, left: timedelta, status: Status) -> None:
    found = server_certificates(write(tmp_path, leaf(begin=NOW - 400 * DAY, end=NOW + left), LINE), AT)
    assert worst(found)[0] is status
    if status is not Status.OK:
        assert any(each.remedy is not None and "gateway cert server" in each.remedy for each in found)


def test_an_intermediate_that_ends_is_named(tmp_path: Path) -> None:
    line = ca("Short Line", ROOT, end=NOW + 3 * DAY)
    status, detail = worst(server_certificates(write(tmp_path, make("server", line, LOCALHOST), line), AT))
    assert status is Status.PROBLEM
    assert "Short Line" in detail


def test_a_certificate_from_the_future(tmp_path: Path) -> None:
    status, detail = worst(server_certificates(write(tmp_path, leaf(begin=NOW + DAY), LINE), AT))
    assert status is Status.PROBLEM
    assert "valid only from" in detail


def test_a_key_of_another_certificate(tmp_path: Path) -> None:
    dtls = write(tmp_path, leaf(), LINE, key=ec.generate_private_key(ec.SECP256R1()))
    status, detail = worst(server_certificates(dtls, AT))
    assert status is Status.PROBLEM
    assert "does not belong to" in detail


def test_a_missing_file(tmp_path: Path) -> None:
    dtls = write(tmp_path, leaf(), LINE)
    (tmp_path / "server.key").unlink()
    status, detail = worst(server_certificates(dtls, AT))
    assert status is Status.PROBLEM
    assert "No such file" in detail


def test_a_chain_in_the_wrong_order(tmp_path: Path) -> None:
    status, detail = worst(server_certificates(write(tmp_path, leaf(), ROOT, LINE), AT))
    assert status is Status.PROBLEM
    assert "'CN=server' is not signed by the certificate behind it, 'CN=Root'" in detail


def test_a_certificate_for_devices(tmp_path: Path) -> None:
    for_devices = leaf(LOCALHOST, eku(ExtendedKeyUsageOID.CLIENT_AUTH))
    status, detail = worst(server_certificates(write(tmp_path, for_devices, LINE), AT))
    assert status is Status.PROBLEM
    assert "not for a server" in detail
    both = leaf(LOCALHOST, eku(ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH))
    assert worst(server_certificates(write(tmp_path, both, LINE), AT))[0] is Status.OK


def test_a_certificate_without_names(tmp_path: Path) -> None:
    status, detail = worst(server_certificates(write(tmp_path, leaf(eku(ExtendedKeyUsageOID.SERVER_AUTH)), LINE), AT))
    assert status is Status.WARNING
    assert "no subjectAltName" in detail


@pytest.mark.parametrize(("mode", "status"), [(0o600, Status.OK), (0o640, Status.WARNING), (0o644, Status.PROBLEM)])
def test_who_may_read_a_key(tmp_path: Path, mode: int, status: Status) -> None:
    dtls = write(tmp_path, leaf(), LINE)
    (tmp_path / "server.key").chmod(mode)
    [found] = secret_files(Settings(dtls=dtls))
    assert found.status is status
    if found.remedy is not None:
        assert found.remedy == f"chmod 600 {tmp_path / 'server.key'}"


def test_a_key_log_is_pointed_out(tmp_path: Path) -> None:
    log = tmp_path / "keys.log"
    log.touch(0o600)
    found = secret_files(Settings(dtls=DtlsSettings(key_log=log)))
    assert [each.status for each in found] == [Status.OK, Status.WARNING]
    assert "[dtls] key_log" in str(found[1].remedy)


def test_a_trusted_ca_has_its_own_remedy() -> None:
    found = end_of("trusted CA", "abc", ca("Old", end=NOW + DAY).certificate, AT, "untrust it")
    assert (found.check, found.status, found.remedy) == ("trusted CA", Status.PROBLEM, "untrust it")
