"""Foreign programs and libraries, and what happens to a test whose peer is missing."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest

FOLDER = Path(sys.prefix, "peers")
"""Where `make peers` puts what is no package of the system's and of no use to it."""


def program(name: str) -> str:
    """The path of a foreign program; skips the test without it, or fails it under REQUIRE_PEERS=1."""
    path = shutil.which(name) or shutil.which(name, path=str(FOLDER / "bin"))
    if path is None:
        missing(f"{name} is not installed; `make peers` installs it")
    return path


def library(name: str) -> None:
    """Goes on if a foreign Python library is there; else as `program`."""
    if importlib.util.find_spec(name) is None:
        missing(f"the Python library {name} is not installed; `make peers` installs it")


def mbedtls_library() -> None:
    """Goes on if python-mbedtls is there; else as `library`, but for a Python that it has no wheel for."""
    if sys.version_info >= (3, 13):
        pytest.skip("python-mbedtls has no wheel for a Python newer than 3.12")
    library("mbedtls")


def missing(reason: str) -> NoReturn:
    if os.environ.get("REQUIRE_PEERS") == "1":
        pytest.fail(f"REQUIRE_PEERS=1, and {reason}", pytrace=False)
    pytest.skip(reason)
