"""`gateway psk`, `gateway keys` and `gateway fleet`."""

import re
from pathlib import Path

import pytest

from tests.cli.support import Done, ok, run

HEX = "00112233445566778899aabbccddeeff"
NEXT_HEX = "ffeeddccbbaa99887766554433221100"
MASTER = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"


def listed(device: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = ok("psk", "list", device, "-o", "json").json
    return found


def configured(site: Path, **settings: str) -> None:
    lines = (f'{name} = "{value}"' for name, value in settings.items())
    (site / "gateway.toml").write_text("[registry]\n" + "\n".join(lines))


@pytest.fixture
def derivation(site: Path) -> Path:
    path = site / "derivation.key"
    path.write_text(MASTER)
    path.chmod(0o600)
    configured(site, derivation_key="file:derivation.key")
    return path


# gateway psk


def test_add_list_and_rotate(site: Path) -> None:
    ok("device", "add", "dev", "--psk-identity", "dev", "--psk-stdin", stdin=HEX.encode())
    added = ok("psk", "add", "dev", "--identity", "spare", "--generate", "-o", "json").json
    assert re.fullmatch("[0-9a-f]{32}", added["psk_hex"])
    ok("psk", "retire", "dev", added["id"], "--yes")
    rotated = ok("psk", "rotate", "dev", "--psk-stdin", "--overlap", "12h", "-o", "json", stdin=NEXT_HEX.encode()).json
    assert rotated["psk_identity"] == "dev#2"
    assert "psk_hex" not in rotated
    old, spare, new = listed("dev")
    assert (old["status"], spare["status"], new["status"]) == ("active", "retired", "next")
    assert old["not_after"] == rotated["old_until"]
    assert "psk revoke dev" in run("psk", "rotate", "dev", "--generate").refused(4)
    ok("psk", "revoke", "dev", new["id"], "--yes")
    generated = ok("psk", "rotate", "dev", "--generate", "--identity", "dev-next", "-o", "json").json
    assert generated["psk_identity"] == "dev-next"
    assert re.fullmatch("[0-9a-f]{32}", generated["psk_hex"])
    assert generated["psk_hex"] not in ok("psk", "list", "dev").stdout


@pytest.mark.parametrize(
    "words",
    [
        ("psk", "add", "dev", "--identity", "x"),
        ("psk", "add", "dev", "--identity", "x", "--generate", "--derived"),
        ("psk", "add", "dev", "--identity", "x", "--generate", "--psk-text"),
        ("psk", "rotate", "dev", "--generate", "--overlap", "soon"),
        ("psk", "rotate", "dev", "--derived", "--identity", "x"),
        ("psk", "rotate", "dev", "--derived"),
        ("device", "add", "new", "--psk-identity", "x", "--derived"),
        ("device", "add", "dev", "--derived"),
        ("psk", "derive", "--identity", "x"),
        ("psk", "derive", "--identity", "x", "--print"),
        ("psk", "derive", "--print"),
        ("fleet", "migrate", "default"),
        ("fleet", "migrate", "default", "--off", "--until", "2030-01-01"),
        ("fleet", "migrate", "default", "--until", "next year"),
        ("keys", "rewrap", "--to", MASTER),
    ],
)
def test_wrong_usage(site: Path, words: tuple[str, ...]) -> None:
    ok("device", "add", "dev", "--psk-identity", "dev", "--generate")
    assert MASTER not in run(*words).refused(2)


def test_what_does_not_exist(site: Path) -> None:
    run("psk", "list", "nobody").refused(3)
    run("psk", "rotate", "nobody", "--generate").refused(3)
    ok("device", "add", "dev")
    run("psk", "revoke", "dev", "none").refused(3)
    run("fleet", "migrate", "nobody", "--off").refused(3)
    run("fleet", "migration", "status", "--tenant", "nobody").refused(3)


def test_the_factory_line_and_the_registry_derive_the_same(site: Path, derivation: Path) -> None:
    ok("device", "add", "dev", "--psk-identity", "dev", "--derived")
    ok("psk", "rotate", "dev", "--derived")
    assert [each["kind"] for each in listed("dev")] == ["derived, generation 1", "derived, generation 2"]
    lines = [
        ok("psk", "derive", "--identity", "dev", "--print").stdout.splitlines(),
        ok("psk", "derive", "--identity", "dev", "--generation", "2", "--print").stdout.splitlines(),
    ]
    assert {line[0] for line in lines} == {"psk_identity,generation,psk_hex"}
    assert ok("psk", "derive", "--identity", "dev#2", "--print").stdout.splitlines() == lines[1]
    from gateway.registry import Secrets, open_registry  # the one beside the command's

    secrets = Secrets(None, f"file:{derivation}")
    with open_registry(f"sqlite:///{site}/registry.db", secrets=secrets) as registry:
        for line, identity in zip(lines, ("dev", "dev#2"), strict=True):
            found = registry.find_psk("default", identity.encode())
            assert found is not None
            assert line[1] == f"{identity},{1 if identity == 'dev' else 2},{found.key.hex()}"


def test_derived_keys_go_into_a_private_file(site: Path, derivation: Path) -> None:
    (site / "names").write_text("a\nb\n\nc\r\n")
    done = ok("psk", "derive", "--identities", "names", "--identity", "d", "--out", "keys.csv")
    assert (site / "keys.csv").stat().st_mode & 0o777 == 0o600
    rows = [line.split(",") for line in (site / "keys.csv").read_text().splitlines()]
    assert [row[0] for row in rows] == ["psk_identity", "d", "a", "b", "c"]
    assert not any(row[2] in done.stdout for row in rows[1:])
    # What the file holds can be imported, with a device a row.
    run("psk", "derive", "--identity", "e", "--out", "keys.csv").refused(1)


# gateway keys


def test_from_plain_keys_to_sealed_ones_and_to_another_master_key(site: Path) -> None:
    ok("device", "add", "dev", "--psk-identity", "dev", "--psk-stdin", stdin=HEX.encode())
    assert ok("keys", "status", "-o", "json").json == {
        "master_key": "not configured",
        "not_sealed": 1,
        "derived": 0,
        "data_keys": [],
    }
    assert "master_key" in run("keys", "rotate").refused(4)
    ok("keys", "create", "master.key")
    assert (site / "master.key").stat().st_mode & 0o777 == 0o600
    run("keys", "create", "master.key").refused(1)
    configured(site, master_key="file:master.key")
    assert ok("keys", "rotate", "-o", "json").json["sealed"] == 1
    assert bytes.fromhex(HEX) not in (site / "registry.db").read_bytes()
    ok("serve", "--check")
    ok("keys", "create", "new.key")
    ok("keys", "rewrap", "--to", "file:new.key")
    assert ok("keys", "status", "-o", "json").json["master_key"] == "does not open all"
    assert "wrapped" in run("serve", "--check").refused(2)
    configured(site, master_key="file:new.key")
    status = ok("keys", "status", "-o", "json").json
    assert (status["master_key"], status["not_sealed"]) == ("opens all", 0)
    assert [(each["state"], each["sealed"]) for each in status["data_keys"]] == [("active", 1)]
    assert status["data_keys"][0]["wrapped_by"] == f"file:{site}/new.key"
    ok("serve", "--check")


def test_a_key_out_of_the_environment(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_MASTER", MASTER)
    configured(site, master_key="env:FLEET_MASTER")
    ok("device", "add", "dev", "--psk-identity", "dev", "--generate")
    assert ok("keys", "status", "-o", "json").json["not_sealed"] == 0
    monkeypatch.delenv("FLEET_MASTER")
    ok("device", "list")  # needs no key
    assert "FLEET_MASTER" in run("serve", "--check").refused(2)


@pytest.mark.parametrize("value", [MASTER, "GATEWAY", "file:", "env:GATEWAY_MASTER", "vault:x"])
def test_a_setting_that_names_no_key(site: Path, value: str) -> None:
    configured(site, master_key=value)
    assert MASTER not in run("device", "list").refused(2)


def test_keys_that_do_not_open_are_said(site: Path) -> None:
    from gateway.registry import open_registry
    from gateway.registry.tables import credential

    ok("keys", "create", "master.key")
    configured(site, master_key="file:master.key")
    ok("device", "add", "dev", "--psk-identity", "dev", "--generate")
    with open_registry(f"sqlite:///{site}/registry.db") as registry:
        registry._write(lambda c: c.execute(credential.update().values(secret=b"x" * 44)))
    done = run("keys", "rotate", "-o", "json")
    assert (done.status, done.json["failed"]) == (5, 1)


# gateway fleet


def test_a_tenant_moves_to_certificates(site: Path) -> None:
    ok("device", "add", "dev", "--psk-identity", "dev", "--generate")
    ok("device", "add", "both", "--psk-identity", "both", "--generate", "--certificate")
    until = ok("fleet", "migrate", "default", "--until", "2030-06-30", "--after-first-certificate", "-o", "json").json
    assert until == {"tenant": "default", "psk_until": "2030-06-30T00:00:00Z", "psk_ends_with_certificate": True}
    assert ok("fleet", "migrate", "default", "--until", "2030-06-30T12:00:00+02:00", "-o", "json").json[
        "psk_until"
    ] == ("2030-06-30T10:00:00Z")
    assert ok("fleet", "migrate", "default", "--off", "-o", "json").json["psk_until"] is None
    assert ok("fleet", "migration", "status", "--days", "7", "-o", "json").json == {
        "psk_only": 1,
        "both": 1,
        "certificate_only": 0,
        "seen_with_psk": 0,
        "seen_with_certificate": 0,
    }


# Secrets.


def test_no_command_shows_a_key_that_it_was_given(site: Path, tmp_path: Path) -> None:
    said: list[Done] = []

    def do(*words: str, stdin: bytes = b"") -> Done:
        said.append(run(*words, stdin=stdin))
        return said[-1]

    for name in ("master.key", "derivation.key", "new.key"):
        do("keys", "create", name)
    configured(site, master_key="file:master.key", derivation_key="file:derivation.key")
    (site / "key").write_text(NEXT_HEX)
    do("device", "add", "dev", "--psk-identity", "dev", "--psk-stdin", stdin=HEX.encode())
    do("device", "add", "dev", "--psk-identity", "dev", "--psk-stdin", stdin=HEX.encode())
    do("psk", "add", "dev", "--identity", "dev", "--psk-file", "key")
    do("psk", "rotate", "dev", "--psk-file", "key")
    do("psk", "rotate", "dev", "--psk-file", "key")
    do("psk", "rotate", "dev", "--psk-stdin", stdin=HEX[:8].encode())
    do("psk", "list", "dev")
    do("device", "add", "der", "--psk-identity", "der", "--derived")
    do("psk", "derive", "--identity", "der", "--out", "derived.csv")
    (site / "rows.csv").write_text(
        f"device_id,psk_identity,psk_hex\na,a,{HEX}\nb,b,{NEXT_HEX[:30]}\nc,dev,{NEXT_HEX}\n"
    )
    (site / "swapped.csv").write_text(f"{HEX},{NEXT_HEX}\n")
    do("device", "import", "rows.csv", "--report", "report.csv")
    do("device", "import", "swapped.csv")
    do("keys", "rotate")
    do("keys", "rewrap", "--to", "file:new.key")
    do("keys", "status")
    do("serve", "--check")
    derived = (site / "derived.csv").read_text().splitlines()[1].split(",")[2]
    files = [(site / name).read_text().strip() for name in ("master.key", "derivation.key", "new.key")]
    text = "".join(done.stdout + done.stderr for done in said) + (site / "report.csv").read_text()
    for key in (HEX, NEXT_HEX, NEXT_HEX[:30], derived, *files):
        assert key not in text
        assert key.upper() not in text
        assert repr(bytes.fromhex(key))[2:-1] not in text
    assert len(said) > 15
    with (site / "registry.db").open("rb") as file:
        data = file.read()
    assert all(bytes.fromhex(key) not in data for key in (HEX, NEXT_HEX, derived, *files))
