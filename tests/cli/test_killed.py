"""SIGKILL in the middle of every management command: the registry opens, nothing is half there, and no key is lost.

Each command is run once to its end, for the time that it takes; then it is killed after a random part of that time. The
seed is fixed, the moments are not: they hang on the machine, and any of them must do.
"""

import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.pki import load_certificates
from gateway.registry import Secrets, open_registry
from tests.cli.support import GATEWAY, ok

KILLS = 200

Words = tuple[str, ...]


class Site:
    """A folder with a registry, CAs and files, and what has to stay true of it.

    Attributes:
        number: Of the next command; in the names of what it makes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = 0
        ok("init", ".")
        Path("master.key").write_bytes(os.urandom(32).hex().encode())
        Path("master.key").chmod(0o600)
        self.environ = {**os.environ, "GATEWAY_REGISTRY__MASTER_KEY": "file:master.key"}
        ok("ca", "create", "--root", "--name", "Acme", "--out", "acme/root")
        ok("ca", "create", "--intermediate", "--issuer", "acme/root.pem", "--out", "acme/f1")
        ok("cert", "issue", "--device", "m1", "--ca", "acme/f1.pem", "--out", "acme/m1")
        ok("ca", "keep", "acme/f1.pem")
        ok("ca", "crl", "publish", "--ca", "acme/f1.pem", "--out", "acme/f1.crl")
        Path("key").write_text("00112233445566778899aabbccddeeff")
        rows = [f"import-{n},default,import-{n},{n:032x},\n" for n in range(1, 2000)]
        Path("rows.csv").write_text("device_id,tenant,psk_identity,psk_hex,tags\n" + "".join(rows))
        for n in range(3):
            self.run("device", "add", f"dev{n}", "--psk-identity", f"dev{n}", "--psk-file", "key")
        self.run("tenant", "add", "acme")

    def run(self, *words: str) -> float:
        """To its end; the seconds that it takes."""
        began = time.monotonic()
        subprocess.run([GATEWAY, *words], cwd=self.folder, env=self.environ, capture_output=True, check=False)
        return time.monotonic() - began

    def kill(self, words: Words, after_s: float) -> float | None:
        """None if it was still running; else the seconds that it took."""
        began = time.monotonic()
        process = subprocess.Popen(
            [GATEWAY, *words],
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )
        try:
            process.wait(after_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        return None if process.wait() == -signal.SIGKILL else time.monotonic() - began

    def keys(self) -> dict[Path, str]:
        """The files with keys, by what is in them."""
        found = [*self.folder.rglob("*.key")]
        return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}

    def check(self) -> None:
        """All that must be true whenever a command was killed."""
        database = sqlite3.connect(self.folder / "registry.db")
        try:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert database.execute("PRAGMA foreign_key_check").fetchall() == []
            counted = "SELECT id, device_count, (SELECT count(*) FROM device WHERE tenant_id = tenant.id) FROM tenant"
            assert [row for row in database.execute(counted) if row[1] != row[2]] == []
            # Every one of these devices was added with a key, and loses its last one only with itself.
            bare = "SELECT id FROM device d WHERE NOT EXISTS (SELECT 1 FROM credential c WHERE c.device_id = d.id)"
            assert database.execute(bare).fetchall() == []
            audited = "SELECT count(*) FROM device WHERE id NOT IN (SELECT object FROM audit)"
            assert database.execute(audited).fetchone() == (0,)
        finally:
            database.close()
        secrets = Secrets(f"file:{self.folder / 'master.key'}", None)
        with open_registry(f"sqlite:///{self.folder / 'registry.db'}", secrets=secrets) as registry:
            records = registry.list_devices()
            # Of the imported ones some: that all are there with a key, the database was asked.
            few = [each for each in records if not each.device.id.startswith("import-")]
            for record in few + records[:: len(records) // 40 + 1]:
                tenant = record.device.tenant_id
                for each in registry.credentials(record.device.id, tenant_id=tenant):
                    if each.psk_identity is not None:
                        found = registry.find_psk(tenant, each.psk_identity)
                        assert found is not None
                        assert len(found.key) >= 16
        for path in self.folder.rglob("*.key"):
            if path.name != "master.key":
                load_pem_private_key(path.read_bytes(), None)
                assert path.stat().st_mode & 0o077 == 0
        for path in self.folder.rglob("*.pem"):
            load_certificates(path)


def commands(site: Site) -> list[Words]:
    """Every command that changes something, with names that are new each time."""
    site.number += 1
    n = site.number
    return [
        ("device", "add", f"new{n}", "--psk-identity", f"new{n}", "--generate"),
        ("device", "tag", "dev0", f"t{n}"),
        ("device", "describe", "dev0", f"n={n}"),
        ("device", "disable", "dev1"),
        ("device", "enable", "dev1"),
        ("device", "quarantine", "dev1"),
        ("device", "delete", f"new{n - 1}", "--yes"),
        ("device", "import", "rows.csv", "--on-conflict", "skip"),
        ("psk", "add", "dev0", "--identity", f"more{n}", "--generate"),
        ("psk", "rotate", "dev2", "--generate"),
        ("keys", "rotate"),
        ("tenant", "add", f"tenant{n}"),
        ("tenant", "set", "acme", "--max-devices", str(n + 10)),
        ("tenant", "delete", f"tenant{n - 1}", "--yes"),
        ("fleet", "migrate", "acme", "--after-first-certificate"),
        ("ca", "create", "--root", "--name", f"Root {n}", "--out", f"acme/root{n}"),
        ("ca", "trust", "acme/root.pem", "--auto-provision", "active", "--max-devices", str(n)),
        ("ca", "keep", "acme/f1.pem"),
        ("ca", "ban", "acme/m1.pem"),
        ("ca", "unban", "acme/m1.pem"),
        ("ca", "crl", "publish", "--ca", "acme/f1.pem", "--out", "acme/f1.crl"),
        ("ca", "crl", "import", "acme/f1.crl"),
        ("cert", "issue", "--device", f"m-{n}", "--ca", "acme/f1.pem", "--out", f"acme/m-{n}"),
        ("cert", "server", "--ca", "acme/f1.pem", "--out", f"acme/server{n}"),
        ("cert", "bulk", "--count", "60", "--prefix", f"lot{n}-", "--ca", "acme/f1.pem", "--out", f"lots/{n}"),
        ("cert", "renew", "acme/m1.pem", "--ca", "acme/f1.pem", "--new-key"),
        ("cert", "revoke", f"acme/m-{n - 1}.pem", "--yes"),
        ("token", "create", "--name", f"token{n}", "--file", "admin.tokens"),
    ]


@pytest.mark.parametrize(
    ("kills", "step"),
    [pytest.param(10, 3, id="a third of them"), pytest.param(KILLS, 1, id="200", marks=pytest.mark.long)],
)
def test_no_kill_leaves_half_a_thing(kills: int, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    dice = random.Random(kills)
    site = Site(tmp_path)
    took = [site.run(*words) for words in commands(site)[::step]]
    site.check()
    killed, done = 0, 0
    while done < kills:
        for place, words in enumerate(commands(site)[::step]):
            if done == kills:
                break
            before = site.keys()
            # Half of the time goes into starting Python; what comes then is what is asked about.
            ended = site.kill(words, took[place] * dice.uniform(0.45, 1.0))
            # The machine is not always as fast as it was.
            took[place] = ended if ended is not None else took[place] * 1.03
            killed += ended is None
            done += 1
            after = site.keys()
            assert {path: after.get(path) for path in before} == before, words
            if step == 1 or done % 3 == 0:
                site.check()
    site.check()
    # After all of that everything still works.
    for words in commands(site)[::step]:
        if words[0] != "cert" or words[1] not in ("renew", "revoke"):
            ok_or_kept(site, words)
    site.check()
    assert killed >= kills / 10  # in a short run the machine may have become faster after the times were taken
    print(f"\n{killed} of {kills} commands were killed while they ran")


def ok_or_kept(site: Site, words: Words) -> None:
    done = subprocess.run([GATEWAY, *words], cwd=site.folder, env=site.environ, capture_output=True, text=True)
    assert done.returncode in (0, 3, 4), (words, done.stderr)
    assert "Traceback" not in done.stderr
