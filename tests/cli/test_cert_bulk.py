"""`gateway cert bulk`: the command around the run, and kill -9 for real."""

import json
import os
import pty
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.openssl import key_belongs, mode, verifies
from tests.cli.support import GATEWAY, environment, execute, ok, run
from tests.cli.test_ca import snapshot

ROOT = "certs/root.pem"


def keys(folder: Path) -> dict[str, bytes]:
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*.key")}


def test_a_lot(site: Path) -> None:
    words = ["cert", "bulk", "--count", "3", "--prefix", "meter-", "--first", "7", "--out", "lot", "-o", "json"]
    done = ok(*words)
    assert done.json == {
        "devices": 3,
        "first": "meter-000007",
        "last": "meter-000009",
        "out": "lot",
        "issued": 3,
        "kept": 0,
    }
    for number in (7, 8, 9):
        chain, key = f"lot/000/meter-00000{number}.pem", f"lot/000/meter-00000{number}.key"
        assert verifies(chain, ROOT, "-purpose", "sslclient")
        assert key_belongs(chain, key)
        assert mode(key) == 0o600
    before = snapshot(site)
    assert (
        ok(*["cert", "bulk", "--count", "3", "--prefix", "meter-", "--first", "7", "--out", "lot", "-o", "json"]).json[
            "kept"
        ]
        == 3
    )
    assert snapshot(site) == before


def test_the_manifest_can_be_checked_with_sha256sum(site: Path) -> None:
    ok("cert", "bulk", "--count", "2", "--out", "lot")
    manifest = json.loads(Path("lot/manifest.json").read_text())
    sums = "".join(f"{digest}  {name}\n" for each in manifest["devices"] for name, digest in each["files"].items())
    assert sums.count("\n") == 4
    subprocess.run(
        ["sha256sum", "--check", "--strict"], cwd="lot", input=sums, text=True, check=True, capture_output=True
    )


def test_a_csv_of_serials(site: Path) -> None:
    Path("serials.csv").write_text("serial,colour\n4711,red\n4712,blue\n")
    ok("cert", "bulk", "--csv", "serials.csv", "--out", "lot")
    assert sorted(keys(Path("lot"))) == ["000/4711.key", "000/4712.key"]
    Path("serials.csv").write_text("serial,colour\n4711,red\n4 712,blue\n4711,red\n")
    line = run("cert", "bulk", "--csv", "serials.csv", "--out", "other").refused(2)
    assert "line 3" in line
    assert "line 4" in line
    assert not Path("other").exists()


@pytest.mark.parametrize("form", ["zip", "csv"])
def test_one_file(site: Path, form: str) -> None:
    words = ["cert", "bulk", "--count", "2", "--format", form, "--out", f"lot.{form}"]
    assert ok(*words, "-o", "json").json["issued"] == 2
    assert mode(f"lot.{form}") == 0o600
    assert ok(*words, "-o", "json").json["kept"] == 2


def test_a_profile_needs_the_servers_ca(site: Path) -> None:
    ok("cert", "bulk", "--count", "1", "--profile", "c-header", "--out", "lot")
    assert Path("lot/000/device-000001.h").exists()
    Path(ROOT).rename("away.pem")
    words = ["cert", "bulk", "--count", "1", "--profile", "nrf-cmng", "--out", "lot2"]
    assert "cannot read certs/root.pem" in run(*words).refused(1)
    ok(*words, "--server-ca", "away.pem")
    assert "AT%CMNG=0,42,0" in Path("lot2/000/device-000001.cmng").read_text()


