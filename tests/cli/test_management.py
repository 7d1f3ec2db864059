"""Each command on the registry and by a running gateway: the same output, the same status, the same line."""

import json
import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.admin import MANAGEMENT_PREFIX, AdminServer, ManagementApi, TokenFile
from gateway.registry import open_registry
from gateway.telemetry import Heartbeat, Metrics
from tests.cli.openssl import openssl
from tests.cli.support import Done, Serving, execute, ok, run
from tests.cli.test_ca import sha256

KEY = "9b1d0f62a7e44c53bd1177c05e2a9f38"


class Operator:
    """Whoever types commands.

    Attributes:
        extra: What says where the work is done.
    """

    def __init__(self, *extra: str) -> None:
        self.extra = extra

    def run(self, *words: str, stdin: bytes = b"") -> Done:
        return run(*words, *self.extra, stdin=stdin)

    def ok(self, *words: str, stdin: bytes = b"") -> Done:
        done = self.run(*words, stdin=stdin)
        assert done.status == 0, done
        return done

    def json(self, *words: str, stdin: bytes = b"") -> Any:
        return self.ok(*words, "-o", "json", stdin=stdin).json


@pytest.fixture
def server(site: Path) -> Iterator[str]:
    """The URL of a gateway on the site's registry; its token is in `ops.token`."""
    Path("ops.token").write_text(ok("token", "create", "--name", "ops", "--file", "admin.tokens").stdout)
    Path("ops.token").chmod(0o600)
    api = ManagementApi(TokenFile(Path("admin.tokens")), lambda: open_registry("sqlite:///registry.db"))
    port = AdminServer(
        *("127.0.0.1", 0),
        registry=Metrics().registry,
        loop_age_s=Heartbeat().age_s,
        checks={},
        apis={MANAGEMENT_PREFIX: api.guarded},
    )
    with port:
        yield port.url
    api.close()


@pytest.fixture(params=["local", "remote"])
def operator(request: pytest.FixtureRequest, site: Path) -> Operator:
    if request.param == "local":
        return Operator()
    url = request.getfixturevalue("server")
    # A configuration that is not there shows that nothing is looked up here.
    return Operator("--server", url, "--token-file", "ops.token", "--config", "elsewhere.toml")


def test_tenants(operator: Operator) -> None:
    added = operator.json("tenant", "add", "acme", "--sni", "Acme.example.com", "--max-devices", "2")
    assert (added["sni"], added["max_devices"], added["enabled"]) == (["acme.example.com"], 2, True)
    assert [row["tenant"] for row in operator.json("tenant", "list")] == ["acme", "default"]
    changed = operator.json("tenant", "set", "acme", "--disable", "--on-clone", "newest_wins", "--no-sni")
    assert (changed["enabled"], changed["on_clone"], changed["sni"]) == (False, "newest_wins", [])
    until = operator.json("tenant", "set", "acme", "--psk-until", "2030-01-01")
    assert (until["psk_until"], until["enabled"]) == ("2030-01-01T00:00:00Z", False)
    assert operator.json("tenant", "set", "acme", "--psk-until", "never")["psk_until"] is None
    assert operator.json("tenant", "show", "acme")["max_devices"] == 2
    assert "'acme' exists already" in operator.run("tenant", "add", "acme").refused(4)
    assert "say what to change" in operator.run("tenant", "set", "acme").refused(2)
    assert "--yes" in operator.run("tenant", "delete", "acme").refused(2)
    operator.ok("tenant", "delete", "acme", "--yes")
    assert "does not exist" in operator.run("tenant", "show", "acme").refused(3)


def test_a_full_tenant_is_a_failure(operator: Operator) -> None:
    operator.ok("tenant", "set", "default", "--max-devices", "1")
    operator.ok("device", "add", "dev1")
    assert "gateway tenant set default --max-devices" in operator.run("device", "add", "dev2").refused(1)


