"""`gateway device`: what is stored, what is printed, and what never is."""

import os
import pty
import re
import sqlite3
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from tests.cli.support import GATEWAY, execute, ok, run

KEY = bytes.fromhex("9b1d0f62a7e44c53bd1177c05e2a9f38")


def stored_key(site: Path, identity: bytes) -> bytes:
    """What is in the database, read without our code."""
    connection = sqlite3.connect(site / "registry.db")
    try:
        (key,) = connection.execute(
            "SELECT secret FROM credential WHERE kind = 'psk' AND lookup_key = ?", (identity,)
        ).fetchone()
    finally:
        connection.close()
    assert isinstance(key, bytes)
    return key


def devices() -> list[str]:
    return [row["device"] for row in ok("device", "list", "-o", "json").json]


def test_generate_prints_the_key_once(site: Path) -> None:
    first = ok("device", "add", "dev1", "--psk-identity", "id1", "--generate").stdout
    [printed] = re.findall(r"^psk_hex +(\S+)$", first, re.MULTILINE)
    assert len(bytes.fromhex(printed)) == 16
    assert stored_key(site, b"id1").hex() == printed
    second = ok("device", "add", "dev2", "--psk-identity", "id2", "--generate", "-o", "json").json
    assert set(second) == {"device", "tenant", "psk_identity", "psk_hex"}
    assert stored_key(site, b"id2").hex() == second["psk_hex"] != printed
    for words in (["list"], ["show", "dev1"], ["show", "dev2"], ["disable", "dev1"], ["enable", "dev1"]):
        for output in ("table", "json"):
            shown = ok("device", *words, "-o", output).stdout
            assert printed not in shown
            assert second["psk_hex"] not in shown
            assert "secret" not in shown


@pytest.mark.parametrize(
    "content",
    [KEY.hex(), KEY.hex().upper(), f"{KEY.hex()}\n", f"{KEY.hex()}\r\n", f" {KEY.hex(' ')}\n"],
    ids=["plain", "upper", "newline", "crlf", "spaced"],
)
@pytest.mark.parametrize("source", ["file", "stdin"])
def test_a_key_in_hex(site: Path, content: str, source: str) -> None:
    Path("key").write_text(content)
    words = ["--psk-file", "key"] if source == "file" else ["--psk-stdin"]
    done = ok("device", "add", "dev1", "--psk-identity", "id1", *words, stdin=content.encode())
    assert stored_key(site, b"id1") == KEY
    assert KEY.hex() not in done.stdout.lower()


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_key_that_is_text(site: Path, end: bytes) -> None:
    ok("device", "add", "d", "--psk-identity", "i", "--psk-stdin", "--psk-text", stdin=b"sixteen letters!" + end)
    assert stored_key(site, b"i") == b"sixteen letters!"


def test_a_key_that_is_typed_is_not_echoed(site: Path) -> None:
    controller, terminal = pty.openpty()
    try:
        process = subprocess.Popen(
            [GATEWAY, "device", "add", "dev1", "--psk-identity", "id1", "--psk-stdin"],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        os.close(terminal)
        seen = os.read(controller, 1000)
        assert seen == b"Key: "
        os.write(controller, KEY.hex().encode() + b"\n")
        while b"psk_identity" not in seen:
            seen += os.read(controller, 1000)
        assert process.wait() == 0
    finally:
        os.close(controller)
    assert KEY.hex()[:8].encode() not in seen
    assert stored_key(site, b"id1") == KEY


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "there is no key in it"),
        (b"\n", "there is no key in it"),
        (
            b"9b1d0f62a7e44c53bd1177c05e2a9f3",
            "the key is not hex (two digits a byte, nothing else); if it is a text, say --psk-text",
        ),
        (b"0x9b1d0f62a7e44c53bd1177c05e2a9f38", "the key is not hex"),
        (
            b"correct horse battery staple",
            "the key is not hex (two digits a byte, nothing else); if it is a text, say --psk-text",
        ),
        (b"\xff\xfe\x00" * 6, "the key is not hex"),
    ],
)
@pytest.mark.parametrize("source", ["file", "stdin"])
def test_what_is_no_key_is_refused_and_not_repeated(site: Path, content: bytes, why: str, source: str) -> None:
    Path("key").write_bytes(content)
    words = ["--psk-file", "key"] if source == "file" else ["--psk-stdin"]
    line = run("device", "add", "dev1", "--psk-identity", "id1", *words, stdin=content).refused(2)
    assert why in line
    assert {"file": "key", "stdin": "standard input"}[source] in line
    for leak in ("9b1d", "horse"):
        assert leak not in line
    assert devices() == []


