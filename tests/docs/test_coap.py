"""docs/coap.md: each row of "Bad input" has its test and each test its row; what it says of options and keys is so."""

import ast
import re

from gateway.coap import Option
from gateway.config import render_template
from gateway.server.dispatch import SERVER_OPTIONS
from tests.docs.pages import ROOT, names, table

PAGE = ROOT / "docs/coap.md"
TESTS = ROOT / "tests/server/test_bad_input.py"


def test_each_row_of_bad_input_has_a_test_and_each_test_a_row() -> None:
    defined = {
        node.name
        for node in ast.parse(TESTS.read_text()).body
        if isinstance(node, ast.AsyncFunctionDef) and node.name.startswith("test_")
    }
    rows = table(PAGE, "Bad input")
    listed = [name for row in rows for name in names(row[-1])]
    assert all(len(names(row[-1])) == 1 for row in rows)
    assert set(listed) == defined


def test_each_row_names_a_section() -> None:
    for feature, rfc, state in table(PAGE, "Features"):
        assert re.fullmatch(r"\d{4}( [\d.]+(, [\d.]+)*)?", rfc), feature
        assert state, feature
    for row in table(PAGE, "Bad input"):
        assert re.fullmatch(r"\d{4} [\d.]+(, [\d.]+)*", row[2]), row[0]


def test_every_critical_option_that_is_honoured_is_among_the_features() -> None:
    features = " ".join(row[0] for row in table(PAGE, "Features"))
    for number in SERVER_OPTIONS:
        assert Option(number).name.replace("_", "-").title() in features


def test_every_key_that_it_names_is_one() -> None:
    keys = set(re.findall(r"^# (\w+) = ", render_template(), re.MULTILINE))
    for row in table(PAGE, "Rates"):
        for name in names(row[0]):
            assert name.endswith("=") or name.rpartition(" ")[2] in keys, name
