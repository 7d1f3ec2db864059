"""The backends that the contract tests run against. A new backend is a new entry of `BACKENDS`."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway.registry import Registry, open_registry
from tests.registry.postgres import PostgresServer, programs

Opener = Callable[[], Registry]
"""Opens one more connection to the same store, as another process would."""

BACKENDS = ("sqlite", "postgresql")
_SHARED = "registry"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    folder = programs()
    if folder is None:
        if os.environ.get("REQUIRE_PEERS") == "1":
            pytest.fail("there is no PostgreSQL on this system, and REQUIRE_PEERS=1: run `make peers`")
        pytest.skip("there is no PostgreSQL on this system: run `make peers`")
    server = PostgresServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> PostgresServer:
    """The server, running, whatever a test before did to it."""
    postgres_server.start()
    return postgres_server


@pytest.fixture(scope="session")
def postgres_registry(postgres_server: PostgresServer) -> str:
    """The name of a registry that all tests share: quicker to clear than to make."""
    postgres_server.start()
    open_registry(postgres_server.create(_SHARED), create=True).close()
    return _SHARED


@pytest.fixture
def postgres_url(postgres: PostgresServer, postgres_registry: str) -> str:
    """A registry that nothing is in."""
    postgres.clear(postgres_registry)
    return postgres.url(postgres_registry)


@pytest.fixture(params=BACKENDS)
def registry_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a registry can be made, for each backend."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'registry.db'}"


@pytest.fixture
def open_store(registry_url: str) -> Iterator[Opener]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(open_registry(registry_url, create=True))


@pytest.fixture
def registry(open_store: Opener) -> Registry:
    return open_store()
