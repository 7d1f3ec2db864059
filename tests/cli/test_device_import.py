"""`gateway device import`."""

import csv
import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.cli.support import GATEWAY, environment, ok, run

HEAD = "device_id,tenant,psk_identity,psk_hex,tags\n"


def line(number: int, *, key: int | None = None) -> str:
    return f"dev{number},,id{number},{(key if key is not None else number) + 2**120:032x},meter\n"


@pytest.fixture
def file(site: Path) -> Path:
    path = site / "devices.csv"
    path.write_text(HEAD + "".join(line(number) for number in range(700)))
    return path


def counts(*words: str, status: int = 0) -> dict[str, object]:
    done = run("device", "import", *words, "-o", "json")
    assert done.status == status, done
    found: dict[str, object] = done.json
    return {name: value for name, value in found.items() if value}


def rejects(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as opened:
        return list(csv.DictReader(opened))


def test_a_file_is_added_and_again_it_changes_nothing(file: Path) -> None:
    assert counts("devices.csv", "--dry-run") == {"rows": 700, "added": 700, "dry_run": True}
    assert ok("device", "list", "-o", "json").json == []
    assert counts("devices.csv") == {"rows": 700, "added": 700}
    assert counts("devices.csv") == {"rows": 700, "unchanged": 700}
    assert not file.with_name("devices.csv.rejects.csv").exists()
    assert len(ok("device", "list", "-o", "json").json) == 700


def test_what_was_refused_is_in_a_file(file: Path) -> None:
    with file.open("a") as opened:
        opened.write("bad name,,x,00,\n" + line(700, key=3) + line(701))
    assert counts("devices.csv", status=5) == {
        "rows": 703,
        "added": 701,
        "refused": 2,
        "report": "devices.csv.rejects.csv",
    }
    bad, shared = rejects(file.with_name("devices.csv.rejects.csv"))
    assert (bad["line"], bad["result"]) == ("702", "refused")
    assert (shared["line"], shared["device_id"]) == ("703", "dev700")
    assert "device 'dev3' of tenant 'default' has the same key" in shared["reason"]
    assert counts("devices.csv", "--allow-shared-keys", status=5)["added"] == 1
    file.write_text(HEAD + line(1))
    assert counts("devices.csv") == {"rows": 1, "unchanged": 1}
    assert not file.with_name("devices.csv.rejects.csv").exists()


def test_a_report_has_every_row(file: Path) -> None:
    counts("devices.csv", "--report", "report.csv")
    found = rejects(file.with_name("report.csv"))
    assert [(each["line"], each["device_id"], each["result"]) for each in found] == [
        (str(number + 2), f"dev{number}", "added") for number in range(700)
    ]


def test_conflicts(file: Path) -> None:
    counts("devices.csv")
    file.write_text(HEAD + line(0) + line(1, key=999))
    assert counts("devices.csv", status=5)["refused"] == 1
    assert counts("devices.csv", "--on-conflict", "skip")["skipped"] == 1
    assert counts("devices.csv", "--on-conflict", "update")["updated"] == 1
    assert counts("devices.csv") == {"rows": 2, "unchanged": 2}


def test_another_key_under_the_same_identity_keeps_what_is_said_of_the_device(site: Path) -> None:
    """As the remedy of `wrong_key` has it."""
    ok("device", "add", "dev1", "--psk-identity", "id1", "--generate")
    ok("device", "tag", "dev1", "roof")
    before = ok("device", "show", "dev1", "-o", "json").json
    (site / "one.csv").write_text("device_id,psk_identity,psk_hex\ndev1,id1," + "ab" * 16 + "\n")
    assert counts("one.csv", "--on-conflict", "update")["updated"] == 1
    after = ok("device", "show", "dev1", "-o", "json").json
    assert after["tags"] == before["tags"] == ["roof"]
    assert [each["id"] for each in after["credentials"]] == [each["id"] for each in before["credentials"]]
    assert counts("one.csv")["unchanged"] == 1


def test_a_short_key_is_refused_with_what_an_import_can_do(site: Path) -> None:
    (site / "one.csv").write_text("device_id,psk_identity,psk_hex\ndev1,id1,abcd\n")
    assert counts("one.csv", status=5)["refused"] == 1
    [row] = rejects(site / "one.csv.rejects.csv")
    assert row["reason"] == (
        "a pre-shared key has at least 16 bytes, this one has 2; make one with `openssl rand -hex 16`"
    )


def test_json_lines_and_a_tenant_for_all(site: Path) -> None:
    (site / "devices.txt").write_text('{"device_id": "a", "psk_identity": "a", "psk_hex": "' + "ab" * 16 + '"}\n')
    assert "--format" in run("device", "import", "devices.txt").refused(2)
    assert counts("devices.txt", "--format", "jsonl", "--tenant", "nobody", status=5)["refused"] == 1
    assert counts("devices.txt", "--format", "jsonl")["added"] == 1


def test_what_cannot_be_read(site: Path) -> None:
    run("device", "import", "none.csv").refused(1)
    (site / "empty.csv").write_text("")
    run("device", "import", "empty.csv").refused(2)


def test_a_bar_on_a_terminal_only(file: Path) -> None:
    master, terminal = pty.openpty()
    try:
        done = subprocess.run(
            [GATEWAY, "device", "import", "devices.csv", "-o", "json"],
            stdout=subprocess.PIPE,
            stderr=terminal,
            env={**environment(), "TERM": "xterm"},
            check=True,
            timeout=60,
        )
        assert b"devices.csv" in os.read(master, 65536)
    finally:
        os.close(terminal)
        os.close(master)
    assert b'"added": 700' in done.stdout
    quiet = subprocess.run(
        [GATEWAY, "device", "import", "devices.csv"], capture_output=True, env=environment(), check=True, timeout=60
    )
    assert quiet.stderr == b""
