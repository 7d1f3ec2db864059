"""docs/security.md: every test that it names exists, and every attack of the checklist's section is in its table."""

import ast
import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, names, table

SECURITY = ROOT / "docs/security.md"
FOLDERS = ("dtls", "security", "fuzz")


def defined() -> dict[str, Path]:
    """Tests by name: functions, classes, and classes that a library makes and a module gives a name."""
    found: dict[str, Path] = {}
    for folder in FOLDERS:
        for path in sorted((ROOT / "tests" / folder).glob("test_*.py")):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    found[node.name] = path
                elif isinstance(node, ast.Assign):
                    found.update({each.id: path for each in node.targets if isinstance(each, ast.Name)})
    return found


TESTS = defined()


@pytest.mark.parametrize("heading", ["Attacks and their tests", "Models and campaigns"])
def test_each_named_test_exists(heading: str) -> None:
    for row in table(SECURITY, heading):
        assert names(row[-1]), f"no test for {row[0]}"
        assert [name for name in names(row[-1]) if name not in TESTS] == []


def test_each_attack_of_section_11_is_in_the_table() -> None:
    attacks = {name for name, path in TESTS.items() if path.name.startswith("test_checklist_11_")}
    attacks = {name for name in attacks if name.startswith("test_")}
    assert attacks
    listed = {name for row in table(SECURITY, "Attacks and their tests") for name in names(row[-1])}
    assert attacks <= listed


def test_each_pattern_that_the_tests_name_is_in_the_table() -> None:
    text = "".join(path.read_text() for path in (ROOT / "tests/security").glob("test_checklist_11_*.py"))
    listed = " ".join(row[1] for row in table(SECURITY, "Attacks and their tests"))
    assert set(re.findall(r"CVE-\d{4}-\d+", text)) <= set(re.findall(r"CVE-\d{4}-\d+", listed))