def test_devices(operator: Operator) -> None:
    added = operator.json("device", "add", "dev1", "--psk-identity", "id1", "--generate")
    assert len(bytes.fromhex(added["psk_hex"])) == 16
    operator.ok("device", "add", "urn:dev:a/b", "--psk-identity", "id2", "--psk-stdin", stdin=KEY.encode())
    operator.ok("device", "add", "cert", "--certificate")
    assert operator.json("device", "disable", "dev1", "--note", "stolen")["note"] == "stolen"
    assert operator.json("device", "quarantine", "urn:dev:a/b")["status"] == "quarantined"
    assert operator.json("device", "enable", "dev1")["status"] == "active"
    assert operator.json("device", "tag", "dev1", "b", "a")["tags"] == ["a", "b"]
    assert operator.json("device", "tag", "dev1", "c", "--remove", "a")["tags"] == ["b", "c"]
    assert operator.json("device", "describe", "dev1", "site=Basel", "row=7")["attributes"] == {
        "row": "7",
        "site": "Basel",
    }
    assert operator.json("device", "describe", "dev1", "row=")["attributes"] == {"site": "Basel"}
    assert "no NAME=VALUE" in operator.run("device", "describe", "dev1", "row").refused(2)
    assert "say which tags" in operator.run("device", "tag", "dev1").refused(2)

    def listed(*words: str) -> list[str]:
        return [row["device"] for row in operator.json("device", "list", *words)]

    assert listed() == ["cert", "dev1", "urn:dev:a/b"]
    assert listed("--status", "quarantined") == ["urn:dev:a/b"]
    assert listed("--tag", "c") == listed("--tag", "b") == ["dev1"]
    assert listed("--auth", "x509") == ["cert"]
    assert listed("--limit", "2") == ["cert", "dev1"]
    assert "30y" in operator.run("device", "list", "--last-seen-before", "30y").refused(2)
    assert operator.json("device", "delete", "cert", "--yes")["status"] == "deleted"
    shown = operator.json("device", "show", "urn:dev:a/b")
    assert [credential["psk_identity"] for credential in shown["credentials"]] == ["id2"]
    assert KEY not in json.dumps(shown)


def test_devices_that_were_not_here_for_long(operator: Operator) -> None:
    for name in ("never", "long-ago", "today"):
        operator.ok("device", "add", name)
    with open_registry("sqlite:///registry.db") as registry:
        registry.seen([("default", "long-ago", 1_000_000_000.0), ("default", "today", 10_000_000_000.0)])
    rows = operator.json("device", "list", "--last-seen-before", "30d")
    assert {row["device"]: row["last_seen"] for row in rows} == {"never": None, "long-ago": "2001-09-09T01:46:40Z"}
    assert [row["device"] for row in operator.json("device", "list", "--never-connected")] == ["never"]