def test_a_short_key_needs_to_be_allowed(site: Path) -> None:
    add = ["device", "add", "dev1", "--psk-identity", "id1", "--psk-stdin"]
    line = run(*add, stdin=b"0102030405060708").refused(2)
    assert "at least 16 bytes, this one has 8" in line
    assert "0102" not in line
    assert devices() == []
    ok(*add, "--allow-short-key", stdin=b"0102030405060708")
    assert stored_key(site, b"id1") == bytes(range(1, 9))


@pytest.mark.parametrize("path", ["missing", "."])
def test_a_key_file_that_cannot_be_read(site: Path, path: str) -> None:
    line = run("device", "add", "dev1", "--psk-identity", "id1", "--psk-file", path).refused(2)
    assert line.startswith(f"gateway: {path}: ")
    assert devices() == []


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--generate"], "a key needs --psk-identity"),
        (["--psk-file", "key"], "a key needs --psk-identity"),
        (["--psk-stdin"], "a key needs --psk-identity"),
        (["--psk-text"], "a key needs --psk-identity"),
        (["--certificate", "--allow-short-key"], "a key needs --psk-identity"),
        (["--psk-identity", "i"], "one of --psk-file, --psk-stdin and --generate"),
        (["--psk-identity", "i", "--generate", "--psk-stdin"], "one of --psk-file, --psk-stdin and --generate"),
        (["--psk-identity", "i", "--psk-file", "key", "--psk-stdin"], "one of --psk-file, --psk-stdin and"),
        (["--psk-identity", "i", "--generate", "--psk-text"], "--generate makes a random key"),
        (["--psk-identity", "i", "--generate", "--allow-short-key"], "--generate makes a random key"),
    ],
)
def test_options_that_contradict_each_other(site: Path, words: list[str], why: str) -> None:
    Path("key").write_text(KEY.hex())
    assert why in run("device", "add", "dev1", *words, stdin=KEY.hex().encode()).refused(2)
    assert devices() == []


def test_a_device_that_is_there_already_is_a_conflict(site: Path) -> None:
    ok("device", "add", "dev1", "--psk-identity", "id1", "--generate")
    before = stored_key(site, b"id1")
    assert "'dev1' exists already" in run("device", "add", "dev1").refused(4)
    assert "'dev1' exists" in run("device", "add", "dev1", "--psk-identity", "other", "--generate").refused(4)
    assert "id1" in run("device", "add", "dev2", "--psk-identity", "id1", "--generate").refused(4)
    assert devices() == ["dev1"]
    assert stored_key(site, b"id1") == before


def test_a_certificate_may_be_allowed_from_the_start_or_later(site: Path) -> None:
    def kinds(device: str) -> list[str]:
        return [each["kind"] for each in ok("device", "show", device, "-o", "json").json["credentials"]]

    ok("device", "add", "both", "--psk-identity", "id1", "--generate", "--certificate")
    assert kinds("both") == ["psk", "x509"]
    ok("device", "add", "later", "--psk-identity", "id2", "--generate")
    assert kinds("later") == ["psk"]
    assert ok("device", "add", "later", "--certificate", "-o", "json").json["certificate"] == "allowed"
    assert kinds("later") == ["psk", "x509"]
    ok("device", "add", "new", "--certificate")
    assert kinds("new") == ["x509"]
    ok("device", "add", "new", "--certificate", "--psk-identity", "id3", "--generate")
    assert sorted(kinds("new")) == ["psk", "x509"]
    ok("device", "add", "bare")
    assert kinds("bare") == []