def test_a_dry_run_writes_nothing(site: Path) -> None:
    before = snapshot(site)
    done = ok("cert", "bulk", "--count", "10000", "--out", "lot", "--dry-run", "-o", "json").json
    assert (done["devices"], done["issued"], done["dry_run"]) == (10000, 0, True)
    assert (done["first"], done["last"]) == ("device-000001", "device-010000")
    assert snapshot(site) == before
    assert not Path("lot").exists()


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        ("--out lot", 2, "either how many with --count"),
        ("--count 1 --csv x.csv --out lot", 2, "either how many with --count"),
        ("--csv missing.csv --out lot", 2, "cannot read missing.csv"),
        ("--csv x.csv --prefix p --out lot", 2, "--prefix and --first are for --count"),
        ("--count 100001 --out lot", 1, "make several runs"),
        ("--count 1 --prefix _ --out lot", 1, "cannot be a device name"),
        ("--count 1 --server-ca certs/root.pem --out lot", 2, "--server-ca"),
        ("--count 1 --out certs", 4, "is not empty"),
        ("--count 1 --format zip --out certs/root.pem", 4, "not overwritten"),
        ("--count 1 --ca certs/server.pem --out lot", 1, "is not a CA certificate"),
    ],
)
def test_what_cannot_be_done(site: Path, words: str, status: int, text: str) -> None:
    assert text in run("cert", "bulk", *words.split()).refused(status)


def test_another_run_in_the_same_folder(site: Path) -> None:
    ok("cert", "bulk", "--count", "2", "--out", "lot")
    before = snapshot(site)
    assert "names_sha256" in run("cert", "bulk", "--count", "3", "--out", "lot").refused(4)
    assert snapshot(site) == before


def test_killed_again_and_again_it_loses_no_key(site: Path) -> None:
    """kill -9 at eight moments of one run; each time every key that is there stays, and at last it is whole."""
    count, kills = 400, 8
    words = ["cert", "bulk", "--count", str(count), "--out", "lot", "--profile", "esp-nvs", "-o", "json"]
    seen: dict[str, bytes] = {}
    for number in range(1, kills + 1):
        process = subprocess.Popen([GATEWAY, *words], env=environment(), stdout=subprocess.DEVNULL)
        awaited = Path(f"lot/000/device-{number * 45:06}.key")
        while process.poll() is None and not awaited.exists():
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        now = keys(Path("lot"))
        assert {name: now[name] for name in seen} == seen
        seen = {name: key for name, key in now.items() if key}
    assert len(seen) >= kills * 45 - kills
    assert not Path("lot/manifest.json").exists()
    done = execute(*words)
    assert done.status == 0, done
    assert done.json["issued"] + done.json["kept"] == count
    assert done.json["kept"] >= len(seen) - kills
    now = keys(Path("lot"))
    assert len(now) == len(set(now.values())) == count
    assert {name: now[name] for name in seen} == seen
    assert len(json.loads(Path("lot/manifest.json").read_text())["devices"]) == count
    for number in (1, 137, count):
        stem = f"lot/000/device-{number:06}"
        assert key_belongs(f"{stem}.pem", f"{stem}.key")
        assert verifies(f"{stem}.pem", ROOT, "-purpose", "sslclient")


def test_the_progress_bar_is_for_terminals(site: Path) -> None:
    quiet = execute("cert", "bulk", "--count", "3", "--out", "quiet")
    assert (quiet.status, quiet.stderr) == (0, "")
    leader, follower = pty.openpty()
    try:
        done = subprocess.run(
            [GATEWAY, "cert", "bulk", "--count", "3", "--out", "lot"],
            env={**environment(), "TERM": "xterm", "COLUMNS": "80"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=follower,
            check=True,
        )
        shown = os.read(leader, 65536).decode()
    finally:
        os.close(follower)
        os.close(leader)
    assert "certificates" in shown
    assert "3/3" in shown
    assert b"\x1b" not in done.stdout


def test_nothing_secret_is_printed(site: Path) -> None:
    words = ["cert", "bulk", "--count", "2", "--profile", "c-header", "--out", "lot", "-o"]
    done = [run(*words, each) for each in ("table", "json")]
    Path("lot/manifest.json").unlink()
    Path("lot/000/device-000001.key").write_text("broken")
    done.append(run(*words, "json"))
    assert [each.status for each in done] == [0, 0, 4]
    secret = Path("lot/000/device-000002.key").read_text().splitlines()[1]
    for each in done:
        assert secret[:20] not in each.stdout + each.stderr