def test_a_list_of_several_pages(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.cli.device.MAX_PAGE", 2)
    names = [f"dev{number}" for number in range(5)]
    for name in names:
        ok("device", "add", name)
    assert [row["device"] for row in operator.json("device", "list")] == names
    assert [row["device"] for row in operator.json("device", "list", "--limit", "3")] == names[:3]


def test_the_forms_of_output(operator: Operator) -> None:
    for name in ("dev1", "dev2"):
        operator.ok("device", "add", name)
    operator.ok("device", "tag", "dev1", "x", "y")
    table = operator.ok("device", "list").stdout.splitlines()
    assert [line.split()[0] for line in table] == ["device", "dev1", "dev2"]
    lines = operator.ok("device", "list", "-o", "jsonl").stdout.splitlines()
    assert [json.loads(line)["device"] for line in lines] == ["dev1", "dev2"]
    head, first, _ = operator.ok("device", "list", "-o", "csv").stdout.splitlines()
    row = dict(zip(head.split(","), first.split(","), strict=True))
    assert (row["device"], row["tags"], row["last_seen"]) == ("dev1", "x y", "")
    assert operator.ok("tenant", "show", "default", "-o", "csv").stdout.startswith("tenant,name,enabled")
    assert operator.ok("credential", "list", "dev1", "-o", "csv").stdout == (
        "id,kind,status,version,psk_identity,public_key_sha256,last_used\n"
    )


def test_credentials(operator: Operator) -> None:
    operator.ok("device", "add", "dev1", "--psk-identity", "id1", "--generate", "--certificate")
    psk, x509 = operator.json("credential", "list", "dev1")
    assert (psk["kind"], x509["kind"]) == ("psk", "x509")
    assert "cannot be undone: say --yes" in operator.run("credential", "retire", x509["id"]).refused(2)
    retired = operator.json("credential", "retire", x509["id"], "--yes")
    assert (retired["status"], retired["device"], retired["version"]) == ("retired", "dev1", 2)
    assert "--yes" in operator.run("credential", "revoke", psk["id"]).refused(2)
    assert operator.json("credential", "revoke", psk["id"], "--yes")["status"] == "revoked"
    assert "does not exist" in operator.run("credential", "retire", "none", "--yes").refused(3)


def test_keys_of_devices(operator: Operator) -> None:
    operator.ok("device", "add", "dev1")
    made = operator.json("psk", "add", "dev1", "--identity", "id1", "--psk-stdin", stdin=KEY.encode())
    assert (made["psk_identity"], "psk_hex" in made) == ("id1", False)
    rotated = operator.json("psk", "rotate", "dev1", "--overlap", "1d", "--generate")
    assert (rotated["psk_identity"], len(rotated["psk_hex"])) == ("id1#2", 32)
    assert "has not used its next key" in operator.run("psk", "rotate", "dev1", "--generate").refused(4)
    assert [row["status"] for row in operator.json("psk", "list", "dev1")] == ["active", "next"]
    for verb, key in (("revoke", rotated["id"]), ("retire", made["id"])):
        before = operator.json("psk", "list", "dev1")
        assert "cannot be undone: say --yes" in operator.run("psk", verb, "dev1", key).refused(2)
        assert operator.json("psk", "list", "dev1") == before
    assert operator.json("psk", "revoke", "dev1", rotated["id"], "--yes")["status"] == "revoked"
    assert operator.json("psk", "retire", "dev1", made["id"], "--yes")["status"] == "retired"
    assert "--overlap soon" in operator.run("psk", "rotate", "dev1", "--overlap", "soon", "--generate").refused(2)
    assert operator.json("keys", "status") == {
        "master_key": "not configured",
        "not_sealed": 2,
        "derived": 0,
        "data_keys": [],
    }


def test_many_devices(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.cli.device_import.IMPORT_BATCH", 3)
    rows = [f"dev{n},id{n},{n:032x},a b" for n in range(7)]
    Path("devices.csv").write_text("\n".join(["device_id,psk_identity,psk_hex,tags", *rows, "no name,x,00,", ""]))
    done = operator.run("device", "import", "devices.csv", "-o", "json")
    assert (done.status, done.json["added"], done.json["refused"]) == (5, 7, 1)
    assert len(operator.json("device", "list", "--tag", "a")) == 7
    assert operator.run("device", "import", "devices.csv", "-o", "json").json["unchanged"] == 7


def test_from_keys_to_certificates(operator: Operator) -> None:
    operator.ok("device", "add", "dev1", "--psk-identity", "id1", "--generate")
    said = operator.json("fleet", "migrate", "default", "--until", "2031-06-30", "--after-first-certificate")
    assert (said["psk_until"], said["psk_ends_with_certificate"]) == ("2031-06-30T00:00:00Z", True)
    assert operator.json("fleet", "migration", "status")["psk_only"] == 1
    assert operator.json("fleet", "migrate", "default", "--off")["psk_until"] is None
    assert "say --until" in operator.run("fleet", "migrate", "default").refused(2)


def test_trust(operator: Operator) -> None:
    said = operator.ok("ca", "trust", "certs/ca-bundle.pem", "--auto-provision", "pending").stdout
    assert "wait to be enabled" in said
    operator.ok("tenant", "add", "acme")
    Path("serials.txt").write_text("# made in March\nmeter-1\nmeter-2\n")
    words = [
        *("--tenant", "default", "--tenant", "acme", "--tenant-by", "organization", "--max-devices", "10000"),
        *("--max-per-day", "500", "--from", "2026-01-01", "--until", "2027-01-01T12:00:00Z", "--crl", "fail_closed"),
        *("--crl-url", "http://crl.example.com/a.crl", "--expired-grace", "30d", "--name-pattern", "meter-[0-9]+"),
        *("--manifest", "serials.txt", "--identity-rule", "cn | serial_number", "--webhook", "https://example.com/new"),
    ]
    operator.ok("ca", "trust", "certs/root.pem", *words)
    [listed] = operator.json("ca", "list")
    shown = operator.json("ca", "show", sha256("certs/root.pem")[:10])
    assert shown["tenants"] == listed["tenants"] == ["acme", "default"]
    assert shown["policy"] == {
        "strict": False,
        "provision": "pending",
        "webhook": "https://example.com/new",
        "tenant_by": "organization",
        "identity_rule": "cn | serial_number",
        "crl": "fail_closed",
        "crl_url": "http://crl.example.com/a.crl",
        "expired_grace_s": 2_592_000.0,
        "max_devices": 10_000,
        "max_devices_per_day": 500,
        "provision_from": "2026-01-01T00:00:00Z",
        "provision_until": "2027-01-01T12:00:00Z",
        "name_pattern": "meter-[0-9]+",
        "manifest": True,
    }
    assert shown["usage"] == {"admitted": 0, "admitted_today": 0, "quarantined": 0}
    operator.ok("ca", "trust", "certs/root.pem", "--until", "never", "--no-auto-provision")
    policy = operator.json("ca", "show", sha256("certs/root.pem"))["policy"]
    assert (policy["provision_until"], policy["provision"], policy["max_devices"]) == (None, "off", 10_000)
    assert "max_devices" in operator.ok("ca", "show", sha256("certs/root.pem")).stdout
    assert "no longer trusted" in operator.ok("ca", "untrust", sha256("certs/root.pem")[:10]).stdout
    assert operator.json("ca", "list") == []


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        (["certs/server.pem"], 1, "is not a CA"),
        (["certs/server.key"], 1, "certs/server.key holds no certificate"),
        (["certs/root.pem", "--until", "soon"], 2, "--until soon"),
        (["certs/root.pem", "--expired-grace", "x"], 2, "--expired-grace x"),
        (["certs/root.pem", "--identity-rule", "shoe size"], 2, "identity_rule"),
        (["certs/root.pem", "--name-pattern", "("], 2, "regular expression"),
        (["certs/root.pem", "--tenant", "nobody"], 3, "'nobody' does not exist"),
        (["certs/root.pem", "--tenant", "default", "--tenant", "acme"], 2, "tenant_by"),
        (["certs/root.pem", "--manifest", "missing"], 2, "missing: No such file"),
    ],
)
def test_what_cannot_be_trusted(operator: Operator, words: list[str], status: int, why: str) -> None:
    operator.ok("tenant", "add", "acme")
    assert why in operator.run("ca", "trust", *words).refused(status)
    assert operator.json("ca", "list") == []


