"""`gateway cert revoke` and `gateway ca crl publish`: from the book of what was issued to a list for openssl."""

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from gateway.pki import load_certificates, read_crl
from gateway.registry import IssuedCertificate, open_registry
from tests.cli.openssl import facts, openssl
from tests.cli.support import ok, run
from tests.cli.test_ca import sha256, snapshot
from tests.interop.peers import program

CRL = "certs/intermediate.crl"


def issued(device: str | None = None) -> list[IssuedCertificate]:
    with open_registry("sqlite:///registry.db") as registry:
        return [each for _, each in registry.issued(device_id=device)]


def serial(certificate: str) -> str:
    return facts(certificate, "-serial").partition("=")[2].lower().lstrip("0")


def revoked(certificate: str, crl: str = CRL, root: str = "certs/root.pem") -> bool:
    """Whether openssl refuses a chain because of a list, and for nothing else."""
    done = subprocess.run(
        [
            *[program("openssl"), "verify", "-x509_strict", "-crl_check", "-CAfile", root, "-CRLfile", crl],
            *["-untrusted", certificate, certificate],
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        assert "certificate revoked" in done.stderr, done
    return done.returncode != 0


@pytest.fixture
def devices(site: Path) -> Path:
    for device in ("meter-1", "meter-2"):
        ok("cert", "issue", "--device", device)
    return site


def path(device: str) -> str:
    return f"certs/devices/{device}.pem"


def test_what_is_issued_is_written_down(devices: Path) -> None:
    one, two = issued()
    assert (one.device_id, two.device_id, one.tenant_id) == ("meter-1", "meter-2", "default")
    assert one.serial == serial(path("meter-1"))
    assert one.fingerprint == sha256(path("meter-1"))
    assert one.issuer_id == sha256("certs/intermediate.pem")
    certificate = load_certificates(Path(path("meter-1")))[0]
    assert one.not_before == certificate.not_valid_before_utc.timestamp()
    assert one.not_after == certificate.not_valid_after_utc.timestamp()
    assert one.revoked_at is None


def test_every_way_of_issuing_is_written_down(devices: Path) -> None:
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "own.key")
    openssl("req", "-new", "-key", "own.key", "-subj", "/CN=own", "-out", "own.csr")
    ok("cert", "sign", "own.csr", "--tenant", "default")
    ok("cert", "renew", path("meter-1"))
    ok("cert", "bulk", "--count", "3", "--out", "lot")
    ok("cert", "renew", "certs/server.pem", "--out", "server")
    names = [each.device_id for each in issued()]
    assert names == ["meter-1", "meter-2", "own", "meter-1", "device-000001", "device-000002", "device-000003"]
    manifest = json.loads(Path("lot/manifest.json").read_text())
    assert {each["serial"] for each in manifest["devices"]} == {each.serial for each in issued()[-3:]}


def test_no_record(devices: Path) -> None:
    ok("cert", "issue", "--device", "meter-3", "--no-record")
    ok("cert", "bulk", "--count", "2", "--out", "lot", "--no-record")
    assert [each.device_id for each in issued()] == ["meter-1", "meter-2"]


def test_a_lot_that_is_gone_on_with_is_written_down_once(devices: Path) -> None:
    ok("cert", "bulk", "--count", "3", "--out", "lot", "--no-record")
    Path("lot/job.json").write_text(json.dumps(json.loads(Path("lot/manifest.json").read_text())["job"]))
    Path("lot/manifest.json").unlink()
    ok("cert", "bulk", "--count", "3", "--out", "lot")
    Path("lot/job.json").write_text(json.dumps(json.loads(Path("lot/manifest.json").read_text())["job"]))
    Path("lot/manifest.json").unlink()
    ok("cert", "bulk", "--count", "3", "--out", "lot")
    assert [each.device_id for each in issued()][2:] == ["device-000001", "device-000002", "device-000003"]


def test_openssl_refuses_what_was_revoked(devices: Path) -> None:
    done = ok("cert", "revoke", path("meter-1"), "--reason", "key_compromise", "--yes", "-o", "json").json
    assert done == [
        {
            "device": "meter-1",
            "tenant": "default",
            "serial": serial(path("meter-1")),
            "sha256": sha256(path("meter-1")),
            "reason": "key_compromise",
            "revoked": True,
        }
    ]
    published = ok("ca", "crl", "publish", "-o", "json").json
    assert (published["file"], published["number"], published["revoked"]) == (CRL, 1, 1)
    assert revoked(path("meter-1"))
    assert not revoked(path("meter-2"))
    text = openssl("crl", "-in", CRL, "-noout", "-text")
    assert "Key Compromise" in text
    assert Path(CRL).stat().st_mode & 0o777 == 0o644


def test_the_gateway_reads_what_it_published(devices: Path) -> None:
    ok("cert", "revoke", path("meter-1"), "--reason", "superseded", "--yes")
    ok("ca", "crl", "publish", "--der")
    crl = read_crl(Path(CRL).read_bytes(), load_certificates(Path("certs/intermediate.pem")), datetime.now(UTC))
    entry = crl.find(int(serial(path("meter-1")), 16))
    assert entry is not None
    assert entry.reason is x509.ReasonFlags.superseded
    assert crl.find(int(serial(path("meter-2")), 16)) is None
    assert crl.number == 1


def test_numbers_grow_and_the_list_is_replaced(devices: Path) -> None:
    assert ok("ca", "crl", "publish", "-o", "json").json["number"] == 1
    assert not revoked(path("meter-1"))
    ok("cert", "revoke", "--device", "meter-1", "--yes")
    assert ok("ca", "crl", "publish", "--days", "1", "-o", "json").json["number"] == 2
    assert revoked(path("meter-1"))
    # A CA's numbers are its own.
    other = ["--ca", "certs/root.pem", "--out", "root.crl"]
    assert ok("ca", "crl", "publish", *other, "-o", "json").json["number"] == 1
    assert ok("ca", "crl", "publish", "--der", "-o", "json").json["number"] == 3
    assert load_crl(CRL).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 3


def load_crl(file: str) -> x509.CertificateRevocationList:
    return x509.load_der_x509_crl(Path(file).read_bytes())


def test_all_of_a_device(devices: Path) -> None:
    ok("cert", "renew", path("meter-1"))
    done = ok("cert", "revoke", "--device", "meter-1", "--yes", "-o", "json").json
    assert [each["device"] for each in done] == ["meter-1", "meter-1"]
    ok("ca", "crl", "publish")
    assert revoked(path("meter-1"))
    assert revoked("certs/devices/meter-1-renewed-1.pem")
    assert not revoked(path("meter-2"))
    assert "no certificate that is not revoked" in run("cert", "revoke", "--device", "meter-1", "--yes").refused(3)
    assert "no certificate" in run("cert", "revoke", "--device", "nobody", "--yes").refused(3)


def test_the_tenant_under_which_it_was_written_down_is_named(devices: Path) -> None:
    words = ["cert", "revoke", "--device", "meter-1", "--tenant"]
    assert "but to one of 'default': say --tenant default" in run(*words, "acme", "--yes").refused(3)
    ok(*words, "default", "--yes")


def test_by_serial_number(devices: Path) -> None:
    number = serial(path("meter-2"))
    pairs = ":".join(number.zfill(40)[at : at + 2].upper() for at in range(0, 40, 2))
    assert ok("cert", "revoke", "--serial", pairs, "--yes", "-o", "json").json[0]["device"] == "meter-2"
    assert "no certificate with serial abc" in run("cert", "revoke", "--serial", "0abc", "--yes").refused(3)
    assert "not hex" in run("cert", "revoke", "--serial", "xyz", "--yes").refused(2)


def test_one_that_nobody_wrote_down_is_revoked_by_its_file(devices: Path) -> None:
    ok("cert", "issue", "--device", "meter-3", "--no-record")
    ok("cert", "revoke", path("meter-3"), "--yes")
    ok("ca", "crl", "publish")
    assert revoked(path("meter-3"))
    assert [each.revoked_at is not None for each in issued()] == [False, False, True]


def test_an_intermediate_by_the_list_of_its_root(devices: Path) -> None:
    assert "name the one that did with --ca" in run("cert", "revoke", "certs/intermediate.pem", "--yes").refused(1)
    ok("cert", "revoke", "certs/intermediate.pem", "--ca", "certs/root.pem", "--reason", "ca_compromise", "--yes")
    ok("ca", "crl", "publish", "--ca", "certs/root.pem")
    ok("ca", "crl", "publish")
    both = Path("both.crl")
    both.write_bytes(Path("certs/root.crl").read_bytes() + Path(CRL).read_bytes())
    command = [program("openssl"), "verify", "-crl_check_all", "-CAfile", "certs/root.pem", "-CRLfile", str(both)]
    done = subprocess.run(
        [*command, "-untrusted", path("meter-1"), path("meter-1")], capture_output=True, text=True, check=False
    )
    assert "error 23 at 1 depth lookup: certificate revoked" in done.stderr


def test_a_second_revocation_changes_nothing(devices: Path) -> None:
    ok("cert", "revoke", path("meter-1"), "--reason", "key_compromise", "--yes")
    before = issued("meter-1")
    again = ok("cert", "revoke", path("meter-1"), "--reason", "superseded", "--yes", "-o", "json").json
    assert again[0]["reason"] == "key_compromise"
    assert issued("meter-1") == before


def test_a_revoked_key_is_not_renewed(devices: Path) -> None:
    ok("cert", "revoke", path("meter-1"), "--yes")
    before = snapshot(Path("certs"))
    assert "--new-key" in run("cert", "renew", path("meter-1")).refused(1)
    assert snapshot(Path("certs")) == before
    ok("cert", "renew", path("meter-1"), "--new-key")


def test_nothing_without_yes(devices: Path) -> None:
    before = issued()
    assert "--yes" in run("cert", "revoke", path("meter-1")).refused(2)
    rows = ok("cert", "revoke", "--device", "meter-1", "--dry-run", "-o", "json").json
    assert [(each["device"], each["revoked"]) for each in rows] == [("meter-1", False)]
    ok("cert", "issue", "--device", "meter-3", "--no-record")
    ok("cert", "revoke", path("meter-3"), "--dry-run")
    assert issued() == before


@pytest.mark.parametrize("words", [[], ["x.pem", "--device", "d"], ["--device", "d", "--serial", "1"]])
def test_one_way_to_say_which(devices: Path, words: list[str]) -> None:
    assert "say which" in run("cert", "revoke", *words, "--yes").refused(2)


def test_a_refused_list_costs_no_number(devices: Path) -> None:
    words = ["ca", "crl", "publish", "--ca", path("meter-1"), "--out", "x.crl"]
    assert "is not a CA" in run(*words).refused(1)
    assert not Path("x.crl").exists()
    assert ok("ca", "crl", "publish", "-o", "json").json["number"] == 1


def test_without_a_registry(workdir: Path) -> None:
    ok("ca", "create", "--root", "--out", "certs/intermediate")
    for words in (["cert", "revoke", "--device", "d", "--yes"], ["ca", "crl", "publish"]):
        assert "gateway init" in run(*words).refused(2)