@pytest.mark.parametrize("where", [["dev1"], ["dev1", "--tenant", "acme"]], ids=["default", "tenant"])
def test_a_device_that_exists_is_not_given_another_key_but_told_how(site: Path, where: list[str]) -> None:
    ok("tenant", "add", "acme")
    ok("device", "add", *where, "--psk-identity", "id1", "--generate")
    ok("device", "tag", *where, "roof")
    line = run("device", "add", *where, "--psk-identity", "id1", "--generate").refused(4)
    rotate, add = re.findall(r"`gateway (psk [^`]+)`", line)
    assert (rotate, add) == (f"psk rotate {' '.join(where)}", f"psk add {' '.join(where)}")
    ok(*rotate.split(), "--generate")
    ok(*add.split(), "--identity", "spare", "--generate")
    shown = ok("device", "show", *where, "-o", "json").json
    assert [each["psk_identity"] for each in shown["credentials"]] == ["id1", "id1#2", "spare"]
    assert shown["tags"] == ["roof"]
    # Another device's identity is another mistake.
    assert "rotate" not in run("device", "add", "dev2", *where[1:], "--psk-identity", "id1", "--generate").refused(4)


def test_help_says_who_may_speak_for_a_device(site: Path) -> None:
    # The same as docs/design.md, "Identity rules".
    text = " ".join(ok("device", "add", "--help").stdout.replace("\u2502", " ").split())
    assert "binds it to the CA of that one" in text
    assert "of any trusted CA of its tenant" in text


def test_show(site: Path) -> None:
    ok("device", "add", "dev1", "--psk-identity", "id1", "--generate")
    facts = ok("device", "show", "dev1", "-o", "json").json
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", facts["created"])
    [credential] = facts["credentials"]
    assert (facts["device"], facts["tenant"], facts["status"], facts["auto_provisioned"]) == (
        "dev1",
        "default",
        "active",
        False,
    )
    assert (credential["kind"], credential["psk_identity"], credential["status"]) == ("psk", "id1", "active")
    table = ok("device", "show", "dev1").stdout
    assert re.search(r"^device +dev1$", table, re.MULTILINE)
    assert re.search(r"^credential .*kind=psk .*psk_identity=id1 ", table, re.MULTILINE)


def test_an_identity_of_any_bytes_is_stored_as_it_is_and_shown_escaped(site: Path) -> None:
    config = str(site / "gateway.toml")
    identity = b"m\xc3\xbcller \x1b[31m\xff"
    done = execute("device", "add", "dev1", "--psk-identity", identity, "--generate", "--config", config)
    assert done.status == 0, done
    assert stored_key(site, identity)
    for words in (["show", "dev1"], ["show", "dev1", "-o", "json"]):
        shown = execute("device", *words, "--config", config)
        assert shown.status == 0, shown
        assert "müller" in shown.stdout
        assert "\x1b" not in shown.stdout


def test_disable_enable_delete(site: Path) -> None:
    ok("device", "add", "dev1", "--psk-identity", "id1", "--generate")
    for verb, status in (("disable", "disabled"), ("disable", "disabled"), ("enable", "active")):
        assert ok("device", verb, "dev1", "-o", "json").json["status"] == status
        assert ok("device", "show", "dev1", "-o", "json").json["status"] == status
    assert re.search(r"^status +disabled$", ok("device", "disable", "dev1").stdout, re.MULTILINE)
    assert "--yes" in run("device", "delete", "dev1").refused(2)
    assert devices() == ["dev1"]
    assert ok("device", "delete", "dev1", "--yes", "-o", "json").json["status"] == "deleted"
    assert devices() == []
    # Its identity is free again.
    ok("device", "add", "dev2", "--psk-identity", "id1", "--generate")


