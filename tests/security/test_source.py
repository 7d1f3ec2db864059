"""Rules about the source that a reviewer checks first (DESIGN section 6), read out of the syntax tree."""

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import gateway

ROOT = Path(gateway.__file__).parent
# Compared in time that depends on the content, these tell a peer how much of its guess was right.
GUARDED = re.compile(r"(^|_)(verify_data|cookie|mac|tag|psk)(_|s?$)")
# Fields that hold what must not be shown.
SECRET = re.compile(r"(^|_)(psk|key|keys|iv|secret|master|premaster|password)$")


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def imported(source: str) -> set[str]:
    """Modules that a source imports, and what it takes out of them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_drawn_from_a_generator_that_can_be_predicted(path: Path) -> None:
    """CVE-2021-34430: cookies and randoms came out of a generator that anybody can follow."""
    assert not imported(path.read_text()) & {"random"}


def test_the_rule_finds_every_way_to_a_generator() -> None:
    for source in ("import random", "from random import Random", "def f():\n    import random as r"):
        assert "random" in imported(source)


def names(node: ast.expr) -> Iterator[str]:
    """Names and attributes that a comparison compares, not those that it merely reaches through."""
    match node:
        case ast.Name():
            yield node.id
        case ast.Attribute():
            yield node.attr
        case ast.Subscript():
            yield from names(node.value)
        case ast.Tuple() | ast.List():
            for element in node.elts:
                yield from names(element)
        case _:
            pass


def guarded_comparisons(source: str) -> list[int]:
    """The lines on which == or != touches a guarded name. A comparison with a literal is harmless, and constants, in
    upper case, are no secrets."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Compare):
            continue
        for operator, left, right in zip(node.ops, [node.left, *node.comparators], node.comparators, strict=False):
            harmless = isinstance(left, ast.Constant) or isinstance(right, ast.Constant)
            touched = any(GUARDED.search(name) for side in (left, right) for name in names(side))
            if isinstance(operator, ast.Eq | ast.NotEq) and touched and not harmless:
                found.append(node.lineno)
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_secrets_are_compared_in_constant_time(path: Path) -> None:
    assert guarded_comparisons(path.read_text()) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("cookie == expected", True),
        ("self.verify_data != body", True),
        ("a < b == hello.cookie[:16]", True),
        ("(mac, 1) == pair", True),
        ("psk is None", False),
        ("psk == b''", False),
        ("cookie_length == 16", False),
        ("auth == AuthKind.PSK", False),
        ("compare_digest(cookie, expected)", False),
        ("machine == image", False),
    ],
)
def test_the_check_itself(source: str, found: bool) -> None:
    assert bool(guarded_comparisons(source)) is found


def test_finished_and_cookie_are_compared_at_all() -> None:
    """The rule above would also hold for code that forgot to compare."""
    calls = [
        path.relative_to(ROOT).as_posix()
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "compare_digest"
    ]
    assert set(calls) >= {"dtls/cookie.py", "dtls/handshake/server_states.py", "dtls/handshake/client_states.py"}


def dataclasses_of_ours() -> list[type]:
    found = []
    for info in pkgutil.walk_packages(gateway.__path__, "gateway."):
        if info.name.endswith(("__main__", ".migrations.env")):  # what is run, not imported
            continue
        module = importlib.import_module(info.name)
        for _, member in inspect.getmembers(module, inspect.isclass):
            if dataclasses.is_dataclass(member) and member.__module__ == info.name:
                found.append(member)
    return found


def test_fields_that_hold_secrets_are_not_shown() -> None:
    classes = dataclasses_of_ours()
    assert len(classes) > 20
    shown = [
        f"{owner.__qualname__}.{field.name}"
        for owner in classes
        for field in dataclasses.fields(owner)
        if field.repr and SECRET.search(field.name) and "public" not in field.name and holds_bytes(field)
    ]
    assert shown == []


def holds_bytes(field: "dataclasses.Field[object]") -> bool:
    """A path of a key file, a key's version or a verifying key is no secret."""
    return bool(re.search(r"\bbytes\b|PrivateKey|SigningKey", str(field.type)))


def test_no_assert_on_what_a_peer_sent() -> None:
    """DESIGN section 6, rule 1: no assert in the engines; with -O it would be gone, without it a crash."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assert)
    ]
    assert found == []


def test_no_random_numbers_but_the_system_s() -> None:
    """`random` is predictable from its output; cookies, keys and message ids must not be."""
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                imported = [node.module or ""]
            assert "random" not in imported, path
