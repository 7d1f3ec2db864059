"""The lock files: pinned, hashed, agreeing with each other and with pyproject.toml, free of addresses."""

import importlib.metadata
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.repository.tree import ROOT, pyproject

LOCKS = sorted(ROOT.glob("requirements*.txt"))
# One requirement with its continuation lines.
ENTRY = re.compile(r"^(?P<requirement>[A-Za-z0-9][^\n\\]*?) \\\n(?P<hashes>(?:    --hash=[^\n]+\n)+)", re.MULTILINE)
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?")
COMMENT = re.compile(r"\s*#.*")


def entries(lock: Path) -> list[tuple[Requirement, list[str]]]:
    text = lock.read_text()
    found = [(Requirement(m["requirement"]), m["hashes"].splitlines()) for m in ENTRY.finditer(text)]
    # Nothing else is in the file: no option, no address, no unhashed line.
    rest = ENTRY.sub("", text)
    assert [line for line in rest.splitlines() if not COMMENT.fullmatch(line)] == []
    return found


def pins(lock: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for requirement, _ in entries(lock):
        [specifier] = requirement.specifier
        assert specifier.operator == "=="
        found.setdefault(canonicalize_name(requirement.name), set()).add(specifier.version)
    return found


def expanded_group(name: str) -> list[Requirement]:
    requirements = []
    for item in pyproject()["dependency-groups"][name]:
        if isinstance(item, str):
            requirements.append(Requirement(item))
        else:
            requirements += expanded_group(item["include-group"])
    return requirements


def test_the_locks_are_those_that_the_commands_use() -> None:
    assert [lock.name for lock in LOCKS] == [
        "requirements-build.txt",
        "requirements-compile.txt",
        "requirements-dev.txt",
        "requirements-fuzz.txt",
        "requirements-interop-build.txt",
        "requirements-interop.txt",
        "requirements-report.txt",
        "requirements.txt",
    ]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_line_is_a_pin_with_hashes(lock: Path) -> None:
    found = entries(lock)
    assert found
    for requirement, hashes in found:
        assert requirement.url is None
        assert all(HASH.fullmatch(line) for line in hashes)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_no_address_and_no_path(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert re.search(r"(?<![\w.])/\w", text) is None
    assert not re.search(r"--(?:index-url|extra-index-url|find-links|trusted-host)", text)


def test_all_locks_agree_on_versions() -> None:
    together: dict[str, set[str]] = {}
    for lock in LOCKS:
        for name, versions in pins(lock).items():
            together.setdefault(name, set()).update(versions)
    # These have no release with wheels for all versions of Python.
    assert {name: versions for name, versions in together.items() if len(versions) > 1}.keys() <= {
        "atheris",
        "contourpy",
        "numpy",
    }


@pytest.mark.parametrize(
    ("lock", "requirements"),
    [
        ("requirements.txt", [Requirement(text) for text in pyproject()["project"]["dependencies"]]),
        ("requirements-dev.txt", [Requirement(text) for text in pyproject()["project"]["dependencies"]]),
        ("requirements-dev.txt", expanded_group("dev")),
        ("requirements-build.txt", expanded_group("build")),
        ("requirements-build.txt", [Requirement(text) for text in pyproject()["build-system"]["requires"]]),
        ("requirements-compile.txt", expanded_group("compile")),
        ("requirements-fuzz.txt", expanded_group("fuzz")),
        ("requirements-interop-build.txt", expanded_group("interop-build")),
        ("requirements-report.txt", expanded_group("report")),
        (
            "requirements-interop.txt",
            [Requirement(text) for text in pyproject()["project"]["optional-dependencies"]["interop"]],
        ),
    ],
)
def test_the_lock_satisfies_pyproject(lock: str, requirements: list[Requirement]) -> None:
    locked = pins(ROOT / lock)
    assert requirements
    for requirement in requirements:
        versions = locked[canonicalize_name(requirement.name)]
        assert any(requirement.specifier.contains(Version(version), prereleases=True) for version in versions)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_pins_name_the_extras_that_other_pins_ask_for(lock: Path) -> None:
    """Without them pip before 23.3 tries newer versions than the pinned one, and gives up because they have no hash."""
    pinned = {canonicalize_name(requirement.name): requirement.extras for requirement, _ in entries(lock)}
    for name in pinned:
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for another system, or of a lock that is not installed here
        for requirement in map(Requirement, requirements):
            wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if wanted and (target := canonicalize_name(requirement.name)) in pinned:
                assert requirement.extras <= pinned[target], f"{name} asks for {requirement}"


def test_the_runtime_lock_holds_no_tool() -> None:
    tools = {canonicalize_name(requirement.name) for requirement in expanded_group("dev")}
    assert not tools & pins(ROOT / "requirements.txt").keys()


def test_the_npm_packages_are_pins_with_hashes() -> None:
    lines = (ROOT / "tests/interop/clients/npm-packages.txt").read_text().splitlines()
    assert lines
    for line in lines:
        assert re.fullmatch(r"[0-9a-f]{128} [a-z-]+@\d+\.\d+\.\d+", line), line