@pytest.mark.parametrize("noun", ["ca", "cert"])
def test_bans(operator: Operator, noun: str) -> None:
    fingerprint = sha256("certs/server.pem")
    assert operator.json(noun, "ban", "certs/root.pem", "--reason", "leaked")["fingerprint"] == sha256("certs/root.pem")
    assert operator.json(noun, "ban", fingerprint)["new"] is True
    assert (
        operator.json(noun, "ban", ":".join([fingerprint[i : i + 2] for i in range(0, 64, 2)]).upper())["new"] is False
    )
    assert [(row["reason"], len(row["fingerprint"])) for row in operator.json(noun, "bans")] == [
        ("leaked", 64),
        ("", 64),
    ]
    operator.ok(noun, "unban", "certs/root.pem")
    assert "is not banned" in operator.run(noun, "unban", "certs/root.pem").refused(3)
    assert operator.json(noun, "ban", "certs/server.pem")["fingerprint"] == fingerprint  # with its chain
    assert "name the one you mean" in operator.run(noun, "ban", "certs/ca-bundle.pem").refused(2)
    operator.run(noun, "ban", "no such file").refused(1)


def test_the_book_of_issued_certificates(operator: Operator) -> None:
    operator = Operator(*operator.extra[:4])  # the CA lies beside the configuration
    for device in ("m1", "m2", "m3"):
        ok("cert", "issue", "--device", device, "--out", device)
    serial = openssl("x509", "-in", "m2.pem", "-noout", "-serial").strip().partition("=")[2]
    [by_file] = operator.json("cert", "revoke", "m1.pem", "--reason", "key_compromise", "--yes")
    [by_serial] = operator.json("cert", "revoke", "--serial", serial, "--yes")
    [by_device] = operator.json("cert", "revoke", "--device", "m3", "--yes")
    assert [row["device"] for row in (by_file, by_serial, by_device)] == ["m1", "m2", "m3"]
    assert "nobody" in operator.run("cert", "revoke", "--device", "nobody", "--yes").refused(3)
    first = operator.json("ca", "crl", "publish")
    assert (first["revoked"], operator.json("ca", "crl", "publish")["number"]) == (3, first["number"] + 1)
    listed = openssl("crl", "-in", first["file"], "-noout", "-text")
    assert serial in listed
    assert listed.count("Serial Number:") == 3


