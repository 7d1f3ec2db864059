"""docs/management.md lists what the code has: operations, refusals, and which commands ask a running gateway."""

from gateway.cli import common
from gateway.management.problems import Code, code_of, problem
from gateway.management.table import OPERATIONS
from gateway.registry import Conflict, InvalidValue, LimitReached, NotFound, Unavailable
from tests.docs.pages import ROOT, names, table

PAGE = ROOT / "docs/management.md"


def test_operations() -> None:
    rows = [(*names(name), *names(request)) for name, request, _ in table(PAGE, "The API")]
    assert rows == [(each.name, f"{each.method} {each.path}") for each in OPERATIONS]


def test_refusals() -> None:
    rows = {names(code)[0]: (status, exit_status) for code, status, exit_status, _ in table(PAGE, "Refusals")}
    assert rows.keys() == set(Code)
    for code, (status, _) in rows.items():
        if code != Code.REFUSED:
            assert str(problem(Code(code), "")[0]) == status
    exits = {
        InvalidValue: common.EXIT_USAGE,
        NotFound: common.EXIT_NOT_FOUND,
        Conflict: common.EXIT_CONFLICT,
        LimitReached: common.EXIT_FAILURE,
        Unavailable: common.EXIT_FAILURE,
    }
    for kind, exit_status in exits.items():
        assert rows[code_of(kind("x"))][1] == str(exit_status)
