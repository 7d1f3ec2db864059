"""Every test has an empty working directory, no variable of the gateway, and leaves logging as it was."""

import errno
import os
import shutil
import socket
from pathlib import Path

import pytest

from tests.cli.support import run


@pytest.fixture(autouse=True)
def workdir(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("GATEWAY_")]:
        monkeypatch.delenv(name)
    # Commands that are started compile the project once, not each time.
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.getbasetemp() / "bytecode"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def _logging_restored(logging_restored: None) -> None:
    """In every test."""


@pytest.fixture(scope="session")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "site"
    assert run("init", str(folder)).status == 0
    return folder


@pytest.fixture
def site(_made: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `gateway init site` makes, as the working directory."""
    folder = workdir / "site"
    shutil.copytree(_made, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """No socket can be bound in this process, in which a gateway of one worker would run; the list has the attempts."""
    monkeypatch.setenv("GATEWAY_SERVER__WORKERS", "1")
    attempts: list[object] = []

    def bind(_: socket.socket, address: tuple[object, ...]) -> None:
        attempts.append(address[:2])
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))

    monkeypatch.setattr(socket.socket, "bind", bind)
    return attempts
