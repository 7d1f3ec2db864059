"""Keys are never an argument, and never in an output, an error text or a log."""

import base64
import io
import re
import signal
import tokenize
from pathlib import Path

import pytest

from tests.cli.support import Done, Serving, ok, run

KEY = bytes.fromhex("9b1d0f62a7e44c53bd1177c05e2a9f38")
TEXT_KEY = b"hunter2hunter2!!"
GATEWAY = Path(__file__).parents[2] / "gateway"
SOURCES = sorted([*(GATEWAY / "cli").glob("*.py"), *(GATEWAY / "management").glob("*.py")])
# Where a key becomes text: made by the call, read for a request, or derived for the factory.
KEYS_AS_TEXT = {
    "management/psk.py": {'return {"psk_hex": key.hex()}'},
    "cli/managed.py": {
        'return {"psk_identity_hex": identity.hex()}',
        'return {"psk_hex": read_key(file, text=text).hex()}',
    },
    "cli/device_import.py": {'"psk_identity_hex": row.identity.hex(),', '"psk_hex": row.key.hex(),'},
    "cli/psk.py": {
        "rows.writerow((shown_psk_identity(full), generation, secrets.derive(tenant, full, generation).hex()))"
    },
}


def traces(secret: bytes) -> list[str]:
    """How a key could show up."""
    hexed = secret.hex()
    return [
        hexed,
        hexed.upper(),
        secret.hex(" "),
        secret.hex(":"),
        repr(secret)[2:-1],
        base64.b64encode(secret).decode().rstrip("="),
        hexed[:16],
        hexed[16:],
    ]


def leaks(text: str, *secrets: bytes) -> list[str]:
    return [trace for secret in secrets for trace in traces(secret) if trace in text]


def test_the_check_finds_a_key() -> None:
    assert leaks(f"key={KEY!r}", KEY)
    assert leaks(f"key={KEY.hex()}", KEY)
    assert leaks("password hunter2hunter2!! refused", TEXT_KEY)


def test_a_whole_life_leaks_no_key(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("hex").write_text(KEY.hex())
    Path("text").write_bytes(TEXT_KEY)
    Path("bad").write_text(f"{KEY.hex()}zz")
    done: list[Done] = []

    def do(*words: str, stdin: bytes = b"") -> None:
        done.append(run(*words, stdin=stdin))

    add = ["device", "add"]
    do(*add, "dev1", "--psk-identity", "id1", "--psk-file", "hex")
    do(*add, "dev2", "--psk-identity", "id2", "--psk-stdin", "--psk-text", stdin=TEXT_KEY)
    do(*add, "dev1", "--psk-identity", "id3", "--psk-file", "hex")
    do(*add, "dev3", "--psk-identity", "id1", "--psk-file", "hex")
    do(*add, "dev3", "--psk-identity", "id3", "--psk-file", "bad")
    do(*add, "dev3", "--psk-identity", "id3", "--psk-file", "text")
    do(*add, "dev3", "--psk-identity", "id3", "--psk-stdin", "--psk-text", stdin=TEXT_KEY * 9)
    do(*add, "dev3", "--psk-identity", "id3", "--psk-stdin", stdin=KEY.hex().encode()[:16])
    assert [each.status for each in done] == [0, 0, 4, 4, 2, 2, 2, 2]
    for output in ("table", "json"):
        do("device", "list", "-o", output)
        for verb in ("show", "disable", "enable"):
            do("device", verb, "dev1", "-o", output)
    monkeypatch.setenv("GATEWAY_LOG__LEVEL", "debug")
    with Serving(site) as gateway:
        for identity, file, words in (("id1", "hex", []), ("id2", "text", ["--psk-text"]), ("id2", "hex", [])):
            do("simulate", "--target", gateway.target, "--psk-identity", identity, "--psk-file", file, *words)
        do("simulate", "--target", gateway.target, "--psk-identity", "id1", "--psk-file", "bad")
        do("simulate", "--target", "127.0.0.1:9", "--psk-identity", "id1", "--psk-file", "hex")
        assert gateway.signal(signal.SIGTERM) == 0
        log = gateway.log.path.read_text()
    assert [each.status for each in done[-5:]] == [0, 0, 1, 2, 1]
    assert len(log.splitlines()) > 5
    for text in (log, *(each.stdout + each.stderr for each in done)):
        assert leaks(text, KEY, TEXT_KEY) == []


def test_private_keys_of_certificates_stay_in_their_files(site: Path) -> None:
    said = [
        ok("ca", "create", "--root", "--out", "root"),
        ok("ca", "create", "--intermediate", "--issuer", "root.pem", "--out", "line"),
        ok("cert", "issue", "--device", "meter-1"),
        ok("cert", "server", "--out", "server"),
        run("cert", "server", "--out", "server"),
        run("cert", "issue", "--device", "m", "--ca", "root.pem", "--ca-key", "line.key"),
        run("ca", "trust", "root.key"),
    ]
    said += [run("simulate", "--target", "127.0.0.1:9", "--psk-identity", "a", "--psk-file", "root.key")]
    said += [run("simulate", "--target", "127.0.0.1:9", "--private-key", "root.key")]
    files = [path for path in site.rglob("*.key")]
    assert len(files) >= 7
    for file in files:
        body = "".join(line for line in file.read_text().splitlines() if not line.startswith("-----"))
        for done in said:
            assert "PRIVATE KEY" not in done.stdout + done.stderr
            assert body[:20] not in done.stdout + done.stderr
            assert body[-40:-20] not in done.stdout + done.stderr


def test_no_option_takes_a_key() -> None:
    """Every option that is about a key names a file, is a switch, or is a name that is no secret."""
    takes_value = re.compile(r"^ +(?:-\w, )?(--[\w-]+) +(TEXT|FILE|ID|NAME|OUT|[A-Z]+)\b", re.MULTILINE)
    commands = [("device", "add"), ("ca", "create"), ("cert", "issue"), ("cert", "server"), ("simulate",)]
    found = {
        (option, kind)
        for command in commands
        for option, kind in takes_value.findall(ok(*command, "--help").stdout)
        if re.search("psk|key|secret|password", option)
    }
    assert found == {
        ("--psk-identity", "TEXT"),
        ("--psk-file", "FILE"),
        ("--ca-key", "FILE"),
        ("--private-key", "FILE"),
        ("--issuer-key", "FILE"),
        ("--public-key", "FILE"),
    }


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_source_tells_a_key_in_one_place(path: Path) -> None:
    """A key is told where it is made, and nowhere else; a command hands one over that it has read."""
    lines = {
        token.line.strip()
        for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
        if token.type == tokenize.NAME and token.string == "hex"
    }
    assert lines == KEYS_AS_TEXT.get(f"{path.parent.name}/{path.name}", set())
