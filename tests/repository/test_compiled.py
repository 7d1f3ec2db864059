"""What is compiled, and what says so."""

import importlib

import gateway
from tests.repository.tree import ROOT, pyproject

HOOK = pyproject()["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]
FILES = {name: {path for pattern in HOOK[name] for path in ROOT.glob(pattern)} for name in ("compiled", "interpreted")}
MODULES = sorted(FILES["compiled"] - FILES["interpreted"])


def test_each_pattern_is_for_something() -> None:
    assert [pattern for name in FILES for pattern in HOOK[name] if not list(ROOT.glob(pattern))] == []
    assert FILES["compiled"] & FILES["interpreted"]


def test_all_of_them_are_compiled_or_none() -> None:
    kinds = set()
    for path in MODULES:
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        assert module.__file__ is not None
        kinds.add(module.__file__.endswith(".so"))
    assert kinds == {gateway.is_compiled()}
