"""A PostgreSQL server of its own for the tests, from the system's package: a folder, a loopback port, a password."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from gateway.registry.tables import metadata

USER = "gateway"
_FOLDERS = "/usr/lib/postgresql"
_START_S = 60.0
_CUT_OFF = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'"
_TRUNCATE = f"TRUNCATE {', '.join(table.name for table in metadata.sorted_tables)} RESTART IDENTITY CASCADE"


def programs() -> Path | None:
    """The folder of `initdb` and `postgres`, newest version first; None if there is none."""
    for folder in sorted(Path(_FOLDERS).glob("*/bin"), key=_version, reverse=True):
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


class PostgresServer:
    """Runs as an unprivileged user, for it refuses to run as root. Ends by its process id."""

    def __init__(self, folder: Path) -> None:
        """Makes the cluster in a new folder.

        Args:
            folder: The programs.
        """
        self._programs = folder
        # Not pytest's own folder: that one is for the user who runs the tests, and the path of a socket is short.
        self._root = Path(tempfile.mkdtemp(prefix="gateway-pg-", dir="/tmp"))
        self.password = secrets.token_hex(8)
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        word = self._root / "password"
        word.write_text(self.password)
        if os.geteuid() == 0:
            self._user: str | None = "nobody"
            for path in (self._root, word):
                shutil.chown(path, "nobody", "nogroup")
        else:
            self._user = None
        self._data = self._root / "data"
        options = ["-U", USER, "-A", "scram-sha-256", "--no-sync", "-E", "UTF8", "--locale", "C.UTF-8"]
        subprocess.run(
            [folder / "initdb", "-D", self._data, "--pwfile", word, *options],
            check=True,
            user=self._user,
            extra_groups=[] if self._user else None,
            cwd=self._root,
            stdout=subprocess.DEVNULL,
        )

    def start(self) -> None:
        """Returns when it takes connections; does nothing while it runs."""
        if self._process is not None:
            return
        options = [f"-c{each}" for each in ("listen_addresses=127.0.0.1", "fsync=off", "max_connections=60")]
        with (self._root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, "-p", str(self.port), "-k", self._root, *options],
                user=self._user,
                extra_groups=[] if self._user else None,
                cwd=self._root,
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + _START_S
        while subprocess.run([self._programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]).returncode:
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"PostgreSQL did not start: {(self._root / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Cuts all connections, and returns when the process is gone."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        """Stops it, and removes all that it wrote."""
        self.stop()
        shutil.rmtree(self._root)

    def url(self, database: str) -> str:
        """For `open_registry`."""
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def create(self, database: str) -> str:
        """Makes an empty database, and returns its URL. It is a thousand files: for tests that cannot share one."""
        self.sql("postgres", f'CREATE DATABASE "{database}" TEMPLATE template0')
        return self.url(database)

    def clear(self, database: str) -> None:
        """Makes a registry as new: whoever is still connected is cut off, every row goes, the default tenant comes."""
        self.sql("postgres", _CUT_OFF.format(database))
        self.sql(database, _TRUNCATE, "INSERT INTO tenant (id, name, created_at) VALUES ('default', 'Default', 0)")

    def sql(self, database: str, *statements: str) -> str:
        """Runs statements, each in a transaction of its own, beside the registry."""
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", USER, database]
        words = [word for statement in statements for word in ("-c", statement)]
        done = subprocess.run(
            [self._programs / "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", *words, *where],
            env={**os.environ, "PGPASSWORD": self.password},
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()


def _version(folder: Path) -> float:
    try:
        return float(folder.parent.name)
    except ValueError:
        return 0.0
