"""`gateway ca`: what it makes, judged by the openssl tool, and whom it trusts."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from gateway.registry import open_registry
from tests.cli.openssl import facts, key_belongs, mode, openssl, text, verifies
from tests.cli.support import ok, run
from tests.pki.factory import DAY, NOW, ca


def anchors() -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = ok("ca", "list", "-o", "json").json
    return listed


def sha256(certificate: str) -> str:
    """The fingerprint that openssl prints."""
    return facts(certificate, "-fingerprint", "-sha256").partition("=")[2].replace(":", "").lower()


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(path): (path.stat().st_mode, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def factory(workdir: Path) -> Path:
    """A root and an intermediate, made by the command."""
    ok("ca", "create", "--root", "--name", "Acme Root", "--organization", "Acme", "--out", "factory/root")
    ok(
        *["ca", "create", "--intermediate", "--name", "Acme Line 1"],
        *["--issuer", "factory/root.pem", "--out", "factory/line1"],
    )
    return workdir / "factory"


def test_a_root(factory: Path) -> None:
    assert verifies("factory/root.pem", "factory/root.pem")
    assert key_belongs("factory/root.pem", "factory/root.key")
    seen = text("factory/root.pem")
    assert "Subject: O = Acme, CN = Acme Root" in seen
    assert "X509v3 Basic Constraints: critical CA:TRUE " in seen
    assert "X509v3 Key Usage: critical Certificate Sign, CRL Sign " in seen
    assert "ASN1 OID: prime256v1" in seen
    assert "Signature Algorithm: ecdsa-with-SHA256" in seen


def test_an_intermediate(factory: Path) -> None:
    assert verifies("factory/line1.pem", "factory/root.pem")
    assert key_belongs("factory/line1.pem", "factory/line1.key")
    seen = text("factory/line1.pem")
    assert "Issuer: O = Acme, CN = Acme Root " in seen
    assert "Subject: O = Acme, CN = Acme Line 1 " in seen
    assert "X509v3 Basic Constraints: critical CA:TRUE, pathlen:0" in seen


def test_keys_are_private_whatever_the_umask(workdir: Path) -> None:
    before = os.umask(0)
    try:
        ok("ca", "create", "--root", "--out", "open/root")
    finally:
        os.umask(before)
    assert (mode("open/root.key"), mode("open/root.pem"), mode("open")) == (0o600, 0o644, 0o700)
    before = os.umask(0o777)
    try:
        ok("ca", "create", "--root", "--out", "open/closed")
    finally:
        os.umask(before)
    assert (mode("open/closed.key"), mode("open/closed.pem")) == (0o600, 0o644)


def test_by_default_the_files_lie_beside_the_configuration(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    config = ["--config", str(site / "gateway.toml")]
    for name in ("root", "intermediate"):
        line = run("ca", "create", f"--{name}", *config).refused(1)
        assert f"{site}/certs/{name}.key exists already" in line
    ok("ca", "create", "--intermediate", "--out", f"{site}/second", *config)
    assert verifies(f"{site}/second.pem", f"{site}/certs/root.pem")


@pytest.mark.parametrize("there", ["root.pem", "root.key"])
def test_nothing_is_overwritten(factory: Path, there: str) -> None:
    gone = {"root.pem": "root.key", "root.key": "root.pem"}[there]
    (factory / gone).unlink()
    before = snapshot(factory)
    assert f"{there} exists already" in run("ca", "create", "--root", "--out", "factory/root").refused(1)
    assert snapshot(factory) == before


@pytest.mark.parametrize("suffix", [".pem", ".key"])
def test_out_may_be_one_of_the_two_files(workdir: Path, suffix: str) -> None:
    assert ok("ca", "create", "--root", "--out", f"root{suffix}").stdout == "wrote root.pem and root.key\n"
    assert key_belongs("root.pem", "root.key")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "either --root or --intermediate"),
        (["--root", "--intermediate"], "either --root or --intermediate"),
        (["--root", "--issuer", "root.pem"], "a root signs itself"),
        (["--root", "--issuer-key", "root.key"], "a root signs itself"),
        (["--intermediate", "--organization", "Acme"], "--organization is for a --root"),
        (["--root", "--out", "."], "add a name for the files"),
        (["--root", "--out", ".."], "add a name for the files"),
        (["--root", "--out", "/"], "add a name for the files"),
        (["--intermediate", "--issuer", "."], ". is a folder"),
    ],
)
def test_options_that_make_no_sense(workdir: Path, words: list[str], why: str) -> None:
    assert why in run("ca", "create", *words).refused(2)
    assert list(workdir.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--intermediate"], "cannot read certs/root.pem"),
        (["--intermediate", "--issuer", "factory/none.pem"], "cannot read factory/none.pem"),
        (["--intermediate", "--issuer", "factory/root.key"], "factory/root.key holds no certificate"),
        (["--intermediate", "--issuer", "factory/root.pem", "--issuer-key", "factory/line1.key"], "does not belong"),
        (["--intermediate", "--issuer", "device.pem"], "'dev1' is not a CA certificate"),
        (["--root", "--name", "n" * 65], "cannot be a certificate's name"),
        (["--root", "--out", "device.pem/root"], "device.pem: "),
        (["--root", "--out", "/proc/nowhere/root"], "/proc/nowhere: "),
    ],
)
def test_what_cannot_be_done(factory: Path, words: list[str], why: str) -> None:
    ok("cert", "issue", "--device", "dev1", "--ca", "factory/line1.pem", "--out", "device")
    before = snapshot(Path())
    assert why in run("ca", "create", *words).refused(1)
    assert snapshot(Path()) == before


def test_trust_a_root_alone(site: Path) -> None:
    said = ok("ca", "trust", "certs/root.pem").stdout
    [anchor] = anchors()
    assert anchor["id"] == sha256("certs/root.pem")
    assert (anchor["tenants"], anchor["auto_provision"], anchor["expired"]) == (["default"], "off", False)
    assert anchor["subject"] == "CN=Gateway Development Root CA,O=Gateway Development"
    end = openssl("x509", "-in", "certs/root.pem", "-noout", "-enddate", "-dateopt", "iso_8601")
    assert anchor["not_after"] == end.strip().removeprefix("notAfter=").replace(" ", "T")
    assert anchor["id"] in said
    assert "devices must be added" in said


def test_trust_a_der_file(site: Path) -> None:
    openssl("x509", "-in", "certs/root.pem", "-outform", "DER", "-out", "root.der")
    ok("ca", "trust", "root.der")
    assert [anchor["id"] for anchor in anchors()] == [sha256("certs/root.pem")]


def test_trust_a_bundle(site: Path) -> None:
    assert "created at their first handshake" in ok("ca", "trust", "certs/ca-bundle.pem", "--auto-provision").stdout
    assert [(a["id"], a["auto_provision"]) for a in anchors()] == [(sha256("certs/root.pem"), "active")]
    with open_registry("sqlite:///registry.db") as registry:
        assert len(registry.intermediates()) == 1


def test_trust_twice_changes_only_what_is_said(site: Path) -> None:
    for words, then in (
        ([], "off"),
        (["--auto-provision"], "active"),
        ([], "active"),
        (["--auto-provision", "pending"], "pending"),
        (["--auto-provision=active"], "active"),
        (["--no-auto-provision"], "off"),
        ([], "off"),
    ):
        ok("ca", "trust", "certs/root.pem", *words)
        assert [anchor["auto_provision"] for anchor in anchors()] == [then]


@pytest.mark.parametrize(
    "words", [["certs/root.pem", "--auto-provision", "maybe"], ["--auto-provision", "maybe", "certs/root.pem"]]
)
def test_a_wrong_way_to_provision_is_told_the_right_ones(site: Path, words: list[str]) -> None:
    done = run("ca", "trust", *words)
    assert done.status == 2
    assert "Invalid value for '--auto-provision': 'maybe' is not one of off, pending, active." in done.stderr
    assert "none.pem" in run("ca", "trust", "--auto-provision", "none.pem").refused(1)
    assert "extra argument" in run("ca", "trust", "--auto-provision", "certs/root.pem", "certs/root.pem").stderr


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("certs/server.pem", "'CN=localhost' is not a CA"),
        ("certs/root.key", "certs/root.key holds no certificate"),
        ("gateway.toml", "gateway.toml holds no certificate"),
        ("certs", "cannot read certs: "),
        ("none.pem", "cannot read none.pem: "),
    ],
)
def test_what_cannot_be_trusted(site: Path, file: str, why: str) -> None:
    assert why in run("ca", "trust", file, "--auto-provision").refused(1)
    assert anchors() == []


def test_a_ca_belongs_to_one_tenant(site: Path) -> None:
    with open_registry("sqlite:///registry.db") as registry:
        registry.add_tenant("acme")
    ok("ca", "trust", "certs/root.pem", "--tenant", "acme")
    again = ["ca", "trust", "certs/root.pem", "--auto-provision"]
    assert "'acme'" in run(*again, "--tenant", "default").refused(4)
    assert [(a["tenants"], a["auto_provision"]) for a in anchors()] == [(["acme"], "off")]
    # Nobody said another one: it stays whose it is.
    ok(*again)
    assert [(a["tenants"], a["auto_provision"]) for a in anchors()] == [(["acme"], "active")]
    assert "nobody" in run("ca", "trust", "certs/intermediate.pem", "--tenant", "nobody").refused(3)


def test_an_expired_ca_is_said_to_be(site: Path) -> None:
    Path("old.der").write_bytes(ca("Old", begin=NOW - 9000 * DAY, end=NOW - 8000 * DAY).der)
    done = run("ca", "trust", "old.der")
    assert (done.status, done.stderr.splitlines()[-1]) == (
        0,
        "gateway: CN=Old has expired: devices below it are refused",
    )
    assert [anchor["expired"] for anchor in anchors()] == [True]


def test_untrust(site: Path) -> None:
    ok("ca", "create", "--root", "--name", "Other", "--out", "other")
    for file in ("certs/root.pem", "other.pem"):
        ok("ca", "trust", file)
    first, second = sha256("certs/root.pem"), sha256("other.pem")
    for none in ("", "zz", "0" * 64, first + "0"):
        assert "see `gateway ca list`" in run("ca", "untrust", none).refused(3)
    assert [anchor["id"] for anchor in anchors()] == [first, second]
    assert "CN=Other" in ok("ca", "untrust", second[:16].upper()).stdout
    assert [anchor["id"] for anchor in anchors()] == [first]
    ok("ca", "untrust", first)
    assert anchors() == []


def test_an_id_that_fits_several_is_not_guessed(site: Path) -> None:
    # Ids begin with one of sixteen digits: of seventeen, two begin alike.
    for number in range(17):
        ok("ca", "create", "--root", "--name", f"Root {number}", "--out", f"r{number}")
        ok("ca", "trust", f"r{number}.pem")
    digits = [anchor["id"][0] for anchor in anchors()]
    twice = next(digit for digit in digits if digits.count(digit) > 1)
    assert "write more of it" in run("ca", "untrust", twice).refused(2)
    assert len(anchors()) == 17


def test_a_stored_certificate_that_cannot_be_read_is_listed_all_the_same(site: Path) -> None:
    with open_registry("sqlite:///registry.db") as registry:
        broken = registry.add_trust_anchor(b"no certificate", "CN=Broken")
    [anchor] = anchors()
    assert (anchor["id"], anchor["not_after"], anchor["expired"]) == (broken.id, None, None)
    assert re.search(rf"^{broken.id} +CN=Broken ", ok("ca", "list").stdout, re.MULTILINE)
    ok("ca", "untrust", broken.id)
    assert anchors() == []
