"""What holds for the whole session."""

import atexit
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
import structlog
from hypothesis import settings

import gateway

# Property tests give the same answer each time, however busy the machine is.
settings.register_profile("repeatable", deadline=None, derandomize=True)
# Another answer for each --hypothesis-seed: for who looks for what the repeatable one does not find.
settings.register_profile("searching", deadline=None, derandomize=False, database=None)
settings.load_profile("repeatable")

# Until it is configured, structlog prints to sys.stdout. pytest replaces that between tests, and CPython 3.11 crashes
# when another thread (the admin server has some) prints at that moment: print() holds a borrowed reference. So in the
# tests the default writes to a file of its own.
_nowhere = open(os.devnull, "w")  # noqa: SIM115  for as long as the process runs
atexit.register(_nowhere.close)
mock.patch("structlog._config._BUILTIN_DEFAULT_LOGGER_FACTORY", structlog.WriteLoggerFactory(file=_nowhere)).start()
structlog.reset_defaults()


def pytest_configure() -> None:
    if os.environ.get("REQUIRE_COMPILED") == "1" and not gateway.is_compiled():
        raise pytest.UsageError("REQUIRE_COMPILED=1, and nothing is compiled: run make install-fast")
    package = Path(gateway.__file__).parent
    for module in package.rglob("*.so"):
        source = module.with_name(module.name.partition(".")[0] + ".py")
        if not source.exists() or source.stat().st_mtime > module.stat().st_mtime:
            raise pytest.UsageError(
                f"{source} has changed since it was compiled: run make install-fast or install-pure"
            )


def pytest_report_header() -> str:
    return f"gateway: {'compiled' if gateway.is_compiled() else 'pure Python'}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if gateway.is_compiled():
        for item in items:
            if (marker := item.get_closest_marker("pure")) is not None:
                item.add_marker(pytest.mark.skip(reason=f"compiled: {marker.args[0]}"))


@pytest.fixture
def logging_restored() -> Iterator[None]:
    """A test may configure logging; afterwards it is as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers.copy(), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()
