"""`gateway init`: a folder that works, made out of nothing else and at the cost of nothing else."""

import os
import shlex
import sqlite3
import tomllib
from pathlib import Path

import pytest

from tests.cli.openssl import mode, verifies
from tests.cli.support import ok, run
from tests.cli.test_ca import snapshot


def test_what_is_there_afterwards(workdir: Path) -> None:
    ok("init", "new/site")
    with open("new/site/gateway.toml", "rb") as file:
        written = tomllib.load(file)
    assert written["dtls"] == {"certificate": "certs/server.pem", "private_key": "certs/server.key"}
    assert written["registry"] == {"url": "sqlite:///registry.db"}
    assert verifies("new/site/certs/server.pem", "new/site/certs/root.pem", "-purpose", "sslserver")
    assert verifies("new/site/certs/intermediate.pem", "new/site/certs/root.pem")
    connection = sqlite3.connect("new/site/registry.db")
    try:
        assert connection.execute("SELECT count(*) FROM device").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM trust_anchor").fetchone() == (0,)
    finally:
        connection.close()


def test_secrets_are_private_whatever_the_umask(workdir: Path) -> None:
    before = os.umask(0)
    try:
        ok("init", "site")
    finally:
        os.umask(before)
    assert mode("site/certs") == 0o700
    private = {path.name for path in Path("site").rglob("*") if path.is_file() and mode(str(path)) & 0o077 == 0}
    assert private == {"registry.db", "root.key", "intermediate.key", "server.key"}


@pytest.mark.parametrize("folder", ["site", "my site", "it's $HOME", "-dashed", "a&b;c"])
def test_what_it_prints_can_be_pasted(workdir: Path, folder: str) -> None:
    printed = ok("init", "--", folder).stdout
    commands = [shlex.split(line) for line in printed.splitlines() if line.startswith("  gateway ")]
    verbs = [words[1] for words in commands]
    # What is pasted behind `serve` would go to its standard input.
    assert verbs == ["device", "ca", "cert", "serve"]
    for _, *words in commands:
        ok(*words, *(["--check"] if words[0] == "serve" else []))
    listed = ok("device", "list", "--config", f"{folder}/gateway.toml", "-o", "json").json
    assert [row["device"] for row in listed] == ["dev1"]
    assert verifies(f"./{folder}/certs/devices/dev2.pem", f"./{folder}/certs/root.pem")


@pytest.mark.parametrize("there", ["gateway.toml", "registry.db", "certs"])
@pytest.mark.parametrize("kind", ["file", "folder", "dangling"])
def test_a_folder_with_something_of_ours_is_refused_and_kept(workdir: Path, there: str, kind: str) -> None:
    folder = Path("site")
    folder.mkdir()
    match kind:
        case "file":
            (folder / there).write_text("precious")
        case "folder":
            (folder / there).mkdir()
        case _:
            (folder / there).symlink_to(workdir / "elsewhere")
    assert f"site/{there} exists already" in run("init", "site").refused(2)
    assert [path.name for path in folder.iterdir()] == [there]
    assert not Path("elsewhere").exists()
    if kind == "file":
        assert (folder / there).read_text() == "precious"


def test_a_second_time_is_refused_and_loses_nothing(site: Path) -> None:
    ok("device", "add", "dev1", "--psk-identity", "id1", "--generate")
    before = snapshot(site)
    assert "exists already" in run("init", ".").refused(2)
    assert snapshot(site) == before


def test_other_files_are_left_alone(workdir: Path) -> None:
    Path("site").mkdir()
    Path("site/notes.txt").write_text("mine")
    ok("init", "site")
    assert Path("site/notes.txt").read_text() == "mine"


@pytest.mark.parametrize("folder", ["file", "file/deeper", "/proc/nowhere/site"])
def test_a_folder_that_cannot_be_made(workdir: Path, folder: str) -> None:
    Path("file").write_text("mine")
    line = run("init", folder).refused(2)
    assert line.startswith(("gateway: file", "gateway: /proc/nowhere"))
    assert Path("file").read_text() == "mine"


def test_the_configuration_may_have_another_name_but_not_another_place(workdir: Path) -> None:
    assert "is not in site" in run("init", "site", "--config", "other/gateway.toml").refused(2)
    assert list(workdir.iterdir()) == []
    assert "--config site/lab.toml" in ok("init", "site", "--config", "site/lab.toml").stdout
    assert sorted(path.name for path in Path("site").iterdir()) == ["certs", "lab.toml", "registry.db"]
    ok("serve", "--check", "--config", "site/lab.toml")
