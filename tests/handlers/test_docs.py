"""docs/handlers.md: every Python block runs, in one go from top to bottom, and every other block is what it claims."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from structlog.testing import capture_logs

PAGE = Path(__file__).parents[2] / "docs" / "handlers.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[int, str]]:
    """The blocks of a language, each with its first line's number."""
    text = PAGE.read_text()
    return [(text.count("\n", 0, m.start(2)) + 1, m[2]) for m in BLOCK.finditer(text) if m[1] == language]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader works: the blocks that begin with a file's name are there as files, and can be imported."""
    for _, source in blocks("python"):
        if found := re.match(r"# (\w+\.py)\n", source):
            (tmp_path / found[1]).write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "modules", sys.modules.copy())
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_python_blocks_run(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {"__name__": "docs"}
    found = blocks("python")
    with capture_logs() as logs:
        for line, source in found:
            # Empty lines before it, so that a traceback shows the page's line.
            exec(compile("\n" * (line - 1) + source, str(PAGE), "exec"), names)
    assert len(found) >= 10
    assert sum(source.count("assert ") for _, source in found) >= 15
    assert capsys.readouterr().out == "thermostat-7 kitchen {'celsius': 21.5}\n"
    assert [entry["event"] for entry in logs] == ["handler.failed"]


def test_the_test_of_the_page_runs_as_the_page_says(folder: Path) -> None:
    """Beside the module that it tests, by a pytest without plug-ins; below a checkout, with a pytest.ini of its own."""
    assert "\npython -m pytest\n" in "".join(source for _, source in blocks("text"))
    below = folder / "checkout" / "site"
    below.mkdir(parents=True)
    for file in folder.glob("*.py"):
        (below / file.name).write_text(file.read_text())
    (below.parent / "pyproject.toml").write_text((PAGE.parents[1] / "pyproject.toml").read_text())
    for place, status in ((folder, 0), (below, 4)):
        assert run_pytest(place).returncode == status
    (below / "pytest.ini").touch()
    assert "1 passed" in run_pytest(below).stdout


def run_pytest(place: Path) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "pytest", "-p", "no:asyncio", "-p", "no:cacheprovider", "--ignore=checkout")
    return subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=60, check=False)


def test_other_blocks_parse() -> None:
    for _, source in blocks("toml"):
        assert tomllib.loads(source)
    for _, source in blocks("json"):
        assert json.loads(source)
    assert {match[1] for match in BLOCK.finditer(PAGE.read_text())} == {"python", "toml", "json", "text"}


def test_configuration_blocks_name_what_exists() -> None:
    pyproject = tomllib.loads((PAGE.parents[1] / "pyproject.toml").read_text())
    installed = set(pyproject["project"]["entry-points"]["gateway.handlers"])
    sections = [tomllib.loads(source).get("handlers", {}) for _, source in blocks("toml")]
    assert any("enabled" in section for section in sections)
    for section in sections:
        assert set(section.get("enabled", ())) <= installed
        assert {name for name, value in section.items() if isinstance(value, dict)} <= installed
