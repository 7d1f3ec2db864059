"""What goes to standard output, for people and for programs."""

import json
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

import gateway
from gateway.registry import open_registry
from tests.cli.support import GATEWAY, execute, ok, run
from tests.pki.factory import ca, name

LONG = "urn:dev:" + "0123456789abcdef" * 6 + ":key:lock"


def on_a_terminal(*words: str, columns: int) -> str:
    """What a terminal of so many columns gets."""
    controller, terminal = pty.openpty()
    try:
        environ = {**os.environ, "COLUMNS": str(columns), "TERM": "dumb"}
        process = subprocess.Popen([GATEWAY, *words], stdin=terminal, stdout=terminal, stderr=terminal, env=environ)
        os.close(terminal)
        seen = b""
        # Linux says EIO where the last writer is gone.
        while True:
            try:
                part = os.read(controller, 65536)
            except OSError:
                break
            if not part:
                break
            seen += part
        assert process.wait() == 0, seen
    finally:
        os.close(controller)
    return seen.decode()


def test_a_pipe_gets_whole_names_one_row_a_line(site: Path) -> None:
    assert len(LONG) <= 128
    for device in (LONG, "a"):
        ok("device", "add", device)
    header, *rows = ok("device", "list").stdout.splitlines()
    assert header.split() == ["device", "tenant", "status", "auto_provisioned", "created"]
    assert [row.split()[0] for row in rows] == ["a", LONG]
    assert all(len(row.split()) == 5 for row in rows)


@pytest.mark.parametrize("device", ["x:key:1", "a:smile:"])
def test_a_name_is_no_emoji(site: Path, device: str) -> None:
    ok("device", "add", device)
    assert device in ok("device", "list").stdout
    assert device in ok("device", "show", device).stdout


def test_a_subject_is_no_markup_and_no_escape_sequence(site: Path) -> None:
    made = ca(name("[red]Evil[/red] :key: \x1b[2J\u202eX", "[bold]"))
    Path("evil.der").write_bytes(made.der)
    said = ok("ca", "trust", "evil.der").stdout
    listed = ok("ca", "list").stdout
    for text in (said, listed):
        assert "[red]Evil[/red] :key: \\x1b[2J\\u202eX" in text
        assert "\x1b" not in text


def test_a_pipe_gets_whole_ids_of_cas(site: Path) -> None:
    ok("ca", "trust", "certs/root.pem")
    [anchor] = ok("ca", "list", "-o", "json").json
    assert re.fullmatch("[0-9a-f]{64}", anchor["id"])
    _, row = ok("ca", "list").stdout.splitlines()
    assert row.startswith(anchor["id"])
    assert anchor["subject"] in row


def test_a_narrow_terminal_folds_names_and_cuts_nothing(site: Path) -> None:
    ok("device", "add", LONG)
    seen = on_a_terminal("device", "list", "--config", str(site / "gateway.toml"), columns=60)
    assert "\u2026" not in seen
    pieces = [line.split()[0] for line in seen.splitlines() if line.startswith("  ") and line.split()]
    assert LONG in "".join(pieces)


def test_delete_asks_on_a_terminal(site: Path) -> None:
    ok("device", "add", "dev1")
    controller, terminal = pty.openpty()
    try:
        os.write(controller, b"n\n")
        done = subprocess.run(
            [GATEWAY, "device", "delete", "dev1"], stdin=terminal, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout.strip()) == (1, "")
        assert "Delete device dev1 of tenant default and its credentials?" in done.stderr
        ok("device", "show", "dev1")
        os.write(controller, b"y\n")
        done = subprocess.run(
            [GATEWAY, "device", "delete", "dev1", "-o", "json"],
            stdin=terminal,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, json.loads(done.stdout)["status"]) == (0, "deleted")
    finally:
        os.close(controller)
        os.close(terminal)
    run("device", "show", "dev1").refused(3)


@pytest.mark.parametrize("words", [["device", "list"], ["device", "show", "dev1"], ["ca", "list"], ["--help"]])
def test_a_reader_that_goes_away_is_no_traceback(site: Path, words: list[str]) -> None:
    ok("device", "add", "dev1")
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run([GATEWAY, *words], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writing)
    assert done.stderr == ""


def test_closed_standard_streams_are_no_traceback(site: Path) -> None:
    for redirection in ("<&-", ">&-"):
        shell = f'exec "$0" device list {redirection}'
        done = subprocess.run(["sh", "-c", shell, GATEWAY], stderr=subprocess.PIPE, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    shell = 'exec "$0" device add d --psk-identity i --psk-stdin <&-'
    done = subprocess.run(["sh", "-c", shell, GATEWAY], stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "gateway: standard input: there is no key in it\n")


def test_an_encoding_without_the_letters_is_no_traceback(site: Path) -> None:
    with open_registry("sqlite:///registry.db") as registry:
        registry.add_psk_device("dev1", "müller".encode(), bytes(16))
    done = execute("device", "show", "dev1", environ={"PYTHONIOENCODING": "ascii"})
    assert done.status == 0
    assert "psk_identity=m\\xfcller" in done.stdout


def test_version() -> None:
    kind = r" \(compiled\)" if gateway.is_compiled() else ""
    assert re.fullmatch(rf"gateway \d+\.\d+\.\d+\S*{kind}\n", ok("--version").stdout)


def test_help_tells_the_exit_statuses() -> None:
    text = " ".join(ok("--help").stdout.split())
    assert "0 done, 1 failed, 2 wrong usage or configuration, 3 not found, 4 conflict" in text


def test_an_unknown_command_is_a_usage_error_with_a_suggestion() -> None:
    done = run("divice", "list")
    assert done.status == 2
    assert "No such command 'divice'. Did you mean 'device'?" in done.stderr


@pytest.mark.parametrize("words", [[], ["device"], ["ca"], ["cert"]], ids=" ".join)
def test_a_bare_noun_shows_help(words: list[str]) -> None:
    done = run(*words)
    assert done.status == 2
    assert "Commands:" in done.stdout + done.stderr


def test_listing_devices_imports_no_engine_and_no_server() -> None:
    done = execute("device", "list", "--help", environ={"PYTHONPROFILEIMPORTTIME": "1"})
    imported = set(re.findall(r"^import time:.*\| +(\S+)$", done.stderr, re.MULTILINE))
    assert {"gateway.cli.common", "gateway.registry"} <= imported
    heavy = {"gateway.dtls", "gateway.server", "gateway.pki", "aiocoap", "structlog", "prometheus_client", "rich"}
    assert imported & heavy == set()


def test_the_version_imports_next_to_nothing() -> None:
    done = execute("--version", environ={"PYTHONPROFILEIMPORTTIME": "1"})
    imported = set(re.findall(r"^import time:.*\| +(\S+)$", done.stderr, re.MULTILINE))
    assert {name for name in imported if name.startswith("gateway")} == {"gateway", "gateway.cli"}