@pytest.mark.parametrize("verb", ["show", "disable", "enable", "delete"])
def test_a_device_that_does_not_exist(site: Path, verb: str) -> None:
    assert "'nobody' does not exist" in run("device", verb, "nobody").refused(3)
    ok("tenant", "add", "acme")
    ok("device", "add", "nobody", "--tenant", "acme")
    assert "but in 'acme': say --tenant acme" in run("device", verb, "nobody").refused(3)


@pytest.mark.parametrize("id", ["", "a b", "-x", "ü", "a" * 129, "a\nb"])
def test_what_cannot_be_a_device(site: Path, id: str) -> None:
    assert "cannot be a device id" in run("device", "add", "--", id).refused(2)
    assert devices() == []


def test_a_name_that_is_no_text_is_refused_in_one_line(site: Path) -> None:
    # As Python hands over the byte 0xFF.
    run("device", "add", "\udcff").refused(2)
    for verb in ("show", "disable"):
        assert "UTF-8" in run("device", verb, "\udcff").refused(2)


def test_tenants(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ok("device", "add", "dev1")
    assert [row["device"] for row in ok("device", "list", "--tenant", "default", "-o", "json").json] == ["dev1"]
    assert "tenant 'acme' does not exist" in run("device", "list", "--tenant", "acme").refused(3)
    monkeypatch.setenv("GATEWAY_TENANT", "acme")
    assert "acme" in run("device", "show", "dev1").refused(3)
    assert "acme" in run("device", "add", "dev2").refused(3)
    ok("device", "show", "dev1", "--tenant", "default")


# --- raw public keys -------------------------------------------------------------------------------------------------


def public_key(name: str) -> tuple[Path, str]:
    """A file that openssl wrote, and the SHA-256 of the key."""
    made = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", f"{name}.key"]
    subprocess.run(made, check=True, capture_output=True)
    path = Path(f"{name}.pub")
    subprocess.run(["openssl", "pkey", "-in", f"{name}.key", "-pubout", "-out", path], check=True)
    der = subprocess.run(
        ["openssl", "pkey", "-in", f"{name}.key", "-pubout", "-outform", "DER"], check=True, capture_output=True
    ).stdout
    return path, sha256(der).hexdigest()


def test_a_device_with_a_raw_public_key(site: Path) -> None:
    path, fingerprint = public_key("dev1")
    added = ok("device", "add", "dev1", "--public-key", str(path), "-o", "json").json
    assert added == {"device": "dev1", "tenant": "default", "public_key_sha256": fingerprint}
    [credential] = ok("device", "show", "dev1", "-o", "json").json["credentials"]
    assert (credential["kind"], credential["public_key_sha256"]) == ("rpk", fingerprint)
    assert f"public_key_sha256={fingerprint}" in ok("device", "show", "dev1").stdout
    # One more, for a rotation.
    other, second = public_key("dev1-next")
    ok("device", "add", "dev1", "--public-key", str(other))
    shown = ok("device", "show", "dev1", "-o", "json").json["credentials"]
    assert [each["public_key_sha256"] for each in shown] == [fingerprint, second]


def test_a_public_key_of_another_device_is_a_conflict(site: Path) -> None:
    path, fingerprint = public_key("dev1")
    ok("device", "add", "dev1", "--public-key", str(path))
    assert fingerprint in run("device", "add", "dev2", "--public-key", str(path)).refused(4)
    assert devices() == ["dev1"]


def test_files_without_a_public_key_are_refused_and_add_nothing(site: Path) -> None:
    public_key("dev1")
    for name in ("dev1.key", "missing"):
        line = run("device", "add", "dev1", "--public-key", name).refused(1)
        assert name in line
    assert devices() == []


def test_one_kind_of_key_at_a_time(site: Path) -> None:
    path, _ = public_key("dev1")
    run("device", "add", "dev1", "--public-key", str(path), "--psk-identity", "id", "--generate").refused(2)
    assert devices() == []
