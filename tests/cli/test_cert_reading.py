"""`gateway cert inspect`, `lint` and `verify`."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.identity import IdentityRefused, IdentityService
from gateway.pki import load_certificates, load_certified_key, pem_bundle
from gateway.registry import CachedReads, open_registry
from gateway.registry import run as run_steps
from gateway.server.refusals import REASON_FOR
from tests.cli.openssl import facts
from tests.cli.support import Done, ok, run
from tests.pki.factory import Made, aki, ca, make

DEVICE = "certs/devices/meter-1.pem"


@pytest.fixture
def device(site: Path) -> str:
    ok("cert", "issue", "--device", "meter-1")
    return DEVICE


def test_inspect(device: str) -> None:
    leaf, issuer = ok("cert", "inspect", device, "-o", "json").json
    assert leaf["serial"].upper() == facts(device, "-serial").partition("=")[2].lstrip("0")
    assert leaf["sha256"].upper() == facts(device, "-fingerprint", "-sha256").partition("=")[2].replace(":", "")
    assert (leaf["device"], leaf["ca"], leaf["key"]) == ("meter-1", False, "EC secp256r1")
    assert (leaf["key_usage"], leaf["extended_key_usage"]) == (["digital_signature"], ["clientAuth"])
    assert leaf["authority_key_id"] == issuer["subject_key_id"]
    assert (issuer["ca"], issuer["path_length"]) == (True, 0)
    text = ok("cert", "inspect", device).stdout
    assert "subject             CN=meter-1\n" in text
    assert f"sha256              {leaf['sha256']}\n" in text


def test_inspect_takes_der_and_says_what_is_none(site: Path) -> None:
    Path("root.der").write_bytes(load_certificates(Path("certs/root.pem"))[0].public_bytes(Encoding.DER))
    assert ok("cert", "inspect", "root.der", "-o", "json").json[0]["ca"] is True
    assert "holds no certificate" in run("cert", "inspect", "certs/root.key").refused(1)
    assert "cannot read" in run("cert", "inspect", "missing.pem").refused(1)


def test_what_others_wrote_does_not_move_the_cursor(workdir: Path) -> None:
    Path("odd.pem").write_bytes(pem_bundle([make("dev\x1b[2J\n").certificate]))
    for verb in ("inspect", "lint"):
        done = run("cert", verb, "odd.pem")
        assert "\x1b" not in done.stdout
        assert "2J" in done.stdout


def test_lint(device: str) -> None:
    leaf, issuer = ok("cert", "lint", device, "-o", "json").json
    assert [each["code"] for each in leaf["findings"]] == ["missing_san"]
    assert (leaf["role"], issuer["role"], issuer["findings"]) == ("device", "ca", [])
    assert "CN=meter-1 as device: 1 objection\n" in ok("cert", "lint", device).stdout


def test_lint_fails_for_an_error(site: Path) -> None:
    Path("rsa.pem").write_bytes(pem_bundle([make("dev", key=rsa.generate_private_key(65537, 2048)).certificate]))
    done = run("cert", "lint", "rsa.pem")
    assert done.status == 1
    assert "error    weak_key:" in done.stdout
    assert done.stderr == ""
    assert run("cert", "lint", "certs/root.pem", "--as", "device").status == 1
    assert run("cert", "lint", "certs/server.pem").status == 0
    assert run("cert", "lint", "certs/root.pem", "--as", "toaster").status == 2


# Verification.


def verify(file: str, *words: str) -> dict[str, Any]:
    done = run("cert", "verify", file, *words, "-o", "json")
    verdict: dict[str, Any] = done.json
    assert done.status == (0 if verdict["accepted"] else 1)
    assert done.stderr == ""
    return verdict


def rows(site: Path) -> Done | list[str]:
    connection = sqlite3.connect(f"file:{site / 'registry.db'}?mode=ro", uri=True)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def test_verify_says_what_to_do_until_it_is_accepted(site: Path, device: str) -> None:
    verdict = verify(device)
    assert (verdict["accepted"], verdict["reason"]) == (False, "unknown_root")
    assert "gateway ca trust" in verdict["remedy"]
    ok("ca", "trust", "certs/root.pem")
    verdict = verify(device)
    assert verdict["reason"] == "not_provisioned"
    assert "gateway device add meter-1" in verdict["hint"]
    ok("device", "add", "meter-1")
    before = rows(site)
    verdict = verify(device)
    assert (verdict["accepted"], verdict["device"], verdict["tenant"]) == (True, "meter-1", "default")
    assert verdict["created"] is None
    assert rows(site) == before
    ok("device", "disable", "meter-1")
    assert verify(device)["reason"] == "device_disabled"


def test_verify_creates_no_device(site: Path, device: str) -> None:
    ok("ca", "trust", "certs/root.pem", "--auto-provision")
    before = rows(site)
    verdict = verify(device)
    assert (verdict["accepted"], verdict["created"]) == (True, "at its first handshake")
    assert rows(site) == before
    assert ok("device", "list", "-o", "json").json == []


def test_verify_knows_the_tenant(site: Path, device: str) -> None:
    ok("ca", "trust", "certs/root.pem", "--auto-provision")
    assert verify(device, "--tenant", "default")["accepted"]
    verdict = verify(device, "--tenant", "other")
    assert verdict["reason"] == "other_tenant"
    assert "--tenant other" in verdict["remedy"]


def test_verify_refuses_a_device_with_a_key_only(site: Path, device: str) -> None:
    ok("ca", "trust", "certs/root.pem", "--auto-provision")
    ok("device", "add", "meter-1", "--psk-identity", "m", "--psk-stdin", stdin=b"00" * 16)
    assert verify(device)["reason"] == "not_provisioned"
    ok("device", "add", "meter-1", "--certificate")
    assert verify(device)["accepted"]


def test_verify_is_the_gateways_own_verdict(site: Path, device: str) -> None:
    """Whatever the chain: the same as a handshake's, which does change the registry and therefore comes last."""
    ok("ca", "trust", "certs/ca-bundle.pem", "--auto-provision")
    held = load_certified_key(Path("certs/intermediate.pem"), Path("certs/intermediate.key"))
    above, other = Made(held.certificate, held.private_key), ca("Other")
    chains = {
        "good": [make("a", above, aki(above))],
        "stranger": [make("b", other)],
        "CA": [above],
        "no name": [make("a b", above)],
        "RSA": [make("c", above, key=rsa.generate_private_key(65537, 2048))],
        "expired": [
            make(
                "d",
                above,
                begin=held.certificate.not_valid_before_utc.replace(year=2020),
                end=held.certificate.not_valid_before_utc.replace(year=2021),
            )
        ],
        "good chain": [make("e", above), above],
    }
    said = {}
    for name, chain in chains.items():
        Path("chain.pem").write_bytes(pem_bundle([each.certificate for each in chain]))
        said[name] = verify("chain.pem").get("reason")
    with open_registry("sqlite:///registry.db") as registry:
        service = IdentityService(CachedReads(registry))
        for name, chain in chains.items():
            try:
                run_steps(service.certificate([each.der for each in chain]))
                reason = None
            except IdentityRefused as refused:
                reason = REASON_FOR[refused.reason].value
            assert said[name] == reason, name
    assert sum(reason is None for reason in said.values()) == 2


def test_verify_without_a_registry(workdir: Path) -> None:
    Path("a.pem").write_bytes(pem_bundle([make("dev").certificate]))
    assert "gateway init" in run("cert", "verify", "a.pem").refused(2)
