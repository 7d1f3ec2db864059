"""`gateway cert`: certificates of devices and of the gateway, judged by the openssl tool."""

from pathlib import Path

import pytest

from tests.cli.openssl import facts, key_belongs, mode, text, verifies
from tests.cli.support import ok, run
from tests.cli.test_ca import snapshot

ROOT = "certs/root.pem"


def test_a_device(site: Path) -> None:
    said = ok("cert", "issue", "--device", "meter-1").stdout
    chain, key = "certs/devices/meter-1.pem", "certs/devices/meter-1.key"
    assert said == f"wrote {chain} and {key}\n"
    assert verifies(chain, ROOT, "-purpose", "sslclient")
    assert not verifies(chain, ROOT, "-purpose", "sslserver")
    assert key_belongs(chain, key)
    assert mode(key) == 0o600
    assert facts(chain, "-subject", "-nameopt", "RFC2253") == "subject=CN=meter-1"
    seen = text(chain)
    assert "X509v3 Extended Key Usage: TLS Web Client Authentication" in seen
    assert "X509v3 Basic Constraints: critical CA:FALSE" in seen


def test_a_device_with_a_urn(site: Path) -> None:
    name = "urn:dev:mac:0024befffe804ff1"
    ok("cert", "issue", "--device", name)
    chain = f"certs/devices/{name}.pem"
    assert verifies(chain, ROOT, "-purpose", "sslclient")
    assert f"X509v3 Subject Alternative Name: critical URI:{name}" in text(chain)


@pytest.mark.parametrize("name", ["meter.pem", "meter.key", "v1.2"])
def test_a_name_with_a_dot_stays_whole(site: Path, name: str) -> None:
    ok("cert", "issue", "--device", name)
    assert key_belongs(f"certs/devices/{name}.pem", f"certs/devices/{name}.key")


def test_a_name_that_is_no_file_name_needs_out(site: Path) -> None:
    assert "--out" in run("cert", "issue", "--device", "site-a/meter-1").refused(2)
    ok("cert", "issue", "--device", "site-a/meter-1", "--out", "meter")
    assert facts("meter.pem", "-subject", "-nameopt", "RFC2253") == "subject=CN=site-a/meter-1"


@pytest.mark.parametrize("name", ["", "..", "../../etc/x", "a b", "ü", "n" * 65, "/abs"])
def test_what_cannot_be_a_device(site: Path, name: str) -> None:
    before = snapshot(site.parent)
    line = run("cert", "issue", "--device", name).refused(1)
    assert "device name" in line
    assert snapshot(site.parent) == before


def test_nothing_is_overwritten(site: Path) -> None:
    ok("cert", "issue", "--device", "meter-1")
    before = snapshot(site)
    for words in (["issue", "--device", "meter-1"], ["server"], ["server", "--out", "certs/root"]):
        assert "exists already" in run("cert", *words).refused(1)
    assert snapshot(site) == before


def test_the_server_of_init_is_good_for_this_machine(site: Path) -> None:
    for words in (
        ["-verify_hostname", "localhost"],
        ["-verify_ip", "127.0.0.1"],
        ["-verify_ip", "::1"],
    ):
        assert verifies("certs/server.pem", ROOT, "-purpose", "sslserver", *words)
    assert not verifies("certs/server.pem", ROOT, "-verify_hostname", "example.org")
    assert not verifies("certs/server.pem", ROOT, "-purpose", "sslclient")


def test_a_server_with_names_of_its_own(site: Path) -> None:
    names = ["--name", "iot.example.org", "--name", "192.0.2.7", "--name", "2001:db8::7"]
    ok("cert", "server", *names, "--out", "new/server")
    chain = "new/server.pem"
    assert key_belongs(chain, "new/server.key")
    assert mode("new/server.key") == 0o600
    for words in (
        ["-verify_hostname", "iot.example.org"],
        ["-verify_ip", "192.0.2.7"],
        ["-verify_ip", "2001:db8::7"],
    ):
        assert verifies(chain, ROOT, "-purpose", "sslserver", *words)
    assert not verifies(chain, ROOT, "-verify_hostname", "localhost")
    seen = text(chain)
    assert "DNS:iot.example.org, IP Address:192.0.2.7, IP Address:2001:DB8:0:0:0:0:0:7" in seen
    assert "X509v3 Extended Key Usage: TLS Web Server Authentication" in seen


@pytest.mark.parametrize("name", ["", "ü.example"])
def test_what_cannot_be_a_servers_name(site: Path, name: str) -> None:
    before = snapshot(site)
    run("cert", "server", "--name", name, "--out", "other").refused(1)
    assert snapshot(site) == before


def test_an_issuer_of_ones_own(workdir: Path) -> None:
    ok("ca", "create", "--root", "--name", "Acme Root", "--out", "acme")
    Path("acme.key").rename("offline.key")
    assert "cannot read acme.key" in run("cert", "issue", "--device", "d", "--ca", "acme.pem", "--out", "d").refused(1)
    ok("cert", "issue", "--device", "d", "--ca", "acme.pem", "--ca-key", "offline.key", "--out", "d")
    assert verifies("d.pem", "acme.pem", "-purpose", "sslclient")


def test_an_issuer_that_is_no_ca(site: Path) -> None:
    ok("cert", "issue", "--device", "meter-1")
    line = run("cert", "issue", "--device", "meter-2", "--ca", "certs/devices/meter-1.pem").refused(1)
    assert "'meter-1' is not a CA certificate" in line
    assert "a folder" in run("cert", "issue", "--device", "meter-2", "--ca", "/").refused(2)
