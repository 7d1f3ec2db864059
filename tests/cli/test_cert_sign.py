"""`gateway cert sign` and `renew`, and intermediates from a request; requests are openssl's."""

from pathlib import Path

import pytest

from tests.cli.openssl import facts, key_belongs, mode, openssl, text, verifies
from tests.cli.support import ok, run
from tests.cli.test_ca import snapshot

ROOT = "certs/root.pem"


def ask(name: str, *more: str, curve: str = "P-256") -> str:
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}", "-out", f"{name}.key")
    openssl("req", "-new", "-key", f"{name}.key", "-subj", f"/CN={name}", "-out", f"{name}.csr", *more)
    return f"{name}.csr"


def test_a_request_of_openssl(site: Path) -> None:
    assert ok("cert", "sign", ask("meter-1")).stdout == "wrote certs/devices/meter-1.pem\n"
    assert key_belongs("certs/devices/meter-1.pem", "meter-1.key")
    assert verifies("certs/devices/meter-1.pem", ROOT, "-purpose", "sslclient")
    assert not Path("certs/devices/meter-1.key").exists()


def test_der_a_name_of_ones_own_and_a_place(site: Path) -> None:
    ok(
        "cert",
        "sign",
        ask("x", "-outform", "DER", curve="P-384"),
        "--device",
        "urn:dev:1",
        "--out",
        "here",
        "--days",
        "9",
    )
    assert key_belongs("here.pem", "x.key")
    assert "X509v3 Subject Alternative Name: critical URI:urn:dev:1" in text("here.pem")
    openssl("x509", "-in", "here.pem", "-noout", "-checkend", str(8 * 86400))
    with pytest.raises(AssertionError):
        openssl("x509", "-in", "here.pem", "-noout", "-checkend", str(10 * 86400))


def test_what_is_not_signed(site: Path) -> None:
    wanted = ask("meter-1", "-addext", "basicConstraints=critical,CA:TRUE")
    before = snapshot(site)
    assert "ca create --intermediate --csr" in run("cert", "sign", wanted).refused(1)
    assert "no certificate signing request" in run("cert", "sign", "meter-1.key").refused(1)
    assert "cannot read" in run("cert", "sign", "missing").refused(1)
    assert snapshot(site) == before
    good = ask("meter-2")
    ok("cert", "sign", good)
    before = snapshot(site)
    assert "exists already" in run("cert", "sign", good).refused(1)
    assert snapshot(site) == before


def test_a_factory_keeps_its_key_and_gets_an_intermediate(site: Path) -> None:
    wanted = ask("line", curve="P-384")
    made = ok("ca", "create", "--intermediate", "--csr", wanted, "--name", "Line 1", "--issuer", ROOT, "--out", "line1")
    assert made.stdout == "wrote line1.pem\n"
    assert key_belongs("line1.pem", "line.key")
    assert verifies("line1.pem", ROOT)
    ok("cert", "issue", "--device", "m", "--ca", "line1.pem", "--ca-key", "line.key", "--out", "m")
    assert verifies("m.pem", ROOT, "-purpose", "sslclient")
    assert "Signature Algorithm: ecdsa-with-SHA384" in text("m.pem")


@pytest.mark.parametrize("words", [["--root"], ["--intermediate", "--curve", "P-384"]])
def test_a_request_is_for_intermediates(site: Path, words: list[str]) -> None:
    assert "--csr" in run("ca", "create", *words, "--csr", "x.csr", "--out", "x").refused(2)


def test_curves_and_path_lengths(workdir: Path) -> None:
    ok("ca", "create", "--root", "--curve", "P-384", "--pathlen", "2", "--days", "30", "--out", "root")
    assert "ASN1 OID: secp384r1" in text("root.pem")
    assert "X509v3 Basic Constraints: critical CA:TRUE, pathlen:2" in text("root.pem")
    assert "Signature Algorithm: ecdsa-with-SHA384" in text("root.pem")
    below = ["ca", "create", "--intermediate", "--issuer"]
    ok(*below, "root.pem", "--pathlen", "1", "--name", "Policy", "--out", "policy")
    assert "CA:TRUE, pathlen:1" in text("policy.pem")
    ok(*below, "policy.pem", "--curve", "P-384", "--out", "issuing")
    ok("cert", "issue", "--device", "m", "--ca", "issuing.pem", "--out", "m")
    assert verifies("m.pem", "root.pem", "-purpose", "sslclient")
    assert "pathLenConstraint" in run(*below, "issuing.pem", "--name", "Lower", "--out", "lower").refused(1)


# Renewal.


@pytest.fixture
def device(site: Path) -> str:
    ok("cert", "issue", "--device", "meter-1")
    return "certs/devices/meter-1.pem"


def test_renewal_for_the_same_key(device: str) -> None:
    before = snapshot(Path("certs"))
    said = ok("cert", "renew", device).stdout
    new = "certs/devices/meter-1-renewed-1.pem"
    assert said == f"wrote {new}; its key is that of {device}\n"
    assert key_belongs(new, "certs/devices/meter-1.key")
    assert verifies(new, ROOT, "-purpose", "sslclient")
    assert facts(new, "-subject") == facts(device, "-subject")
    assert facts(new, "-serial") != facts(device, "-serial")
    ok("cert", "renew", new)
    assert Path("certs/devices/meter-1-renewed-2.pem").exists()
    after = snapshot(Path("certs"))
    assert {name: after[name] for name in before} == before


def test_renewal_with_a_new_key(device: str) -> None:
    ok("cert", "renew", device, "--new-key")
    new, key = "certs/devices/meter-1-renewed-1.pem", "certs/devices/meter-1-renewed-1.key"
    assert key_belongs(new, key)
    assert not key_belongs(new, "certs/devices/meter-1.key")
    assert mode(key) == 0o600
    assert verifies(new, ROOT, "-purpose", "sslclient")


def test_renewal_overwrites_nothing(device: str) -> None:
    before = snapshot(Path("certs"))
    for words in ([], ["--new-key"]):
        assert "exists already" in run("cert", "renew", device, "--out", device, *words).refused(1)
    assert snapshot(Path("certs")) == before


def test_renewal_of_the_server(site: Path) -> None:
    ok("cert", "renew", "certs/server.pem", "--out", "new/server")
    assert key_belongs("new/server.pem", "certs/server.key")
    assert verifies("new/server.pem", ROOT, "-purpose", "sslserver", "-verify_hostname", "localhost")


def test_renewal_below_another_ca(device: str) -> None:
    ok("ca", "create", "--intermediate", "--name", "Second", "--out", "second")
    assert "--previous-ca" in run("cert", "renew", device, "--ca", "second.pem").refused(1)
    ok("cert", "renew", device, "--ca", "second.pem", "--previous-ca", "certs/intermediate.pem", "--out", "moved")
    assert verifies("moved.pem", ROOT, "-purpose", "sslclient")
    assert "CN = Second" in facts("moved.pem", "-issuer")
