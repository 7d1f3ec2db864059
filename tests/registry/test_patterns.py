"""Which regular expressions an anchor may have: whatever is accepted is matched here on names that are made to hurt.

There is no clock in it: an expression that is accepted and takes exponential time never comes to an end.
"""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.registry import InvalidValue
from gateway.registry.limits import MAX_DEVICE_ID_CHARACTERS
from gateway.registry.patterns import check_name_pattern

HOSTILE = [
    (unit * MAX_DEVICE_ID_CHARACTERS)[: MAX_DEVICE_ID_CHARACTERS - len(end)] + end
    for unit in ("a", "-", "a-", "ab", "aab-", "1a")
    for end in ("", "~")
]


def is_accepted(pattern: str) -> bool:
    try:
        check_name_pattern(pattern)
    except InvalidValue:
        return False
    return True


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "meter-[0-9]+",
        "acme-[0-9]{4}",
        "[0-9A-F]{12}",
        "(gw|node)-[a-z0-9]{8}",
        "(?:[0-9a-f]{2}:){5}[0-9a-f]{2}",
        "(?P<host>[a-z]+)\\.(?P<site>[a-z]+)\\.[a-z]+",
        "([0-9]{1,3}\\.){3}[0-9]{1,3}",
        "urn:dev:(mac|ow):[0-9a-f]+",
        "(?i)acme-.*",
        "[]()|*+?{}]+\\(\\|",
        "[^]]{,5}{",
        ".*.*.*~",
        "[a-z0-9-]{1,32}",
    ],
)
def test_patterns_that_are_taken(pattern: str) -> None:
    check_name_pattern(pattern)
    for name in HOSTILE:
        re.fullmatch(pattern, name)


@pytest.mark.parametrize(
    "pattern",
    [
        "acme-([a-z0-9]+-?)+",
        "(a+)+",
        "(a*)*b",
        "(?:a|a)*",
        "(a|ab|b)+",
        "(a?){40}",
        "(a?b?)+",
        "((a+)?)*",
        "([a-z]{1,64}){1,64}",
        ".*.*.*.*~",
        "a?" * 30 + "a" * 30,
        "(\\w|\\d)+~",
        "x([])(]+)+",
        "(a{1,}){,99}",
        "(a{,}){,}",
        "(a+?)+?",
        "(((((){128}){128}){128}){128}){128}",
    ],
)
def test_patterns_that_could_take_long(pattern: str) -> None:
    with pytest.raises(InvalidValue, match="could take very long") as caught:
        check_name_pattern(pattern)
    assert "[a-z0-9-]+" in str(caught.value)


@pytest.mark.parametrize(
    "pattern",
    ["(?=a+)a", "(?!a)b", "(?<=a)b", "(a+)\\1", "(?P<x>a)(?P=x)", "(?x)a # b", "(?s:a)", "(a)?(?(1)b|c)", "(?#)"],
)
def test_patterns_of_which_nothing_is_known(pattern: str) -> None:
    re.compile(pattern)
    with pytest.raises(InvalidValue, match="not known how long"):
        check_name_pattern(pattern)


@pytest.mark.parametrize(
    "pattern", ["(", "a)", "*", "[a", "a{2,1}", "a**", "(" * 5000 + ")" * 5000, "a{99999999999999999999}"]
)
def test_patterns_that_are_none(pattern: str) -> None:
    with pytest.raises(InvalidValue, match="is no regular expression"):
        check_name_pattern(pattern)


def test_more_characters_than_a_name_has() -> None:
    check_name_pattern("a{128}")
    check_name_pattern("a{1,999}")
    with pytest.raises(InvalidValue, match="no name has 129 characters"):
        check_name_pattern("a{129}")


expressions = st.recursive(
    st.sampled_from(["a", "b", "-", ".", "[a-z]", "[^]-]", "\\w", "\\)", "[(]"]),
    lambda inner: (
        st.builds("({})".format, inner)
        | st.builds("(?:{})".format, inner)
        | st.builds("{}{}".format, inner, inner)
        | st.builds("(?:{}|{})".format, inner, inner)
        | st.builds(
            "(?:{}){}".format, inner, st.sampled_from(["*", "+", "?", "{3}", "{2,}", "{,4}", "{1,20}", "*?", "++"])
        )
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=300)
@given(expressions)
@example("(?:(?:(?:a)*)*)*")
@example("(?:a|[a-z])*")
def test_whatever_is_accepted_comes_to_an_end(pattern: str) -> None:
    if is_accepted(pattern):
        for name in HOSTILE:
            re.fullmatch(pattern, name)
