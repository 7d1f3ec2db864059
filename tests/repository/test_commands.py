"""The Makefile and the CI scripts: what they promise, and what they say where Python is too old."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.repository.tree import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
PHONY = set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[1].split())  # type: ignore[index]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        # The make that runs these tests passes its own flags down.
        env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
    )


def fake_python(folder: Path, version: str, *, venv: bool) -> Path:
    """A Python that answers the Makefile's three questions and nothing else."""
    python = folder / "python3"
    minor = int(version.split(".")[1])
    python.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        f'*--version*) echo "Python {version}";;\n'
        f"*version_info*) exit {int(minor < 11)};;\n"
        f"*ensurepip*) echo Traceback >&2; exit {int(not venv)};;\n"
        '*"-m venv"*) echo "the fake venv fails" >&2; exit 3;;\n'
        "*) exit 9;;\n"
        "esac\n"
    )
    python.chmod(0o755)
    return python


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A checkout without an environment."""
    for name in ("Makefile", "pyproject.toml", *(lock.name for lock in ROOT.glob("requirements*.txt"))):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_every_target_is_phony_and_explained() -> None:
    assert TARGETS == PHONY
    listing = make(ROOT).stdout
    for target in TARGETS:
        assert re.search(rf"^  make {target} +[A-Z]", listing, re.MULTILINE), f"make help does not explain {target}"


def test_help_is_what_a_bare_make_gives() -> None:
    assert make(ROOT).stdout == make(ROOT, "help").stdout


@pytest.mark.parametrize("target", ["demo", "test"])
def test_an_old_python_is_refused_in_one_line(bare: Path, target: str) -> None:
    done = make(bare, target, f"PYTHON={fake_python(bare, '3.10.4', venv=True)}")
    assert done.returncode != 0
    assert "Python 3.10.4 is too old: Python 3.11 or newer is needed" in done.stderr
    assert not (bare / ".venv").exists()


@pytest.mark.parametrize("target", ["demo", "test"])
def test_a_python_without_venv_is_refused_with_the_package_to_install(bare: Path, target: str) -> None:
    done = make(bare, target, f"PYTHON={fake_python(bare, '3.12.1', venv=False)}")
    assert done.returncode != 0
    assert "no venv or ensurepip module" in done.stderr
    assert "apt install python3-venv" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("target", ["demo", "test"])
def test_no_python_at_all_is_said(bare: Path, target: str) -> None:
    done = make(bare, target, "PYTHON=no-such-python")
    assert done.returncode != 0
    assert "no-such-python not found: install Python 3.11 or newer" in done.stderr


def test_a_failure_of_venv_is_not_hidden(bare: Path) -> None:
    done = make(bare, "demo", f"PYTHON={fake_python(bare, '3.12.1', venv=True)}")
    assert done.returncode != 0
    assert "the fake venv fails" in done.stderr
    assert not (bare / ".venv/.created").exists()


def test_the_test_command_runs_every_check() -> None:
    recipe = make(ROOT, "--dry-run", "test").stdout
    for check in ("ruff check .", "ruff format --check .", "mypy", "lint-imports", "sh .ci/test"):
        assert check in recipe


def runs_of(arguments: list[str], folder: Path, status: str = "0") -> tuple[list[list[str]], int]:
    """What `.ci/test` has Python do, each run with its words, and how it ends; every run ends with `status`."""
    told = folder / "told"
    python = folder / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >>{told}\nexit {status}\n')
    python.chmod(0o755)
    done = subprocess.run(["sh", ".ci/test", str(python), *arguments], cwd=ROOT, capture_output=True, check=False)
    return [line.split() for line in told.read_text().splitlines()], done.returncode


@pytest.mark.pure("there is no coverage of it")
def test_every_folder_of_tests_is_in_one_group(tmp_path: Path) -> None:
    runs, status = runs_of(["-x"], tmp_path)
    assert status == 0
    groups = [{word.rstrip("/") for word in run if word.startswith("tests/")} for run in runs]
    folders = {f"tests/{path.name}" for path in (ROOT / "tests").iterdir() if (path / "__init__.py").exists()}
    assert sorted(name for group in groups for name in group) == sorted(folders)
    for run in runs:
        assert run[:5] == ["-m", "pytest", "-q", "-m", "not"]
        assert "-x" in run
    # The coverage gate is about the engines' own tests, all of them and nothing else.
    [engines] = [group for run, group in zip(runs, groups, strict=True) if "tests.repository.coverage_gate" in run]
    assert engines == {"tests/dtls", "tests/coap"}


@pytest.mark.parametrize(("each", "together"), [("1", 1), ("2", 2), ("5", 5)])
def test_a_group_that_fails_fails_all(tmp_path: Path, each: str, together: int) -> None:
    assert runs_of([], tmp_path, each)[1] == together


def test_installs_are_hashed_and_never_compile() -> None:
    assert "--require-hashes --only-binary :all:" in MAKEFILE
    for line in MAKEFILE.splitlines():
        if "pip" in line and "install" in line and not line.startswith("#"):
            assert "--require-hashes" in line or "--no-deps --no-index" in line or "apt install" in line


def test_the_readme_names_only_targets_that_exist() -> None:
    text = (ROOT / "README.md").read_text()
    named = set(re.findall(r"(?:^|[`\s])make ([a-z][a-z-]*)", "\n".join(code_of(text))))
    assert {"demo", "test"} <= named
    assert named <= TARGETS


def code_of(markdown: str) -> list[str]:
    """Code blocks, indented blocks and code spans of a Markdown text."""
    fenced = re.findall(r"^```[^\n]*\n(.*?)^```", markdown, re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^    .*$", markdown, re.MULTILINE)
    return [*fenced, *indented, *re.findall(r"`([^`\n]+)`", markdown)]


@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / ".ci").iterdir()))
def test_scripts_parse(script: str) -> None:
    path = ROOT / ".ci" / script
    shell = "bash" if "bash" in path.read_text().splitlines()[0] else "sh"
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run([shell, "-n", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_ci_requires_the_peers_and_ends_with_the_closing_line_of_pytest() -> None:
    script = (ROOT / ".ci/run").read_text()
    assert re.search(r"^make peers$", script, re.MULTILINE)
    assert "REQUIRE_PEERS=1 make test" in script
    assert "set -eu" in script
    pattern = re.search(r"grep -E '([^']+)'", script)
    assert pattern is not None
    # Closing lines as pytest -q and pytest write them.
    for line in (
        "95 passed in 1.20s",
        "2 failed, 51 passed in 7.79s",
        "=== 1 error in 0.10s ===",
        "3 passed, 1 skipped in 62.00s (0:01:02)",
    ):
        assert re.search(pattern[1], line), line
