"""Whose line an exception came through: authors of handlers are told of theirs, not of one below it."""

import sysconfig
from pathlib import Path
from traceback import walk_tb
from types import FrameType
from typing import Final

# Code that the author of a handler did not write: this package, Python's own, and what is installed beside it.
_OTHERS: Final = tuple(
    f"{folder}/"
    for folder in (
        Path(__file__).parents[1],
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    )
)


def told(error: Exception, module: str = "") -> str:
    """What was raised and where, in one line: `KeyError: 'k' (/srv/app/thermostats.py:5)`.

    Args:
        error: What was caught.
        module: The author's module: its package is the author's wherever it is installed.
    """
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":") + place(error, module)


def place(error: Exception, module: str = "") -> str:
    """The innermost line of the author's own code that an exception came through, in parentheses behind a space.

    Nothing when it came through none. See `told` for the arguments.
    """
    package = module.partition(".")[0]
    lines = [(frame, line) for frame, line in walk_tb(error.__traceback__) if _is_own(frame, package)]
    if not lines:
        return ""
    frame, line = lines[-1]
    return f" ({frame.f_code.co_filename}:{line})"


def _is_own(frame: FrameType, package: str) -> bool:
    file = frame.f_code.co_filename
    if file.startswith(("<", _OTHERS[0])):  # importlib is frozen
        return False
    name = str(frame.f_globals.get("__name__"))
    return name.partition(".")[0] == package or not file.startswith(_OTHERS)
