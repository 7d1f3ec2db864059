"""`gateway simulate` against a running gateway."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.openssl import openssl
from tests.cli.support import Done, Serving, ok, run

KEY = "9b1d0f62a7e44c53bd1177c05e2a9f38"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """With five PSK devices `meter-1` to `meter-5`, two with raw public keys `bare-1` and `bare-2`, and a trusted CA.

    The key bare-3.key is nobody's.
    """
    site = tmp_path_factory.mktemp("simulate") / "site"
    ok("init", str(site))
    config = ["--config", str(site / "gateway.toml")]
    for number in range(1, 6):
        name = f"meter-{number}"
        ok("device", "add", name, "--psk-identity", name, "--psk-stdin", *config, stdin=KEY.encode())
    for number in range(1, 3):
        key, public = str(site / f"bare-{number}.key"), str(site / f"bare-{number}.pub")
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
        openssl("pkey", "-in", key, "-pubout", "-out", public)
        ok("device", "add", f"bare-{number}", "--public-key", public, *config)
    openssl("genpkey", "-algorithm", "ED25519", "-out", str(site / "bare-3.key"))
    ok("ca", "trust", str(site / "certs/ca-bundle.pem"), "--auto-provision", *config)
    (site / "key").write_text(f"{KEY}\n")
    (site / "text").write_bytes(bytes.fromhex(KEY))
    (site / "wrong").write_text("00" * 16)
    with Serving(site) as running:
        yield running


def simulate(gateway: Serving, *words: str) -> Done:
    return run("simulate", "--target", gateway.target, *words)


def psk(gateway: Serving, identity: str = "meter-{n}", key: str = "key") -> list[str]:
    return ["--psk-identity", identity, "--psk-file", str(gateway.site / key)]


def certificate(gateway: Serving) -> list[str]:
    return ["--ca", str(gateway.site / "certs/intermediate.pem")]


def raw_key(gateway: Serving, name: str = "bare-{n}") -> list[str]:
    return ["--private-key", str(gateway.site / f"{name}.key")]


def test_many_devices_with_keys(gateway: Serving) -> None:
    before = len(gateway.log)
    done = simulate(gateway, "-n", "5", "--count", "3", "--rate", "1000", *psk(gateway))
    result = done.json
    assert (done.status, done.stderr) == (0, "")
    assert (result["devices"], result["connected"], result["requests"]) == (5, 5, 15)
    assert (result["responses"], result["errors"]) == ({"2.04": 15}, {})
    for durations in (result["handshake_ms"], result["request_ms"]):
        assert 0 < durations["p50"] <= durations["p99"]
    for name in [f"meter-{number}" for number in range(1, 6)]:
        gateway.log.wait("dtls.session_closed", after=before, device=name)


def test_many_devices_with_certificates(gateway: Serving) -> None:
    before = len(gateway.log)
    done = simulate(gateway, "-n", "4", "--device-id", "new-{n}", "--path", "telemetry/rain", *certificate(gateway))
    assert done.status == 0, done
    assert (done.json["connected"], done.json["responses"]) == (4, {"2.04": 4})
    names = [f"new-{number}" for number in range(1, 5)]
    for name in names:
        gateway.log.wait("registry.device_created", after=before, device=name)
        gateway.log.wait("dtls.session_closed", after=before, device=name)


def test_devices_with_raw_public_keys(gateway: Serving) -> None:
    before = len(gateway.log)
    done = simulate(gateway, "-n", "2", "--count", "2", "--rate", "1000", *raw_key(gateway))
    assert (done.status, done.stderr) == (0, "")
    assert (done.json["connected"], done.json["responses"]) == (2, {"2.04": 4})
    for name in ("bare-1", "bare-2"):
        assert gateway.log.wait("dtls.handshake_completed", after=before, device=name)["auth"] == "rpk"


def test_many_devices_with_one_raw_public_key_are_one_device(gateway: Serving) -> None:
    before = len(gateway.log)
    done = simulate(gateway, "-n", "3", *raw_key(gateway, "bare-2"))
    assert (done.status, done.json["connected"]) == (0, 3)
    gateway.log.wait("dtls.handshake_completed", after=before, device="bare-2")


def test_a_raw_public_key_that_nobody_registered_is_a_failure(gateway: Serving) -> None:
    done = simulate(gateway, "-n", "3", *raw_key(gateway))
    assert (done.status, done.stderr, done.json["connected"]) == (1, "", 2)
    [error] = done.json["errors"]
    assert "certificate_unknown" in error


def test_non_confirmable(gateway: Serving) -> None:
    done = simulate(gateway, "--non", *psk(gateway))
    assert (done.status, done.json["responses"]) == (0, {"2.04": 1})


def test_a_key_that_is_text(gateway: Serving) -> None:
    assert simulate(gateway, "--psk-text", *psk(gateway, key="text")).status == 0


@pytest.mark.parametrize(("identity", "key"), [("meter-1", "wrong"), ("nobody", "key")])
def test_a_refused_device_is_a_failure(gateway: Serving, identity: str, key: str) -> None:
    done = simulate(gateway, *psk(gateway, identity, key))
    assert (done.status, done.stderr) == (1, "")
    assert (done.json["connected"], done.json["requests"]) == (0, 0)
    [(error, count)] = done.json["errors"].items()
    assert count == 1
    assert "alert" in error


def test_one_refused_device_among_others_is_a_failure(gateway: Serving) -> None:
    done = simulate(gateway, "-n", "6", *psk(gateway))
    assert done.status == 1
    assert (done.json["connected"], done.json["responses"], len(done.json["errors"])) == (5, {"2.04": 5}, 1)


def test_an_error_code_is_a_failure(gateway: Serving) -> None:
    done = simulate(gateway, "--path", "nowhere", *psk(gateway))
    assert (done.status, done.json["responses"]) == (1, {"4.04": 1})


def test_certificates_of_a_stranger_are_a_failure(gateway: Serving) -> None:
    ok("ca", "create", "--root", "--out", "stranger")
    done = simulate(gateway, "-n", "2", "--ca", "stranger.pem")
    assert (done.status, done.json["connected"]) == (1, 0)
    assert sum(done.json["errors"].values()) == 2


def test_nobody_listens(gateway: Serving) -> None:
    done = run("simulate", "--target", "127.0.0.1:9", *psk(gateway))
    assert (done.status, done.json["connected"]) == (1, 0)


def test_the_configuration_names_the_gateway(gateway: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_SERVER__BIND", f"0.0.0.0:{gateway.port}")
    config = ["--config", str(gateway.site / "gateway.toml")]
    assert run("simulate", *psk(gateway), *config).status == 0
    monkeypatch.setenv("GATEWAY_SERVER__BIND", "127.0.0.1:0")
    assert "name the gateway with --target" in run("simulate", *psk(gateway), *config).refused(2)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--psk-identity", "a"],
        ["--psk-file", "key"],
        ["--psk-identity", "a", "--psk-file", "key", "--ca", "root.pem"],
        ["--psk-identity", "a", "--psk-file", "key", "--ca-key", "root.key"],
        ["--ca", "root.pem", "--psk-text"],
        ["--ca", "root.pem", "--psk-identity", "a"],
        ["--ca-key", "root.key"],
        ["--private-key", "key", "--ca", "root.pem"],
        ["--private-key", "key", "--ca-key", "root.key"],
        ["--private-key", "key", "--psk-text"],
        ["--private-key", "key", "--psk-identity", "a", "--psk-file", "key"],
    ],
)
def test_options_that_make_no_sense(workdir: Path, words: list[str]) -> None:
    Path("key").write_text(KEY)
    line = run("simulate", "--target", "127.0.0.1:9", *words).refused(2)
    assert "either --psk-identity with --psk-file, or --ca, or --lot, or --private-key" in line


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        (["--psk-identity", "a", "--psk-file", "none"], 2, "none: No such file"),
        (["--psk-identity", "a", "--psk-file", "empty"], 2, "empty: there is no key in it"),
        (["--psk-identity", "a", "--psk-file", "text"], 2, "text: the key is not hex"),
        (["--psk-identity", "a", "--psk-file", "key", "--target", "localhost"], 2, "--target must be an address"),
        (["--psk-identity", "\udcff", "--psk-file", "key"], 2, "not valid UTF-8"),
        (["--ca", "none.pem"], 1, "cannot read none.pem"),
        (["--ca", "key"], 1, "key holds no certificate"),
        (["--ca", "."], 2, ". is a folder"),
        (["--private-key", "none.key"], 1, "cannot read none.key"),
        (["--private-key", "text"], 1, "text holds no private key"),
        (["--private-key", "rsa.key"], 1, "rsa.key holds a key that no device may have; accepted are ed25519 or"),
        (["--private-key", "p521.key"], 1, "p521.key holds a key that no device may have"),
    ],
)
def test_what_cannot_be_used(workdir: Path, words: list[str], status: int, why: str) -> None:
    Path("key").write_text(KEY)
    Path("empty").write_text("\n")
    Path("text").write_text("hunter2 hunter2 hunter2")
    openssl("genpkey", "-algorithm", "RSA", "-out", "rsa.key")
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521", "-out", "p521.key")
    line = run("simulate", "--target", "127.0.0.1:9", *words).refused(status)
    assert why in line
    assert "hunter2" not in line


def test_a_lot_of_devices(workdir: Path) -> None:
    """What is no lot is said; that a lot connects, docs/zero-touch.md shows."""
    line = run("simulate", "--target", "127.0.0.1:9", "--lot", ".", "--devices", "2").refused(1)
    assert "has 0 certificates in it" in line
    ok("ca", "create", "--root", "--out", "root")
    ok("cert", "bulk", "--count", "1", "--ca", "root.pem", "--out", "lot", "--no-record")
    line = run("simulate", "--target", "127.0.0.1:9", "--lot", "lot", "--devices", "2").refused(1)
    assert "lot has 1 certificates in it" in line
