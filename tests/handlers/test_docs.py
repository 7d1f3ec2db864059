"""docs/handlers.md: every Python block runs, in one go from top to bottom, and every other block is what it claims."""

import json
import re
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


def test_other_blocks_parse() -> None:
    for _, source in blocks("toml"):
        assert tomllib.loads(source)
    for _, source in blocks("json"):
        assert json.loads(source)
    assert {match[1] for match in BLOCK.finditer(PAGE.read_text())} == {"python", "toml", "json"}


def test_configuration_blocks_name_what_exists() -> None:
    pyproject = tomllib.loads((PAGE.parents[1] / "pyproject.toml").read_text())
    installed = set(pyproject["project"]["entry-points"]["gateway.handlers"])
    sections = [tomllib.loads(source).get("handlers", {}) for _, source in blocks("toml")]
    assert any("enabled" in section for section in sections)
    for section in sections:
        assert set(section.get("enabled", ())) <= installed
        assert {name for name, value in section.items() if isinstance(value, dict)} <= installed
