"""Whether a regular expression for device names can be matched in the event loop, whatever the name.

Python's matcher tries every way in which an expression fits, and `acme-([a-z0-9]+-?)+` has 2**100 of them on a name of
that length that does not fit. Who chooses the name is a device. So an expression is only taken if the ways that it has
on any name are few: they are counted from its text, as an upper bound that knows nothing of characters. What is
counted too high is refused in vain, `[a-z]+(-[a-z]+)*` for one; what is accepted is fast.
"""

import re
from typing import Final, NamedTuple

from gateway.registry.errors import InvalidValue
from gateway.registry.limits import MAX_DEVICE_ID_CHARACTERS, MAX_PATTERN_STEPS

# The text is known to be a valid expression. What is none of these, no quick look at the text can judge.
_TOKEN: Final = re.compile(
    r"(?P<open>\((?:\?:|\?P<\w+>)?(?!\?))|(?P<close>\))|(?P<alternative>\|)"
    r"|(?P<repetition>[*+?]|\{(?:[0-9]+|[0-9]*,[0-9]*)\})[?+]?"
    r"|(?P<one>\\[^1-9]|\[\^?\]?(?:\\.|[^\]\\])*\]|[^\\\[()|*+?])",
    re.DOTALL,
)
_IGNORE_CASE: Final = "(?i)"


class _Cost(NamedTuple):
    """Of matching a part at one place of a name, at most.

    Attributes:
        ways: In how many ways it fits.
        steps: What all of them take together, a character or a decision each.
    """

    ways: int
    steps: int


_NOTHING: Final = _Cost(1, 0)
_CHARACTER: Final = _Cost(1, 1)
_NEVER: Final = _Cost(0, 0)


def check_name_pattern(pattern: str) -> None:
    """Checks an expression that names of devices must match whole.

    Raises:
        InvalidValue: It is no regular expression, or one that could take long or of which that is not known.
    """
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise InvalidValue(f"name_pattern {pattern!r} is no regular expression: {error}") from error
    if _cost(pattern.removeprefix(_IGNORE_CASE)).steps > MAX_PATTERN_STEPS:
        raise InvalidValue(
            f"name_pattern {pattern!r} could take very long on some names: repeat nothing that has a repetition, an "
            "option or alternatives in it, and use *, + or {m,} three times at most; write [a-z0-9-]+ for "
            "([a-z0-9]+-?)+"
        )


def _cost(pattern: str) -> _Cost:
    around: list[tuple[_Cost, _Cost]] = []
    branches, sequence, newest = _NEVER, _NOTHING, _NOTHING
    place = 0
    while place < len(pattern):
        token = _TOKEN.match(pattern, place)
        if token is None:
            raise InvalidValue(
                f"name_pattern {pattern!r} has {pattern[place : place + 3]!r}, of which it is not known how long it "
                "takes: use characters, classes, groups (...) or (?:...), alternatives and repetitions; (?i) may "
                "begin it"
            )
        place = token.end()
        if token.lastgroup == "repetition":
            newest = _repeated(newest, *_times(token["repetition"]))
            continue
        sequence, newest = _then(sequence, newest), _NOTHING
        if token.lastgroup == "one":
            newest = _CHARACTER
        elif token.lastgroup == "open":
            around.append((branches, sequence))
            branches, sequence = _NEVER, _NOTHING
        elif token.lastgroup == "alternative":
            branches, sequence = _either(branches, sequence), _NOTHING
        else:
            newest = _either(branches, sequence)
            branches, sequence = around.pop()
    return _either(branches, _then(sequence, newest))


def _times(repetition: str) -> tuple[int, int]:
    """How often at least and at most, which is no more than a name has characters."""
    if repetition in "*+?":
        return int(repetition == "+"), 1 if repetition == "?" else MAX_DEVICE_ID_CHARACTERS
    least, comma, most = repetition[1:-1].partition(",")
    at_least = int(least or 0)
    at_most = int(most) if most else (MAX_DEVICE_ID_CHARACTERS if comma else at_least)
    return at_least, max(at_least, min(at_most, MAX_DEVICE_ID_CHARACTERS))


def _then(first: _Cost, second: _Cost) -> _Cost:
    return _bounded(first.ways * second.ways, first.steps + first.ways * second.steps)


def _either(first: _Cost, second: _Cost) -> _Cost:
    return _bounded(first.ways + second.ways, first.steps + second.steps + 1)


def _repeated(part: _Cost, least: int, most: int) -> _Cost:
    if least > MAX_DEVICE_ID_CHARACTERS:
        raise InvalidValue(f"no name has {least} characters: {MAX_DEVICE_ID_CHARACTERS} are the most")
    ways, steps, of_so_many = 0, 0, 1
    for count in range(most + 1):
        ways += of_so_many if count >= least else 0
        steps += of_so_many * (part.steps + 1) if count < most else 0
        of_so_many = min(of_so_many * part.ways, MAX_PATTERN_STEPS + 1)
    return _bounded(ways, steps)


def _bounded(ways: int, steps: int) -> _Cost:
    """Too many are too many; there is no need for numbers of a thousand digits."""
    return _Cost(min(ways, MAX_PATTERN_STEPS + 1), min(steps, MAX_PATTERN_STEPS + 1))
