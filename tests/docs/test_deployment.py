"""The page on deployment: its commands, folders, ports and options are those of the code, systemd and the image."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks, names, table
from tests.docs.test_commands import check_exists
from tests.interop.peers import program

PAGE = ROOT / "docs/deployment.md"
TEXTS = [block.text for block in blocks(PAGE, "text")]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
[UNIT] = [text for text in TEXTS if text.startswith("[Unit]")]
SETTINGS = [line.partition("=")[::2] for line in UNIT.splitlines() if "=" in line]


def command_lines() -> Iterator[tuple[str, ...]]:
    """The arguments of each command of ours, wherever it runs: in the environment, the unit or the image."""
    for line in "".join(TEXTS).splitlines():
        words = shlex.split(line)
        if line.startswith("docker run"):
            yield tuple(words[words.index("dtls-gateway") + 1 :])
        elif line.startswith("docker exec"):
            yield tuple(words[4:])
        for index, word in enumerate(words):
            if word.endswith("/opt/gateway/bin/gateway"):
                yield tuple(words[index + 1 :])


@pytest.mark.parametrize("words", list(command_lines()), ids=" ".join)
def test_commands_exist(words: tuple[str, ...]) -> None:
    check_exists(words)


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    analyze = program("systemd-analyze")
    unit = tmp_path / "gateway.service"
    unit.write_text(UNIT.replace("/opt/gateway/bin/gateway", "/bin/true"))
    said = subprocess.run((analyze, "verify", unit), capture_output=True, text=True, timeout=60, check=False)
    assert (said.returncode, said.stdout + said.stderr) == (0, "")


def test_the_unit_writes_where_it_may() -> None:
    unit = dict(SETTINGS)
    folder = Path("/var/lib") / unit["StateDirectory"]
    assert unit["ExecStart"].endswith(f" serve --config {folder}/gateway.toml")
    assert unit["WorkingDirectory"] == str(folder)
    assert unit["ProtectSystem"] == "strict"


def test_each_setting_that_is_explained_is_in_the_unit() -> None:
    in_unit = {name for name, _ in SETTINGS}
    for row in table(PAGE, "systemd"):
        for name in names(row[0]):
            assert name.partition("=")[0] in in_unit


def test_the_container_is_run_as_the_image_expects() -> None:
    [run] = [line for text in TEXTS for line in text.splitlines() if line.startswith("docker run -d")]
    words = shlex.split(run)
    given = list(pairwise(words))
    [volume] = re.findall(r'^VOLUME \["(.+)"\]$', DOCKERFILE, re.MULTILINE)
    [exposed] = re.findall(r"^EXPOSE (.+)$", DOCKERFILE, re.MULTILINE)
    assert ("-v", f"gateway:{volume}") in given
    assert {value.rpartition(":")[2] for name, value in given if name == "-p"} == set(exposed.split())
    explained = {name for row in table(PAGE, "Container") for name in names(row[0])}
    assert volume in explained


def test_the_locks_that_are_installed_are_there() -> None:
    named = re.findall(r"/path/to/checkout/(\S+\.txt)", "".join(TEXTS))
    assert named
    assert all((ROOT / name).exists() for name in named)
