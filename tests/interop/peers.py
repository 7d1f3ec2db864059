"""Foreign programs and libraries, and what happens to a test whose peer is missing."""

import importlib.util
import os
import shutil
from typing import NoReturn

import pytest


def program(name: str) -> str:
    """The path of a foreign program; skips the test without it, or fails it under REQUIRE_PEERS=1."""
    path = shutil.which(name)
    if path is None:
        missing(f"{name} is not installed; `make peers` installs it")
    return path


def library(name: str) -> None:
    """Goes on if a foreign Python library is there; else as `program`."""
    if importlib.util.find_spec(name) is None:
        missing(f"the Python library {name} is not installed; `make peers` installs it")


def optional_library(name: str, package: str) -> None:
    """Goes on if a Python library is there that `make peers` does not install; else the test is skipped in any case."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"the Python library {name} is not installed (PyPI: {package})")


def optional_program(name: str, package: str) -> str:
    """The path of a program that `make peers` does not install: without it the test is skipped in any case."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (Debian package {package})")
    return path


def missing(reason: str) -> NoReturn:
    if os.environ.get("REQUIRE_PEERS") == "1":
        pytest.fail(f"REQUIRE_PEERS=1, and {reason}", pytrace=False)
    pytest.skip(reason)
