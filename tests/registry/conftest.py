"""The backends that the contract tests run against. A new backend is a new entry of `BACKENDS`."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway.registry import Registry, open_registry

Opener = Callable[[], Registry]
"""Opens one more connection to the same store, as another process would."""


def _sqlite_file(folder: Path) -> Opener:
    url = f"sqlite:///{folder / 'registry.db'}"
    return lambda: open_registry(url, create=True)


BACKENDS: dict[str, Callable[[Path], Opener]] = {"sqlite": _sqlite_file}


@pytest.fixture(params=BACKENDS)
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    opener = BACKENDS[request.param](tmp_path)
    with ExitStack() as stack:
        yield lambda: stack.enter_context(opener())


@pytest.fixture
def registry(open_store: Opener) -> Registry:
    return open_store()
