"""Version, metadata and public names agree with each other."""

import importlib
import importlib.metadata
import pkgutil
import re

import pytest

import gateway
from tests.repository.tree import ROOT, pyproject

PROJECT = pyproject()["project"]
ROOMS = sorted(module.name for module in pkgutil.iter_modules(gateway.__path__, "gateway.") if module.ispkg)


def test_one_version() -> None:
    assert PROJECT["dynamic"] == ["version"]
    assert pyproject()["tool"]["hatch"]["version"]["path"] == "gateway/__init__.py"
    try:
        installed = importlib.metadata.version(PROJECT["name"])
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the project is not installed, only importable")
    assert installed == gateway.__version__


def test_the_changelog_knows_the_version() -> None:
    headings = re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    if "dev" not in gateway.__version__:
        assert headings[1] == gateway.__version__


def test_the_oldest_python_is_the_same_everywhere() -> None:
    assert PROJECT["requires-python"] == ">=3.11"
    assert pyproject()["tool"]["ruff"]["target-version"] == "py311"
    versions = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if ":: 3." in line]
    assert versions == ["3.11", "3.12", "3.13"]
    assert "--python-version 3.11" in (ROOT / ".ci/lock").read_text()


def test_the_licence_is_apache_2() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_exist_and_are_sorted(room: str) -> None:
    module = importlib.import_module(room)
    names = module.__all__ if hasattr(module, "__all__") else []
    assert [name for name in names if not hasattr(module, name)] == []
    assert len(names) == len(set(names))


def test_the_package_is_marked_as_typed() -> None:
    assert (ROOT / "gateway/py.typed").exists()


def test_each_entry_point_is_there() -> None:
    groups = {"console_scripts": PROJECT["scripts"], **PROJECT["entry-points"]}
    for entries in groups.values():
        for target in entries.values():
            module, _, name = target.partition(":")
            try:
                loaded = importlib.import_module(module)
            except ModuleNotFoundError as error:
                pytest.fail(f"{target}: {error}")
            assert callable(getattr(loaded, name, None)), f"{target} is not there"
