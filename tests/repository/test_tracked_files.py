"""What is committed: nothing of the machine it was written on, no secret, no address of a package index."""

import re

import pytest

from tests.repository.tree import ROOT, tracked

# Written so that this file does not find itself.
# Below /home a user's folder; a device may well have a resource /home/lamp.
MACHINE_PATHS = re.compile(r"(?<![\w.-])/(?:work/|root/|home/[\w.-]+" + "/)")
INDEX_ADDRESSES = re.compile(r"pypi\.org/sim" + r"ple|files\.pythonhosted" + r"\.org|--(?:extra-)?index-u" + r"rl")
PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE K" + "EY-----")
KNOWN_TOP = {
    ".ci",
    ".dockerignore",
    ".gitignore",
    "CHANGELOG.md",
    "Dockerfile",
    "LICENSE",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "certs",
    "config",
    "docs",
    "examples",
    "gateway",
    "hatch_build.py",
    "pyproject.toml",
    "tests",
}


def texts() -> dict[str, str]:
    found = {}
    for file in tracked():
        try:
            found[str(file.relative_to(ROOT))] = file.read_text()
        except UnicodeDecodeError:
            # A corpus or a capture; no text, no path in it.
            continue
    assert len(found) > 50
    return found


@pytest.mark.parametrize("pattern", [MACHINE_PATHS, INDEX_ADDRESSES], ids=["machine path", "index address"])
def test_nothing_of_one_machine(pattern: re.Pattern[str]) -> None:
    hits = [
        f"{name}: {line.strip()}"
        for name, text in texts().items()
        if pattern.search(text)
        for line in text.splitlines()
        if pattern.search(line)
    ]
    assert hits == []


def test_no_private_key_outside_the_test_vectors() -> None:
    hits = [name for name, text in texts().items() if PRIVATE_KEY.search(text) and not name.startswith("tests/")]
    assert hits == []


def test_the_certs_folder_holds_its_explanation_only() -> None:
    names = {str(file.relative_to(ROOT)) for file in tracked()}
    assert {name for name in names if name.startswith("certs/")} == {"certs/.gitignore", "certs/README.md"}


def test_the_top_level_is_the_agreed_one() -> None:
    top = {file.relative_to(ROOT).parts[0] for file in tracked()}
    assert {name for name in top if not name.startswith("requirements")} <= KNOWN_TOP
    assert "uv.lock" not in top


def test_text_files_end_with_a_newline_and_have_no_carriage_return() -> None:
    bad = [name for name, text in texts().items() if text and (not text.endswith("\n") or "\r" in text)]
    assert [name for name in bad if not name.startswith("tests/")] == []


def test_scripts_can_be_run() -> None:
    for file in tracked():
        if file.parent.name == ".ci":
            assert file.stat().st_mode & 0o111, f"{file.name} is not executable"
            assert file.read_text().startswith("#!")