def test_status_and_audit(operator: Operator) -> None:
    operator.ok("tenant", "add", "acme")
    operator.ok("device", "add", "dev1", "--tenant", "acme")
    assert operator.json("status")["devices"] == 1
    newest, *_ = entries = operator.json("audit")
    user = pwd.getpwuid(os.getuid()).pw_name
    actor = "api:ops" if "--server" in operator.extra else f"cli:{user}"
    assert (newest["actor"], newest["action"], newest["object"]) == (actor, "device.added", "dev1")
    assert operator.json("audit", "--last", "1") == entries[:1]
    assert operator.json("audit", "--before", str(newest["number"])) == entries[1:]
    assert [e["action"] for e in operator.json("audit", "--tenant", "acme")] == ["device.added", "tenant.added"]
    assert "device.added" in operator.ok("audit").stdout
    assert "tenant 'acmee' does not exist" in operator.run("audit", "--tenant", "acmee").refused(3)
    operator.ok("tenant", "add", "gone")
    operator.ok("tenant", "delete", "gone", "--yes")
    assert [e["action"] for e in operator.json("audit", "--tenant", "gone")] == ["tenant.deleted", "tenant.added"]


# --- only with a server ----------------------------------------------------------------------------------------------


def test_the_environment_says_which_server(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ok("device", "add", "dev1")
    monkeypatch.setenv("GATEWAY_SERVER", server)
    monkeypatch.setenv("GATEWAY_TOKEN_FILE", "ops.token")
    assert ok("status", "--config", "elsewhere.toml", "-o", "json").json["devices"] == 1


def test_a_token_file_alone_says_nothing(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_TOKEN_FILE", "ops.token")
    ok("status")
    monkeypatch.delenv("GATEWAY_TOKEN_FILE")
    assert "name it with --server" in run("status", "--token-file", "ops.token").refused(2)


def test_a_server_needs_a_token(site: Path) -> None:
    assert "--token-file" in run("status", "--server", "http://127.0.0.1:1").refused(2)


def test_a_token_file_that_is_none(server: str) -> None:
    token = Path("ops.token").read_text()
    for text, mode, why in (
        (token, 0o644, "chmod 600"),
        ("", 0o600, "holds no token"),
        ("a b", 0o600, "holds no token"),
        (Path("admin.tokens").read_text(), 0o600, "holds no token"),
    ):
        Path("t").write_text(text)
        Path("t").chmod(mode)
        line = run("status", "--server", server, "--token-file", "t").refused(2)
        assert why in line
        assert token.strip() not in line
        Path("t").unlink()
    assert "missing" in run("status", "--server", server, "--token-file", "missing").refused(2)


def test_a_wrong_token_is_a_failure_that_says_what_to_do(server: str) -> None:
    Path("ops.token").write_text("x" * 43)
    assert "gateway token create" in run("status", "--server", server, "--token-file", "ops.token").refused(1)


@pytest.mark.parametrize(
    ("url", "status", "why"),
    [
        ("http://gateway.example.com:9464", 2, "plain text"),
        ("gateway:9464", 2, "not understood"),
        ("http://127.0.0.1:1", 1, "is the gateway running"),
    ],
)
def test_servers_that_are_none(server: str, url: str, status: int, why: str) -> None:
    assert why in run("status", "--server", url, "--token-file", "ops.token").refused(status)


def test_a_dry_run_of_an_import_is_made_on_the_registry(server: str) -> None:
    Path("devices.csv").write_text("device_id,psk_identity,psk_hex\n")
    there = ["--server", server, "--token-file", "ops.token"]
    assert "leave --server away" in run("device", "import", "devices.csv", "--dry-run", *there).refused(2)


def test_no_option_takes_a_token(site: Path) -> None:
    text = ok("device", "list", "--help").stdout
    assert "--token-file FILE" in " ".join(text.split())
    assert "--token " not in text


# --- tokens ----------------------------------------------------------------------------------------------------------


def test_a_token_is_printed_once_and_alone(site: Path) -> None:
    config = Path("gateway.toml")
    config.write_text(config.read_text().replace('# token_file = "admin.tokens"', 'token_file = "admin.tokens"'))
    done = ok("token", "create", "--name", "ops")
    assert len(done.stdout.strip()) >= 43
    assert done.stdout.strip() not in Path("admin.tokens").read_text() + done.stderr
    assert "already" in run("token", "create", "--name", "ops").refused(1)
    assert "cannot name a token" in run("token", "create", "--name", "a:b").refused(1)


def test_a_token_needs_a_file(site: Path) -> None:
    assert "[admin] token_file" in run("token", "create", "--name", "ops").refused(2)


# --- the schema ------------------------------------------------------------------------------------------------------


def test_the_schema_of_the_registry(site: Path) -> None:
    facts = ok("db", "current", "-o", "json").json
    assert facts["up_to_date"] is True
    assert ok("db", "upgrade", "-o", "json").json == {"before": facts["version"], "version": facts["version"]}
    Path("registry.db").write_bytes(b"")
    assert ok("db", "current", "-o", "json").json["version"] is None
    assert ok("db", "upgrade", "-o", "json").json == {"before": None, "version": facts["wanted"]}
    Path("registry.db").unlink()
    assert "does not exist" in run("db", "current").refused(1)


# --- a whole gateway -------------------------------------------------------------------------------------------------


def test_a_running_gateway_is_managed_and_its_devices_follow(site: Path) -> None:
    config = Path("gateway.toml")
    config.write_text(config.read_text().replace('# token_file = "admin.tokens"', 'token_file = "admin.tokens"'))
    Path("ops.token").write_text(ok("token", "create", "--name", "ops").stdout)
    Path("ops.token").chmod(0o600)
    with Serving(site) as gateway:
        there = ["--server", f"http://{gateway.admin}", "--token-file", "ops.token"]
        made = ok("device", "add", "dev1", "--psk-identity", "id1", "--generate", "-o", "json", *there).json
        Path("key").write_text(made["psk_hex"])
        simulate = ["simulate", "--psk-identity", "id1", "--psk-file", "key", "--target", gateway.target]
        assert execute(*simulate).status == 0
        assert ok("device", "show", "dev1", "-o", "json", *there).json["status"] == "active"
        ok("device", "disable", "dev1", *there)
        assert execute(*simulate).status == 1
        assert ok("audit", "--last", "1", "-o", "json").json[0]["actor"] == "api:ops"
        log = gateway.log.path.read_text()
    assert made["psk_hex"] not in log
    assert Path("ops.token").read_text().strip() not in log
